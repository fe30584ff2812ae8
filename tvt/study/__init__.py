"""A study: its runs, where they are stored, and how they are done."""
