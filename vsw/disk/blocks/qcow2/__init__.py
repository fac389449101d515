"""qcow2, QEMU's image format: read and written, versions 2 and 3.

The parts, from the bottom: ``layout`` (numbers), ``header``, ``tables`` (guest to host clusters), ``refcounts`` (which are free), ``core`` (what is
shared, and its locks), ``reading``, ``writing``, ``commit`` (the order in which metadata reaches the disk), ``image`` (the block
backend). Beside them ``create``, ``backing``, ``snapshots``, ``resize``, ``check``.
"""

from __future__ import annotations

from .image import Mapped, Qcow2Blocks

__all__ = ["Mapped", "Qcow2Blocks"]
