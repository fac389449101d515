/* tap.h: a tap device: the host itself, or whatever it bridges or routes to, on the other side.
 *
 * A frame is a read(2) or a write(2); the device's own offloads are off, so that frames are whole and bare.  */
#ifndef VSW_PORTS_TAP_H
#define VSW_PORTS_TAP_H

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vsw/ports/port.h"

typedef struct vsw_tap {
    vsw_live live;                     /* first */
    int error;                         /* errno that the device ended with */
} vsw_tap;

static inline uint32_t vsw_tap_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) {
    uint32_t count = 0;
    if (self->rx_fd < 0)               /* the device has gone, and is not there again yet */
        return 0;
    while (count < limit) {
        uint8_t *to = vsw_slot(slots, first + count);
        ssize_t got = read(self->rx_fd, to, VSW_SLOT_BYTES);
        if (got > 0) {
            vsw_live_row(self, burst, first + count++, to, (uint32_t)got, (uint32_t)got);
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else {
            if (got < 0 && errno != EAGAIN) {
                ((vsw_tap *)self)->error = errno;
                vsw_live_lost(self);
            }
            break;
        }
    }
    return count;
}

static inline void vsw_tap_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count) {
    static const uint8_t zeros[VSW_SHORTEST];
    for (uint32_t i = 0; i < count; i++) {
        if (!self->link) {
            vsw_live_drop(self, VSW_DROP_TX_NO_PEER, count - i);
            return;
        }
        vsw_pieces p;
        uint32_t length = vsw_out_pieces(out[i], self->shortest, &p);
        struct iovec at[3] = {{p.head, p.head_bytes}, {(void *)p.body, p.body_bytes}, {(void *)zeros, p.zeros}};
        if (length > UINT16_MAX) {     /* more than the device takes for a packet */
            vsw_live_drop(self, VSW_DROP_TX_TOO_LONG, 1);
            continue;
        }
        ssize_t put;
        do
            put = writev(self->tx_fd, at, p.zeros ? 3 : 2);
        while (put < 0 && errno == EINTR);
        if (put >= 0)
            vsw_live_sent(self, length);
        else if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
            vsw_live_drop(self, VSW_DROP_TX_FULL, 1);
        else if (errno == EIO || errno == EBADFD)      /* the device is down, or gone */
            vsw_live_drop(self, VSW_DROP_TX_NO_PEER, 1);
        else
            vsw_live_drop(self, VSW_DROP_TX_REFUSED, 1);
    }
}

#endif
