from vsw.ports.device import DevicePort

class TapPort(DevicePort):
    device: str
    def __init__(self, name: str, *, device: str) -> None: ...
