/* retag.h: push, pop or rewrite the outermost tag of a frame that stays where it is.
 *
 * Stands beside the switch, as classify does.  An edit describes the frame as it is to be: a few bytes made anew, then the old ones from `body_at` on, then
 * zeros; whoever writes it copies each byte once.  Lengths are proved here: a frame whose header (to pop or rewrite: or the tag that it announces) is not all
 * there is left as it is and says so.  Nothing behind the tag is looked at, so checksums stay what they were. */
#ifndef VSW_WIRE_RETAG_H
#define VSW_WIRE_RETAG_H

#include "vsw/datapath/wire/bytes.h"
#include "vsw/datapath/wire/ethernet.h"
#include "vsw/datapath/wire/vlan.h"

enum {
    VSW_RETAG_HEAD = 32,               /* room of an edit's head, so that it can be copied whole */
    VSW_RETAG_SHORTEST = 60,           /* of a frame on a wire, without its check sequence */
    VSW_RETAG_STAYS = 0xFFFF,          /* in vsw_retag.vid: frames with this VID are left as they are */
    VSW_RETAG_VIDS = 4096,
};

typedef enum vsw_retag_kind { VSW_RETAG_PUSH, VSW_RETAG_POP, VSW_RETAG_TRANSLATE } vsw_retag_kind;

typedef enum vsw_retag_outcome {
    VSW_RETAG_DONE,
    VSW_RETAG_UNTAGGED,                /* pop, translate: there is no tag */
    VSW_RETAG_OTHER_VID,               /* pop, translate: the VID is none of those asked for */
    VSW_RETAG_MALFORMED,               /* the frame is shorter than the header that its type announces */
    VSW_RETAG_CUT,                     /* the header is in the frame, but was not captured */
    VSW_RETAG_OUTCOMES
} vsw_retag_outcome;

/* What is to be done.  Of a tag's TCI the bits of `keep` stay, those of `set` are put in, and the VID is that of `vid`. */
typedef struct vsw_retag {
    vsw_retag_kind kind;
    uint32_t pad;                      /* pop: frames that were captured whole are padded to VSW_RETAG_SHORTEST */
    uint16_t tpid;                     /* translate: 0 keeps the one that is there */
    uint16_t keep, set;
    uint16_t vid[VSW_RETAG_VIDS];      /* by the VID that is there */
} vsw_retag;

/* The frame as it is to be: `head_len` bytes of head, the frame's captured bytes from `body_at` on, `pad` zeros.  Whole where it is left as it is. */
typedef struct vsw_edit {
    uint8_t head[VSW_RETAG_HEAD];
    uint32_t head_len, body_at, pad;
    uint32_t captured, length;         /* with head and padding */
} vsw_edit;

static inline void vsw_retag_put(uint8_t *to, uint32_t tpid, uint32_t tci)
{
    uint16_t fields[2] = {__builtin_bswap16((uint16_t)tpid), __builtin_bswap16((uint16_t)tci)};
    memcpy(to, fields, sizeof fields);
}

static inline vsw_retag_outcome vsw_retag_short(uint32_t length, uint32_t needed)
{
    return length < needed ? VSW_RETAG_MALFORMED : VSW_RETAG_CUT;
}

/* What is to become of a frame; `edit` is written in any case. */
static inline vsw_retag_outcome vsw_retag_frame(const vsw_retag *rule, const uint8_t *data, uint32_t captured, uint32_t length, vsw_edit *edit)
{
    edit->head_len = edit->body_at = edit->pad = 0;
    edit->captured = captured;
    edit->length = length;
    if (captured < VSW_ETH_HEADER)
        return vsw_retag_short(length, VSW_ETH_HEADER);
    memcpy(edit->head, data, VSW_ETH_TYPE);
    if (rule->kind == VSW_RETAG_PUSH) {
        vsw_retag_put(edit->head + VSW_ETH_TYPE, rule->tpid, rule->set);
        edit->head_len = VSW_ETH_TYPE + VSW_TAG;
        edit->body_at = VSW_ETH_TYPE;
        edit->captured += VSW_TAG;
        edit->length = length > UINT32_MAX - VSW_TAG ? UINT32_MAX : length + VSW_TAG;  /* a capture may claim anything */
        return VSW_RETAG_DONE;
    }
    uint32_t tpid = vsw_be16(data + VSW_ETH_TYPE);
    if (!vsw_is_any_tpid(tpid))
        return VSW_RETAG_UNTAGGED;
    if (captured < VSW_ETH_TYPE + VSW_TAG_AND_TYPE)
        return vsw_retag_short(length, VSW_ETH_TYPE + VSW_TAG_AND_TYPE);
    uint32_t tci = vsw_be16(data + VSW_ETH_TYPE + VSW_TAG_TCI), vid = rule->vid[tci & VSW_TCI_VID];
    if (vid == VSW_RETAG_STAYS)
        return VSW_RETAG_OTHER_VID;
    edit->body_at = VSW_ETH_TYPE + VSW_TAG;
    if (rule->kind == VSW_RETAG_TRANSLATE) {
        vsw_retag_put(edit->head + VSW_ETH_TYPE, rule->tpid ? rule->tpid : tpid, (tci & rule->keep) | rule->set | vid);
        edit->head_len = VSW_ETH_TYPE + VSW_TAG;
        return VSW_RETAG_DONE;
    }
    edit->head_len = VSW_ETH_TYPE;
    edit->captured -= VSW_TAG;
    edit->length -= VSW_TAG;
    if (rule->pad && edit->captured == edit->length && edit->length < VSW_RETAG_SHORTEST) {
        edit->pad = VSW_RETAG_SHORTEST - edit->length;
        edit->captured = edit->length = VSW_RETAG_SHORTEST;
    }
    return VSW_RETAG_DONE;
}

#endif
