/* RTP header extensions (RFC 8285), one-byte and two-byte form.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_RTP_EXT_H
#define SORI_PROTO_RTP_EXT_H

#include "proto/rtp.h"
#include "proto/rtp_params.h"

#define RTP_EXT_ID_MAX       255 /* two-byte form; 14 in the one-byte form (RFC 8285 §4.2) */
#define RTP_EXT_ONE_BYTE_MAX 14
#define RTP_EXT_LEN_MAX      255 /* 16 in the one-byte form */

/* By enum rtp_ext; an element that is not there has p == NULL (one that is there but empty has
 * not). */
struct rtp_exts {
    struct slice v[RTP_EXT_COUNT];
};

/* Which extension an id means, as negotiated; RTP_EXT_NONE: not negotiated. */
struct rtp_ext_map {
    uint8_t of[RTP_EXT_ID_MAX + 1];
};

/* Finds the elements that map knows. Of an id that comes twice the first counts. Elements after a
 * broken one are not found (RFC 8285 §4.2: the rest is ignored); an unknown profile gives none.
 * out: all of it is written; borrows from h. */
void rtp_ext_scan(struct rtp_exts *out, const struct rtp_header *h, const struct rtp_ext_map *map);

/* Writes a header extension behind a header that has its X bit set. */
struct rtp_ext_wr {
    struct wr *w;
    size_t at; /* of the extension's header in w */
    bool two_byte;
};

/* Begins it. two_byte: the form to begin in; rtp_ext_put() changes to two-byte form by itself when
 * an element needs it, which costs a pass over what is there already. Give true only to peers that
 * negotiated it or must understand it (RFC 8285 §4.1.2, extmap-allow-mixed). */
void rtp_ext_begin(struct rtp_ext_wr *x, struct wr *w, bool two_byte);

/* Appends one element. id 1..RTP_EXT_ID_MAX, data up to RTP_EXT_LEN_MAX bytes, else w->bad. */
void rtp_ext_put(struct rtp_ext_wr *x, uint8_t id, struct slice data);

/* Appends one element of len bytes for the caller to fill; NULL when it does not fit (w->bad). The
 * pointer is good until the next put. */
uint8_t *rtp_ext_reserve(struct rtp_ext_wr *x, uint8_t id, size_t len);

/* Pads to a multiple of four bytes and writes the length. */
void rtp_ext_end(struct rtp_ext_wr *x);

/* RFC 6464: the level of the audio in -dBov and whether the sender takes it for speech. False when
 * data is no such element. */
static inline bool rtp_ext_audio_level(struct slice data, uint8_t *level, bool *voice)
{
    if (data.len < 1)
        return false;
    *level = data.p[0] & 0x7f;
    *voice = data.p[0] >> 7;
    return true;
}

#endif
