"""Reading what a user brings: studies, CSV tables, task manifests, tables of mixture runs."""
