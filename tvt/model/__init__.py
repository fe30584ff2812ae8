"""The base model and its processor, loaded the same way for training and for scoring."""
