# device.pxd: what ports at a network interface of this machine share, declared.
from vsw.ports.base cimport Port


cdef class DevicePort(Port):
    cdef str _device
    cdef object _watch
    cdef str _why
    cdef _open(self, str device)
    cdef _take(self)
    # What a type does.
    cdef _attach(self)
    cdef _detach(self)
    cdef str _gone(self)
