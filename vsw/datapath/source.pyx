"""What the datapath takes frames from: the base classes of batches and captures."""


cdef class FrameReader:
    """One pass over the frames of a :class:`FrameSource`, by one thread.

    Subclasses point ``source`` at a C structure of their own that begins with a ``vsw_source``, and free it in
    ``__dealloc__``.
    """

    def check(self):
        """Raise what stopped the pass, if the input could not be read to its end.  Subclasses override it."""


cdef class FrameSource:
    """Anything that holds frames in order.  ``len()`` is the number of frames."""

    cpdef FrameReader reader(self, uint64_t start, uint64_t stop):
        """A new pass over frames ``start`` (included) to ``stop`` (excluded; 2**64 - 1 for "to the end")."""
        raise NotImplementedError(f"{type(self).__name__} can't be read")

    def interface_names(self):
        """Names of the interfaces that frames came in by, by index (empty strings where there is no name)."""
        return [""]
