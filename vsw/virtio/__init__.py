"""Virtqueues in a guest's memory, and the vhost-user protocol that hands them over: what network cards and disks have in common.

``ring.h`` and ``memory.h`` are the device's side of a split virtqueue, ``ring.pyx`` and ``memory.pyx`` hold them together, ``server.py`` speaks
to the front end (QEMU) over a unix socket, ``session.py`` does what its messages say. A :class:`~vsw.virtio.device.Device` has rings and
features; what the buffers mean is the business of whoever made it.
"""
