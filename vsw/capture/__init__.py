"""Capture files: reading, writing, merging."""

from vsw.capture.capture import Capture, CaptureReader, open_capture
from vsw.capture.frame import ByteRange, Frame

__all__ = ["ByteRange", "Capture", "CaptureReader", "Frame", "open_capture"]
