"""A study: its runs, where they are kept, and how they are done."""
