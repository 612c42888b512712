/* Is the path's queue growing? Arrival groups, trend line of the one-way delay's variation, and the
 * over-use detector with its adaptive threshold (draft-ietf-rmcat-gcc-02 §5.2 to §5.4; the trend
 * line is what libwebrtc has put in place of the draft's Kalman filter). Part of bwe. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_BWE_TREND_H
#define SORI_SFU_BWE_TREND_H

#include "sfu/bwe.h"

#define TREND_POINTS 20

struct trend_group {
    int64_t first_sent_us, last_sent_us, first_arrived_us, last_arrived_us;
};

struct bwe_trend {
    struct trend_group _group, _before;
    bool _has_group, _has_before;
    double _at_ms[TREND_POINTS], _delay_ms[TREND_POINTS];
    unsigned _n, _head, _deltas;
    int64_t _zero_us; /* of _at_ms */
    double _accumulated_ms, _smoothed_ms;
    double _threshold_ms, _over_ms, _trend_before;
    int64_t _threshold_at_us;
    unsigned _overs;
    enum bwe_usage usage; /* as it is now */
};

/* Sets it up; also to start over. */
void bwe_trend_init(struct bwe_trend *t);

/* A packet that arrived, in the order of sequence numbers. */
void bwe_trend_packet(struct bwe_trend *t, int64_t sent_us, int64_t arrived_us);

#endif
