from vsw.ports.base import Port

RETRY: float

class DgramPort(Port):
    path: str
    peer: str
    def __init__(self, name: str, *, path: str, peer: str | None = None) -> None: ...
