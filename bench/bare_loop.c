/* bare_loop.c: the least that any reader of a capture does, as the yardstick of the benchmarks ("R").
 *
 * It walks the record headers of a pcap file in memory (little-endian) and reads the 14 bytes of each frame's Ethernet header. */
#include <stdint.h>
#include <string.h>

enum { FILE_HEADER = 24, RECORD_HEADER = 16, CAPTURED_AT = 8, ETHERNET_HEADER = 14 };

/* Returns the number of frames; `seen` takes a value that depends on all bytes read, so that none of the reads can be left out. */
uint64_t bare_loop(const uint8_t *file, uint64_t size, uint64_t *seen)
{
    uint64_t frames = 0, all = 0, at = FILE_HEADER;
    while (at + RECORD_HEADER + ETHERNET_HEADER <= size) {
        const uint8_t *frame = file + at + RECORD_HEADER;
        uint32_t captured;
        uint64_t first, last;
        memcpy(&captured, file + at + CAPTURED_AT, sizeof captured);
        memcpy(&first, frame, sizeof first);
        memcpy(&last, frame + ETHERNET_HEADER - sizeof last, sizeof last);
        all += first ^ last;
        at += RECORD_HEADER + captured;
        frames++;
    }
    *seen = all;
    return frames;
}
