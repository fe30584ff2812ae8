"""Targets whose questions another harness asks and scores: lmms-eval's tasks, run by its own code on tvt's models."""
