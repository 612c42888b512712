/* Key frame requests to one source stream: gathers what consumers ask for and limits it by what key
 * frames cost.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_KEYFRAME_REQ_H
#define SORI_SFU_KEYFRAME_REQ_H

#include "base/bytes.h"
#include "base/clock.h"

/* Between a key frame that was asked for and the next request, at least and (when key frames are
 * dear) at most. */
#define KEYFRAME_REQ_MIN_US (500 * US_PER_MS)
#define KEYFRAME_REQ_MAX_US (3 * US_PER_S)
/* A request that stays without a key frame is repeated after this and the round trip time, then
 * after twice as long, and so on. */
#define KEYFRAME_REQ_RETRY_US      (300 * US_PER_MS)
#define KEYFRAME_REQ_RETRY_MAX_US  (4 * US_PER_S)
#define KEYFRAME_REQ_SHARE_PERCENT 25 /* of a stream's bytes that asked-for key frames may be */

/* A zeroed one is valid: nothing asked, nothing known. */
struct keyframe_req {
    uint64_t min_us;    /* between two requests that were answered; 0: KEYFRAME_REQ_MIN_US */
    bool _wanted;       /* somebody asked since the last request */
    bool _waiting;      /* a request is out, no key frame came yet */
    uint8_t _tries;     /* requests since the last key frame */
    uint64_t _asked_us; /* the last request */
    uint64_t _next_us;  /* no request before */
    uint64_t _rtt_us;
    uint64_t _spacing_us; /* that the cost of key frames asks for; 0: not known */
};

/* Somebody needs a key frame. Returns true when the caller must send a PLI or FIR now (and is taken
 * to do so); else keyframe_req_deadline() says when one is due. Who still needs one asks again, at
 * any rate: nothing is repeated for those who don't. */
bool keyframe_req_ask(struct keyframe_req *k, uint64_t now_us);

/* The first packet of a key frame came, asked for or not: whoever waited has it. */
void keyframe_req_got(struct keyframe_req *k, uint64_t now_us);

/* What the last key frame took, once it is whole, and the stream's mean bit rate without it. */
void keyframe_req_cost(struct keyframe_req *k, size_t key_bytes, uint64_t stream_bps);

/* The round trip time to the source. */
void keyframe_req_rtt(struct keyframe_req *k, uint64_t rtt_us);

/* When to call keyframe_req_tick(); CLOCK_NEVER: nothing is wanted. */
uint64_t keyframe_req_deadline(const struct keyframe_req *k);

/* True when a request must be sent now. */
bool keyframe_req_tick(struct keyframe_req *k, uint64_t now_us);

#endif
