"""Capture files: reading, writing, merging."""

from vsw.capture.capture import Capture, CaptureReader, open_capture
from vsw.capture.frame import ByteRange, Frame, Interface
from vsw.capture.merge import merge
from vsw.capture.writer import PcapngWriter, PcapWriter

__all__ = ["ByteRange", "Capture", "CaptureReader", "Frame", "Interface", "PcapWriter", "PcapngWriter", "merge", "open_capture"]
