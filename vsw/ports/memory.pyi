from vsw.ports.base import Port

FRAMES: int
ROOM: int

class MemoryPort(Port): ...

def memory_pair(name: str, other: str, *, frames: int = 1024, room: int = 1 << 20) -> tuple[MemoryPort, MemoryPort]: ...
