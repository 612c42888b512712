/* Control messages into JSON (docs/CONTROL.md). The other way: ctl_decode.c, in the same order.
 *
 * Called by node.c and ctl_listener.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/ctl.h"
#include "proto/ctl_words.h"
#include "proto/json.h"

/* ---- values: each begins with a comma, because `t` stands first ---- */

static void put_key(struct wr *w, const char *key)
{
    wr_str(w, ",\"");
    wr_str(w, key);
    wr_str(w, "\":");
}

static void put_u64(struct wr *w, const char *key, uint64_t v)
{
    put_key(w, key);
    wr_u64(w, v);
}

static void put_bool(struct wr *w, const char *key, bool v)
{
    put_key(w, key);
    wr_str(w, v ? "true" : "false");
}

/* Left out when empty. */
static void put_text(struct wr *w, const char *key, struct slice v)
{
    if (v.len == 0)
        return;
    put_key(w, key);
    json_write_text(w, v);
}

static void put_word(struct wr *w, const char *key, const char *word)
{
    put_key(w, key);
    wr_fmt(w, "\"%s\"", word);
}

static void put_raw(struct wr *w, const char *key, struct slice raw)
{
    put_key(w, key);
    wr_bytes(w, raw);
}

static void put_hex(struct wr *w, const char *key, const uint8_t *p, size_t n)
{
    put_key(w, key);
    wr_u8(w, '"');
    hex_encode(w, slice_of(p, n));
    wr_u8(w, '"');
}

static void put_sdp(struct wr *w, const char *key, const struct ctl_sdp *sdp)
{
    if (sdp->raw.len > 0)
        put_raw(w, key, sdp->raw);
    else
        put_text(w, key, sdp->text);
}

/* A value of -1 is left out. */
static void put_level(struct wr *w, const char *key, int v)
{
    if (v >= 0)
        put_u64(w, key, (uint64_t)v);
}

/* ---- objects: `"first":` opens one, so that every member may begin with a comma ---- */

static void open_item(struct wr *w, bool first, const char *key, struct slice text)
{
    wr_str(w, first ? "{\"" : ",{\"");
    wr_str(w, key);
    wr_str(w, "\":");
    json_write_text(w, text);
}

static void put_bits(struct wr *w, const char *key, unsigned bits, const char *const *words,
                     unsigned n)
{
    bool first = true;

    put_key(w, key);
    wr_u8(w, '[');
    for (unsigned i = 0; i < n; i++) {
        if (!(bits >> i & 1))
            continue;
        if (words)
            wr_fmt(w, first ? "\"%s\"" : ",\"%s\"", words[i]);
        else
            wr_fmt(w, first ? "%u" : ",%u", i);
        first = false;
    }
    wr_u8(w, ']');
}

static void put_perms(struct wr *w, const struct ctl_perms *p)
{
    put_key(w, "perms");
    wr_fmt(w, "{\"subscribe\":%s,\"data\":%s", p->subscribe ? "true" : "false",
           p->data ? "true" : "false");
    put_bits(w, "publish", p->publish, ctl_source_words, CTL_SOURCE_COUNT);
    wr_u8(w, '}');
}

static void put_limits(struct wr *w, const struct ctl_limits *l)
{
    put_key(w, "limits");
    wr_fmt(w, "{\"tracks\":%u,\"slots\":%u", l->tracks, l->slots);
    put_u64(w, "upBps", l->up_bps);
    put_u64(w, "downBps", l->down_bps);
    wr_u8(w, '}');
}

static void put_wishes(struct wr *w, const struct ctl_wish *v, size_t n)
{
    put_key(w, "tracks");
    wr_u8(w, '[');
    for (size_t i = 0; i < n; i++) {
        open_item(w, i == 0, "mid", v[i].mid);
        put_word(w, "source", ctl_source_words[v[i].source]);
        put_bool(w, "muted", v[i].muted);
        wr_u8(w, '}');
    }
    wr_u8(w, ']');
}

static void put_track(struct wr *w, bool first, const struct ctl_track *t)
{
    open_item(w, first, "track", t->track);
    put_text(w, "mid", t->mid);
    put_word(w, "kind", ctl_kind_words[t->kind == RTP_KIND_VIDEO]);
    put_word(w, "source", ctl_source_words[t->source]);
    put_bool(w, "muted", t->muted);
    put_u64(w, "layers", t->layers);
    wr_u8(w, '}');
}

static void put_tracks(struct wr *w, const struct ctl_track *v, size_t n)
{
    put_key(w, "tracks");
    wr_u8(w, '[');
    for (size_t i = 0; i < n; i++)
        put_track(w, i == 0, &v[i]);
    wr_u8(w, ']');
}

static void put_forwarded(struct wr *w, int layer, int temporal, enum ctl_pause pause)
{
    put_level(w, "layer", layer);
    put_level(w, "temporal", temporal);
    put_word(w, "pause", ctl_pause_words[pause]);
}

static void put_slots(struct wr *w, const struct ctl_slot *v, size_t n)
{
    put_key(w, "slots");
    wr_u8(w, '[');
    for (size_t i = 0; i < n; i++) {
        open_item(w, i == 0, "mid", v[i].mid);
        put_text(w, "track", v[i].track);
        put_text(w, "participant", v[i].participant);
        if (v[i].picture)
            put_forwarded(w, v[i].layer, v[i].temporal, v[i].pause);
        wr_u8(w, '}');
    }
    wr_u8(w, ']');
}

static void put_subscriptions(struct wr *w, const struct ctl_subscription *v, size_t n)
{
    put_key(w, "tracks");
    wr_u8(w, '[');
    for (size_t i = 0; i < n; i++) {
        open_item(w, i == 0, "track", v[i].track);
        put_text(w, "mid", v[i].mid);
        put_bool(w, "wanted", v[i].wanted);
        put_bool(w, "paused", v[i].paused);
        put_level(w, "layer", v[i].layer);
        put_level(w, "temporal", v[i].temporal);
        put_u64(w, "priority", v[i].priority);
        wr_u8(w, '}');
    }
    wr_u8(w, ']');
}

/* ---- messages ---- */

static void put_error(struct wr *w, const struct ctl_msg *m)
{
    put_key(w, "error");
    wr_fmt(w, "{\"code\":\"%s\"", ctl_err_words[m->u.error.code]);
    put_text(w, "message", m->u.error.text);
    wr_u8(w, '}');
}

static void put_hello(struct wr *w, const struct ctl_msg *m)
{
    put_u64(w, "version", m->u.hello.version);
    put_text(w, "server", m->u.hello.server);
    put_u64(w, "epoch", m->u.hello.epoch);
    put_u64(w, "sfuEpoch", m->u.hello.sfu_epoch);
    put_u64(w, "lastSeq", m->u.hello.last_seq);
    put_hex(w, "nonce", m->u.hello.nonce, CTL_NONCE_BYTES);
    put_hex(w, "mac", m->u.hello.mac, CTL_MAC_BYTES);
}

static void put_welcome(struct wr *w, const struct ctl_msg *m)
{
    put_text(w, "node", m->u.welcome.node);
    put_u64(w, "epoch", m->u.welcome.epoch);
    put_bool(w, "resumed", m->u.welcome.resumed);
    put_bool(w, "lost", m->u.welcome.lost);
    put_bool(w, "draining", m->u.welcome.draining);
    put_u64(w, "workers", m->u.welcome.workers);
    put_u64(w, "participantsMax", m->u.welcome.participants_max);
    put_u64(w, "load", m->u.welcome.load);
    put_hex(w, "mac", m->u.welcome.mac, CTL_MAC_BYTES);
}

static void put_join(struct wr *w, const struct ctl_msg *m)
{
    put_word(w, "mode", ctl_mode_words[m->u.join.mode]);
    put_perms(w, &m->u.join.perms);
    put_limits(w, &m->u.join.limits);
    put_bool(w, "autoAudio", m->u.join.auto_audio);
    put_bool(w, "autoVideo", m->u.join.auto_video);
    put_sdp(w, "offer", &m->u.join.offer);
    put_wishes(w, m->u.join.wishes, m->u.join.wishes_n);
}

static void put_joined(struct wr *w, const struct ctl_msg *m)
{
    put_sdp(w, "answer", &m->u.joined.answer);
    put_sdp(w, "subOffer", &m->u.joined.sub_offer);
    put_text(w, "negotiation", m->u.joined.negotiation);
    put_tracks(w, m->u.joined.tracks, m->u.joined.tracks_n);
    put_slots(w, m->u.joined.slots, m->u.joined.slots_n);
}

static void put_layers(struct wr *w, const struct ctl_msg *m)
{
    if (m->u.layers.track.len > 0) {
        put_text(w, "track", m->u.layers.track);
        put_bits(w, "wanted", m->u.layers.wanted, NULL, RTP_LAYERS_MAX);
        return;
    }
    put_text(w, "mid", m->u.layers.mid);
    put_forwarded(w, m->u.layers.layer, m->u.layers.temporal, m->u.layers.pause);
}

static void put_negotiate(struct wr *w, const struct ctl_msg *m)
{
    put_word(w, "reason", ctl_negotiate_words[m->u.negotiate.why]);
    put_text(w, "negotiation", m->u.negotiate.negotiation);
    put_sdp(w, "offer", &m->u.negotiate.offer);
    put_u64(w, "needAudio", m->u.negotiate.need_audio);
    put_u64(w, "needVideo", m->u.negotiate.need_video);
}

static void put_speakers(struct wr *w, const struct ctl_msg *m)
{
    put_text(w, "dominant", m->u.speakers.dominant);
    put_key(w, "speakers");
    wr_u8(w, '[');
    for (size_t i = 0; i < m->u.speakers.n; i++) {
        open_item(w, i == 0, "participant", m->u.speakers.v[i].participant);
        put_u64(w, "level", m->u.speakers.v[i].level);
        wr_u8(w, '}');
    }
    wr_u8(w, ']');
}

static void put_quality(struct wr *w, const struct ctl_msg *m)
{
    put_key(w, "participants");
    wr_u8(w, '[');
    for (size_t i = 0; i < m->u.quality.n; i++) {
        open_item(w, i == 0, "participant", m->u.quality.v[i].participant);
        put_u64(w, "score", m->u.quality.v[i].score);
        put_u64(w, "mos", m->u.quality.v[i].mos);
        wr_u8(w, '}');
    }
    wr_u8(w, ']');
}

static void put_load(struct wr *w, const struct ctl_msg *m)
{
    put_u64(w, "load", m->u.load.load);
    put_u64(w, "rooms", m->u.load.rooms);
    put_u64(w, "participants", m->u.load.participants);
    put_bool(w, "draining", m->u.load.draining);
}

static void put_request(struct wr *w, const struct ctl_msg *m)
{
    switch (m->type) {
    case CTL_HELLO:
        put_hello(w, m);
        break;
    case CTL_JOIN:
        put_join(w, m);
        break;
    case CTL_OFFER:
        put_sdp(w, "offer", &m->u.offer.offer);
        put_wishes(w, m->u.offer.wishes, m->u.offer.wishes_n);
        break;
    case CTL_ANSWER:
        put_text(w, "negotiation", m->u.answer.negotiation);
        put_sdp(w, "answer", &m->u.answer.answer);
        break;
    case CTL_CANDIDATES:
        put_raw(w, "candidates", m->u.candidates.raw);
        break;
    case CTL_SUBSCRIBE:
        put_subscriptions(w, m->u.subscribe.v, m->u.subscribe.n);
        break;
    case CTL_MUTE:
        put_bool(w, "muted", m->u.mute.muted);
        put_bool(w, "forced", m->u.mute.forced);
        put_text(w, "track", m->u.mute.track);
        break;
    case CTL_UNPUBLISH:
        put_text(w, "track", m->u.mute.track);
        break;
    case CTL_PERMISSIONS:
        put_perms(w, &m->u.permissions.perms);
        break;
    case CTL_ADOPT:
        put_text(w, "from", m->u.adopt.from);
        break;
    case CTL_SYNC:
        put_raw(w, "participants", m->u.sync.participants);
        break;
    case CTL_DRAIN:
        put_bool(w, "on", m->u.drain.on);
        break;
    default: /* ping, leave, close_room, sync_end, stats: nothing more */
        break;
    }
}

static void put_reply(struct wr *w, const struct ctl_msg *m)
{
    switch (m->type) {
    case CTL_HELLO:
        put_welcome(w, m);
        break;
    case CTL_JOIN:
    case CTL_OFFER:
        put_joined(w, m);
        break;
    case CTL_SUBSCRIBE:
        put_slots(w, m->u.slots.v, m->u.slots.n);
        break;
    case CTL_SYNC:
        put_raw(w, "participants", m->u.synced.states);
        break;
    case CTL_SYNC_END:
        put_u64(w, "closed", m->u.sync_end.closed);
        break;
    case CTL_STATS:
        put_raw(w, "stats", m->u.stats.raw);
        break;
    default: /* it worked, and there is nothing to say */
        break;
    }
}

static void put_event(struct wr *w, const struct ctl_msg *m)
{
    switch (m->type) {
    case CTL_CHALLENGE:
        put_u64(w, "version", m->u.challenge.version);
        put_hex(w, "nonce", m->u.challenge.nonce, CTL_NONCE_BYTES);
        break;
    case CTL_ACK:
        put_u64(w, "upto", m->u.ack.upto);
        break;
    case CTL_STATE:
        put_word(w, "state", ctl_media_words[m->u.state.media]);
        put_text(w, "reason", m->u.state.reason);
        break;
    case CTL_TRACK:
        put_word(w, "event", ctl_track_words[m->u.track.event]);
        put_key(w, "track");
        put_track(w, true, &m->u.track.track);
        break;
    case CTL_SLOTS:
        put_slots(w, m->u.slots.v, m->u.slots.n);
        break;
    case CTL_LAYERS:
        put_layers(w, m);
        break;
    case CTL_NEGOTIATE:
        put_negotiate(w, m);
        break;
    case CTL_ROOM_CLOSED:
        put_text(w, "reason", m->u.room_closed.reason);
        break;
    case CTL_SPEAKERS:
        put_speakers(w, m);
        break;
    case CTL_QUALITY:
        put_quality(w, m);
        break;
    case CTL_LOAD:
        put_load(w, m);
        break;
    default:
        w->bad = true;
        break;
    }
}

void ctl_encode(struct wr *w, const struct ctl_msg *m)
{
    size_t start = w->len;

    wr_be32(w, 0);
    wr_fmt(w, "{\"t\":\"%s\"", ctl_type_name(m->type));
    if (m->kind == CTL_KIND_REQUEST)
        put_u64(w, "id", m->id);
    else if (m->kind != CTL_KIND_EVENT)
        put_u64(w, "re", m->id);
    if (m->kind == CTL_KIND_EVENT && m->seq > 0)
        put_u64(w, "seq", m->seq);
    put_text(w, "room", m->room);
    put_text(w, "participant", m->participant);
    if (m->kind == CTL_KIND_ERROR)
        put_error(w, m);
    else if (m->kind == CTL_KIND_REQUEST)
        put_request(w, m);
    else if (m->kind == CTL_KIND_REPLY)
        put_reply(w, m);
    else
        put_event(w, m);
    wr_u8(w, '}');
    if (w->bad || w->len - start - CTL_HEADER_BYTES > CTL_MESSAGE_MAX) {
        w->bad = true;
        return;
    }
    size_t len = w->len - start - CTL_HEADER_BYTES;
    wr_patch_be16(w, start, (uint16_t)(len >> 16));
    wr_patch_be16(w, start + 2, (uint16_t)len);
}
