/* packet.h: a network card of the host, through packet sockets: an uplink of the switch.
 *
 * Receiving: a ring of blocks (TPACKET_V3) that the kernel fills and hands over whole; frames lie in it until their block is given back.  The kernel takes
 * the outermost tag off and tells it beside the frame: it is put back in the room before the frame.  Where a checksum is still to be computed (frames
 * that the same machine sent and no card has seen) it is computed here.  A frame of several segments can't be told from a whole one by its bytes: the
 * header that the kernel writes before it says so, and it is dropped.
 * Sending: many frames a system call on a second socket.  What is sent is not received again (PACKET_IGNORE_OUTGOING).  */
#ifndef VSW_PORTS_PACKET_H
#define VSW_PORTS_PACKET_H

#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "vsw/ports/port.h"

#define VSW_PACKET_BLOCKS 32u
#define VSW_PACKET_BLOCK ((size_t)256 << 10)
#define VSW_PACKET_RING (VSW_PACKET_BLOCKS * VSW_PACKET_BLOCK)
#define VSW_PACKET_GUARD ((size_t)4096)  /* readable memory before and behind the ring */
#define VSW_PACKET_SEND 64u
#define VSW_PACKET_ROOM 16u              /* before each frame, for a tag that is put back */

typedef struct vsw_packet {
    vsw_live live;                     /* first */
    uint8_t *map;                      /* the ring, with a guard on either side */
    uint32_t block;                    /* that is read now */
    uint32_t left;                     /* frames of it that are not in a burst yet */
    uint32_t done;                     /* blocks before it that are read, and given back by release() */
    const struct tpacket3_hdr *frame;
    int error;                         /* errno that the socket ended with */
} vsw_packet;

static inline struct tpacket_block_desc *vsw_packet_block(const vsw_packet *p, uint32_t block) {
    return (struct tpacket_block_desc *)(void *)(p->map + VSW_PACKET_GUARD + block * VSW_PACKET_BLOCK);
}

static inline uint32_t vsw_sum(const uint8_t *from, uint32_t length, uint32_t sum) {
    uint64_t wide = sum;
    uint32_t word;
    for (; length >= sizeof word; length -= (uint32_t)sizeof word, from += sizeof word) {
        memcpy(&word, from, sizeof word);
        wide += word;
    }
    if (length) {
        word = 0;
        memcpy(&word, from, length);
        wide += word;
    }
    while (wide >> 16)
        wide = (wide & 0xFFFF) + (wide >> 16);
    return (uint32_t)wide;
}

/* Completes the checksum whose field at `start + offset` holds the sum of its pseudo header; both are the kernel's word, so they are checked. */
static inline void vsw_packet_checksum(uint8_t *frame, uint32_t captured, uint32_t start, uint32_t offset) {
    if (start > captured || offset + 2 > captured - start)
        return;
    uint16_t sum = (uint16_t)~vsw_sum(frame + start, captured - start, 0);
    if (!sum)
        sum = UINT16_MAX;
    memcpy(frame + start + offset, &sum, sizeof sum);
}

/* The block is read; release() gives it back. */
static inline void vsw_packet_turn(vsw_packet *p) {
    p->done++;
    p->block = (p->block + 1) % VSW_PACKET_BLOCKS;
}

/* The next frame of the ring, or NULL; without an interface there is no ring. */
static inline const struct tpacket3_hdr *vsw_packet_next(vsw_packet *p) {
    while (!p->left) {
        if (!p->map || p->done == VSW_PACKET_BLOCKS)
            return NULL;
        struct tpacket_block_desc *block = vsw_packet_block(p, p->block);
        if (!(__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
            return NULL;
        p->left = block->hdr.bh1.num_pkts;
        p->frame = (const struct tpacket3_hdr *)(const void *)((const uint8_t *)block + block->hdr.bh1.offset_to_first_pkt);
        if (!p->left)
            vsw_packet_turn(p);
    }
    const struct tpacket3_hdr *frame = p->frame;
    p->frame = (const struct tpacket3_hdr *)(const void *)((const uint8_t *)frame + frame->tp_next_offset);
    if (!--p->left)
        vsw_packet_turn(p);
    return frame;
}

static inline uint32_t vsw_packet_receive(vsw_live *self, vsw_burst *burst, uint32_t first, uint32_t limit, vsw_slots *slots) {
    vsw_packet *p = (vsw_packet *)self;
    uint32_t count = 0;
    (void)slots;
    while (count < limit) {
        const struct tpacket3_hdr *head = vsw_packet_next(p);
        if (!head)
            break;
        uint8_t *data = (uint8_t *)(uintptr_t)head + head->tp_mac;
        uint32_t captured = head->tp_snaplen, length = head->tp_len;
        struct virtio_net_hdr offload;
        memcpy(&offload, data - sizeof offload, sizeof offload);
        if (captured < VSW_MACS) {
            vsw_live_drop(self, VSW_DROP_RX_MALFORMED, 1);
            continue;
        }
        if (offload.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
            vsw_live_drop(self, VSW_DROP_RX_SEGMENTED, 1);
            continue;
        }
        if (offload.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
            vsw_packet_checksum(data, captured, offload.csum_start, offload.csum_offset);
        if (head->tp_status & TP_STATUS_VLAN_VALID) {
            uint32_t tpid = head->tp_status & TP_STATUS_VLAN_TPID_VALID ? head->hv1.tp_vlan_tpid : ETHERTYPE_VLAN, tci = head->hv1.tp_vlan_tci;
            data -= VSW_TAG;
            memmove(data, data + VSW_TAG, VSW_MACS);
            data[VSW_MACS] = (uint8_t)(tpid >> 8);
            data[VSW_MACS + 1] = (uint8_t)tpid;
            data[VSW_MACS + 2] = (uint8_t)(tci >> 8);
            data[VSW_MACS + 3] = (uint8_t)tci;
            captured += VSW_TAG;
            length += VSW_TAG;
        }
        vsw_live_row(self, burst, first + count++, data, captured, length);
    }
    return count;
}

static inline void vsw_packet_release(vsw_live *self) {
    vsw_packet *p = (vsw_packet *)self;
    for (; p->done; p->done--) {
        struct tpacket_block_desc *block = vsw_packet_block(p, (p->block + VSW_PACKET_BLOCKS - p->done) % VSW_PACKET_BLOCKS);
        __atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    }
}

static inline uint32_t vsw_packet_arm(vsw_live *self) {
    vsw_packet *p = (vsw_packet *)self;
    return p->left || (p->map && __atomic_load_n(&vsw_packet_block(p, p->block)->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER);
}

static inline void vsw_packet_transmit(vsw_live *self, const vsw_out *const *out, uint32_t count) {
    static const uint8_t zeros[VSW_SHORTEST];
    struct mmsghdr message[VSW_PACKET_SEND];
    struct iovec at[VSW_PACKET_SEND][3];
    vsw_pieces pieces[VSW_PACKET_SEND];
    vsw_packet *p = (vsw_packet *)self;
    for (uint32_t first = 0; first < count;) {
        uint32_t many = count - first < VSW_PACKET_SEND ? count - first : VSW_PACKET_SEND, done = 0;
        for (uint32_t i = 0; i < many; i++) {
            vsw_pieces *piece = pieces + i;
            vsw_out_pieces(out[first + i], self->shortest, piece);
            at[i][0] = (struct iovec){piece->head, piece->head_bytes};
            at[i][1] = (struct iovec){(void *)piece->body, piece->body_bytes};
            at[i][2] = (struct iovec){(void *)zeros, piece->zeros};
            message[i].msg_hdr = (struct msghdr){.msg_iov = at[i], .msg_iovlen = piece->zeros ? 3 : 2};
        }
        while (done < many) {
            if (!self->link) {
                vsw_live_drop(self, VSW_DROP_TX_NO_PEER, many - done);
                break;
            }
            int sent = sendmmsg(self->tx_fd, message + done, many - done, MSG_DONTWAIT);
            for (int i = 0; i < sent; i++)
                vsw_live_sent(self, message[done + (uint32_t)i].msg_len);
            if (sent > 0) {
                done += (uint32_t)sent;
            } else if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
                vsw_live_drop(self, VSW_DROP_TX_FULL, 1);
                done++;
            } else if (errno == ENETDOWN || errno == ENXIO || errno == ENODEV) {
                p->error = errno;
                vsw_live_lost(self);
            } else if (errno != EINTR) {
                vsw_live_drop(self, errno == EMSGSIZE ? VSW_DROP_TX_TOO_LONG : VSW_DROP_TX_REFUSED, 1);
                done++;
            }
        }
        first += many;
    }
}

static inline uint8_t *vsw_packet_map(int fd) {
    size_t size = VSW_PACKET_RING + 2 * VSW_PACKET_GUARD;
    uint8_t *map = (uint8_t *)mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    if (mmap(map + VSW_PACKET_GUARD, VSW_PACKET_RING, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
        munmap(map, size);
        return NULL;
    }
    return map;
}

static inline void vsw_packet_unmap(uint8_t *map) {
    munmap(map, VSW_PACKET_RING + 2 * VSW_PACKET_GUARD);
}

#endif
