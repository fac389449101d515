from vsw.ports.base import Port

class Wrapper(Port):
    inner: Port
