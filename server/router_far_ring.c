/* room.invite, while there are other nodes: where those who are to be rung are, and whether they
 * are busy there.
 *
 * Called by router_room.c. Pure.
 *
 *     room.invite ─► presence and calls of each user, all asked at once ─►
 * router_room_invite_now(): one call for each, run by this node; its devices elsewhere as those of
 * every call
 *
 * Without Redis, or when it does not answer in time, those are rung who are here or can be pushed;
 * of the others it is not known whether they can be reached. SPDX-License-Identifier: BSD-3-Clause
 */
#include "base/mem.h"
#include "proto/json.h"
#include "server/router_far_priv.h"

struct room_ring;

/* One who is to be rung. */
struct ring_user {
    struct room_ring *ring;
    struct presence_lookup lookup;
    struct redis_call look;
    bool looking, failed;
    uint8_t user_len;
    uint8_t user[SIG_USER_MAX];
    size_t there_n, busy;
    struct far_there there[PRESENCE_DEVICES_MAX];
};

/* An invitation under way, and who asked. */
struct room_ring {
    struct list link;
    struct router *r;
    uint64_t by_us, id_hash;
    unsigned open; /* answers that have not come */
    bool done;     /* it is performed */
    size_t n;
    struct ring_user v[SIG_ROOM_INVITE_MAX];
    bool far;
    uint64_t epoch;
    uint8_t session[SESSION_ID_BYTES];
    uint8_t node_len, user_len, device_len, name_len;
    uint8_t node[NODE_BUS_NODE_MAX], user[SIG_USER_MAX], device[SIG_DEVICE_MAX],
        name[SESSION_NAME_MAX];
    size_t len;
    uint8_t text[];
};

static uint8_t copy_in(uint8_t *to, size_t cap, struct slice from)
{
    size_t n = from.len < cap ? from.len : cap;

    if (n > 0)
        memcpy(to, from.p, n);
    return (uint8_t)n;
}

static struct slice user_of(const struct ring_user *u)
{
    return slice_of(u->user, u->user_len);
}

static void ring_free(struct room_ring *k)
{
    for (size_t i = 0; i < k->n; i++) {
        redis_client_cancel(k->r->far->nodes.claims->client, &k->v[i].look);
        if (k->v[i].looking)
            presence_store_cancel(k->r->store, &k->v[i].lookup);
    }
    list_del(&k->link);
    mem_free(k);
}

/* ---- ringing ---- */

/* What is known of one of them beyond this node; devices: memory for it. */
static struct router_invite more_of(struct room_ring *k, struct slice user,
                                    struct call_device devices[PRESENCE_DEVICES_MAX],
                                    const struct ring_user **found)
{
    struct router_invite more = {.devices = devices};

    *found = NULL;
    for (size_t i = 0; i < k->n; i++) {
        const struct ring_user *u = &k->v[i];
        if (!slice_eq(user_of(u), user))
            continue;
        *found = u;
        more.busy = u->busy;
        for (size_t n = 0; n < u->there_n; n++) {
            const struct far_there *t = &u->there[n];
            struct slice device = slice_of(t->device, t->device_len);
            if (t->can_rooms && !router_find_session(k->r, user, device))
                devices[more.devices_n++] = (struct call_device){device, t->attached, t->can_wait};
        }
    }
    return more;
}

/* Legs of the call for its devices elsewhere. */
static void place(const struct room_ring *k, const struct ring_user *u,
                  const struct sig_call_id *call, const struct router_invite *more)
{
    for (size_t i = 0; i < u->there_n; i++) {
        const struct far_there *t = &u->there[i];
        struct slice device = slice_of(t->device, t->device_len);
        for (size_t n = 0; n < more->devices_n; n++)
            if (slice_eq(more->devices[n].device, device))
                router_far_place(k->r, call, user_of(u), device, slice_of(t->node, t->node_len),
                                 t->epoch);
    }
}

enum sig_err router_far_ring_one(const struct request *q, const struct room *room,
                                 struct slice user, const struct sig_room_invite *in,
                                 struct slice card, struct sig_call_id *call)
{
    struct call_device devices[PRESENCE_DEVICES_MAX];
    const struct ring_user *u = NULL;
    struct router *r = q->r;
    struct far *f = r->far;
    struct router_invite more = {0};

    if (f && f->ringing)
        more = more_of(f->ringing, user, devices, &u);
    if (u && u->failed && u->there_n == 0 && !user_find(r->sessions, user) &&
        router_push_count(r, user) == 0)
        return SIG_ERR_STORE_UNAVAILABLE;
    router_new_call_id(call);
    if (u)
        place(f->ringing, u, call, &more);
    if (q->far)
        router_far_place(r, call, request_user(q), request_device(q), q->far->node, q->far->epoch);
    enum sig_err err = router_ring_into(q, room, user, in, card, &more, call);
    const struct call *c = call_table_find(r->calls, call);
    if (!f)
        return err;
    if (err == SIG_OK && c && call_live(c)) {
        uint64_t life_us = r->conf->call.max_duration_s * US_PER_S;
        (void)call_claims_user(f->nodes.claims, NULL, call, request_user(q), life_us, r->now_us);
        (void)call_claims_user(f->nodes.claims, NULL, call, user, life_us, r->now_us);
        return err;
    }
    for (size_t n = 0; n < more.devices_n; n++)
        router_far_unplace(r, call, user, more.devices[n].device);
    router_far_unplace(r, call, request_user(q), request_device(q));
    return err;
}

static void perform(struct room_ring *k)
{
    struct router *r = k->r;
    struct wr scratch = wr_init(r->scratch, sizeof(r->scratch));
    struct far_who who = {.node = slice_of(k->node, k->node_len),
                          .epoch = k->epoch,
                          .user = slice_of(k->user, k->user_len),
                          .device = slice_of(k->device, k->device_len),
                          .name = slice_of(k->name, k->name_len),
                          .may_call = true};
    struct session *s = k->far ? NULL : session_by_id(r->sessions, k->session);
    struct sig_fault fault;
    struct sig_msg m;

    if ((!k->far && (!s || s->ending)) ||
        sig_decode(&m, slice_of(k->text, k->len), &scratch, &fault) != 0)
        return;
    memcpy(who.session, k->session, sizeof(who.session));
    const struct request q = {.r = r,
                              .c = s ? s->client : NULL,
                              .s = s,
                              .far = k->far ? &who : NULL,
                              .m = &m,
                              .text = slice_of(k->text, k->len),
                              .scratch = &scratch,
                              .id_hash = k->id_hash};
    r->far->ringing = k;
    router_room_invite_now(&q);
    r->far->ringing = NULL;
}

/* Goes on when all is there, or time is up. May free k. */
static void look_at(struct room_ring *k)
{
    if (k->done || (k->open > 0 && k->r->now_us < k->by_us))
        return;
    k->done = true;
    for (size_t i = 0; k->open > 0 && i < k->n; i++)
        k->v[i].failed = true;
    perform(k);
    ring_free(k);
}

/* ---- asking ---- */

static void on_there(struct presence_lookup *l, int err, const struct presence_entry *entries,
                     size_t n)
{
    struct ring_user *u = l->arg;

    router_enter(u->ring->r);
    u->looking = false;
    u->ring->open--;
    u->failed = u->failed || err != 0;
    for (size_t k = 0; k < n && u->there_n < PRESENCE_DEVICES_MAX; k++)
        u->there_n += far_there_of(&u->there[u->there_n], &entries[k]);
    if (!u->ring->done)
        look_at(u->ring);
}

static void on_look(struct redis_call *call, enum redis_end end, const struct resp *reply,
                    uint64_t now_us)
{
    struct ring_user *u = call->arg;
    const struct far *f = u->ring->r->far;
    struct call_claim c;

    (void)now_us;
    router_enter(u->ring->r);
    u->ring->open--;
    if (end != REDIS_ANSWERED || reply->kind != RESP_ARRAY)
        u->failed = true;
    for (size_t i = 0; !u->failed && i < reply->n && i < FAR_FOUND_MAX; i++)
        u->busy += call_claim_of_user(&c, resp_text(resp_at(reply, i))) == 0 &&
                   !far_claim_is_ours(f, &c) && far_claim_alive(f, &c) != NODE_DEAD;
    look_at(u->ring);
}

static struct room_ring *ring_new(const struct request *q)
{
    struct router *r = q->r;
    struct room_ring *k = mem_zalloc(sizeof(*k) + q->text.len);

    if (!k)
        return NULL;
    k->r = r;
    k->by_us = r->now_us + FAR_ANSWER_US;
    k->id_hash = q->id_hash;
    memcpy(k->session, request_session(q), sizeof(k->session));
    k->user_len = copy_in(k->user, sizeof(k->user), request_user(q));
    k->device_len = copy_in(k->device, sizeof(k->device), request_device(q));
    k->name_len = copy_in(k->name, sizeof(k->name), request_name(q));
    k->far = q->far != NULL;
    if (q->far) {
        k->epoch = q->far->epoch;
        k->node_len = copy_in(k->node, sizeof(k->node), q->far->node);
    }
    k->len = q->text.len;
    memcpy(k->text, q->text.p, q->text.len);
    list_append(&r->far->rings, &k->link);
    return k;
}

bool router_far_ring(const struct request *q, struct slice users)
{
    struct router *r = q->r;
    struct room_ring *k = r->far && far_hold_may_ask(r, true) ? ring_new(q) : NULL;
    struct json_items it = json_items(users);
    struct slice item, user;

    if (!k)
        return false;
    while (k->n < SIG_ROOM_INVITE_MAX && json_items_next(&it, &item)) {
        struct ring_user *u = &k->v[k->n];
        struct wr mem = wr_init(u->user, sizeof(u->user));
        if (!json_text(item, &user, &mem))
            break; /* cannot be: the reader has seen them */
        if (user.p != u->user)
            memcpy(u->user, user.p, user.len);
        u->user_len = (uint8_t)user.len;
        u->ring = k;
        k->n++;
    }
    k->open = 1; /* answers may come inside */
    for (size_t i = 0; i < k->n; i++) {
        struct ring_user *u = &k->v[i];
        u->look =
            (struct redis_call){.fn = on_look, .arg = u, .deadline_us = k->by_us, .again = true};
        if (call_claims_look(r->far->nodes.claims, &u->look, user_of(u), r->now_us) == 0)
            k->open++;
        u->lookup = (struct presence_lookup){.fn = on_there, .arg = u};
        u->looking = true;
        k->open++;
        presence_store_lookup(r->store, user_of(u), &u->lookup);
    }
    k->open--;
    look_at(k);
    return true;
}

bool router_far_ring_waits(const struct router *r, const struct session *s, uint64_t id_hash)
{
    LIST_EACH(link, tmp, &r->far->rings)
    {
        const struct room_ring *k = CONTAINER_OF(link, struct room_ring, link);
        if (!k->far && k->id_hash == id_hash && memcmp(k->session, s->id, sizeof(k->session)) == 0)
            return true;
    }
    return false;
}

/* ---- time ---- */

uint64_t far_rings_deadline(const struct router *r)
{
    const struct list *first = list_first(&r->far->rings);

    return first ? CONTAINER_OF(first, const struct room_ring, link)->by_us : CLOCK_NEVER;
}

void far_rings_tick(struct router *r)
{
    LIST_EACH(link, tmp, &r->far->rings)
    look_at(CONTAINER_OF(link, struct room_ring, link));
}

void far_rings_free(struct router *r)
{
    LIST_EACH(link, tmp, &r->far->rings)
    ring_free(CONTAINER_OF(link, struct room_ring, link));
}
