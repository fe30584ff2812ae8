"""Frozen value types: tasks, scores, the transfer matrix, mixtures and what may be asked of a selection. No I/O."""
