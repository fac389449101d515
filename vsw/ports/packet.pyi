from vsw.ports.device import DevicePort

class PacketPort(DevicePort):
    interface: str
    def __init__(self, name: str, *, interface: str) -> None: ...
