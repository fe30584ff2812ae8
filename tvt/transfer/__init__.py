"""Analyses over a transfer matrix: aggregates, cliques, personas, groups, noise."""
