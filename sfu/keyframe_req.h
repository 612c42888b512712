/* Key frame requests to one source stream: gathers what consumers ask for and limits it by what key
 * frames cost.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_KEYFRAME_REQ_H
#define SORI_SFU_KEYFRAME_REQ_H

#include "base/bytes.h"
#include "base/clock.h"

#define KEYFRAME_REQ_MIN_US (500 * US_PER_MS)  /* between two requests that were answered */
#define KEYFRAME_REQ_MAX_US (3000 * US_PER_MS) /* the longest that cost may stretch it to */
#define KEYFRAME_REQ_RETRY_US \
    (300 * US_PER_MS) /* unanswered: ask again after this + RTT, doubled */
#define KEYFRAME_REQ_BACKOFF_MAX_US (4000 * US_PER_MS)
#define KEYFRAME_REQ_SHARE_PERCENT  25 /* of a stream's bytes that asked-for key frames may be */

/* A zeroed one is valid: nothing asked, nothing known. */
struct keyframe_req {
    bool _wanted;       /* somebody waits */
    bool _asked;        /* a request is out and no key frame came yet */
    uint8_t _tries;     /* requests since the last key frame */
    uint64_t _asked_us; /* the last request */
    uint64_t _first_us; /* the first one since the last key frame */
    uint64_t _got_us;   /* the last key frame */
    uint64_t _rtt_us;
    uint32_t _key_bytes; /* what a key frame costs, smoothed; 0 unknown */
    uint32_t _bps;
};

/* Somebody needs a key frame now. Returns true when the caller must send a PLI or FIR at once (and
 * has been taken to have done so); else the deadline says when. Asking again and again is fine. */
bool keyframe_req_ask(struct keyframe_req *k, uint64_t now_us);

/* The first packet of a key frame came: whoever waited has it. Those who come later ask anew. */
void keyframe_req_got(struct keyframe_req *k, uint64_t now_us);

/* What a key frame took, once it is whole, and the stream's mean bit rate. */
void keyframe_req_cost(struct keyframe_req *k, size_t key_bytes, uint64_t stream_bps);

/* The round trip time to the source. */
void keyframe_req_rtt(struct keyframe_req *k, uint64_t rtt_us);

/* When to call keyframe_req_tick(); CLOCK_NEVER: nothing is wanted. */
uint64_t keyframe_req_deadline(const struct keyframe_req *k);

/* True when a request must be sent now. */
bool keyframe_req_tick(struct keyframe_req *k, uint64_t now_us);

/* Nobody waits any more (all consumers left or paused). */
void keyframe_req_forget(struct keyframe_req *k);

#endif
