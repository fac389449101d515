from collections.abc import Sequence
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from vsw.datapath.source import FrameSource

HashPolicy = Literal["port-id", "src-mac", "ip-hash", "layer2", "layer2+3", "layer3+4", "vlan+srcmac"]

@overload
def team_hash(
    source: FrameSource,
    policy: HashPolicy,
    *,
    members: None = None,
    assignment: Literal["modulo", "buckets"] = "modulo",
    ip_hash_bits: Literal[8, 32] = 32,
    port: int | NDArray[np.uint16] = 0,
    tpids: Sequence[int] = (0x8100, 0x88A8, 0x9100),
) -> NDArray[np.uint32]: ...
@overload
def team_hash(
    source: FrameSource,
    policy: HashPolicy,
    *,
    members: int,
    assignment: Literal["modulo", "buckets"] = "modulo",
    ip_hash_bits: Literal[8, 32] = 32,
    port: int | NDArray[np.uint16] = 0,
    tpids: Sequence[int] = (0x8100, 0x88A8, 0x9100),
) -> NDArray[np.uint16]: ...
