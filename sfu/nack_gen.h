/* Which packets of one incoming stream are missing, and which of them to ask for now (generic NACK,
 * RFC 4585 §6.2.1).
 *
 *     nack_gen_recv(g, seq, now)           each packet that arrived, in any order
 *     nack_gen_clear(g, seq)               a key frame begins at seq: what is missing before it is
 *                                          not needed any more (video)
 *     if (now >= nack_gen_deadline(g))     ask for those: rtcp_fb's NACK
 *         n = nack_gen_take(g, now, seqs, max)
 *
 * A gap is asked for when it has stood for reorder_us or reorder_pkts have come after it, again
 * after each round trip (a little longer each time), until it is filled, too old, or asked for
 * max_retries times. Pure; owned by the room's worker. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_NACK_GEN_H
#define SORI_SFU_NACK_GEN_H

#include "base/bytes.h"
#include "base/clock.h"

struct nack_gen;

#define NACK_MISSING_MAX 1024 /* the most a conf may ask for */

struct nack_conf {
    unsigned max_missing;  /* packets on the list at once; what does not fit is given up */
    unsigned max_retries;  /* requests per packet */
    unsigned reorder_pkts; /* so many newer packets prove a loss; 0: the time alone decides */
    uint32_t reorder_us;   /* so long a gap may be mere reordering */
    uint32_t max_age_us; /* after this a packet is of no use: the receivers' buffers have passed */
    uint32_t min_retry_us; /* between two requests for one packet, when the RTT is shorter */
};

/* Video: 8 retries, 1 s. Audio: few retries within 400 ms, which a jitter buffer still covers. */
extern const struct nack_conf nack_conf_video, nack_conf_audio;

struct nack_stats {
    uint64_t missing;   /* packets that a gap was seen for */
    uint64_t reordered; /* came by themselves, before they were asked for */
    uint64_t requests;  /* sequence numbers asked for, repetitions included */
    uint64_t recovered; /* came after they were asked for */
    uint64_t given_up;  /* too old, asked for too often, list full */
    uint64_t cleared;   /* not needed since a key frame */
};

enum nack_seen {
    NACK_SEEN_NEW,       /* the newest so far */
    NACK_SEEN_REORDERED, /* filled a gap that was not asked for yet */
    NACK_SEEN_RECOVERED, /* filled a gap after a request */
    NACK_SEEN_OLD,       /* not missed: a duplicate, or given up before */
};

/* Returns NULL when memory is out. The conf is copied. */
struct nack_gen *nack_gen_new(const struct nack_conf *conf);

/* NULL is allowed. */
void nack_gen_free(struct nack_gen *g);

/* The stream begins anew: the list is empty, the next packet is the first. */
void nack_gen_reset(struct nack_gen *g);

/* The path's round-trip time as it is known now; 100 ms until told. */
void nack_gen_rtt(struct nack_gen *g, uint64_t rtt_us);

/* A packet of extended sequence number seq has arrived (by itself or repaired). A jump ahead beyond
 * max_missing empties the list: only the last max_missing of such a gap are asked for. */
enum nack_seen nack_gen_recv(struct nack_gen *g, uint64_t seq, uint64_t now_us);

/* Nothing before seq is needed any more. */
void nack_gen_clear(struct nack_gen *g, uint64_t seq);

/* The sequence numbers (16 bits, oldest first) to ask for now, at most max. Each is then not due
 * before a round trip has passed. */
size_t nack_gen_take(struct nack_gen *g, uint64_t now_us, uint16_t *out, size_t max);

/* When nack_gen_take() has something, at the earliest; CLOCK_NEVER when nothing is missing. */
uint64_t nack_gen_deadline(const struct nack_gen *g);

/* Packets on the list. */
unsigned nack_gen_missing(const struct nack_gen *g);

/* Counted since nack_gen_new(). */
const struct nack_stats *nack_gen_stats(const struct nack_gen *g);

#endif
