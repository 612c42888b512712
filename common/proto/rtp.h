/* The RTP header (RFC 3550 §5.1) with its extension (§5.3.1).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_RTP_H
#define SORI_PROTO_RTP_H

#include "base/bytes.h"

#define RTP_HEADER_BYTES 12 /* without CSRCs and extension */
#define RTP_CSRC_MAX     15
#define RTP_VERSION      2

/* RFC 8285 §4.2, §4.3: which form an extension has; others are not looked into. */
#define RTP_EXT_PROFILE_ONE_BYTE 0xbede
#define RTP_EXT_PROFILE_TWO_BYTE 0x1000 /* and an application's four low bits */
#define RTP_EXT_PROFILE_TWO_MASK 0xfff0
#define RTP_EXT_HEADER_BYTES     4

struct rtp_header {
    bool marker;
    bool padded; /* the P bit; how much: rtp_padding() */
    uint8_t pt;
    uint8_t n_csrc;
    uint16_t seq;
    uint32_t ts, ssrc;
    struct slice csrc; /* n_csrc × 4 bytes, as on the wire */
    uint16_t ext_profile;
    struct slice ext;  /* without its 4 byte header; empty: none */
    size_t header_len; /* where the payload begins */
};

/* True when a packet that begins with these two bytes is RTCP, false: RTP. For datagrams that RFC
 * 7983 §7 gave to either of them (128..191); the payload types that RFC 5761 §4 keeps free tell. */
static inline bool rtp_is_rtcp(uint8_t first, uint8_t second)
{
    return first >> 6 == RTP_VERSION && second >= 192 && second <= 223;
}

/* Decodes the header with CSRCs and extension. What follows may be encrypted or not: padding is not
 * looked at.
 *
 * packet: the whole packet. out: written on success only; borrows from packet.
 *
 * Returns 0, or -EBADMSG when the version is not 2 or the packet is shorter than its counts say.
 * Never allocates. */
int rtp_decode(struct rtp_header *out, struct slice packet);

/* The bytes of padding at the end of a decrypted payload (RFC 3550 §5.1, its own count included).
 * padded: the header's P bit; without it *pad is 0.
 *
 * Returns 0, or -EBADMSG (drop the packet) when the count is 0 or beyond the payload. A payload
 * that is all padding is fine: *pad is payload.len then. */
int rtp_padding(struct slice payload, bool padded, size_t *pad);

/* Writes a header with h->csrc (at most RTP_CSRC_MAX × 4 bytes) and without an extension; the X bit
 * is set when extended: the caller writes it next (rtp_ext.h). header_len, n_csrc and ext are not
 * looked at. */
void rtp_put_header(struct wr *w, const struct rtp_header *h, bool extended);

/* Takes a retransmission (RFC 4588 §4) apart: the number that the packet had first, and its
 * payload. False when the payload is too short (an empty one is padding that probes). */
static inline bool rtp_rtx_decode(struct slice payload, uint16_t *seq, struct slice *original)
{
    struct rd r = rd_init(payload);
    uint16_t osn = rd_be16(&r);

    if (r.bad)
        return false;
    *seq = osn;
    *original = rd_rest(&r);
    return true;
}

/* The sequence number (RTP's, or any other of 16 bits) extended to 64 bits that is nearest to last
 * (RFC 3711 §3.3.1); never below 0. */
static inline uint64_t rtp_extend(uint64_t last, uint16_t seq)
{
    int16_t ahead = (int16_t)(uint16_t)(seq - (uint16_t)last);

    if (ahead < 0 && last < (uint64_t) - (int64_t)ahead)
        return last + (uint16_t)ahead;
    return last + (uint64_t)(int64_t)ahead;
}

#endif
