/* plain_loop.c: a switch as one writes it on an afternoon, as the second yardstick of the benchmarks ("P").
 *
 * One frame after the other: VLAN check, look (VLAN, destination) up, flood to the VLAN's members, let the team's hash of IPv4 addresses pick the uplink, note
 * whether the tag goes, count, write one descriptor for each copy.  It knows no rule but these, and checks no length but the header's. */
#include <stdint.h>
#include <string.h>

enum {
    FILE_HEADER = 24, RECORD_HEADER = 16, CAPTURED_AT = 8,
    SOURCE_AT = 6, TYPE_AT = 12, TCI_AT = 14, UNTAGGED_HEADER = 14, TAG = 4, IPV4_SOURCE_AT = 12,
    DOT1Q = 0x8100, VID_BITS = 0x0FFF, VLANS = 4096, MEMBERS = 64, RING = 1 << 16, NO_PORT = 0xFFFF
};

struct descriptor {
    const uint8_t *frame;
    uint32_t length;
    uint16_t port, flags;      /* flags: 1 takes the tag off, 2 adds it */
};

struct tables {
    const uint16_t *access;    /* by port: its access VLAN; 0 for a trunk */
    const uint8_t *uplink;     /* by port */
    const uint8_t *carries;    /* by port and VLAN */
    const uint64_t *keys;      /* open addressing, a power of two of slots; 0 is free */
    const uint16_t *values;
    uint64_t mask;
    const uint16_t *members;   /* by VLAN, MEMBERS each: local ports */
    const uint16_t *counts;    /* by VLAN */
    uint16_t team[2];
    uint64_t *rx, *tx, *bytes; /* by port */
    struct descriptor *ring;
    uint64_t dropped, copies;
};

static uint16_t big16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static uint32_t lookup(const struct tables *t, uint64_t key)
{
    for (uint64_t slot = key * 0x9E3779B97F4A7C15u >> 32; ; slot++) {
        slot &= t->mask;
        if (t->keys[slot] == key)
            return t->values[slot];
        if (!t->keys[slot])
            return NO_PORT;
    }
}

static void send(struct tables *t, const uint8_t *frame, uint32_t length, uint32_t tagged, uint32_t port)
{
    uint32_t untag = tagged && t->access[port], tag = !tagged && !t->access[port];
    struct descriptor *d = &t->ring[t->copies++ & (RING - 1)];
    d->frame = frame;
    d->length = length;
    d->port = (uint16_t)port;
    d->flags = (uint16_t)(untag | tag << 1);
    t->tx[port]++;
    t->bytes[port] += length + TAG * tag - TAG * untag;
}

static uint32_t team(const struct tables *t, const uint8_t *frame, uint32_t header)
{
    uint32_t addresses[2];
    memcpy(addresses, frame + header + IPV4_SOURCE_AT, sizeof addresses);
    uint32_t hash = __builtin_bswap32(addresses[0] ^ addresses[1]);
    return t->team[hash & 1];
}

uint64_t plain_loop(const uint8_t *file, uint64_t size, const uint16_t *ingress, struct tables *t)
{
    uint64_t frames = 0, at = FILE_HEADER;
    while (at + RECORD_HEADER + UNTAGGED_HEADER + TAG <= size) {
        const uint8_t *frame = file + at + RECORD_HEADER;
        uint32_t captured, from = ingress[frames++], vlan = t->access[from];
        uint64_t dst = 0;
        memcpy(&captured, file + at + CAPTURED_AT, sizeof captured);
        at += RECORD_HEADER + captured;
        t->rx[from]++;
        uint32_t tagged = big16(frame + TYPE_AT) == DOT1Q;
        if (tagged)
            vlan = vlan ? VLANS : big16(frame + TCI_AT) & VID_BITS;
        if (vlan >= VLANS || !t->carries[from * VLANS + vlan] || frame[SOURCE_AT] & 1) {
            t->dropped++;
            continue;
        }
        uint32_t header = tagged ? UNTAGGED_HEADER + TAG : UNTAGGED_HEADER;
        if (frame[0] & 1) {
            const uint16_t *member = t->members + vlan * MEMBERS;
            for (uint32_t i = 0; i < t->counts[vlan]; i++)
                if (member[i] != from)
                    send(t, frame, captured, tagged, member[i]);
            if (!t->uplink[from])
                send(t, frame, captured, tagged, team(t, frame, header));
            continue;
        }
        memcpy(&dst, frame, 6);
        uint32_t to = lookup(t, dst | (uint64_t)vlan << 48);
        if (to == NO_PORT && !t->uplink[from])
            to = team(t, frame, header);
        if (to == NO_PORT || to == from)
            t->dropped++;
        else
            send(t, frame, captured, tagged, to);
    }
    return frames;
}
