/* SRTP and SRTCP of one direction: key derivation, IVs, packet layouts.
 *
 * Called by transport.c. The ciphers are base/packet_cipher.c, indexes and replays srtp_index.c;
 * with libsrtp2 (srtp_libsrtp.c) the latter stay, and the rest is its.
 *
 *   SRTP                header | payload, encrypted | tag
 *   SRTCP, RFC 3711     8 bytes | rest, encrypted | E, index | tag
 *   SRTCP, RFC 7714     8 bytes | rest, encrypted | tag | E, index
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/srtp_sess.h"

#include <errno.h>

#include "base/crypto.h"
#include "base/mem.h"
#include "base/packet_cipher.h"
#include "sfu/srtp_index.h"
#include "sfu/srtp_libsrtp.h"

enum {
    RTP_HEADER_BYTES = 12,
    SSRC_AT = 8, /* in RTP */
    RTCP_SSRC_AT = 4,
    RTCP_CLEAR_BYTES = 8, /* RFC 3711 §3.4: the first header and SSRC are not encrypted */
    RTCP_INDEX_BYTES = 4,
    LABEL_RTP = 0, /* RFC 3711 §4.3.2: +0 key, +1 authentication, +2 salt */
    LABEL_RTCP = 3,
    LABEL_AT = 7,   /* in the 14 bytes of key_id, the index being zero (§4.3.1) */
    GCM_ZEROES = 2, /* before the SSRC in an IV (RFC 7714 §8.1); */
    CM_ZEROES = 4,  /* RFC 3711 §4.1.1 */
};
#define RTCP_E_BIT UINT32_C(0x80000000)

struct half {
    struct packet_cipher *cipher;
    uint8_t salt[PACKET_CIPHER_IV_BYTES]; /* session salt, zeroes behind it */
};

struct srtp_sess {
    struct half rtp, rtcp;
    bool gcm;
    uint8_t tag_len;
    uint32_t
        next_rtcp; /* outbound SRTCP index: one for all SSRCs, which keeps it unique for each */
    struct srtp_lib *lib; /* NULL: EVP */
    struct srtp_index ssrcs;
};

static const struct profile {
    enum srtp_sess_profile number;
    enum packet_cipher_kind kind;
    uint8_t key_len, salt_len;
} profiles[] = {
    {SRTP_SESS_CM_SHA1_80, PACKET_CIPHER_AES128_CM_SHA1_80, 16, 14},
    {SRTP_SESS_GCM_128, PACKET_CIPHER_AES128_GCM, 16, 12},
    {SRTP_SESS_GCM_256, PACKET_CIPHER_AES256_GCM, 32, 12},
};

static const struct profile *profile_find(enum srtp_sess_profile number)
{
    for (size_t i = 0; i < ARRAY_LEN(profiles); i++) {
        if (profiles[i].number == number)
            return &profiles[i];
    }
    return NULL;
}

size_t srtp_sess_key_bytes(enum srtp_sess_profile profile)
{
    const struct profile *p = profile_find(profile);
    return p ? p->key_len : 0;
}

size_t srtp_sess_salt_bytes(enum srtp_sess_profile profile)
{
    const struct profile *p = profile_find(profile);
    return p ? p->salt_len : 0;
}

/* --- Keys. */

/* RFC 3711 §4.3: the keystream under the master key from (label XOR master salt) * 2^16 on. A salt
 * of 12 bytes (RFC 7714 §11) has zeroes behind it. */
static bool derive(struct slice key, struct slice salt, unsigned label, uint8_t *out, size_t len)
{
    uint8_t iv[PACKET_CIPHER_IV_BYTES] = {0};

    memcpy(iv, salt.p, salt.len);
    iv[LABEL_AT] ^= (uint8_t)label;
    bool ok = packet_cipher_keystream(key, iv, out, len);
    crypto_wipe(iv, sizeof(iv));
    return ok;
}

static bool half_init(struct half *h, const struct profile *p, struct slice key, struct slice salt,
                      unsigned label, bool seal)
{
    uint8_t enc[PACKET_CIPHER_KEY_MAX], auth[PACKET_CIPHER_AUTH_BYTES];

    if (derive(key, salt, label, enc, p->key_len) &&
        derive(key, salt, label + 1, auth, sizeof(auth)) &&
        derive(key, salt, label + 2, h->salt, p->salt_len))
        h->cipher = packet_cipher_new(p->kind, slice_of(enc, p->key_len),
                                      slice_of(auth, sizeof(auth)), seal);
    crypto_wipe(enc, sizeof(enc));
    crypto_wipe(auth, sizeof(auth));
    return h->cipher != NULL;
}

struct srtp_sess *srtp_sess_new(enum srtp_sess_profile profile, struct slice key, struct slice salt,
                                enum srtp_sess_backend backend, bool outbound)
{
    const struct profile *p = profile_find(profile);
    bool ok;

    if (!p || key.len != p->key_len || salt.len != p->salt_len)
        return NULL;
    struct srtp_sess *s = mem_zalloc(sizeof(*s));
    if (!s)
        return NULL;
    s->gcm = p->kind != PACKET_CIPHER_AES128_CM_SHA1_80;
    s->tag_len = (uint8_t)packet_cipher_tag_bytes(p->kind);
    if (backend == SRTP_SESS_LIBSRTP2) {
        s->lib = srtp_lib_new(profile, key, salt, outbound);
        ok = s->lib != NULL;
    } else {
        ok = half_init(&s->rtp, p, key, salt, LABEL_RTP, outbound) &&
             half_init(&s->rtcp, p, key, salt, LABEL_RTCP, outbound);
    }
    if (ok)
        return s;
    srtp_sess_free(s);
    return NULL;
}

void srtp_sess_free(struct srtp_sess *s)
{
    if (!s)
        return;
    packet_cipher_free(s->rtp.cipher);
    packet_cipher_free(s->rtcp.cipher);
    srtp_lib_free(s->lib);
    srtp_index_fini(&s->ssrcs);
    crypto_wipe(s, sizeof(*s));
    mem_free(s);
}

size_t srtp_sess_tag_bytes(const struct srtp_sess *s)
{
    return s->tag_len;
}

unsigned srtp_sess_ssrcs(const struct srtp_sess *s)
{
    return s->ssrcs._n;
}

/* --- Packets. */

static uint32_t be32_at(struct slice s, size_t at)
{
    struct rd r = rd_init(slice_sub(s, at, 4));
    return rd_be32(&r);
}

/* The IV of a packet: zeroes, SSRC, 48 bits of index, zeroes, all XORed with the salt. RTP and RTCP
 * alike (RFC 3711 §4.1.1; RFC 7714 §8.1, §9.1). */
static void iv_make(const struct srtp_sess *s, const struct half *h, uint32_t ssrc, uint64_t index,
                    uint8_t iv[PACKET_CIPHER_IV_BYTES])
{
    struct wr w = wr_init(iv, PACKET_CIPHER_IV_BYTES);

    memset(iv, 0, PACKET_CIPHER_IV_BYTES);
    w.len = s->gcm ? GCM_ZEROES : CM_ZEROES;
    wr_be32(&w, ssrc);
    wr_be16(&w, (uint16_t)(index >> 32));
    wr_be32(&w, (uint32_t)index);
    for (size_t i = 0; i < PACKET_CIPHER_IV_BYTES; i++)
        iv[i] ^= h->salt[i];
}

/* What is authenticated besides the packet: the rollover counter with HMAC (RFC 3711 §4.2), nothing
 * with GCM, whose IV holds it. */
static struct slice trail_of(const struct srtp_sess *s, uint64_t index, uint8_t roc[4])
{
    struct wr w = wr_init(roc, 4);

    if (s->gcm)
        return (struct slice){0};
    wr_be32(&w, (uint32_t)(index >> 16));
    return slice_of(roc, 4);
}

void srtp_sess_prefetch(const struct srtp_sess *s, unsigned step)
{
    if (step == 0)
        bytes_prefetch(s, sizeof(*s));
    else if (s->rtp.cipher)
        packet_cipher_prefetch(s->rtp.cipher, step - 1);
    if (step > 0)
        srtp_index_prefetch(&s->ssrcs, step - 1);
}

size_t srtp_sess_protect(struct srtp_sess *s, uint64_t index, struct slice head, struct slice a,
                         struct slice b, uint8_t *out)
{
    uint8_t iv[PACKET_CIPHER_IV_BYTES], roc[4];
    size_t len = head.len + a.len + b.len;
    uint8_t *text = out + head.len;

    if (head.len < RTP_HEADER_BYTES)
        return 0;
    memcpy(out, head.p, head.len);
    if (s->lib) {
        struct wr w = wr_init(text, a.len + b.len);
        wr_bytes(&w, a);
        wr_bytes(&w, b);
        return srtp_lib_protect(s->lib, out, &len) ? len : 0;
    }
    iv_make(s, &s->rtp, be32_at(head, SSRC_AT), index, iv);
    if (!packet_cipher_seal(s->rtp.cipher, iv, slice_of(out, head.len), trail_of(s, index, roc), a,
                            b, text, out + len))
        return 0;
    return len + s->tag_len;
}

/* Decrypts one RTP packet, whose index was found, to out. */
static bool open_rtp(struct srtp_sess *s, struct slice packet, size_t header_len, uint32_t ssrc,
                     uint64_t index, uint8_t *out, size_t *len)
{
    uint8_t iv[PACKET_CIPHER_IV_BYTES], roc[4];
    size_t text_len = packet.len - header_len - s->tag_len;

    if (s->lib) {
        if (out != packet.p)
            memcpy(out, packet.p, packet.len);
        *len = packet.len;
        return srtp_lib_unprotect(s->lib, out, len);
    }
    struct slice head = slice_sub(packet, 0, header_len);
    struct slice text = slice_sub(packet, header_len, text_len);
    iv_make(s, &s->rtp, ssrc, index, iv);
    if (!packet_cipher_open(s->rtp.cipher, iv, head, trail_of(s, index, roc), text,
                            packet.p + header_len + text_len, out + header_len))
        return false;
    if (out != packet.p)
        memcpy(out, packet.p, header_len);
    *len = header_len + text_len;
    return true;
}

int srtp_sess_unprotect(struct srtp_sess *s, struct slice packet, size_t header_len, uint32_t ssrc,
                        uint8_t *out, size_t *len, uint64_t *index)
{
    if (header_len < RTP_HEADER_BYTES || packet.len < header_len ||
        packet.len - header_len < s->tag_len)
        return -EBADMSG;
    struct rd r = rd_init(slice_sub(packet, 2, 2));
    struct srtp_stream *st = srtp_index_find(&s->ssrcs, ssrc);
    uint64_t guess = srtp_stream_guess(st, rd_be16(&r));
    if (st && !srtp_stream_is_new(st, guess))
        return -EALREADY;
    if (!st && srtp_index_is_full(&s->ssrcs))
        return -ENOSPC;
    if (!open_rtp(s, packet, header_len, ssrc, guess, out, len))
        return -EACCES;
    if (!st && !(st = srtp_index_add(&s->ssrcs, ssrc)))
        return -ENOSPC;
    srtp_stream_note(st, guess);
    *index = guess;
    return 0;
}

/* --- RTCP. */

size_t srtp_sess_protect_rtcp(struct srtp_sess *s, struct slice compound, uint8_t *out)
{
    uint8_t iv[PACKET_CIPHER_IV_BYTES], word[RTCP_INDEX_BYTES];
    size_t len = compound.len;
    struct wr w = wr_init(word, sizeof(word));

    if (compound.len < RTCP_CLEAR_BYTES || s->next_rtcp >= RTCP_E_BIT)
        return 0; /* or all of 2^31 indexes are used */
    if (s->lib) {
        memcpy(out, compound.p, compound.len);
        return srtp_lib_protect_rtcp(s->lib, out, &len) ? len : 0;
    }
    memcpy(out, compound.p, RTCP_CLEAR_BYTES);
    wr_be32(&w, RTCP_E_BIT | s->next_rtcp);
    iv_make(s, &s->rtcp, be32_at(compound, RTCP_SSRC_AT), s->next_rtcp, iv);
    size_t tag_at = s->gcm ? len : len + RTCP_INDEX_BYTES;
    size_t word_at = s->gcm ? len + s->tag_len : len;
    if (!packet_cipher_seal(s->rtcp.cipher, iv, slice_of(out, RTCP_CLEAR_BYTES), wr_done(&w),
                            slice_sub(compound, RTCP_CLEAR_BYTES, len), (struct slice){0},
                            out + RTCP_CLEAR_BYTES, out + tag_at))
        return 0;
    memcpy(out + word_at, word, sizeof(word));
    s->next_rtcp++;
    return len + s->tag_len + RTCP_INDEX_BYTES;
}

static bool open_rtcp(struct srtp_sess *s, struct slice packet, uint32_t ssrc, uint32_t word,
                      uint8_t *out, size_t *len)
{
    uint8_t iv[PACKET_CIPHER_IV_BYTES], e_index[RTCP_INDEX_BYTES];
    size_t end = packet.len - s->tag_len - RTCP_INDEX_BYTES;
    struct wr w = wr_init(e_index, sizeof(e_index));

    if (s->lib) {
        if (out != packet.p)
            memcpy(out, packet.p, packet.len);
        *len = packet.len;
        return srtp_lib_unprotect_rtcp(s->lib, out, len);
    }
    wr_be32(&w, word);
    iv_make(s, &s->rtcp, ssrc, word & ~RTCP_E_BIT, iv);
    size_t tag_at = s->gcm ? end : end + RTCP_INDEX_BYTES;
    if (!packet_cipher_open(s->rtcp.cipher, iv, slice_sub(packet, 0, RTCP_CLEAR_BYTES), wr_done(&w),
                            slice_sub(packet, RTCP_CLEAR_BYTES, end - RTCP_CLEAR_BYTES),
                            packet.p + tag_at, out + RTCP_CLEAR_BYTES))
        return false;
    if (out != packet.p)
        memcpy(out, packet.p, RTCP_CLEAR_BYTES);
    *len = end;
    return true;
}

int srtp_sess_unprotect_rtcp(struct srtp_sess *s, struct slice packet, uint8_t *out, size_t *len)
{
    size_t tail = s->tag_len + (size_t)RTCP_INDEX_BYTES;

    if (packet.len < RTCP_CLEAR_BYTES + tail)
        return -EBADMSG;
    uint32_t ssrc = be32_at(packet, RTCP_SSRC_AT);
    uint32_t word = be32_at(packet, packet.len - (s->gcm ? RTCP_INDEX_BYTES : tail));
    if (!(word & RTCP_E_BIT)) /* we agreed on encryption */
        return -EACCES;
    uint32_t index = word & ~RTCP_E_BIT;
    struct srtp_stream *st = srtp_index_find(&s->ssrcs, ssrc);
    if (st && !srtp_stream_is_new_rtcp(st, index))
        return -EALREADY;
    if (!st && srtp_index_is_full(&s->ssrcs))
        return -ENOSPC;
    if (!open_rtcp(s, packet, ssrc, word, out, len))
        return -EACCES;
    if (!st && !(st = srtp_index_add(&s->ssrcs, ssrc)))
        return -ENOSPC;
    srtp_stream_note_rtcp(st, index);
    return 0;
}
