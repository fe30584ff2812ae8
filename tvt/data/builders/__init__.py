"""Builders of training rows: raw data of a task's original source in, multiple-choice questions in BLINK's form out."""
