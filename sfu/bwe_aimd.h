/* Rate control on delay: additive or multiplicative increase, decrease to what came through
 * (draft-ietf-rmcat-gcc-02 §5.5), and draining of the queue that is left. Part of bwe. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_BWE_AIMD_H
#define SORI_SFU_BWE_AIMD_H

#include "sfu/bwe.h"

struct bwe_aimd {
    double bps;     /* the estimate */
    double cap_bps; /* what the path took when its queue grew; 0: not known */
    enum bwe_state state;
    uint64_t _at_us;            /* of the last update */
    uint64_t _cut_us;           /* of the last decrease */
    uint64_t _first_cut_us;     /* of the first decrease in a row */
    double _undo_bps;           /* the estimate before it */
    uint64_t _foreign_until_us; /* somebody else fills the queue: bear more of it */
    double _resume_bps;         /* goes on with this once the queue is drained */
    int64_t _cut_queue_us;      /* the queue at the last decrease */
    unsigned _cuts;             /* decreases in a row that did not drain it */
    double before_bps;          /* the estimate before the last deep fall, for a probe; 0: none */
    uint64_t fell_us;           /* when that was */
};

struct aimd_in {
    enum bwe_usage usage; /* of the trend */
    int64_t queue_us;     /* standing */
    int64_t newest_us;    /* the queue that the last packets saw */
    double spread_us;     /* jitter */
    double
        acked_bps; /* came through lately, made good for loss that is no congestion; 0: unknown */
    double fresh_bps; /* the same over a shorter time: what the bottleneck gives now */
    double sent_bps;  /* what was sent lately; 0: not known. Far less than the estimate: a queue is
                       * not  due to that */
    uint64_t rtt_us;
    double max_bps; /* no increase beyond this: nobody wants more */
};

/* Starts at bps. */
void bwe_aimd_init(struct bwe_aimd *a, double bps, uint64_t now_us);

/* The estimate without the dip that drains a queue. */
double bwe_aimd_steady(const struct bwe_aimd *a, uint64_t now_us);

/* Nothing was sent for a while: no queue of ours can be left, what was believed stays. */
void bwe_aimd_idle(struct bwe_aimd *a);

/* One feedback's worth. Returns true when the queue turned out to be somebody else's: the caller
 * calls bwe_path_accept_queue(). */
bool bwe_aimd_update(struct bwe_aimd *a, const struct aimd_in *in, uint64_t now_us);

/* A probe showed that bps come through; saturated: and no more. */
void bwe_aimd_probed(struct bwe_aimd *a, double bps, bool saturated, double acked_bps);

#endif
