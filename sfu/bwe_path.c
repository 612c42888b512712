/* Delivered rate and standing queue of a path, from send and arrival times.
 *
 * Called by bwe.c for each packet that feedback tells of. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/bwe_path.h"

#define BASE_WINDOW_US       10000000 /* the base is the smallest of one to two of these */
#define QUEUE_PKTS_MIN       8        /* the queue is the smallest delay of so many packets */
#define QUEUE_PKTS_MORE      24       /* and up to so many more when there is jitter: */
#define QUEUE_SPREAD_US      4000.0   /* one for each so much of it */
#define QUEUE_SPREAD_FREE_US 10000.0  /* beyond what bursts of frames make */
#define QUEUE_STEPS_MIN      2        /* and of so long, */
#define QUEUE_STEPS_MAX      15       /* but not of longer than this */
#define SPREAD_WEIGHT        (1.0 / 256)
#define RATE_PKTS_MIN        3
#define GAP_RESET_US         5000000 /* nothing for so long: start anew */
#define DELAY_LIMIT_US       60000000
#define QUEUE_MAX_US         10000000

static struct path_step *step_at(struct bwe_path *p, int64_t n)
{
    return &p->_step[(uint64_t)n % PATH_STEPS];
}

static const struct path_step *step_of(const struct bwe_path *p, int64_t n)
{
    return &p->_step[(uint64_t)n % PATH_STEPS];
}

static void start(struct bwe_path *p, int64_t sent_us, int64_t arrived_us)
{
    double spread = p->_spread_us;

    *p = (struct bwe_path){._started = true, ._spread_us = spread};
    p->_now = p->_first = arrived_us / PATH_STEP_US;
    p->_last_us = p->_window_us = arrived_us;
    p->_zero_us = arrived_us - sent_us;
    p->_base_us[0] = p->_base_us[1] = INT32_MAX;
    step_at(p, p->_now)->min_us = INT32_MAX;
}

static void advance(struct bwe_path *p, int64_t to)
{
    int64_t from = to - p->_now > PATH_STEPS ? to - PATH_STEPS : p->_now;

    for (int64_t n = from + 1; n <= to; n++)
        *step_at(p, n) = (struct path_step){.min_us = INT32_MAX};
    p->_now = to;
}

/* The smallest delay of the newest packets. */
static int32_t standing_us(const struct bwe_path *p)
{
    int32_t min_us = INT32_MAX;
    double more = (p->_spread_us - QUEUE_SPREAD_FREE_US) / QUEUE_SPREAD_US;
    unsigned pkts = 0,
             enough = QUEUE_PKTS_MIN +
                      (more <= 0 ? 0 : (unsigned)(more < QUEUE_PKTS_MORE ? more : QUEUE_PKTS_MORE));

    for (int64_t i = 0; i < QUEUE_STEPS_MAX && p->_now - i >= p->_first; i++) {
        const struct path_step *s = step_of(p, p->_now - i);
        pkts += s->pkts;
        if (s->min_us < min_us)
            min_us = s->min_us;
        if (i + 1 >= QUEUE_STEPS_MIN && pkts >= enough)
            break;
    }
    return min_us;
}

static void track_base(struct bwe_path *p, int32_t delay_us, int64_t arrived_us)
{
    if (arrived_us - p->_window_us > BASE_WINDOW_US) {
        p->_base_us[1] = p->_base_us[0];
        p->_base_us[0] = INT32_MAX;
        p->_window_us = arrived_us;
    }
    if (delay_us < p->_base_us[0])
        p->_base_us[0] = delay_us;
}

void bwe_path_packet(struct bwe_path *p, int64_t sent_us, int64_t arrived_us, size_t bytes)
{
    int64_t n = arrived_us / PATH_STEP_US;

    int64_t delay_us = arrived_us - sent_us - p->_zero_us;
    bool jump = delay_us > DELAY_LIMIT_US || delay_us < -DELAY_LIMIT_US;
    if (!p->_started || jump || arrived_us - p->_last_us > GAP_RESET_US ||
        p->_last_us - arrived_us > GAP_RESET_US) {
        start(p, sent_us, arrived_us);
        delay_us = 0;
    }
    if (n > p->_now)
        advance(p, n);
    if (p->_now - n >= PATH_STEPS || n < p->_first)
        return;
    if (arrived_us > p->_last_us)
        p->_last_us = arrived_us;
    struct path_step *s = step_at(p, n);
    s->bytes += (uint32_t)(bytes < UINT16_MAX ? bytes : UINT16_MAX);
    if (s->pkts < UINT16_MAX)
        s->pkts++;
    if (delay_us < s->min_us)
        s->min_us = (int32_t)delay_us;
    p->_newest_us[p->_n_newest++ % PATH_NEWEST] = (int32_t)delay_us;
    track_base(p, (int32_t)delay_us, arrived_us);
    p->_spread_us += SPREAD_WEIGHT * ((double)(delay_us - standing_us(p)) - p->_spread_us);
}

void bwe_path_unseen(struct bwe_path *p, size_t bytes)
{
    if (p->_started)
        step_at(p, p->_now)->bytes += (uint32_t)(bytes < UINT16_MAX ? bytes : UINT16_MAX);
}

double bwe_path_rate(const struct bwe_path *p, int64_t window_us)
{
    int64_t steps = window_us / PATH_STEP_US;
    uint64_t bytes = 0;
    unsigned pkts = 0;

    if (!p->_started || steps < 1)
        return 0;
    if (steps > PATH_STEPS - 1)
        steps = PATH_STEPS - 1;
    if (p->_now - steps < p->_first)
        return 0;
    /* From the start of the first whole step to the newest arrival. */
    for (int64_t i = 0; i <= steps; i++) {
        const struct path_step *s = step_of(p, p->_now - i);
        bytes += s->bytes;
        pkts += s->pkts;
    }
    int64_t span_us = p->_last_us - (p->_now - steps) * PATH_STEP_US;
    if (pkts < RATE_PKTS_MIN || span_us <= 0)
        return 0;
    return (double)bytes * 8e6 / (double)span_us;
}

static int64_t above_base_us(const struct bwe_path *p, int32_t delay_us)
{
    int32_t base_us = p->_base_us[0] < p->_base_us[1] ? p->_base_us[0] : p->_base_us[1];

    if (!p->_started || delay_us == INT32_MAX || base_us == INT32_MAX || delay_us <= base_us)
        return 0;
    int64_t queue_us = (int64_t)delay_us - base_us;
    return queue_us < QUEUE_MAX_US ? queue_us : QUEUE_MAX_US;
}

int64_t bwe_path_queue_us(const struct bwe_path *p)
{
    return above_base_us(p, p->_started ? standing_us(p) : INT32_MAX);
}

int64_t bwe_path_newest_us(const struct bwe_path *p)
{
    int32_t min_us = INT32_MAX;

    for (unsigned i = 0; i < PATH_NEWEST && p->_n_newest >= PATH_NEWEST; i++)
        min_us = p->_newest_us[i] < min_us ? p->_newest_us[i] : min_us;
    return above_base_us(p, min_us);
}

double bwe_path_spread_us(const struct bwe_path *p)
{
    return p->_spread_us;
}

void bwe_path_accept_queue(struct bwe_path *p)
{
    if (!p->_started)
        return;
    int32_t now_us = standing_us(p);
    p->_base_us[0] = p->_base_us[1] = now_us;
    p->_window_us = p->_last_us;
}
