/* stream.h: QEMU's `-netdev stream` over unix sockets: a big-endian 32-bit length, then the frame, over and over.
 *
 * What comes in gathers in one buffer, and frames lie in it where they arrived; a frame of which a part is missing waits there.  Nothing that the peer
 * sends can do more than waste its own connection: a length that can't be ends it, because nobody knows where the next frame begins.  */
#ifndef VSW_PORTS_STREAM_H
#define VSW_PORTS_STREAM_H

#include <errno.h>
#include <sys/socket.h>

#include "vsw/ports/backlog.h"

#define VSW_STREAM_ROOM ((size_t)256 << 10)
#define VSW_STREAM_LONGEST VSW_SLOT_BYTES      /* as in QEMU */

typedef struct vsw_stream {
    vsw_live live;                     /* first */
    vsw_backlog backlog;
    uint8_t *bytes;                    /* VSW_STREAM_ROOM, with VSW_SLACK on either side */
    size_t head, tail;                 /* what was received and is in no burst yet */
    uint32_t lent;                     /* frames of it are in a burst: it must not move */
    uint32_t announced;                /* the impossible length that ended the connection; 0: none did */
    int error;                         /* errno that did */
} vsw_stream;

/* The connection has ended, by a length that can't be, by errno `error`, or (0) because the peer closed it. */
static inline void vsw_stream_ended(vsw_stream *s, int error) {
    s->error = error;
    vsw_live_lost(&s->live);
}

/* Reads what there is room for; 0: there was nothing, or no room. */
static inline int vsw_stream_fill(vsw_stream *s) {
    if (!s->lent) {
        memmove(s->bytes + VSW_SLACK, s->bytes + VSW_SLACK + s->head, s->tail - s->head);
        s->tail -= s->head;
        s->head = 0;
    }
    if (s->tail == VSW_STREAM_ROOM)
        return 0;
    ssize_t got = recv(s->live.rx_fd, s->bytes + VSW_SLACK + s->tail, VSW_STREAM_ROOM - s->tail, MSG_DONTWAIT);
    if (got > 0) {
        s->tail += (size_t)got;
        return 1;
    }
    if (!got)
        vsw_stream_ended(s, 0);
    else if (errno != EAGAIN && errno != EINTR)
        vsw_stream_ended(s, errno);
    return 0;
}

static inline uint32_t vsw_stream_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) {
    vsw_stream *s = (vsw_stream *)self;
    uint32_t count = 0;
    (void)slots;
    if (!self->link)
        return 0;
    while (count < limit) {
        size_t left = s->tail - s->head;
        const uint8_t *at = s->bytes + VSW_SLACK + s->head;
        uint32_t length = left < VSW_LENGTH ? 0 : vsw_load_length(at);
        if (left >= VSW_LENGTH && (!length || length > VSW_STREAM_LONGEST)) {
            vsw_live_drop(self, VSW_DROP_RX_MALFORMED, 1);
            if (length) {
                s->announced = length;
                vsw_stream_ended(s, 0);
                break;
            }
            s->head += VSW_LENGTH;
        } else if (left < VSW_LENGTH || left - VSW_LENGTH < length) {
            if (count || !vsw_stream_fill(s))
                break;
        } else {
            vsw_live_row(self, burst, first + count++, at + VSW_LENGTH, length, length);
            s->head += VSW_LENGTH + (size_t)length;
            s->lent = 1;
        }
    }
    return count;
}

static inline void vsw_stream_release(vsw_live *self) {
    ((vsw_stream *)self)->lent = 0;
}

/* Sends from the backlog what the socket takes. */
static inline void vsw_stream_push(vsw_stream *s) {
    vsw_backlog *b = &s->backlog;
    while (s->live.link && !vsw_backlog_empty(b)) {
        ssize_t sent = send(s->live.tx_fd, b->bytes + b->head, b->tail - b->head, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0)
            vsw_backlog_gone(b, &s->live, (size_t)sent);
        else if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
            break;
        else if (errno != EINTR)
            vsw_stream_ended(s, errno);
    }
    s->live.blocked = s->live.link && !vsw_backlog_empty(b);
}

static inline void vsw_stream_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count) {
    vsw_stream *s = (vsw_stream *)self;
    for (uint32_t i = 0; i < count; i++) {
        if (!self->link) {
            vsw_live_drop(self, VSW_DROP_TX_NO_PEER, count - i);
            break;
        }
        /* when half full: what the socket takes now is out of the way */
        if (s->backlog.tail - s->backlog.head > s->backlog.room / 2 && !self->blocked)
            vsw_stream_push(s);
        vsw_backlog_add(&s->backlog, self, out[i], VSW_STREAM_LONGEST);
    }
    vsw_stream_push(s);
    if (!self->link)
        vsw_backlog_drop(&s->backlog, self, VSW_DROP_TX_NO_PEER);
}

/* Before another connection: nothing of the last one is left.  Frames that had arrived whole and were not read are lost, and counted. */
static inline void vsw_stream_reset(vsw_stream *s) {
    vsw_backlog_drop(&s->backlog, &s->live, VSW_DROP_TX_NO_PEER);
    while (s->bytes && !s->announced && s->tail - s->head >= VSW_LENGTH) {
        uint32_t length = vsw_load_length(s->bytes + VSW_SLACK + s->head);
        if (length > s->tail - s->head - VSW_LENGTH)
            break;
        vsw_live_drop(&s->live, VSW_DROP_RX_LOST, 1);
        s->head += VSW_LENGTH + (size_t)length;
    }
    s->head = s->tail = 0;
    s->lent = s->announced = 0;
    s->error = 0;
}

#endif
