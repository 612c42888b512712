/* What feedback shows of a receiver's path: the rate that came through, and how long packets stand
 * in its queue. Part of bwe.
 *
 * Everything is told in the receiver's arrival time, in steps of PATH_STEP_US, so that feedback
 * that comes late or in lumps changes nothing. The queue is the smallest delay of the last
 * packets above the smallest of the last 10 to 20 s: jitter, which has small delays in between, is
 * no queue. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_BWE_PATH_H
#define SORI_SFU_BWE_PATH_H

#include "base/bytes.h"

#define PATH_STEP_US 20000
#define PATH_STEPS   64
#define PATH_NEWEST  3

struct path_step {
    uint32_t bytes;
    uint16_t pkts;
    int32_t min_us; /* smallest one-way delay, against an arbitrary zero */
};

struct bwe_path {
    struct path_step _step[PATH_STEPS];
    int64_t _now;     /* number of the newest step */
    int64_t _last_us; /* the newest arrival */
    int64_t _first;   /* number of the first step ever */
    int64_t _zero_us;
    int32_t _base_us[2];             /* smallest delay of this window and of the one before */
    int64_t _window_us;              /* when this window began */
    double _spread_us;               /* mean delay above the smallest of its time: jitter */
    int32_t _newest_us[PATH_NEWEST]; /* delays of the last packets */
    unsigned _n_newest;
    bool _started;
};

/* A zeroed one knows nothing. */
void bwe_path_packet(struct bwe_path *p, int64_t sent_us, int64_t arrived_us, size_t bytes);

/* A packet that lost feedback would have told of: taken for arrived about now. */
void bwe_path_unseen(struct bwe_path *p, size_t bytes);

/* Bits per second that arrived within about the last window_us (at most a second) before the newest
 * arrival; 0 when nothing is known of so long, or fewer than three packets came. */
double bwe_path_rate(const struct bwe_path *p, int64_t window_us);

/* The standing queue in microseconds. */
int64_t bwe_path_queue_us(const struct bwe_path *p);

/* The same of the last three packets only: sees a queue that grows fast at once, and jitter too. */
int64_t bwe_path_newest_us(const struct bwe_path *p);

/* Mean jitter above the standing queue. */
double bwe_path_spread_us(const struct bwe_path *p);

/* The queue there is now is somebody else's, or no queue at all (another route): what is above it
 * counts from here on. */
void bwe_path_accept_queue(struct bwe_path *p);

#endif
