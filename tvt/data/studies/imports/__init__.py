"""What other programs write about a model's accuracy, as the rows of a CSV study."""
