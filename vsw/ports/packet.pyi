from vsw.ports.base import Port

class PacketPort(Port):
    interface: str
    def __init__(self, name: str, *, interface: str) -> None: ...
