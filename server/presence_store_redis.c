/* The presence store of many nodes.
 *
 * Made by presence_link.c, used through presence_store.h. Pure. What is written is
 * presence_place.c's, lookups are presence_ask.c's, who lives is node_lease.c's, how a command
 * looks presence_command.c's. SPDX-License-Identifier: BSD-3-Clause */
#include "server/presence_store_redis.h"

#include <assert.h>
#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/presence_place.h"

#define POLL_US (1 * US_PER_S) /* how old what we know of other nodes may be */

static struct presence_redis *self(struct presence_store *s)
{
    return CONTAINER_OF(s, struct presence_redis, store);
}

/* ---- lookups ---- */

/* Ours come from here: they are the truth. Others' count if the device is none of ours. */
static void answer(void *arg, struct slice user, struct presence_lookup *l, int err,
                   const struct presence_entry *found, size_t found_n)
{
    struct presence_redis *m = arg;
    struct presence_entry out[PRESENCE_DEVICES_MAX];
    const struct presence_place *p = presence_place_find(m, user);
    size_t n = 0;

    if (p) {
        LIST_EACH(link, tmp, &p->own)
        {
            const struct presence_own *o = CONTAINER_OF(link, struct presence_own, of_place);
            if (o->removed || n == PRESENCE_DEVICES_MAX)
                continue;
            out[n] = o->e;
            out[n++].user = presence_place_user(p);
        }
    }
    for (size_t i = 0; i < found_n && n < PRESENCE_DEVICES_MAX; i++) {
        const struct presence_own *o = p ? presence_place_own(p, found[i].device) : NULL;
        bool ours = slice_eq(found[i].node, m->conf.node);
        if (!ours && (!o || o->removed))
            out[n++] = found[i];
    }
    l->fn(l, err, out, n);
}

static void redis_lookup(struct presence_store *s, struct slice user, struct presence_lookup *l)
{
    struct presence_redis *m = self(s);
    uint64_t now_us = presence_place_now(m);
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

static struct presence_own *new_own(struct presence_place *p, const struct presence_entry *e)
{
    struct presence_own *o = mem_zalloc(sizeof(*o) + e->device.len);

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
    struct presence_redis *m = self(s);
    struct presence_place *p = presence_place_need(m, e->user);

    if (!p)
        return -ENOMEM;
    struct presence_own *o = presence_place_own(p, e->device);
    int err = 0;
    if (o && !o->removed && presence_same_session(&o->e, e->session) &&
        o->e.generation > e->generation)
        err = -ESTALE;
    else if ((!o || o->removed) && p->own_n >= PRESENCE_DEVICES_MAX)
        err = -ENOSPC;
    else if (!o && !(o = new_own(p, e)))
        err = -ENOMEM;
    if (err) {
        presence_place_release(m, p);
        return err;
    }
    if (!presence_same_session(&o->e, e->session))
        o->stamp_len = 0;
    p->own_n += o->removed ? 1 : 0;
    o->removed = o->swept = false;
    o->e = *e;
    o->e.device = slice_of(o->text, e->device.len);
    o->e.user = o->e.node = (struct slice){0};
    presence_own_behind(m, o);
    presence_place_tell(m, p);
    presence_place_pump(m);
    return 0;
}

static void redis_remove(struct presence_store *s, struct slice user, struct slice device,
                         const uint8_t session[PRESENCE_SESSION_BYTES], uint64_t generation)
{
    struct presence_redis *m = self(s);
    struct presence_place *p = presence_place_find(m, user);
    struct presence_own *o = p ? presence_place_own(p, device) : NULL;

    if (!o || o->removed || !presence_same_session(&o->e, session) || o->e.generation > generation)
        return;
    o->removed = true;
    o->e.generation = generation;
    p->own_n--;
    presence_own_behind(m, o);
    presence_place_tell(m, p);
    presence_place_pump(m);
}

static int redis_watch(struct presence_store *s, struct slice user)
{
    struct presence_redis *m = self(s);
    struct presence_place *p = presence_place_need(m, user);

    if (!p)
        return -ENOMEM;
    p->watched = true;
    if (!p->telling && !list_linked(&p->behind))
        list_append(&m->watch_behind, &p->behind);
    presence_place_pump(m);
    return 0;
}

static void redis_unwatch(struct presence_store *s, struct slice user)
{
    struct presence_redis *m = self(s);
    struct presence_place *p = presence_place_find(m, user);

    if (!p)
        return;
    p->watched = false;
    list_del(&p->behind);
    if (m->up)
        (void)presence_command_watch(&m->commands, NULL, user, false, presence_place_now(m));
    /* Else it is told when it says something of the user. */
    presence_place_release(m, p);
}

/* ---- what others tell ---- */

static void tell_all_watched(struct presence_redis *m)
{
    struct hnode *n, *saved = NULL;
    size_t pos = 0;

    while ((n = htable_walk(&m->places, &pos, &saved))) {
        struct presence_place *p = CONTAINER_OF(n, struct presence_place, by_id);
        if (p->watched && !p->telling && !list_linked(&p->behind))
            list_append(&m->watch_behind, &p->behind);
    }
    presence_place_pump(m); /* each is told when its watch stands, so many at a time */
}

void presence_store_redis_heard(struct presence_store *s, struct slice payload)
{
    struct presence_redis *m = self(s);
    struct presence_said said;

    if (presence_wire_said(&said, payload) != 0)
        return;
    struct presence_place *p = presence_place_find(m, said.user);
    if (said.kind == PRESENCE_SAID_REPLACED) {
        struct presence_own *o = p ? presence_place_own(p, said.device) : NULL;
        if (o && !o->removed && presence_same_session(&o->e, said.session))
            presence_own_give_away(m, o);
    } else if (p && p->watched) {
        presence_place_tell(m, p);
    } else if (m->up) {
        (void)presence_command_watch(&m->commands, NULL, said.user, false, presence_place_now(m));
    }
}

void presence_store_redis_hears(struct presence_store *s)
{
    tell_all_watched(self(s));
}

/* Redis has been away for too long: what was heard of others is not true any more. */
static void tell_away(struct presence_redis *m)
{
    struct hnode *n, *saved = NULL;
    size_t pos = 0;

    m->told_away = true;
    while ((n = htable_walk(&m->places, &pos, &saved)))
        presence_place_tell(m, CONTAINER_OF(n, struct presence_place, by_id));
}

static void on_lease_stands(void *arg, uint64_t now_us)
{
    struct presence_redis *m = arg;

    (void)now_us;
    m->stands = true;
    presence_place_write_all(m);
}

static void on_lease_lost(void *arg, uint64_t now_us)
{
    struct presence_redis *m = arg;

    (void)now_us;
    log_error("presence",
              "another process uses the node id %.*s: give each node its own [server] node_id, and "
              "start this one again; until then others do not see its users",
              SLICE_FMT(m->conf.node));
}

static void on_lease_changed(void *arg, uint64_t now_us)
{
    struct presence_redis *m = arg;

    presence_asks_look(&m->asks, now_us);
    tell_all_watched(m);
    if (m->conf.leases)
        m->conf.leases(m->conf.now_arg);
}

/* ---- life ---- */

void presence_store_redis_use(struct presence_store *s, struct redis_client *commands)
{
    self(s)->commands.client = commands;
    node_lease_use(self(s)->lease, commands);
}

void presence_store_redis_up(struct presence_store *s)
{
    struct presence_redis *m = self(s);

    m->up = true;
    m->retry_us = CLOCK_NEVER;
    node_lease_up(m->lease, presence_place_now(m)); /* when it stands, all is written */
}

void presence_store_redis_down(struct presence_store *s)
{
    struct presence_redis *m = self(s);

    if (m->up) {
        m->away_us = presence_place_now(m);
        m->told_away = false;
    }
    m->up = m->stands = false;
}

void presence_store_redis_leave(struct presence_store *s)
{
    node_lease_leave(self(s)->lease, presence_place_now(self(s)));
}

void presence_store_redis_channel(const struct presence_store *s, struct wr *w)
{
    const struct presence_redis *m = CONTAINER_OF(s, const struct presence_redis, store);

    presence_wire_key(w, m->conf.prefix, "say", m->conf.node);
}

enum node_alive presence_store_redis_alive(struct presence_store *s, struct slice node,
                                           uint64_t epoch, uint64_t since_us)
{
    struct presence_redis *m = self(s);

    return node_lease_of(m->lease, node, epoch, since_us, presence_place_now(m));
}

uint64_t presence_store_redis_dead_us(struct presence_store *s, struct slice node, uint64_t epoch)
{
    struct presence_redis *m = self(s);

    return node_lease_dead_us(m->lease, node, epoch, presence_place_now(m));
}

void presence_store_redis_look(struct presence_store *s, struct slice node)
{
    struct presence_redis *m = self(s);

    node_lease_look(m->lease, node, presence_place_now(m));
}

uint64_t presence_store_redis_deadline(const struct presence_store *s)
{
    const struct presence_redis *m = CONTAINER_OF(s, const struct presence_redis, store);
    uint64_t at = node_lease_deadline(m->lease), asks = presence_asks_deadline(&m->asks);

    if (asks < at)
        at = asks;
    if (m->retry_us < at)
        at = m->retry_us;
    if (m->up && m->refresh_us < at)
        at = m->refresh_us;
    if (!m->up && !m->told_away && m->away_us + m->conf.answer_us < at)
        at = m->away_us + m->conf.answer_us;
    return at;
}

void presence_store_redis_tick(struct presence_store *s)
{
    struct presence_redis *m = self(s);
    uint64_t now_us = presence_place_now(m);

    node_lease_tick(m->lease, now_us);
    presence_asks_look(&m->asks, now_us);
    if (m->up && now_us >= m->refresh_us)
        presence_place_write_all(m);
    if (!m->up && !m->told_away && now_us >= m->away_us + m->conf.answer_us)
        tell_away(m);
    if (now_us >= m->retry_us) {
        m->retry_us = CLOCK_NEVER;
        presence_place_pump(m);
    }
}

static void redis_store_free(struct presence_store *s)
{
    struct presence_redis *m = self(s);
    struct hnode *n, *saved = NULL;
    size_t pos = 0;

    presence_asks_fini(&m->asks);
    while ((n = htable_walk(&m->places, &pos, &saved))) {
        struct presence_place *p = CONTAINER_OF(n, struct presence_place, by_id);
        LIST_EACH(l, tmp, &p->own)
        presence_own_free(m, CONTAINER_OF(l, struct presence_own, of_place));
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
    struct presence_redis *m = mem_zalloc(sizeof(*m));

    assert(conf->node.len > 0 && conf->node.len <= PRESENCE_WIRE_NODE_MAX);
    if (!m)
        return NULL;
    m->conf = *conf;
    m->store.ops = &ops;
    m->away_us = presence_place_now(m);
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

bool presence_store_redis_is_sure(const struct presence_store *s, uint64_t now_us)
{
    return node_lease_is_sure(CONTAINER_OF(s, const struct presence_redis, store)->lease, now_us);
}

bool presence_store_redis_is_lost(const struct presence_store *s)
{
    return node_lease_is_lost(CONTAINER_OF(s, const struct presence_redis, store)->lease);
}

size_t presence_store_redis_behind(const struct presence_store *s)
{
    return CONTAINER_OF(s, const struct presence_redis, store)->behind_n;
}

uint64_t presence_store_redis_full(const struct presence_store *s)
{
    return CONTAINER_OF(s, const struct presence_redis, store)->full;
}
