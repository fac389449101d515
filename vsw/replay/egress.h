/* egress.h: a sink that writes every copy to the capture of its port.
 *
 * Copies gather in one buffer a port, and each byte is copied once before write(2).  Thousands of ports are possible: buffers share a budget, files
 * are opened when there is something to write, and where more would be open than is wise a file is closed again after each write.
 *
 * Thread-safety: an egress belongs to one thread at a time.  */
#ifndef VSW_REPLAY_EGRESS_H
#define VSW_REPLAY_EGRESS_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vsw/capture/write_lean.h"
#include "vsw/switch/copies.h"

#define VSW_EGRESS_HEAD 32u        /* room for a copy's head that can be copied as whole words */
#define VSW_EGRESS_RECORD VSW_LEAN_ROOM

_Static_assert(VSW_EGRESS_HEAD >= VSW_HEAD && VSW_EGRESS_HEAD >= VSW_WRITER_HEAD, "a head fits, and may be copied as the writer does");

typedef struct vsw_egress {
    vsw_sink sink;                 /* first: an egress is a sink */
    vsw_writer *writers;           /* [ports]; one without a buffer has not begun; its fd is -1 while the file is closed */
    const uint8_t **headers;       /* [ports]: what each file begins with */
    uint32_t *header_bytes;
    uint32_t ports;
    uint32_t open;                 /* files that are open now */
    uint32_t open_most;
    int directory;                 /* files are called by their port's number in it */
    int error;                     /* errno of what failed first */
    uint32_t failed_port;
    vsw_writer_format format;
    size_t room;                   /* of each buffer */
} vsw_egress;

static inline int vsw_egress_fail(vsw_egress *e, uint32_t port, int error) {
    if (!e->error) {
        e->error = error;
        e->failed_port = port;
    }
    e->sink.failed = 1;
    return 0;
}

static inline int vsw_egress_open(vsw_egress *e, uint32_t port) {
    char name[16];
    vsw_writer *writer = e->writers + port;
    if (writer->fd >= 0)
        return 1;
    snprintf(name, sizeof name, "%u", port);
    writer->fd = openat(e->directory, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (writer->fd < 0)
        return vsw_egress_fail(e, port, errno);
    e->open++;
    return 1;
}

/* After a write: 0 if it failed, which network file systems may say when the file is closed. */
static inline int vsw_egress_written(vsw_egress *e, uint32_t port, int last) {
    vsw_writer *writer = e->writers + port;
    if (writer->error)
        return vsw_egress_fail(e, port, writer->error);
    if (last || e->open > e->open_most) {
        int fd = writer->fd;
        writer->fd = -1;
        e->open--;
        if (close(fd))
            return vsw_egress_fail(e, port, errno);
    }
    return 1;
}

static inline int vsw_egress_begin(vsw_egress *e, uint32_t port) {
    vsw_writer *writer = e->writers + port;
    if (vsw_writer_start_with(writer, -1, e->format, e->room))
        return vsw_egress_fail(e, port, ENOMEM);
    if (e->header_bytes[port] > e->room && !vsw_egress_open(e, port))
        return 0;
    vsw_writer_raw(writer, e->headers[port], e->header_bytes[port]);
    return writer->fd < 0 || vsw_egress_written(e, port, 0);
}

/* One copy that does not fit into what is left of its buffer, or the first one of its port. */
static __attribute__((noinline)) int vsw_egress_make_room(vsw_egress *e, uint32_t port) {
    vsw_writer *writer = e->writers + port;
    if (!writer->buffer && !vsw_egress_begin(e, port))
        return 0;
    if (!vsw_egress_open(e, port))
        return 0;
    vsw_writer_flush(writer);
    return !writer->error || vsw_egress_fail(e, port, writer->error);
}

static inline int vsw_egress_copy(vsw_sink *sink, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time) {
    vsw_egress *e = (vsw_egress *)sink;
    uint8_t head[VSW_EGRESS_HEAD + VSW_SHORTEST];
    vsw_writer *writer = e->writers + copy->port;
    uint32_t head_bytes = vsw_copy_head(copy, data, head);
    const uint8_t *body = data + copy->body_at;
    uint32_t body_bytes = captured > copy->body_at ? captured - copy->body_at : 0;
    int crowded = !writer->buffer || head_bytes + body_bytes + copy->pad + VSW_EGRESS_RECORD > writer->room - writer->filled;
    if (__builtin_expect(crowded, 0) && !vsw_egress_make_room(e, copy->port))
        return 0;
    if (__builtin_expect(copy->pad, 0)) {
        /* a padded copy has VSW_SHORTEST bytes, all captured */
        memcpy(head + head_bytes, body, body_bytes);
        memset(head + head_bytes + body_bytes, 0, copy->pad);
        head_bytes += body_bytes + copy->pad;
        body_bytes = 0;
    }
    if (sink->roomy && captured >= copy->body_at)
        vsw_writer_frame_roomy(writer, 0, head, head_bytes, body, body_bytes, copy->length, time);
    else
        vsw_writer_frame(writer, head, head_bytes, body, body_bytes, copy->length, time);
    if (__builtin_expect(crowded, 0))
        return vsw_egress_written(e, copy->port, 0);
    return 1;
}

/* Copy k of what the fast lane gives, as any other. */
static __attribute__((noinline)) int vsw_egress_lean_slowly(vsw_egress *e, const vsw_burst *burst, const vsw_lean *copies, uint32_t k) {
    const uint32_t i = copies->frame[k], tag = __builtin_bswap32(copies->tag[k]), tags = tag != 0;
    const vsw_copy copy = {
        .length = burst->length[i] - copies->body_at[k] + VSW_MACS + tags * VSW_TAG,
        .port = copies->port[k],
        .tags = (uint8_t)tags,
        .body_at = copies->body_at[k],
        .tag = {{.tpid = (uint16_t)(tag >> 16), .tci = (uint16_t)tag}},
    };
    return vsw_egress_copy(&e->sink, &copy, burst->data[i], burst->captured[i], burst->time[i]);
}

static inline __attribute__((always_inline)) int vsw_egress_lean_as(vsw_egress *e, const vsw_burst *burst, const vsw_lean *copies,
                                                                    const vsw_writer_format format) {
    uint64_t stamps[VSW_BURST];
    const int late = vsw_lean_stamps(burst, copies->frame[0], copies->frame[copies->count - 1] + 1u, format, stamps);
    for (uint32_t k = 0; k < copies->count; k++) {
        const uint32_t i = copies->frame[k], tag = copies->tag[k], body_at = copies->body_at[k];
        const uint32_t off = body_at - VSW_MACS, on = tag ? VSW_TAG : 0, captured = burst->captured[i] - off + on;
        vsw_writer *writer = e->writers + copies->port[k];
        if (__builtin_expect(late || captured + VSW_EGRESS_RECORD > writer->room - writer->filled, 0)) {   /* full, or not begun: its room is 0 */
            if (!vsw_egress_lean_slowly(e, burst, copies, k))
                return 0;
            continue;
        }
        const uint8_t *data = burst->data[i];
        vsw_writer_lean(writer, format == VSW_WRITER_PCAPNG, stamps[i], data, data + body_at, tag, captured, burst->length[i] - off + on);
    }
    return 1;
}

static inline int vsw_egress_lean(vsw_sink *sink, const vsw_burst *burst, const vsw_lean *copies) {
    vsw_egress *e = (vsw_egress *)sink;
    if (e->format == VSW_WRITER_PCAPNG)
        return vsw_egress_lean_as(e, burst, copies, VSW_WRITER_PCAPNG);
    return vsw_egress_lean_as(e, burst, copies, VSW_WRITER_PCAP_NANO);
}

/* Writes what is left, and files that no copy went to; closes all.  0: it failed. */
static inline int vsw_egress_end(vsw_egress *e, uint32_t port) {
    vsw_writer *writer = e->writers + port;
    if (e->sink.failed || (!writer->buffer && !vsw_egress_begin(e, port)) || !vsw_egress_open(e, port))
        return 0;
    vsw_writer_flush(writer);
    free(writer->buffer);
    writer->buffer = NULL;
    return vsw_egress_written(e, port, 1);
}

static inline void vsw_egress_free(vsw_egress *e) {
    for (uint32_t port = 0; e->writers && port < e->ports; port++) {
        if (e->writers[port].fd >= 0)
            close(e->writers[port].fd);
        free(e->writers[port].buffer);
    }
    free(e->writers);
    free(e->headers);
    free(e->header_bytes);
}

#endif
