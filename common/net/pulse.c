/* Whether workers still turn.
 *
 * Called by the main threads of sori-turn and sori-sfu, at the pace of the watchdog: one letter on
 * its way to each worker at most, so that one that hangs costs no memory.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/pulse.h"

#include <assert.h>
#include <stdatomic.h>

#include "base/mem.h"

struct pulse_cell {
    struct worker *w;
    atomic_bool answered;
};

struct pulse {
    size_t n, max;
    struct pulse_cell cell[];
};

static void on_beat(void *arg, uint64_t now_us)
{
    struct pulse_cell *c = arg;

    (void)now_us;
    atomic_store_explicit(&c->answered, true, memory_order_release);
}

struct pulse *pulse_new(size_t max)
{
    struct pulse *p = mem_zalloc(sizeof(*p) + max * sizeof(p->cell[0]));

    if (p)
        p->max = max;
    return p;
}

void pulse_free(struct pulse *p)
{
    mem_free(p);
}

void pulse_add(struct pulse *p, struct worker *w)
{
    assert(p->n < p->max);
    struct pulse_cell *c = &p->cell[p->n++];
    c->w = w;
    atomic_init(&c->answered, true);
}

bool pulse_beat(struct pulse *p)
{
    bool all = true;

    for (size_t i = 0; i < p->n; i++) {
        struct pulse_cell *c = &p->cell[i];
        if (!atomic_exchange_explicit(&c->answered, false, memory_order_acq_rel))
            all = false;
        else if (worker_post(c->w, on_beat, c) != 0)
            on_beat(c, 0); /* no memory for the letter: that is no sign of a worker that hangs */
    }
    return all;
}
