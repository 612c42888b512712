/* Hierarchical timer wheel with intrusive timers: set and cancel in O(1), no callbacks.
 *
 * The shell asks timerwheel_next() how long it may sleep, and afterwards pops what is due:
 *
 *     while ((t = timerwheel_pop(w, now_us)))
 *         expire(CONTAINER_OF(t, struct obj, timer), now_us);
 *
 * Resolution is 1 ms: a timer fires at its deadline or up to 1 ms later, never before.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_TIMERWHEEL_H
#define SORI_BASE_TIMERWHEEL_H

#include "base/clock.h"
#include "base/list.h"

/* A zeroed timer is valid and not set. */
struct timer {
    struct list _link;
    uint64_t deadline_us;
};

struct timerwheel;

/* A wheel whose time starts at now_us, or NULL when memory is out. */
struct timerwheel *timerwheel_new(uint64_t now_us);

/* Frees the wheel; timers still set are forgotten, not touched. NULL is allowed. */
void timerwheel_free(struct timerwheel *w);

/* Sets or moves t to deadline_us; a past deadline is due at the next pop, CLOCK_NEVER cancels. */
void timer_set(struct timerwheel *w, struct timer *t, uint64_t deadline_us);

/* Unsets t; harmless when it is not set. */
void timer_cancel(struct timerwheel *w, struct timer *t);

static inline bool timer_is_set(const struct timer *t)
{
    return list_linked(&t->_link);
}

/* Takes one timer that is due at now_us off the wheel and gives it, or NULL when none is left.
 * now_us must not go back. */
struct timer *timerwheel_pop(struct timerwheel *w, uint64_t now_us);

/* A time by which to call timerwheel_pop() again: never later than the earliest deadline rounded up
 * to the resolution, possibly earlier. CLOCK_NEVER when no timer is set. */
uint64_t timerwheel_next(const struct timerwheel *w);

#endif
