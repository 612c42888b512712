/* SRTP and SRTCP of one direction of one transport (RFC 3711, RFC 7714).
 *
 *   outbound   the caller knows the index (rollover count << 16 | sequence number) of each packet;
 *              the payload is read where it lies and written encrypted to where it leaves from
 *   inbound    finds the index, refuses what is forged, replayed or too old
 *
 * Nothing is allocated per packet; a new inbound SSRC may grow a table, and becomes part of it only
 * when its first packet was authentic. Two back ends: OpenSSL's EVP (packet_cipher.h) and libsrtp2.
 *
 * With GCM an index is never used twice for different bytes (RFC 7714 §8.4): packets that are sent
 * again go over RTX, which has an SSRC of its own, or are the same in every byte, header extensions
 * among them. One thread at a time. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_SRTP_SESS_H
#define SORI_SFU_SRTP_SESS_H

#include "base/bytes.h"

/* Wire values of use_srtp (RFC 5764 §4.1.2, RFC 7714 §14.2). */
enum srtp_sess_profile {
    SRTP_SESS_NONE = 0,
    SRTP_SESS_CM_SHA1_80 = 0x0001,
    SRTP_SESS_GCM_128 = 0x0007,
    SRTP_SESS_GCM_256 = 0x0008,
};

enum srtp_sess_backend { SRTP_SESS_EVP, SRTP_SESS_LIBSRTP2 };

enum {
    SRTP_SESS_KEY_MAX = 32,
    SRTP_SESS_SALT_MAX = 14,
    SRTP_SESS_TAG_MAX = 16,       /* a protected RTP packet is at most so much longer */
    SRTP_SESS_RTCP_TAIL_MAX = 20, /* and an RTCP packet: index and tag */
};

struct srtp_sess;

/* Bytes of a profile's master key and salt; 0 for SRTP_SESS_NONE and unknown ones. */
size_t srtp_sess_key_bytes(enum srtp_sess_profile profile);
size_t srtp_sess_salt_bytes(enum srtp_sess_profile profile);

/* A session for one direction. key and salt must be as long as the profile says; session keys are
 * derived from them (key derivation rate 0) and the masters are not kept. NULL without memory, for
 * an unknown profile or wrong lengths. */
struct srtp_sess *srtp_sess_new(enum srtp_sess_profile profile, struct slice key, struct slice salt,
                                enum srtp_sess_backend backend, bool outbound);
void srtp_sess_free(struct srtp_sess *s); /* wipes; NULL is allowed */

/* Protects one RTP packet.
 *
 * index: 48 bits; its low 16 are the sequence number in head. head: the whole RTP header with
 * extensions. a and b: the payload in two parts, either may be empty. out: room for all of them and
 * SRTP_SESS_TAG_MAX, overlapping none of them.
 *
 * Returns the packet's length, 0 when it can't be protected (head shorter than 12 bytes, cipher
 * failed): drop it. Outbound sessions only. */
size_t srtp_sess_protect(struct srtp_sess *s, uint64_t index, struct slice head, struct slice a,
                         struct slice b, uint8_t *out);

/* This session protects or unprotects RTP soon: asks for what that touches to be in the processor's
 * cache by then. Step 0: the session; 1: what is behind it; 2: the keys. Each reads what the one
 * before has asked for, so some other work belongs between them. */
void srtp_sess_prefetch(const struct srtp_sess *s, unsigned step);
#define SRTP_SESS_PREFETCH_STEPS 3

/* Checks and decrypts one RTP packet.
 *
 * header_len: of the RTP header with CSRCs and extensions, 12 at least and within the packet. out:
 * room for packet.len bytes; may be packet.p, else it must not overlap. Gets header and payload.
 *
 * Returns 0 with *len and *index written; -EACCES forged; -EALREADY replayed, or older than the
 * window; -ENOSPC more than SRTP_INDEX_SSRCS_MAX SSRCs (or no memory for another); -EBADMSG too
 * short. Drop and count; out may hold anything. Inbound sessions only. */
int srtp_sess_unprotect(struct srtp_sess *s, struct slice packet, size_t header_len, uint32_t ssrc,
                        uint8_t *out, size_t *len, uint64_t *index);

/* The same for compound or reduced-size RTCP; the index is the session's own business. out: room
 * for SRTP_SESS_RTCP_TAIL_MAX more bytes than compound. */
size_t srtp_sess_protect_rtcp(struct srtp_sess *s, struct slice compound, uint8_t *out);
int srtp_sess_unprotect_rtcp(struct srtp_sess *s, struct slice packet, uint8_t *out, size_t *len);

/* Bytes that protecting adds to an RTP packet. */
size_t srtp_sess_tag_bytes(const struct srtp_sess *s);

/* Inbound SSRCs known. */
unsigned srtp_sess_ssrcs(const struct srtp_sess *s);

#endif
