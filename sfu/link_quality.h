/* How good one direction between a client and us is: runs of lost packets, and what they, jitter
 * and round trip make of a conversation (emodel.h), as R, MOS and a score of 1 to 5.
 *
 *     link_runs_packet(&runs, seq)          each packet, however it came
 *     link_runs_take(&runs, &loss)          every few seconds: what was lost since
 *     r = link_quality_r(&path)
 *     link_score_update(&score, r)          a score that does not flap
 *
 * Pure values; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_LINK_QUALITY_H
#define SORI_SFU_LINK_QUALITY_H

#include "proto/emodel.h"

#define LINK_WINDOW   32   /* so many later packets decide that one is lost: 640 ms of voice */
#define LINK_JUMP_MAX 3000 /* a bigger step is a new beginning, not a loss */

/* Of one stream. A zeroed one has seen nothing. */
struct link_runs {
    uint64_t _highest;
    uint32_t _seen;      /* bit i: _highest - i came */
    uint8_t _n;          /* bits of it that mean something */
    bool _losing;        /* the last one judged was lost */
    uint32_t judged;     /* packets that came, or are taken for lost */
    uint32_t lost, runs; /* of them lost; in so many runs */
    uint32_t late;       /* came after all, when they were judged already */
};

/* A packet came, by itself, by retransmission or out of redundancy; seq is extended. Doubles change
 * nothing while they are in the window. O(1). */
void link_runs_packet(struct link_runs *r, uint64_t seq);

/* What was counted since the last call. */
struct link_loss {
    uint32_t judged, lost, runs, late;
};
void link_runs_take(struct link_runs *r, struct link_loss *out);

/* One direction, as it is known. */
struct link_path {
    enum emodel_codec codec;
    uint32_t bps;       /* Opus, 0: what browsers send */
    double loss;        /* 0..1, after repair by retransmission */
    double burst_ratio; /* 0: random */
    unsigned copies;    /* redundancy that repairs more of it (emodel.h) */
    uint64_t jitter_us; /* interarrival */
    uint64_t buffer_us; /* the receiver's jitter buffer; 0: guessed from jitter_us */
    uint64_t rtt_us;    /* between client and us */
};
double link_quality_r(const struct link_path *p);

/* What is known of one direction, and since when. */
struct link_leg {
    float r, loss, burst_ratio; /* loss: 0..1, what repair leaves */
    uint32_t jitter_us;
    uint64_t at_us; /* 0: nothing yet */
};

/* Satisfied from R 80 (5), then 70, 60 and 50 (G.109): down at once, up when R is clear of the
 * border twice in a row. */
struct link_score {
    uint8_t score;   /* 1..5; 0: nothing known */
    uint8_t _better; /* times in a row */
};

/* Takes the R of another interval; true: the score is another now. */
bool link_score_update(struct link_score *s, double r);

#endif
