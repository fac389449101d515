/* bytes.h: loads from a frame's bytes, in the byte order that is asked for.
 *
 * Below all other headers of the wire.  Frames lie at any address, so every load is a memcpy (one instruction on the machines that count) and
 * never a cast of a pointer.  None of these looks at a length: whoever calls them has proved it.
 *
 * Only little-endian hosts are supported: team hashes are defined on little-endian words, and a big-endian build would have to be tested. */
#ifndef VSW_WIRE_BYTES_H
#define VSW_WIRE_BYTES_H

#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "vsw is written for little-endian hosts (x86-64, aarch64)"
#endif

static inline uint16_t vsw_le16(const uint8_t *p) { uint16_t x; memcpy(&x, p, sizeof x); return x; }
static inline uint32_t vsw_le32(const uint8_t *p) { uint32_t x; memcpy(&x, p, sizeof x); return x; }
static inline uint64_t vsw_le64(const uint8_t *p) { uint64_t x; memcpy(&x, p, sizeof x); return x; }

static inline uint16_t vsw_be16(const uint8_t *p) { return __builtin_bswap16(vsw_le16(p)); }
static inline uint32_t vsw_be32(const uint8_t *p) { return __builtin_bswap32(vsw_le32(p)); }

/* 48 bits: a MAC address as the number that configuration holds (first octet on the wire = most significant). */
static inline uint64_t vsw_be48(const uint8_t *p) { return (uint64_t)vsw_be16(p) << 32 | vsw_be32(p + 2); }

#endif
