/* When a loop under load should let arrivals gather before it wakes.
 *
 * Called by worker.c after each turn. Pure. The rate is that of the window that runs and the
 * one before it, so that pauses of up to a window do not look like the end of the load.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/coalesce.h"

static void roll(struct coalesce *c, uint64_t now_us)
{
    uint64_t age = now_us - c->_since_us;

    if (age < COALESCE_WINDOW_US)
        return;
    c->_last_pkts = age < 2 * COALESCE_WINDOW_US ? c->_now_pkts : 0;
    c->_now_pkts = 0;
    c->_since_us = age < 2 * COALESCE_WINDOW_US ? c->_since_us + COALESCE_WINDOW_US : now_us;
}

uint64_t coalesce_after(struct coalesce *c, unsigned pkts, uint64_t now_us)
{
    if (c->max_us == 0 || pkts == 0)
        return 0;
    roll(c, now_us);
    c->_now_pkts += pkts;

    uint64_t counted = (uint64_t)c->_last_pkts + c->_now_pkts;
    uint64_t span_us = COALESCE_WINDOW_US + (now_us - c->_since_us);
    return counted * c->max_us >= COALESCE_PKTS * span_us ? c->max_us : 0;
}
