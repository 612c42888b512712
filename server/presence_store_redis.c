/* The presence store of many nodes.
 *
 * Made by presence_link.c, used through presence_store.h. Pure.
 *
 *     own       a device with a session here: what Redis is to say of it. Its write is in flight,
 *               or it waits on `behind`; a removed one lives until Redis has heard of it
 *     place     a user: own devices, and whether somebody here watches
 *
 * Lookups are presence_ask.c's, who lives is node_lease.c's, how a command looks
 * presence_command.c's. SPDX-License-Identifier: BSD-3-Clause */
#include "server/presence_store_redis.h"

#include <assert.h>
#include <errno.h>

#include "base/crypto.h"
#include "base/hash.h"
#include "base/htable.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/presence_ask.h"

#define IN_FLIGHT_MAX 256 /* writes of ours at once: a reconnect is no flood */
#define POLL_US       (1 * US_PER_S)
#define REFRESH_US    (6 * 3600 * US_PER_S) /* and it is, so often */
#define RETRY_US      (200 * US_PER_MS)     /* after a refusal, and between looks at leases */

struct place {
    struct hnode by_id;
    struct list own;    /* struct own.of_place */
    struct list behind; /* store.watch_behind: the watch is not in Redis yet */
    struct redis_call call;
    struct redis_store *m;
    unsigned own_n;
    bool watched, telling; /* call is in flight */
    size_t id_len;
    uint8_t id[];
};

struct own {
    struct list of_place, behind; /* store.behind */
    struct place *place;
    struct redis_call call;
    bool removed, writing, again; /* again: changed while it was written */
    bool swept;                   /* the user was full: dead nodes' entries were looked for */
    struct presence_entry e;      /* device is in text; user and node are not set */
    size_t stamp_len;             /* 0: Redis gives it one */
    uint8_t stamp[PRESENCE_WIRE_STAMP_MAX];
    uint8_t text[];
};

struct redis_store {
    struct presence_store store;
    struct presence_store_redis_conf conf;
    struct presence_commands commands;
    struct node_lease *lease;
    struct presence_asks asks;
    struct htable places;
    struct list behind, watch_behind;
    size_t in_flight, behind_n;
    bool up, stands;     /* Redis is there; and our lease, so that what we write counts */
    uint64_t away_us;    /* since when it is not up */
    uint64_t refresh_us; /* when to write all anew */
    uint64_t retry_us;   /* when to look at what waits */
    uint64_t full;
};

static struct redis_store *self(struct presence_store *s)
{
    return CONTAINER_OF(s, struct redis_store, store);
}

static uint64_t now_of(const struct redis_store *m)
{
    return m->conf.now(m->conf.now_arg);
}

/* ---- places ---- */

static struct slice user_of(const struct place *p)
{
    return slice_of(p->id, p->id_len);
}

static struct place *find_place(const struct redis_store *m, struct slice user)
{
    for (struct hnode *n = htable_first(&m->places, hash_bytes(user)); n; n = htable_next(n)) {
        struct place *p = CONTAINER_OF(n, struct place, by_id);
        if (slice_eq(user_of(p), user))
            return p;
    }
    return NULL;
}

static struct place *need_place(struct redis_store *m, struct slice user)
{
    struct place *p = find_place(m, user);

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

static void release_place(struct redis_store *m, struct place *p)
{
    if (!list_empty(&p->own) || p->watched || p->telling)
        return;
    list_del(&p->behind);
    htable_del(&m->places, &p->by_id);
    mem_free(p);
}

static void tell_here(struct redis_store *m, const struct place *p)
{
    if (p->watched && m->store.changed)
        m->store.changed(m->store.changed_arg, user_of(p));
}

static struct own *find_own(const struct place *p, struct slice device)
{
    LIST_EACH(l, tmp, &p->own)
    {
        struct own *o = CONTAINER_OF(l, struct own, of_place);
        if (slice_eq(o->e.device, device))
            return o;
    }
    return NULL;
}

static bool same_session(const struct presence_entry *a,
                         const uint8_t session[PRESENCE_SESSION_BYTES])
{
    return memcmp(a->session, session, PRESENCE_SESSION_BYTES) == 0;
}

/* ---- what Redis is told ---- */

static void put_behind(struct redis_store *m, struct own *o)
{
    if (o->writing) {
        o->again = true;
    } else if (!list_linked(&o->behind)) {
        list_append(&m->behind, &o->behind);
        m->behind_n++;
    }
}

static void free_own(struct redis_store *m, struct own *o)
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

static void say(struct redis_store *m, struct slice node, const struct presence_said *said)
{
    presence_command_say(&m->commands, node, said, now_of(m));
}

/* The watchers behind an "ok" are told, each in its node's channel. */
static void tell_others(struct redis_store *m, const struct place *p, const struct resp *reply)
{
    const struct presence_said said = {.kind = PRESENCE_SAID_CHANGED, .user = user_of(p)};

    for (size_t i = 3; i + 1 < reply->n; i += 2) {
        struct slice node = resp_text(resp_at(reply, i));
        if (node.len > 0 && node.len <= PRESENCE_WIRE_NODE_MAX && !slice_eq(node, m->conf.node))
            say(m, node, &said);
    }
}

/* Ours took the place of another session: "NODE SESSION" in from. Its node is told. */
static void tell_replaced(struct redis_store *m, const struct own *o, struct slice from)
{
    struct presence_said said = {
        .kind = PRESENCE_SAID_REPLACED, .user = user_of(o->place), .device = o->e.device};
    const uint8_t *space = from.len > 0 ? memrchr(from.p, ' ', from.len) : NULL;

    if (!space)
        return;
    size_t at = (size_t)(space - from.p);
    struct slice node = slice_sub(from, 0, at), session = slice_sub(from, at + 1, from.len);
    if (node.len > 0 && node.len <= PRESENCE_WIRE_NODE_MAX && !slice_eq(node, m->conf.node) &&
        hex_decode(session, said.session, sizeof(said.session)) == 0)
        say(m, node, &said);
}

static void keep_stamp(struct own *o, struct slice stamp)
{
    if (stamp.len == 0 || stamp.len > sizeof(o->stamp))
        return;
    memcpy(o->stamp, stamp.p, stamp.len);
    o->stamp_len = stamp.len;
}

static void retry_later(struct redis_store *m, uint64_t now_us)
{
    if (m->retry_us == CLOCK_NEVER)
        m->retry_us = now_us + RETRY_US;
}

static void pump(struct redis_store *m);

/* It has a newer session elsewhere: it is not ours to speak of any more. */
static void give_away(struct redis_store *m, struct own *o)
{
    struct place *p = o->place;
    uint8_t text[SIG_USER_MAX + SIG_DEVICE_MAX], session[PRESENCE_SESSION_BYTES];
    struct wr w = wr_init(text, sizeof(text));
    size_t user_len = p->id_len;

    wr_bytes(&w, user_of(p));
    wr_bytes(&w, o->e.device);
    struct slice both = wr_done(&w);
    memcpy(session, o->e.session, sizeof(session));
    p->own_n -= o->removed ? 0 : 1;
    free_own(m, o);
    tell_here(m, p);
    release_place(m, p); /* before foreign code, which may end the watch */
    if (m->store.replaced)
        m->store.replaced(m->store.replaced_arg, slice_sub(both, 0, user_len),
                          slice_sub(both, user_len, both.len), session);
}

/* The user has too many devices elsewhere. Once, those of dead nodes are taken out. Gives whether
 * to write it again. */
static bool is_full(struct redis_store *m, struct own *o, uint64_t now_us)
{
    m->full++;
    if (o->swept)
        return false;
    o->swept = true;
    (void)presence_ask(&m->asks, user_of(o->place), NULL, now_us);
    retry_later(m, now_us);
    return true;
}

static void on_written(struct redis_call *call, enum redis_end end, const struct resp *reply,
                       uint64_t now_us)
{
    struct own *o = call->arg;
    struct place *p = o->place;
    struct redis_store *m = p->m;
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
        put_behind(m, o);
    } else if (o->removed) {
        free_own(m, o);
    } else if (slice_is(said, "replaced") || slice_is(said, "stale")) {
        give_away(m, o);
        pump(m);
        return;
    }
    release_place(m, p);
    pump(m);
}

static int write_own(struct redis_store *m, struct own *o)
{
    struct slice user = user_of(o->place);

    o->call = (struct redis_call){.fn = on_written, .arg = o, .again = true};
    if (o->removed)
        return presence_command_remove(&m->commands, &o->call, user, &o->e, now_of(m));
    return presence_command_put(&m->commands, &o->call, user, &o->e,
                                slice_of(o->stamp, o->stamp_len), now_of(m));
}

static void on_watching(struct redis_call *call, enum redis_end end, const struct resp *reply,
                        uint64_t now_us)
{
    struct place *p = call->arg;
    struct redis_store *m = p->m;

    m->in_flight--;
    p->telling = false;
    if (p->watched && (end != REDIS_ANSWERED || reply->kind == RESP_ERROR)) {
        if (!list_linked(&p->behind))
            list_append(&m->watch_behind, &p->behind);
        retry_later(m, now_us);
    } else {
        tell_here(m, p); /* what changed before we were told of changes */
    }
    release_place(m, p);
    pump(m);
}

static bool may_write(const struct redis_store *m)
{
    return m->up && m->stands && m->in_flight < IN_FLIGHT_MAX && m->retry_us == CLOCK_NEVER &&
           !node_lease_is_lost(m->lease);
}

/* Writes what is behind, as much at once as is allowed. */
static void pump(struct redis_store *m)
{
    struct list *first;

    while (may_write(m) && (first = list_first(&m->behind))) {
        struct own *o = CONTAINER_OF(first, struct own, behind);
        if (write_own(m, o) != 0) {
            retry_later(m, now_of(m));
            return;
        }
        list_del(first);
        m->behind_n--;
        o->writing = true;
        m->in_flight++;
    }
    while (may_write(m) && (first = list_first(&m->watch_behind))) {
        struct place *p = CONTAINER_OF(first, struct place, behind);
        p->call = (struct redis_call){.fn = on_watching, .arg = p, .again = true};
        if (presence_command_watch(&m->commands, &p->call, user_of(p), true, now_of(m)) != 0) {
            retry_later(m, now_of(m));
            return;
        }
        list_del(first);
        p->telling = true;
        m->in_flight++;
    }
}

/* All of ours is written again. */
static void write_all(struct redis_store *m)
{
    struct hnode *n, *saved = NULL;
    size_t pos = 0;

    while ((n = htable_walk(&m->places, &pos, &saved))) {
        struct place *p = CONTAINER_OF(n, struct place, by_id);
        LIST_EACH(l, tmp, &p->own)
        put_behind(m, CONTAINER_OF(l, struct own, of_place));
        if (p->watched && !p->telling && !list_linked(&p->behind))
            list_append(&m->watch_behind, &p->behind);
    }
    m->refresh_us = now_of(m) + REFRESH_US;
    pump(m);
}

/* ---- lookups ---- */

/* Ours come from here: they are the truth. Others' count if the device is none of ours. */
static void answer(void *arg, struct slice user, struct presence_lookup *l, int err,
                   const struct presence_entry *found, size_t found_n)
{
    struct redis_store *m = arg;
    struct presence_entry out[PRESENCE_DEVICES_MAX];
    const struct place *p = find_place(m, user);
    size_t n = 0;

    if (p) {
        LIST_EACH(link, tmp, &p->own)
        {
            const struct own *o = CONTAINER_OF(link, struct own, of_place);
            if (o->removed || n == PRESENCE_DEVICES_MAX)
                continue;
            out[n] = o->e;
            out[n++].user = user_of(p);
        }
    }
    for (size_t i = 0; i < found_n && n < PRESENCE_DEVICES_MAX; i++) {
        const struct own *o = p ? find_own(p, found[i].device) : NULL;
        bool ours = slice_eq(found[i].node, m->conf.node);
        if (!ours && (!o || o->removed))
            out[n++] = found[i];
    }
    l->fn(l, err, out, n);
}

static void redis_lookup(struct presence_store *s, struct slice user, struct presence_lookup *l)
{
    struct redis_store *m = self(s);
    uint64_t now_us = now_of(m);
    int err = -EAGAIN;

    if (node_lease_is_lost(m->lease))
        err = -EPERM;
    else if (m->up || now_us < m->away_us + m->conf.answer_us)
        err = presence_ask(&m->asks, user, l, now_us);
    if (err)
        answer(m, user, l, err, NULL, 0);
}

static void redis_cancel(struct presence_store *s, struct presence_lookup *l)
{
    presence_ask_cancel(&self(s)->asks, l);
}

/* ---- what the node's own sessions tell ---- */

static struct own *new_own(struct place *p, const struct presence_entry *e)
{
    struct own *o = mem_zalloc(sizeof(*o) + e->device.len);

    if (!o)
        return NULL;
    if (e->device.len > 0)
        memcpy(o->text, e->device.p, e->device.len);
    o->place = p;
    o->removed = true;
    list_append(&p->own, &o->of_place);
    return o;
}

static int redis_put(struct presence_store *s, const struct presence_entry *e)
{
    struct redis_store *m = self(s);
    struct place *p = need_place(m, e->user);

    if (!p)
        return -ENOMEM;
    struct own *o = find_own(p, e->device);
    int err = 0;
    if (o && !o->removed && same_session(&o->e, e->session) && o->e.generation > e->generation)
        err = -ESTALE;
    else if ((!o || o->removed) && p->own_n >= PRESENCE_DEVICES_MAX)
        err = -ENOSPC;
    else if (!o && !(o = new_own(p, e)))
        err = -ENOMEM;
    if (err) {
        release_place(m, p);
        return err;
    }
    if (!same_session(&o->e, e->session))
        o->stamp_len = 0;
    p->own_n += o->removed ? 1 : 0;
    o->removed = o->swept = false;
    o->e = *e;
    o->e.device = slice_of(o->text, e->device.len);
    o->e.user = o->e.node = (struct slice){0};
    put_behind(m, o);
    tell_here(m, p);
    pump(m);
    return 0;
}

static void redis_remove(struct presence_store *s, struct slice user, struct slice device,
                         const uint8_t session[PRESENCE_SESSION_BYTES], uint64_t generation)
{
    struct redis_store *m = self(s);
    struct place *p = find_place(m, user);
    struct own *o = p ? find_own(p, device) : NULL;

    if (!o || o->removed || !same_session(&o->e, session) || o->e.generation > generation)
        return;
    o->removed = true;
    o->e.generation = generation;
    p->own_n--;
    put_behind(m, o);
    tell_here(m, p);
    pump(m);
}

static int redis_watch(struct presence_store *s, struct slice user)
{
    struct redis_store *m = self(s);
    struct place *p = need_place(m, user);

    if (!p)
        return -ENOMEM;
    p->watched = true;
    if (!p->telling && !list_linked(&p->behind))
        list_append(&m->watch_behind, &p->behind);
    pump(m);
    return 0;
}

static void redis_unwatch(struct presence_store *s, struct slice user)
{
    struct redis_store *m = self(s);
    struct place *p = find_place(m, user);

    if (!p)
        return;
    p->watched = false;
    list_del(&p->behind);
    if (m->up)
        (void)presence_command_watch(&m->commands, NULL, user, false, now_of(m));
    /* Else it is told when it says something of the user. */
    release_place(m, p);
}

/* ---- what others tell ---- */

static void tell_all_watched(struct redis_store *m)
{
    struct hnode *n, *saved = NULL;
    size_t pos = 0;

    while ((n = htable_walk(&m->places, &pos, &saved))) {
        struct place *p = CONTAINER_OF(n, struct place, by_id);
        if (p->watched && !p->telling && !list_linked(&p->behind))
            list_append(&m->watch_behind, &p->behind);
    }
    pump(m); /* each is told when its watch stands, so many at a time */
}

void presence_store_redis_heard(struct presence_store *s, struct slice payload)
{
    struct redis_store *m = self(s);
    struct presence_said said;

    if (presence_wire_said(&said, payload) != 0)
        return;
    struct place *p = find_place(m, said.user);
    if (said.kind == PRESENCE_SAID_REPLACED) {
        struct own *o = p ? find_own(p, said.device) : NULL;
        if (o && !o->removed && same_session(&o->e, said.session))
            give_away(m, o);
    } else if (p && p->watched) {
        tell_here(m, p);
    } else if (m->up) {
        (void)presence_command_watch(&m->commands, NULL, said.user, false, now_of(m));
    }
}

void presence_store_redis_hears(struct presence_store *s)
{
    tell_all_watched(self(s));
}

static void on_lease_stands(void *arg, uint64_t now_us)
{
    struct redis_store *m = arg;

    (void)now_us;
    m->stands = true;
    write_all(m);
}

static void on_lease_lost(void *arg, uint64_t now_us)
{
    struct redis_store *m = arg;

    (void)now_us;
    log_error("presence",
              "another process uses the node id %.*s: give each node its own [server] node_id, and "
              "start this one again; until then others do not see its users",
              SLICE_FMT(m->conf.node));
}

static void on_lease_changed(void *arg, uint64_t now_us)
{
    struct redis_store *m = arg;

    presence_asks_look(&m->asks, now_us);
    tell_all_watched(m);
}

/* ---- life ---- */

void presence_store_redis_use(struct presence_store *s, struct redis_client *commands)
{
    self(s)->commands.client = commands;
    node_lease_use(self(s)->lease, commands);
}

void presence_store_redis_up(struct presence_store *s)
{
    struct redis_store *m = self(s);

    m->up = true;
    m->retry_us = CLOCK_NEVER;
    node_lease_up(m->lease, now_of(m)); /* when it stands, all is written */
}

void presence_store_redis_down(struct presence_store *s)
{
    struct redis_store *m = self(s);

    if (m->up)
        m->away_us = now_of(m);
    m->up = m->stands = false;
}

void presence_store_redis_channel(const struct presence_store *s, struct wr *w)
{
    const struct redis_store *m = CONTAINER_OF(s, const struct redis_store, store);

    presence_wire_key(w, m->conf.prefix, "say", m->conf.node);
}

uint64_t presence_store_redis_deadline(const struct presence_store *s)
{
    const struct redis_store *m = CONTAINER_OF(s, const struct redis_store, store);
    uint64_t at = node_lease_deadline(m->lease), asks = presence_asks_deadline(&m->asks);

    if (asks < at)
        at = asks;
    if (m->retry_us < at)
        at = m->retry_us;
    if (m->up && m->refresh_us < at)
        at = m->refresh_us;
    return at;
}

void presence_store_redis_tick(struct presence_store *s)
{
    struct redis_store *m = self(s);
    uint64_t now_us = now_of(m);

    node_lease_tick(m->lease, now_us);
    presence_asks_look(&m->asks, now_us);
    if (m->up && now_us >= m->refresh_us)
        write_all(m);
    if (now_us >= m->retry_us) {
        m->retry_us = CLOCK_NEVER;
        pump(m);
    }
}

static void redis_store_free(struct presence_store *s)
{
    struct redis_store *m = self(s);
    struct hnode *n, *saved = NULL;
    size_t pos = 0;

    presence_asks_fini(&m->asks);
    while ((n = htable_walk(&m->places, &pos, &saved))) {
        struct place *p = CONTAINER_OF(n, struct place, by_id);
        LIST_EACH(l, tmp, &p->own)
        free_own(m, CONTAINER_OF(l, struct own, of_place));
        if (p->telling)
            redis_client_cancel(m->commands.client, &p->call);
        list_del(&p->behind);
        htable_del(&m->places, &p->by_id);
        mem_free(p);
    }
    htable_fini(&m->places);
    node_lease_free(m->lease);
    mem_free(m);
}

struct presence_store *presence_store_redis_new(const struct presence_store_redis_conf *conf)
{
    static const struct presence_store_ops ops = {
        .put = redis_put,
        .remove = redis_remove,
        .lookup = redis_lookup,
        .cancel = redis_cancel,
        .watch = redis_watch,
        .unwatch = redis_unwatch,
        .free = redis_store_free,
    };
    static const struct node_lease_ops lease_ops = {on_lease_stands, on_lease_lost,
                                                    on_lease_changed};
    const struct node_lease_conf lease = {conf->prefix, conf->node, conf->epoch, conf->lease_us,
                                          POLL_US};
    struct redis_store *m = mem_zalloc(sizeof(*m));

    assert(conf->node.len > 0 && conf->node.len <= PRESENCE_WIRE_NODE_MAX);
    if (!m)
        return NULL;
    m->conf = *conf;
    m->store.ops = &ops;
    m->away_us = now_of(m);
    m->refresh_us = m->retry_us = CLOCK_NEVER;
    list_init(&m->behind);
    list_init(&m->watch_behind);
    m->lease = node_lease_new(&lease, &lease_ops, m);
    if (!m->lease || htable_init(&m->places, 0) != 0) {
        node_lease_free(m->lease);
        mem_free(m);
        return NULL;
    }
    m->commands = (struct presence_commands){NULL, conf->prefix, conf->node, conf->epoch};
    presence_asks_init(&m->asks, &m->commands, m->lease, conf->answer_us, answer, m);
    return &m->store;
}

bool presence_store_redis_is_lost(const struct presence_store *s)
{
    return node_lease_is_lost(CONTAINER_OF(s, const struct redis_store, store)->lease);
}

size_t presence_store_redis_behind(const struct presence_store *s)
{
    return CONTAINER_OF(s, const struct redis_store, store)->behind_n;
}

uint64_t presence_store_redis_full(const struct presence_store *s)
{
    return CONTAINER_OF(s, const struct redis_store, store)->full;
}
