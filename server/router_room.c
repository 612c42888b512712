/* Room requests of clients (docs/SIGNALING.md §10).
 *
 * Called by router.c. What needs the SFU is asked there (router_sfu.c) and answered when it has
 * answered; the rest is answered at once. The table (room_table.c) has the rules. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/hash.h"
#include "base/rand.h"
#include "proto/json.h"
#include "server/router_priv.h"

#define LIMITS_TEXT "data.metadata, data.tracks: more than the room's limits"

static void reply_empty(const struct request *q)
{
    struct wr w = router_body(q->r);

    sig_server_raw(&w, &(struct sig_head){.type = q->m->type, .re = q->m->id, .room = q->m->room},
                   SLICE_LIT("{}"));
    request_reply(q, &w);
}

/* Answers by an error unless err is SIG_OK; gives whether it was. */
static bool passed(const struct request *q, enum sig_err err)
{
    if (err != SIG_OK)
        request_fail(q, err, err == SIG_ERR_BAD_REQUEST ? LIMITS_TEXT : NULL);
    return err == SIG_OK;
}

/* ---- descriptions ---- */

bool router_room_within_joins(const struct request *q)
{
    struct router *r = q->r;
    uint64_t key = hash_bytes(request_user(q));

    if (limit_take(r->joins, key, 1, r->now_us))
        return true;
    counter_inc(&r->count.rate_limited);
    request_error(q,
                  &(struct sig_error){.code = SIG_ERR_RATE_LIMITED,
                                      .retry_after_ms = limit_wait_ms(r->joins, key, r->now_us)});
    return false;
}

static size_t copy_wishes(struct ctl_wish *to, const struct sig_room_offer *o)
{
    for (size_t i = 0; i < o->n; i++)
        to[i] = o->v[i].wish;
    return o->n;
}

/* Asks the SFU to take the seat with this offer. False: the request was answered. */
static bool ask_join(const struct request *q, struct seat *s, const struct sig_room_offer *o)
{
    struct router *r = q->r;
    const struct server_conf *c = r->conf;

    r->ctl = (struct ctl_msg){.type = CTL_JOIN};
    r->ctl.u.join.mode = s->mode;
    r->ctl.u.join.perms = seat_ctl_perms(s);
    r->ctl.u.join.limits = (struct ctl_limits){.tracks = (unsigned)c->room.tracks,
                                               .slots = (unsigned)c->room.slots,
                                               .up_bps = c->room.up_bps,
                                               .down_bps = c->room.down_bps};
    r->ctl.u.join.auto_audio = s->auto_audio;
    r->ctl.u.join.auto_video = s->auto_video;
    r->ctl.u.join.offer.raw = o->sdp;
    r->ctl.u.join.wishes_n = copy_wishes(r->ctl.u.join.wishes, o);
    if (!router_sfu_ask(q, s, true, (struct slice){0}))
        return false;
    s->busy = true;
    return true;
}

static void join(const struct request *q)
{
    struct router *r = q->r;
    struct sig_room_offer o;
    struct sig_fault fault;
    struct seat *s = NULL;

    if (sig_room_join(&o, q->m, q->scratch, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    if (!router_sfu_usable(r) && !room_by_id(r->rooms, q->m->room)) {
        request_error(q, &(struct sig_error){.code = SIG_ERR_SFU_UNAVAILABLE,
                                             .retry_after_ms = ROUTER_SFU_RETRY_MS});
        return;
    }
    const struct room_entry entry = {.room = q->m->room,
                                     .user = request_user(q),
                                     .device = request_device(q),
                                     .name = request_name(q),
                                     .bound = q->far ? q->far->bound : session_room(q->s),
                                     .perms = q->far ? q->far->perms : q->s->room_perms,
                                     .offer = &o};
    if (!passed(q, room_join(r->rooms, &entry, &s, r->now_us)))
        return;
    router_seat_place(s, q);
    if (!ask_join(q, s, &o))
        seat_leave(r->rooms, s, ROOM_REASON_LEFT, r->now_us);
}

/* Whether all that the offer sends is allowed. */
static bool may_publish(const struct seat *s, const struct sig_room_offer *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (!(s->perms.publish & CTL_SOURCE_BIT(o->v[i].wish.source)))
            return false;
    return true;
}

static void offer(const struct request *q, struct seat *s)
{
    struct router *r = q->r;
    struct sig_room_offer o;
    struct sig_fault fault;

    if (sig_room_offer(&o, q->m, q->scratch, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
    } else if (s->busy) {
        request_fail(q, SIG_ERR_ROOM_INVALID_STATE, "another offer of yours is under way");
    } else if (s->lost && !o.fresh) {
        request_fail(q, SIG_ERR_ROOM_INVALID_STATE,
                     "your media has to start over: offer with fresh from a new connection");
    } else if (!may_publish(s, &o)) {
        request_fail(q, SIG_ERR_ROOM_FORBIDDEN, NULL);
    } else if (o.n > r->conf->room.tracks) {
        request_fail(q, SIG_ERR_BAD_REQUEST, LIMITS_TEXT);
    } else if (o.fresh && !router_room_within_joins(q)) {
        return;
    } else if (!seat_wishes(s, &o)) {
        request_fail(q, SIG_ERR_INTERNAL, NULL);
    } else if (o.fresh) {
        seat_start_over(r->rooms, s, r->now_us);
        ask_join(q, s, &o);
    } else {
        r->ctl = (struct ctl_msg){.type = CTL_OFFER};
        r->ctl.u.offer.offer.raw = o.sdp;
        r->ctl.u.offer.wishes_n = copy_wishes(r->ctl.u.offer.wishes, &o);
        s->busy = router_sfu_ask(q, s, false, (struct slice){0});
    }
}

static void answer(const struct request *q, struct seat *s)
{
    struct router *r = q->r;
    struct sig_fault fault;
    struct slice sdp, negotiation;

    if (sig_room_answer(&sdp, &negotiation, q->m, q->scratch, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    r->ctl = (struct ctl_msg){.type = CTL_ANSWER};
    r->ctl.u.answer.negotiation = negotiation;
    r->ctl.u.answer.answer.raw = sdp;
    router_sfu_ask(q, s, false, (struct slice){0});
}

static void candidates(const struct request *q, struct seat *s)
{
    struct router *r = q->r;
    struct sig_fault fault;
    struct slice raw;

    if (sig_room_candidates(&raw, q->m, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    r->ctl = (struct ctl_msg){.type = CTL_CANDIDATES, .room = s->room->id, .participant = s->id};
    r->ctl.u.candidates.raw = raw;
    router_sfu_tell(r, s->room);
}

/* ---- tracks ---- */

static void subscribe(const struct request *q, struct seat *s)
{
    struct router *r = q->r;
    struct seat *owner = NULL;
    struct sig_fault fault;

    r->ctl = (struct ctl_msg){.type = CTL_SUBSCRIBE};
    if (sig_room_subscribe(r->ctl.u.subscribe.v, &r->ctl.u.subscribe.n, q->m, q->scratch, &fault) !=
        0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    if (!s->perms.subscribe) {
        request_fail(q, SIG_ERR_ROOM_FORBIDDEN, NULL);
        return;
    }
    for (size_t i = 0; i < r->ctl.u.subscribe.n; i++) {
        const struct ctl_subscription *v = &r->ctl.u.subscribe.v[i];
        if (v->wanted && (!room_track_find(r->rooms, s->room, v->track, &owner) || owner == s)) {
            request_fail(q, SIG_ERR_ROOM_TRACK_NOT_FOUND, NULL);
            return;
        }
    }
    router_sfu_ask(q, s, false, (struct slice){0});
}

static void unpublish(const struct request *q, struct seat *s)
{
    struct router *r = q->r;
    struct sig_fault fault;
    struct slice track;
    bool unused;

    if (sig_room_mute(&track, &unused, q->m, q->scratch, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
    } else if (!seat_track_find(s, track)) {
        request_fail(q, SIG_ERR_ROOM_TRACK_NOT_FOUND, NULL);
    } else {
        r->ctl = (struct ctl_msg){.type = CTL_UNPUBLISH};
        r->ctl.u.mute.track = track;
        router_sfu_ask(q, s, false, track);
    }
}

static void mute(const struct request *q, struct seat *s)
{
    struct sig_fault fault;
    struct slice track;
    bool muted;

    if (sig_room_mute(&track, &muted, q->m, q->scratch, &fault) != 0)
        request_fail(q, fault.code, fault.text);
    else if (passed(q, room_mute(q->r->rooms, s, track, muted)))
        reply_empty(q);
}

/* ---- people ---- */

static void update(const struct request *q, struct seat *s)
{
    const struct sig_head head = {.type = q->m->type, .re = q->m->id, .room = q->m->room};
    struct sig_room_update u;
    struct sig_fault fault;
    struct seat *changed = NULL;

    if (sig_room_update(&u, q->m, q->scratch, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    if (!passed(q, room_update(q->r->rooms, s, &u, &changed)))
        return;
    struct wr w = router_body(q->r);
    sig_room_open(&w, &head);
    router_room_write_person(&w, "participant", changed, false);
    sig_room_perms(&w, &changed->perms);
    sig_room_end(&w);
    request_reply(q, &w);
}

static void kick(const struct request *q, struct seat *s)
{
    struct sig_fault fault;
    struct slice participant;
    bool ban;

    if (sig_room_kick(&participant, &ban, q->m, q->scratch, &fault) != 0)
        request_fail(q, fault.code, fault.text);
    else if (passed(q, room_kick(q->r->rooms, s, participant, ban, q->r->now_us)))
        reply_empty(q);
}

static void close_room(const struct request *q, struct seat *s)
{
    if (!s->perms.admin) {
        request_fail(q, SIG_ERR_ROOM_FORBIDDEN, NULL);
        return;
    }
    reply_empty(q);
    room_close(q->r->rooms, s->room, ROOM_REASON_CLOSED, q->r->now_us);
    if (q->s)
        router_update_in_call(q->r, q->s);
}

static void leave(const struct request *q, struct seat *s)
{
    do /* a join that is on its way, too */
        seat_leave(q->r->rooms, s, ROOM_REASON_LEFT, q->r->now_us);
    while ((s = seat_of(q->r->rooms, q->m->room, request_user(q), request_device(q))));
    reply_empty(q);
    if (q->s)
        router_update_in_call(q->r, q->s);
}

static void sync(const struct request *q, struct seat *s)
{
    const struct sig_head head = {.type = q->m->type, .re = q->m->id, .room = q->m->room};
    struct wr w = router_body(q->r);

    if (!s->in) {
        request_fail(q, SIG_ERR_ROOM_INVALID_STATE, NULL);
        return;
    }
    sig_room_open(&w, &head);
    sig_room_truth(&w, "full", true);
    router_room_write_tracks(&w, s);
    router_room_write_slots(&w, s);
    const struct list *rest = router_room_people(&w, s->room, s, NULL);
    sig_room_end(&w);
    request_reply(q, &w);
    router_room_rest(q->r, s, rest);
}

/* ---- invitations ---- */

/* The object that call.incoming shows of the room. */
static struct slice room_card(struct router *r, const struct room *room)
{
    struct wr w = wr_init(r->ids, sizeof(r->ids));
    unsigned named = 0, count = 0;

    wr_u8(&w, '{');
    sig_room_text(&w, "roomId", room->id);
    sig_room_list(&w, "participants");
    LIST_EACH(l, tmp, &room->seats)
    {
        const struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        if (!s->in || s->perms.hidden)
            continue;
        if (named < SIG_ROOM_NAMED_MAX)
            sig_room_card(&w, s->user, s->name);
        named++;
        count++;
    }
    sig_room_list_end(&w);
    sig_room_number(&w, "count", count);
    wr_u8(&w, '}');
    return wr_done(&w);
}

/* One user: rings it, or says why not. */
static enum sig_err invite_one(const struct request *q, struct seat *s, struct slice user,
                               const struct sig_room_invite *in, struct slice card,
                               struct sig_call_id *call)
{
    if (room_seat_of_user(s->room, user))
        return SIG_ERR_ROOM_EXISTS;
    if (room_is_banned(s->room, user))
        return SIG_ERR_FORBIDDEN;
    enum sig_err err = router_far_ring_one(q, s->room, user, in, card, call);
    if (err == SIG_OK && !room_invite(q->r->rooms, s->room, user))
        err = SIG_ERR_OVERLOADED; /* it rings, but may not come in: tell the inviter */
    return err;
}

static void invite(const struct request *q, const struct seat *s)
{
    struct sig_room_invite in;
    struct sig_fault fault;

    if (sig_room_invite(&in, q->m, &fault) != 0)
        request_fail(q, fault.code, fault.text);
    else if (!request_may_call(q) || !s->in)
        request_fail(q, SIG_ERR_ROOM_FORBIDDEN, NULL);
    else if (!router_far_ring(q, in.users))
        router_room_invite_now(q);
}

void router_room_invite_now(const struct request *q)
{
    struct seat *s = seat_of(q->r->rooms, q->m->room, request_user(q), request_device(q));
    const struct sig_head head = {.type = q->m->type, .re = q->m->id, .room = q->m->room};
    struct { /* outcome per user */
        enum sig_err err;
        struct sig_call_id call;
        uint8_t len;
        char user[SIG_USER_MAX];
    } done[SIG_ROOM_INVITE_MAX];
    struct sig_room_invite in;
    struct sig_fault fault;
    struct slice item, user;
    size_t n = 0;

    if (sig_room_invite(&in, q->m, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    if (!s || !s->in) { /* it has left while the others were looked for */
        request_fail(q, SIG_ERR_ROOM_NOT_FOUND, NULL);
        return;
    }
    struct slice card = room_card(q->r, s->room);
    struct json_items it = json_items(in.users);
    for (; n < SIG_ROOM_INVITE_MAX && json_items_next(&it, &item); n++) {
        struct wr mem = wr_init(done[n].user, SIG_USER_MAX);
        if (!json_text(item, &user, &mem))
            break; /* cannot be: the reader has seen them */
        if (user.p != (const uint8_t *)done[n].user)
            memcpy(done[n].user, user.p, user.len);
        done[n].len = (uint8_t)user.len;
        done[n].err = invite_one(q, s, slice_of(done[n].user, user.len), &in, card, &done[n].call);
    }
    struct wr w = router_body(q->r);
    sig_room_open(&w, &head);
    sig_room_list(&w, "invites");
    for (size_t i = 0; i < n; i++)
        if (done[i].err == SIG_OK)
            sig_room_invited(&w, slice_of(done[i].user, done[i].len), &done[i].call, SIG_OK);
    sig_room_list_end(&w);
    sig_room_list(&w, "failed");
    for (size_t i = 0; i < n; i++)
        if (done[i].err != SIG_OK)
            sig_room_invited(&w, slice_of(done[i].user, done[i].len), NULL, done[i].err);
    sig_room_list_end(&w);
    sig_room_end(&w);
    request_reply(q, &w);
}

/* ---- dispatch ---- */

void router_room_request(const struct request *q)
{
    struct sig_room_offer o;
    struct sig_fault fault;
    size_t used = q->scratch->len;

    if (q->m->type == SIG_ROOM_JOIN) {
        if (sig_room_join(&o, q->m, q->scratch, &fault) != 0) {
            request_fail(q, fault.code, fault.text);
            return;
        }
        q->scratch->len = used; /* it is read once more where the room is run */
        if (!router_room_within_joins(q))
            return;
    }
    if (!router_far_room(q))
        router_room_perform(q);
}

void router_room_perform(const struct request *q)
{
    struct seat *s = NULL;

    if (q->m->type == SIG_ROOM_JOIN) {
        join(q);
        return;
    }
    s = seat_of(q->r->rooms, q->m->room, request_user(q), request_device(q));
    if (!s || s->orphan || memcmp(s->at.session, request_session(q), SEAT_SESSION_BYTES) != 0) {
        request_fail(q, SIG_ERR_ROOM_NOT_FOUND, NULL);
        return;
    }
    switch (q->m->type) {
    case SIG_ROOM_OFFER:
        offer(q, s);
        break;
    case SIG_ROOM_ANSWER:
        answer(q, s);
        break;
    case SIG_ROOM_CANDIDATES:
        candidates(q, s);
        break;
    case SIG_ROOM_SUBSCRIBE:
        subscribe(q, s);
        break;
    case SIG_ROOM_UNPUBLISH:
        unpublish(q, s);
        break;
    case SIG_ROOM_MUTE:
        mute(q, s);
        break;
    case SIG_ROOM_UPDATE:
        update(q, s);
        break;
    case SIG_ROOM_KICK:
        kick(q, s);
        break;
    case SIG_ROOM_CLOSE:
        close_room(q, s);
        break;
    case SIG_ROOM_LEAVE:
        leave(q, s);
        break;
    case SIG_ROOM_INVITE:
        invite(q, s);
        break;
    default: /* sig_decode() lets nothing else through */
        sync(q, s);
        break;
    }
}

void router_room_session(struct router *r, struct session *s, enum room_session what,
                         enum room_reason reason)
{
    router_far_room_session(r, s, what, reason);
    room_table_session(r->rooms, user_id(s->user), session_device(s), what, reason, r->now_us);
}
