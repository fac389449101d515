/* tables.h: what the control side programs and the stages read: ports, VLANs, flood groups, teams, and the module's own choices.
 *
 * Mirrors vsw/datapath/tables.py field by field (both sizes are asserted).  Nothing here is written while frames are on their way, but for the `up` bit of a
 * port that its BPDU guard shuts, which the one thread of a stateful run does itself.
 *
 * MAC addresses are kept as they are loaded: six bytes of the wire, the first octet in the lowest byte; the group bit is bit 0.  */
#ifndef VSW_TABLES_H
#define VSW_TABLES_H

#include <stdint.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "vsw needs a little-endian host"
#endif

#define VSW_MAX_PORTS 4096
#define VSW_NO_PORT 0xFFFFu
#define VSW_NO_TEAM 0xFFFFu
#define VSW_VIDS 4096
#define VSW_VID_WORDS (VSW_VIDS / 64)
#define VSW_REASONS 32
#define VSW_BUCKETS 256
#define VSW_POLICY_EXPLICIT 255u  /* a team without a hash; the others are numbered in hashes/registry.h */
#define VSW_TEAM_MEMBERS 64
#define VSW_MAC_MASK 0x0000FFFFFFFFFFFFull
#define VSW_GROUP_BIT 1ull

enum vsw_verdict { VSW_DELIVERED = 0, VSW_CONSUMED = 1, VSW_DROPPED = 2 };

/* The numbers of vsw/verdicts.py; a source test compares the two lists. */
enum vsw_reason {
    VSW_REASON_NONE = 0,
    VSW_NO_INGRESS_PORT = 1,
    VSW_PORT_DOWN = 2,
    VSW_MALFORMED = 3,
    VSW_CUT_BY_CAPTURE = 4,
    VSW_TOO_LONG = 5,
    VSW_BAD_SOURCE = 6,
    VSW_RESERVED_VID = 7,
    VSW_VLAN_NOT_ALLOWED = 8,
    VSW_BPDU = 9,
    VSW_RESERVED_ADDRESS = 10,
    VSW_FORGED_SOURCE = 11,
    VSW_DEJA_VU = 12,
    VSW_NOT_DESIGNATED = 13,
    VSW_UNKNOWN_UNICAST = 14,
    VSW_UPLINK_TO_UPLINK = 15,
    VSW_SAME_PORT = 16,
    VSW_NO_MEMBER = 17,
    VSW_NO_UPLINK = 18,
    VSW_PROTECTED = 19,
    VSW_EGRESS_VLAN = 20,
    VSW_MAC_CHANGED = 21,
};

enum vsw_mode {
    VSW_ACCESS = 0,
    VSW_TRUNK = 1,
    VSW_NATIVE_TAGGED = 2,
    VSW_NATIVE_UNTAGGED = 3,
    VSW_TUNNEL = 4,
    VSW_PRIVATE = 5,
};

enum vsw_port_flags {
    VSW_PORT_EXISTS = 1u << 0,
    VSW_PORT_UP = 1u << 1,
    VSW_PORT_UPLINK = 1u << 2,
    VSW_PORT_PROTECTED = 1u << 3,
    VSW_PORT_MAC_CHANGED = 1u << 4,     /* the guest changed its MAC and may not: nothing is delivered */
    VSW_PORT_CHECK_FORGED = 1u << 5,    /* the port has a MAC and rejects forged transmits */
    VSW_PORT_BPDU_GUARD = 1u << 6,
    VSW_PORT_BPDU_DROP = 1u << 7,       /* local port: its filter or the dialect drops spanning tree frames */
    VSW_PORT_PROMISCUOUS = 1u << 8,
    VSW_PORT_LACP = 1u << 9,            /* an uplink of a team that runs LACP */
    VSW_PORT_DESIGNATED = 1u << 10,     /* accepts multi-destination frames from its designated uplink alone */
    VSW_PORT_LEARN = 1u << 11,          /* sources of its frames are learned */
    VSW_PORT_CHECK_DEJA_VU = 1u << 12,
    VSW_PORT_SLOW_IN = 1u << 13,        /* something about its frames that only the exact path does */
    VSW_PORT_SLOW_OUT = 1u << 14,       /* the same, for frames to it */
    VSW_PORT_PADS = 1u << 15,           /* untagged copies are padded to 60 bytes */
};

/* One cache line a port: what a frame from it or to it needs. */
typedef struct vsw_port {
    uint32_t flags;
    uint32_t max_length;      /* bytes: MTU + Ethernet header, without tags */
    uint16_t pvid;            /* VLAN of a frame that brings none; a tunnel's outer VLAN */
    uint16_t vid_mask;        /* 0x0FFF: the tag's VID counts; 0: the VLAN is pvid whatever the tag says */
    uint16_t untagged_vid;    /* the VLAN that leaves untagged by a port that sends tags; 0xFFFF: none */
    uint8_t spare;
    uint8_t tag_sent;         /* bytes of the tag that a frame of another VLAN than untagged_vid leaves with: 4 or 0 */
    uint64_t mac;             /* effective address; 0 if the port has none */
    uint16_t team;            /* index, VSW_NO_TEAM: none */
    uint16_t designated;      /* port number of the designated uplink; VSW_NO_PORT: none is */
    uint16_t tunnel_tpid;
    uint8_t mode;             /* enum vsw_mode */
    uint8_t priority_tags;    /* 0 no, 1 if-nonzero, 2 always */
    uint8_t reserved[32];
} vsw_port;

enum vsw_vlan_flags { VSW_VLAN_PROMISCUOUS = 1u << 0 };

typedef struct vsw_vlan {
    uint16_t fid;             /* filtering VLAN: the primary of a secondary VLAN, else itself */
    uint16_t flags;
    uint32_t group;           /* ports that receive the VLAN: virtual dialects the local ones, else all */
    uint32_t promiscuous;     /* group of the promiscuous ports that receive it */
    uint32_t reserved;
} vsw_vlan;

typedef struct vsw_group {
    uint32_t start, count;    /* a run of vsw_tables.members, ascending */
} vsw_group;

typedef struct vsw_team {
    uint8_t policy;           /* enum vsw_policy of hashes/registry.h */
    uint8_t buckets_used;     /* assignment: 1 buckets, 0 modulo */
    uint8_t ip_hash_bits;
    uint8_t lacp;
    uint16_t usable_count;
    uint16_t first;           /* what policy `explicit` picks; VSW_NO_PORT: nothing is usable */
    uint16_t first_up;        /* first usable member in configured order */
    uint16_t reserved[3];
    uint16_t usable[VSW_TEAM_MEMBERS];
    uint16_t buckets[VSW_BUCKETS];
} vsw_team;

enum vsw_module_flags {
    VSW_VIRTUAL = 1u << 0,
    VSW_CHECK_SOURCE = 1u << 1,
    VSW_RESERVE_4095 = 1u << 2,
    VSW_OVS_TAGS = 1u << 3,
    VSW_RESERVED_DROP = 1u << 4,       /* 01-80-C2-00-00-00 .. 0F */
    VSW_RESERVED_OVS = 1u << 5,        /* Open vSwitch's list */
    VSW_LEARNS = 1u << 6,
    VSW_GUARDS = 1u << 7,              /* some port has a BPDU guard */
    VSW_TEAMS_OF_PORTS = 1u << 8,      /* plain dialect: some ports are members of a team */
};

typedef struct vsw_module {
    uint32_t flags;
    uint16_t ports;           /* greatest port number + 1 */
    uint16_t teams;
    uint16_t default_port;    /* source-mac: where an unknown source came in; VSW_NO_PORT: nowhere */
    uint16_t vlan_limit;
    uint16_t tpid[3];         /* as loaded: the first byte of the wire lowest; unused ones repeat the first */
    uint16_t reserved;
    int64_t age;              /* nanoseconds */
    uint32_t port_limit;
    uint32_t module_limit;
} vsw_module;

/* What the fast lane asks of an ingress port: the greatest length without a tag, the VLAN of untagged frames, and bits ... */
typedef struct vsw_hot_in {
    uint32_t word;
    uint32_t accepts;         /* ... and the longest run of VIDs that may come in, from below to above (0: no tag; none at all: above < below); bits */
} vsw_hot_in;

#define VSW_HOT_LENGTH 0x1FFFFu      /* of word and of hot_out: greatest length; longer frames take the exact path */
#define VSW_HOT_VLAN 17              /* in: VLAN of untagged frames, 12 bits; out: the one that leaves untagged, 13 bits */
#define VSW_HOT_NO_VLAN 0x1FFFu
#define VSW_HOT_TUNNEL 29            /* in: the tag stays, whatever its VID */
#define VSW_HOT_STRIPS 30            /* in: source-mac takes a tag off */
#define VSW_HOT_TAG 30               /* out: a tag is sent */
#define VSW_HOT_ODD 31               /* only the exact path knows this port */
#define VSW_HOT_ABOVE 12             /* of accepts: where the end of the run stands */
#define VSW_HOT_UPLINK 24
#define VSW_HOT_DEJA_VU 25
#define VSW_HOT_FORGED 26

typedef struct vsw_tables {
    vsw_module module;
    vsw_port *ports;
    const vsw_vlan *vlans;         /* [VSW_VIDS] */
    const vsw_group *groups;
    const uint16_t *members;
    vsw_team *teams;
    const uint64_t *accept;        /* [ports][VSW_VID_WORDS]: VIDs (0: none) that may come in; a tunnel's cvids */
    const uint64_t *receive;       /* [ports][VSW_VID_WORDS]: VLANs that the port receives */
    /* The same for the fast lane, made by vsw_heat_port() and vsw_heat_vlans(). */
    vsw_hot_in *hot_in;            /* [VSW_MAX_PORTS + 1] */
    uint32_t *hot_out;             /* [VSW_MAX_PORTS + 1] */
    uint16_t *hot_vlans;           /* [VSW_VIDS]: fid; bit 15: only the exact path knows this VLAN */
    uint32_t plain_vlans;          /* every VLAN but 0 filters as itself, and none is odd: no need to ask hot_vlans */
} vsw_tables;

_Static_assert(sizeof(vsw_port) == 64, "vsw_port is one cache line");
_Static_assert(sizeof(vsw_vlan) == 16, "vsw_vlan matches tables.py");
_Static_assert(sizeof(vsw_team) == 16 + 2 * VSW_TEAM_MEMBERS + 2 * VSW_BUCKETS, "vsw_team matches tables.py");
_Static_assert(sizeof(vsw_module) == 40, "vsw_module matches tables.py");

static inline uint32_t vsw_bit(const uint64_t *words, uint32_t bit) {
    return (uint32_t)(words[bit >> 6] >> (bit & 63)) & 1;
}

static inline uint32_t vsw_accepts(const vsw_tables *t, uint32_t port, uint32_t vid) {
    return vsw_bit(t->accept + (size_t)port * VSW_VID_WORDS, vid);
}

static inline uint32_t vsw_receives(const vsw_tables *t, uint32_t port, uint32_t vlan) {
    return vsw_bit(t->receive + (size_t)port * VSW_VID_WORDS, vlan);
}

/* The longest run of bits among VSW_VIDS, as VSW_HOT_ABOVE says; the first one of several. */
static inline uint32_t vsw_longest_run(const uint64_t *words) {
    uint32_t best = 1, length = 0, at = 0;
    while (at < VSW_VIDS) {
        uint64_t ones = words[at >> 6] >> (at & 63);
        if (!ones) {
            at = (at | 63) + 1;
            continue;
        }
        uint32_t from = at += (uint32_t)__builtin_ctzll(ones);
        while (at < VSW_VIDS) {
            uint64_t zeros = ~words[at >> 6] >> (at & 63);
            if (zeros) {
                at += (uint32_t)__builtin_ctzll(zeros);
                break;
            }
            at = (at | 63) + 1;
        }
        if (at - from > length) {
            length = at - from;
            best = from | (at - 1) << VSW_HOT_ABOVE;
        }
    }
    return best;
}

/* Works out the hot row of port `i`; one that does not exist, and VSW_MAX_PORTS, are odd. */
static inline void vsw_heat_port(vsw_tables *t, uint32_t i) {
    const uint32_t up = VSW_PORT_EXISTS | VSW_PORT_UP, both = VSW_PORT_CHECK_DEJA_VU | VSW_PORT_CHECK_FORGED;
    t->hot_in[i] = (vsw_hot_in){1u << VSW_HOT_ODD, 1};
    t->hot_out[i] = 1u << VSW_HOT_ODD;
    if (i >= t->module.ports)
        return;
    const vsw_port *p = t->ports + i;
    const uint32_t flags = p->flags, longest = p->max_length < VSW_HOT_LENGTH ? p->max_length : VSW_HOT_LENGTH;
    const uint32_t untagged = p->untagged_vid < VSW_VIDS ? p->untagged_vid : VSW_HOT_NO_VLAN;
    const uint32_t odd_in = (flags & (up | VSW_PORT_SLOW_IN)) != up || (flags & both) == both, odd_out = (flags & (up | VSW_PORT_SLOW_OUT)) != up;
    const uint32_t strips = p->mode == VSW_ACCESS || p->mode == VSW_PRIVATE || p->mode == VSW_TUNNEL;
    t->hot_in[i].word = longest | (uint32_t)(p->pvid & (VSW_VIDS - 1)) << VSW_HOT_VLAN | (uint32_t)!p->vid_mask << VSW_HOT_TUNNEL | strips << VSW_HOT_STRIPS |
                        odd_in << VSW_HOT_ODD;
    t->hot_in[i].accepts = vsw_longest_run(t->accept + (size_t)i * VSW_VID_WORDS) | (uint32_t)!!(flags & VSW_PORT_UPLINK) << VSW_HOT_UPLINK |
                           (uint32_t)!!(flags & VSW_PORT_CHECK_DEJA_VU) << VSW_HOT_DEJA_VU | (uint32_t)!!(flags & VSW_PORT_CHECK_FORGED) << VSW_HOT_FORGED;
    t->hot_out[i] = longest | untagged << VSW_HOT_VLAN | (uint32_t)!!p->tag_sent << VSW_HOT_TAG | odd_out << VSW_HOT_ODD;
}

static inline void vsw_heat_vlans(vsw_tables *t) {
    t->plain_vlans = 1;
    for (uint32_t vlan = 0; vlan < VSW_VIDS; vlan++) {
        uint32_t odd = vlan == 0 || (t->vlans[vlan].flags & VSW_VLAN_PROMISCUOUS);
        t->hot_vlans[vlan] = (uint16_t)(t->vlans[vlan].fid | odd << 15);
        t->plain_vlans &= vlan == 0 || t->hot_vlans[vlan] == vlan;
    }
}

#endif
