/* What workers hand to each other in memory.
 *
 * Called by relay_sock.c for what is not for an allocation of the same worker, and by forward.c.
 * Two clients that both need a relay meet here when the kernel has put them on different workers:
 * instead of a send, the loopback device and a read, a copy and, once per batch, a wake-up.
 * Permissions, limits and counts are those of the socket's way, on both sides.
 *
 *     relay_sock_send ──► handover_send ══ring══► on_arrival ──► relay_sock_take   (other thread)
 *                            on_flush ──mail once──┘
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/handover.h"

#include <errno.h>

#include "base/mem.h"
#include "base/ring.h"
#include "turn/forward.h"
#include "turn/relay_sock.h"

#define ARRIVAL_BUDGET 512 /* datagrams per lane and turn */

/* From one worker to another. */
struct handover_lane {
    struct ring *ring;
    struct turn_worker *to;
    unsigned from;
    bool pushed; /* since the last flush: producer */
};

/* In front of each payload. */
struct handover_head {
    struct addr from, to;
};

static void on_arrival(void *arg, uint64_t now_us);

static void wake(struct handover_lane *l)
{
    if (ring_must_wake(l->ring) && worker_post(l->to->loop, on_arrival, l) != 0)
        ring_woken(l->ring); /* the next datagram tries again */
}

static void take(const struct handover_lane *l, enum handover_kind kind, struct slice record)
{
    struct handover_head head;

    if (kind != HANDOVER_RELAYED) {
        forward_arrived(l->to, l->from, kind, record);
        return;
    }
    memcpy(&head, record.p, sizeof(head));
    relay_sock_take(l->to, &head.to, &head.from, slice_sub(record, sizeof(head), SIZE_MAX));
}

static void on_arrival(void *arg, uint64_t now_us)
{
    struct handover_lane *l = arg;
    struct slice record;
    unsigned n = 0;

    (void)now_us;
    ring_woken(l->ring);
    while (n < ARRIVAL_BUDGET && ring_next(l->ring, &record)) {
        take(l, (enum handover_kind)record.p[0], slice_sub(record, 1, SIZE_MAX));
        n++;
    }
    udp_push(l->to->io); /* what is queued borrows from the ring */
    ring_release(l->ring);
    if (n == ARRIVAL_BUDGET)
        wake(l);
}

static void on_flush(void *arg, uint64_t now_us)
{
    struct turn_worker *w = arg;

    (void)now_us;
    for (unsigned i = 0; i < w->n_lanes; i++) {
        if (w->lanes[i].pushed)
            wake(&w->lanes[i]);
        w->lanes[i].pushed = false;
    }
}

int handover_open(struct turn_worker *const *workers, unsigned n, size_t bytes)
{
    for (unsigned i = 0; i < n; i++) {
        struct turn_worker *w = workers[i];
        w->handed = (struct wflush){.fn = on_flush, .arg = w};
        w->lanes = mem_calloc(n, sizeof(*w->lanes));
        if (!w->lanes)
            return -ENOMEM;
        w->n_lanes = n;
        for (unsigned j = 0; j < n; j++) {
            w->lanes[j].to = workers[j];
            w->lanes[j].from = i;
            if (j != i && !(w->lanes[j].ring = ring_new(bytes)))
                return -ENOMEM;
        }
    }
    return 0;
}

void handover_close(struct turn_worker *w)
{
    for (unsigned i = 0; i < w->n_lanes; i++)
        ring_free(w->lanes[i].ring);
    mem_free(w->lanes);
    w->lanes = NULL;
    w->n_lanes = 0;
}

bool handover_push(struct turn_worker *w, unsigned to, enum handover_kind kind,
                   const struct slice *parts, size_t n)
{
    uint8_t first = (uint8_t)kind;
    struct slice all[1 + HANDOVER_PARTS_MAX] = {slice_of(&first, 1)};
    struct handover_lane *l = &w->lanes[to];

    for (size_t i = 0; i < n; i++)
        all[1 + i] = parts[i];
    if (!ring_push(l->ring, all, 1 + n)) {
        turn_metrics_drop(&w->core.metrics, TURN_DROP_HANDOVER_FULL);
        return false;
    }
    l->pushed = true;
    worker_want_flush(w->loop, &w->handed);
    return true;
}

bool handover_send(struct turn_worker *w, const struct addr *from, const struct addr *to,
                   struct slice payload)
{
    const struct turn_relay *relay = turn_shared_relay(w->core.shared, to);
    int worker = relay ? portpool_worker(&relay->pool, to->port, false) : -ENOENT;
    const struct handover_head head = {*from, *to};
    const struct slice parts[] = {slice_of(&head, sizeof(head)), payload};

    if (worker < 0 || (unsigned)worker >= w->n_lanes || !w->lanes[worker].ring)
        return false;
    if (handover_push(w, (unsigned)worker, HANDOVER_RELAYED, parts, ARRAY_LEN(parts)))
        counter_inc(&w->core.metrics.handed_over);
    return true;
}
