/* RTP from a client: whose packet is it, and what is in it.
 *
 *   SSRC known ─► decrypted into its stream's store ─► producer_packet
 *   RTX        ─► decrypted aside, the original header put back, copied into the store
 *   unknown    ─► decrypted aside; MID and RID extensions, the description's SSRCs, what the SSRC
 *                 was before or the payload type say which stream it begins (RFC 9143 §9.2), then
 *                 the same
 *
 * An SSRC is only ever bound by an authentic packet. Called by sfu_core.c.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "base/mem.h"
#include "sfu/consumer.h"
#include "sfu/fanout.h"
#include "sfu/participant.h"
#include "sfu/room.h"

#define SSRC_STEP     4
#define OSN_BYTES     2
#define RATE_US       US_PER_S
#define PAST_MAX      32
#define RTX_AHEAD_MAX 0x4000 /* a retransmission of what is so far off is none */

/* ---- SSRCs ---- */

static struct peer_ssrc *find(struct peer *p, uint32_t ssrc)
{
    if (p->last_ssrc < p->n_ssrc && p->ssrc[p->last_ssrc].ssrc == ssrc)
        return &p->ssrc[p->last_ssrc];
    for (unsigned i = 0; i < p->n_ssrc; i++) {
        if (p->ssrc[i].ssrc == ssrc) {
            p->last_ssrc = i;
            return &p->ssrc[i];
        }
    }
    return NULL;
}

static int bind_ssrc(struct peer *p, uint32_t ssrc, struct stream *s, bool rtx)
{
    struct sfu_core *c = p->owner->room->core;
    struct peer_ssrc *e = find(p, ssrc);

    if (e) {
        *e = (struct peer_ssrc){ssrc, rtx, s};
        return 0;
    }
    if (p->n_ssrc >= c->conf->limits.ssrcs) {
        core_drop(c, CORE_DROP_SSRC_LIMIT);
        return -ENOSPC;
    }
    if (p->n_ssrc == p->cap_ssrc) {
        struct peer_ssrc *v = mem_realloc(p->ssrc, (p->cap_ssrc + SSRC_STEP) * sizeof(*v));

        if (!v)
            return -ENOMEM;
        p->ssrc = v;
        p->cap_ssrc += SSRC_STEP;
    }
    p->ssrc[p->n_ssrc++] = (struct peer_ssrc){ssrc, rtx, s};
    return 0;
}

/* Where an SSRC of a track that ended is written down; the oldest makes room. NULL: no memory. */
static struct peer_past *past_entry(struct peer *p, uint32_t ssrc)
{
    for (unsigned i = 0; i < p->n_past; i++)
        if (p->past[i].ssrc == ssrc)
            return &p->past[i];
    if (!p->past)
        p->past = mem_calloc(PAST_MAX, sizeof(*p->past));
    if (!p->past)
        return NULL;
    if (p->n_past == PAST_MAX)
        memmove(&p->past[0], &p->past[1], --p->n_past * sizeof(*p->past));
    return &p->past[p->n_past++];
}

static void remember(struct peer *p, const struct peer_ssrc *e)
{
    unsigned n = negotiate_sections(p->neg), i = 0;

    while (i < n && strcmp(negotiate_section(p->neg, i)->mid, e->stream->track->mid) != 0)
        i++;
    struct peer_past *past = i < n ? past_entry(p, e->ssrc) : NULL;
    if (past)
        *past = (struct peer_past){e->ssrc, e->rtx, e->stream->layer, (uint8_t)i};
}

static void unbind(struct peer *p, struct producer *t, bool ended)
{
    unsigned n = 0;

    for (unsigned i = 0; i < p->n_ssrc; i++) {
        if (p->ssrc[i].stream->track != t)
            p->ssrc[n++] = p->ssrc[i];
        else if (ended)
            remember(p, &p->ssrc[i]);
    }
    p->n_ssrc = n;
    p->last_ssrc = 0;
}

void peer_forget_track(struct peer *p, struct producer *t)
{
    unbind(p, t, true);
}

int peer_add_track(struct peer *p, struct producer *t)
{
    int e = 0;

    unbind(p, t, false); /* what it was called before */
    for (unsigned i = 0; i < t->n_layers && e != -ENOMEM; i++) {
        struct stream *s = &t->layer[i];

        if (s->ssrc)
            e = bind_ssrc(p, s->ssrc, s, false);
        if (s->rtx_ssrc && e != -ENOMEM)
            e = bind_ssrc(p, s->rtx_ssrc, s, true);
    }
    return e == -ENOMEM ? e : 0;
}

static struct producer *track_of(struct peer *p, struct slice mid)
{
    for (unsigned i = 0; i < p->owner->n_tracks; i++)
        if (p->owner->track[i]->peer == p && slice_is(mid, p->owner->track[i]->mid))
            return p->owner->track[i];
    return NULL;
}

/* Which stream a new SSRC belongs to, from what its packet says. */
static struct stream *stream_of(struct peer *p, const struct rtp_exts *x, uint8_t pt, bool *rtx)
{
    const struct neg_section *sec = NULL;
    struct slice rid = x->v[RTP_EXT_RID];
    enum neg_pt_role role = NEG_PT_NONE;
    int layer = 0;

    if (x->v[RTP_EXT_MID].len)
        sec = negotiate_by_mid(p->neg, x->v[RTP_EXT_MID]);
    else
        sec = negotiate_by_pt(p->neg, pt, &role, NULL); /* one section has it, or it is a guess */
    if (!sec || !sec->recv)
        return NULL;
    role = neg_section_pt(sec, pt, NULL);
    *rtx = role == NEG_PT_RTX;
    if (*rtx && x->v[RTP_EXT_REPAIRED_RID].len)
        rid = x->v[RTP_EXT_REPAIRED_RID];
    if (rid.len)
        layer = neg_section_rid(sec, rid);
    struct producer *t = track_of(p, slice_str(sec->mid));
    if (!t || layer < 0 || layer >= t->n_layers || !t->layer[layer].store || role == NEG_PT_NONE ||
        (sec->n_layers > 1 && rid.len == 0))
        return NULL;
    return &t->layer[layer];
}

/* The stream that an SSRC belonged to when its section was used last. Senders name MID and RID only
 * until the first report about the SSRC has come (libwebrtc), and not again when a camera that was
 * off goes on under the same SSRCs. */
static struct stream *stream_of_past(struct peer *p, uint32_t ssrc, bool *rtx)
{
    for (unsigned i = 0; i < p->n_past; i++) {
        const struct peer_past *past = &p->past[i];

        if (past->ssrc != ssrc)
            continue;
        struct producer *t = track_of(p, slice_str(negotiate_section(p->neg, past->section)->mid));
        *rtx = past->rtx;
        return t && past->layer < t->n_layers && t->layer[past->layer].store
                   ? &t->layer[past->layer]
                   : NULL;
    }
    return NULL;
}

static struct peer_ssrc *learn(struct peer *p, uint32_t ssrc, const struct rtp_exts *x, uint8_t pt)
{
    bool rtx = false;
    struct stream *s = x->v[RTP_EXT_MID].len ? NULL : stream_of_past(p, ssrc, &rtx);

    if (!s)
        s = stream_of(p, x, pt, &rtx);
    if (!s) {
        core_drop(p->owner->room->core, CORE_DROP_SSRC_UNKNOWN);
        return NULL;
    }
    uint32_t *known = rtx ? &s->rtx_ssrc : &s->ssrc;
    if (*known && *known != ssrc) { /* the client began the stream anew under another SSRC */
        struct peer_ssrc *old = find(p, *known);

        if (!rtx)
            stream_restart(s);
        if (old) {
            old->ssrc = ssrc;
            *known = ssrc;
            return old;
        }
    }
    if (bind_ssrc(p, ssrc, s, rtx) != 0)
        return NULL;
    *known = ssrc;
    return find(p, ssrc);
}

/* ---- packets ---- */

/* Whether the client is within its limit of what it may send. */
static bool within_rate(struct peer *p, uint64_t now_us)
{
    const struct sfu_conf *conf = p->owner->room->core->conf;
    uint64_t most = p->owner->limits.up_bps ? p->owner->limits.up_bps : conf->limits.bitrate_bps;

    if (now_us - p->rate_from_us >= RATE_US) {
        p->in_bps = p->rate_bytes * 8;
        p->rate_bytes = 0;
        p->rate_from_us = now_us;
    }
    return p->rate_bytes * 8 <= most + most / 4;
}

static void note_twcc(struct peer *p, const struct rtp_exts *x, size_t len, uint64_t now_us)
{
    struct slice v = x->v[RTP_EXT_TWCC];

    if (v.len != 2)
        return;
    if (!p->twcc)
        p->twcc = twcc_recv_new();
    if (!p->twcc)
        return;
    bool quiet = twcc_recv_deadline(p->twcc) == CLOCK_NEVER;
    twcc_recv_packet(p->twcc, (uint16_t)(v.p[0] << 8 | v.p[1]), len, now_us);
    if (quiet)
        peer_arm(p, twcc_recv_deadline(p->twcc));
}

/* What of a decrypted packet is header and what is payload: strips padding. */
static bool look(struct peer *p, const uint8_t *buf, size_t *len, struct rtp_header *h,
                 struct rtp_exts *x)
{
    size_t padding;

    if (rtp_decode(h, slice_of(buf, *len)) != 0 ||
        rtp_padding(slice_of(buf + h->header_len, *len - h->header_len), h->padded, &padding) !=
            0) {
        core_drop(p->owner->room->core, CORE_DROP_PADDING);
        return false;
    }
    *len -= padding;
    rtp_ext_scan(x, h, &p->ext_map);
    return true;
}

/* A retransmission: the original packet is put together again and kept as if it had come. */
static void take_rtx(struct peer *p, struct stream *s, const struct rtp_header *h, uint8_t *buf,
                     size_t len, uint64_t now_us)
{
    struct sfu_core *c = p->owner->room->core;
    const struct neg_section *sec = negotiate_by_mid(p->neg, slice_str(s->track->mid));
    const struct neg_codec *codec = NULL;
    size_t payload = len - h->header_len;

    if (payload == 0)
        return; /* padding that probes */
    if (payload <= OSN_BYTES || !sec || neg_section_pt(sec, h->pt, &codec) != NEG_PT_RTX ||
        s->rx.packets == 0) {
        core_drop(c, CORE_DROP_RTX_BAD);
        return;
    }
    struct rd r = rd_init(slice_of(buf + h->header_len, payload));
    uint16_t osn = rd_be16(&r);
    uint64_t index = rtp_extend(s->rx.highest, osn);
    if (index > s->rx.highest + RTX_AHEAD_MAX ||
        packet_store_find(s->store, unpadded_seq(&s->gaps, index))) {
        core_drop(c, CORE_DROP_DUPLICATE);
        return;
    }
    size_t whole = len - OSN_BYTES;
    fanout_room(c, s->track, whole);
    uint8_t *to = packet_store_reserve(s->store, whole);
    if (!to) {
        core_drop(c, CORE_DROP_SIZE);
        return;
    }
    memcpy(to, buf, h->header_len);
    memcpy(to + h->header_len, buf + h->header_len + OSN_BYTES, payload - OSN_BYTES);
    struct rtp_header original;
    struct rtp_exts x;
    if (rtp_decode(&original, slice_of(to, whole)) != 0)
        return;
    original.pt = codec->pt;
    original.seq = osn;
    rtp_ext_scan(&x, &original, &p->ext_map);
    struct stream_packet in = {.header = &original,
                               .exts = &x,
                               .codec = codec,
                               .role = NEG_PT_MEDIA,
                               .p = to,
                               .len = whole,
                               .index = index,
                               .repaired = true};
    producer_packet(s, &in, now_us);
}

/* What a packet of this payload type is in its section; looked up again only when the type or the
 * description has changed. */
static enum neg_pt_role role_of(struct peer *p, struct stream *s, uint8_t pt,
                                const struct neg_codec **codec)
{
    uint32_t edition = negotiate_edition(p->neg);

    if (!s->pt.codec || s->pt.pt != pt || s->pt.edition != edition) {
        const struct neg_section *sec = negotiate_by_mid(p->neg, slice_str(s->track->mid));

        s->pt = (struct stream_pt){.edition = edition, .pt = pt, .role = NEG_PT_NONE};
        if (sec)
            s->pt.role = (uint8_t)neg_section_pt(sec, pt, &s->pt.codec);
    }
    *codec = s->pt.codec;
    return (enum neg_pt_role)s->pt.role;
}

static void take_media(struct peer *p, struct stream *s, const struct rtp_header *h,
                       const struct rtp_exts *x, uint8_t *buf, size_t len, uint64_t index,
                       uint64_t now_us)
{
    struct sfu_core *c = p->owner->room->core;
    struct stream_packet in = {
        .header = h, .exts = x, .p = buf, .len = len, .index = index, .repaired = false};

    if (len <= h->header_len) {
        producer_padding(s, index, now_us);
        return;
    }
    in.role = role_of(p, s, h->pt, &in.codec);
    if ((in.role != NEG_PT_MEDIA && in.role != NEG_PT_RED) || !in.codec) {
        core_drop(c, CORE_DROP_PT_UNKNOWN);
        return;
    }
    producer_packet(s, &in, now_us);
}

/* The first packet of an SSRC lies aside: it goes where the stream keeps its packets. */
static uint8_t *move(struct peer *p, struct stream *s, const uint8_t *buf, size_t len)
{
    fanout_room(p->owner->room->core, s->track, len);
    uint8_t *to = packet_store_reserve(s->store, len);

    if (to)
        memcpy(to, buf, len);
    return to;
}

void peer_rtp(struct peer *p, const struct transport_in *in, uint64_t now_us)
{
    struct sfu_core *c = p->owner->room->core;
    struct peer_ssrc *e = find(p, in->ssrc);
    struct rtp_header h;
    struct rtp_exts x;
    uint64_t index;
    size_t len = in->packet.len;
    uint8_t *buf = c->scratch;

    if (len > CORE_SCRATCH || len > PACKET_STORE_LEN_MAX) {
        core_drop(c, CORE_DROP_SIZE);
        return;
    }
    if (!within_rate(p, now_us)) {
        core_drop(c, CORE_DROP_BITRATE);
        return;
    }
    if (e && !e->rtx) {
        fanout_room(c, e->stream->track, len);
        buf = packet_store_reserve(e->stream->store, len);
    }
    if (transport_open_rtp(p->transport, in, buf, &len, &index) != 0)
        return;
    p->rate_bytes += in->packet.len; /* authentic ones only: who forges takes nothing away */
    counter_inc(&c->count.in_pkts);
    counter_add(&c->count.in_bytes, len);
    if (!look(p, buf, &len, &h, &x))
        return;
    note_twcc(p, &x, in->packet.len + BWE_OVERHEAD_V4, now_us);
    if (!e) {
        e = learn(p, in->ssrc, &x, in->pt);
        if (!e)
            return;
        if (!e->rtx) {
            buf = move(p, e->stream, buf, len);
            if (!buf || !look(p, buf, &len, &h, &x))
                return;
        }
    }
    if (e->rtx)
        take_rtx(p, e->stream, &h, buf, len, now_us);
    else
        take_media(p, e->stream, &h, &x, buf, len, index, now_us);
}
