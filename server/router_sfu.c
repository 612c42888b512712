/* Rooms and their SFU nodes: requests under way, what nodes say. Which nodes there are, and which
 * carries a room: router_sfu_nodes.c.
 *
 * Called by router_room.c (requests) and by node.c (answers, events, changes), which node_link.c
 * drives. A request of a client becomes one request to the node and a `struct sfu_wait`; whoever
 * asked is found again by its session, which may have ended meanwhile. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "server/router_priv.h"

#include <errno.h>

/* ---- requests ---- */

static struct slice wait_participant(const struct sfu_wait *w)
{
    return slice_of(w->participant, w->participant_len);
}

static uint8_t copy_in(char *to, size_t cap, struct slice from)
{
    size_t n = from.len < cap ? from.len : cap;

    if (n > 0)
        memcpy(to, from.p, n);
    return (uint8_t)n;
}

void router_sfu_drop_wait(struct sfu_wait *w)
{
    list_del(&w->link);
    mem_free(w);
}

bool router_sfu_waits(const struct router *r, const struct session *s, uint64_t id_hash)
{
    LIST_EACH(l, tmp, &r->waits)
    {
        const struct sfu_wait *w = CONTAINER_OF(l, struct sfu_wait, link);
        if (w->id_hash == id_hash && memcmp(w->session, s->id, SESSION_ID_BYTES) == 0)
            return true;
    }
    return false;
}

static void unavailable(const struct request *q)
{
    request_error(q, &(struct sig_error){.code = SIG_ERR_SFU_UNAVAILABLE,
                                         .retry_after_ms = ROUTER_SFU_RETRY_MS});
}

bool router_sfu_ask(const struct request *q, struct seat *seat, bool joins, struct slice track)
{
    struct router *r = q->r;
    struct room *room = seat->room;
    struct sfu_wait *w = NULL;

    if (!router_sfu_place(r, room)) {
        unavailable(q);
        return false;
    }
    w = mem_zalloc(sizeof(*w));
    if (!w) {
        request_fail(q, SIG_ERR_INTERNAL, NULL);
        return false;
    }
    w->type = r->ctl.type;
    w->request = q->m->type;
    w->joins = joins;
    memcpy(w->session, request_session(q), SESSION_ID_BYTES);
    if (q->far) {
        w->far = true;
        w->node_epoch = q->far->epoch;
        w->node_len = copy_in((char *)w->node, sizeof(w->node), q->far->node);
    }
    w->id_hash = q->id_hash;
    w->id_len = copy_in(w->id, sizeof(w->id), q->m->id);
    w->participant_len = copy_in(w->participant, sizeof(w->participant), seat->id);
    w->room_len = copy_in(w->room, sizeof(w->room), room->id);
    w->track_len = copy_in(w->track, sizeof(w->track), track);
    r->ctl.room = room->id;
    r->ctl.participant = seat->id;
    list_append(&r->waits, &w->link);
    int rc = node_request(r->nodes[room->node], &r->ctl, w, r->now_us);
    if (rc == 0)
        return true;
    router_sfu_drop_wait(w);
    if (rc == -ENOTCONN || rc == -ENOSPC)
        unavailable(q);
    else
        request_fail(q, rc == -EMSGSIZE ? SIG_ERR_TOO_LARGE : SIG_ERR_INTERNAL, NULL);
    return false;
}

void router_sfu_tell(struct router *r, const struct room *room)
{
    /* What can't be sent is made up for by the next sync. */
    if (room->node != ROOM_NODE_NONE)
        (void)node_request(r->nodes[room->node], &r->ctl, NULL, r->now_us);
}

/* ---- answers ---- */

static enum sig_err error_of(const struct ctl_msg *m)
{
    static const enum sig_err table[CTL_ERR_COUNT] = {
        [CTL_ERR_NO_ROOM] = SIG_ERR_ROOM_INVALID_STATE,
        [CTL_ERR_NO_PARTICIPANT] = SIG_ERR_ROOM_INVALID_STATE,
        [CTL_ERR_NO_TRACK] = SIG_ERR_ROOM_TRACK_NOT_FOUND,
        [CTL_ERR_FORBIDDEN] = SIG_ERR_ROOM_FORBIDDEN,
        [CTL_ERR_REJECTED] = SIG_ERR_SFU_REJECTED,
        [CTL_ERR_CONFLICT] = SIG_ERR_ROOM_INVALID_STATE,
        [CTL_ERR_FULL] = SIG_ERR_ROOM_FULL,
        [CTL_ERR_DRAINING] = SIG_ERR_SFU_UNAVAILABLE,
    };

    if (!m)
        return SIG_ERR_SFU_UNAVAILABLE;
    enum sig_err e = table[m->u.error.code];
    return e == SIG_OK ? SIG_ERR_INTERNAL : e;
}

/* Somebody waits for the answer. s: the session, if it is here. */
static bool has_asker(const struct session *s, const struct sfu_wait *w)
{
    return s || w->far;
}

/* Sends the answer to whoever asked. */
static void send_answer(struct router *r, struct session *s, const struct sfu_wait *w,
                        struct slice body)
{
    if (w->far)
        router_seat_reply(r, w, body);
    else
        router_send(r, s, body, w->id_hash);
}

/* Answers a client by an error. s NULL: it is gone, or elsewhere. */
static void answer_error(struct router *r, struct session *s, const struct sfu_wait *w,
                         enum sig_err code, struct slice message)
{
    struct wr body = router_body(r);

    counter_inc(&r->count.errors[code]);
    if (!has_asker(s, w) || w->id_len == 0)
        return;
    sig_server_error(&body, &(struct sig_error){.re = slice_of(w->id, w->id_len),
                                                .room = slice_of(w->room, w->room_len),
                                                .code = code,
                                                .message = message,
                                                .retry_after_ms = code == SIG_ERR_SFU_UNAVAILABLE
                                                                      ? ROUTER_SFU_RETRY_MS
                                                                      : 0});
    send_answer(r, s, w, wr_done(&body));
}

/* The part of a reply that join and offer share. */
static void write_answer(struct wr *w, const struct seat *seat, const struct ctl_msg *m)
{
    sig_room_sdp(w, "answer", "answer", m->u.joined.answer.raw);
    sig_room_text(w, "negotiationId", m->u.joined.negotiation);
    sig_room_sdp(w, "subOffer", "offer", m->u.joined.sub_offer.raw);
    router_room_write_tracks(w, seat);
    router_room_write_slots(w, seat);
}

static struct sig_head head_of(const struct sfu_wait *w)
{
    return (struct sig_head){.type = w->request,
                             .re = slice_of(w->id, w->id_len),
                             .room = slice_of(w->room, w->room_len)};
}

static void write_ice(struct router *r, struct wr *w, struct slice user)
{
    struct wr ice = wr_init(r->ice, sizeof(r->ice));

    ice_servers_write(&ice, r->conf, r->relays, (struct slice){0}, user, r->wall_us);
    sig_room_raw(w, "iceServers", ice.bad ? SLICE_LIT("[]") : wr_done(&ice));
}

/* A body that the buffer could not hold becomes an error. */
static void send_or_fail(struct router *r, struct session *s, const struct sfu_wait *w,
                         const struct wr *body)
{
    if (body->bad)
        answer_error(r, s, w, SIG_ERR_INTERNAL, (struct slice){0});
    else
        send_answer(r, s, w, wr_done(body));
}

static void reply_join(struct router *r, struct session *s, const struct sfu_wait *w,
                       struct seat *seat, const struct ctl_msg *m)
{
    const struct sig_head head = head_of(w);
    const struct server_conf *c = r->conf;
    struct wr body = router_body(r);

    sig_room_open(&body, &head);
    sig_room_text(&body, "participantId", seat->id);
    write_answer(&body, seat, m);
    sig_room_facts(&body, seat->room->id, (unsigned)c->room.participants, (unsigned)c->room.tracks,
                   (unsigned)c->room.slots, (unsigned)c->room.metadata_bytes);
    sig_room_perms(&body, &seat->perms);
    sig_room_word(&body, "role", sig_room_role_name(seat->role));
    write_ice(r, &body, seat->user);
    const struct list *rest = router_room_people(&body, seat->room, seat, NULL);
    sig_room_truth(&body, "more", rest != NULL);
    sig_room_end(&body);
    send_or_fail(r, s, w, &body);
    router_room_rest(r, seat, rest);
}

static void reply_offer(struct router *r, struct session *s, const struct sfu_wait *w,
                        const struct seat *seat, const struct ctl_msg *m)
{
    const struct sig_head head = head_of(w);
    struct wr body = router_body(r);

    sig_room_open(&body, &head);
    write_answer(&body, seat, m);
    sig_room_end(&body);
    send_or_fail(r, s, w, &body);
}

static void reply_slots(struct router *r, struct session *s, const struct sfu_wait *w,
                        const struct seat *seat)
{
    const struct sig_head head = head_of(w);
    struct wr body = router_body(r);

    sig_room_open(&body, &head);
    router_room_write_slots(&body, seat);
    sig_room_end(&body);
    send_or_fail(r, s, w, &body);
}

static void reply_empty(struct router *r, struct session *s, const struct sfu_wait *w)
{
    const struct sig_head head = head_of(w);
    struct wr body = router_body(r);

    sig_server_raw(&body, &head, SLICE_LIT("{}"));
    send_answer(r, s, w, wr_done(&body));
}

/* It worked: the room hears it, then the client. */
static void succeeded(struct router *r, struct session *s, const struct sfu_wait *w,
                      struct seat *seat, const struct ctl_msg *m)
{
    switch (w->type) {
    case CTL_JOIN:
        seat_joined(r->rooms, seat, m, r->now_us);
        counter_inc(&r->count.joins_ok);
        if (!has_asker(s, w))
            break;
        if (w->request == SIG_ROOM_JOIN)
            reply_join(r, s, w, seat, m);
        else
            reply_offer(r, s, w, seat, m);
        if (s) {
            router_update_in_call(r, s);
            router_saves_whole(r, s);
        }
        break;
    case CTL_OFFER:
        seat_offered(r->rooms, seat, m, r->now_us);
        if (has_asker(s, w))
            reply_offer(r, s, w, seat, m);
        break;
    case CTL_SUBSCRIBE:
        seat_set_slots(seat, m->u.slots.v, m->u.slots.n);
        if (has_asker(s, w))
            reply_slots(r, s, w, seat);
        break;
    case CTL_UNPUBLISH:
        seat_unpublished(r->rooms, seat, slice_of(w->track, w->track_len));
        if (has_asker(s, w))
            reply_empty(r, s, w);
        break;
    default:
        if (has_asker(s, w))
            reply_empty(r, s, w);
        break;
    }
}

/* A fresh join of which nobody knows whether it was done: the client has no answer to it. */
static void forget_media(struct router *r, const struct seat *seat)
{
    r->ctl = (struct ctl_msg){.type = CTL_LEAVE, .room = seat->room->id, .participant = seat->id};
    router_sfu_tell(r, seat->room);
}

/* It did not: a join leaves nothing behind; a seat that the SFU does not know starts over. */
static void failed(struct router *r, struct session *s, const struct sfu_wait *w, struct seat *seat,
                   const struct ctl_msg *m)
{
    bool unknown =
        m && (m->u.error.code == CTL_ERR_NO_ROOM || m->u.error.code == CTL_ERR_NO_PARTICIPANT);
    struct slice message =
        m && m->u.error.code == CTL_ERR_REJECTED ? m->u.error.text : (struct slice){0};

    answer_error(r, s, w, error_of(m), message);
    if (w->type == CTL_JOIN)
        counter_inc(&r->count.joins_failed);
    if (seat && !seat->in)
        seat_leave(r->rooms, seat, ROOM_REASON_LEFT, r->now_us);
    else if (seat && unknown && w->type != CTL_JOIN)
        seat_media_lost(r->rooms, seat, r->now_us);
    else if (seat && !m && w->type == CTL_JOIN)
        forget_media(r, seat);
}

/* Asks the node of a room who is there. */
static void sync_room(struct router *r, struct room *room)
{
    struct sfu_wait *w = mem_zalloc(sizeof(*w));
    struct wr ids = wr_init(r->ids, sizeof(r->ids));

    wr_u8(&ids, '[');
    room_sync_write(room, &ids);
    wr_u8(&ids, ']');
    if (!w || ids.bad) { /* the SFU then closes the room: its seats start over */
        mem_free(w);
        return;
    }
    w->type = CTL_SYNC;
    w->room_len = copy_in(w->room, sizeof(w->room), room->id);
    list_append(&r->waits, &w->link);
    r->ctl = (struct ctl_msg){.type = CTL_SYNC, .room = room->id};
    r->ctl.u.sync.participants = wr_done(&ids);
    if (node_request(r->nodes[room->node], &r->ctl, w, r->now_us) != 0)
        router_sfu_drop_wait(w);
}

static void restart_room(struct router *r, struct room *room)
{
    counter_inc(&r->count.room_restarts);
    room_media_lost(r->rooms, room, ROOM_REASON_SFU_LOST, r->now_us);
}

void router_sfu_adopt(struct router *r, struct room *room, struct slice from)
{
    struct sfu_wait *w = mem_zalloc(sizeof(*w));

    if (!w || room->node == ROOM_NODE_NONE) {
        mem_free(w);
        restart_room(r, room);
        return;
    }
    w->type = CTL_ADOPT;
    w->room_len = copy_in(w->room, sizeof(w->room), room->id);
    list_append(&r->waits, &w->link);
    r->ctl = (struct ctl_msg){.type = CTL_ADOPT, .room = room->id};
    r->ctl.u.adopt.from = from;
    if (node_request(r->nodes[room->node], &r->ctl, w, r->now_us) == 0)
        return;
    router_sfu_drop_wait(w);
    restart_room(r, room);
}

/* The node has given us the room of a server that is gone, or has not. */
static void adopted(struct router *r, const struct node *n, const struct sfu_wait *w,
                    const struct ctl_msg *m)
{
    struct room *room = room_by_id(r->rooms, slice_of(w->room, w->room_len));

    if (!room || room->node == ROOM_NODE_NONE || r->nodes[room->node] != n)
        return;
    if (m && m->kind == CTL_KIND_REPLY)
        sync_room(r, room);
    else
        restart_room(r, room);
}

static void synced(struct router *r, const struct node *n, const struct sfu_wait *w,
                   const struct ctl_msg *m)
{
    struct room *room = room_by_id(r->rooms, slice_of(w->room, w->room_len));

    if (!room || room->node == ROOM_NODE_NONE || r->nodes[room->node] != n)
        return;
    if (m && m->kind == CTL_KIND_REPLY)
        room_synced(r->rooms, room, m->u.synced.states, r->now_us);
    else if (node_up(n)) /* too slow: until it is answered the two may differ */
        sync_room(r, room);
}

/* The seat ended while the SFU was at work: it left, or a later join of the device took its place.
 */
static void seat_gone(struct router *r, struct session *s, const struct sfu_wait *w)
{
    struct slice room = slice_of(w->room, w->room_len);
    bool there = s && seat_of(r->rooms, room, user_id(s->user), session_device(s));

    if (w->request == SIG_ROOM_JOIN || there)
        answer_error(r, s, w, SIG_ERR_ROOM_INVALID_STATE,
                     SLICE_LIT("a later request of this device took its place"));
    else
        answer_error(r, s, w, SIG_ERR_ROOM_NOT_FOUND, (struct slice){0});
}

static void on_answered(void *arg, struct node *n, void *ctx, const struct ctl_msg *m)
{
    struct router *r = arg;
    struct sfu_wait *w = ctx;
    struct seat *seat = seat_find(r->rooms, wait_participant(w));
    struct session *s = w->far ? NULL : session_by_id(r->sessions, w->session);

    list_del(&w->link);
    if (seat && (w->type == CTL_JOIN || w->type == CTL_OFFER))
        seat->busy = false;
    if (s && s->ending)
        s = NULL;
    if (w->type == CTL_SYNC)
        synced(r, n, w, m);
    else if (w->type == CTL_ADOPT)
        adopted(r, n, w, m);
    else if (!seat)
        seat_gone(r, s, w);
    else if (m && m->kind == CTL_KIND_REPLY)
        succeeded(r, s, w, seat, m);
    else
        failed(r, s, w, seat, m);
    mem_free(w);
}

/* ---- events ---- */

static size_t index_of(const struct router *r, const struct node *n)
{
    for (size_t i = 0; i < r->nodes_n; i++)
        if (r->nodes[i] == n)
            return i;
    return ROOM_NODE_NONE;
}

/* Both parties of a call have media in the room that continues it: the call is over. */
static void check_migrated(struct router *r, struct room *room)
{
    const struct call *c = room->has_call ? call_table_find(r->calls, &room->call) : NULL;

    if (!c || !call_live(c) || call_rings(c))
        return;
    const struct seat *a = seat_of(r->rooms, room->id, call_caller(c), call_caller_device(c));
    const struct seat *b = seat_of(r->rooms, room->id, call_callee(c), call_winner(c));
    if (!a || !b || seat_state(a) != SIG_ROOM_CONNECTED || seat_state(b) != SIG_ROOM_CONNECTED)
        return;
    room->has_call = false;
    router_room_changed(r, room, NULL, false);
    (void)router_call_end(r, &room->call, SIG_REASON_ROOM_MIGRATED);
}

static void on_event(void *arg, struct node *n, const struct ctl_msg *m)
{
    struct router *r = arg;
    struct room *room = room_by_id(r->rooms, m->room);

    if (!room || room->node != index_of(r, n))
        return;
    switch (m->type) {
    case CTL_LAYERS:
    case CTL_NEGOTIATE:
    case CTL_SPEAKERS:
    case CTL_QUALITY:
        if (m->type == CTL_QUALITY)
            router_quality_room(r, room, m);
        router_room_pass(r, room, m);
        break;
    default:
        room_sfu_event(r->rooms, room->node, m, r->now_us);
        if (m->type == CTL_STATE)
            check_migrated(r, room);
        break;
    }
}

/* ---- changes ---- */

/* Runs fn over the rooms of a node. */
static void each_room(struct router *r, size_t node, void (*fn)(struct router *, struct room *))
{
    struct hnode *saved = NULL;
    size_t pos = 0;

    for (struct room *room; (room = room_walk(r->rooms, &pos, &saved));)
        if (room->node == node)
            fn(r, room);
}

/* The node may close what no sync has named. Of several servers not at once: rooms of a former
 * process of ours may be on their way to others, or to us. */
static void end_sync(struct router *r, struct node *n)
{
    if (!router_far_sync_waits(r))
        node_sync_end(n, r->now_us);
}

static void on_changed(void *arg, struct node *n, enum node_change what)
{
    struct router *r = arg;
    size_t i = index_of(r, n);

    switch (what) {
    case NODE_CAME:
        log_info("sfu", "%.*s is up", SLICE_FMT(node_name(n)));
        each_room(r, i, sync_room);
        end_sync(r, n);
        break;
    case NODE_WENT:
        log_warn("sfu", "%.*s: the connection is gone", SLICE_FMT(node_name(n)));
        break;
    case NODE_FORGOT:
        log_warn("sfu", "%.*s has restarted: its rooms start over", SLICE_FMT(node_name(n)));
        each_room(r, i, restart_room);
        end_sync(r, n);
        break;
    case NODE_REFUSED:
        if (router_has_other_node(r, i))
            node_give_up(n);
        break;
    case NODE_GIVEN_UP:
        log_error("sfu", "%.*s does not come back: its rooms start over on another node",
                  SLICE_FMT(node_name(n)));
        each_room(r, i, restart_room);
        break;
    }
}

const struct node_ops router_sfu_ops = {on_answered, on_event, on_changed};
