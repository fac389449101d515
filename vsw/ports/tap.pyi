from vsw.ports.base import Port

class TapPort(Port):
    device: str
    def __init__(self, name: str, *, device: str) -> None: ...
