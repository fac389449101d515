/* port_id.h: team policy `port-id`: all that a port sends leaves by one uplink.
 *
 * The hash is the number of the port that the frame came in by, whatever is in the frame. */
#ifndef VSW_HASHES_PORT_ID_H
#define VSW_HASHES_PORT_ID_H

#include "vsw/datapath/hashes/input.h"

static inline uint32_t vsw_hash_port_id(const vsw_hash_input *in)
{
    return in->port;
}

#endif
