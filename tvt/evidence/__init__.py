"""What is known: from a matrix, doses and mixture runs to the gains of any mixture with their errors. No solver."""
