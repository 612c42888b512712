/* Which layer each video slot of one receiver gets.
 *
 * Called by quality.c when the estimate, the slots or the sources change. Pure.
 *
 * Every slot has a ladder of steps of rising rate. First each slot gets its lowest step, by
 * priority; what is left raises slots step by step, those of the highest priority first. Steps
 * above the present one are counted dearer than they are, those below a little cheaper, and a rise
 * must stay affordable for a while: so a rate that wavers around a step changes nothing.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/layer_alloc.h"

#define STEPS_MAX      (RTP_LAYERS_MAX * LAYER_TIDS_MAX)
#define UP_PERCENT     110 /* what a step above the present one is counted as */
#define STAY_PERCENT   97
#define RED_PERCENT    115
#define UP_HOLD_US     (400 * US_PER_MS) /* a rise must be affordable for so long, */
#define UP_APART_US    (400 * US_PER_MS) /* after the last one */
#define UP_FAILED_US   (5 * US_PER_S)    /* a fall within this after a rise: it did not hold */
#define UP_SETTLED_US  (20 * US_PER_S)   /* this long without: forgotten */
#define FAILED_UPS_MAX 4                 /* the wait doubles so often: 6.4 s */

struct step {
    uint32_t bps;
    int8_t layer, tid;
};

struct ladder {
    struct step step[STEPS_MAX];
    int n;
    int now;  /* the present step, -1: none */
    int pick; /* the choice so far */
};

static void add_step(struct ladder *l, const struct layer_slot *s, int layer, int tid)
{
    uint32_t bps = s->bps[layer][tid];

    if (bps == 0)
        return;
    while (l->n > 0 && l->step[l->n - 1].bps >= bps) /* a better one for less */
        l->n--;
    l->step[l->n++] = (struct step){bps, (int8_t)layer, (int8_t)tid};
}

static void make_ladder(struct ladder *l, const struct layer_slot *s)
{
    int max_layer = s->max_layer < RTP_LAYERS_MAX ? s->max_layer : RTP_LAYERS_MAX - 1;
    int max_tid = s->max_tid < LAYER_TIDS_MAX ? s->max_tid : LAYER_TIDS_MAX - 1;

    *l = (struct ladder){.now = -1, .pick = -1};
    for (int layer = 0; layer <= max_layer; layer++) {
        bool all = !s->screen || layer == max_layer;
        for (int tid = 0; tid <= (all ? max_tid : 0); tid++)
            add_step(l, s, layer, tid);
    }
    for (int i = 0; i < l->n && s->layer >= 0; i++) {
        const struct step *st = &l->step[i];
        if (st->layer < s->layer || (st->layer == s->layer && st->tid <= s->tid))
            l->now = i;
    }
}

static uint64_t cost(const struct ladder *l, int i)
{
    if (i < 0)
        return 0;
    /* The first step of a slot that shows nothing is worth no caution. */
    uint64_t percent = i > l->now && l->now >= 0 ? UP_PERCENT : STAY_PERCENT;
    return (uint64_t)l->step[i].bps * percent / 100;
}

static bool raise_step(struct ladder *l, uint64_t *left_bps)
{
    if (l->pick + 1 >= l->n)
        return false;
    uint64_t more = cost(l, l->pick + 1) - cost(l, l->pick);
    if (more > *left_bps)
        return false;
    *left_bps -= more;
    l->pick++;
    return true;
}

/* Gives out left_bps; order: slots by falling priority. */
static void share(struct ladder *ladders, const struct layer_slot *slots, const uint8_t *order,
                  unsigned n, uint64_t left_bps)
{
    for (unsigned i = 0; i < n; i++)
        raise_step(&ladders[order[i]], &left_bps);
    for (unsigned from = 0, to; from < n; from = to) {
        for (to = from; to < n && slots[order[to]].priority == slots[order[from]].priority;)
            to++;
        for (bool any = true; any;) {
            any = false;
            for (unsigned i = from; i < to; i++) {
                struct ladder *l = &ladders[order[i]];
                any |= l->pick >= 0 && raise_step(l, &left_bps);
            }
        }
    }
}

static void sort_by_priority(const struct layer_slot *slots, uint8_t *order, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned k = i;
        for (; k > 0 && slots[order[k - 1]].priority < slots[i].priority; k--)
            order[k] = order[k - 1];
        order[k] = (uint8_t)i;
    }
}

/* True when the slot may rise now. */
static bool rise_is_due(struct layer_slot *s, uint64_t now_us)
{
    uint64_t wait_us = UP_HOLD_US << s->_failed_ups;

    if (s->_up_ok_us == 0)
        s->_up_ok_us = now_us;
    return now_us - s->_up_ok_us >= wait_us &&
           (s->_up_at_us == 0 || now_us - s->_up_at_us >= UP_APART_US);
}

/* Takes the choice over into the slot, as far as it may change now. */
static void settle(struct layer_slot *s, struct ladder *l, uint64_t now_us)
{
    if (s->_up_at_us && now_us - s->_up_at_us > UP_SETTLED_US)
        s->_failed_ups = 0;
    if (l->pick > l->now && l->now >= 0) {
        if (rise_is_due(s, now_us)) {
            s->_up_at_us = now_us;
            s->_up_ok_us = 0;
        } else {
            l->pick = l->now;
        }
    } else {
        s->_up_ok_us = 0;
        bool failed = l->pick < l->now && s->_up_at_us && now_us - s->_up_at_us < UP_FAILED_US;
        if (failed && s->_failed_ups < FAILED_UPS_MAX)
            s->_failed_ups++;
    }
    s->layer = (int8_t)(l->pick < 0 ? -1 : l->step[l->pick].layer);
    s->tid = (int8_t)(l->pick < 0 ? 0 : l->step[l->pick].tid);
    s->starved = l->pick < 0 && l->n > 0;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

void layer_alloc_run(struct layer_slot *slots, unsigned n, const struct layer_in *in,
                     struct layer_out *out, uint64_t now_us)
{
    struct ladder ladders[LAYER_SLOTS_MAX];
    uint8_t order[LAYER_SLOTS_MAX];
    uint64_t fixed = in->audio_bps + in->extra_bps, next = UINT64_MAX;
    bool red = in->target_bps >= fixed + in->red_bps * (out->red ? 100 : RED_PERCENT) / 100;

    if (n > LAYER_SLOTS_MAX)
        n = LAYER_SLOTS_MAX;
    *out = (struct layer_out){.red = red};
    out->wanted_bps = fixed + in->red_bps;
    fixed += red ? in->red_bps : 0;
    for (unsigned i = 0; i < n; i++)
        make_ladder(&ladders[i], &slots[i]);
    sort_by_priority(slots, order, n);
    share(ladders, slots, order, n, minus(in->target_bps, fixed));
    out->used_bps = fixed;
    for (unsigned i = 0; i < n; i++) {
        struct layer_slot *s = &slots[i], was = *s;
        struct ladder *l = &ladders[i];
        settle(s, l, now_us);
        out->changed |= s->layer != was.layer || (s->layer >= 0 && s->tid != was.tid);
        uint64_t used = l->pick < 0 ? 0 : l->step[l->pick].bps;
        out->used_bps += used;
        if (l->n > 0)
            out->wanted_bps += l->step[l->n - 1].bps;
        if (l->pick + 1 < l->n) {
            uint64_t more = (uint64_t)l->step[l->pick + 1].bps * UP_PERCENT / 100 - used;
            next = more < next ? more : next;
        }
    }
    out->next_bps = next == UINT64_MAX ? 0 : out->used_bps + next;
}
