"""Rows of other trainers and tables as questions."""
