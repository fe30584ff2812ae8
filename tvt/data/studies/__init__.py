"""Measured studies: bundled ones, study folders, CSV forms, tables of mixture runs."""
