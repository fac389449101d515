/* gate.h: how the control side changes tables under running workers: at burst boundaries, and never within a burst.
 *
 * A worker says that it is inside before each burst and looks whether the gate is closed; the one writer closes the gate, waits until nobody is inside,
 * changes what it likes, and opens it.  A worker pays one store and one load a burst and takes no lock.
 *
 * Thread-safety: one writer at a time (the Datapath's lock); any number of workers.  */
#ifndef VSW_GATE_H
#define VSW_GATE_H

#include <sched.h>
#include <stdint.h>

static inline void vsw_gate_enter(const uint32_t *closed, uint32_t *inside) {
    for (;;) {
        __atomic_store_n(inside, 1, __ATOMIC_SEQ_CST);
        if (__builtin_expect(!__atomic_load_n(closed, __ATOMIC_SEQ_CST), 1))
            return;
        __atomic_store_n(inside, 0, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(closed, __ATOMIC_ACQUIRE))
            sched_yield();
    }
}

static inline void vsw_gate_leave(uint32_t *inside) {
    __atomic_store_n(inside, 0, __ATOMIC_RELEASE);
}

static inline void vsw_gate_close(uint32_t *closed) {
    __atomic_store_n(closed, 1, __ATOMIC_SEQ_CST);
}

static inline void vsw_gate_wait(const uint32_t *inside) {
    while (__atomic_load_n(inside, __ATOMIC_SEQ_CST))
        sched_yield();
}

static inline void vsw_gate_open(uint32_t *closed) {
    __atomic_store_n(closed, 0, __ATOMIC_SEQ_CST);
}

#endif
