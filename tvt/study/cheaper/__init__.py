"""Studies that cost less than the full grid: what they would cost, runs chosen on the way, and what they lose."""
