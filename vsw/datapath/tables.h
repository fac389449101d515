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
    uint8_t tag_taken;        /* bytes of the outermost tag that become state: 4, or 0 on a tunnel */
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

typedef struct vsw_tables {
    vsw_module module;
    vsw_port *ports;
    const vsw_vlan *vlans;         /* [VSW_VIDS] */
    const vsw_group *groups;
    const uint16_t *members;
    vsw_team *teams;
    const uint64_t *accept;        /* [ports][VSW_VID_WORDS]: VIDs (0: none) that may come in; a tunnel's cvids */
    const uint64_t *receive;       /* [ports][VSW_VID_WORDS]: VLANs that the port receives */
    /* The same for the fast lane: one word a port and a direction, two bytes a VLAN; made by vsw_tables_heat(). */
    uint64_t *hot_in, *hot_out;    /* [VSW_MAX_PORTS + 1] */
    uint16_t *hot_vlans;           /* [VSW_VIDS]: fid; bit 15: only the exact path knows this VLAN */
    uint32_t hot_forged;           /* some port checks sources */
} vsw_tables;

/* A hot word: the greatest length below; at VSW_HOT_VLAN a VLAN (in: of untagged frames, out: that leaves untagged); then bits. */
#define VSW_HOT_VLAN 32
#define VSW_HOT_TUNNEL_AT 48
#define VSW_HOT_TUNNEL (1ull << VSW_HOT_TUNNEL_AT)  /* in: the tag stays, whatever its VID */
#define VSW_HOT_TAG 48               /* out: bytes of a tag that is sent, 4 or 0 */
#define VSW_HOT_UPLINK 51
#define VSW_HOT_DEJA_VU 52
#define VSW_HOT_FORGED 53
#define VSW_HOT_ODD 63               /* only the exact path knows this port */

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

/* Works out the hot tables from the others. */
static inline void vsw_tables_heat(vsw_tables *t) {
    t->hot_forged = 0;
    for (uint32_t i = 0; i <= VSW_MAX_PORTS; i++) {
        t->hot_in[i] = t->hot_out[i] = 1ull << VSW_HOT_ODD;
        if (i >= t->module.ports)
            continue;
        const vsw_port *p = t->ports + i;
        const uint32_t up = VSW_PORT_EXISTS | VSW_PORT_UP;
        uint64_t odd_in = (p->flags & (up | VSW_PORT_SLOW_IN)) != up, odd_out = (p->flags & (up | VSW_PORT_SLOW_OUT)) != up;
        t->hot_in[i] = p->max_length | (uint64_t)(p->pvid & 0x0FFF) << VSW_HOT_VLAN | (p->vid_mask ? 0 : VSW_HOT_TUNNEL) |
                       (uint64_t)((p->flags & VSW_PORT_UPLINK) != 0) << VSW_HOT_UPLINK |
                       (uint64_t)((p->flags & VSW_PORT_CHECK_DEJA_VU) != 0) << VSW_HOT_DEJA_VU |
                       (uint64_t)((p->flags & VSW_PORT_CHECK_FORGED) != 0) << VSW_HOT_FORGED | odd_in << VSW_HOT_ODD;
        t->hot_out[i] = p->max_length | (uint64_t)p->untagged_vid << VSW_HOT_VLAN | (uint64_t)p->tag_sent << VSW_HOT_TAG | odd_out << VSW_HOT_ODD;
        t->hot_forged |= (p->flags & VSW_PORT_CHECK_FORGED) != 0;
    }
    for (uint32_t vlan = 0; vlan < VSW_VIDS; vlan++)
        t->hot_vlans[vlan] = (uint16_t)(t->vlans[vlan].fid | (vlan == 0 || (t->vlans[vlan].flags & VSW_VLAN_PROMISCUOUS)) << 15);
}

#endif
