"""What one command may ask for: the numbers that the Block Limits page states and the handlers enforce."""

LARGEST_TRANSFER = 8 << 20
"""Bytes of one READ or WRITE: bounds the memory that a command can ask for."""
LARGEST_WRITE_SAME = 0xFFFF
"""Blocks of one WRITE SAME: as many as its short form can name."""
LARGEST_UNMAP = 1 << 20
"""Blocks of one UNMAP in all."""
UNMAP_DESCRIPTORS = 256
LARGEST_COMPARE = 128
"""Blocks of one COMPARE AND WRITE; the field has one byte."""
LARGEST_ATOMIC = 1 << 20
"""Bytes of one WRITE ATOMIC, if the backend promises as many."""
LARGEST_COPY = 256 << 20
"""Bytes of one segment of EXTENDED COPY."""
