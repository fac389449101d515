from collections.abc import Iterable, Mapping

from vsw.datapath.batch import Batch
from vsw.datapath.source import FrameSource

OUTCOMES: tuple[str, ...]

class Retag:
    kind: str
    @staticmethod
    def push(vid: int, pcp: int = 0, dei: int = 0, tpid: int = 0x8100) -> Retag: ...
    @staticmethod
    def pop(vids: Iterable[int] | None = None, pad: bool = False) -> Retag: ...
    @staticmethod
    def translate(
        vids: Mapping[int, int] | None = None, pcp: int | None = None, dei: int | None = None, tpid: int | None = None
    ) -> Retag: ...
    def apply(self, source: FrameSource) -> Batch: ...

def push_tag(source: FrameSource, vid: int, pcp: int = 0, dei: int = 0, tpid: int = 0x8100) -> Batch: ...
def pop_tag(source: FrameSource, vids: Iterable[int] | None = None, pad: bool = False) -> Batch: ...
def translate_tag(
    source: FrameSource, vids: Mapping[int, int] | None = None, pcp: int | None = None, dei: int | None = None, tpid: int | None = None
) -> Batch: ...
