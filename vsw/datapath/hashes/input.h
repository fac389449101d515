/* input.h: what a team hash may look at.
 *
 * A hash sees D: the frame without the outermost tag that the switch read.  D is not built: its first 12 bytes are the frame's, and
 * D[k] for k >= 12 is frame[k + type_at - 12].  `captured` counts the frame's bytes, so that D has captured - type_at + 12.
 * The caller has proved captured >= type_at + 2: the addresses and D's EtherType are always there. */
#ifndef VSW_HASHES_INPUT_H
#define VSW_HASHES_INPUT_H

#include "vsw/datapath/wire/bytes.h"
#include "vsw/datapath/wire/ethernet.h"

typedef struct vsw_hash_input {
    const uint8_t *frame;              /* the destination address is at 0, the source at 6 */
    uint32_t type_at;                  /* offset of D's EtherType: 12, or behind the tag that was read (16; 20 where one was taken off before) */
    uint32_t captured;                 /* bytes of the frame that are there */
    uint32_t ip_hash_bits;             /* 8 or 32 */
    uint16_t tci;                      /* of the VLAN that the frame is in: PCP and DEI as carried, VID */
    uint16_t port;                     /* number of the port that the frame came in by */
} vsw_hash_input;

static inline uint16_t vsw_hash_type(const vsw_hash_input *in)
{
    return vsw_be16(in->frame + in->type_at);
}

#endif
