/* What this node says of its users in Redis: their devices here, and whom it watches.
 *
 * Called by presence_store_redis.c. Pure.
 *
 *     own       a device with a session here: what Redis is to say of it. Its write is in flight,
 *               or it waits on `behind`; a removed one lives until Redis has heard of it
 *     place     a user: own devices, and whether somebody here watches
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/presence_place.h"

#include "base/crypto.h"
#include "base/hash.h"
#include "base/mem.h"

#define REFRESH_US    (6 * 3600 * US_PER_S) /* all is written anew so often */
#define RETRY_US      (200 * US_PER_MS)     /* after a refusal */
#define IN_FLIGHT_MAX 256                   /* writes of ours at once: a reconnect is no flood */

/* ---- places ---- */

struct slice presence_place_user(const struct presence_place *p)
{
    return slice_of(p->id, p->id_len);
}

struct presence_place *presence_place_find(const struct presence_redis *m, struct slice user)
{
    for (struct hnode *n = htable_first(&m->places, hash_bytes(user)); n; n = htable_next(n)) {
        struct presence_place *p = CONTAINER_OF(n, struct presence_place, by_id);
        if (slice_eq(presence_place_user(p), user))
            return p;
    }
    return NULL;
}

struct presence_place *presence_place_need(struct presence_redis *m, struct slice user)
{
    struct presence_place *p = presence_place_find(m, user);

    if (p)
        return p;
    p = mem_zalloc(sizeof(*p) + user.len);
    if (!p)
        return NULL;
    p->m = m;
    p->id_len = user.len;
    if (user.len > 0)
        memcpy(p->id, user.p, user.len);
    list_init(&p->own);
    htable_add(&m->places, &p->by_id, hash_bytes(user));
    return p;
}

void presence_place_release(struct presence_redis *m, struct presence_place *p)
{
    if (!list_empty(&p->own) || p->watched || p->telling)
        return;
    list_del(&p->behind);
    htable_del(&m->places, &p->by_id);
    mem_free(p);
}

void presence_place_tell(struct presence_redis *m, const struct presence_place *p)
{
    if (p->watched && m->store.changed)
        m->store.changed(m->store.changed_arg, presence_place_user(p));
}

struct presence_own *presence_place_own(const struct presence_place *p, struct slice device)
{
    LIST_EACH(l, tmp, &p->own)
    {
        struct presence_own *o = CONTAINER_OF(l, struct presence_own, of_place);
        if (slice_eq(o->e.device, device))
            return o;
    }
    return NULL;
}

/* ---- what Redis is told ---- */

void presence_own_behind(struct presence_redis *m, struct presence_own *o)
{
    if (o->writing) {
        o->again = true;
    } else if (!list_linked(&o->behind)) {
        list_append(&m->behind, &o->behind);
        m->behind_n++;
    }
}

void presence_own_free(struct presence_redis *m, struct presence_own *o)
{
    if (list_linked(&o->behind)) {
        list_del(&o->behind);
        m->behind_n--;
    }
    if (o->writing)
        redis_client_cancel(m->commands.client, &o->call);
    list_del(&o->of_place);
    mem_free(o);
}

static void say(struct presence_redis *m, struct slice node, const struct presence_said *said)
{
    presence_command_say(&m->commands, node, said, presence_place_now(m));
}

/* The watchers behind an "ok" are told, each in its node's channel. */
static void tell_others(struct presence_redis *m, const struct presence_place *p,
                        const struct resp *reply)
{
    const struct presence_said said = {.kind = PRESENCE_SAID_CHANGED,
                                       .user = presence_place_user(p)};

    for (size_t i = 3; i + 1 < reply->n; i += 2) {
        struct slice node = resp_text(resp_at(reply, i));
        if (node.len > 0 && node.len <= PRESENCE_WIRE_NODE_MAX && !slice_eq(node, m->conf.node))
            say(m, node, &said);
    }
}

/* Ours took the place of another session: "NODE SESSION" in from. Its node is told. */
static void tell_replaced(struct presence_redis *m, const struct presence_own *o, struct slice from)
{
    struct presence_said said = {.kind = PRESENCE_SAID_REPLACED,
                                 .user = presence_place_user(o->place),
                                 .device = o->e.device};
    const uint8_t *space = from.len > 0 ? memrchr(from.p, ' ', from.len) : NULL;

    if (!space)
        return;
    size_t at = (size_t)(space - from.p);
    struct slice node = slice_sub(from, 0, at), session = slice_sub(from, at + 1, from.len);
    if (node.len > 0 && node.len <= PRESENCE_WIRE_NODE_MAX && !slice_eq(node, m->conf.node) &&
        hex_decode(session, said.session, sizeof(said.session)) == 0)
        say(m, node, &said);
}

static void keep_stamp(struct presence_own *o, struct slice stamp)
{
    if (stamp.len == 0 || stamp.len > sizeof(o->stamp))
        return;
    memcpy(o->stamp, stamp.p, stamp.len);
    o->stamp_len = stamp.len;
}

static void retry_later(struct presence_redis *m, uint64_t now_us)
{
    if (m->retry_us == CLOCK_NEVER)
        m->retry_us = now_us + RETRY_US;
}

/* It has a newer session elsewhere: it is not ours to speak of any more. */
void presence_own_give_away(struct presence_redis *m, struct presence_own *o)
{
    struct presence_place *p = o->place;
    uint8_t text[SIG_USER_MAX + SIG_DEVICE_MAX], session[PRESENCE_SESSION_BYTES];
    struct wr w = wr_init(text, sizeof(text));
    size_t user_len = p->id_len;

    wr_bytes(&w, presence_place_user(p));
    wr_bytes(&w, o->e.device);
    struct slice both = wr_done(&w);
    memcpy(session, o->e.session, sizeof(session));
    p->own_n -= o->removed ? 0 : 1;
    presence_own_free(m, o);
    presence_place_tell(m, p);
    presence_place_release(m, p); /* before foreign code, which may end the watch */
    if (m->store.replaced)
        m->store.replaced(m->store.replaced_arg, slice_sub(both, 0, user_len),
                          slice_sub(both, user_len, both.len), session);
}

/* The user has too many devices elsewhere. Once, those of dead nodes are taken out. Gives whether
 * to write it again. */
static bool is_full(struct presence_redis *m, struct presence_own *o, uint64_t now_us)
{
    m->full++;
    if (o->swept)
        return false;
    o->swept = true;
    (void)presence_ask(&m->asks, presence_place_user(o->place), NULL, now_us);
    retry_later(m, now_us);
    return true;
}

static void on_written(struct redis_call *call, enum redis_end end, const struct resp *reply,
                       uint64_t now_us)
{
    struct presence_own *o = call->arg;
    struct presence_place *p = o->place;
    struct presence_redis *m = p->m;
    struct slice said = resp_text(resp_at(reply, 0));
    bool changed_since = o->again;

    m->in_flight--;
    o->writing = o->again = false;
    if (slice_is(said, "ok")) {
        if (!o->removed && !changed_since) {
            keep_stamp(o, resp_text(resp_at(reply, 1)));
            tell_replaced(m, o, resp_text(resp_at(reply, 2)));
        }
        tell_others(m, p, reply);
    } else if (slice_is(said, "full")) {
        changed_since = is_full(m, o, now_us) || changed_since;
    } else if (end != REDIS_ANSWERED || reply->kind == RESP_ERROR) {
        changed_since = true; /* it may have been done or not: once more, later */
        retry_later(m, now_us);
    }
    if (changed_since) {
        presence_own_behind(m, o);
    } else if (o->removed) {
        presence_own_free(m, o);
    } else if (slice_is(said, "replaced") || slice_is(said, "stale")) {
        presence_own_give_away(m, o);
        presence_place_pump(m);
        return;
    }
    presence_place_release(m, p);
    presence_place_pump(m);
}

static int write_own(struct presence_redis *m, struct presence_own *o)
{
    struct slice user = presence_place_user(o->place);

    o->call = (struct redis_call){.fn = on_written, .arg = o, .again = true};
    if (o->removed)
        return presence_command_remove(&m->commands, &o->call, user, &o->e, presence_place_now(m));
    return presence_command_put(&m->commands, &o->call, user, &o->e,
                                slice_of(o->stamp, o->stamp_len), presence_place_now(m));
}

static void on_watching(struct redis_call *call, enum redis_end end, const struct resp *reply,
                        uint64_t now_us)
{
    struct presence_place *p = call->arg;
    struct presence_redis *m = p->m;

    m->in_flight--;
    p->telling = false;
    if (p->watched && (end != REDIS_ANSWERED || reply->kind == RESP_ERROR)) {
        if (!list_linked(&p->behind))
            list_append(&m->watch_behind, &p->behind);
        retry_later(m, now_us);
    } else {
        presence_place_tell(m, p); /* what changed before we were told of changes */
    }
    presence_place_release(m, p);
    presence_place_pump(m);
}

static bool may_write(const struct presence_redis *m)
{
    return m->up && m->stands && m->in_flight < IN_FLIGHT_MAX && m->retry_us == CLOCK_NEVER &&
           !node_lease_is_lost(m->lease);
}

/* Writes what is behind, as much at once as is allowed. */
void presence_place_pump(struct presence_redis *m)
{
    struct list *first;

    while (may_write(m) && (first = list_first(&m->behind))) {
        struct presence_own *o = CONTAINER_OF(first, struct presence_own, behind);
        if (write_own(m, o) != 0) {
            retry_later(m, presence_place_now(m));
            return;
        }
        list_del(first);
        m->behind_n--;
        o->writing = true;
        m->in_flight++;
    }
    while (may_write(m) && (first = list_first(&m->watch_behind))) {
        struct presence_place *p = CONTAINER_OF(first, struct presence_place, behind);
        p->call = (struct redis_call){.fn = on_watching, .arg = p, .again = true};
        if (presence_command_watch(&m->commands, &p->call, presence_place_user(p), true,
                                   presence_place_now(m)) != 0) {
            retry_later(m, presence_place_now(m));
            return;
        }
        list_del(first);
        p->telling = true;
        m->in_flight++;
    }
}

/* All of ours is written again. */
void presence_place_write_all(struct presence_redis *m)
{
    struct hnode *n, *saved = NULL;
    size_t pos = 0;

    while ((n = htable_walk(&m->places, &pos, &saved))) {
        struct presence_place *p = CONTAINER_OF(n, struct presence_place, by_id);
        LIST_EACH(l, tmp, &p->own)
        presence_own_behind(m, CONTAINER_OF(l, struct presence_own, of_place));
        if (p->watched && !p->telling && !list_linked(&p->behind))
            list_append(&m->watch_behind, &p->behind);
    }
    m->refresh_us = presence_place_now(m) + REFRESH_US;
    presence_place_pump(m);
}
