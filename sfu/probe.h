/* Bursts at a higher rate than the estimate: when to send one, and what it showed. Part of bwe.
 *
 * A probe at once when something is wanted, and the next at double rate as long as they get
 * through; then every few seconds while more is wanted than is believed to fit, sooner after a
 * fall. A probe that raised the estimate and was followed by a queue at once was mistaken (a token
 * bucket's reserve, merged arrivals): the next is longer and later. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_PROBE_H
#define SORI_SFU_PROBE_H

#include "sfu/bwe.h"

#define PROBE_PKTS 48

struct probe_packet {
    uint32_t sent_us, arrived_us; /* low 32 bits */
    uint32_t bytes;
};

struct probe {
    struct bwe_probe now; /* cluster 0: none runs */
    uint64_t _started_us, _next_us;
    uint64_t _interval_us, _span_us; /* between probes; the length of one */
    uint64_t _raised_us;             /* when one raised the estimate last */
    unsigned _told_pkts, _n;
    uint64_t _told_bytes, _acked_bytes;
    struct probe_packet _pkt[PROBE_PKTS]; /* that arrived, in the order they were sent */
    uint8_t _cluster;
    bool _first_done; /* the very first probe has been made */
    bool _go_on;      /* the last one got through: try double at once */
    uint64_t started, failed;
};

struct probe_result {
    bool done; /* told: */
    bool got_through;
    bool saturated; /* less came through than was sent: that is what the path takes */
    double bps;
};

/* Sets it up. */
void probe_init(struct probe *p, uint64_t now_us);

/* True when one should start now, from estimate bps, towards want_bps: *out says which. calm: no
 * queue, nothing wrong since a while. back_bps: the estimate before a deep fall, else 0. */
bool probe_start(struct probe *p, struct bwe_probe *out, double bps, double want_bps,
                 double back_bps, bool calm, uint64_t now_us);

/* Feedback about a packet of a probe. */
void probe_told(struct probe *p, unsigned cluster, size_t bytes, bool arrived, int64_t sent_us,
                int64_t arrived_us);

/* What the probe showed, once enough is told or it is too late (result.done). made_good: factor for
 * the loss that there is anyway; spread_us: jitter, in which a short burst drowns. */
struct probe_result probe_result(struct probe *p, double made_good, double spread_us,
                                 uint64_t now_us);

/* The estimate was raised by a probe. */
void probe_raised(struct probe *p, uint64_t now_us);

/* A queue has grown: was it a probe's fault? */
void probe_overused(struct probe *p, uint64_t now_us);

/* When the next may start, at the earliest. */
uint64_t probe_deadline(const struct probe *p);

#endif
