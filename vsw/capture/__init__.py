"""Capture files: reading, writing, merging."""

from vsw.capture.capture import Capture, CaptureReader, open_capture
from vsw.capture.frame import ByteRange, Frame, Interface

__all__ = ["ByteRange", "Capture", "CaptureReader", "Frame", "Interface", "open_capture"]
