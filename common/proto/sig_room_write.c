/* Writers of room messages (docs/SIGNALING.md §10).
 *
 * Called by router_room_say.c, which walks rooms. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sig_room.h"

#include "proto/sig_write.h"

enum { MOS_UNIT = 100 };

const char *sig_room_role_name(enum sig_room_role r)
{
    static const char *const names[SIG_ROLE_COUNT] = {
        [SIG_ROLE_MEMBER] = "member", [SIG_ROLE_VIEWER] = "viewer", [SIG_ROLE_ADMIN] = "admin"};

    return (unsigned)r < SIG_ROLE_COUNT ? names[r] : "";
}

void sig_room_open(struct wr *w, const struct sig_head *h)
{
    begin(w, h);
}

void sig_room_end(struct wr *w)
{
    end(w);
}

void sig_room_list(struct wr *w, const char *name)
{
    key(w, name);
    wr_u8(w, '[');
}

void sig_room_list_end(struct wr *w)
{
    wr_u8(w, ']');
}

void sig_room_text(struct wr *w, const char *name, struct slice v)
{
    text_if(w, name, v);
}

void sig_room_word(struct wr *w, const char *name, const char *v)
{
    word(w, name, v);
}

void sig_room_number(struct wr *w, const char *name, uint64_t v)
{
    number(w, name, v);
}

void sig_room_truth(struct wr *w, const char *name, bool v)
{
    truth(w, name, v);
}

void sig_room_raw(struct wr *w, const char *name, struct slice v)
{
    raw_if(w, name, v);
}

/* Opens an object: a member under name, or the next item of a list. */
static void object(struct wr *w, const char *name)
{
    if (name)
        key(w, name);
    else if (w->len > 0 && w->base[w->len - 1] != '[')
        wr_u8(w, ',');
    wr_u8(w, '{');
}

void sig_room_sdp(struct wr *w, const char *name, const char *type, struct slice sdp_raw)
{
    if (sdp_raw.len == 0)
        return;
    object(w, name);
    word(w, "type", type);
    raw(w, "sdp", sdp_raw);
    wr_u8(w, '}');
}

static void publish(struct wr *w, unsigned bits)
{
    if (bits == CTL_SOURCES_ALL || bits == 0) {
        truth(w, "publish", bits != 0);
        return;
    }
    sig_room_list(w, "publish");
    for (unsigned i = 0; i < CTL_SOURCE_COUNT; i++) {
        if (!(bits & CTL_SOURCE_BIT(i)))
            continue;
        if (w->len > 0 && w->base[w->len - 1] != '[')
            wr_u8(w, ',');
        json_write_text(w, slice_str(ctl_source_name((enum ctl_source)i)));
    }
    wr_u8(w, ']');
}

void sig_room_perms(struct wr *w, const struct sig_room_perms *p)
{
    object(w, "permissions");
    publish(w, p->publish);
    truth(w, "subscribe", p->subscribe);
    truth(w, "data", p->data);
    truth(w, "admin", p->admin);
    truth(w, "hidden", p->hidden);
    wr_u8(w, '}');
}

void sig_room_facts(struct wr *w, struct slice room, unsigned participants, unsigned tracks,
                    unsigned slots, unsigned metadata_bytes)
{
    object(w, "room");
    text(w, "roomId", room);
    object(w, "limits");
    number(w, "participants", participants);
    number(w, "tracks", tracks);
    number(w, "slots", slots);
    number(w, "metadataBytes", metadata_bytes);
    wr_u8(w, '}');
    wr_u8(w, '}');
}

void sig_room_person(struct wr *w, const char *name, const struct sig_room_person *p)
{
    static const char *const states[] = {[SIG_ROOM_CONNECTING] = "connecting",
                                         [SIG_ROOM_CONNECTED] = "connected",
                                         [SIG_ROOM_RECONNECTING] = "reconnecting"};

    object(w, name);
    text(w, "participantId", p->id);
    text(w, "user", p->user);
    text(w, "deviceId", p->device);
    text_if(w, "name", p->name);
    word(w, "role", sig_room_role_name(p->role));
    raw_if(w, "metadata", p->metadata);
    word(w, "state", states[p->state]);
}

void sig_room_person_end(struct wr *w)
{
    wr_u8(w, '}');
}

void sig_room_track(struct wr *w, const char *key, const struct ctl_track *t, struct slice name)
{
    object(w, key);
    text(w, "trackId", t->track);
    text(w, "mid", t->mid);
    word(w, "kind", t->kind == RTP_KIND_VIDEO ? "video" : "audio");
    word(w, "source", ctl_source_name(t->source));
    text_if(w, "name", name);
    truth(w, "muted", t->muted);
    number(w, "layers", t->layers);
    wr_u8(w, '}');
}

void sig_room_forwarded(struct wr *w, int layer, int temporal, enum ctl_pause pause)
{
    static const char *const reasons[CTL_PAUSE_COUNT] = {
        [CTL_PAUSE_NONE] = NULL,
        [CTL_PAUSE_BANDWIDTH] = "bandwidth",
        [CTL_PAUSE_SUBSCRIBER] = "subscriber",
        [CTL_PAUSE_SOURCE] = "source",
    };

    if (layer >= 0)
        sig_room_number(w, "layer", (uint64_t)layer);
    if (temporal >= 0)
        sig_room_number(w, "temporal", (uint64_t)temporal);
    sig_room_truth(w, "paused", layer < 0);
    if (reasons[pause])
        sig_room_word(w, "reason", reasons[pause]);
}

void sig_room_slot(struct wr *w, const struct ctl_slot *s)
{
    object(w, NULL);
    text(w, "mid", s->mid);
    text_if(w, "trackId", s->track);
    text_if(w, "participantId", s->participant);
    if (s->picture)
        sig_room_forwarded(w, s->layer, s->temporal, s->pause);
    wr_u8(w, '}');
}

void sig_room_bits(struct wr *w, const char *name, unsigned bits)
{
    sig_room_list(w, name);
    for (unsigned i = 0; bits >> i; i++) {
        if (!(bits >> i & 1))
            continue;
        if (w->len > 0 && w->base[w->len - 1] != '[')
            wr_u8(w, ',');
        wr_u64(w, i);
    }
    wr_u8(w, ']');
}

void sig_room_card(struct wr *w, struct slice user, struct slice name)
{
    object(w, NULL);
    text(w, "user", user);
    text_if(w, "name", name);
    wr_u8(w, '}');
}

void sig_room_invited(struct wr *w, struct slice user, const struct sig_call_id *call,
                      enum sig_err err)
{
    object(w, NULL);
    text(w, "user", user);
    if (call)
        call_id(w, "callId", call);
    else
        word(w, "code", sig_err_name(err));
    wr_u8(w, '}');
}

void sig_room_need(struct wr *w, unsigned audio, unsigned video)
{
    object(w, "need");
    number(w, "audio", audio);
    number(w, "video", video);
    wr_u8(w, '}');
}

void sig_room_speaker(struct wr *w, const struct ctl_speaker *s)
{
    object(w, NULL);
    text(w, "participantId", s->participant);
    number(w, "level", s->level);
    wr_u8(w, '}');
}

void sig_room_quality(struct wr *w, const struct ctl_quality *q)
{
    object(w, NULL);
    text(w, "participantId", q->participant);
    number(w, "score", q->score);
    key(w, "mos");
    wr_fmt(w, "%u.%02u", q->mos / MOS_UNIT, q->mos % MOS_UNIT);
    wr_u8(w, '}');
}
