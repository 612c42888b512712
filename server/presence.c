/* Presence: devices summed up per watched user, and who wants to know.
 *
 * Called by router.c (sessions, requests, ticks) and by the store (answers, changes). Pure.
 *
 *     topic  a user that somebody watches: the state others see, asked from the store
 *     sub    one watcher on one topic: the state that it was told last
 *
 * A change marks the topic's subs dirty and sets their watchers' timers; 500 ms later a watcher is
 * told all its dirty subs at once. What has changed back by then is not told at all.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/presence.h"

#include <assert.h>
#include <errno.h>

#include "base/hash.h"
#include "base/htable.h"
#include "base/mem.h"
#include "proto/json.h"
#include "proto/sig_server.h"

enum { ITEM_MAX = SIG_USER_MAX + 64, REPLY_BASE = 256 };

struct topic {
    struct hnode by_user;
    struct list subs; /* struct sub.of_topic */
    struct presence *owner;
    struct presence_lookup lookup;
    bool looking, again; /* a lookup is under way; another change came meanwhile */
    enum sig_presence state;
    size_t user_len;
    uint8_t user[];
};

struct sub {
    struct hnode by_pair;
    struct list of_topic, of_watcher, dirty;
    struct topic *topic;
    struct presence_watcher *watcher;
    enum sig_presence told; /* SIG_PRESENCE_COUNT: tell in any case */
};

struct presence {
    struct presence_store *store;
    struct htable topics, subs;
    struct timerwheel *wheel;
    uint64_t now_us;
    unsigned subs_max; /* of one watcher */
};

/* ---- what others see ---- */

enum sig_presence presence_of(const struct presence_entry *entries, size_t n)
{
    static const enum sig_presence by_reach[] = {SIG_PRESENCE_ONLINE, SIG_PRESENCE_BUSY,
                                                 SIG_PRESENCE_AWAY};

    for (size_t r = 0; r < ARRAY_LEN(by_reach); r++)
        for (size_t i = 0; i < n; i++)
            if (entries[i].attached && entries[i].state == by_reach[r])
                return by_reach[r];
    return SIG_PRESENCE_OFFLINE;
}

/* ---- changes ---- */

static void undirty(struct sub *s)
{
    list_del(&s->dirty);
    if (list_empty(&s->watcher->_dirty))
        s->watcher->_dirty = (struct list){0};
}

static void mark_dirty(struct presence *p, struct sub *s, uint64_t due_us)
{
    struct presence_watcher *w = s->watcher;

    if (!w->_dirty.next)
        list_init(&w->_dirty);
    if (!list_linked(&s->dirty))
        list_append(&w->_dirty, &s->dirty);
    if (!timer_is_set(&w->_timer) || due_us < w->_timer.deadline_us)
        timer_set(p->wheel, &w->_timer, due_us);
}

static void topic_set(struct topic *t, enum sig_presence state)
{
    if (t->state == state)
        return;
    t->state = state;
    LIST_EACH(l, tmp, &t->subs)
    {
        struct sub *s = CONTAINER_OF(l, struct sub, of_topic);
        if (s->told != state)
            mark_dirty(t->owner, s, t->owner->now_us + PRESENCE_GATHER_US);
        else if (list_linked(&s->dirty))
            undirty(s);
    }
}

static void topic_ask(struct topic *t);

static void topic_answer(struct presence_lookup *l, int err, const struct presence_entry *entries,
                         size_t n)
{
    struct topic *t = l->arg;

    enum sig_presence state = presence_of(entries, n);

    t->looking = false;
    if (err != 0 && state == SIG_PRESENCE_OFFLINE)
        state = SIG_PRESENCE_UNKNOWN; /* not here, and nobody knows about elsewhere */
    topic_set(t, state);
    if (t->again)
        topic_ask(t);
}

static struct slice topic_user(const struct topic *t)
{
    return slice_of(t->user, t->user_len);
}

/* Asks the store; the answer may come inside. */
static void topic_ask(struct topic *t)
{
    t->again = t->looking;
    if (t->looking)
        return;
    t->looking = true;
    t->lookup = (struct presence_lookup){.fn = topic_answer, .arg = t};
    presence_store_lookup(t->owner->store, topic_user(t), &t->lookup);
}

static struct topic *find_topic(const struct presence *p, struct slice user)
{
    for (struct hnode *n = htable_first(&p->topics, hash_bytes(user)); n; n = htable_next(n)) {
        struct topic *t = CONTAINER_OF(n, struct topic, by_user);
        if (slice_eq(topic_user(t), user))
            return t;
    }
    return NULL;
}

static void store_changed(void *arg, struct slice user)
{
    struct topic *t = find_topic(arg, user);

    if (t)
        topic_ask(t);
}

/* ---- life ---- */

struct presence *presence_new(struct presence_store *store, unsigned subscriptions_max,
                              uint64_t now_us)
{
    struct presence *p = mem_zalloc(sizeof(*p));

    if (!p)
        return NULL;
    p->store = store;
    p->subs_max = subscriptions_max;
    p->now_us = now_us;
    p->wheel = timerwheel_new(now_us);
    if (!p->wheel || htable_init(&p->topics, 0) != 0 || htable_init(&p->subs, 0) != 0) {
        presence_free(p);
        return NULL;
    }
    store->changed = store_changed;
    store->changed_arg = p;
    return p;
}

void presence_free(struct presence *p)
{
    if (!p)
        return;
    assert(p->topics.count == 0);
    p->store->changed = NULL;
    htable_fini(&p->topics);
    htable_fini(&p->subs);
    timerwheel_free(p->wheel);
    mem_free(p);
}

void presence_now(struct presence *p, uint64_t now_us)
{
    p->now_us = now_us;
}

int presence_put(struct presence *p, const struct presence_entry *e, uint64_t now_us)
{
    p->now_us = now_us;
    return presence_store_put(p->store, e);
}

void presence_remove(struct presence *p, struct slice user, struct slice device,
                     const uint8_t session[PRESENCE_SESSION_BYTES], uint64_t generation,
                     uint64_t now_us)
{
    p->now_us = now_us;
    presence_store_remove(p->store, user, device, session, generation);
}

/* ---- topics and subscriptions ---- */

/* Finds or makes; a new one is watched and asked for. NULL: memory is out. */
static struct topic *need_topic(struct presence *p, struct slice user)
{
    struct topic *t = find_topic(p, user);

    if (t)
        return t;
    t = mem_zalloc(sizeof(*t) + user.len);
    if (!t || presence_store_watch(p->store, user) != 0) {
        mem_free(t);
        return NULL;
    }
    list_init(&t->subs);
    t->owner = p;
    t->state = SIG_PRESENCE_UNKNOWN;
    t->user_len = user.len;
    if (user.len > 0)
        memcpy(t->user, user.p, user.len);
    htable_add(&p->topics, &t->by_user, hash_bytes(user));
    topic_ask(t);
    return t;
}

static void release_topic(struct presence *p, struct topic *t)
{
    if (!list_empty(&t->subs))
        return;
    if (t->looking)
        presence_store_cancel(p->store, &t->lookup);
    htable_del(&p->topics, &t->by_user);
    presence_store_unwatch(p->store, topic_user(t));
    mem_free(t);
}

static uint64_t pair_hash(const struct presence_watcher *w, const struct topic *t)
{
    const void *pair[2] = {w, t};

    return hash_bytes(slice_of(pair, sizeof(pair)));
}

static struct sub *find_sub(const struct presence *p, const struct presence_watcher *w,
                            const struct topic *t)
{
    for (struct hnode *n = htable_first(&p->subs, pair_hash(w, t)); n; n = htable_next(n)) {
        struct sub *s = CONTAINER_OF(n, struct sub, by_pair);
        if (s->watcher == w && s->topic == t)
            return s;
    }
    return NULL;
}

/* Subscribes to one user. Returns 0, also when it was subscribed already; -ENOSPC; -ENOMEM. */
static int add_sub(struct presence *p, struct presence_watcher *w, struct slice user)
{
    struct topic *t = need_topic(p, user);
    struct sub *s = t ? find_sub(p, w, t) : NULL;

    if (s)
        return 0;
    if (!t)
        return -ENOMEM;
    if (w->count >= p->subs_max) {
        release_topic(p, t);
        return -ENOSPC;
    }
    s = mem_zalloc(sizeof(*s));
    if (!s) {
        release_topic(p, t);
        return -ENOMEM;
    }
    s->topic = t;
    s->watcher = w;
    s->told = SIG_PRESENCE_COUNT;
    if (!w->_subs.next)
        list_init(&w->_subs);
    list_append(&t->subs, &s->of_topic);
    list_append(&w->_subs, &s->of_watcher);
    htable_add(&p->subs, &s->by_pair, pair_hash(w, t));
    w->count++;
    return 0;
}

static void drop_sub(struct presence *p, struct sub *s)
{
    struct topic *t = s->topic;

    s->watcher->count--;
    if (list_linked(&s->dirty))
        undirty(s);
    list_del(&s->of_topic);
    list_del(&s->of_watcher);
    htable_del(&p->subs, &s->by_pair);
    mem_free(s);
    release_topic(p, t);
}

/* The next user id of a list; its text may be in buf. */
static bool next_user(struct json_items *it, uint8_t buf[SIG_USER_MAX], struct slice *user)
{
    struct slice item;

    while (json_items_next(it, &item)) {
        struct wr scratch = wr_init(buf, SIG_USER_MAX);
        if (json_text(item, user, &scratch))
            return true;
    }
    return false;
}

/* Takes back the subscriptions that were added behind the first `keep`. */
static void take_back(struct presence *p, struct presence_watcher *w, unsigned keep)
{
    while (w->count > keep)
        drop_sub(p, CONTAINER_OF(w->_subs.prev, struct sub, of_watcher));
}

int presence_subscribe(struct presence *p, struct presence_watcher *w, struct slice users_raw,
                       struct slice re, struct wr *out, uint64_t now_us)
{
    struct json_items it = json_items(users_raw);
    uint8_t buf[SIG_USER_MAX];
    unsigned before = w->count;
    struct slice user;

    p->now_us = now_us;
    while (next_user(&it, buf, &user)) {
        int err = add_sub(p, w, user);
        if (err) {
            take_back(p, w, before);
            return err;
        }
    }
    sig_server_presence_begin(out, SIG_PRESENCE_SUBSCRIBE, re);
    it = json_items(users_raw);
    for (bool first = true; next_user(&it, buf, &user); first = false) {
        struct topic *t = find_topic(p, user);
        struct sub *s = t ? find_sub(p, w, t) : NULL;
        if (!s)
            continue; /* cannot be: it was added above */
        s->told = t->state;
        if (list_linked(&s->dirty))
            undirty(s);
        sig_server_presence_item(out, first, user, t->state, (struct slice){0});
    }
    sig_server_presence_end(out);
    return 0;
}

size_t presence_reply_size(struct slice users_raw)
{
    return REPLY_BASE + json_items_count(users_raw) * ITEM_MAX;
}

void presence_unsubscribe(struct presence *p, struct presence_watcher *w, struct slice users_raw)
{
    struct json_items it = json_items(users_raw);
    uint8_t buf[SIG_USER_MAX];
    struct slice user;

    while (next_user(&it, buf, &user)) {
        struct topic *t = find_topic(p, user);
        struct sub *s = t ? find_sub(p, w, t) : NULL;
        if (s)
            drop_sub(p, s);
    }
}

void presence_unwatch_all(struct presence *p, struct presence_watcher *w)
{
    take_back(p, w, 0);
    timer_cancel(p->wheel, &w->_timer);
}

void presence_refresh(struct presence *p, struct presence_watcher *w, uint64_t now_us)
{
    p->now_us = now_us;
    LIST_EACH(l, tmp, &w->_subs)
    {
        struct sub *s = CONTAINER_OF(l, struct sub, of_watcher);
        s->told = SIG_PRESENCE_COUNT;
        mark_dirty(p, s, now_us);
    }
}

/* ---- telling ---- */

uint64_t presence_deadline(const struct presence *p)
{
    return timerwheel_next(p->wheel);
}

struct presence_watcher *presence_pop(struct presence *p, uint64_t now_us)
{
    struct timer *t;

    p->now_us = now_us;
    while ((t = timerwheel_pop(p->wheel, now_us))) {
        struct presence_watcher *w = CONTAINER_OF(t, struct presence_watcher, _timer);
        if (!list_empty(&w->_dirty))
            return w;
    }
    return NULL;
}

bool presence_write(struct presence *p, struct presence_watcher *w, struct wr *out)
{
    unsigned n = 0;

    (void)p;
    if (list_empty(&w->_dirty))
        return false;
    sig_server_presence_begin(out, SIG_PRESENCE, (struct slice){0});
    for (; n < PRESENCE_WRITE_USERS && !list_empty(&w->_dirty); n++) {
        struct sub *s = CONTAINER_OF(list_first(&w->_dirty), struct sub, dirty);
        s->told = s->topic->state;
        undirty(s);
        sig_server_presence_item(out, n == 0, topic_user(s->topic), s->told, (struct slice){0});
    }
    sig_server_presence_end(out);
    return true;
}

void presence_drop(struct presence *p, struct presence_watcher *w)
{
    (void)p;
    while (!list_empty(&w->_dirty))
        undirty(CONTAINER_OF(list_first(&w->_dirty), struct sub, dirty));
}

void presence_watched(const struct presence *p, const struct presence_watcher *w, struct wr *out)
{
    bool first = true;

    (void)p;
    wr_u8(out, '[');
    if (w->_subs.next)
        LIST_EACH(l, tmp, &w->_subs)
        {
            if (!first)
                wr_u8(out, ',');
            first = false;
            json_write_text(out, topic_user(CONTAINER_OF(l, struct sub, of_watcher)->topic));
        }
    wr_u8(out, ']');
}

size_t presence_topics(const struct presence *p)
{
    return p->topics.count;
}
