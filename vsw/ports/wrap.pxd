# wrap.pxd: what wrapping ports share, declared.
from libc.stdint cimport uint32_t

from vsw.ports.base cimport Port, vsw_live


cdef extern from "vsw/ports/wrap.h" nogil:
    ctypedef struct vsw_wrap:
        vsw_live live
        vsw_live *inner
    void vsw_wrap_init(vsw_wrap *w)
    void vsw_wrap_mirror(vsw_wrap *w)


cdef class Wrapper(Port):
    # The structure of a subclass begins with a vsw_wrap.
    cdef readonly Port inner
    cdef wrap(self, Port inner)
