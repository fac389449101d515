"""A SCSI disk that knows no transport: commands in, status, data and sense out (SAM-5, SPC-4, SBC-3).

``Target`` holds logical units, ``Target.connect`` gives a transport a ``Nexus``, whose ``execute`` does one command::

    unit = LogicalUnit(create_blocks("web1.img", 10 << 30), serial="web1")
    nexus = Target("iqn.2026-01.example:web1", {0: unit}).connect(transport_id=b"...")
    reply = nexus.execute(0, bytes.fromhex("120000006000"))

Adding a command is one function with a ``@command`` line in the file of its kind; REPORT SUPPORTED OPERATION CODES, the
check of reserved bits and the reservation rules follow from that line.
"""

from __future__ import annotations

from .commands import Reply
from .controllers import CONTROLLERS, Controller
from .reservations import FileStore, ReservationStore
from .sense import Key, Status
from .target import Nexus, Target
from .unit import LogicalUnit

__all__ = ["CONTROLLERS", "Controller", "FileStore", "Key", "LogicalUnit", "Nexus", "Reply", "ReservationStore", "Status", "Target"]
