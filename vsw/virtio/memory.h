/* memory.h: a guest's memory as its device sees it: regions of guest-physical addresses, and where each is mapped here.
 *
 * Below the rings.  Every address that a guest or its front end names goes through vsw_guest() or vsw_guest_whole(), which check it: what they
 * return may be read and written for as many bytes as they say.  The memory stays the guest's: other processors write to it at any time, so
 * what decides about an access is copied first (VSW_COPIED) and looked at afterwards.
 *
 * Bounds: VSW_REGIONS regions, which do not overlap and do not wrap.
 * Thread-safety: the table never changes while a ring uses it (see gate in ring.h); any number of readers.  */
#ifndef VSW_VIRTIO_MEMORY_H
#define VSW_VIRTIO_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#define VSW_REGIONS 32

typedef struct vsw_region {
    uint64_t guest;                    /* guest-physical address of its first byte */
    uint64_t size;                     /* bytes */
    uint64_t user;                     /* the front end's own virtual address of the same byte */
    uint8_t *host;                     /* ours */
    const uint32_t *broken;            /* not 0: the file behind it was cut short (bus_error.h) */
} vsw_region;

typedef struct vsw_memory {
    uint32_t count;
    vsw_region region[VSW_REGIONS];
} vsw_memory;

/* What was copied before this line is not read again from where it came: the compiler must assume that all memory has changed. */
#define VSW_COPIED() __asm__ volatile("" ::: "memory")

static inline int vsw_memory_broken(const vsw_memory *memory) {
    uint32_t broken = 0;
    for (uint32_t i = 0; i < memory->count; i++) broken |= __atomic_load_n(memory->region[i].broken, __ATOMIC_RELAXED);
    return broken != 0;
}

/* Where guest-physical `address` lies; `*length` is cut to what follows it within its region.  NULL: nowhere. */
static inline uint8_t *vsw_guest(const vsw_memory *memory, uint64_t address, uint64_t *length) {
    for (uint32_t i = 0; i < memory->count; i++) {
        const vsw_region *region = &memory->region[i];
        uint64_t within = address - region->guest;
        if (within < region->size) {
            if (*length > region->size - within) *length = region->size - within;
            return region->host + within;
        }
    }
    return NULL;
}

/* The same for `length` bytes (at least one) that must lie in one region.  NULL: they do not. */
static inline uint8_t *vsw_guest_whole(const vsw_memory *memory, uint64_t address, uint64_t length) {
    uint64_t there = length;
    uint8_t *host = vsw_guest(memory, address, &there);
    return there == length ? host : NULL;
}

/* Where the front end's own virtual address lies here: the parts of a ring are given that way. */
static inline uint8_t *vsw_user_whole(const vsw_memory *memory, uint64_t address, uint64_t length) {
    for (uint32_t i = 0; i < memory->count; i++) {
        const vsw_region *region = &memory->region[i];
        uint64_t within = address - region->user;
        if (within < region->size) return length <= region->size - within ? region->host + within : NULL;
    }
    return NULL;
}

#endif
