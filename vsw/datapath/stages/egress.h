/* egress.h: last stage: may this copy leave by that port, with which tags, and how long is it (rule 14).
 *
 * A copy is a description (vsw_copy); bytes move once, when a sink writes them.  */
#ifndef VSW_STAGE_EGRESS_H
#define VSW_STAGE_EGRESS_H

#include "vsw/datapath/state.h"

#define VSW_ALWAYS 2u

/* Tags in a virtual dialect: the stack's only tag, kept, rewritten or taken off. */
static inline void vsw_tags_out_virtual(const vsw_port *q, const vsw_frame *f, vsw_copy *c) {
    uint32_t depth = f->depth;
    if (depth && (!q->tag_sent || f->vlan == q->untagged_vid))
        depth--;
    c->tags = (uint8_t)depth;
    c->tag[0] = f->stack[0];
    if (q->priority_tags) {
        if (depth) {
            c->tag[0].tci = (uint16_t)((c->tag[0].tci & ~VSW_TCI_PCP) | f->received_pcp);
        } else if (f->received_pcp) {
            c->tag[0] = (vsw_tag){0x8100, f->received_pcp};
            c->tags = 1;
        }
    }
    c->body_at = (uint8_t)(f->body_at + f->skip);
}

static inline int vsw_same_tag(vsw_tag a, vsw_tag b) {
    return a.tpid == b.tpid && (a.tci | VSW_TCI_DEI) == (b.tci | VSW_TCI_DEI);
}

/* Tags as Open vSwitch sends them. */
static inline void vsw_tags_out_ovs(const vsw_port *q, const vsw_frame *f, vsw_copy *c) {
    vsw_tag out[2] = {{0, 0}, {0, 0}};
    uint32_t depth = f->depth, first = 0;
    if (q->mode == VSW_ACCESS || q->mode == VSW_PRIVATE)
        depth = 0;
    else if (depth && (q->mode == VSW_TUNNEL || (q->mode == VSW_NATIVE_UNTAGGED && f->vlan == q->untagged_vid)))
        first = 1;
    uint32_t count = 0;
    for (uint32_t i = first; i < depth; i++) {
        out[count] = f->stack[i];
        out[count++].tci &= (uint16_t)~VSW_TCI_DEI;
    }
    if (q->priority_tags) {
        if (!count && f->received_pcp) {
            out[0] = (vsw_tag){0x8100, 0};
            count = 1;
        }
        if (count)
            out[0].tci = (uint16_t)((out[0].tci & VSW_TCI_VID) | f->received_pcp);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (out[i].tci == 0 && q->priority_tags != VSW_ALWAYS) {
            count = i;
            break;
        }
    }
    /* tags equal to those read, from the innermost outwards, stay as they were */
    uint32_t kept = 0;
    while (kept < count && kept < f->read && vsw_same_tag(out[count - 1 - kept], f->tags[f->read - 1 - kept])) {
        out[count - 1 - kept] = f->tags[f->read - 1 - kept];
        kept++;
    }
    c->tags = (uint8_t)count;
    c->tag[0] = out[0];
    c->tag[1] = out[1];
    c->body_at = (uint8_t)(f->body_at + f->skip);
}

/* Describes the copy of `f` for port `q`. */
static inline void vsw_make_copy(const vsw_tables *t, const vsw_port *q, const vsw_frame *f, uint32_t port, vsw_copy *c) {
    memset(c, 0, sizeof *c);
    c->port = (uint16_t)port;
    if (t->module.flags & VSW_OVS_TAGS)
        vsw_tags_out_ovs(q, f, c);
    else
        vsw_tags_out_virtual(q, f, c);
    uint32_t head_in = f->body_at, head_out = VSW_MACS + c->tags * VSW_TAG;
    c->length = f->length - head_in + head_out;
    if ((q->flags & VSW_PORT_PADS) && head_out < head_in && c->length < VSW_SHORTEST && f->captured == f->length) {
        c->pad = (uint8_t)(VSW_SHORTEST - c->length);
        c->length = VSW_SHORTEST;
    }
}

/* Why the copy may not leave by `port`; 0: it may. */
static inline uint32_t vsw_egress_reason(const vsw_tables *t, const vsw_frame *f, uint32_t port, const vsw_copy *c) {
    const vsw_port *p = t->ports + f->port_in, *q = t->ports + port;
    if (!(q->flags & VSW_PORT_UP))
        return VSW_PORT_DOWN;
    if (p->flags & q->flags & VSW_PORT_PROTECTED)
        return VSW_PROTECTED;
    if ((t->module.flags & VSW_VIRTUAL) && !vsw_receives(t, port, f->vlan))
        return VSW_EGRESS_VLAN;
    if ((q->flags & VSW_PORT_DESIGNATED) && (f->dst & VSW_GROUP_BIT) && (p->flags & VSW_PORT_UPLINK) && q->designated != f->port_in)
        return VSW_NOT_DESIGNATED;
    if (q->flags & VSW_PORT_MAC_CHANGED)
        return VSW_MAC_CHANGED;
    if (c->length > q->max_length) {
        uint32_t tags = c->tags;
        if (tags < 2)
            tags += vsw_tags_at(t, f, f->body_at, 2 - tags);
        if (c->length > q->max_length + (uint64_t)tags * VSW_TAG)
            return VSW_TOO_LONG;
    }
    return 0;
}

#endif
