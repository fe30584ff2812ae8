"""Datasets of the hub, and local copies of them, as questions."""
