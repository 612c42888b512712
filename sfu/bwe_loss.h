/* Loss that means congestion, told from loss that does not. Part of bwe. Pure.
 *
 * A path may lose a part of all packets whatever is sent (radio: inherent loss), and what is sent
 * beyond its capacity (a shallow queue, a policer). Which it is shows when less is sent: the first
 * stays, the second goes. So loss that is new leads to a short experiment, not to a belief.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_BWE_LOSS_H
#define SORI_SFU_BWE_LOSS_H

#include "base/bytes.h"
#include "base/clock.h"

struct bwe_loss {
    uint32_t _pkts; /* of the span that is gathered */
    int32_t _lost;  /* less than 0: of earlier spans, found since */
    uint64_t _bytes;
    int64_t _from_us, _to_us; /* send times of the span */
    bool testing; /* less is sent, to see whether less is lost: the limit may go again */
    unsigned _test_spans;
    uint32_t _test_pkts, _test_lost;
    double _loss_before, _limit_before;
    int64_t _test_from_us; /* what was sent before is not part of the experiment */
    unsigned _quiet;       /* spans in a row without loss that means anything */
    double limit_bps;      /* what loss allows; infinite: it does not limit */
    double inherent;       /* part of packets that are lost whatever is sent */
    double recent;         /* smoothed part that is lost */
};

/* Sets it up: no limit. */
void bwe_loss_init(struct bwe_loss *l);

/* A packet that feedback tells of. */
void bwe_loss_packet(struct bwe_loss *l, int64_t sent_us, size_t bytes, bool lost);

/* A packet that was told lost has come after all. */
void bwe_loss_found(struct bwe_loss *l);

/* After each feedback: judges the span when it is full. delay_bps: the delay-based estimate. */
void bwe_loss_update(struct bwe_loss *l, double delay_bps, int64_t now_us);

/* A probe got through at bps. */
void bwe_loss_probed(struct bwe_loss *l, double bps);

#endif
