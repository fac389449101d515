"""Ports around ports: what a tracer, a fault injector and a capture have in common.

A wrapper owns the port inside: whoever closes the wrapper closes both.  The port inside must not be in a loop, nor used by anybody else.
"""

from vsw.ports.base cimport Port


cdef class Wrapper(Port):
    """A port that is attached where ``inner`` would be."""

    type = "wrapper"

    cdef wrap(self, Port inner):
        cdef vsw_wrap *w = <vsw_wrap *>self.live
        self.inner = inner
        w.inner = inner.live
        vsw_wrap_init(w)
        vsw_wrap_mirror(w)
        self.retry_at = inner.retry_at

    cpdef int control_fd(self):
        return self.inner.control_fd()

    cpdef service(self):
        self.inner.service()
        self.live.attention = 0
        vsw_wrap_mirror(<vsw_wrap *>self.live)
        self.retry_at = self.inner.retry_at

    cpdef _close(self):
        self.inner.close()

    def counters(self):
        """Those of the port inside, and what this one dropped itself."""
        found = self.inner.counters()
        for reason, count in super().counters()["drops"].items():
            found["drops"][reason] = found["drops"].get(reason, 0) + count
        return found

    def queues(self):
        return self.inner.queues()

    def describe(self):
        return f"{self.type} around {self.inner.describe()}"
