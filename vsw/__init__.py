"""A hypervisor's virtual switch that you can import."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsw.capture import Capture as Capture
    from vsw.capture import PcapngWriter as PcapngWriter
    from vsw.capture import PcapWriter as PcapWriter
    from vsw.capture import merge as merge
    from vsw.capture import open_capture as open_capture
    from vsw.config.lab import Host as Host
    from vsw.config.lab import Lab as Lab
    from vsw.config.load import load as load
    from vsw.config.load import loads as loads
    from vsw.config.module import Module as Module
    from vsw.datapath.batch import Batch as Batch
    from vsw.datapath.classify import classify as classify
    from vsw.datapath.retag import pop_tag as pop_tag
    from vsw.datapath.retag import push_tag as push_tag
    from vsw.datapath.retag import translate_tag as translate_tag
    from vsw.datapath.rows import ROW as ROW
    from vsw.datapath.rows import RowFlag as RowFlag
    from vsw.datapath.team_hash import team_hash as team_hash
    from vsw.errors import CaptureError as CaptureError
    from vsw.errors import ConfigError as ConfigError
    from vsw.errors import ImageError as ImageError
    from vsw.errors import UsageError as UsageError
    from vsw.errors import VswError as VswError
    from vsw.switch.result import Counters as Counters
    from vsw.switch.result import Result as Result
    from vsw.switch.switch import Event as Event
    from vsw.switch.switch import Switch as Switch
    from vsw.verdicts import Reason as Reason
    from vsw.verdicts import Verdict as Verdict

#: Where each public name is defined.  Its module is imported at first use, so that ``import vsw`` and ``vsw --help`` stay fast.
_HOME = {
    "Batch": "vsw.datapath.batch",
    "Capture": "vsw.capture",
    "CaptureError": "vsw.errors",
    "ConfigError": "vsw.errors",
    "Host": "vsw.config.lab",
    "ImageError": "vsw.errors",
    "Lab": "vsw.config.lab",
    "Module": "vsw.config.module",
    "PcapWriter": "vsw.capture",
    "PcapngWriter": "vsw.capture",
    "ROW": "vsw.datapath.rows",
    "Reason": "vsw.verdicts",
    "RowFlag": "vsw.datapath.rows",
    "UsageError": "vsw.errors",
    "Verdict": "vsw.verdicts",
    "VswError": "vsw.errors",
    "Counters": "vsw.switch.result",
    "Event": "vsw.switch.switch",
    "Result": "vsw.switch.result",
    "Switch": "vsw.switch.switch",
    "classify": "vsw.datapath.classify",
    "load": "vsw.config.load",
    "loads": "vsw.config.load",
    "merge": "vsw.capture",
    "open_capture": "vsw.capture",
    "pop_tag": "vsw.datapath.retag",
    "push_tag": "vsw.datapath.retag",
    "team_hash": "vsw.datapath.team_hash",
    "translate_tag": "vsw.datapath.retag",
}

__all__ = sorted([*_HOME, "get_include"])  # noqa: PLE0605  (computed, so that a name is written once)


def get_include() -> str:
    """The folder to give a C compiler (``include_dirs``) and Cython (``include_path``) that build against vsw's headers and ``.pxd`` files."""
    from pathlib import Path  # noqa: PLC0415

    return str(Path(__file__).resolve().parent.parent)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vsw' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
