/* stream.h: a window over a pipe, or over a file, from which a walk is fed as bytes arrive.
 *
 * A frame is delivered as soon as it is there: the walk reads again only when its next record is not complete.  The window grows to the longest
 * record that the formats allow and no further.  One pass over a file costs less this way than by mapping it: the kernel copies into a window that
 * stays in the second-level cache, instead of making the file's pages known to the process.
 *
 * Thread-safety: belongs to the one walk that reads it.  */
#ifndef VSW_CAPTURE_STREAM_H
#define VSW_CAPTURE_STREAM_H

#include <errno.h>
#include <poll.h>
#include <unistd.h>
#include "vsw/capture/pcapng.h"

#define VSW_STREAM_ROOM ((size_t)1 << 20)
#define VSW_STREAM_FILE ((size_t)128 << 10) /* of a window over a file */
#define VSW_STREAM_MAX ((size_t)VSW_BLOCK_MAX + VSW_STREAM_ROOM)

typedef struct vsw_stream {
    int fd;
    uint64_t place, size;              /* a file: where it is read next, and its bytes; a pipe has size 0 */
    uint8_t *memory;                   /* VSW_SLACK bytes, the window, VSW_SLACK bytes */
    size_t room;                       /* bytes of the window */
    size_t filled;
    int (*interrupted)(void *owner);   /* a signal came: 1 if the pass is to end */
    void *owner;
} vsw_stream;

/* `size`: bytes of a file, 0 for a pipe. */
static inline int vsw_stream_start(vsw_stream *stream, int fd, uint64_t size)
{
    memset(stream, 0, sizeof *stream);
    stream->fd = fd;
    stream->size = size;
    stream->room = size ? VSW_STREAM_FILE : VSW_STREAM_ROOM;
    stream->memory = calloc(stream->room + 2 * VSW_SLACK, 1);
    return stream->memory ? 0 : -1;
}

static inline uint8_t *vsw_stream_window(const vsw_stream *stream)
{
    return stream->memory + VSW_SLACK;
}

/* read(2), of a file without moving the place that its descriptor shares with others. */
static inline ssize_t vsw_stream_fetch(vsw_stream *stream, uint8_t *to, size_t count)
{
    if (!stream->size)
        return read(stream->fd, to, count);
    if (count > stream->size - stream->place)
        count = (size_t)(stream->size - stream->place);
    ssize_t got = pread(stream->fd, to, count, (off_t)stream->place);
    stream->place += got > 0 ? (uint64_t)got : 0;
    return got;
}

/* Adds what is there to the window, waiting for at least one byte.  Bytes read; 0 at the end; -1 and errno; EINTR if the owner ends the pass. */
static inline ssize_t vsw_stream_read(vsw_stream *stream)
{
    for (;;) {
        /* a signal that came between two reads does not end the next one */
        if (stream->owner && stream->interrupted && stream->interrupted(stream->owner)) {
            errno = EINTR;
            return -1;
        }
        ssize_t got = vsw_stream_fetch(stream, vsw_stream_window(stream) + stream->filled, stream->room - stream->filled);
        if (got >= 0) {
            stream->filled += (size_t)got;
            return got;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            struct pollfd ready = {.fd = stream->fd, .events = POLLIN};
            if (poll(&ready, 1, -1) >= 0 || errno != EINTR)
                continue;
        }
        if (errno != EINTR || (!stream->owner && stream->interrupted))
            return -1;
    }
}

/* Moves what the walk has not read to the window's front, and reads on; 0: nothing more comes. */
static inline uint32_t vsw_stream_more(vsw_stream *stream, vsw_walk *walk)
{
    size_t left = (size_t)(walk->end - walk->at);
    walk->base_offset += (uint64_t)(walk->at - walk->base);
    memmove(vsw_stream_window(stream), walk->at, left);
    stream->filled = left;
    if (left == stream->room && left < VSW_STREAM_MAX) {
        size_t room = 2 * left < VSW_STREAM_MAX ? 2 * left : VSW_STREAM_MAX;
        uint8_t *grown = realloc(stream->memory, room + 2 * VSW_SLACK);
        if (grown) {
            stream->memory = grown;
            stream->room = room;
        }
    }
    ssize_t got = left < stream->room ? vsw_stream_read(stream) : 0;
    int reason = errno;
    walk->base = walk->at = vsw_stream_window(stream);
    walk->end = walk->base + stream->filled;
    walk->asked = 0;
    if (got < 0)
        vsw_walk_stopped(walk, reason == EINTR ? VSW_WALK_INTERRUPTED : VSW_WALK_INPUT, walk->at, (uint64_t)reason, 0);
    else if (!got && stream->place < stream->size && left < stream->room)
        vsw_walk_stopped(walk, VSW_WALK_SHRUNK, walk->at, stream->place, stream->size);
    return got > 0;
}

/* vsw_walk.refill */
static uint32_t vsw_stream_refill(vsw_walk *walk)
{
    return vsw_stream_more(walk->owner, walk);
}

#endif
