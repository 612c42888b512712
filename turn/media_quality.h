/* How the media of one allocation fares on its way to the relay: loss, jitter and round trip of
 * each leg, from what is clear in the packets that pass.
 *
 *     client ──UP──► relay ──► peer        numbers and timestamps of RTP (media_stream.h)
 *     client ◄────── relay ◄─DOWN─ peer
 *     client ◄─request── relay ◄── peer    a connectivity check (RFC 8445, RFC 7675), told from its
 *     client ─response─► relay             answer by the transaction id: round trip of that leg
 *
 * What goes wrong behind the relay is not seen: a way is judged up to here. RTCP is encrypted.
 * Which bytes are what follows RFC 7983. All is bounded: an SSRC is taken up with the second of two
 * packets in sequence, MEDIA_STREAMS of each way at once, and one that is heard is never given up
 * for a new one. Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_MEDIA_QUALITY_H
#define SORI_TURN_MEDIA_QUALITY_H

#include "base/list.h"
#include "turn/media_stream.h"

enum { MEDIA_STREAMS = 4, MEDIA_CHECKS = 4 };

enum media_way { MEDIA_UP, MEDIA_DOWN, MEDIA_WAYS };

/* Of an interval; bytes are those of whole packets. */
struct media_count {
    uint32_t packets, bytes;
    uint32_t expected, lost; /* numbers that were judged */
    uint32_t runs;           /* of lost ones that follow one another */
};

/* What came one way, of the voice that most packets came of. */
struct media_leg {
    struct media_count voice; /* packets 0: none was heard */
    uint32_t clock, jitter_us, frame_us;
    uint32_t rtt_us; /* between the relay and who sends this way; 0: not known */
    uint32_t others; /* packets of other streams */
};
struct media_report {
    uint64_t us; /* how long it took */
    struct media_leg leg[MEDIA_WAYS];
};

/* A request that was seen, by its transaction id. */
struct media_check {
    uint64_t key, at_us;
};

struct media_path {
    struct media_stream more[MEDIA_STREAMS - 1]; /* besides the first */
    struct media_check check[MEDIA_CHECKS];      /* requests that came this way */
    uint64_t rtt_sum_us; /* of answers that came this way, in this interval */
    uint32_t rtt_n;
    uint32_t rtt_us;                  /* the last one */
    uint32_t new_ssrc[MEDIA_STREAMS]; /* those that came once */
    uint16_t new_seq[MEDIA_STREAMS];  /* and the number that would prove them */
    uint8_t check_at, new_at;         /* where the next request, the next SSRC goes */
};

/* Sums over the life of the allocation, of voice. */
struct media_sums {
    uint64_t expected, lost, runs;
    uint64_t jitter_us, jitter_n, rtt_us, rtt_n; /* of intervals, for their means */
};

/* What a packet touches comes first, and right behind its allocation's own (alloc_new_judged()):
 * another page for each packet costs more than all the reckoning. */
struct media_quality {
    struct media_stream first[MEDIA_WAYS];
    struct media_path *path; /* MEDIA_WAYS; NULL until the first packet of media */
    void *path_mem;
    struct media_sums sums[MEDIA_WAYS];
    uint64_t since_us;
    struct list due; /* the owner's */
    void *owner;
    bool blind; /* packets went past us in this interval */
};

/* Begins the first interval of a zeroed one that is aligned to MEDIA_LINE; ends it. */
void media_quality_init(struct media_quality *m, void *owner, uint64_t now_us);
void media_quality_fini(struct media_quality *m); /* NULL is allowed */

/* A packet of this way is at hand: what it will touch is fetched meanwhile. m may be NULL. */
static inline void media_quality_expect(const struct media_quality *m, enum media_way way)
{
    if (m)
        bytes_prefetch(&m->first[way], MEDIA_LINE);
}

/* A packet that is relayed this way. Any bytes. */
void media_quality_packet(struct media_quality *m, enum media_way way, struct slice payload,
                          uint64_t now_us);

/* The kernel relays some of its packets: nothing of this interval is judged, nor of the numbers
 * that went past us. */
void media_quality_blind(struct media_quality *m);

/* Ends the interval: fills *out and adds it to the sums. False: nothing can be said (no voice, or
 * blind), *out is empty. */
bool media_quality_next(struct media_quality *m, uint64_t now_us, struct media_report *out);

/* True when there is something in the sums. */
bool media_quality_has_sums(const struct media_quality *m);

#endif
