/* Hierarchical timer wheel: 6 levels of 64 slots, 1 ms to 2.2 years, and one list for what is
 * later.
 *
 * Called by net/worker.c (next, pop) and by every machine that has a deadline. Worker-owned.
 *
 * A timer that expires at tick e stands on the level of the highest 6-bit digit in which e differs
 * from the wheel's tick `now`, in the slot that this digit of e names:
 *
 *     level 2      level 1      level 0
 *     e 12..17     e 6..11      e 0..5       digits of the tick in base 64
 *
 * All higher digits are equal, therefore the slots in use on a level lie strictly ahead of now's
 * own digit, never wrap around, and everything on a level is due before anything on the level
 * above. An advance takes the slots that it passes (a bit mask per level) and puts their timers
 * back by the same rule: they fall to a lower level or onto the list of due timers. A timer falls
 * at most once per level in its life.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/timerwheel.h"

#include "base/mem.h"

enum {
    WHEEL_BITS = 6,
    WHEEL_SLOTS = 1 << WHEEL_BITS,
    WHEEL_LEVELS = 6,
    WHEEL_SPAN_BITS = WHEEL_BITS * WHEEL_LEVELS,
    WHEEL_HEAD_DUE = WHEEL_LEVELS * WHEEL_SLOTS, /* expired, not popped yet */
    WHEEL_HEAD_FAR,                              /* beyond the top level's current turn */
    WHEEL_HEADS,
};

struct timerwheel {
    uint64_t now;                  /* tick (ms) up to which timers have been moved to DUE */
    uint64_t in_use[WHEEL_LEVELS]; /* bit s: slot s of the level is not empty */
    struct list heads[WHEEL_HEADS];
};

/* The first tick that does not begin before the deadline. */
static uint64_t tick_of_deadline(uint64_t deadline_us)
{
    return deadline_us / US_PER_MS + (deadline_us % US_PER_MS != 0);
}

static uint64_t tick_to_us(uint64_t tick)
{
    return tick > (CLOCK_NEVER - 1) / US_PER_MS ? CLOCK_NEVER - 1 : tick * US_PER_MS;
}

/* Digit of a tick on a level. */
static unsigned tick_digit(uint64_t tick, unsigned level)
{
    return (unsigned)(tick >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1);
}

struct timerwheel *timerwheel_new(uint64_t now_us)
{
    struct timerwheel *w = mem_zalloc(sizeof(*w));

    if (!w)
        return NULL;
    w->now = now_us / US_PER_MS;
    for (size_t i = 0; i < WHEEL_HEADS; i++)
        list_init(&w->heads[i]);
    return w;
}

void timerwheel_free(struct timerwheel *w)
{
    mem_free(w);
}

/* Links t, which is on no list, where its deadline belongs. */
static void wheel_place(struct timerwheel *w, struct timer *t)
{
    uint64_t tick = tick_of_deadline(t->deadline_us);

    if (tick <= w->now) {
        list_append(&w->heads[WHEEL_HEAD_DUE], &t->_link);
        return;
    }
    uint64_t differs = tick ^ w->now;
    if (differs >> WHEEL_SPAN_BITS != 0) {
        list_append(&w->heads[WHEEL_HEAD_FAR], &t->_link);
        return;
    }
    unsigned level = (63 - (unsigned)__builtin_clzll(differs)) / WHEEL_BITS;
    unsigned slot = tick_digit(tick, level);
    w->in_use[level] |= UINT64_C(1) << slot;
    list_append(&w->heads[level * WHEEL_SLOTS + slot], &t->_link);
}

void timer_cancel(struct timerwheel *w, struct timer *t)
{
    struct list *prev = t->_link.prev;
    bool alone = timer_is_set(t) && prev == t->_link.next;

    list_del(&t->_link);
    if (!alone)
        return;
    /* The neighbour on both sides of the only timer is the head of its list. */
    size_t head = (size_t)(prev - w->heads);
    if (head < WHEEL_HEAD_DUE)
        w->in_use[head / WHEEL_SLOTS] &= ~(UINT64_C(1) << head % WHEEL_SLOTS);
}

void timer_set(struct timerwheel *w, struct timer *t, uint64_t deadline_us)
{
    timer_cancel(w, t);
    t->deadline_us = deadline_us;
    if (deadline_us != CLOCK_NEVER)
        wheel_place(w, t);
}

/* Moves all timers of a head to the end of `to`. */
static void wheel_take(struct timerwheel *w, size_t head, struct list *to)
{
    struct list *from = &w->heads[head];

    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* The slots of a level that an advance to tick passes or enters. */
static uint64_t wheel_passed(const struct timerwheel *w, unsigned level, uint64_t tick)
{
    unsigned above = WHEEL_BITS * (level + 1);

    if (w->now >> above != tick >> above)
        return UINT64_MAX;
    uint64_t upto = UINT64_MAX >> (WHEEL_SLOTS - 1 - tick_digit(tick, level));
    uint64_t behind = UINT64_MAX >> (WHEEL_SLOTS - 1 - tick_digit(w->now, level));
    return upto & ~behind;
}

static void wheel_advance(struct timerwheel *w, uint64_t tick)
{
    struct list moved;

    list_init(&moved);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t slots = w->in_use[level] & wheel_passed(w, level, tick);

        w->in_use[level] &= ~slots;
        for (; slots != 0; slots &= slots - 1)
            wheel_take(w, level * WHEEL_SLOTS + (unsigned)__builtin_ctzll(slots), &moved);
    }
    if (w->now >> WHEEL_SPAN_BITS != tick >> WHEEL_SPAN_BITS)
        wheel_take(w, WHEEL_HEAD_FAR, &moved);
    w->now = tick;
    LIST_EACH(link, tmp, &moved)
    {
        list_del(link);
        wheel_place(w, CONTAINER_OF(link, struct timer, _link));
    }
}

struct timer *timerwheel_pop(struct timerwheel *w, uint64_t now_us)
{
    struct list *due = &w->heads[WHEEL_HEAD_DUE];

    if (list_empty(due) && now_us / US_PER_MS > w->now)
        wheel_advance(w, now_us / US_PER_MS);
    struct list *link = list_first(due);
    if (!link)
        return NULL;
    list_del(link);
    return CONTAINER_OF(link, struct timer, _link);
}

uint64_t timerwheel_next(const struct timerwheel *w)
{
    if (!list_empty(&w->heads[WHEEL_HEAD_DUE]))
        return tick_to_us(w->now);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        if (w->in_use[level] == 0)
            continue;
        unsigned above = WHEEL_BITS * (level + 1);
        uint64_t slot = (uint64_t)__builtin_ctzll(w->in_use[level]);
        return tick_to_us((w->now >> above << above) + (slot << (WHEEL_BITS * level)));
    }
    if (list_empty(&w->heads[WHEEL_HEAD_FAR]))
        return CLOCK_NEVER;
    return tick_to_us(((w->now >> WHEEL_SPAN_BITS) + 1) << WHEEL_SPAN_BITS);
}
