"""A small network of real hosts, and what happens in it: what `record_example.py` records."""
