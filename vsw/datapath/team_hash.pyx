"""Team hashes of frames outside a switch: which uplink would a frame take?"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from vsw.datapath.source cimport VSW_BURST, FrameReader, FrameSource, vsw_burst, vsw_source

from numbers import Integral

import numpy as np

from vsw.errors import UsageError


cdef extern from "vsw/datapath/hashes/frame.h" nogil:
    enum:
        VSW_HASH_PORT_ID
        VSW_HASH_SRC_MAC
        VSW_HASH_IP_HASH
        VSW_HASH_LAYER2
        VSW_HASH_LAYER2_3
        VSW_HASH_LAYER3_4
        VSW_HASH_VLAN_SRCMAC
        VSW_MAX_TPIDS

    ctypedef struct vsw_tpid_list:
        uint32_t count
        uint16_t *tpid

    uint32_t vsw_team_hash_of_frame(uint32_t policy, const uint8_t *frame, uint32_t captured, uint16_t port, uint32_t ip_hash_bits,
                                    const vsw_tpid_list *tpids)


POLICIES = {
    "port-id": VSW_HASH_PORT_ID,
    "src-mac": VSW_HASH_SRC_MAC,
    "ip-hash": VSW_HASH_IP_HASH,
    "layer2": VSW_HASH_LAYER2,
    "layer2+3": VSW_HASH_LAYER2_3,
    "layer3+4": VSW_HASH_LAYER3_4,
    "vlan+srcmac": VSW_HASH_VLAN_SRCMAC,
}

BUCKETS = 256
MAX_MEMBERS = 0xFFFF


def team_hash(FrameSource source not None, str policy not None, *, members=None, assignment="modulo", ip_hash_bits=32, port=0,
              tpids=(0x8100, 0x88A8, 0x9100)):
    """Team hash of each frame: array of uint32, or with ``members`` the index of the member that it picks: array of uint16.

    ``policy`` is ``port-id``, ``src-mac``, ``ip-hash``, ``layer2``, ``layer2+3``, ``layer3+4`` or ``vlan+srcmac`` (``explicit`` has no hash).
    ``members`` is the number of uplinks, all of them up: ``modulo`` picks ``hash % members``, ``buckets`` picks ``(hash & 255) % members``.
    ``ip_hash_bits`` (8 or 32) tells how much of ``ip-hash`` counts.  ``port`` is the number of the port that the frames came in by, or a uint16
    array with one row a frame (``port-id`` only).

    The outermost tag whose TPID is in ``tpids`` (at most 8) is read and left out of the hash; only ``vlan+srcmac`` takes its PCP, DEI and VID.
    A tag without two captured bytes behind it is no tag; a frame of which fewer than 14 bytes were captured has the hash 0.

    Only captured bytes are looked at.  Releases the GIL; any number of threads may call it for the same source.
    Raises :class:`~vsw.errors.UsageError` for arguments that do not fit, and whatever the source raises when it can't be read to its end.
    """
    cdef vsw_tpid_list list_of_tpids
    cdef vsw_burst burst
    cdef FrameReader reader
    cdef vsw_source *frames
    cdef const uint16_t[::1] ports
    cdef uint32_t[::1] hashes
    cdef uint32_t number, bits, count, i
    cdef uint16_t one_port = 0, from_port
    cdef bint port_for_each = False
    cdef uint64_t at = 0, room

    if policy not in POLICIES:
        raise UsageError(f"policy: {policy!r} has no hash; one of {', '.join(POLICIES)} does")
    if assignment not in ("modulo", "buckets"):
        raise UsageError(f"assignment: {assignment!r} is neither 'modulo' nor 'buckets'")
    if ip_hash_bits not in (8, 32):
        raise UsageError(f"ip_hash_bits: {ip_hash_bits!r} is neither 8 nor 32")
    if members is not None and (not isinstance(members, Integral) or not 1 <= members <= MAX_MEMBERS):
        raise UsageError(f"members: {members!r} is not in 1..{MAX_MEMBERS}")
    if len(tpids) > VSW_MAX_TPIDS or not all(0 <= tpid <= 0xFFFF for tpid in tpids):
        raise UsageError(f"tpids: at most {VSW_MAX_TPIDS} 16-bit numbers, not {tpids!r}")
    list_of_tpids.count = len(tpids)
    for i in range(list_of_tpids.count):
        list_of_tpids.tpid[i] = tpids[i]

    number = POLICIES[policy]
    bits = ip_hash_bits
    room = len(source)
    result = np.empty(room, np.uint32)
    hashes = result
    if isinstance(port, np.ndarray):
        if port.dtype != np.uint16 or port.shape != (room,):
            raise UsageError(f"port: {room} rows of uint16, one a frame, not {port.dtype} of shape {port.shape}")
        ports = np.ascontiguousarray(port)
        port_for_each = True
    elif 0 <= port <= 0xFFFF:
        one_port = port
    else:
        raise UsageError(f"port: {port!r} is not in 0..65535")

    reader = source.reader(0, room)
    frames = reader.source
    with nogil:
        while at < room:
            count = frames.next(frames, &burst, <uint32_t> min(<uint64_t> VSW_BURST, room - at))
            if count == 0:
                break
            for i in range(count):
                from_port = ports[at + i] if port_for_each else one_port
                hashes[at + i] = vsw_team_hash_of_frame(number, burst.data[i], burst.captured[i], from_port, bits, &list_of_tpids)
            at += count
    reader.check()
    result = result[:at]
    if members is None:
        return result
    picks = result % BUCKETS if assignment == "buckets" else result
    return (picks % members).astype(np.uint16)
