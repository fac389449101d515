/* dgram.h: QEMU's `-netdev dgram` over unix sockets: a frame is a datagram, both ways, many in one system call.
 *
 * Two sockets: one is bound where the guest sends to and takes frames from anybody, so that a guest that was started again is heard at once; the other is
 * connected to the guest's, so that the kernel says when its queue has room, and when it is gone.  The queue of a unix socket is short (ten datagrams by
 * default), therefore there is a backlog.  */
#ifndef VSW_PORTS_DGRAM_H
#define VSW_PORTS_DGRAM_H

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "vsw/ports/backlog.h"

#define VSW_DGRAM_SEND 64u             /* datagrams of one system call */

typedef struct vsw_dgram {
    vsw_live live;                     /* first */
    vsw_backlog backlog;
    struct mmsghdr in[VSW_BURST];
    struct iovec in_at[VSW_BURST];
} vsw_dgram;

static inline uint32_t vsw_dgram_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) {
    vsw_dgram *d = (vsw_dgram *)self;
    for (uint32_t i = 0; i < limit; i++) {
        d->in_at[i] = (struct iovec){vsw_slot(slots, first + i), VSW_SLOT_BYTES};
        d->in[i].msg_hdr = (struct msghdr){.msg_iov = d->in_at + i, .msg_iovlen = 1};
    }
    int got = recvmmsg(self->rx_fd, d->in, limit, MSG_DONTWAIT | MSG_TRUNC, NULL);
    if (got <= 0)
        return 0;
    for (int i = 0; i < got; i++) {
        uint32_t length = d->in[i].msg_len;
        vsw_live_row(self, burst, first + (uint32_t)i, (const uint8_t *)d->in_at[i].iov_base, length < VSW_SLOT_BYTES ? length : VSW_SLOT_BYTES, length);
    }
    if (!self->link)                   /* it sends, so it is there */
        __atomic_store_n(&self->attention, 1, __ATOMIC_RELEASE);
    return (uint32_t)got;
}

enum vsw_dgram_failure { VSW_DGRAM_LATER, VSW_DGRAM_ONE, VSW_DGRAM_GONE, VSW_DGRAM_AGAIN };

/* What a failed send means; VSW_DGRAM_ONE: for the first frame of it alone, `*reason`. */
static inline enum vsw_dgram_failure vsw_dgram_failed(int error, uint32_t *reason) {
    switch (error) {
    case EINTR:
        return VSW_DGRAM_AGAIN;
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
        return VSW_DGRAM_LATER;
    case ECONNREFUSED:
    case ECONNRESET:
    case ENOTCONN:
    case EDESTADDRREQ:
    case EPIPE:
        return VSW_DGRAM_GONE;
    default:
        *reason = error == EMSGSIZE ? VSW_DROP_TX_TOO_LONG : VSW_DROP_TX_REFUSED;
        return VSW_DGRAM_ONE;
    }
}

static inline void vsw_dgram_gone(vsw_dgram *d, uint64_t more) {
    vsw_live_lost(&d->live);
    vsw_backlog_drop(&d->backlog, &d->live, VSW_DROP_TX_NO_PEER);
    vsw_live_drop(&d->live, VSW_DROP_TX_NO_PEER, more);
}

/* Sends what waited; 0: some of it still waits, or the peer has gone. */
static inline int vsw_dgram_drain(vsw_dgram *d) {
    vsw_backlog *b = &d->backlog;
    while (!vsw_backlog_empty(b)) {
        uint32_t length = vsw_backlog_length(b), reason;
        if (send(d->live.tx_fd, b->bytes + b->frame + VSW_LENGTH, length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            vsw_backlog_gone(b, &d->live, VSW_LENGTH + (size_t)length);
            continue;
        }
        switch (vsw_dgram_failed(errno, &reason)) {
        case VSW_DGRAM_AGAIN:
            break;
        case VSW_DGRAM_LATER:
            return 0;
        case VSW_DGRAM_GONE:
            vsw_dgram_gone(d, 0);
            return 0;
        case VSW_DGRAM_ONE:
            vsw_backlog_skip(b, &d->live, reason);
        }
    }
    d->live.blocked = 0;
    return 1;
}

/* Sends some copies at once; returns how many are done with, fewer than `count` only if the rest has to wait or the peer has gone. */
static inline uint32_t vsw_dgram_send(vsw_dgram *d, const vsw_out *const *out, uint32_t count) {
    struct mmsghdr message[VSW_DGRAM_SEND];
    struct iovec at[VSW_DGRAM_SEND][3];
    static const uint8_t zeros[VSW_SHORTEST];
    vsw_pieces pieces[VSW_DGRAM_SEND];
    for (uint32_t i = 0; i < count; i++) {
        vsw_pieces *p = pieces + i;
        vsw_out_pieces(out[i], d->live.shortest, p);
        at[i][0] = (struct iovec){p->head, p->head_bytes};
        at[i][1] = (struct iovec){(void *)p->body, p->body_bytes};
        at[i][2] = (struct iovec){(void *)zeros, p->zeros};
        message[i].msg_hdr = (struct msghdr){.msg_iov = at[i], .msg_iovlen = p->zeros ? 3 : 2};
    }
    uint32_t done = 0;
    while (done < count) {
        uint32_t reason;
        int sent = sendmmsg(d->live.tx_fd, message + done, count - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        for (int i = 0; i < sent; i++)
            vsw_live_sent(&d->live, message[done + (uint32_t)i].msg_len);
        if (sent > 0) {
            done += (uint32_t)sent;
            continue;
        }
        switch (vsw_dgram_failed(errno, &reason)) {
        case VSW_DGRAM_AGAIN:
            break;
        case VSW_DGRAM_LATER:
            return done;
        case VSW_DGRAM_GONE:
            vsw_dgram_gone(d, 0);
            return done;
        case VSW_DGRAM_ONE:
            vsw_live_drop(&d->live, reason, 1);
            done++;
        }
    }
    return done;
}

static inline void vsw_dgram_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count) {
    vsw_dgram *d = (vsw_dgram *)self;
    uint32_t done = 0;
    if (self->link && (vsw_backlog_empty(&d->backlog) || vsw_dgram_drain(d)))
        while (done < count && self->link) {
            uint32_t many = 0, most = count - done < VSW_DGRAM_SEND ? count - done : VSW_DGRAM_SEND;
            while (many < most && vsw_out_length(out[done + many], self->shortest) <= VSW_SLOT_BYTES)
                many++;
            if (!many) {
                vsw_live_drop(self, VSW_DROP_TX_TOO_LONG, 1);
                done++;
                continue;
            }
            uint32_t sent = vsw_dgram_send(d, out + done, many);
            done += sent;
            if (sent < many)
                break;
        }
    if (!self->link) {
        vsw_live_drop(self, VSW_DROP_TX_NO_PEER, count - done);
        return;
    }
    for (; done < count; done++)
        vsw_backlog_add(&d->backlog, self, out[done], VSW_SLOT_BYTES);
    self->blocked = !vsw_backlog_empty(&d->backlog);
}

#endif
