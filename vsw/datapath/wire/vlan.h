/* vlan.h: the 802.1Q tag, between the source address and the EtherType.
 *
 * A tag is a TPID and a TCI; it counts only if the two bytes after it (the next type) are there too, so a frame is asked for
 * at + VSW_TAG + 2 bytes before a tag at `at` is read. */
#ifndef VSW_WIRE_VLAN_H
#define VSW_WIRE_VLAN_H

#include "vsw/datapath/wire/bytes.h"

enum {
    VSW_TAG = 4,                       /* bytes of a tag */
    VSW_TAG_TCI = 2,                   /* from the tag's start */
    VSW_TAG_AND_TYPE = 6,              /* bytes that must be there for the tag to count */

    VSW_TPID_C = 0x8100,               /* customer tag: 802.1Q */
    VSW_TPID_S = 0x88A8,               /* service tag: 802.1ad */
    VSW_TPID_OLD = 0x9100,             /* the service tag of gear older than 802.1ad */

    VSW_TCI_VID = 0x0FFF,
    VSW_TCI_DEI = 0x1000,
    VSW_TCI_PCP = 0xE000,
    VSW_TCI_PCP_SHIFT = 13,
};

/* Of any kind, where no dialect says which ones count. */
static inline uint32_t vsw_is_any_tpid(uint32_t type)
{
    return (type == VSW_TPID_C) | (type == VSW_TPID_S) | (type == VSW_TPID_OLD);
}

#endif
