"""The loop: propose, train, race against simple mixtures, report once."""
