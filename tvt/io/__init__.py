"""Reading and writing: atomic files, strict YAML, digests, JSON."""
