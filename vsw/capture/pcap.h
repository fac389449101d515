/* pcap.h: walks the records of a pcap file (https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/).
 *
 * Where the time goes: the place of a record is known only from the length in the record before it, a chain of dependent loads as long as the
 * file.  The walk breaks it by guessing that a record is as long as the last one: the guess is a branch, so the processor runs ahead on it, and
 * the empty asm keeps the compiler from turning it back into the dependent load that it stands for.  Bounds are proved once for a burst. */
#ifndef VSW_CAPTURE_PCAP_H
#define VSW_CAPTURE_PCAP_H

#include "vsw/capture/walk.h"

#define VSW_PCAP_HEADER 24u            /* the file's header: magic, version, zone, accuracy, snaplen, link type, each in the file's byte order */
#define VSW_PCAP_VERSION 4u
#define VSW_PCAP_SNAPLEN 16u
#define VSW_PCAP_LINKTYPE 20u
#define VSW_PCAP_MAJOR 2u
#define VSW_PCAP_MINOR 4u
#define VSW_PCAP_MICRO 0xA1B2C3D4u
#define VSW_PCAP_NANO 0xA1B23C4Du
#define VSW_PCAP_MODIFIED 0xA1B2CD34u  /* records with 24 bytes of header, written by an old patch of Linux systems */
#define VSW_PCAP_LINKTYPE_BITS 0x03FFFFFFu
#define VSW_PCAP_FCS_PRESENT 0x04000000u
#define VSW_PCAP_FCS_SHIFT 28          /* length of the frame check sequence in units of 2 bytes, if present */

#define VSW_PCAP_RECORD 16u            /* a record's header: seconds, fraction, captured length, length */
#define VSW_PCAP_FRACTION 4u
#define VSW_PCAP_CAPTURED 8u
#define VSW_PCAP_LENGTH 12u
#define VSW_PCAP_SHORT 2048u           /* records up to this many bytes take the fast loop */

static inline __attribute__((always_inline)) uint32_t vsw_pcap_scan(vsw_walk *walk, vsw_burst *burst, uint32_t limit, const int swapped,
                                                                    const uint32_t scale)
{
    const uint8_t *at = walk->at, *const end = walk->end, *const stop = walk->stop;
    const uint8_t *fence = stop < end ? stop : end;
    uint32_t count = 0, guess = walk->guess;

    if (at < fence && (uint64_t)(fence - at) >= (uint64_t)limit * (VSW_PCAP_RECORD + VSW_PCAP_SHORT)) {
        const uint32_t step = vsw_walk_step(walk);
        uintptr_t asked = walk->asked;
        for (; count < limit; count++) {
            asked = vsw_walk_ask(asked, step, at);
            uint32_t captured = vsw_load32(at + VSW_PCAP_CAPTURED, swapped), length = vsw_load32(at + VSW_PCAP_LENGTH, swapped);
            if (__builtin_expect(captured != guess, 0)) {
                if (captured > VSW_PCAP_SHORT)
                    break;
                guess = captured;
                __asm__ volatile("" : "+r"(guess));
            }
            if (__builtin_expect(length < guess, 0)) {
                length = guess;
                walk->longer++;
            }
            burst->data[count] = at + VSW_PCAP_RECORD;
            burst->captured[count] = guess;
            burst->length[count] = length;
            burst->time[count] = (int64_t)((uint64_t)vsw_load32(at, swapped) * VSW_NANOSECONDS +
                                           (uint64_t)vsw_load32(at + VSW_PCAP_FRACTION, swapped) * scale);
            at += VSW_PCAP_RECORD + guess;
        }
        walk->asked = asked;
    }
    for (; count < limit && at < stop; count++) {
        uint64_t there = at < end ? (uint64_t)(end - at) : 0;
        if (there < VSW_PCAP_RECORD) {
            if (there)
                vsw_walk_stopped(walk, VSW_WALK_CUT_HEADER, at, there, VSW_PCAP_RECORD);
            break;
        }
        uint32_t captured = vsw_load32(at + VSW_PCAP_CAPTURED, swapped), length = vsw_load32(at + VSW_PCAP_LENGTH, swapped);
        if (captured > VSW_CAPTURED_MAX) {
            vsw_walk_stopped(walk, VSW_WALK_CAPTURED, at, captured, VSW_CAPTURED_MAX);
            break;
        }
        if (there < VSW_PCAP_RECORD + captured) {
            vsw_walk_stopped(walk, VSW_WALK_CUT_RECORD, at, there, VSW_PCAP_RECORD + captured);
            break;
        }
        guess = captured;
        if (length < captured) {
            length = captured;
            walk->longer++;
        }
        burst->data[count] = at + VSW_PCAP_RECORD;
        burst->captured[count] = captured;
        burst->length[count] = length;
        burst->time[count] = (int64_t)((uint64_t)vsw_load32(at, swapped) * VSW_NANOSECONDS +
                                       (uint64_t)vsw_load32(at + VSW_PCAP_FRACTION, swapped) * scale);
        at += VSW_PCAP_RECORD + captured;
    }
    walk->at = at;
    walk->guess = guess;
    return count;
}

static uint32_t vsw_pcap_scan_micro(vsw_walk *walk, vsw_burst *burst, uint32_t limit)
{
    return vsw_pcap_scan(walk, burst, limit, 0, 1000);
}

static uint32_t vsw_pcap_scan_nano(vsw_walk *walk, vsw_burst *burst, uint32_t limit)
{
    return vsw_pcap_scan(walk, burst, limit, 0, 1);
}

static uint32_t vsw_pcap_scan_swapped_micro(vsw_walk *walk, vsw_burst *burst, uint32_t limit)
{
    return vsw_pcap_scan(walk, burst, limit, 1, 1000);
}

static uint32_t vsw_pcap_scan_swapped_nano(vsw_walk *walk, vsw_burst *burst, uint32_t limit)
{
    return vsw_pcap_scan(walk, burst, limit, 1, 1);
}

/* Files whose frames end with their frame check sequence: it is no part of the frame, as for every other capture. */
static uint32_t vsw_pcap_scan_fcs(vsw_walk *walk, vsw_burst *burst, uint32_t limit)
{
    uint32_t count = vsw_pcap_scan(walk, burst, limit, (int)walk->swapped, walk->scale);
    for (uint32_t i = 0; i < count; i++) {
        burst->length[i] -= burst->length[i] < walk->fcs ? burst->length[i] : walk->fcs;
        if (burst->captured[i] > burst->length[i])
            burst->captured[i] = burst->length[i];
    }
    return count;
}

/* Is there a record at `at`, and are the `chain` records after it plausible too?  For guessing where records begin in the middle of a file:
 * who uses the guess verifies it (a pass over what lies before must end exactly there). */
static inline int vsw_pcap_plausible(const uint8_t *at, const uint8_t *end, uint32_t chain, int swapped, uint32_t scale)
{
    uint32_t second = 0;
    for (uint32_t i = 0; i < chain; i++) {
        if (at == end)
            return i > 0;
        if ((uint64_t)(end - at) < VSW_PCAP_RECORD)
            return 0;
        uint32_t now = vsw_load32(at, swapped), captured = vsw_load32(at + VSW_PCAP_CAPTURED, swapped), length = vsw_load32(at + VSW_PCAP_LENGTH, swapped);
        if (captured > VSW_CAPTURED_MAX || length > VSW_CAPTURED_MAX || length < captured || !length)
            return 0;
        if ((uint64_t)vsw_load32(at + VSW_PCAP_FRACTION, swapped) * scale >= VSW_NANOSECONDS)
            return 0;
        if (i > 0 && (now > second ? now - second : second - now) > 86400)
            return 0;
        if ((uint64_t)(end - at) < VSW_PCAP_RECORD + captured)
            return 0;
        second = now;
        at += VSW_PCAP_RECORD + captured;
    }
    return 1;
}

#endif
