/* Indexes and replay windows of inbound SSRCs.
 *
 * Called by srtp_sess.c for either back end. Pure. A transport has a handful of SSRCs, so they are
 * searched one by one, the one that was hit last first.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/srtp_index.h"

#include "base/mem.h"

enum {
    FIRST_CAP = 2, /* audio and its RTCP, or two tracks */
    WORD_BITS = 64,
    SEQ_HALF = 1 << 15,
};

void srtp_index_fini(struct srtp_index *t)
{
    mem_free(t->_v);
    mem_free(t->_ssrc);
    *t = (struct srtp_index){0};
}

void srtp_index_prefetch(const struct srtp_index *t, unsigned step)
{
    if (t->_n == 0)
        return;
    if (step == 0)
        __builtin_prefetch(&t->_ssrc[t->_hint]);
    else
        bytes_prefetch(&t->_v[t->_hint], sizeof(*t->_v));
}

struct srtp_stream *srtp_index_find(struct srtp_index *t, uint32_t ssrc)
{
    if (t->_hint < t->_n && t->_ssrc[t->_hint] == ssrc)
        return &t->_v[t->_hint];
    for (unsigned i = 0; i < t->_n; i++) {
        if (t->_ssrc[i] == ssrc) {
            t->_hint = (uint16_t)i;
            return &t->_v[i];
        }
    }
    return NULL;
}

bool srtp_index_is_full(const struct srtp_index *t)
{
    return t->_n == SRTP_INDEX_SSRCS_MAX;
}

static bool grow(struct srtp_index *t)
{
    unsigned cap = t->_cap ? 2u * t->_cap : FIRST_CAP;
    struct srtp_stream *v = mem_realloc(t->_v, cap * sizeof(*v));

    if (!v)
        return false;
    t->_v = v;
    uint32_t *ssrc = mem_realloc(t->_ssrc, cap * sizeof(*ssrc));
    if (!ssrc)
        return false;
    t->_ssrc = ssrc;
    t->_cap = (uint16_t)cap;
    return true;
}

struct srtp_stream *srtp_index_add(struct srtp_index *t, uint32_t ssrc)
{
    if (srtp_index_is_full(t) || (t->_n == t->_cap && !grow(t)))
        return NULL;
    t->_ssrc[t->_n] = ssrc;
    t->_hint = t->_n;
    t->_v[t->_n] = (struct srtp_stream){0};
    return &t->_v[t->_n++];
}

uint64_t srtp_stream_guess(const struct srtp_stream *st, uint16_t seq)
{
    if (!st || !st->rtp.any)
        return seq;
    uint64_t roc = st->rtp.high >> 16;
    uint16_t newest = (uint16_t)st->rtp.high;
    if (newest < SEQ_HALF) {
        if (seq - newest > SEQ_HALF && roc > 0)
            roc--;
    } else if (newest - SEQ_HALF > seq) {
        roc++;
    }
    return roc << 16 | seq;
}

static bool is_new(const struct srtp_window *w, const uint64_t *seen, unsigned window,
                   uint64_t index)
{
    if (!w->any || index > w->high)
        return true;
    if (w->high - index >= window)
        return false;
    unsigned at = (unsigned)(index % window);
    return !(seen[at / WORD_BITS] >> (at % WORD_BITS) & 1);
}

static void note(struct srtp_window *w, uint64_t *seen, unsigned window, uint64_t index)
{
    if (!w->any || (index > w->high && index - w->high >= window)) {
        memset(seen, 0, window / 8);
    } else {
        for (uint64_t i = w->high + 1; i <= index; i++)
            seen[i % window / WORD_BITS] &= ~(UINT64_C(1) << i % WORD_BITS);
    }
    if (!w->any || index > w->high)
        w->high = index;
    w->any = true;
    seen[index % window / WORD_BITS] |= UINT64_C(1) << index % WORD_BITS;
}

bool srtp_stream_is_new(const struct srtp_stream *st, uint64_t index)
{
    return is_new(&st->rtp, st->rtp_seen, SRTP_INDEX_WINDOW, index);
}

bool srtp_stream_is_new_rtcp(const struct srtp_stream *st, uint32_t index)
{
    return is_new(&st->rtcp, st->rtcp_seen, SRTP_INDEX_RTCP_WINDOW, index);
}

void srtp_stream_note(struct srtp_stream *st, uint64_t index)
{
    note(&st->rtp, st->rtp_seen, SRTP_INDEX_WINDOW, index);
}

void srtp_stream_note_rtcp(struct srtp_stream *st, uint32_t index)
{
    note(&st->rtcp, st->rtcp_seen, SRTP_INDEX_RTCP_WINDOW, index);
}
