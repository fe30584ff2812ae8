"""``scripts/check-gpu``: what only a GPU can show of training and scoring, in legs of a process each."""
