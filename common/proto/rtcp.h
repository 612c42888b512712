/* RTCP (RFC 3550 §6): the walk over a compound packet (or one of reduced size, RFC 5506), and the
 * reports in it. Feedback is in rtcp_fb.h, extended reports in rtcp_xr.h.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_RTCP_H
#define SORI_PROTO_RTCP_H

#include "base/bytes.h"

enum {
    RTCP_SR = 200,
    RTCP_RR = 201,
    RTCP_SDES = 202,
    RTCP_BYE = 203,
    RTCP_APP = 204,
    RTCP_RTPFB = 205, /* RFC 4585 §6.2 */
    RTCP_PSFB = 206,  /* RFC 4585 §6.3 */
    RTCP_XR = 207,    /* RFC 3611 */
};

#define RTCP_HEADER_BYTES 4
#define RTCP_PADDED       0x20 /* the P bit in the first byte */
#define RTCP_COUNT_MAX    31   /* of the 5 bit count: report blocks, sources, chunks */
#define RTCP_CNAME_MAX    255  /* RFC 3550 §6.5 */

/* One packet of a compound. */
struct rtcp_packet {
    uint8_t type;
    uint8_t count;     /* RC, SC or FMT: the five bits */
    struct slice body; /* behind the four byte header, without padding */
};

/* Takes the next packet. Packets of unknown type are given too: the caller skips them.
 *
 * Returns 1; 0 at the end; -EBADMSG when what follows is no RTCP (drop the rest; what came before
 * stays valid, RFC 3550 §A.2 would drop all of it). out borrows. */
int rtcp_next(struct rd *r, struct rtcp_packet *out);

struct rtcp_block { /* RFC 3550 §6.4.1 */
    uint32_t ssrc;
    uint8_t fraction_lost; /* of 256, since the last report */
    int32_t lost;          /* in all; 24 bits on the wire, clamped when written */
    uint32_t highest_seq;  /* extended to 32 bits */
    uint32_t jitter;       /* in units of the timestamp */
    uint32_t lsr, dlsr;    /* middle 32 bits of the last SR's NTP time; since then, 1/65536 s */
};

struct rtcp_report { /* SR or RR */
    uint32_t ssrc;
    uint64_t ntp; /* from here on SR only */
    uint32_t rtp_ts;
    uint32_t pkts, bytes;
    unsigned n;
    struct rtcp_block v[RTCP_COUNT_MAX];
};

/* Decodes an SR or RR; profile-specific extensions are ignored. Returns 0, or -EBADMSG. */
int rtcp_report_decode(struct rtcp_report *out, const struct rtcp_packet *p);

/* Writes one; n of it is at most RTCP_COUNT_MAX (asserted). */
void rtcp_put_sr(struct wr *w, const struct rtcp_report *r);
void rtcp_put_rr(struct wr *w, const struct rtcp_report *r);

/* The first CNAME of an SDES packet and whose it is. Returns 0, -ENOENT when it has none,
 * -EBADMSG. */
int rtcp_sdes_cname(const struct rtcp_packet *p, uint32_t *ssrc, struct slice *cname);

/* Writes an SDES packet of one chunk. cname is at most RTCP_CNAME_MAX bytes, else w->bad. */
void rtcp_put_sdes(struct wr *w, uint32_t ssrc, struct slice cname);

struct rtcp_bye {
    unsigned n;
    uint32_t ssrc[RTCP_COUNT_MAX];
    struct slice reason; /* may be empty */
};

/* Returns 0, or -EBADMSG. */
int rtcp_bye_decode(struct rtcp_bye *out, const struct rtcp_packet *p);

/* Writes a BYE; reason is at most 255 bytes, else w->bad. */
void rtcp_put_bye(struct wr *w, const struct rtcp_bye *bye);

struct rtcp_app {
    uint8_t subtype;
    uint32_t ssrc;
    uint8_t name[4];
    struct slice data; /* a multiple of four bytes */
};

/* Returns 0, or -EBADMSG. */
int rtcp_app_decode(struct rtcp_app *out, const struct rtcp_packet *p);

/* Writes one; data.len is a multiple of four, else w->bad. */
void rtcp_put_app(struct wr *w, const struct rtcp_app *app);

/* Begins a packet: reserves its header. Returns its place for rtcp_end(), which writes the header
 * with the length of all that was written since; a body that is no multiple of four bytes is
 * w->bad.
 */
size_t rtcp_begin(struct wr *w);
void rtcp_end(struct wr *w, size_t at, uint8_t type, uint8_t count);

/* NTP time (RFC 3550 §4): seconds since 1900 in 32.32 bits. */
uint64_t rtcp_ntp(uint64_t unix_us);
/* Its middle 32 bits, as LSR has them: 1/65536 s. */
static inline uint32_t rtcp_ntp_middle(uint64_t ntp)
{
    return (uint32_t)(ntp >> 16);
}
/* A difference of two NTP times, or of 1/65536 s, in microseconds. */
int64_t rtcp_ntp_diff_us(uint64_t later, uint64_t earlier);
uint64_t rtcp_middle_us(uint32_t units);
uint32_t rtcp_us_middle(uint64_t us);

/* The round trip time that one report block tells (RFC 3550 §6.4.1), or that of a DLRR (RFC 3611
 * §4.5): arrival is the middle of the NTP time at which it came in. False when lsr is 0 or the
 * figures make no sense (negative, or over a minute). */
bool rtcp_rtt(uint32_t arrival, uint32_t lsr, uint32_t dlsr, uint64_t *rtt_us);

#endif
