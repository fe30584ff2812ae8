"""Finished runs of other folders, checked and joined into one."""
