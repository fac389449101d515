from vsw.ports.base import Port

RETRY: float

class StreamPort(Port):
    path: str
    role: str
    def __init__(self, name: str, *, path: str, role: str = "server") -> None: ...
