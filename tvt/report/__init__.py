"""What a person sees: terminal tables, plots, and exports for other trainers."""
