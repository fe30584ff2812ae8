"""Comparing mixtures that were trained at equal budget."""
