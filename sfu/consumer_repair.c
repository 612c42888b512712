/* What a slot sends again: what its receiver asks for, within a budget, and what probes its path.
 *
 * Called by peer_rtcp.c (NACK, PLI, FIR) and peer.c (probes). With AES-GCM the same SSRC and number
 * must never be encrypted twice with other bytes: video goes by RTX, whose numbers are its own;
 * audio repeats header, extensions and payload exactly, or does not repeat.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/consumer_priv.h"

#define PAD_MAX       255 /* RFC 3550 §5.1: the last byte counts the padding */
#define PAD_MIN       16
#define PAD_LOOK_BACK 32
#define BUDGET_FLOOR  12000 /* bytes of retransmission that a slot may always run up */

static const uint8_t zeros[PAD_MAX + 1];

/* Takes from the budget of retransmissions: a share of what the slot sends. */
static bool may_resend(struct consumer *c, size_t bytes, uint64_t now_us)
{
    const struct sfu_conf *conf = c->peer->owner->room->core->conf;
    uint64_t bps = consumer_is_audio(c) ? 64000
                   : c->alloc.layer >= 0
                       ? c->alloc.bps[c->alloc.layer][c->alloc.tid < 0 ? 0 : c->alloc.tid]
                       : 0;
    int64_t most = (int64_t)(bps * conf->video.rtx_percent / 100 / 8) + BUDGET_FLOOR;
    uint64_t passed = now_us - c->rtx_at_us;

    if (passed > US_PER_S)
        passed = US_PER_S;
    c->rtx_budget += (int64_t)((uint64_t)most * passed / US_PER_S);
    if (c->rtx_budget > most)
        c->rtx_budget = most;
    c->rtx_at_us = now_us;
    if (c->rtx_budget < (int64_t)bytes)
        return false;
    c->rtx_budget -= (int64_t)bytes;
    return true;
}

static void resend(struct consumer *c, struct sent *e, const struct media_packet *m,
                   const struct video_out *o, uint64_t now_us)
{
    struct peer *p = c->peer;
    size_t about = consumer_datagram_bytes(RTP_HEADER_BYTES + 14) + media_payload(m).len;

    if (consumer_is_audio(c)) {
        /* Byte for byte: the same index may be encrypted again only with the same content. RED
         * copies may be gone from the store by now, and then it can't be repeated. */
        struct slice red = {0};
        if (e->red && consumer_gather_red(c, m, e->red, &red) != e->red)
            return;
        p->extra_bytes += consumer_emit_audio(c, e, m, red);
        counter_inc(&p->owner->room->core->count.rtx_pkts);
        return;
    }
    if (!c->rtx_pt || !c->rtx_ssrc)
        return;
    c->report.resent++;
    struct pacer_item item = {
        .owner = c, .seq = e->seq, .tag = c->run, .bytes = (uint16_t)about, .cls = PACER_RTX};
    if (p->pacer && !pacer_pass(p->pacer, PACER_RTX, about, now_us)) {
        if (pacer_push(p->pacer, &item, now_us))
            peer_arm(p, pacer_deadline(p->pacer));
        return;
    }
    p->extra_bytes +=
        consumer_emit_video(c, m, o, true, p->pacer ? pacer_cluster(p->pacer) : 0, now_us);
    counter_inc(&p->owner->room->core->count.rtx_pkts);
}

/* A number that was kept for a packet which was not sent: it may be sent now. */
static bool send_late(struct consumer *c, uint16_t seq, uint64_t now_us)
{
    uint64_t src_seq;
    unsigned layer;

    if (consumer_is_audio(c) || !c->video || !c->source || !c->enabled ||
        !video_forward_lookup(c->video, rtp_extend(c->newest, seq), &layer, &src_seq) ||
        layer >= c->source->n_layers)
        return false;
    struct packet_store *store = c->source->layer[layer].store;
    const struct media_packet *m = store ? packet_store_find(store, src_seq) : NULL;
    if (m)
        consumer_video_one(c, m, layer, now_us);
    return m != NULL;
}

void consumer_nack(struct consumer *c, uint16_t seq, uint64_t now_us)
{
    struct sfu_core *core = c->peer->owner->room->core;
    struct sent *e = c->sent ? &c->sent[seq & c->sent_mask] : NULL;
    struct video_out o;

    if (!e || e->seq == 0 || (uint16_t)e->seq != seq || !c->enabled) {
        if (!send_late(c, seq, now_us))
            core_drop(core, CORE_DROP_NACK_GONE);
        return;
    }
    const struct media_packet *m = consumer_recall(c, e, &o);
    if (!m || now_us - m->arrival_us > core->conf->video.history_ms * US_PER_MS) {
        core_drop(core, CORE_DROP_NACK_GONE);
        return;
    }
    if (!may_resend(c, m->len, now_us)) {
        core_drop(core, CORE_DROP_NACK_LIMIT);
        return;
    }
    resend(c, e, m, &o, now_us);
}

void consumer_key(struct consumer *c, uint64_t now_us)
{
    unsigned layer = 0, sid, tid;

    if (consumer_is_audio(c) || !c->source || !c->video)
        return;
    if (!video_forward_wants_key(c->video, &layer) &&
        !video_forward_current(c->video, &layer, &sid, &tid))
        return;
    producer_want_key(c->source, layer, now_us);
}

/* A packet that was sent lately, to be sent again as padding: long ones probe with fewer packets.
 */
static const struct media_packet *pad_with(struct consumer *c, size_t bytes, struct video_out *o)
{
    for (uint64_t back = 0; c->sent && back < PAD_LOOK_BACK && back < c->newest; back++) {
        const struct sent *e = &c->sent[(c->newest - back) & c->sent_mask];
        const struct media_packet *m = e->seq == c->newest - back ? consumer_recall(c, e, o) : NULL;

        if (m && m->len > PAD_MAX && m->len <= bytes + bytes / 4)
            return m;
    }
    return NULL;
}

size_t consumer_pad(struct consumer *c, size_t bytes, unsigned cluster, uint64_t now_us)
{
    struct peer *p = c->peer;
    uint8_t buf[CONSUMER_HEAD_MAX], count;
    struct wr w = wr_init(buf, sizeof(buf));
    size_t pad = bytes > PAD_MAX ? PAD_MAX : bytes < PAD_MIN ? PAD_MIN : bytes;
    struct video_out o = {0};

    if (consumer_is_audio(c) || !c->enabled || !c->rtx_pt || !c->rtx_ssrc || !c->twcc_on || !p->bwe)
        return 0;
    const struct media_packet *again = pad_with(c, bytes, &o);
    size_t sent = again ? consumer_emit_video(c, again, &o, true, cluster, now_us) : 0;
    if (!sent) {
        uint64_t index = ++c->rtx_seq - c->rtx_epoch;
        struct rtp_header h = consumer_header(c, c->rtx_pt, index, c->last_ts, false);
        struct media_packet empty = {0};

        o = (struct video_out){0};
        h.ssrc = c->rtx_ssrc;
        h.padded = true;
        consumer_video_head(
            c, &w, &h, &empty, &o, true,
            bwe_sent(p->bwe, consumer_datagram_bytes(RTP_HEADER_BYTES + 8 + pad), cluster, now_us),
            now_us);
        count = (uint8_t)pad;
        transport_send_rtp(p->transport, index, wr_done(&w), slice_of(zeros, pad - 1),
                           slice_of(&count, 1));
        sent = consumer_datagram_bytes(w.len + pad);
    }
    counter_add(&p->owner->room->core->count.padding_bytes, sent);
    return sent;
}
