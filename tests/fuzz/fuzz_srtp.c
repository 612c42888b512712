/* SRTP and SRTCP: what a stranger sends is refused by both back ends; what we protect is taken by
 * either and is what it was; one changed bit is refused.
 *
 * The first byte chooses the profile and what to change; the rest is a packet.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "sfu/srtp_sess.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PACKET_MAX = 1500, WAYS = 2 };

struct ends {
    struct srtp_sess *out, *in[WAYS]; /* in: ours, libsrtp2's */
};

static struct srtp_sess *session(enum srtp_sess_profile p, enum srtp_sess_backend b, bool outbound)
{
    static const uint8_t master[64] = {1, 2, 3};
    struct slice key = slice_of(master, srtp_sess_key_bytes(p));
    struct slice salt = slice_of(master + key.len, srtp_sess_salt_bytes(p));
    struct srtp_sess *s = srtp_sess_new(p, key, salt, b, outbound);

    if (!s)
        abort();
    return s;
}

static struct ends ends_of(uint8_t which)
{
    static const enum srtp_sess_profile profiles[] = {SRTP_SESS_CM_SHA1_80, SRTP_SESS_GCM_128,
                                                      SRTP_SESS_GCM_256};
    enum srtp_sess_profile p = profiles[which % 3];

    return (struct ends){session(p, SRTP_SESS_EVP, true),
                         {session(p, SRTP_SESS_EVP, false), session(p, SRTP_SESS_LIBSRTP2, false)}};
}

static void ends_free(struct ends *e)
{
    srtp_sess_free(e->out);
    for (unsigned i = 0; i < WAYS; i++)
        srtp_sess_free(e->in[i]);
}

/* The length of a plausible RTP header at the start of p, 0: none. */
static size_t head_len(struct slice p)
{
    struct rd r = rd_init(p);
    uint8_t first = rd_u8(&r);

    rd_take(&r, 11);
    rd_take(&r, 4u * (first & 15));
    if (first & 0x10) {
        rd_be16(&r);
        rd_take(&r, 4u * rd_be16(&r));
    }
    return r.bad || first >> 6 != 2 ? 0 : p.len - r.left;
}

static uint32_t be32(const uint8_t *p)
{
    struct rd r = rd_init(slice_of(p, 4));
    return rd_be32(&r);
}

static void rtp(struct ends *e, struct slice p, uint8_t flip)
{
    uint8_t wire[PACKET_MAX + 64], bad[PACKET_MAX + 64], out[PACKET_MAX + 64];
    size_t head = head_len(p), len, cut = head + (p.len - head) / 2;
    uint64_t index;

    if (head == 0)
        return;
    uint32_t ssrc = be32(p.p + 8);
    for (unsigned i = 0; i < WAYS; i++) {
        if (srtp_sess_unprotect(e->in[i], p, head, ssrc, out, &len, &index) == 0)
            abort();
    }
    uint64_t seq = be32(p.p) & 0xffff;
    size_t n = srtp_sess_protect(e->out, seq, slice_sub(p, 0, head), slice_sub(p, head, cut - head),
                                 slice_sub(p, cut, p.len), wire);
    if (n != p.len + srtp_sess_tag_bytes(e->out))
        abort();
    memcpy(bad, wire, n);
    bad[flip % n] ^= (uint8_t)(1 << flip % 8);
    for (unsigned i = 0; i < WAYS; i++) {
        size_t bad_head = head_len(slice_of(bad, n));
        if (bad_head > 0 && srtp_sess_unprotect(e->in[i], slice_of(bad, n), bad_head, be32(bad + 8),
                                                out, &len, &index) == 0)
            abort();
        if (srtp_sess_unprotect(e->in[i], slice_of(wire, n), head, ssrc, out, &len, &index) != 0 ||
            len != p.len || index != seq || memcmp(out, p.p, len) != 0)
            abort();
        if (srtp_sess_unprotect(e->in[i], slice_of(wire, n), head, ssrc, out, &len, &index) == 0)
            abort();
    }
}

static void rtcp(struct ends *e, struct slice p, uint8_t flip)
{
    uint8_t wire[PACKET_MAX + 64], bad[PACKET_MAX + 64], out[PACKET_MAX + 64];
    size_t len;

    for (unsigned i = 0; i < WAYS; i++) {
        if (srtp_sess_unprotect_rtcp(e->in[i], p, out, &len) == 0)
            abort();
    }
    size_t n = srtp_sess_protect_rtcp(e->out, p, wire);
    if (n == 0) {
        if (p.len >= 8)
            abort();
        return;
    }
    memcpy(bad, wire, n);
    bad[flip % n] ^= (uint8_t)(1 << flip % 8);
    for (unsigned i = 0; i < WAYS; i++) {
        if (srtp_sess_unprotect_rtcp(e->in[i], slice_of(bad, n), out, &len) == 0 ||
            srtp_sess_unprotect_rtcp(e->in[i], slice_of(wire, n), out, &len) != 0 || len != p.len ||
            memcmp(out, p.p, len) != 0)
            abort();
        if (srtp_sess_unprotect_rtcp(e->in[i], slice_of(wire, n), out, &len) == 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > PACKET_MAX)
        return 0;
    struct ends e = ends_of(data[0]);
    struct slice p = slice_of(data + 2, size - 2);
    rtp(&e, p, data[1]);
    rtcp(&e, p, data[1]);
    ends_free(&e);
    return 0;
}
