"""What a frozen vision tower makes of an image, computed once and kept on disk for every run and evaluation."""
