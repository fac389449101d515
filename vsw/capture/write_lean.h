/* write_lean.h: records of short frames that the fast lane has settled, written without a call and without a branch that depends on the frame.
 *
 * Every frame is copied as if it had a tag and VSW_SLACK bytes behind it: what is too much lies where the next record goes, or in the buffer's slack.
 * write.h is for frames of every other kind, and writes the same bytes.  */
#ifndef VSW_CAPTURE_WRITE_LEAN_H
#define VSW_CAPTURE_WRITE_LEAN_H

#include "vsw/capture/write.h"
#include "vsw/datapath/state.h"

#define VSW_LEAN_ROOM 64u              /* bytes that a record has around its frame at most, in either format */
#define VSW_LEAN_AHEAD 192u            /* bytes from a record to what is fetched for the ones after it: buffers are more than the first cache holds */

_Static_assert(VSW_PACKET_DATA + VSW_TAG + 2 * VSW_BLOCK_TRAILER <= VSW_LEAN_ROOM, "what stands around a frame, and what is written beyond it");

/* The two words of each frame's time as a record has them, for frames `first` up to `end` of a burst.  Times before the epoch are written as 0.
 * Returns whether the format has not all of them: vsw_writer_frame() says so, frame by frame. */
static inline int vsw_lean_stamps(const vsw_burst *burst, uint32_t first, uint32_t end, vsw_writer_format format, uint64_t *restrict stamps) {
    const int64_t *restrict times = burst->time;
    if (format == VSW_WRITER_PCAPNG) {
        for (uint32_t i = first; i < end; i++) {
            uint64_t time = times[i] < 0 ? 0 : (uint64_t)times[i];
            stamps[i] = time >> 32 | time << 32;
        }
        return 0;
    }
    const uint64_t second = times[first] < 0 ? 0 : (uint64_t)times[first] / VSW_NANOSECONDS, begin = second * VSW_NANOSECONDS;
    uint64_t others = 0, late = second > UINT32_MAX;
    for (uint32_t i = first; i < end; i++) {
        uint64_t fraction = (uint64_t)times[i] - begin;
        others |= fraction >= VSW_NANOSECONDS;
        stamps[i] = (uint32_t)second | fraction << 32;
    }
    if (others)                        /* not all of one second */
        for (uint32_t i = first; i < end; i++) {
            uint64_t time = times[i] < 0 ? 0 : (uint64_t)times[i];
            stamps[i] = (uint32_t)(time / VSW_NANOSECONDS) | (time % VSW_NANOSECONDS) << 32;
            late |= time / VSW_NANOSECONDS > UINT32_MAX;
        }
    return late != 0;
}

/* Adds a frame of `captured` bytes, `length` on the wire: the addresses at `data`, `tag` if it is not 0, and what lies at `body`.  The buffer has
 * VSW_LEAN_ROOM bytes more, and `data` and `body` may be read for VSW_SLACK bytes.  The format is pcapng, or pcap with nanoseconds. */
static inline __attribute__((always_inline)) void vsw_writer_lean(vsw_writer *writer, const int pcapng, uint64_t stamp, const uint8_t *data,
                                                                  const uint8_t *body, uint32_t tag, uint32_t captured, uint32_t length) {
    uint8_t *to = writer->buffer + writer->filled;
    const uint32_t padding = pcapng ? VSW_PAD4(captured) - captured : 0, tag_bytes = tag ? VSW_TAG : 0, rest = captured - VSW_MACS - tag_bytes;
    const uint64_t lengths = (uint64_t)length << 32 | captured;
    __builtin_prefetch(to + VSW_LEAN_AHEAD, 1);
    if (pcapng) {
        vsw_store64(to, (uint64_t)(VSW_PACKET_MIN + captured + padding) << 32 | VSW_BLOCK_ENHANCED);
        vsw_store32(to + VSW_PACKET_INTERFACE, 0);
        vsw_store64(to + VSW_PACKET_HIGH, stamp);
        vsw_store64(to + VSW_PACKET_CAPTURED, lengths);
        to += VSW_PACKET_DATA;
    } else {
        vsw_store64(to, stamp);
        vsw_store64(to + VSW_PCAP_CAPTURED, lengths);
        to += VSW_PCAP_RECORD;
    }
    memcpy(to, data, VSW_MACS + VSW_TAG);
    vsw_store32(to + VSW_MACS, tag);
    to += VSW_MACS + tag_bytes;
    memcpy(to, body, VSW_SLACK);
    if (rest > VSW_SLACK)
        memcpy(to + VSW_SLACK, body + VSW_SLACK, rest - VSW_SLACK);
    to += rest;
    if (pcapng) {
        vsw_store32(to, 0);
        vsw_store32(to + padding, VSW_PACKET_MIN + captured + padding);
        to += padding + VSW_BLOCK_TRAILER;
    }
    writer->filled = (size_t)(to - writer->buffer);
    writer->frames++;
}

#endif
