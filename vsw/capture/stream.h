/* stream.h: the window of a pipe, from which a walk is fed as bytes arrive.
 *
 * A frame is delivered as soon as it is there: the walk reads again only when its next record is not complete.  The window grows to the longest
 * record that the formats allow and no further.
 *
 * Thread-safety: belongs to the one walk that reads it.  */
#ifndef VSW_CAPTURE_STREAM_H
#define VSW_CAPTURE_STREAM_H

#include <errno.h>
#include <poll.h>
#include <unistd.h>
#include "vsw/capture/pcapng.h"

#define VSW_STREAM_ROOM ((size_t)1 << 20)
#define VSW_STREAM_MAX ((size_t)VSW_BLOCK_MAX + VSW_STREAM_ROOM)

typedef struct vsw_stream {
    int fd;
    uint8_t *memory;                   /* VSW_SLACK bytes, the window, VSW_SLACK bytes */
    size_t room;                       /* bytes of the window */
    size_t filled;
    int (*interrupted)(void *owner);   /* a signal came: 1 if the pass is to end */
    void *owner;
} vsw_stream;

static inline int vsw_stream_start(vsw_stream *stream, int fd)
{
    memset(stream, 0, sizeof *stream);
    stream->fd = fd;
    stream->memory = calloc(VSW_STREAM_ROOM + 2 * VSW_SLACK, 1);
    stream->room = VSW_STREAM_ROOM;
    return stream->memory ? 0 : -1;
}

static inline uint8_t *vsw_stream_window(const vsw_stream *stream)
{
    return stream->memory + VSW_SLACK;
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
        ssize_t got = read(stream->fd, vsw_stream_window(stream) + stream->filled, stream->room - stream->filled);
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

/* vsw_walk.refill */
static uint32_t vsw_stream_refill(vsw_walk *walk)
{
    vsw_stream *stream = walk->owner;
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
    return got > 0;
}

#endif
