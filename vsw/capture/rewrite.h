/* rewrite.h: a capture written again, with other bytes for some of its frames and everything else as it was.
 *
 * Beside a walk, which proves each record's lengths: the walk says where the frames are, and this goes over the same bytes behind it.  What does not change
 * (records of frames that stay as they are, blocks that hold no frame, options) is handed on in pieces as long as possible.  What has to change
 * with a frame's length changes: the record's lengths, a section's length (to "not known"), snap lengths (a tag pushed into a frame that was
 * cut makes it longer than the file said a record would be), frame check sequences, and hash options, which go.
 *
 * The walk reads by a window (stream.h): the bytes are ours, nobody changes them between the walk and this, and they are gone at the next burst.
 * Thread-safety: a rewrite belongs to one thread.  */
#ifndef VSW_CAPTURE_REWRITE_H
#define VSW_CAPTURE_REWRITE_H

#include "vsw/capture/stream.h"
#include "vsw/capture/write.h"
#include "vsw/datapath/wire/retag.h"

#define VSW_OPTION_HASH 3u             /* of a packet: over bytes that are no longer those */
#define VSW_FCS 4u                     /* the only frame check sequence that Ethernet has */
#define VSW_REWRITE_AROUND 96u         /* at least what a record has around its frame, without options */

typedef struct vsw_rewrite {
    vsw_writer *writer;
    const vsw_retag *rule;
    const uint8_t *done;               /* everything before it is written, or handed on */
    const uint8_t *block;              /* pcapng: the next block that was not looked at; all before it from `done` on stays as it is */
    vsw_stream *stream;                /* what the walk reads */
    uint32_t pcapng;
    uint32_t swapped;
    uint32_t grow;                     /* bytes that snap lengths grow by */
    uint64_t outcomes[VSW_RETAG_OUTCOMES];
    uint64_t padded;
    uint64_t shortened;                /* frames that lost captured bytes, because no reader takes more than VSW_CAPTURED_MAX */
    uint64_t fcs;                      /* frame check sequences that were made anew */
    uint32_t crc[256];
} vsw_rewrite;

static inline void vsw_rewrite_start(vsw_rewrite *r, const uint8_t *at)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
        r->crc[i] = value;
    }
    r->done = r->block = at;
}

static inline uint32_t vsw_rewrite_crc(const vsw_rewrite *r, uint32_t value, const uint8_t *from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        value = value >> 8 ^ r->crc[(value ^ from[i]) & 0xFF];
    return value;
}

static inline uint32_t vsw_order32(uint32_t value, uint32_t swapped) { return swapped ? __builtin_bswap32(value) : value; }

/* Hands on what stays as it is, up to `at`. */
static inline void vsw_rewrite_pass(vsw_rewrite *r, const uint8_t *at)
{
    if (at > r->done)
        vsw_writer_raw(r->writer, r->done, (size_t)(at - r->done));
    r->done = at;
}

/* What snap lengths become: a limit of 0 is none, and one that is as large as any reader's stays. */
static inline uint32_t vsw_rewrite_snaplen(const vsw_rewrite *r, uint32_t snaplen)
{
    return snaplen && snaplen < VSW_CAPTURED_MAX ? snaplen + r->grow : snaplen;
}

/* A pcap file's header. */
static inline void vsw_rewrite_pcap_header(vsw_rewrite *r, const uint8_t *base)
{
    uint8_t header[VSW_PCAP_HEADER];
    memcpy(header, base, sizeof header);
    vsw_store32(header + VSW_PCAP_SNAPLEN, vsw_order32(vsw_rewrite_snaplen(r, vsw_load32(base + VSW_PCAP_SNAPLEN, (int)r->swapped)), r->swapped));
    vsw_writer_raw(r->writer, header, sizeof header);
}

/* Goes over the blocks that hold no frame, to the one that holds the byte `frame` (NULL: to `stop`, which gives NULL).  The walk has been there. */
static inline const uint8_t *vsw_rewrite_block(vsw_rewrite *r, const uint8_t *frame, const uint8_t *stop, uint32_t *total)
{
    while (r->block < stop) {
        const uint8_t *at = r->block;
        uint32_t type = vsw_load32(at, (int)r->swapped);
        if (type == VSW_BLOCK_SECTION)
            r->swapped = vsw_load32(at + VSW_SECTION_ORDER, 0) != VSW_SECTION_MAGIC;
        uint32_t length = vsw_load32(at + VSW_BLOCK_LENGTH, (int)r->swapped);
        r->block = at + length;
        if (frame && frame < at + length) {
            *total = length;
            return at;
        }
        if (type == VSW_BLOCK_SECTION) {
            uint8_t unknown[8];
            memset(unknown, 0xFF, sizeof unknown);
            vsw_rewrite_pass(r, at + VSW_SECTION_OPTIONS - sizeof unknown);
            vsw_writer_raw(r->writer, unknown, sizeof unknown);
            r->done = at + VSW_SECTION_OPTIONS;
        } else if (type == VSW_BLOCK_INTERFACE && r->grow) {
            uint8_t snaplen[4];
            vsw_rewrite_pass(r, at + VSW_INTERFACE_SNAPLEN);
            vsw_store32(snaplen, vsw_order32(vsw_rewrite_snaplen(r, vsw_load32(at + VSW_INTERFACE_SNAPLEN, (int)r->swapped)), r->swapped));
            vsw_writer_raw(r->writer, snaplen, sizeof snaplen);
            r->done = at + VSW_INTERFACE_OPTIONS;
        }
    }
    return NULL;
}

/* A frame as it is written: what the edit says, its frame check sequence, and the lengths that the record gives. */
typedef struct vsw_rewrite_frame {
    const uint8_t *data;
    uint32_t body;                     /* bytes of the old frame that follow the head */
    uint32_t captured, length;         /* with the check sequence */
    uint32_t fcs_bytes;
    uint8_t fcs[VSW_FCS];
} vsw_rewrite_frame;

/* `extra_captured` and `extra_length`: bytes of check sequence behind the frame, as the record has it. */
static inline __attribute__((always_inline)) void vsw_rewrite_measure(vsw_rewrite *r, const vsw_edit *edit, const uint8_t *data, uint32_t captured,
                                                                      uint32_t length, uint32_t extra_captured, uint32_t extra_length,
                                                                      vsw_rewrite_frame *f)
{
    f->data = data;
    f->body = captured - edit->body_at;
    f->captured = edit->captured;
    f->length = edit->length > UINT32_MAX - extra_length ? UINT32_MAX : edit->length + extra_length;
    f->fcs_bytes = 0;
    if (__builtin_expect(extra_captured != 0, 0) && extra_captured == extra_length && captured == length && extra_length == VSW_FCS) {
        uint32_t old = ~vsw_rewrite_crc(r, ~0u, data, captured);
        memcpy(f->fcs, data + captured, VSW_FCS);
        if (memcmp(&old, f->fcs, VSW_FCS) == 0) {      /* one that was wrong stays what it was, and wrong */
            static const uint8_t zeros[VSW_RETAG_SHORTEST];
            uint32_t value = vsw_rewrite_crc(r, ~0u, edit->head, edit->head_len);
            value = vsw_rewrite_crc(r, value, data + edit->body_at, f->body);
            value = ~vsw_rewrite_crc(r, value, zeros, edit->pad);
            memcpy(f->fcs, &value, VSW_FCS);
            r->fcs++;
        }
        f->fcs_bytes = VSW_FCS;
        f->captured += VSW_FCS;
    }
    if (__builtin_expect(f->captured > VSW_CAPTURED_MAX, 0)) {
        f->captured -= f->fcs_bytes;
        f->fcs_bytes = 0;
        uint32_t over = f->captured > VSW_CAPTURED_MAX ? f->captured - VSW_CAPTURED_MAX : 0;
        f->captured -= over;
        f->body -= over;
        r->shortened++;
    }
}

/* Room for a record; NULL if the whole buffer is too small. */
static inline uint8_t *vsw_rewrite_room(vsw_rewrite *r, uint64_t need)
{
    vsw_writer *writer = r->writer;
    if (need > writer->room - writer->filled)
        vsw_writer_flush(writer);
    return need > writer->room ? NULL : writer->buffer + writer->filled;
}

/* The frame's bytes behind `to`; returns what comes after them. */
static inline __attribute__((always_inline)) uint8_t *vsw_rewrite_bytes(uint8_t *to, const vsw_edit *edit, const vsw_rewrite_frame *f)
{
    memcpy(to, edit->head, VSW_RETAG_HEAD);            /* the buffer has slack */
    to += edit->head_len;
    if (f->body <= VSW_SLACK)          /* a walk's frames are roomy */
        memcpy(to, f->data + edit->body_at, VSW_SLACK);
    else
        memcpy(to, f->data + edit->body_at, f->body);
    to += f->body;
    memset(to, 0, edit->pad);
    to += edit->pad;
    memcpy(to, f->fcs, f->fcs_bytes);
    return to + f->fcs_bytes;
}

/* A record too long for the buffer: in one piece through memory of its own. */
static __attribute__((noinline)) uint8_t *vsw_rewrite_huge(vsw_rewrite *r, uint64_t need)
{
    uint8_t *memory = malloc(need + 2 * VSW_SLACK);
    if (!memory)
        r->writer->error = ENOMEM;
    return memory;
}

static inline void vsw_rewrite_written(vsw_rewrite *r, uint8_t *start, uint8_t *to, int own)
{
    if (own) {
        vsw_writer_put(r->writer, start, (size_t)(to - start));
        free(start);
    } else {
        r->writer->filled += (size_t)(to - start);
    }
    r->writer->frames++;
}

/* One frame of a pcap file. */
static inline __attribute__((always_inline)) void vsw_rewrite_pcap(vsw_rewrite *r, const vsw_edit *edit, const uint8_t *data, uint32_t captured, uint32_t length)
{
    const uint8_t *record = data - VSW_PCAP_RECORD;
    uint32_t there = vsw_load32(record + VSW_PCAP_CAPTURED, (int)r->swapped), wire = vsw_load32(record + VSW_PCAP_LENGTH, (int)r->swapped);
    vsw_rewrite_frame f;
    if (wire < there)
        wire = there;
    vsw_rewrite_measure(r, edit, data, captured, length, there - captured, wire - length, &f);
    vsw_rewrite_pass(r, record);
    uint64_t need = VSW_REWRITE_AROUND + (uint64_t)f.captured;
    uint8_t *start = vsw_rewrite_room(r, need), *to;
    int own = !start;
    if (own && !(start = vsw_rewrite_huge(r, need)))
        return;
    memcpy(start, record, VSW_PCAP_CAPTURED);
    vsw_store32(start + VSW_PCAP_CAPTURED, vsw_order32(f.captured, r->swapped));
    vsw_store32(start + VSW_PCAP_LENGTH, vsw_order32(f.length, r->swapped));
    to = vsw_rewrite_bytes(start + VSW_PCAP_RECORD, edit, &f);
    vsw_rewrite_written(r, start, to, own);
    r->done = data + there;
}

/* Options without those that no longer hold; returns what comes after them. */
static inline uint8_t *vsw_rewrite_options(vsw_rewrite *r, uint8_t *to, const uint8_t *from, const uint8_t *end)
{
    uint32_t code, length;
    const uint8_t *value, *at = from;
    while (vsw_pcapng_option(&at, end, (int)r->swapped, &code, &length, &value) > 0) {
        if (code != VSW_OPTION_HASH) {
            memcpy(to, from, (size_t)(at - from));
            to += at - from;
        }
        from = at;
    }
    memcpy(to, from, (size_t)(end - from));
    return to + (end - from);
}

/* One frame of a pcapng file, in the block `block` of `total` bytes.  A simple block that holds less than its frame becomes an enhanced one: what it holds
 * is told by its interface's snap length alone. */
static inline __attribute__((always_inline)) void vsw_rewrite_pcapng(vsw_rewrite *r, const vsw_edit *edit, const uint8_t *block, uint32_t total,
                                                                    const uint8_t *data, uint32_t captured, uint32_t length)
{
    int swapped = (int)r->swapped;
    uint32_t type = vsw_load32(block, swapped), simple = type == VSW_BLOCK_SIMPLE;
    uint32_t there = captured, wire = length, offset = simple ? VSW_SIMPLE_DATA : VSW_PACKET_DATA;
    vsw_rewrite_frame f;
    if (!simple) {
        there = vsw_load32(block + VSW_PACKET_CAPTURED, swapped);
        wire = vsw_load32(block + VSW_PACKET_LENGTH, swapped);
    } else {
        wire = vsw_load32(block + VSW_SIMPLE_LENGTH, swapped);
        if (wire > length && captured == length)       /* a check sequence, and all of it there */
            there = wire <= total - offset - VSW_BLOCK_TRAILER ? wire : captured;
    }
    if (wire < there)
        wire = there;
    const uint8_t *options = data + VSW_PAD4(there), *options_end = block + total - VSW_BLOCK_TRAILER;
    vsw_rewrite_measure(r, edit, data, captured, length, there - captured, wire - length, &f);
    vsw_rewrite_pass(r, block);
    int keeps = simple && f.captured == f.length;
    uint64_t need = VSW_REWRITE_AROUND + (uint64_t)f.captured + (uint64_t)(options_end - options);
    uint8_t *start = vsw_rewrite_room(r, need), *to;
    int own = !start;
    if (own && !(start = vsw_rewrite_huge(r, need)))
        return;
    if (simple) {
        memset(start, 0, VSW_PACKET_DATA);
        vsw_store32(start, vsw_order32(keeps ? VSW_BLOCK_SIMPLE : VSW_BLOCK_ENHANCED, r->swapped));
    } else {
        memcpy(start, block, VSW_PACKET_DATA);
    }
    if (keeps) {
        vsw_store32(start + VSW_SIMPLE_LENGTH, vsw_order32(f.length, r->swapped));
        to = start + VSW_SIMPLE_DATA;
    } else {
        vsw_store32(start + VSW_PACKET_CAPTURED, vsw_order32(f.captured, r->swapped));
        vsw_store32(start + VSW_PACKET_LENGTH, vsw_order32(f.length, r->swapped));
        to = start + VSW_PACKET_DATA;
    }
    to = vsw_rewrite_bytes(to, edit, &f);
    vsw_store32(to, 0);
    to += VSW_PAD4(f.captured) - f.captured;
    if (__builtin_expect(options < options_end, 0) && !simple)
        to = vsw_rewrite_options(r, to, options, options_end);
    uint32_t now = (uint32_t)(to - start) + VSW_BLOCK_TRAILER;
    vsw_store32(start + VSW_BLOCK_LENGTH, vsw_order32(now, r->swapped));
    vsw_store32(to, vsw_order32(now, r->swapped));
    vsw_rewrite_written(r, start, to + VSW_BLOCK_TRAILER, own);
    r->done = block + total;
}

/* All frames of a burst.  0: writing failed. */
static inline int vsw_rewrite_burst(vsw_rewrite *r, const vsw_burst *burst)
{
    vsw_edit edit;
    for (uint32_t i = 0; i < burst->count; i++) {
        const uint8_t *data = burst->data[i];
        uint32_t captured = burst->captured[i], length = burst->length[i], total = 0;
        vsw_retag_outcome outcome = vsw_retag_frame(r->rule, data, captured, length, &edit);
        r->outcomes[outcome]++;
        r->padded += edit.pad != 0;
        if (r->pcapng) {
            const uint8_t *block = vsw_rewrite_block(r, data, data + 1, &total);
            if (outcome == VSW_RETAG_DONE || (r->grow && captured < length && vsw_load32(block, (int)r->swapped) == VSW_BLOCK_SIMPLE))
                vsw_rewrite_pcapng(r, &edit, block, total, data, captured, length);
        } else if (outcome == VSW_RETAG_DONE) {
            vsw_rewrite_pcap(r, &edit, data, captured, length);
        }
    }
    return !r->writer->error;
}

/* Up to `stop`, where the walk stands, and no frame is left. */
static inline void vsw_rewrite_rest(vsw_rewrite *r, const uint8_t *stop)
{
    uint32_t total;
    if (r->pcapng)
        vsw_rewrite_block(r, NULL, stop, &total);
    vsw_rewrite_pass(r, stop);
}

/* vsw_walk.refill: what lies before the walk is about to go. */
static uint32_t vsw_rewrite_refill(vsw_walk *walk)
{
    vsw_rewrite *r = walk->owner;
    vsw_rewrite_rest(r, walk->at);
    if (!r->stream->size)
        vsw_writer_flush(r->writer);   /* a pipe: who reads what we write need not wait for what is still to come */
    uint32_t more = vsw_stream_more(r->stream, walk);
    r->done = r->block = walk->at;
    return more;
}

#endif
