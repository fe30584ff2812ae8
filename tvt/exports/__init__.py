"""A mixture as a folder that another trainer runs on: rows, pictures and configuration, with exact counts.

No trainer's probabilistic mixing carries exact weights, and each draws or clips in its own way. So ``tvt mix`` draws the rows
here as it does for ``tvt train``, and every trainer gets the one list of rows that came out: whole passes before repeats, each
repeat a row of its own, pictures as tvt shows them. What a trainer does otherwise than tvt is set in its configuration, refused
by name, or said in the folder's notes.
"""
