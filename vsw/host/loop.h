/* loop.h: the run loop: bursts from live ports through the switch and out again, without the GIL.
 *
 * A looper is one worker's share: it is the source of the worker's bursts and the sink of its copies.  next() finishes the burst before (each port gets its
 * copies in one call, then frames are given back) and looks for another: it polls the ports that were busy lately.  A port that has been idle for its
 * window is asked for a notification, looked at once more, and left to epoll; when no port is left the worker sleeps there.  The window is the loop's `spin`,
 * and doubles, up to VSW_LOOP_WIDEST times it, each time a frame comes soon after it was over: whom it costs two system calls and a wakeup to sleep for
 * some microseconds is better polled on.  The datapath (vsw_run) does the rest, so that a live switch is the same switch as a replay.
 *
 * Each port has one home, the looper that receives from it; any looper may send to it, under the port's lock.  Frames of one port stay in order.
 *
 * Concurrency: a looper is `inside` from polling until everything of that burst is finished.  The control side closes the gate, waits until nobody is
 * inside, and then may change ports and this structure as it likes; frames wait meanwhile where they are.
 *
 * Bounds: 4,096 ports; copies of a burst are handed on before there are more than VSW_LOOP_OUT of them.  */
#ifndef VSW_HOST_LOOP_H
#define VSW_HOST_LOOP_H

#include <errno.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "vsw/datapath/gate.h"
#include "vsw/ports/port.h"

#define VSW_LOOP_OUT 4096u
#define VSW_LOOP_LEAST 32u             /* frames that a port may have of a burst however many others are busy */
#define VSW_LOOP_IDLE 8u               /* polls that a port has without a frame, however long they take */
#define VSW_LOOP_WIDEST 8              /* the widest window of a port, in `spin` */
#define VSW_LOOP_LOOK 25000            /* ns between two looks at epoll while ports are busy */
#define VSW_LOOP_EVENTS 64
#define VSW_LOOP_END UINT32_MAX
#define VSW_WAKE ((uint64_t)1 << 32)   /* epoll data: the looper's own eventfd */
#define VSW_WRITABLE ((uint64_t)1 << 33) /* epoll data: the port's tx_fd */
#define VSW_MILLISECOND 1000000

typedef struct vsw_looper vsw_looper;

/* A port of the loop. */
typedef struct vsw_member {
    vsw_live *live;                    /* NULL: the switch's port is attached to nothing */
    vsw_looper *home;
    uint32_t watched;                  /* its descriptors are in its home's epoll */
    uint32_t waits;                    /* for tx_fd too */
    uint32_t active;                   /* in its home's list */
    uint32_t idle;                     /* polls in a row without a frame */
    int64_t last;                      /* when it had its last frame, or was taken into the list */
    int64_t left;                      /* when it was taken from the list */
    int64_t window;                    /* ns that it is polled in vain */
    uint64_t nobody;                   /* copies for a port that is attached to nothing */
} vsw_member;

typedef struct vsw_loop {
    vsw_member *members;               /* [VSW_MAX_PORTS] */
    uint32_t closed;                   /* the gate */
    uint32_t stop;
    int service;                       /* eventfd: some port wants attention */
    int64_t spin;                      /* ns that a port is polled in vain, at least */
} vsw_loop;

struct vsw_looper {
    vsw_source source;                 /* first: the datapath sees only this */
    vsw_sink sink;
    vsw_loop *loop;
    vsw_slots slots;
    uint32_t inside;
    int epoll, wake;
    int64_t now, looked;               /* the clock, and at the last look at epoll */
    uint32_t cursor;                   /* where the next poll begins */
    uint32_t active_count, received_count, touched_count, outs;
    uint32_t timed_count;
    uint64_t bursts, sleeps;
    uint16_t active[VSW_MAX_PORTS], received[VSW_MAX_PORTS], touched[VSW_MAX_PORTS], timed[VSW_MAX_PORTS];
    uint32_t first[VSW_MAX_PORTS], last[VSW_MAX_PORTS];   /* of each touched port's copies, in `out` */
    const vsw_out *list[VSW_LOOP_OUT];
    vsw_out out[VSW_LOOP_OUT];
};

static inline int64_t vsw_loop_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void vsw_loop_write(int event) {
    ssize_t put = write(event, &(uint64_t){1}, sizeof(uint64_t));
    (void)put;                         /* it can only be full, and then it is readable */
}

/* ---- which descriptors are watched: by the port's home, or while the loop is quiet ---- */

static inline void vsw_loop_epoll(const vsw_looper *l, int operation, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data.u64 = data};
    epoll_ctl(l->epoll, operation, fd, &event);
}

static inline void vsw_loop_unwatch(vsw_loop *loop, uint32_t number) {
    vsw_member *m = loop->members + number;
    if (!m->watched || !m->live)
        return;
    if (m->live->rx_fd >= 0)
        vsw_loop_epoll(m->home, EPOLL_CTL_DEL, m->live->rx_fd, 0, 0);
    if (m->waits && m->live->tx_fd >= 0 && m->live->tx_fd != m->live->rx_fd)
        vsw_loop_epoll(m->home, EPOLL_CTL_DEL, m->live->tx_fd, 0, 0);
    m->watched = m->waits = 0;
}

/* With the port's lock: after transmit(), whether its home waits for tx_fd. */
static inline void vsw_loop_await(vsw_loop *loop, uint32_t number) {
    vsw_member *m = loop->members + number;
    vsw_live *live = m->live;
    if (__builtin_expect(m->waits == live->blocked || !m->watched || live->tx_fd < 0, 1))
        return;
    m->waits = live->blocked;
    if (live->tx_fd == live->rx_fd)
        vsw_loop_epoll(m->home, EPOLL_CTL_MOD, live->rx_fd, m->waits ? EPOLLIN | EPOLLOUT : EPOLLIN, number | (m->waits ? VSW_WRITABLE : 0));
    else
        vsw_loop_epoll(m->home, m->waits ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, live->tx_fd, EPOLLOUT, number | VSW_WRITABLE);
}

/* The port wants service(): it is left alone until it had that. */
static inline void vsw_loop_heed(vsw_loop *loop, uint32_t number) {
    vsw_member *m = loop->members + number;
    if (__builtin_expect(!__atomic_load_n(&m->live->attention, __ATOMIC_ACQUIRE), 1))
        return;
    if (!m->live->link)
        vsw_loop_unwatch(loop, number);
    vsw_loop_write(loop->service);
}

/* ---- out ---- */

static inline void vsw_loop_send(vsw_looper *l, uint32_t number, uint32_t count) {
    vsw_member *m = l->loop->members + number;
    vsw_live *live = m->live;
    pthread_mutex_lock(&live->lock);
    live->now = l->now;
    uint32_t attention = live->attention;
    live->transmit(live, l->list, count);
    vsw_loop_await(l->loop, number);
    if (!attention)
        vsw_loop_heed(l->loop, number);
    pthread_mutex_unlock(&live->lock);
}

/* Hands every port its copies. */
static inline void vsw_loop_drain(vsw_looper *l) {
    for (uint32_t k = 0; k < l->touched_count; k++) {
        uint32_t number = l->touched[k], count = 0;
        for (uint32_t i = l->first[number]; i != VSW_LOOP_END; i = l->out[i].next)
            l->list[count++] = l->out + i;
        l->first[number] = VSW_LOOP_END;
        if (l->loop->members[number].live)
            vsw_loop_send(l, number, count);
        else
            __atomic_fetch_add(&l->loop->members[number].nobody, count, __ATOMIC_RELAXED);
    }
    l->touched_count = l->outs = 0;
}

/* The sink of the worker. */
static inline int vsw_loop_copy(vsw_sink *sink, const vsw_copy *copy, const uint8_t *data, uint32_t captured, int64_t time) {
    vsw_looper *l = (vsw_looper *)(void *)((char *)sink - offsetof(vsw_looper, sink));
    if (__builtin_expect(l->outs == VSW_LOOP_OUT, 0))
        vsw_loop_drain(l);
    uint32_t i = l->outs++, number = copy->port;
    vsw_out *out = l->out + i;
    out->copy = *copy;
    out->data = data;
    out->captured = captured;
    out->time = time;
    out->next = VSW_LOOP_END;
    if (l->first[number] == VSW_LOOP_END) {
        l->first[number] = i;
        l->touched[l->touched_count++] = (uint16_t)number;
    } else {
        l->out[l->last[number]].next = i;
    }
    l->last[number] = i;
    return 1;
}

/* Everything of the burst before is finished. */
static inline void vsw_loop_finish(vsw_looper *l) {
    vsw_loop_drain(l);
    for (uint32_t k = 0; k < l->received_count; k++) {
        vsw_live *live = l->loop->members[l->received[k]].live;
        live->release(live);
    }
    l->received_count = 0;
    if (l->inside)
        vsw_gate_leave(&l->inside);
}

/* ---- in ---- */

static inline void vsw_loop_activate(vsw_looper *l, uint32_t number) {
    vsw_member *m = l->loop->members + number;
    if (m->active || !m->live || !m->watched || m->home != l)
        return;
    m->live->disarm(m->live);
    m->active = 1;
    m->idle = 0;
    m->last = l->now;
    int64_t spin = l->loop->spin, wider = l->now - m->left < spin * VSW_LOOP_WIDEST ? m->window * 2 : spin;
    m->window = wider < spin * VSW_LOOP_WIDEST ? wider : spin * VSW_LOOP_WIDEST;
    l->active[l->active_count++] = (uint16_t)number;
}

/* While the loop is quiet: the port's descriptors are watched from here on, and it is looked at once. */
static inline void vsw_loop_watch(vsw_loop *loop, uint32_t number) {
    vsw_member *m = loop->members + number;
    if (m->watched || !m->live)
        return;
    if (m->live->rx_fd >= 0)
        vsw_loop_epoll(m->home, EPOLL_CTL_ADD, m->live->rx_fd, EPOLLIN, number);
    m->watched = 1;
    m->waits = 0;
    vsw_loop_await(loop, number);
    vsw_loop_activate(m->home, number);
    vsw_loop_write(m->home->wake);
}

static inline uint32_t vsw_loop_without(uint16_t *list, uint32_t count, uint32_t number) {
    uint32_t kept = 0;
    for (uint32_t k = 0; k < count; k++)
        if (list[k] != number)
            list[kept++] = list[k];
    return kept;
}

/* While the loop is quiet: the port leaves its home. */
static inline void vsw_loop_forget(vsw_loop *loop, uint32_t number) {
    vsw_member *m = loop->members + number;
    vsw_loop_unwatch(loop, number);
    if (m->home) {
        m->home->active_count = vsw_loop_without(m->home->active, m->home->active_count, number);
        m->home->timed_count = vsw_loop_without(m->home->timed, m->home->timed_count, number);
    }
    m->active = 0;
    m->home = NULL;
}

static inline int vsw_loop_idle(const vsw_looper *l, const vsw_member *m) {
    return m->idle >= VSW_LOOP_IDLE && l->now - m->last >= m->window;
}

/* Takes ports from the list that were idle for their windows, unless a frame has come meanwhile. */
static inline void vsw_loop_retire(vsw_looper *l) {
    uint32_t kept = 0;
    for (uint32_t k = 0; k < l->active_count; k++) {
        vsw_member *m = l->loop->members + l->active[k];
        int gone = !m->live || !m->watched || m->home != l, idle = !gone && vsw_loop_idle(l, m);
        if (gone || (idle && !m->live->arm(m->live))) {
            m->active = 0;
            m->left = l->now;
            continue;
        }
        if (idle) {
            m->live->disarm(m->live);
            m->idle = 0;
            m->last = l->now;
        }
        l->active[kept++] = l->active[k];
    }
    l->active_count = kept;
}

static inline uint32_t vsw_loop_receive(vsw_looper *l, uint32_t number, vsw_burst *b, uint32_t first, uint32_t limit) {
    vsw_member *m = l->loop->members + number;
    vsw_live *live = m->live;
    live->now = l->now;
    uint32_t attention = live->attention, got = live->receive(live, b, first, limit, &l->slots);
    if (!attention)
        vsw_loop_heed(l->loop, number);
    if (!got) {
        m->idle++;
        return 0;
    }
    m->idle = 0;
    m->last = l->now;
    l->received[l->received_count++] = (uint16_t)number;
    for (uint32_t i = first; i < first + got; i++) {
        b->interface[i] = (uint16_t)number;
        b->time[i] = l->now;
    }
    return got;
}

/* One look at every busy port. */
static inline uint32_t vsw_loop_poll(vsw_looper *l, vsw_burst *b, uint32_t limit) {
    uint32_t ports = l->active_count, count = 0, idle = 0;
    if (!ports)
        return 0;
    uint32_t share = limit / ports > VSW_LOOP_LEAST ? limit / ports : VSW_LOOP_LEAST, start = l->cursor++ % ports;
    b->roomy = 1;
    for (uint32_t k = 0; k < ports && count < limit; k++) {
        uint32_t number = l->active[start + k < ports ? start + k : start + k - ports];
        vsw_member *m = l->loop->members + number;
        if (!m->live || !m->watched) {
            idle = 1;
            continue;
        }
        uint32_t most = limit - count < share ? limit - count : share;
        count += vsw_loop_receive(l, number, b, count, most);
        idle |= vsw_loop_idle(l, m);
    }
    if (idle)
        vsw_loop_retire(l);
    return count;
}

/* Ports that want to be asked at a time of their own (the fault injector's delays).  Returns the next such time. */
static inline int64_t vsw_loop_timers(vsw_looper *l) {
    int64_t due = VSW_NEVER;
    for (uint32_t k = 0; k < l->timed_count; k++) {
        uint32_t number = l->timed[k];
        vsw_member *m = l->loop->members + number;
        if (m->live->due <= l->now) {
            vsw_loop_send(l, number, 0);
            vsw_loop_activate(l, number);
        }
        if (m->live->due < due)
            due = m->live->due;
    }
    return due;
}

/* Looks at epoll, for at most `milliseconds`. */
static inline void vsw_loop_events(vsw_looper *l, int milliseconds) {
    struct epoll_event events[VSW_LOOP_EVENTS];
    vsw_loop *loop = l->loop;
    int count = epoll_wait(l->epoll, events, VSW_LOOP_EVENTS, milliseconds);
    l->now = l->looked = vsw_loop_clock();
    if (count <= 0)
        return;
    vsw_gate_enter(&loop->closed, &l->inside);
    for (int i = 0; i < count; i++) {
        uint64_t data = events[i].data.u64;
        uint32_t number = (uint32_t)data & (VSW_MAX_PORTS - 1);
        if (data == VSW_WAKE) {
            uint64_t rung;
            ssize_t got = read(l->wake, &rung, sizeof rung);
            (void)got;
            continue;
        }
        vsw_member *m = loop->members + number;
        if (!m->live || !m->watched)
            continue;
        if ((data & VSW_WRITABLE) && (events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
            vsw_loop_send(l, number, 0);
        if (m->live && m->watched && (!(data & VSW_WRITABLE) || m->live->tx_fd == m->live->rx_fd))
            vsw_loop_activate(l, number);
    }
    vsw_gate_leave(&l->inside);
}

static inline int vsw_loop_timeout(const vsw_looper *l, int64_t due) {
    if (due == VSW_NEVER)
        return -1;
    int64_t left = (due - l->now + VSW_MILLISECOND - 1) / VSW_MILLISECOND;
    return left < 0 ? 0 : left > 1000 ? 1000 : (int)left;
}

/* The source of the worker: finishes the burst before, and waits for the next; 0 when the loop is to stop. */
static inline uint32_t vsw_loop_next(vsw_source *source, vsw_burst *b, uint32_t limit) {
    vsw_looper *l = (vsw_looper *)(void *)source;
    vsw_loop *loop = l->loop;
    vsw_loop_finish(l);
    for (;;) {
        if (__atomic_load_n(&loop->stop, __ATOMIC_ACQUIRE))
            return 0;
        l->now = vsw_loop_clock();
        if (l->now - l->looked >= VSW_LOOP_LOOK)
            vsw_loop_events(l, 0);
        vsw_gate_enter(&loop->closed, &l->inside);
        int64_t due = l->timed_count ? vsw_loop_timers(l) : VSW_NEVER;
        uint32_t count = vsw_loop_poll(l, b, limit);
        if (count) {
            l->bursts++;
            return count;
        }
        int sleeps = !l->active_count;
        vsw_gate_leave(&l->inside);
        if (sleeps) {
            l->sleeps++;
            vsw_loop_events(l, vsw_loop_timeout(l, due));
        }
    }
}

#endif
