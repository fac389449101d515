/* write.h: writes frames as pcap records or pcapng blocks, from C and without the GIL.
 *
 * A frame is given in two pieces (the bytes that a switch changed, and the rest where it lies), so that a copy with an edited tag is written
 * once.  Records gather in a buffer that write(2) empties; an error is kept (`error`, an errno) and turns every later call into nothing, so that
 * a loop may look once a burst.
 *
 * Thread-safety: a writer belongs to one thread at a time.  */
#ifndef VSW_CAPTURE_WRITE_H
#define VSW_CAPTURE_WRITE_H

#include <errno.h>
#include <unistd.h>
#include "vsw/capture/pcap.h"
#include "vsw/capture/pcapng.h"

#define VSW_WRITER_ROOM ((size_t)1 << 20) /* file systems give larger pieces of memory to who writes much at once: on ext4 a fifth of a copy's time */
#define VSW_WRITER_HEAD 32u            /* readable bytes that a roomy head has, however short it is */

typedef enum vsw_writer_format { VSW_WRITER_PCAP_MICRO, VSW_WRITER_PCAP_NANO, VSW_WRITER_PCAPNG } vsw_writer_format;

typedef struct vsw_writer {
    uint8_t *buffer;                   /* `room` bytes and slack */
    size_t room;
    size_t filled;
    uint64_t frames;
    uint64_t bytes;                    /* handed to write(2) so far */
    vsw_writer_format format;
    int fd;
    int error;                         /* errno of what failed first; 0: nothing did */
    uint32_t interfaces;               /* pcapng: how many are described */
    int (*interrupted)(void *owner);   /* a signal came while a pipe was written: 1 if writing is to end */
    void *owner;
} vsw_writer;

static inline void vsw_store16(uint8_t *to, uint16_t value) { memcpy(to, &value, sizeof value); }
static inline void vsw_store32(uint8_t *to, uint32_t value) { memcpy(to, &value, sizeof value); }
static inline void vsw_store64(uint8_t *to, uint64_t value) { memcpy(to, &value, sizeof value); }

/* `room`: bytes that are gathered before they are handed on. */
static inline int vsw_writer_start_with(vsw_writer *writer, int fd, vsw_writer_format format, size_t room)
{
    memset(writer, 0, sizeof *writer);
    writer->fd = fd;
    writer->format = format;
    writer->room = room;
    writer->buffer = malloc(room + 2 * VSW_SLACK);
    return writer->buffer ? 0 : -1;
}

static inline int vsw_writer_start(vsw_writer *writer, int fd, vsw_writer_format format)
{
    return vsw_writer_start_with(writer, fd, format, VSW_WRITER_ROOM);
}

/* Hands bytes to the file; 0, or -1 and `error`. */
static __attribute__((noinline)) int vsw_writer_put(vsw_writer *writer, const uint8_t *from, size_t count)
{
    while (count && !writer->error) {
        ssize_t put = write(writer->fd, from, count);
        if (put >= 0) {
            from += put;
            count -= (size_t)put;
            writer->bytes += (uint64_t)put;
        } else if (errno != EINTR || (writer->interrupted && writer->interrupted(writer->owner))) {
            writer->error = errno;
        }
    }
    return writer->error ? -1 : 0;
}

/* Empties the buffer; 0, or -1 and `error`. */
static inline int vsw_writer_flush(vsw_writer *writer)
{
    size_t filled = writer->filled;
    writer->filled = 0;
    return vsw_writer_put(writer, writer->buffer, filled);
}

/* Adds bytes as they are. */
static inline int vsw_writer_raw(vsw_writer *writer, const uint8_t *from, size_t count)
{
    if (count > writer->room - writer->filled && vsw_writer_flush(writer))
        return -1;
    if (count > writer->room)
        return vsw_writer_put(writer, from, count);
    if (count)
        memcpy(writer->buffer + writer->filled, from, count);
    writer->filled += count;
    return writer->error ? -1 : 0;
}

static inline __attribute__((always_inline)) int vsw_writer_add(vsw_writer *writer, uint32_t interface, const uint8_t *head, uint32_t head_len,
                                                                const uint8_t *body, uint32_t body_len, uint32_t orig_len, int64_t time, const int roomy)
{
    uint8_t record[VSW_PACKET_DATA];
    uint32_t captured = head_len + body_len, size, padding = 0;
    uint64_t stamp = time < 0 ? 0 : (uint64_t)time;
    if (writer->format == VSW_WRITER_PCAPNG) {
        size = VSW_PACKET_DATA;
        padding = VSW_PAD4(captured) - captured;
        vsw_store32(record, VSW_BLOCK_ENHANCED);
        vsw_store32(record + VSW_BLOCK_LENGTH, VSW_PACKET_MIN + captured + padding);
        vsw_store32(record + VSW_PACKET_INTERFACE, interface);
        vsw_store32(record + VSW_PACKET_HIGH, (uint32_t)(stamp >> 32));
        vsw_store32(record + VSW_PACKET_LOW, (uint32_t)stamp);
        vsw_store32(record + VSW_PACKET_CAPTURED, captured);
        vsw_store32(record + VSW_PACKET_LENGTH, orig_len);
    } else {
        uint32_t fraction = (uint32_t)(stamp % VSW_NANOSECONDS);
        uint64_t seconds = stamp / VSW_NANOSECONDS;
        if (__builtin_expect(seconds > UINT32_MAX, 0)) {
            writer->error = writer->error ? writer->error : EOVERFLOW;
            return -1;
        }
        size = VSW_PCAP_RECORD;
        vsw_store32(record, (uint32_t)seconds);
        vsw_store32(record + VSW_PCAP_FRACTION, writer->format == VSW_WRITER_PCAP_NANO ? fraction : fraction / 1000);
        vsw_store32(record + VSW_PCAP_CAPTURED, captured);
        vsw_store32(record + VSW_PCAP_LENGTH, orig_len);
    }
    writer->frames++;
    size_t need = (size_t)size + captured + padding + VSW_BLOCK_TRAILER;
    if (__builtin_expect(need > writer->room - writer->filled, 0)) {
        vsw_writer_flush(writer);
        if (need > writer->room || writer->error) {
            uint8_t end[2 * VSW_BLOCK_TRAILER] = {0};
            vsw_store32(end + padding, VSW_PACKET_MIN + captured + padding);
            vsw_writer_put(writer, record, size);
            vsw_writer_put(writer, head, head_len);
            vsw_writer_put(writer, body, body_len);
            return vsw_writer_put(writer, end, writer->format == VSW_WRITER_PCAPNG ? padding + VSW_BLOCK_TRAILER : 0);
        }
    }
    uint8_t *to = writer->buffer + writer->filled;
    if (writer->format == VSW_WRITER_PCAPNG)
        memcpy(to, record, VSW_PACKET_DATA);
    else
        memcpy(to, record, VSW_PCAP_RECORD);
    to += size;
    if (roomy && head_len <= VSW_WRITER_HEAD)
        memcpy(to, head, VSW_WRITER_HEAD);
    else if (head_len)
        memcpy(to, head, head_len);
    to += head_len;
    if (roomy)
        memcpy(to, body, VSW_SLACK);
    if (roomy ? body_len > VSW_SLACK : body_len > 0)
        memcpy(to, body, body_len);
    to += body_len;
    if (writer->format == VSW_WRITER_PCAPNG) {
        vsw_store32(to, 0);
        to += padding;
        vsw_store32(to, VSW_PACKET_MIN + captured + padding);
        to += VSW_BLOCK_TRAILER;
    }
    writer->filled = (size_t)(to - writer->buffer);
    return 0;
}

/* Writes a frame that is `head` followed by `body`, of `orig_len` bytes on the wire (at least head_len + body_len), at `time` (ns since the epoch; times before
 * it are written as 0, and pcap has none after February 2106: EOVERFLOW), as one of interface 0.  0, or -1 and `error`. */
static inline int vsw_writer_frame(vsw_writer *writer, const uint8_t *head, uint32_t head_len, const uint8_t *body, uint32_t body_len, uint32_t orig_len,
                                   int64_t time)
{
    return vsw_writer_add(writer, 0, head, head_len, body, body_len, orig_len, time, 0);
}

/* The same, as one of `interface` (less than `interfaces`; written in pcapng only). */
static inline int vsw_writer_frame_on(vsw_writer *writer, uint32_t interface, const uint8_t *head, uint32_t head_len, const uint8_t *body, uint32_t body_len,
                                      uint32_t orig_len, int64_t time)
{
    return vsw_writer_add(writer, interface, head, head_len, body, body_len, orig_len, time, 0);
}

/* The same for a head of which VSW_WRITER_HEAD and a body of which VSW_SLACK bytes may be read, however short they are: short frames are copied without a call. */
static inline int vsw_writer_frame_roomy(vsw_writer *writer, uint32_t interface, const uint8_t *head, uint32_t head_len, const uint8_t *body,
                                         uint32_t body_len, uint32_t orig_len, int64_t time)
{
    return vsw_writer_add(writer, interface, head, head_len, body, body_len, orig_len, time, 1);
}

/* Writes the first `count` frames of a burst. */
static inline int vsw_writer_burst(vsw_writer *writer, const vsw_burst *burst, uint32_t count, int interfaces)
{
    static const uint8_t none[VSW_WRITER_HEAD];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t interface = interfaces ? burst->interface[i] : 0;
        if (burst->roomy)
            vsw_writer_add(writer, interface, none, 0, burst->data[i], burst->captured[i], burst->length[i], burst->time[i], 1);
        else
            vsw_writer_add(writer, interface, none, 0, burst->data[i], burst->captured[i], burst->length[i], burst->time[i], 0);
    }
    return writer->error ? -1 : 0;
}

#endif
