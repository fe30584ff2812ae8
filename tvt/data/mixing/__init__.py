"""A mixture as one dataset: which row comes when, and the files."""
