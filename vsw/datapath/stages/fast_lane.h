/* fast_lane.h: the passes of the fast lane, compiled once for each instruction set that fast.h picks from at run time.
 *
 * fast.h includes it several times (and takes the guards back), with VSW_LANE(name) giving each function a name of its own and the compiler's target
 * set around it.  Short loops over few arrays each: what is arithmetic becomes vectors, what is a table look-up stays scalar and does nothing else,
 * what few frames need goes over a set of them, and no loop needs more pointers than there are registers.  */

#ifndef VSW_STAGE_FAST_LANE_H
#define VSW_STAGE_FAST_LANE_H

#include "vsw/datapath/stages/fast_look.h"

/* Frames and bytes received, by port, whatever becomes of them; a number that is no port counts on nobody's row.  And the ports' hot rows. */
static inline void VSW_LANE(receive)(vsw_worker *w, vsw_lane *restrict lane, uint32_t count, const int owned) {
    const vsw_hot_in *restrict hot = w->tables->hot_in;
    const uint32_t *restrict lengths = w->burst.length;
    uint64_t *restrict rx = w->counters.rx;
    VSW_UNROLL
    for (uint32_t i = 0; i < count; i++) {
        uint32_t port = w->port_in[i];
        if (!owned)
            lane->in[i] = hot[port];
        rx[port] += (1ull << VSW_PACKED_BYTES) + lengths[i] - (owned ? w->skip[i] : 0);
    }
}

/* VLAN and key of every frame, what is odd about it on its port, and its list if nobody has the destination. */
static inline void VSW_LANE(ports)(const vsw_worker *w, vsw_lane *restrict lane, uint32_t count, const int owned) {
    const uint32_t *restrict lengths = w->burst.length;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t word = lane->in[i].word, accepts = lane->in[i].accepts, vid = lane->vid[i], tag = lane->tag[i];
        uint32_t tunnel = word >> VSW_HOT_TUNNEL & 1 ? UINT32_MAX : 0;
        uint32_t length = lengths[i] - (owned ? w->skip[i] : 0);
        uint32_t below = accepts & VSW_TCI_VID, above = accepts >> VSW_HOT_ABOVE & VSW_TCI_VID, vlan = vid & ~tunnel;
        uint32_t refuse = (vid < below) | (vid > above) ? 1 : 0;
        lane->vlan[i] = vlan ? vlan : word >> VSW_HOT_VLAN & VSW_TCI_VID;
        lane->body[i] = length - (tag & ~tunnel);
        lane->odd[i] |= (length > (word & VSW_HOT_LENGTH) + tag ? 1 : 0) | word >> VSW_HOT_ODD;
        lane->refused[i] = refuse;
        lane->check[i] = (uint8_t)(accepts >> VSW_HOT_DEJA_VU & VSW_CHECKS);
        refused |= refuse;
    }
    if (refused)                       /* by the longest run of VIDs; there may be others */
        for (uint32_t i = 0; i < count; i++)
            lane->odd[i] |= lane->refused[i] && !vsw_accepts(w->tables, w->port_in[i], lane->vid[i]);
    const uint16_t *restrict vlans = w->tables->hot_vlans;
    if (w->tables->plain_vlans)
        for (uint32_t i = 0; i < count; i++)
            lane->fid[i] = lane->vlan[i] | (lane->vlan[i] ? 0 : 1u << 15);
    else
        for (uint32_t i = 0; i < count; i++)
            lane->fid[i] = vlans[lane->vlan[i]];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t fid = lane->fid[i];
        lane->key[i] = (uint64_t)((lane->head[i][1] & 0xFFFF) | (fid & VSW_TCI_VID) << 16 | VSW_KEY_HIGH) << 32 | lane->head[i][0];
        lane->odd[i] |= fid >> 15;
    }
}

/* Sources that are somebody else's: seen before (from an uplink), or not the port's own.  Where the filter or the port's address does not settle
 * it the frame is odd. */
static inline void VSW_LANE(sources)(const vsw_worker *w, vsw_lane *restrict lane, uint32_t count, const int owned) {
    vsw_set some;
    VSW_LANE(pick)(&some, lane->check, VSW_CHECK_DEJA_VU, count);
    VSW_EACH(i, some)
        lane->odd[i] |= vsw_fdb_maybe_local(w->fdb, vsw_load64(w->burst.data[i] + 6) & VSW_MAC_MASK);
    VSW_LANE(pick)(&some, lane->check, VSW_CHECK_FORGED, count);
    VSW_EACH(i, some)
        if (!owned || !lane->honest[i])
            lane->odd[i] |= (vsw_load64(w->burst.data[i] + 6) & VSW_MAC_MASK) != w->tables->ports[w->port_in[i]].mac;
}

/* What the database says of every frame's destination, and the hot word of that port. */
static inline void VSW_LANE(answers)(const vsw_worker *w, vsw_lane *restrict lane, uint32_t count) {
    const vsw_fdb_bucket *buckets = w->fdb->buckets;
    const uint32_t *restrict hot = w->tables->hot_out;
    VSW_UNROLL
    for (uint32_t i = 0; i < count; i++) {
        uint32_t value = VSW_LANE(answer)(buckets, lane, i);
        lane->value[i] = value;
        lane->out[i] = hot[value & VSW_FDB_PORT];
    }
}

/* Frames from local ports that nobody here has the address of: their team says which uplink, as if the database had. */
static inline void VSW_LANE(outward)(const vsw_worker *w, vsw_lane *restrict lane, uint32_t count, const int owned) {
    const vsw_tables *t = w->tables;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t away = VSW_MASK(lane->odd[i] == 0) & VSW_MASK(lane->value[i] < VSW_FDB_STATIC) & ~(lane->in[i].accepts >> VSW_HOT_UPLINK);
        lane->list[i] = (uint8_t)(away & 1);
    }
    vsw_set away;
    VSW_LANE(pick)(&away, lane->list, 1, count);
    VSW_EACH(i, away) {
        uint32_t pick = vsw_lane_pick(w, lane, i, owned);
        if (pick != VSW_NO_PORT && vsw_surely_outside(w, lane, i) && vsw_receives(t, pick, lane->vlan[i])) {
            lane->value[i] = pick | VSW_FDB_SETTLED << VSW_FDB_FLAGS_AT;
            lane->out[i] = t->hot_out[pick];
        }
    }
}

/* Last pass: which port each frame leaves by or what list it is on, and counts. */
static inline void VSW_LANE(settle)(vsw_worker *w, vsw_lane *restrict lane, uint32_t count) {
    const uint16_t *restrict ports = w->port_in;
    uint64_t *restrict tx = w->counters.tx;
    /* what becomes of frames that nobody here has the address of: plain dialects leave them to the exact path */
    const uint32_t known = w->tables->module.flags & VSW_VIRTUAL ? UINT32_MAX : 0;
    const uint32_t inward = known & (VSW_LIST_INWARD ^ VSW_LIST_REST), group = known ? VSW_LIST_GROUP : VSW_LIST_REST;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t value = lane->value[i], odd = lane->odd[i], out = lane->out[i], body = lane->body[i], port = value & VSW_FDB_PORT;
        uint32_t plain = VSW_MASK(odd == 0), lost = VSW_MASK(value < VSW_FDB_STATIC), uplink = 0 - (lane->in[i].accepts >> VSW_HOT_UPLINK & 1);
        uint32_t stays = VSW_MASK(value < VSW_FDB_SETTLED << VSW_FDB_FLAGS_AT) | VSW_MASK(port == ports[i]) | VSW_MASK(body > (out & VSW_HOT_LENGTH));
        uint32_t done = plain & ~stays & ((out >> VSW_HOT_ODD) - 1);
        uint32_t bare = VSW_MASK((out >> VSW_HOT_VLAN & VSW_HOT_NO_VLAN) == lane->vlan[i]);
        uint32_t list = VSW_LIST_REST ^ (inward & plain & lost & uplink);
        list = odd == VSW_ODD_GROUP ? group : list;
        lane->target[i] = (port & done) | (VSW_TO_EXACT & ~done);
        lane->left[i] = body + (out >> (VSW_HOT_TAG - 2) & VSW_TAG & ~bare);
        lane->list[i] = (uint8_t)(list & ~done);
    }
    VSW_UNROLL
    for (uint32_t i = 0; i < count; i++)
        tx[lane->target[i]] += (1ull << VSW_PACKED_BYTES) + lane->left[i];
    uint32_t done = 0;
    for (uint32_t list = VSW_LIST_DONE; list < VSW_LISTS; list++)
        VSW_LANE(pick)(lane->lists + list, lane->list, (uint8_t)list, count);
    for (uint32_t word = 0; word < VSW_SET_WORDS; word++)
        done += (uint32_t)__builtin_popcountll(lane->lists[VSW_LIST_DONE].bits[word]);
    vsw_settled(w, done, done, done);
    w->counters.delivered += done;
}

/* The tag of every frame's copies that have one: what came off, with its VLAN; else a new one, a tunnel's of the tunnel's type. */
static inline void VSW_LANE(tags)(const vsw_worker *w, vsw_lane *restrict lane, uint32_t count) {
    const uint32_t *restrict lengths = w->burst.length;
    uint32_t tunnels = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t vlan = lane->vlan[i], came = VSW_MASK(lengths[i] - w->skip[i] != lane->body[i]);
        lane->sent[i] = (lane->head[i][3] & VSW_KEPT_OF_TAG & came) | (VSW_NEW_TAG & ~came) | (vlan & VSW_VID_HIGH) << 8 | vlan << 24;
        tunnels |= lane->in[i].word;
    }
    if (tunnels >> VSW_HOT_TUNNEL & 1)
        for (uint32_t i = 0; i < count; i++)
            if (lane->in[i].word >> VSW_HOT_TUNNEL & 1)
                lane->sent[i] = (lane->sent[i] & ~UINT32_C(0xFFFF)) | __builtin_bswap16(w->tables->ports[w->port_in[i]].tunnel_tpid);
}

/* Rows as those have them that are done; the lists and the exact path write over them. */
static inline void VSW_LANE(rows)(const vsw_worker *w, const vsw_lane *restrict lane, uint32_t count) {
    const vsw_columns c = w->columns;
    memset(c.verdict, VSW_DELIVERED, count);
    memset(c.reason, VSW_REASON_NONE, count);
    memcpy(c.port_in, w->port_in, count * sizeof *c.port_in);
    int16_t *restrict egress = c.egress_port;
    uint16_t *restrict vlan = c.vlan;
    uint8_t *restrict normalised = c.normalised;
    for (uint32_t i = 0; i < count; i++)
        egress[i] = (int16_t)lane->target[i];
    for (uint32_t i = 0; i < count; i++)
        vlan[i] = (uint16_t)lane->vlan[i];
    for (uint32_t i = 0; i < count; i++)
        normalised[i] = w->skip[i] != 0;
}

static inline __attribute__((always_inline)) void VSW_LANE(passes)(vsw_worker *w, vsw_lane *lane, uint32_t count, const int owned) {
    VSW_LANE(receive)(w, lane, count, owned);
    VSW_LANE(ports)(w, lane, count, owned);
    VSW_LANE(ask)(w->fdb, lane, count);
    VSW_LANE(sources)(w, lane, count, owned);
    VSW_LANE(answers)(w, lane, count);
    if (w->tables->module.flags & VSW_VIRTUAL)
        VSW_LANE(outward)(w, lane, count, owned);
    VSW_LANE(settle)(w, lane, count);
    if (w->columns.verdict)
        VSW_LANE(rows)(w, lane, count);
    if (w->sink)
        VSW_LANE(tags)(w, lane, count);
}

static __attribute__((noinline)) void VSW_LANE(burst)(vsw_worker *w, vsw_lane *lane, uint32_t count) {
    VSW_LANE(headers)(&w->tables->module, &w->burst, lane, count);
    if (!w->owners) {
        VSW_LANE(passes)(w, lane, count, 0);
        return;
    }
    if (w->interface_ports)            /* each frame's port is found, by whatever way */
        VSW_LANE(found)(w, lane, count);
    else
        VSW_LANE(owners)(w, lane, count);
    VSW_LANE(skips)(w, lane, count);
    VSW_LANE(passes)(w, lane, count, 1);
}

#endif
