/* Quality of one direction: loss runs, R, score. Called by producer.c (packets) and quality.c.
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/link_quality.h"

#define BORDERS   4
#define CLEAR     3 /* R above a border */
#define UP_IN_ROW 2

/* The oldest packet of the window, or one that never was in it, is lost or not for good. */
static void judge(struct link_runs *r, bool came, uint32_t n)
{
    r->judged += n;
    if (!came) {
        r->lost += n;
        r->runs += !r->_losing;
    }
    r->_losing = !came;
}

/* The window moves on by one: a number that has not come. */
static void step(struct link_runs *r)
{
    if (r->_n == LINK_WINDOW)
        judge(r, r->_seen >> (LINK_WINDOW - 1), 1);
    else
        r->_n++;
    r->_seen <<= 1;
    r->_highest++;
}

static void begin(struct link_runs *r, uint64_t seq)
{
    r->_highest = seq;
    r->_seen = 1;
    r->_n = 1;
    r->_losing = false;
}

void link_runs_packet(struct link_runs *r, uint64_t seq)
{
    if (r->_n == 0 || seq > r->_highest + LINK_JUMP_MAX) {
        begin(r, seq);
        return;
    }
    if (seq <= r->_highest) {
        uint64_t back = r->_highest - seq;
        if (back < r->_n)
            r->_seen |= UINT32_C(1) << back;
        else
            r->late++;
        return;
    }
    for (unsigned i = 0; i < LINK_WINDOW && r->_highest < seq; i++)
        step(r);
    if (r->_highest < seq) { /* longer than the window: all of it is judged by now */
        judge(r, false, (uint32_t)(seq - r->_highest));
        r->_highest = seq;
    }
    r->_seen |= 1;
}

void link_runs_take(struct link_runs *r, struct link_loss *out)
{
    *out = (struct link_loss){r->judged, r->lost, r->runs, r->late};
    r->judged = r->lost = r->runs = r->late = 0;
}

double link_quality_r(const struct link_path *p)
{
    uint64_t buffer_us = p->buffer_us ? p->buffer_us : emodel_buffer_us(p->jitter_us);
    struct emodel_path path = {.codec = p->codec,
                               .bps = p->bps,
                               .loss = p->loss,
                               .burst_ratio = p->burst_ratio,
                               .delay_ms = emodel_delay_ms(p->codec, p->rtt_us, buffer_us),
                               .copies = p->copies};

    return emodel_path_r(&path);
}

bool link_score_update(struct link_score *s, double r)
{
    static const double border[BORDERS] = {50, 60, 70, 80};
    unsigned now = 1, clear = 1, before = s->score;

    for (unsigned i = 0; i < BORDERS; i++) {
        now += r >= border[i];
        clear += r >= border[i] + CLEAR;
    }
    if (before == 0 || now < before) {
        s->score = (uint8_t)now;
        s->_better = 0;
    } else if (clear > before) {
        if (++s->_better == UP_IN_ROW) {
            s->score = (uint8_t)clear;
            s->_better = 0;
        }
    } else {
        s->_better = 0;
    }
    return s->score != before;
}
