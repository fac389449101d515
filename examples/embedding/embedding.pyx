"""Frames that a C program has in its memory, through vsw's switch, without Python in between.

``flood(switch, port, source, count)`` lets a station behind ``port`` send ``count`` broadcasts, and returns copies and bytes by the port that they left by.
``roomy`` promises the switch that it may read a little around each frame, which is true here, and makes it faster.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from vsw.switch.entry cimport Entry, vsw_fate, vsw_leaving, vsw_offer

cdef enum:
    BURST = 64
    FRAME = 60
    ROOM = 64
    PORTS = 4096

cdef struct Tally:
    uint64_t[PORTS] copies
    uint64_t[PORTS] bytes


cdef int count_copy(void *context, const vsw_leaving *leaving) noexcept nogil:
    # A network card would send leaving.head and leaving.body here.
    cdef Tally *tally = <Tally *>context
    tally.copies[leaving.port] += 1
    tally.bytes[leaving.port] += leaving.head_bytes + leaving.body_bytes + leaving.pad
    return 1


def flood(switch, port, uint64_t source, uint32_t count, bint roomy=False):
    cdef uint8_t[ROOM + BURST * FRAME + ROOM] memory
    cdef uint8_t *frame
    cdef vsw_offer[BURST] offers
    cdef vsw_fate[BURST] fates
    cdef Tally tally
    cdef uint32_t delivered = 0, number = switch.port(port)
    cdef int i, share
    cdef Entry entry
    memset(&tally, 0, sizeof(tally))
    memset(memory, 0, sizeof(memory))
    for i in range(BURST):
        frame = memory + ROOM + i * FRAME
        memset(frame, 0xFF, 6)
        for byte in range(6):
            frame[6 + byte] = (source >> (40 - 8 * byte)) & 0xFF
        frame[12] = 8
        offers[i] = vsw_offer(data=frame, captured=FRAME, length=FRAME, time=0, port=<uint16_t>number)
    with Entry(switch, roomy=roomy) as entry, nogil:
        while count:
            share = count if count < BURST else BURST
            entry.forward(offers, share, fates, count_copy, &tally)
            for i in range(share):
                delivered += fates[i].verdict == 0
            count -= share
    return delivered, {i: (tally.copies[i], tally.bytes[i]) for i in range(PORTS) if tally.copies[i]}
