/* Key frame requests to one source stream.
 *
 *   idle ── ask: sent at once ──► waiting ── got ──► spaced ── the spacing is over ──► idle
 *                                  │    ▲
 *                                  └────┘ asked again, and RETRY + RTT (doubled each time) is over
 *
 * A key frame costs the publisher's bit rate or quality, and all receivers': a hundred who join
 * within a second share the one that the first asked for; those who came after it share the next,
 * which the spacing holds back. The spacing grows with the size of key frames, so that those asked
 * for stay under a share of the stream. A request within a round trip of the key frame's arrival
 * may be for the one that just came; it is late by no more than the spacing.
 *
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/keyframe_req.h"

enum { TRIES_MAX = 16, SMOOTH = 4 };

static uint64_t spacing(const struct keyframe_req *k)
{
    uint64_t us = k->_spacing_us > k->_rtt_us ? k->_spacing_us : k->_rtt_us;

    uint64_t least = k->min_us ? k->min_us : KEYFRAME_REQ_MIN_US;

    if (us < least)
        return least;
    return us > KEYFRAME_REQ_MAX_US ? KEYFRAME_REQ_MAX_US : us;
}

static uint64_t retry(const struct keyframe_req *k)
{
    uint64_t us = KEYFRAME_REQ_RETRY_US + k->_rtt_us;

    for (unsigned i = 1; i < k->_tries && us < KEYFRAME_REQ_RETRY_MAX_US; i++)
        us *= 2;
    return us < KEYFRAME_REQ_RETRY_MAX_US ? us : KEYFRAME_REQ_RETRY_MAX_US;
}

/* When the next request may be sent. */
static uint64_t due(const struct keyframe_req *k)
{
    return k->_waiting ? k->_asked_us + retry(k) : k->_next_us;
}

bool keyframe_req_ask(struct keyframe_req *k, uint64_t now_us)
{
    k->_wanted = true;
    return keyframe_req_tick(k, now_us);
}

bool keyframe_req_tick(struct keyframe_req *k, uint64_t now_us)
{
    if (!k->_wanted || now_us < due(k))
        return false;
    k->_wanted = false;
    k->_waiting = true;
    k->_asked_us = now_us;
    if (k->_tries < TRIES_MAX)
        k->_tries++;
    return true;
}

void keyframe_req_got(struct keyframe_req *k, uint64_t now_us)
{
    if (k->_waiting)
        k->_next_us = now_us + spacing(k);
    k->_wanted = k->_waiting = false;
    k->_tries = 0;
}

void keyframe_req_cost(struct keyframe_req *k, size_t key_bytes, uint64_t stream_bps)
{
    if (stream_bps == 0)
        return;
    uint64_t bits = (uint64_t)(key_bytes < UINT32_MAX ? key_bytes : UINT32_MAX) * 8;
    uint64_t us = bits * US_PER_S / stream_bps * 100 / KEYFRAME_REQ_SHARE_PERCENT;
    if (us > KEYFRAME_REQ_MAX_US)
        us = KEYFRAME_REQ_MAX_US;
    k->_spacing_us = k->_spacing_us ? (k->_spacing_us * (SMOOTH - 1) + us) / SMOOTH : us;
}

void keyframe_req_rtt(struct keyframe_req *k, uint64_t rtt_us)
{
    k->_rtt_us = rtt_us < US_PER_S ? rtt_us : US_PER_S;
}

uint64_t keyframe_req_deadline(const struct keyframe_req *k)
{
    return k->_wanted ? due(k) : CLOCK_NEVER;
}
