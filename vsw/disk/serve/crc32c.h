/* crc32c.h: CRC-32C (Castagnoli), the digest of iSCSI (RFC 7143 13.1).
 *
 * One function, chosen at run time: the instruction of x86-64 (SSE 4.2) or of aarch64 (CRC) where the processor has it, else eight
 * tables (slicing by 8). All three give the same number; the tests compare them.
 */
#ifndef VSW_CRC32C_H
#define VSW_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "crc32c.h reads words in little-endian order"
#endif

#define VSW_CRC32C_POLYNOMIAL 0x82F63B78u

static uint32_t vsw_crc32c_tables[8][256];

static inline uint32_t vsw_crc32c_portable(uint32_t crc, const uint8_t *bytes, size_t length) {
    uint64_t word;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        word ^= crc;
        crc = vsw_crc32c_tables[7][word & 0xFF] ^ vsw_crc32c_tables[6][word >> 8 & 0xFF] ^ vsw_crc32c_tables[5][word >> 16 & 0xFF] ^
              vsw_crc32c_tables[4][word >> 24 & 0xFF] ^ vsw_crc32c_tables[3][word >> 32 & 0xFF] ^
              vsw_crc32c_tables[2][word >> 40 & 0xFF] ^ vsw_crc32c_tables[1][word >> 48 & 0xFF] ^ vsw_crc32c_tables[0][word >> 56];
    }
    for (; length; bytes++, length--) crc = vsw_crc32c_tables[0][(crc ^ *bytes) & 0xFF] ^ crc >> 8;
    return crc;
}

#if defined(__x86_64__)
#define VSW_CRC32C_HARDWARE 1
__attribute__((target("sse4.2"))) static inline uint32_t vsw_crc32c_hardware(uint32_t crc, const uint8_t *bytes, size_t length) {
    uint64_t wide = crc, word;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; length; bytes++, length--) crc = __builtin_ia32_crc32qi(crc, *bytes);
    return crc;
}
static inline int vsw_crc32c_has_hardware(void) { return __builtin_cpu_supports("sse4.2") != 0; }
#elif defined(__aarch64__) && defined(__linux__)
#define VSW_CRC32C_HARDWARE 1
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
__attribute__((target("+crc"))) static inline uint32_t vsw_crc32c_hardware(uint32_t crc, const uint8_t *bytes, size_t length) {
    uint64_t word;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        crc = __crc32cd(crc, word);
    }
    for (; length; bytes++, length--) crc = __crc32cb(crc, *bytes);
    return crc;
}
static inline int vsw_crc32c_has_hardware(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
#else
#define VSW_CRC32C_HARDWARE 0
static inline uint32_t vsw_crc32c_hardware(uint32_t crc, const uint8_t *bytes, size_t length) {
    return vsw_crc32c_portable(crc, bytes, length);
}
static inline int vsw_crc32c_has_hardware(void) { return 0; }
#endif

static int vsw_crc32c_chosen;

/* Fill the tables and choose; call once before the first digest. */
static inline void vsw_crc32c_prepare(void) {
    for (int byte = 0; byte < 256; byte++) {
        uint32_t crc = (uint32_t)byte;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ VSW_CRC32C_POLYNOMIAL : crc >> 1;
        vsw_crc32c_tables[0][byte] = crc;
    }
    for (int byte = 0; byte < 256; byte++)
        for (int table = 1; table < 8; table++)
            vsw_crc32c_tables[table][byte] =
                vsw_crc32c_tables[table - 1][byte] >> 8 ^ vsw_crc32c_tables[0][vsw_crc32c_tables[table - 1][byte] & 0xFF];
    vsw_crc32c_chosen = vsw_crc32c_has_hardware();
}

/* Continue from `crc` (0 at first); the result is the digest's value, sent least significant byte first. */
static inline uint32_t vsw_crc32c(uint32_t crc, const void *bytes, size_t length) {
    crc = ~crc;
    crc = vsw_crc32c_chosen ? vsw_crc32c_hardware(crc, (const uint8_t *)bytes, length) : vsw_crc32c_portable(crc, (const uint8_t *)bytes, length);
    return ~crc;
}

#endif
