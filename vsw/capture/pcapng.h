/* pcapng.h: walks the blocks of a pcapng file (https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/).
 *
 * Sections bring their own byte order and their own interfaces; the walk numbers the interfaces of all sections in one row.  Blocks that hold no
 * frame are passed over by their length.  The length that a section announces is not used: every block says how long it is, and tools that
 * append to a file leave it wrong.  As in pcap.h the next block's place is guessed from the last one's length, behind a branch. */
#ifndef VSW_CAPTURE_PCAPNG_H
#define VSW_CAPTURE_PCAPNG_H

#include "vsw/capture/walk.h"

#define VSW_BLOCK_SECTION 0x0A0D0D0Au  /* reads the same in both byte orders */
#define VSW_BLOCK_INTERFACE 1u
#define VSW_BLOCK_PACKET 2u            /* obsolete */
#define VSW_BLOCK_SIMPLE 3u
#define VSW_BLOCK_ENHANCED 6u
#define VSW_BLOCK_LENGTH 4u            /* offset of the block's length; it stands again in the block's last 4 bytes */
#define VSW_BLOCK_TRAILER 4u
#define VSW_BLOCK_MIN 12u
#define VSW_BLOCK_MAX (16u << 20)      /* libpcap's and Wireshark's bound */

#define VSW_SECTION_ORDER 8u           /* byte-order magic */
#define VSW_SECTION_MAGIC 0x1A2B3C4Du
#define VSW_SECTION_VERSION 12u
#define VSW_SECTION_OPTIONS 24u
#define VSW_SECTION_MIN 28u

#define VSW_INTERFACE_LINKTYPE 8u
#define VSW_INTERFACE_SNAPLEN 12u
#define VSW_INTERFACE_OPTIONS 16u
#define VSW_INTERFACE_MIN 20u

#define VSW_PACKET_INTERFACE 8u        /* 32 bits in an enhanced packet block, 16 in an obsolete one */
#define VSW_PACKET_HIGH 12u
#define VSW_PACKET_LOW 16u
#define VSW_PACKET_CAPTURED 20u
#define VSW_PACKET_LENGTH 24u
#define VSW_PACKET_DATA 28u
#define VSW_PACKET_MIN 32u

#define VSW_SIMPLE_LENGTH 8u
#define VSW_SIMPLE_DATA 12u
#define VSW_SIMPLE_MIN 16u

#define VSW_OPTION_HEADER 4u           /* code, length; the value is padded to 4 bytes */
#define VSW_OPTION_END 0u
#define VSW_OPTION_COMMENT 1u
#define VSW_OPTION_NAME 2u             /* of an interface, as are the next ones */
#define VSW_OPTION_DESCRIPTION 3u
#define VSW_OPTION_RESOLUTION 9u
#define VSW_OPTION_FCS 13u
#define VSW_OPTION_OFFSET 14u
#define VSW_OPTION_FLAGS 2u            /* of a packet */
#define VSW_FLAGS_FCS_SHIFT 5
#define VSW_FLAGS_FCS_BITS 0xFu

#define VSW_PAD4(bytes) (((bytes) + 3u) & ~3u)

/* Steps through options from `*at`: 1 and the option, 0 at the end, -1 if one does not fit before `end` (`*at` is then the option). */
static inline int vsw_pcapng_option(const uint8_t **at, const uint8_t *end, int swapped, uint32_t *code, uint32_t *length, const uint8_t **value)
{
    if ((uint64_t)(end - *at) < VSW_OPTION_HEADER)
        return 0;
    *code = vsw_load16(*at, swapped);
    *length = vsw_load16(*at + 2, swapped);
    if (*code == VSW_OPTION_END)
        return 0;
    if ((uint64_t)(end - *at) < VSW_OPTION_HEADER + VSW_PAD4(*length))
        return -1;
    *value = *at + VSW_OPTION_HEADER;
    *at += VSW_OPTION_HEADER + VSW_PAD4(*length);
    return 1;
}

/* `resolution` is if_tsresol: a negative power of 10, or with the top bit set of 2. */
static inline void vsw_pcapng_resolution(vsw_interface *interface, uint32_t resolution)
{
    interface->multiply = interface->divide = 1;
    interface->shift = 0;
    if (resolution & 0x80) {
        interface->multiply = VSW_NANOSECONDS;
        interface->shift = resolution & 0x7F;
    } else if (resolution > 9 + 19) {
        interface->multiply = 0;       /* 2**64 ticks are less than a nanosecond */
    } else {
        for (; resolution < 9; resolution++)
            interface->multiply *= 10;
        for (; resolution > 9; resolution--)
            interface->divide *= 10;
    }
}

static inline int64_t vsw_pcapng_time(const vsw_interface *interface, uint64_t ticks)
{
    if (__builtin_expect(interface->divide == 1 && !interface->shift, 1))
        return (int64_t)(ticks * interface->multiply + (uint64_t)interface->offset);
    uint64_t time = (uint64_t)(((unsigned __int128)ticks * interface->multiply) >> interface->shift) / interface->divide;
    return (int64_t)(time + (uint64_t)interface->offset);
}

/* Takes an interface description block of `total` bytes into the walk's table; 0 and the walk's error if that can't be. */
static __attribute__((noinline)) int vsw_pcapng_interface(vsw_walk *walk, const uint8_t *at, uint32_t total, int swapped)
{
    if (total < VSW_INTERFACE_MIN) {
        vsw_walk_stopped(walk, VSW_WALK_BLOCK_LENGTH, at, total, VSW_INTERFACE_MIN);
        return 0;
    }
    if (walk->interface_count >= VSW_INTERFACES_MAX) {
        vsw_walk_stopped(walk, VSW_WALK_INTERFACES, at, walk->interface_count, VSW_INTERFACES_MAX);
        return 0;
    }
    if (walk->interface_count == walk->interface_room) {
        uint32_t room = walk->interface_room ? 2 * walk->interface_room : 8;
        vsw_interface *grown = realloc(walk->interfaces, room * sizeof *grown);
        if (!grown) {
            vsw_walk_stopped(walk, VSW_WALK_MEMORY, at, 0, 0);
            return 0;
        }
        walk->interfaces = grown;
        walk->interface_room = room;
    }
    vsw_interface *interface = &walk->interfaces[walk->interface_count];
    memset(interface, 0, sizeof *interface);
    vsw_pcapng_resolution(interface, 6);
    interface->block = vsw_walk_offset(walk, at);
    interface->linktype = vsw_load16(at + VSW_INTERFACE_LINKTYPE, swapped);
    interface->snaplen = vsw_load32(at + VSW_INTERFACE_SNAPLEN, swapped);
    interface->swapped = (uint8_t)swapped;
    const uint8_t *option = at + VSW_INTERFACE_OPTIONS, *end = at + total - VSW_BLOCK_TRAILER, *value = NULL;
    uint32_t code = 0, length = 0;
    int got;
    while ((got = vsw_pcapng_option(&option, end, swapped, &code, &length, &value)) > 0) {
        uint32_t need = code == VSW_OPTION_RESOLUTION || code == VSW_OPTION_FCS ? 1 : code == VSW_OPTION_OFFSET ? 8 : 0;
        if (length < need) {
            vsw_walk_stopped(walk, VSW_WALK_OPTION, value - VSW_OPTION_HEADER, length, need);
            return 0;
        }
        if (code == VSW_OPTION_RESOLUTION)
            vsw_pcapng_resolution(interface, value[0]);
        else if (code == VSW_OPTION_FCS)
            interface->fcs = value[0] < 8 ? value[0] : value[0] / 8;  /* the document says bits, its example and Wireshark bytes */
        else if (code == VSW_OPTION_OFFSET)
            interface->offset = (int64_t)(vsw_load64(value, swapped) * VSW_NANOSECONDS);
    }
    if (got < 0) {
        vsw_walk_stopped(walk, VSW_WALK_OPTION, option, (uint64_t)(end - option), VSW_OPTION_HEADER + VSW_PAD4(length));
        return 0;
    }
    if (walk->kept) {
        /* A stream: the description is gone when somebody asks for the name. */
        vsw_index_lock(walk->index);
        uint8_t *grown = realloc(*walk->kept, walk->kept_bytes + total);
        if (grown) {
            memcpy(grown + walk->kept_bytes, at, total);
            *walk->kept = grown;
        }
        vsw_index_unlock(walk->index);
        if (!grown) {
            vsw_walk_stopped(walk, VSW_WALK_MEMORY, at, 0, 0);
            return 0;
        }
        interface->block = walk->kept_bytes;
        walk->kept_bytes += total;
    }
    walk->source.interfaces = ++walk->interface_count;
    return 1;
}

/* Begins a section; `there` bytes are left.  Returns its block's length, 0 and the walk's error if that can't be. */
static __attribute__((noinline)) uint32_t vsw_pcapng_section(vsw_walk *walk, const uint8_t *at, uint64_t there)
{
    uint32_t magic = vsw_load32(at + VSW_SECTION_ORDER, 0);
    int swapped = magic != VSW_SECTION_MAGIC;
    if (swapped && __builtin_bswap32(magic) != VSW_SECTION_MAGIC) {
        vsw_walk_stopped(walk, VSW_WALK_SECTION_ORDER, at + VSW_SECTION_ORDER, magic, VSW_SECTION_MAGIC);
        return 0;
    }
    uint32_t total = vsw_load32(at + VSW_BLOCK_LENGTH, swapped);
    if (total < VSW_SECTION_MIN || total % 4) {
        vsw_walk_stopped(walk, VSW_WALK_BLOCK_LENGTH, at, total, VSW_SECTION_MIN);
        return 0;
    }
    if (total > VSW_BLOCK_MAX) {
        vsw_walk_stopped(walk, VSW_WALK_BLOCK_LONG, at, total, VSW_BLOCK_MAX);
        return 0;
    }
    if (there < total) {
        vsw_walk_stopped(walk, VSW_WALK_CUT_RECORD, at, there, total);
        return 0;
    }
    if (vsw_load32(at + total - VSW_BLOCK_TRAILER, swapped) != total) {
        vsw_walk_stopped(walk, VSW_WALK_BLOCK_TRAILER, at, vsw_load32(at + total - VSW_BLOCK_TRAILER, swapped), total);
        return 0;
    }
    uint32_t major = vsw_load16(at + VSW_SECTION_VERSION, swapped), minor = vsw_load16(at + VSW_SECTION_VERSION + 2, swapped);
    if (major != 1 || (minor != 0 && minor != 2)) {  /* some writers say 1.2 and mean 1.0 */
        vsw_walk_stopped(walk, VSW_WALK_SECTION_VERSION, at + VSW_SECTION_VERSION, major << 16 | minor, 1u << 16);
        return 0;
    }
    walk->swapped = (uint32_t)swapped;
    walk->section = walk->interface_count;
    return total;
}

/* Bytes of frame check sequence at the end of a frame: what the packet's flags say, else what its interface says. */
static inline uint32_t vsw_pcapng_fcs(const vsw_interface *interface, const uint8_t *option, const uint8_t *end, int swapped)
{
    uint32_t code, length;
    const uint8_t *value;
    while (vsw_pcapng_option(&option, end, swapped, &code, &length, &value) > 0)
        if (code == VSW_OPTION_FLAGS && length == 4) {
            uint32_t fcs = vsw_load32(value, swapped) >> VSW_FLAGS_FCS_SHIFT & VSW_FLAGS_FCS_BITS;
            if (fcs)
                return fcs;
        }
    return interface->fcs;
}

/* Goes on filling the burst from `count` on; returns at the limit, at the end, at an error, and at a section with another byte order. */
static inline __attribute__((always_inline)) uint32_t vsw_pcapng_blocks(vsw_walk *walk, vsw_burst *burst, uint32_t count, uint32_t limit,
                                                                        const int swapped)
{
    const uint8_t *at = walk->at, *const end = walk->end, *const stop = walk->stop;
    uint32_t guess = walk->guess < VSW_BLOCK_MIN ? VSW_BLOCK_MIN : walk->guess;
    const uint32_t step = vsw_walk_step(walk);
    uintptr_t asked = walk->asked;

    while (count < limit && at < stop) {
        uint64_t there = at < end ? (uint64_t)(end - at) : 0;
        if (there < VSW_BLOCK_MIN) {
            if (there)
                vsw_walk_stopped(walk, VSW_WALK_CUT_HEADER, at, there, VSW_BLOCK_MIN);
            break;
        }
        uint32_t type = vsw_load32(at, swapped), total = vsw_load32(at + VSW_BLOCK_LENGTH, swapped);
        if (__builtin_expect(type == VSW_BLOCK_SECTION, 0)) {
            total = vsw_pcapng_section(walk, at, there);
            at += total;
            if (total && (int)walk->swapped == swapped)
                continue;
            break;
        }
        if (__builtin_expect(total != guess, 0)) {
            if (total < VSW_BLOCK_MIN || total % 4) {
                vsw_walk_stopped(walk, VSW_WALK_BLOCK_LENGTH, at, total, VSW_BLOCK_MIN);
                break;
            }
            if (total > VSW_BLOCK_MAX) {
                vsw_walk_stopped(walk, VSW_WALK_BLOCK_LONG, at, total, VSW_BLOCK_MAX);
                break;
            }
            guess = total;
            __asm__ volatile("" : "+r"(guess));
        }
        if (there < guess) {
            vsw_walk_stopped(walk, VSW_WALK_CUT_RECORD, at, there, guess);
            break;
        }
        uint32_t trailer = vsw_load32(at + guess - VSW_BLOCK_TRAILER, swapped);
        if (__builtin_expect(trailer != guess, 0)) {
            vsw_walk_stopped(walk, VSW_WALK_BLOCK_TRAILER, at, trailer, guess);
            break;
        }
        asked = vsw_walk_ask(asked, step, at);
        uint32_t number, captured, length, offset, body = guess;
        uint64_t ticks = 0;
        if (__builtin_expect(type == VSW_BLOCK_ENHANCED || type == VSW_BLOCK_PACKET, 1)) {
            if (guess < VSW_PACKET_MIN) {
                vsw_walk_stopped(walk, VSW_WALK_BLOCK_LENGTH, at, guess, VSW_PACKET_MIN);
                break;
            }
            number = type == VSW_BLOCK_ENHANCED ? vsw_load32(at + VSW_PACKET_INTERFACE, swapped) : vsw_load16(at + VSW_PACKET_INTERFACE, swapped);
            ticks = (uint64_t)vsw_load32(at + VSW_PACKET_HIGH, swapped) << 32 | vsw_load32(at + VSW_PACKET_LOW, swapped);
            captured = vsw_load32(at + VSW_PACKET_CAPTURED, swapped);
            length = vsw_load32(at + VSW_PACKET_LENGTH, swapped);
            offset = VSW_PACKET_DATA;
            body -= VSW_PACKET_MIN;
        } else if (type == VSW_BLOCK_SIMPLE) {
            if (guess < VSW_SIMPLE_MIN) {
                vsw_walk_stopped(walk, VSW_WALK_BLOCK_LENGTH, at, guess, VSW_SIMPLE_MIN);
                break;
            }
            number = 0;
            length = captured = vsw_load32(at + VSW_SIMPLE_LENGTH, swapped);
            offset = VSW_SIMPLE_DATA;
            body -= VSW_SIMPLE_MIN;
        } else {
            if (type == VSW_BLOCK_INTERFACE && !vsw_pcapng_interface(walk, at, guess, swapped))
                break;
            at += guess;
            continue;
        }
        if (__builtin_expect(number >= walk->interface_count - walk->section, 0)) {
            vsw_walk_stopped(walk, VSW_WALK_INTERFACE, at, number, walk->interface_count - walk->section);
            break;
        }
        const vsw_interface *interface = &walk->interfaces[walk->section + number];
        if (__builtin_expect(interface->linktype != VSW_LINKTYPE_ETHERNET, 0)) {
            if (!walk->tolerant) {
                vsw_walk_stopped(walk, VSW_WALK_LINKTYPE, at, interface->linktype, VSW_LINKTYPE_ETHERNET);
                break;
            }
            walk->skipped++;
            at += guess;
            continue;
        }
        if (type == VSW_BLOCK_SIMPLE && interface->snaplen && captured > interface->snaplen)
            captured = interface->snaplen;
        if (__builtin_expect(captured > VSW_CAPTURED_MAX, 0)) {
            vsw_walk_stopped(walk, VSW_WALK_CAPTURED, at, captured, VSW_CAPTURED_MAX);
            break;
        }
        if (__builtin_expect(captured > body, 0)) {
            vsw_walk_stopped(walk, VSW_WALK_BODY, at, body, captured);
            break;
        }
        if (__builtin_expect(length < captured, 0)) {
            length = captured;
            walk->longer++;
        }
        uint32_t fcs = interface->fcs;
        if (__builtin_expect(body - captured > 3, 0) && type != VSW_BLOCK_SIMPLE)  /* options */
            fcs = vsw_pcapng_fcs(interface, at + offset + VSW_PAD4(captured), at + guess - VSW_BLOCK_TRAILER, swapped);
        if (__builtin_expect(fcs, 0)) {
            length -= length < fcs ? length : fcs;
            if (captured > length)
                captured = length;
        }
        burst->data[count] = at + offset;
        burst->captured[count] = captured;
        burst->length[count] = length;
        burst->time[count] = type == VSW_BLOCK_SIMPLE ? 0 : vsw_pcapng_time(interface, ticks);
        burst->interface[count] = (uint16_t)(walk->section + number);
        count++;
        at += guess;
    }
    walk->at = at;
    walk->guess = guess;
    walk->asked = asked;
    return count;
}

static uint32_t vsw_pcapng_scan(vsw_walk *walk, vsw_burst *burst, uint32_t limit)
{
    uint32_t count = 0, swapped;
    do {
        swapped = walk->swapped;
        count = swapped ? vsw_pcapng_blocks(walk, burst, count, limit, 1) : vsw_pcapng_blocks(walk, burst, count, limit, 0);
    } while (walk->swapped != swapped && walk->error == VSW_WALK_OK);
    return count;
}

#endif
