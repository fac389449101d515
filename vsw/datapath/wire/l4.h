/* l4.h: what the transport headers have in their first bytes: ports, SPIs, and ICMP's type, code and identifier.
 *
 * Behind IP; used by the team hashes and by classify.  Each needs as many captured bytes as its last offset says, and no more: an ICMP error
 * carries only the first eight bytes of the header that caused it. */
#ifndef VSW_WIRE_L4_H
#define VSW_WIRE_L4_H

#include "vsw/datapath/wire/bytes.h"

enum {
    VSW_L4_SRC_PORT = 0,
    VSW_L4_DST_PORT = 2,
    VSW_L4_PORTS = 4,                  /* bytes of both ports (or of an ESP SPI) */
    VSW_AH_SPI = 4,                    /* where AH has its SPI */

    VSW_ICMP_TYPE = 0,
    VSW_ICMP_CODE = 1,
    VSW_ICMP_ID = 4,
    VSW_ICMP_HEADER = 8,
};

/* ICMP types, by the protocol that they belong to. */
enum {
    VSW_ICMP_ECHO_REPLY = 0,
    VSW_ICMP_UNREACHABLE = 3,
    VSW_ICMP_SOURCE_QUENCH = 4,
    VSW_ICMP_REDIRECT = 5,
    VSW_ICMP_ECHO = 8,
    VSW_ICMP_TIME_EXCEEDED = 11,
    VSW_ICMP_PARAMETER = 12,
    VSW_ICMP_TIMESTAMP = 13,
    VSW_ICMP_TIMESTAMP_REPLY = 14,

    VSW_ICMP6_UNREACHABLE = 1,
    VSW_ICMP6_PARAMETER = 4,           /* the last error: 1 unreachable, 2 too big, 3 time exceeded, 4 parameter problem */
    VSW_ICMP6_ECHO = 128,
    VSW_ICMP6_ECHO_REPLY = 129,
};

#endif
