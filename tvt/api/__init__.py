"""The public API: what scripts and notebooks call, and the commands too. ``tvt`` offers these functions under their names."""
