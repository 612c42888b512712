/* Inbound packets of SRTP by SSRC: which index has this sequence number (RFC 3711 §3.3.1), and did
 * it come before (§3.3.2)?
 *
 * Pure. An SSRC is added when its first packet was authentic: strangers can't fill the table.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_SRTP_INDEX_H
#define SORI_SFU_SRTP_INDEX_H

#include "base/bytes.h"

enum {
    SRTP_INDEX_WINDOW = 1024,     /* RTP packets behind the newest that are still taken */
    SRTP_INDEX_RTCP_WINDOW = 128, /* the same for RTCP */
    SRTP_INDEX_SSRCS_MAX = 256,
};

/* The newest index, and which of the last ones have been seen: bit i % window stands for i. */
struct srtp_window {
    uint64_t high;
    bool any;
};

struct srtp_stream {
    struct srtp_window rtp, rtcp;
    uint64_t rtp_seen[SRTP_INDEX_WINDOW / 64], rtcp_seen[SRTP_INDEX_RTCP_WINDOW / 64];
};

struct srtp_index {
    struct srtp_stream *_v;
    uint32_t *_ssrc; /* of each, apart: searching touches little memory */
    uint16_t _n, _cap, _hint;
};

/* Frees the table; a zeroed one is empty and allowed. */
void srtp_index_fini(struct srtp_index *t);

/* Ahead of srtp_index_find() and what follows: step 0 asks for the SSRCs, step 1 for the stream
 * that was found last. */
void srtp_index_prefetch(const struct srtp_index *t, unsigned step);

/* The stream of an SSRC, NULL when it is not there. Good until the next srtp_index_add(). */
struct srtp_stream *srtp_index_find(struct srtp_index *t, uint32_t ssrc);

/* Adds one that is not there. NULL: SRTP_INDEX_SSRCS_MAX reached, or no memory. */
struct srtp_stream *srtp_index_add(struct srtp_index *t, uint32_t ssrc);
bool srtp_index_is_full(const struct srtp_index *t);

/* The index (48 bits) that seq most likely has; st may be NULL: the first packet. */
uint64_t srtp_stream_guess(const struct srtp_stream *st, uint16_t seq);

/* True when a packet of this index may be taken: neither seen nor older than the window. */
bool srtp_stream_is_new(const struct srtp_stream *st, uint64_t index);
bool srtp_stream_is_new_rtcp(const struct srtp_stream *st, uint32_t index);

/* Notes that an authentic packet came, for which the above was true. */
void srtp_stream_note(struct srtp_stream *st, uint64_t index);
void srtp_stream_note_rtcp(struct srtp_stream *st, uint32_t index);

#endif
