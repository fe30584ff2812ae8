"""Scoring models on questions: option letters in one forward pass, or generated answers; adapters on one loaded base."""
