/* Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01
 * §3.1): which packets arrived, and when.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_TWCC_FB_H
#define SORI_PROTO_TWCC_FB_H

#include "proto/rtcp_fb.h"

#define TWCC_TICK_US      250   /* resolution of a delta */
#define TWCC_BASE_US      64000 /* of the reference time: 24 bits of it, wraps after 12.4 days */
#define TWCC_BASE_WRAP_US ((int64_t)TWCC_BASE_US << 24)
#define TWCC_STATUS_MAX   65535 /* packets that one feedback tells of */

/* One feedback packet; its fields, then the state of the iteration. */
struct twcc_fb {
    uint16_t base_seq;
    uint16_t n;         /* packets it tells of, from base_seq on */
    uint32_t reference; /* 24 bits, units of TWCC_BASE_US, modulo 2^24 */
    uint8_t fb_seq;     /* counts feedback packets */
    struct rd _chunks, _deltas;
    uint16_t _next;    /* how many statuses were given */
    uint16_t _run;     /* statuses left in the present chunk */
    uint16_t _symbols; /* vector chunk: what is left of it, left-aligned in 14 bits */
    uint8_t _bits;     /* 0: run length, 1 or 2: vector with symbols of so many bits */
    uint8_t _symbol;   /* run length: the symbol */
    int64_t _at_us;    /* of the last packet that arrived */
};

struct twcc_status {
    uint16_t seq;
    bool arrived;
    int64_t at_us;    /* arrived: the receiver's clock: reference × 64 ms + all deltas so far */
    int32_t delta_us; /* arrived: since the one that arrived before (the first: since reference) */
};

/* Checks a whole feedback's FCI (rtcp_fb.h) and begins the iteration; nothing of a malformed one is
 * used. Returns 0, or -EBADMSG. out borrows. */
int twcc_fb_decode(struct twcc_fb *out, struct slice fci);

/* Gives the next status, in the order of sequence numbers; false at the end. */
bool twcc_fb_next(struct twcc_fb *fb, struct twcc_status *out);

/* How far the reference time of this feedback is after that of an earlier one (negative: before),
 * in microseconds, across the wrap. */
static inline int64_t twcc_fb_base_diff_us(uint32_t reference, uint32_t earlier)
{
    uint32_t d = (reference - earlier) & 0xffffff;

    return d & 0x800000 ? -(int64_t)(0x1000000 - d) * TWCC_BASE_US : (int64_t)d * TWCC_BASE_US;
}

struct twcc_arrival {
    uint64_t seq; /* extended */
    uint64_t at_us;
};

/* Writes one RTCP packet that tells of the first arrivals of v: ascending seq without repeats,
 * at_us in any order. base_seq (at most v[0].seq) is where it begins: packets between it and v[0],
 * and in gaps, are told as lost. Ends early when w is full, when a delta does not fit in 16 bits or
 * after TWCC_STATUS_MAX packets: the caller goes on with the rest, with base_seq = the last told +
 * 1 and the next fb_seq.
 *
 * Returns how many of the n > 0 arrivals were taken; 0 (and nothing written) when there is not even
 * room for one, or when base_seq is too far from v[0]: begin later then. */
size_t twcc_fb_encode(struct wr *w, uint32_t sender, uint32_t media, uint8_t fb_seq,
                      uint64_t base_seq, const struct twcc_arrival *v, size_t n);

#endif
