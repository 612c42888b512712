/* All rooms of one worker.
 *
 *   sfu_core_packet ─► demux ─► peer_rtp | peer_rtcp | peer_data     sfu_core_batch ─► fanout
 *   sfu_core_request ─► room, participant                            sfu_core_tick ─► what is due
 *
 * A shell (sfu_worker.c) moves the bytes and reads the clock. Worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/sfu_core.h"

#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "proto/rtcp.h"
#include "sfu/core_data.h"
#include "sfu/core_stats.h"
#include "sfu/fanout.h"
#include "sfu/participant.h"
#include "sfu/room.h"

#define EXPECT_ROOMS 256

static const char *const drop_names[CORE_DROP_COUNT] = {
    [CORE_DROP_SSRC_UNKNOWN] = "ssrc_unknown",
    [CORE_DROP_SSRC_LIMIT] = "ssrc_limit",
    [CORE_DROP_PT_UNKNOWN] = "pt_unknown",
    [CORE_DROP_PADDING] = "padding",
    [CORE_DROP_DUPLICATE] = "duplicate",
    [CORE_DROP_RTX_BAD] = "rtx_bad",
    [CORE_DROP_RED_BAD] = "red_bad",
    [CORE_DROP_SIZE] = "size",
    [CORE_DROP_NOT_ALLOWED] = "not_allowed",
    [CORE_DROP_BITRATE] = "bitrate",
    [CORE_DROP_RTCP_LIMIT] = "rtcp_limit",
    [CORE_DROP_RTCP_BAD] = "rtcp_bad",
    [CORE_DROP_NACK_LIMIT] = "nack_limit",
    [CORE_DROP_NACK_GONE] = "nack_gone",
    [CORE_DROP_KEY_LIMIT] = "key_limit",
    [CORE_DROP_PACER] = "pacer",
    [CORE_DROP_DATA] = "data",
};

const char *core_drop_name(enum core_drop d)
{
    return drop_names[d];
}

/* ---- life ---- */

/* A transport tells from inside its own calls: what follows waits for the peer's timer. */
static void on_state(void *user, struct transport *t, enum transport_state s)
{
    struct peer *p = user;

    (void)t;
    (void)s;
    if (p->closing)
        return;
    p->state_changed = true;
    peer_arm(p, p->owner->room->core->now_us);
}

static void on_rekeyed(void *user, struct transport *t)
{
    struct peer *p = user;

    (void)t;
    if (!p->closing)
        peer_rekeyed(p);
}

static void on_path(void *user, struct transport *t, const struct media_path *path)
{
    struct peer *p = user;

    (void)t;
    (void)path;
    if (p->bwe && p->pacer)
        bwe_path_changed(p->bwe, p->owner->room->core->now_us);
}

static const struct transport_ops transport_ops = {on_state, on_rekeyed, on_path};

static void make_policy(struct codec_policy *p, const struct sfu_conf *conf)
{
    codec_policy_default(p);
    sfu_conf_codecs(conf, p);
    p->audio_nack = conf->audio.nack;
    p->opus_fec = conf->audio.fec;
    p->opus_dtx = conf->audio.dtx;
    p->opus_stereo = conf->audio.stereo;
    p->opus_bps = (uint32_t)conf->audio.bitrate_bps;
    p->ptime_ms = (uint16_t)conf->audio.ptime_ms;
    p->video_max_bps = (uint32_t)conf->video.max_bps;
}

static struct demux *make_demux(struct sfu_core *c)
{
    const struct sfu_conf *conf = c->conf;
    struct demux_conf d = {
        .transport = {.connect_us = conf->transport.connect_timeout_s * US_PER_S,
                      .quiet_us = conf->transport.consent_timeout_s * US_PER_S,
                      .lost_us =
                          (conf->transport.consent_timeout_s + conf->transport.idle_timeout_s) *
                          US_PER_S,
                      .srtp = conf->transport.srtp_backend ? SRTP_SESS_LIBSRTP2 : SRTP_SESS_EVP},
        .refusals = {(uint32_t)(conf->transport.stun_per_s * 1000),
                     (uint32_t)conf->transport.stun_per_s},
        .handshakes = {(uint32_t)(conf->transport.hellos_per_s * 1000),
                       (uint32_t)conf->transport.hellos_per_s},
        .ops = &transport_ops,
        .egress = c->egress};

    demux_conf_defaults(&d);
    return demux_new(&d, c->now_us);
}

struct sfu_core *sfu_core_new(const struct core_params *p)
{
    struct sfu_core *c = mem_zalloc(sizeof(*c));

    if (!c)
        return NULL;
    c->conf = p->conf;
    c->ops = p->ops;
    c->arg = p->arg;
    c->egress = p->egress;
    c->census = p->census ? p->census : &c->own_census;
    c->now_us = p->now_us;
    c->ntp_offset_us = p->unix_us - p->now_us;
    c->n_candidates = p->n_candidates < NEG_CANDIDATES_MAX ? p->n_candidates : NEG_CANDIDATES_MAX;
    memcpy(c->candidate, p->candidate, c->n_candidates * sizeof(*p->candidate));
    memcpy(c->fingerprint, p->fingerprint, sizeof(c->fingerprint));
    make_policy(&c->policy, p->conf);
    c->wheel = timerwheel_new(p->now_us);
    c->room_wheel = timerwheel_new(p->now_us);
    c->demux = make_demux(c);
    if (!c->wheel || !c->room_wheel || !c->demux || htable_init(&c->rooms, EXPECT_ROOMS) != 0) {
        sfu_core_free(c);
        return NULL;
    }
    return c;
}

void sfu_core_free(struct sfu_core *c)
{
    size_t pos = 0;
    struct hnode *saved = NULL, *n;

    if (!c)
        return;
    while ((n = htable_walk(&c->rooms, &pos, &saved)))
        room_free(CONTAINER_OF(n, struct room, node), c->now_us);
    htable_fini(&c->rooms);
    demux_free(c->demux);
    timerwheel_free(c->wheel);
    timerwheel_free(c->room_wheel);
    mem_free(c);
}

uint64_t sfu_core_ntp(const struct sfu_core *c, uint64_t now_us)
{
    return rtcp_ntp(now_us + c->ntp_offset_us);
}

/* ---- events ---- */

struct ctl_msg *core_event(struct sfu_core *c, enum ctl_type type, const struct room *room,
                           const struct participant *p)
{
    struct ctl_msg *m = &c->event;

    /* The union's lists are long: only the counts and heads are cleared, writers set the rest. */
    memset(m, 0, offsetof(struct ctl_msg, u));
    memset(&m->u, 0, sizeof(m->u.negotiate) + sizeof(m->u.layers));
    m->type = type;
    m->kind = CTL_KIND_EVENT;
    m->room = slice_str(room->id);
    m->participant = p ? slice_str(p->id) : (struct slice){0};
    return m;
}

void core_emit(struct sfu_core *c)
{
    c->ops->event(c->arg, &c->event);
}

/* ---- packets ---- */

bool sfu_core_packet(struct sfu_core *c, const struct media_path *from, uint8_t *p, size_t len,
                     uint64_t now_us)
{
    struct transport *t;
    struct transport_in in;
    struct slice data;

    c->now_us = now_us;
    enum transport_verdict verdict = demux_recv(c->demux, from, p, len, now_us, &t, &in);
    switch (verdict) {
    case TRANSPORT_RTP:
        peer_rtp(transport_user(t), &in, now_us);
        break;
    case TRANSPORT_RTCP:
        peer_rtcp(transport_user(t), in.plain, now_us);
        break;
    case TRANSPORT_DATA:
        while ((data = transport_read_data(t)).len > 0)
            peer_data(transport_user(t), data, now_us);
        break;
    case TRANSPORT_DROP:
    case TRANSPORT_HANDLED:
        break;
    }
    return verdict != TRANSPORT_DROP;
}

void sfu_core_batch(struct sfu_core *c, uint64_t now_us)
{
    c->now_us = now_us;
    fanout_flush(c);
}

void sfu_core_gone(struct sfu_core *c, const struct media_path *path, uint64_t now_us)
{
    c->now_us = now_us;
    demux_gone(c->demux, path, now_us);
}

/* ---- time ---- */

uint64_t sfu_core_deadline(const struct sfu_core *c)
{
    uint64_t a = timerwheel_next(c->wheel), b = timerwheel_next(c->room_wheel);
    uint64_t d = demux_deadline(c->demux);

    a = b < a ? b : a;
    return d < a ? d : a;
}

/* Who has been without media for too long leaves. Gives true when p is gone. */
static bool gave_up(struct participant *p, uint64_t now_us)
{
    if (participant_deadline(p) > now_us)
        return false;
    struct room *r = p->room;
    participant_free(p, "media_lost", now_us);
    sfu_core_room_left(r->core, r, now_us);
    return true;
}

void sfu_core_tick(struct sfu_core *c, uint64_t now_us)
{
    struct timer *t;

    c->now_us = now_us;
    demux_tick(c->demux, now_us);
    while ((t = timerwheel_pop(c->wheel, now_us))) {
        struct peer *p = CONTAINER_OF(t, struct peer, timer);
        struct participant *who = p->owner;

        peer_tick(p, now_us);
        gave_up(who, now_us);
    }
    while ((t = timerwheel_pop(c->room_wheel, now_us)))
        room_tick(CONTAINER_OF(t, struct room, timer), now_us);
    fanout_flush(c);
}

/* ---- requests ---- */

static void refuse(struct sfu_core *c, struct ctl_msg *reply, enum ctl_err code, const char *text)
{
    reply->kind = CTL_KIND_ERROR;
    reply->u.error.code = code;
    reply->u.error.text = slice_str(text);
    (void)c;
}

void sfu_core_room_left(struct sfu_core *c, struct room *r, uint64_t now_us)
{
    char id[SFU_ROOM_KEY_MAX + 1];

    if (r->n_members > 0) {
        room_assign_all(r, now_us);
        return;
    }
    memcpy(id, r->id, sizeof(id));
    room_free(r, now_us);
    c->ops->room_gone(c->arg, slice_str(id));
}

void sfu_core_close_room(struct sfu_core *c, struct slice room, struct slice reason,
                         uint64_t now_us)
{
    struct room *r = room_find(c, room);

    c->now_us = now_us;
    if (!r)
        return;
    if (reason.len) {
        struct ctl_msg *m = core_event(c, CTL_ROOM_CLOSED, r, NULL);
        m->u.room_closed.reason = reason;
        core_emit(c);
    }
    while (r->n_members > 0)
        participant_free(r->member[r->n_members - 1], NULL, now_us);
    sfu_core_room_left(c, r, now_us);
}

/* The room that a join is about, which may be its first. NULL: refused, and whoever placed it here
 * may forget it. */
static struct room *room_for_join(struct sfu_core *c, const struct ctl_msg *req,
                                  struct ctl_msg *reply)
{
    struct room *r = room_find(c, req->room);

    if (r)
        return r;
    if (c->draining)
        refuse(c, reply, CTL_ERR_DRAINING, "this node takes no new rooms");
    else if (!core_census_take(&c->census->rooms, c->conf->limits.rooms))
        refuse(c, reply, CTL_ERR_FULL, "too many rooms");
    else if (!(r = room_new(c, req->room))) {
        core_census_leave(&c->census->rooms);
        refuse(c, reply, CTL_ERR_INTERNAL, "out of memory");
    }
    if (!r)
        c->ops->room_gone(c->arg, req->room);
    return r;
}

static void join(struct sfu_core *c, const struct ctl_msg *req, struct ctl_msg *reply,
                 uint64_t now_us)
{
    struct room *r = room_for_join(c, req, reply);

    if (!r)
        return;
    participant_join(r, req, reply, now_us);
    if (r->n_members == 0)
        sfu_core_room_left(c, r, now_us);
}

/* Everybody who should be in the room stays, the others go; then the state of those who stay is
 * told anew. */
static void sync_room(struct sfu_core *c, struct room *r, const struct ctl_msg *req,
                      struct ctl_msg *reply, uint64_t now_us)
{
    struct wr w = wr_init(c->answer, sizeof(c->answer));
    bool first = true;

    wr_str(&w, "[");
    for (unsigned i = r ? r->n_members : 0; i > 0; i--) {
        struct participant *p = r->member[i - 1];
        struct ctl_walk it = {0};
        struct slice id;
        bool stays = false;

        while (!stays && ctl_ids(&it, req->u.sync.participants, &id))
            stays = slice_is(id, p->id);
        if (!stays) {
            participant_free(p, NULL, now_us);
            continue;
        }
        ctl_states_add(&w, first, slice_str(p->id), (enum ctl_media)p->media);
        first = false;
    }
    wr_str(&w, "]");
    reply->u.synced.states = wr_done(&w);
    for (unsigned i = 0; r && i < r->n_members; i++) {
        struct participant *p = r->member[i];
        struct ctl_msg *m = core_event(c, CTL_STATE, r, p);

        m->u.state.media = (enum ctl_media)p->media;
        core_emit(c);
        for (unsigned k = 0; k < p->n_tracks; k++)
            room_tell_track(p->track[k], CTL_TRACK_PUBLISHED);
        p->slots_dirty = true;
    }
    if (r)
        sfu_core_room_left(c, r, now_us);
}

static void about_participant(struct sfu_core *c, struct room *r, struct participant *p,
                              const struct ctl_msg *req, struct ctl_msg *reply, uint64_t now_us)
{
    switch (req->type) {
    case CTL_OFFER:
        participant_offer(p, req, reply, now_us);
        break;
    case CTL_ANSWER:
        participant_answer(p, req, reply, now_us);
        break;
    case CTL_CANDIDATES: /* an ICE-lite agent learns the client's addresses from its checks */
        break;
    case CTL_SUBSCRIBE:
        participant_subscribe(p, req, reply, now_us);
        break;
    case CTL_UNPUBLISH:
        participant_unpublish(p, req, reply, now_us);
        break;
    case CTL_MUTE:
        participant_mute(p, req, reply, now_us);
        break;
    case CTL_PERMISSIONS:
        participant_permissions(p, req, now_us);
        break;
    case CTL_LEAVE:
        participant_free(p, NULL, now_us);
        sfu_core_room_left(c, r, now_us);
        break;
    default:
        refuse(c, reply, CTL_ERR_UNSUPPORTED, "not a request about a participant");
        break;
    }
}

static void perform(struct sfu_core *c, const struct ctl_msg *req, struct ctl_msg *reply,
                    uint64_t now_us)
{
    struct room *r = room_find(c, req->room);
    struct participant *p = r && req->participant.len ? room_member(r, req->participant) : NULL;

    if (req->type == CTL_JOIN) {
        join(c, req, reply, now_us);
    } else if (req->type == CTL_SYNC) {
        sync_room(c, r, req, reply, now_us);
    } else if (req->type == CTL_STATS) {
        core_stats(c, r, reply);
    } else if (req->type == CTL_CLOSE_ROOM) {
        sfu_core_close_room(c, req->room, (struct slice){0}, now_us);
    } else if (req->type == CTL_LEAVE && !p) {
        return; /* gone already: that is what was asked for */
    } else if (!r) {
        refuse(c, reply, CTL_ERR_NO_ROOM, "no such room");
    } else if (!p) {
        refuse(c, reply, CTL_ERR_NO_PARTICIPANT, "no such participant");
    } else {
        about_participant(c, r, p, req, reply, now_us);
    }
}

void sfu_core_request(struct sfu_core *c, const struct ctl_msg *req, struct ctl_msg *reply,
                      uint64_t now_us)
{
    c->now_us = now_us;
    memset(reply, 0, sizeof(*reply));
    reply->type = req->type;
    reply->kind = CTL_KIND_REPLY;
    reply->id = req->id;
    reply->room = req->room;
    reply->participant = req->participant;
    perform(c, req, reply, now_us);
    if (reply->kind == CTL_KIND_ERROR)
        counter_inc(&c->count.refused[reply->u.error.code]);
    fanout_flush(c);
    c->ops->wake(c->arg);
}

void sfu_core_drain(struct sfu_core *c, bool on)
{
    c->draining = on;
}
