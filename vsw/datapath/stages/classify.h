/* classify.h: second stage: which VLAN the frame is in, and whether its port may send it (rules 5 to 10).
 *
 * After it the tags are state: a stack, and the offset at which the bytes behind it begin.  */
#ifndef VSW_STAGE_CLASSIFY_H
#define VSW_STAGE_CLASSIFY_H

#include "vsw/datapath/state.h"
#include "vsw/datapath/stages/lookup.h"

#define VSW_TPID_CTAG 0x8100u
#define VSW_VID_RESERVED 4095u

#define VSW_SLOW_PROTOCOLS 0x0180C2000002ull
#define VSW_SLOW_PROTOCOLS_TYPE 0x8809u
#define VSW_LACP_SUBTYPE 1u
#define VSW_BPDU_IEEE 0x0180C2000000ull
#define VSW_BPDU_PVST 0x01000CCCCCCDull

/* Verdicts of a stage that is not a drop: the frame goes on, or the control plane has it. */
#define VSW_GOES_ON 0u
#define VSW_IS_CONSUMED 0x100u

static inline int vsw_reserved_ovs(uint64_t mac) {
    switch (mac >> 24) {
    case 0x0180C2: return (mac & 0xFFFFFFu) <= 0x0F;
    case 0x01000C: {
        uint32_t low = mac & 0xFFFFFFu;
        return low == 0xCCCCCC || low == 0xCCCCCD || low == 0xCDCDCD || (low >= 0xCCCCC0 && low <= 0xCCCCC7) || low == 0;
    }
    case 0x00E02B: {
        uint32_t low = mac & 0xFFFFFFu;
        return low == 0 || low == 4 || low == 6;
    }
    default: return 0;
    }
}

/* The stack, the VLAN and the carried priority, from the tags read and the port's mode. */
static inline void vsw_enter_vlan(const vsw_tables *t, const vsw_port *p, vsw_frame *f) {
    uint32_t ovs = t->module.flags & VSW_OVS_TAGS;
    uint32_t read = ovs ? f->read : (f->read ? 1 : 0);
    uint16_t vid = read ? f->tags[0].tci & VSW_TCI_VID : 0;
    f->depth = (uint8_t)read;
    f->stack[0] = f->tags[0];
    f->stack[1] = f->tags[1];
    f->body_at = VSW_TYPE_AT + read * VSW_TAG;
    f->type_at = VSW_TYPE_AT + (read ? VSW_TAG : 0);
    f->vlan = vid ? vid : p->pvid;
    if (p->mode == VSW_TUNNEL) {
        f->vlan = p->pvid;
        f->type_at = VSW_TYPE_AT;
        if (ovs) {
            f->stack[1] = f->tags[0];
            f->depth = read ? 2 : 1;
        } else {
            f->depth = 1;
            f->body_at = VSW_TYPE_AT;
        }
        f->stack[0] = (vsw_tag){p->tunnel_tpid, p->pvid};
        f->carried = 0;
        return;
    }
    f->carried = read ? f->tags[0].tci & (VSW_TCI_PCP | VSW_TCI_DEI) : 0;
    if (p->mode == VSW_TRUNK || vid)
        return;
    /* untagged or a priority tag, on a port with a VLAN of its own */
    f->stack[0].tpid = read ? f->tags[0].tpid : VSW_TPID_CTAG;
    f->stack[0].tci = f->carried | f->vlan;
    if (!read && !f->vlan && !ovs)
        return;                  /* VLAN 0 is untagged traffic: nothing is put on it */
    if (!read || p->mode == VSW_ACCESS || p->mode == VSW_PRIVATE)
        f->depth = 1;
}

static inline int vsw_is_lacp(const vsw_frame *f) {
    return f->read == 0 && vsw_at16(f, VSW_TYPE_AT) == VSW_SLOW_PROTOCOLS_TYPE && f->captured > VSW_ETHERNET &&
           f->data[f->skip + VSW_ETHERNET] == VSW_LACP_SUBTYPE;
}

/* Destinations that no switch forwards (rule 7). */
static inline uint32_t vsw_reserved(const vsw_tables *t, vsw_port *p, const vsw_frame *f) {
    uint64_t dst = vsw_mac_value(f->dst);
    if ((p->flags & VSW_PORT_LACP) && dst == VSW_SLOW_PROTOCOLS && vsw_is_lacp(f))
        return VSW_IS_CONSUMED;
    if ((dst == VSW_BPDU_IEEE || dst == VSW_BPDU_PVST) && !(p->flags & VSW_PORT_UPLINK)) {
        if (p->flags & VSW_PORT_BPDU_GUARD) {
            p->flags &= ~(uint32_t)VSW_PORT_UP;
            return VSW_BPDU;
        }
        if (p->flags & VSW_PORT_BPDU_DROP)
            return VSW_BPDU;
    }
    if ((t->module.flags & VSW_RESERVED_DROP) && dst >= VSW_BPDU_IEEE && dst <= VSW_BPDU_IEEE + 0x0F)
        return VSW_RESERVED_ADDRESS;
    if ((t->module.flags & VSW_RESERVED_OVS) && vsw_reserved_ovs(dst))
        return VSW_RESERVED_ADDRESS;
    return VSW_GOES_ON;
}

/* A team of a plain dialect is a bond; not every member takes every frame (rule 10). */
static inline uint32_t vsw_bond_admission(const vsw_tables *t, const vsw_port *p, const vsw_frame *f) {
    const vsw_team *team = t->teams + p->team;
    if (team->policy == VSW_POLICY_EXPLICIT)
        return team->first == f->port_in ? VSW_GOES_ON : VSW_NOT_DESIGNATED;
    if (!team->lacp && (f->dst & VSW_GROUP_BIT) && team->first_up != f->port_in)
        return VSW_NOT_DESIGNATED;
    return VSW_GOES_ON;
}

static inline uint32_t vsw_classify(const vsw_tables *t, const vsw_fdb *fdb, vsw_port *p, vsw_frame *f) {
    const vsw_module *m = &t->module;
    if ((m->flags & VSW_CHECK_SOURCE) && ((f->src & VSW_GROUP_BIT) || !f->src))
        return VSW_BAD_SOURCE;
    uint32_t vid = f->read ? f->tags[0].tci & VSW_TCI_VID : 0;
    if ((m->flags & VSW_RESERVE_4095) && vid == VSW_VID_RESERVED)
        return VSW_RESERVED_VID;
    if (!vsw_accepts(t, f->port_in, vid))
        return VSW_VLAN_NOT_ALLOWED;
    vsw_enter_vlan(t, p, f);
    f->fid = t->vlans[f->vlan].fid;
    uint32_t reason = vsw_reserved(t, p, f);
    if (reason)
        return reason;
    if ((p->flags & VSW_PORT_CHECK_FORGED) && f->src != p->mac) {
        if (!vsw_static_here(fdb, f->fid, f->src, f->port_in))
            return VSW_FORGED_SOURCE;
    }
    if ((p->flags & VSW_PORT_CHECK_DEJA_VU) && vsw_fdb_maybe_local(fdb, f->src)) {
        uint32_t port = vsw_static_lookup(t, fdb, f->fid, f->vlan, f->src);
        if (port != VSW_NO_PORT && !(t->ports[port].flags & VSW_PORT_UPLINK))
            return VSW_DEJA_VU;
    }
    if ((m->flags & VSW_TEAMS_OF_PORTS) && p->team != VSW_NO_TEAM && (p->flags & VSW_PORT_UPLINK))
        return vsw_bond_admission(t, p, f);
    return VSW_GOES_ON;
}

#endif
