/* The guard against mass rejection.
 *
 * Called by apns_judge.c with each token that is called bad and each push that is accepted. As long
 * as nothing was ever accepted there is no window: a server that sends one push a minute under a
 * wrong topic must not lose its tokens one by one. SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns_guard.h"

/* Drops rejections that are older than the window. */
static void drop_old(struct apns_guard *g, uint64_t now_us)
{
    unsigned kept = 0;

    if (g->_accepted_us == 0)
        return;
    for (unsigned i = 0; i < g->_n; i++)
        if (now_us - g->_rejected[i].at_us < APNS_GUARD_US)
            g->_rejected[kept++] = g->_rejected[i];
    g->_n = kept;
}

bool apns_guard_reject(struct apns_guard *g, uint64_t hash, uint64_t now_us, uint64_t *since_us)
{
    bool known = false;

    if (!g->tripped)
        drop_old(g, now_us);
    for (unsigned i = 0; i < g->_n; i++)
        known |= g->_rejected[i].hash == hash;
    if (!known && g->_n < APNS_GUARD_TOKENS) {
        g->_rejected[g->_n].hash = hash;
        g->_rejected[g->_n++].at_us = now_us;
    }
    g->tripped = g->_n == APNS_GUARD_TOKENS &&
                 (g->_accepted_us == 0 || now_us - g->_accepted_us >= APNS_GUARD_US);
    if (g->tripped)
        *since_us = g->_rejected[0].at_us;
    return g->tripped;
}

void apns_guard_accept(struct apns_guard *g, uint64_t now_us)
{
    g->_accepted_us = now_us > 0 ? now_us : 1;
    g->_n = 0;
    g->tripped = false;
}
