"""What makes rows unfit to train on: duplicates, shortcuts, faults of a whole dataset."""
