/* Our rooms where others find them when we die; others' rooms when they have died.
 *
 * Called by the room table (something has changed), router_far_room.c (a room of a dead node is
 * ours) and ticks. Pure.
 *
 *     router_room_changed() ─► dirty ─► end of the turn: the room, seats ─► Redis ─ another's? ─►
 *     far_room_lose(): our sessions go on as guests there
 *
 * A seat is saved when it is in; what the SFU tells anyway is not. SPDX-License-Identifier:
 * BSD-3-Clause */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/call_share.h"
#include "server/room_share.h"
#include "server/room_snapshot.h"
#include "server/router_far_priv.h"

#define SPARE_US (60 * US_PER_S)
#define RENEWALS 3 /* in the life of what is saved */

/* A save under way. */
struct room_save {
    struct list link;
    struct router *r;
    struct redis_call call;
    bool lapse; /* the room may have been taken */
    uint8_t room_len;
    uint8_t room[SIG_ROOM_MAX];
};

/* A room that another node has taken: its media here is that one's, as soon as it has asked the
 * media server for it. What it does not ask for is closed later. */
struct room_left {
    struct list link;
    size_t node;
    uint64_t due_us;
    uint8_t room_len;
    uint8_t room[SIG_ROOM_MAX];
};

unsigned far_room_scripts(const struct router *r)
{
    return r->far->nodes.claims->first + CALL_SHARE_SCRIPTS + SESSION_SHARE_SCRIPTS;
}

/* A room outlives its node until nobody of it can resume any more: who comes later begins anew. */
uint64_t far_room_life_us(const struct router *r)
{
    return r->conf->session.resume_ttl_s * US_PER_S + SPARE_US;
}

/* ---- what has changed ---- */

static void make_dirty(struct router *r, struct room *room)
{
    if (!list_linked(&room->dirty))
        list_append(&r->far->dirty_rooms, &room->dirty);
}

/* A seat that was saved has ended. */
static void remember_gone(struct room *room, const struct seat *s)
{
    struct room_gone *g = mem_zalloc(sizeof(*g));

    if (!g)
        return; /* who takes the room over waits for it in vain, until its time is up */
    g->id_len = (uint8_t)(s->id.len < sizeof(g->id) ? s->id.len : sizeof(g->id));
    memcpy(g->id, s->id.p, g->id_len);
    list_append(&room->seats_gone, &g->link);
}

/* Its record in Redis names other rooms than before. */
static void rooms_changed(struct router *r, const uint8_t session[SESSION_ID_BYTES])
{
    struct session *s = session_by_id(r->sessions, session);

    if (s && !s->ending)
        router_saves_whole(r, s);
}

void router_room_changed(void *arg, struct room *room, struct seat *s, bool gone)
{
    struct router *r = arg;

    if (!r->far)
        return;
    if (!s)
        room->whole = true;
    else if (!gone)
        s->dirty = true;
    else if (s->in)
        remember_gone(room, s);
    if (gone && s->at.where == SEAT_HERE)
        rooms_changed(r, s->at.session);
    make_dirty(r, room);
}

void router_room_ended(void *arg, struct room *room)
{
    struct router *r = arg;

    if (r->far)
        room_share_drop(r->far->nodes.claims, far_room_scripts(r), room->id, r->now_us);
}

/* ---- saving ---- */

static void all_dirty(struct router *r, struct room *room)
{
    room->whole = true;
    LIST_EACH(l, tmp, &room->seats)
    CONTAINER_OF(l, struct seat, of_room)->dirty = true;
    make_dirty(r, room);
}

static void free_save(struct room_save *k)
{
    redis_client_cancel(k->r->far->nodes.claims->client, &k->call);
    list_del(&k->link);
    mem_free(k);
}

static void on_saved(struct redis_call *call, enum redis_end end, const struct resp *reply,
                     uint64_t now_us)
{
    struct room_save *k = call->arg;
    struct router *r = k->r;
    struct room *room = room_by_id(r->rooms, slice_of(k->room, k->room_len));
    bool failed = end != REDIS_ANSWERED || reply->kind == RESP_ERROR, lapse = k->lapse;
    struct slice node;
    uint64_t epoch;

    (void)now_us;
    router_enter(r);
    free_save(k);
    if (room && failed)
        all_dirty(r, room);
    else if (room && call_share_owner(resp_text(reply), &epoch, &node) == 0)
        far_room_lose(r, room, node, epoch);
    if (lapse)
        far_known(r, failed);
}

/* Adds a field: name is prefix and id. False: it does not fit, try once more in a save of its own.
 */
static bool add_field(struct room_share_save *out, struct wr *w, size_t name_at, size_t value_at)
{
    if (w->bad || out->fields_n + 2 > ARRAY_LEN(out->fields))
        return false;
    out->fields[out->fields_n++] = slice_of(w->base + name_at, value_at - name_at);
    out->fields[out->fields_n++] = slice_of(w->base + value_at, w->len - value_at);
    return true;
}

static struct slice sfu_name(const struct router *r, const struct room *room)
{
    return room->node != ROOM_NODE_NONE ? node_name(r->nodes[room->node]) : (struct slice){0};
}

/* Fills one save with what is dirty. Gives whether something is left. */
static bool gather(struct router *r, struct room *room, struct room_share_save *out, struct wr *w)
{
    LIST_EACH(l, tmp, &room->seats_gone)
    {
        struct room_gone *g = CONTAINER_OF(l, struct room_gone, link);
        size_t at = w->len;
        if (out->gone_n == ARRAY_LEN(out->gone))
            return true;
        wr_u8(w, 's');
        wr_bytes(w, slice_of(g->id, g->id_len));
        out->gone[out->gone_n++] = slice_of(w->base + at, w->len - at);
        list_del(l);
        mem_free(g);
    }
    if (room->whole) {
        size_t at = w->len;
        wr_u8(w, 'r');
        room_snapshot_write(w, room, sfu_name(r, room), slice_str(r->conf->server.node_id));
        if (!add_field(out, w, at, at + 1))
            return true;
        room->whole = false;
    }
    LIST_EACH(l, tmp, &room->seats)
    {
        struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        size_t at = w->len;
        if (!s->dirty || !s->in)
            continue;
        if (w->cap - w->len < ROOM_SNAPSHOT_SEAT_MAX + CTL_PARTICIPANT_MAX ||
            out->fields_n == ARRAY_LEN(out->fields))
            return true;
        wr_u8(w, 's');
        wr_bytes(w, s->id);
        size_t value = w->len;
        room_snapshot_seat_write(w, s, r->now_us, r->wall_us);
        s->dirty = false;
        (void)add_field(out, w, at, value);
    }
    return false;
}

/* Saves some of what is dirty. Gives whether something is left. */
static bool save(struct router *r, struct room *room)
{
    struct room_share_save out = {.fields_n = 0};
    struct wr w = wr_init(r->far->room_body, sizeof(r->far->room_body));
    bool more = gather(r, room, &out, &w);

    room->saved_us = r->now_us;
    struct room_save *k = mem_zalloc(sizeof(*k));

    if (!k)
        return false; /* the next change saves the rest; a takeover meanwhile loses it */
    k->r = r;
    k->room_len = (uint8_t)room->id.len;
    memcpy(k->room, room->id.p, room->id.len);
    k->call = (struct redis_call){.fn = on_saved, .arg = k, .again = true};
    list_append(&r->far->room_saves, &k->link);
    k->lapse = r->far->rooms_ask;
    if (room_share_keep(r->far->nodes.claims, far_room_scripts(r), &k->call, room->id, &out,
                        far_room_life_us(r), r->now_us) == 0) {
        r->far->asking += k->lapse;
    } else {
        r->far->ask_failed = r->far->ask_failed || k->lapse;
        free_save(k);
    }
    return more;
}

/* What nothing has happened to for long is said to live. */
static void renew(struct router *r)
{
    struct hnode *saved = NULL;
    size_t pos = 0;

    for (struct room *room; (room = room_walk(r->rooms, &pos, &saved));)
        if (r->now_us >= room->saved_us + far_room_life_us(r) / RENEWALS)
            make_dirty(r, room);
}

static void leave_media(struct router *r, const struct room *room)
{
    struct room_left *k = room->node != ROOM_NODE_NONE ? mem_zalloc(sizeof(*k)) : NULL;

    if (!k)
        return;
    k->node = room->node;
    k->due_us = r->now_us + FAR_ADOPT_US;
    k->room_len = (uint8_t)room->id.len;
    memcpy(k->room, room->id.p, room->id.len);
    list_append(&r->far->rooms_left, &k->link);
}

/* Closes what nobody has asked for; what has is not ours there any more. */
static void close_left(struct router *r)
{
    LIST_EACH(l, tmp, &r->far->rooms_left)
    {
        struct room_left *k = CONTAINER_OF(l, struct room_left, link);
        const struct slice id = slice_of(k->room, k->room_len);
        const struct room *room = room_by_id(r->rooms, id);
        if (k->due_us > r->now_us)
            return;
        r->ctl = (struct ctl_msg){.type = CTL_CLOSE_ROOM, .room = id};
        if (r->nodes[k->node] && (!room || room->node != k->node)) /* else it is here again */
            (void)node_request(r->nodes[k->node], &r->ctl, NULL, r->now_us);
        list_del(l);
        mem_free(k);
    }
}

void far_rooms_save(struct router *r, bool ready)
{
    struct list now, *l;

    list_init(&now);
    while ((l = list_first(&r->far->dirty_rooms))) {
        list_del(l);
        list_append(&now, l);
    }
    while ((l = list_first(&now))) {
        struct room *room = CONTAINER_OF(l, struct room, dirty);
        list_del(l);
        while (ready && save(r, room)) /* else all are saved when it is back */
            ;
    }
    r->far->rooms_ask = false;
    close_left(r);
    if (!ready || r->now_us < r->far->renew_us)
        return;
    r->far->renew_us = r->now_us + US_PER_S;
    renew(r);
}

void far_rooms_save_all(struct router *r)
{
    struct hnode *saved = NULL;
    size_t pos = 0;

    r->far->rooms_ask = true;
    for (struct room *room; (room = room_walk(r->rooms, &pos, &saved));)
        all_dirty(r, room);
}

bool far_rooms_wait(const struct router *r)
{
    return !list_empty(&r->far->dirty_rooms);
}

void far_rooms_keep_free(struct router *r)
{
    LIST_EACH(l, tmp, &r->far->room_saves)
    free_save(CONTAINER_OF(l, struct room_save, link));
    while (!list_empty(&r->far->dirty_rooms))
        list_del(list_first(&r->far->dirty_rooms));
    LIST_EACH(l, tmp, &r->far->rooms_left)
    {
        list_del(l);
        mem_free(CONTAINER_OF(l, struct room_left, link));
    }
}

/* ---- another's ---- */

static size_t node_by_name(const struct router *r, struct slice name)
{
    for (size_t i = 0; i < r->nodes_n; i++)
        if (r->nodes[i] && slice_eq(node_name(r->nodes[i]), name))
            return i;
    return ROOM_NODE_NONE;
}

struct room *far_room_restore(struct router *r, struct slice id, const struct resp *reply,
                              struct slice *server)
{
    struct slice sfu;
    struct room *room = NULL;
    size_t seats = 0;

    for (size_t i = 1; !room && i + 1 < reply->n; i += 2)
        if (slice_is(resp_text(resp_at(reply, i)), "r"))
            room = room_snapshot_read(r->rooms, id, resp_text(resp_at(reply, i + 1)), &sfu, server,
                                      r->now_us);
    if (!room)
        return NULL;
    for (size_t i = 1; i + 1 < reply->n; i += 2) {
        struct slice name = resp_text(resp_at(reply, i));
        if (name.len > 1 && name.p[0] == 's' &&
            room_snapshot_seat_read(r->rooms, room, slice_sub(name, 1, name.len),
                                    resp_text(resp_at(reply, i + 1)), r->now_us, r->wall_us))
            seats++;
    }
    room->node = node_by_name(r, sfu);
    counter_inc(&r->count.rooms_taken);
    log_info("room", "%.*s goes on here with %zu seats: the node that ran it is gone",
             SLICE_FMT(room->id), seats);
    all_dirty(r, room);
    return room;
}

void far_room_lose(struct router *r, struct room *room, struct slice node, uint64_t epoch)
{
    log_warn("room", "%.*s is run by node %.*s now", SLICE_FMT(room->id), SLICE_FMT(node));
    LIST_EACH(l, tmp, &room->seats)
    {
        const struct seat *seat = CONTAINER_OF(l, struct seat, of_room);
        if (seat->at.where == SEAT_THERE)
            far_seat_lost(r, seat);
        struct session *s = seat->at.where == SEAT_HERE && seat->in && !seat->orphan
                                ? session_by_id(r->sessions, seat->at.session)
                                : NULL;
        struct far_seat *k = s ? far_seat_need(r, room->id, seat->at.session, node, epoch) : NULL;
        if (!k)
            continue;
        k->in = true;
        k->participant_len = (uint8_t)seat->id.len;
        memcpy(k->participant, seat->id.p, seat->id.len);
        far_seat_tell(r, k, s, s->client ? ROOM_WIRE_BACK : ROOM_WIRE_LOST);
    }
    leave_media(r, room);
    room_forget(r->rooms, room);
}
