/* Loss that means congestion, told from loss that does not. Part of bwe. Pure.
 *
 * The path is taken to lose a part p of all packets whatever is sent (radio), and whatever is sent
 * beyond its capacity C (a shallow queue, a policer): loss(rate) = p + (1 - p) max(0, 1 - C /
 * rate). Both are fitted to the last intervals; as long as p alone explains them, loss limits
 * nothing. (The model is that of libwebrtc's second loss-based estimator; the fit is ours.)
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_BWE_LOSS_H
#define SORI_SFU_BWE_LOSS_H

#include "base/bytes.h"
#include "base/clock.h"

#define LOSS_SPANS 32

struct loss_span {
    float bps; /* sent */
    uint16_t pkts, lost;
};

struct bwe_loss {
    struct loss_span _span[LOSS_SPANS];
    unsigned _n, _head;
    uint32_t _pkts; /* of the span that is gathered */
    int32_t _lost;  /* less than 0: of earlier spans, found since */
    uint64_t _bytes;
    int64_t _from_us, _to_us; /* send times of the span */
    double limit_bps;         /* what loss allows; infinite: it does not limit */
    double inherent;          /* p: part of packets that are lost whatever is sent */
    double recent;            /* smoothed part that is lost */
    unsigned _quiet;          /* spans in a row without loss that means anything */
};

/* Sets it up: no limit. */
void bwe_loss_init(struct bwe_loss *l);

/* A packet that feedback tells of. */
void bwe_loss_packet(struct bwe_loss *l, int64_t sent_us, size_t bytes, bool lost);

/* A packet that was told lost has come after all. */
void bwe_loss_found(struct bwe_loss *l);

/* After each feedback: when a span is full, fits the model. delay_bps: the delay-based estimate. */
void bwe_loss_update(struct bwe_loss *l, double delay_bps);

/* A probe got through at bps. */
void bwe_loss_probed(struct bwe_loss *l, double bps);

#endif
