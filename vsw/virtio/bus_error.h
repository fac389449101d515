/* bus_error.h: what happens when memory that a guest shares is taken away under us.
 *
 * Who holds the other end of a shared file can cut it short at any time, and a page that is gone is a SIGBUS at whichever of our instructions touches
 * it next.  The handler lays private zero pages over the whole region, marks its memory as broken and returns: the instruction goes on, with zeroes,
 * and the worker learns of it from the mark after its burst.  No access pays for it, and none needs a way out (which `sigsetjmp` would be: one call a
 * burst, and half-done rings).
 *
 * Included by one extension only (memory.pyx): there is one table and one handler in a process.  A fault at an address that is no region's goes to
 * whoever had the signal before.
 *
 * Bounds: VSW_WATCHED regions in the process.
 * Thread-safety: vsw_watch() and vsw_unwatch() under a lock (the GIL); the handler runs in any thread at any time and takes none.  A region is
 * watched from before its first use until after its last.  */
#ifndef VSW_VIRTIO_BUS_ERROR_H
#define VSW_VIRTIO_BUS_ERROR_H

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define VSW_WATCHED 8192

typedef struct vsw_watched {
    uintptr_t start;
    uintptr_t end;                     /* 0: the row is free; stored last when it is taken, first when it is given back */
    uint32_t *broken;
} vsw_watched;

static vsw_watched vsw_watched_regions[VSW_WATCHED];
static uint32_t vsw_watched_rows;      /* rows that were ever taken: the handler looks no further */
static struct sigaction vsw_bus_before;

static void vsw_on_bus_error(int number, siginfo_t *info, void *context) {
    uintptr_t address = (uintptr_t)info->si_addr;
    uint32_t rows = __atomic_load_n(&vsw_watched_rows, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < rows; i++) {
        uintptr_t end = __atomic_load_n(&vsw_watched_regions[i].end, __ATOMIC_ACQUIRE);
        uintptr_t start = vsw_watched_regions[i].start;
        if (address < start || address >= end) continue;
        void *there = mmap((void *)start, end - start, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (there == MAP_FAILED) break;
        __atomic_store_n(vsw_watched_regions[i].broken, 1, __ATOMIC_RELEASE);
        return;
    }
    if (vsw_bus_before.sa_flags & SA_SIGINFO && vsw_bus_before.sa_sigaction != NULL) {
        vsw_bus_before.sa_sigaction(number, info, context);
    } else if (!(vsw_bus_before.sa_flags & SA_SIGINFO) && vsw_bus_before.sa_handler != SIG_DFL && vsw_bus_before.sa_handler != SIG_IGN) {
        vsw_bus_before.sa_handler(number);
    } else {
        signal(SIGBUS, SIG_DFL);       /* the instruction is tried again, and ends the process as it would have without us */
    }
}

/* Installs the handler, unless it is the one that is there (someone else may have taken the signal since). */
static int vsw_catch_bus_errors(void) {
    struct sigaction now, ours;
    if (sigaction(SIGBUS, NULL, &now) != 0) return -1;
    if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == vsw_on_bus_error) return 0;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = vsw_on_bus_error;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&ours.sa_mask);
    vsw_bus_before = now;
    return sigaction(SIGBUS, &ours, NULL);
}

/* The row that was taken, or -1 if none is free. */
static int vsw_watch(uintptr_t start, uintptr_t end, uint32_t *broken) {
    for (uint32_t i = 0; i < VSW_WATCHED; i++) {
        if (vsw_watched_regions[i].end != 0) continue;
        vsw_watched_regions[i].start = start;
        vsw_watched_regions[i].broken = broken;
        __atomic_store_n(&vsw_watched_regions[i].end, end, __ATOMIC_RELEASE);
        if (i >= vsw_watched_rows) __atomic_store_n(&vsw_watched_rows, i + 1, __ATOMIC_RELEASE);
        return (int)i;
    }
    return -1;
}

static void vsw_unwatch(int row) { __atomic_store_n(&vsw_watched_regions[row].end, 0, __ATOMIC_RELEASE); }

#endif
