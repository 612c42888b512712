/* How much one receiver's path takes: a sender-side bandwidth estimator of our own, after
 * draft-ietf-rmcat-gcc-02 and what has been learned since.
 *
 *     n = bwe_sent(b, bytes, cluster, now)   each packet that carries a transport-wide number
 *     bwe_twcc(b, fci, now)                  what the receiver says about them
 *     bwe_target_bps(b)                      all that may be sent: audio, video, RTX, RED, padding
 *     bwe_probe(b, &probe, now)              a burst at a higher rate that the pacer should run now
 *
 * Parts: send_history (what was sent and when), bwe_trend (delay gradient, over-use detector),
 * bwe_aimd (rate control on it), bwe_loss (loss that means congestion, told from loss that does
 * not), bwe_rate (acknowledged throughput), probe (bursts and their result). Without transport-wide
 * feedback REMB and receiver reports steer.
 *
 * All bytes and rates are IP datagrams (BWE_OVERHEAD_V4/V6 bytes above the UDP payload): the path
 * carries them too. O(1) per packet, nothing allocated after bwe_new() and bwe_widen().
 * Owned by the worker. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_BWE_H
#define SORI_SFU_BWE_H

#include "base/bytes.h"
#include "base/clock.h"

struct bwe;

#define BWE_OVERHEAD_V4 28 /* IPv4 and UDP headers */
#define BWE_OVERHEAD_V6 48

struct bwe_conf {
    uint64_t start_bps; /* believed until the first probe tells more */
    uint64_t min_bps;   /* never below: enough for one voice */
    uint64_t max_bps;   /* never above */
};

/* A burst to send: at bps, until bytes have been sent (min_pkts packets at least), padding where
 * media does not suffice. Its packets are told to bwe_sent() with this cluster. */
struct bwe_probe {
    unsigned cluster; /* 1..255; 0 means no probe */
    uint64_t bps;
    size_t bytes;
    unsigned min_pkts;
};

enum bwe_state { BWE_INCREASE, BWE_HOLD, BWE_DECREASE };
enum bwe_usage { BWE_NORMAL, BWE_OVERUSE, BWE_UNDERUSE };

struct bwe_stats {
    uint64_t target_bps, delay_bps, loss_bps, acked_bps;
    uint64_t rtt_us;      /* smoothed */
    uint64_t queue_us;    /* how long packets stand in the bottleneck's queue now */
    double loss;          /* smoothed, 0..1 */
    enum bwe_state state; /* of the delay-based part */
    enum bwe_usage usage;
    bool by_twcc;     /* transport-wide feedback steers; else REMB and receiver reports */
    bool app_limited; /* less is sent than may be: the estimate is not tested */
    uint64_t feedbacks, bad_feedbacks, probes, probes_failed, overuses, lost_pkts, acked_pkts;
};

/* For a receiver of audio (about 5 kB); NULL when memory is out. */
struct bwe *bwe_new(const struct bwe_conf *conf, uint64_t now_us);

/* NULL is allowed. */
void bwe_free(struct bwe *b);

/* The receiver gets video: makes room for its packet rate (about 20 kB in all). Call when its first
 * video slot is filled; more than once is fine. Returns 0, or -ENOMEM: the estimator goes on with
 * the little room, and knows less at high packet rates. */
int bwe_widen(struct bwe *b);

/* A packet of so many bytes (whole IP datagram) is sent now: returns the transport-wide sequence
 * number to write into it. cluster: pacer_cluster(), 0 outside of probes. Hot path. */
uint16_t bwe_sent(struct bwe *b, size_t bytes, unsigned cluster, uint64_t now_us);

/* Transport-wide feedback: the packet's bytes after the media SSRC (twcc_fb.h). Malformed feedback,
 * and numbers never sent, are counted and ignored. */
void bwe_twcc(struct bwe *b, struct slice fci, uint64_t now_us);

/* Receiver estimated maximum bitrate: an upper bound while no transport-wide feedback comes. */
void bwe_remb(struct bwe *b, uint64_t bps, uint64_t now_us);

/* From receiver reports: fraction_lost as on the wire (RFC 3550 §6.4.1), the worst of the reported
 * blocks; rtt_us 0: not known. With transport-wide feedback only the RTT is used. */
void bwe_report(struct bwe *b, uint8_t fraction_lost, uint64_t rtt_us, uint64_t now_us);

/* What the receiver would get if the path took it: layer_alloc's wanted_bps plus audio. The
 * estimator probes towards this and not beyond; 0: nothing more is wanted. */
void bwe_want(struct bwe *b, uint64_t bps);

/* The path has changed (another candidate pair, an ICE restart): starts over from what is believed,
 * capped at start_bps, with an initial probe. */
void bwe_path_changed(struct bwe *b, uint64_t now_us);

/* Time-driven part: missing feedback (rate is cut when all of it stays away), application limit,
 * when to probe. Call at bwe_deadline() or each turn. */
void bwe_tick(struct bwe *b, uint64_t now_us);
uint64_t bwe_deadline(const struct bwe *b);

/* True when a probe should start now; it is taken as started. Call after bwe_tick(), give it to
 * pacer_probe(). */
bool bwe_probe(struct bwe *b, struct bwe_probe *out, uint64_t now_us);

/* What may be sent in all, now: dips for a moment while a queue drains. */
uint64_t bwe_target_bps(const struct bwe *b);

/* The same without those dips: for layer_alloc, which should not change layers for them. */
uint64_t bwe_steady_bps(const struct bwe *b);

/* For pacer_rate(): 1.5 times the target, so that what the estimator allows is really sent; the
 * target itself while a queue drains, which moves the queue from the path into the pacer: audio
 * passes it there. */
uint64_t bwe_pacing_bps(const struct bwe *b);

/* A queue that we made drains: nothing beyond the target is to be sent. */
bool bwe_drains(const struct bwe *b);

/* Smoothed round trip, 0: not known yet. */
uint64_t bwe_rtt_us(const struct bwe *b);

/* What it thinks, for metrics, logs and tests. */
void bwe_stats(const struct bwe *b, struct bwe_stats *out);

#endif
