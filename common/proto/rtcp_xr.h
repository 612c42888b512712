/* RTCP extended reports (RFC 3611): receiver reference time, DLRR, statistics summary, VoIP
 * metrics. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_RTCP_XR_H
#define SORI_PROTO_RTCP_XR_H

#include "proto/rtcp.h"

enum {
    RTCP_XR_RRTR = 4,       /* §4.4 */
    RTCP_XR_DLRR = 5,       /* §4.5 */
    RTCP_XR_STATISTICS = 6, /* §4.6 */
    RTCP_XR_VOIP = 7,       /* §4.7 */
};

struct rtcp_xr {
    uint32_t ssrc; /* who reports */
    struct rd _r;
};

struct rtcp_xr_block {
    uint8_t type;
    uint8_t specific; /* the type-specific byte */
    struct slice body;
};

/* Begins the walk over the blocks of a packet of type RTCP_XR. Returns 0, or -EBADMSG. */
int rtcp_xr_decode(struct rtcp_xr *out, const struct rtcp_packet *p);

/* Gives the next block, of any type; false at the end or at a broken one. */
bool rtcp_xr_next(struct rtcp_xr *x, struct rtcp_xr_block *out);

struct rtcp_xr_dlrr {
    uint32_t ssrc;
    uint32_t lrr, dlrr; /* like LSR and DLSR */
};

struct rtcp_xr_statistics {
    uint32_t ssrc;
    bool has_lost, has_dup, has_jitter; /* which of the fields below say something */
    uint8_t ttl_kind;                   /* 0 none, 1 IPv4 TTL, 2 IPv6 hop limit */
    uint16_t begin_seq, end_seq;        /* [begin, end) */
    uint32_t lost, dup;
    uint32_t min_jitter, max_jitter, mean_jitter, dev_jitter;
    uint8_t min_ttl, max_ttl, mean_ttl, dev_ttl;
};

#define RTCP_XR_UNKNOWN 127 /* signal and noise level, RERL, R factors, MOS: not available */

struct rtcp_xr_voip {
    uint32_t ssrc;
    uint8_t loss_rate, discard_rate;    /* of 256 */
    uint8_t burst_density, gap_density; /* of 256 */
    uint16_t burst_ms, gap_ms;
    uint16_t round_trip_ms, end_system_ms;
    int8_t signal_dbm, noise_dbm;
    uint8_t rerl_db;
    uint8_t gmin;
    uint8_t r_factor, ext_r_factor; /* 0..100 */
    uint8_t mos_lq, mos_cq;         /* ten times the MOS: 10..50 */
    uint8_t rx_config;
    uint16_t jb_nominal_ms, jb_maximum_ms, jb_abs_max_ms;
};

/* Each decodes a block of its type. Returns 0, or -EBADMSG. */
int rtcp_xr_rrtr_decode(uint64_t *ntp, const struct rtcp_xr_block *b);
int rtcp_xr_statistics_decode(struct rtcp_xr_statistics *out, const struct rtcp_xr_block *b);
int rtcp_xr_voip_decode(struct rtcp_xr_voip *out, const struct rtcp_xr_block *b);
/* Gives the next sub-block of a DLRR block; begin with rd_init(b->body). False at the end. */
bool rtcp_xr_dlrr_next(struct rd *r, struct rtcp_xr_dlrr *out);

/* Begins an XR packet of ssrc; blocks follow, then rtcp_end(w, at, RTCP_XR, 0). Returns at. */
size_t rtcp_xr_begin(struct wr *w, uint32_t ssrc);
/* Each appends one block; the lengths of fields are the wire's, statistics of 24 bits don't exist.
 */
void rtcp_xr_put_rrtr(struct wr *w, uint64_t ntp);
void rtcp_xr_put_dlrr(struct wr *w, const struct rtcp_xr_dlrr *v, size_t n);
void rtcp_xr_put_statistics(struct wr *w, const struct rtcp_xr_statistics *s);
void rtcp_xr_put_voip(struct wr *w, const struct rtcp_xr_voip *v);

#endif
