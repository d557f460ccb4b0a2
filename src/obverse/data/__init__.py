"""bytes <-> arrays: files of each kind of data, read and checked, and written again; `kinds.py` has them by name."""
