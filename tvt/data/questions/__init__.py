"""Questions on disk: files, their reading and their checks."""
