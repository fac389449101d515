/* walk.h: one pass over the records of a capture, as a source of bursts.
 *
 * A walk goes over memory that holds (a part of) a capture: a mapped file, or the window of a stream.  What differs between formats is
 * `scan`, which fills a burst from `at` onwards (pcap.h, pcapng.h); what is common is here: the limits of a pass, checkpoints, pages that
 * are mapped ahead, refilling a stream's window, and what was wrong with the input.
 *
 * Memory: the owner guarantees VSW_SLACK readable bytes before `base` and after `end`, so that every burst is roomy.
 * Thread-safety: a walk belongs to one thread; the vsw_index that several walks share has a lock of its own.  */
#ifndef VSW_CAPTURE_WALK_H
#define VSW_CAPTURE_WALK_H

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "vsw/datapath/burst.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "vsw reads captures on little-endian machines only"
#endif
#if !defined(__SIZEOF_INT128__)
#error "vsw needs a 64-bit compiler with 128-bit integers"
#endif

#define VSW_CAPTURED_MAX 262144u       /* bytes of one frame, libpcap's bound: a longer record is taken for a damaged one */
#define VSW_CHECKPOINT 4096u           /* frames from one checkpoint of the index to the next */
#define VSW_WINDOW_SHIFT 22            /* a mapping is read ahead in windows of 4 MiB */
#define VSW_WINDOW ((uint64_t)1 << VSW_WINDOW_SHIFT)
#define VSW_RESIDENT ((uint64_t)1 << 30) /* a mapping larger than this gives back the pages that a pass has left behind */
#define VSW_BEHIND 16                  /* ... this many windows behind */
#define VSW_AHEAD 8192u                /* bytes from the record that is read to where lines are asked for; the kernel maps 64 KiB at once, many times that */
#define VSW_LINE 64u
#define VSW_LONG 1280u                 /* records of more bytes on average: of them the first line each is asked for, not all */
#define VSW_INTERFACES_MAX 65535u      /* burst.interface has 16 bits */
#define VSW_NANOSECONDS 1000000000u
#define VSW_LINKTYPE_ETHERNET 1u
#define VSW_NO_END UINT64_MAX

/* What stopped a walk.  `error_at` is the stream offset of the record, `error_found` and `error_wanted` what was there and what was expected. */
typedef enum vsw_walk_error {
    VSW_WALK_OK,
    VSW_WALK_CUT_HEADER,               /* a record's header needs `wanted` bytes, `found` are left */
    VSW_WALK_CUT_RECORD,               /* a record needs `wanted` bytes, `found` are left */
    VSW_WALK_CAPTURED,                 /* captured length `found`, at most `wanted` */
    VSW_WALK_SHRUNK,                   /* the file had `wanted` bytes when it was opened and has `found` now */
    VSW_WALK_INPUT,                    /* reading from the stream failed: errno `found` */
    VSW_WALK_INTERRUPTED,              /* a signal's handler raised: not the input's fault */
    VSW_WALK_TAIL,                     /* the compressed stream was damaged behind the last byte that came out of it */
    VSW_WALK_BLOCK_LENGTH,             /* block length `found`, at least `wanted` and a multiple of 4 */
    VSW_WALK_BLOCK_LONG,               /* block length `found`, at most `wanted` */
    VSW_WALK_BLOCK_TRAILER,            /* length after the block `found`, before it `wanted` */
    VSW_WALK_BODY,                     /* the block announces `wanted` bytes of frame, its body holds `found` */
    VSW_WALK_SECTION_ORDER,            /* byte-order magic `found` */
    VSW_WALK_SECTION_VERSION,          /* version `found` (major << 16 | minor), `wanted` likewise */
    VSW_WALK_INTERFACE,                /* interface `found`, the section has `wanted` */
    VSW_WALK_INTERFACES,               /* more than `wanted` interfaces */
    VSW_WALK_LINKTYPE,                 /* a frame of an interface with link type `found` */
    VSW_WALK_OPTION,                   /* an option needs `wanted` bytes, `found` are left */
    VSW_WALK_MEMORY
} vsw_walk_error;

/* An interface of a pcapng capture, as the walk needs it: nanoseconds = (ticks * multiply >> shift) / divide + offset. */
typedef struct vsw_interface {
    uint64_t block;                    /* stream offset of its description, where name and comment are read on request */
    int64_t offset;                    /* ns */
    uint64_t multiply;
    uint64_t divide;
    uint32_t shift;
    uint32_t snaplen;                  /* 0: no limit */
    uint16_t linktype;
    uint8_t fcs;                       /* bytes of frame check sequence at the end of each frame */
    uint8_t swapped;
} vsw_interface;

/* Where the walk stood before frame number i * VSW_CHECKPOINT, and what it knew then. */
typedef struct vsw_checkpoint {
    uint64_t offset;
    uint64_t skipped;
    uint64_t longer;
    uint32_t section;                  /* pcapng: global number of the section's first interface */
    uint32_t interfaces;               /* pcapng: interfaces of the file so far */
    uint32_t swapped;
} vsw_checkpoint;

/* The sparse index of one file: grows while passes go by, complete when one of them reached the end. */
typedef struct vsw_index {
    pthread_mutex_t lock;
    vsw_checkpoint *checkpoints;       /* the first one is frame 0 */
    uint64_t count;
    uint64_t room;
    uint32_t complete;
    /* Valid when complete: */
    uint64_t frames;
    uint64_t skipped;                  /* frames of interfaces that are not Ethernet */
    uint64_t longer;                   /* frames that had more bytes captured than their length says */
    vsw_walk_error error;
    uint64_t error_at, error_found, error_wanted;
    vsw_interface *interfaces;         /* of the whole file so far, also before the index is complete */
    uint32_t interface_count;
    uint32_t interface_room;
} vsw_index;

/* A mapped file, shared by the walks over it. */
typedef struct vsw_mapping {
    const uint8_t *base;
    uint64_t size;
    int fd;                            /* to look whether the file shrank; -1: not a file that can */
    uint8_t *windows;                  /* one byte a window: 1 = asked for already.  Written by several threads; a lost write costs a system call. */
} vsw_mapping;

typedef struct vsw_walk vsw_walk;
struct vsw_walk {
    vsw_source source;                 /* first: a walk is a source */
    uint32_t (*scan)(vsw_walk *self, vsw_burst *burst, uint32_t limit);
    /* Reads more of a stream (moving what is left to the front); 0: nothing more comes.  NULL for mapped files. */
    uint32_t (*refill)(vsw_walk *self);
    void *owner;
    const uint8_t *at;                 /* the next record */
    const uint8_t *end;                /* after the last byte that is there */
    const uint8_t *stop;               /* no record that starts here or later is read; at least `at`, may lie after `end` */
    const uint8_t *base;               /* the byte with stream offset `base_offset` */
    uint64_t base_offset;
    const uint8_t *window;             /* when `at` comes here the next window is looked after */
    uintptr_t asked;                   /* what lies before this address was asked for: it is on its way into the cache */
    uint32_t mean;                     /* bytes of a record of the last burst */
    vsw_mapping *mapping;
    vsw_index *index;                  /* NULL: the walk does not know its frame numbers */
    uint64_t frame;                    /* number of the next frame */
    uint64_t left;                     /* frames that may still be delivered */
    uint64_t skipped;
    uint64_t longer;
    uint32_t guess;                    /* the length that the last record had */
    uint32_t tolerant;
    uint32_t done;
    uint32_t tail;                     /* the stream was damaged behind `end` */
    uint32_t swapped;                  /* numbers are in the other byte order; pcapng: those of the section */
    uint32_t fcs;                      /* pcap: bytes of frame check sequence */
    uint32_t scale;                    /* pcap: nanoseconds of a unit of the fraction, where `scan` has no constant for it */
    vsw_walk_error error;
    uint64_t error_at, error_found, error_wanted;
    /* pcapng */
    vsw_interface *interfaces;
    uint32_t interface_count, interface_room;
    uint32_t section;                  /* global number of the section's first interface */
    uint8_t **kept;                    /* streams: interface descriptions as they came; NULL for mapped files, where they stay */
    uint64_t kept_bytes;
};

static inline uint16_t vsw_load16(const uint8_t *from, int swapped)
{
    uint16_t value;
    memcpy(&value, from, sizeof value);
    return swapped ? __builtin_bswap16(value) : value;
}

static inline uint32_t vsw_load32(const uint8_t *from, int swapped)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return swapped ? __builtin_bswap32(value) : value;
}

static inline uint64_t vsw_load64(const uint8_t *from, int swapped)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return swapped ? __builtin_bswap64(value) : value;
}

static inline uint64_t vsw_walk_offset(const vsw_walk *walk, const uint8_t *at)
{
    return walk->base_offset + (uint64_t)(at - walk->base);
}

static inline void vsw_walk_stopped(vsw_walk *walk, vsw_walk_error error, const uint8_t *at, uint64_t found, uint64_t wanted)
{
    walk->error = error;
    walk->error_at = vsw_walk_offset(walk, at);
    walk->error_found = found;
    walk->error_wanted = wanted;
}

/* Index: all functions take the lock themselves, but where they say otherwise. */

static inline int vsw_index_start(vsw_index *index, const vsw_checkpoint *first)
{
    memset(index, 0, sizeof *index);
    index->checkpoints = malloc(64 * sizeof *index->checkpoints);
    if (!index->checkpoints)
        return -1;
    index->room = 64;
    index->checkpoints[0] = *first;
    index->count = 1;
    return pthread_mutex_init(&index->lock, NULL);
}

static inline void vsw_index_free(vsw_index *index)
{
    if (!index->checkpoints)
        return;
    free(index->checkpoints);
    free(index->interfaces);
    pthread_mutex_destroy(&index->lock);
    memset(index, 0, sizeof *index);
}

static inline void vsw_index_lock(vsw_index *index)
{
    pthread_mutex_lock(&index->lock);
}

static inline void vsw_index_unlock(vsw_index *index)
{
    pthread_mutex_unlock(&index->lock);
}

/* The last checkpoint at or before `frame`; returns its number. */
static inline uint64_t vsw_index_find(vsw_index *index, uint64_t frame, vsw_checkpoint *found)
{
    pthread_mutex_lock(&index->lock);
    uint64_t number = frame / VSW_CHECKPOINT;
    if (number >= index->count)
        number = index->count - 1;
    *found = index->checkpoints[number];
    pthread_mutex_unlock(&index->lock);
    return number;
}

/* The checkpoint at stream offset `offset`; returns its number, VSW_NO_END if there is none. */
static inline uint64_t vsw_index_find_offset(vsw_index *index, uint64_t offset, vsw_checkpoint *found)
{
    uint64_t low = 0, number = VSW_NO_END;
    pthread_mutex_lock(&index->lock);
    for (uint64_t high = index->count; low < high;) {
        uint64_t middle = low + (high - low) / 2;
        if (index->checkpoints[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < index->count && index->checkpoints[low].offset == offset) {
        number = low;
        *found = index->checkpoints[low];
    }
    pthread_mutex_unlock(&index->lock);
    return number;
}

/* Frames that are known to be there, and whether that is all. */
static inline uint64_t vsw_index_known(vsw_index *index, uint32_t *complete)
{
    pthread_mutex_lock(&index->lock);
    *complete = index->complete;
    uint64_t known = index->complete ? index->frames : (index->count - 1) * VSW_CHECKPOINT;
    pthread_mutex_unlock(&index->lock);
    return known;
}

/* Interfaces that a walk knows and the index does not yet.  Called with the lock held. */
static inline void vsw_index_interfaces(vsw_index *index, const vsw_walk *walk)
{
    if (walk->interface_count <= index->interface_count)
        return;
    if (walk->interface_count > index->interface_room) {
        vsw_interface *grown = realloc(index->interfaces, walk->interface_room * sizeof *grown);
        if (!grown)
            return;                    /* a later pass tries again; walks that start at a checkpoint count what they got */
        index->interfaces = grown;
        index->interface_room = walk->interface_room;
    }
    memcpy(index->interfaces + index->interface_count, walk->interfaces + index->interface_count,
           (walk->interface_count - index->interface_count) * sizeof *walk->interfaces);
    index->interface_count = walk->interface_count;
}

static inline void vsw_index_checkpoint(vsw_index *index, const vsw_walk *walk)
{
    pthread_mutex_lock(&index->lock);
    vsw_index_interfaces(index, walk);
    if (walk->frame / VSW_CHECKPOINT == index->count && index->interface_count >= walk->interface_count && !index->complete) {
        if (index->count == index->room) {
            vsw_checkpoint *grown = realloc(index->checkpoints, 2 * index->room * sizeof *grown);
            if (grown) {
                index->checkpoints = grown;
                index->room *= 2;
            }
        }
        if (index->count < index->room)
            index->checkpoints[index->count++] = (vsw_checkpoint){
                .offset = vsw_walk_offset(walk, walk->at), .skipped = walk->skipped,
                .longer = walk->longer, .section = walk->section, .interfaces = walk->interface_count, .swapped = walk->swapped};
    }
    pthread_mutex_unlock(&index->lock);
}

static inline void vsw_index_finish(vsw_index *index, const vsw_walk *walk)
{
    pthread_mutex_lock(&index->lock);
    vsw_index_interfaces(index, walk);
    if (!index->complete) {
        index->frames = walk->frame;
        index->skipped = walk->skipped;
        index->longer = walk->longer;
        index->error = walk->error;
        index->error_at = walk->error_at;
        index->error_found = walk->error_found;
        index->error_wanted = walk->error_wanted;
        index->complete = 1;
    }
    pthread_mutex_unlock(&index->lock);
}

/* Called when `at` comes to a new window: has the kernel read it and the next one, gives back what lies far behind, and looks whether the file is
 * still as long as it was: reading behind its end would be SIGBUS.  (Mapping the window in one call, MADV_POPULATE_READ, is a tenth slower on a
 * file in memory than the kernel's own faults, which map 16 pages each.) */
static __attribute__((noinline)) void vsw_walk_window(vsw_walk *walk)
{
    vsw_mapping *mapping = walk->mapping;
    uint64_t number = (uint64_t)(walk->at - mapping->base) >> VSW_WINDOW_SHIFT, from = number << VSW_WINDOW_SHIFT, size = mapping->size;
    struct stat status;
    if (mapping->fd >= 0 && fstat(mapping->fd, &status) == 0 && (uint64_t)status.st_size < (uint64_t)(walk->end - mapping->base))
        walk->end = mapping->base + status.st_size;
    for (unsigned i = 0; i < 2 && from < size; i++, number++, from += VSW_WINDOW) {
        if (mapping->windows[number])
            continue;
        mapping->windows[number] = 1;
        (void)madvise((void *)(uintptr_t)(mapping->base + from), size - from < VSW_WINDOW ? size - from : VSW_WINDOW, MADV_WILLNEED);
    }
    number = (uint64_t)(walk->at - mapping->base) >> VSW_WINDOW_SHIFT;
    if (size > VSW_RESIDENT && number >= VSW_BEHIND) {
        number -= VSW_BEHIND;
        mapping->windows[number] = 0;
        (void)madvise((void *)(uintptr_t)(mapping->base + (number << VSW_WINDOW_SHIFT)), VSW_WINDOW, MADV_DONTNEED);
        number += VSW_BEHIND;
    }
    walk->window = mapping->base + ((number + 1) << VSW_WINDOW_SHIFT);
}

/* Bytes from one that is asked for to the next. */
static inline uint32_t vsw_walk_step(const vsw_walk *walk)
{
    return walk->mean > VSW_LONG ? walk->mean : VSW_LINE;
}

/* Asks for the bytes up to VSW_AHEAD from `at` on, but for those before `asked`; returns what is `asked` then.  A walk waits for each record that is
 * not in the cache, since only its length says where the next one lies.  Asked for one behind the other lines come many at a time, so a record of which
 * the beginning is read costs less with its other lines than without; but for long ones, of which the first line is asked for. */
static inline __attribute__((always_inline)) uintptr_t vsw_walk_ask(uintptr_t asked, uint32_t step, const uint8_t *at)
{
    for (; asked < (uintptr_t)at + VSW_AHEAD; asked += step)
        __builtin_prefetch((const void *)asked);
    return asked;
}

/* Did the walk stop because the bytes are at their end? */
static inline int vsw_walk_cut(const vsw_walk *walk)
{
    return walk->error == VSW_WALK_OK || walk->error == VSW_WALK_CUT_HEADER || walk->error == VSW_WALK_CUT_RECORD;
}

/* vsw_source.next of every walk. */
static uint32_t vsw_walk_next(vsw_source *source, vsw_burst *burst, uint32_t limit)
{
    vsw_walk *walk = (vsw_walk *)source;
    burst->roomy = 1;
    burst->count = 0;
    if (limit > walk->left)
        limit = (uint32_t)walk->left;
    if (walk->index && limit > VSW_CHECKPOINT - walk->frame % VSW_CHECKPOINT)
        limit = VSW_CHECKPOINT - walk->frame % VSW_CHECKPOINT;
    if (walk->done || !limit)
        return 0;
    for (;;) {
        if (walk->mapping && walk->at >= walk->window)
            vsw_walk_window(walk);
        const uint8_t *from = walk->at;
        if (walk->asked < (uintptr_t)from)
            walk->asked = (uintptr_t)from;
        uint32_t count = walk->scan(walk, burst, limit);
        if (count) {
            uint32_t mean = (uint32_t)((uint64_t)(walk->at - from) / count);
            if (mean > VSW_LONG && mean != walk->mean)
                walk->asked = 0;        /* in step with the records again */
            walk->mean = mean;
            walk->error = VSW_WALK_OK;  /* the next call comes to it again, with nothing before it */
            walk->frame += count;
            walk->left -= count;
            walk->source.position = vsw_walk_offset(walk, walk->at);
            if (walk->index && walk->frame % VSW_CHECKPOINT == 0)
                vsw_index_checkpoint(walk->index, walk);
            burst->count = count;
            return count;
        }
        if (walk->refill && vsw_walk_cut(walk) && walk->at < walk->stop) {
            vsw_walk_error before = walk->error;
            walk->error = VSW_WALK_OK;
            if (walk->refill(walk))
                continue;
            if (walk->error == VSW_WALK_OK)
                walk->error = before;
        }
        break;
    }
    walk->done = 1;
    walk->source.position = vsw_walk_offset(walk, walk->at);
    if (walk->mapping && walk->at < walk->stop && (uint64_t)(walk->end - walk->mapping->base) < walk->mapping->size)
        vsw_walk_stopped(walk, VSW_WALK_SHRUNK, walk->at, (uint64_t)(walk->end - walk->mapping->base), walk->mapping->size);
    else if (walk->tail && walk->at < walk->stop && vsw_walk_cut(walk))
        vsw_walk_stopped(walk, VSW_WALK_TAIL, walk->at, 0, 0);
    walk->source.failed = walk->error == VSW_WALK_INTERRUPTED || (walk->error != VSW_WALK_OK && !walk->tolerant);
    if (walk->index && walk->error != VSW_WALK_INTERRUPTED)
        vsw_index_finish(walk->index, walk);
    return 0;
}

/* Passes over `count` frames without delivering them; returns how many there were. */
static inline uint64_t vsw_walk_skip(vsw_walk *walk, uint64_t count)
{
    vsw_burst burst;
    uint64_t passed = 0, left = walk->left;
    while (passed < count) {
        walk->left = count - passed;
        uint32_t got = vsw_walk_next(&walk->source, &burst, VSW_BURST);
        if (!got)
            break;
        passed += got;
    }
    walk->left = left;
    return passed;
}

#endif
