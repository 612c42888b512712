/* RTCP feedback: generic NACK and PLI (RFC 4585), FIR (RFC 5104), REMB
 * (draft-alvestrand-rmcat-remb-03). Transport-wide feedback is in twcc_fb.h.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_RTCP_FB_H
#define SORI_PROTO_RTCP_FB_H

#include "proto/rtcp.h"

enum { /* FMT of RTCP_RTPFB */
       RTCP_FB_NACK = 1,
       RTCP_FB_TWCC = 15,
};
enum { /* FMT of RTCP_PSFB */
       RTCP_FB_PLI = 1,
       RTCP_FB_FIR = 4,
       RTCP_FB_AFB = 15, /* application layer: REMB */
};

#define RTCP_REMB_SSRCS_MAX 255

struct rtcp_fb {
    uint32_t sender, media;
    struct slice fci;
};

/* The common part of a packet of type RTCP_RTPFB or RTCP_PSFB (RFC 4585 §6.1); its FMT is p->count.
 * Returns 0, or -EBADMSG. out borrows. */
int rtcp_fb_decode(struct rtcp_fb *out, const struct rtcp_packet *p);

/* Iterates over the sequence numbers that a NACK asks for, as they come: begin with nack_init(). */
struct rtcp_nack {
    struct rd _r;
    uint16_t _pid, _blp;
};

static inline struct rtcp_nack rtcp_nack_init(struct slice fci)
{
    return (struct rtcp_nack){._r = rd_init(fci)};
}

/* Gives the next one; false at the end. A cut last entry is left out. */
bool rtcp_nack_next(struct rtcp_nack *n, uint16_t *seq);

/* Writes one NACK packet for n > 0 sequence numbers in ascending order (wrapping at 2^16); repeats
 * are fine. Takes as many as fit into w; returns how many (0 and nothing written when not even one
 * fits). */
size_t rtcp_put_nack(struct wr *w, uint32_t sender, uint32_t media, const uint16_t *seq, size_t n);

/* Asks for a key frame (RFC 4585 §6.3.1). */
void rtcp_put_pli(struct wr *w, uint32_t sender, uint32_t media);

/* One entry of a FIR (RFC 5104 §4.3.1). A request repeats its number, a new one has the next. */
struct rtcp_fir {
    uint32_t ssrc;
    uint8_t seq;
};

/* Gives the next entry of a FIR's FCI; false at the end. */
bool rtcp_fir_next(struct rd *r, struct rtcp_fir *out);
void rtcp_put_fir(struct wr *w, uint32_t sender, const struct rtcp_fir *v, size_t n);

struct rtcp_remb {
    uint64_t bps;
    unsigned n;
    struct slice ssrcs; /* n × 4 bytes */
};

/* Decodes the FCI of an RTCP_FB_AFB packet. Returns 0, -ENOENT when it is another application's,
 * -EBADMSG. */
int rtcp_remb_decode(struct rtcp_remb *out, struct slice fci);

/* Writes a REMB for n (at most RTCP_REMB_SSRCS_MAX) streams; bps is rounded down to what the 18 bit
 * mantissa holds. */
void rtcp_put_remb(struct wr *w, uint32_t sender, uint64_t bps, const uint32_t *ssrc, size_t n);

#endif
