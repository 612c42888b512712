/* Inside of the presence store over Redis, shared by presence_store_redis.c (the interface) and
 * presence_place.c (what is written). Nobody else includes it. SPDX-License-Identifier:
 * BSD-3-Clause */
#ifndef SORI_SERVER_PRESENCE_PLACE_H
#define SORI_SERVER_PRESENCE_PLACE_H

#include "base/htable.h"
#include "server/presence_ask.h"
#include "server/presence_store_redis.h"

struct presence_place {
    struct hnode by_id;
    struct list own;    /* struct presence_own.of_place */
    struct list behind; /* store.watch_behind: the watch is not in Redis yet */
    struct redis_call call;
    struct presence_redis *m;
    unsigned own_n;
    bool watched, telling; /* call is in flight */
    size_t id_len;
    uint8_t id[];
};

struct presence_own {
    struct list of_place, behind; /* store.behind */
    struct presence_place *place;
    struct redis_call call;
    bool removed, writing, again; /* again: changed while it was written */
    bool swept;                   /* the user was full: dead nodes' entries were looked for */
    struct presence_entry e;      /* device is in text; user and node are not set */
    size_t stamp_len;             /* 0: Redis gives it one */
    uint8_t stamp[PRESENCE_WIRE_STAMP_MAX];
    uint8_t text[];
};

struct presence_redis {
    struct presence_store store;
    struct presence_store_redis_conf conf;
    struct presence_commands commands;
    struct node_lease *lease;
    struct presence_asks asks;
    struct htable places;
    struct list behind, watch_behind;
    size_t in_flight, behind_n;
    bool up, stands;     /* Redis is there; and our lease, so that what we write counts */
    bool told_away;      /* whoever watches knows that nothing is known any more */
    uint64_t away_us;    /* since when it is not up */
    uint64_t refresh_us; /* when to write all anew */
    uint64_t retry_us;   /* when to look at what waits */
    uint64_t full;
};

static inline uint64_t presence_place_now(const struct presence_redis *m)
{
    return m->conf.now(m->conf.now_arg);
}

static inline bool presence_same_session(const struct presence_entry *a,
                                         const uint8_t session[PRESENCE_SESSION_BYTES])
{
    return memcmp(a->session, session, PRESENCE_SESSION_BYTES) == 0;
}

/* The place of a user, or NULL; made if need be (NULL: memory is out); freed when nothing is left
 * in it. */
struct presence_place *presence_place_find(const struct presence_redis *m, struct slice user);
struct presence_place *presence_place_need(struct presence_redis *m, struct slice user);
void presence_place_release(struct presence_redis *m, struct presence_place *p);
struct slice presence_place_user(const struct presence_place *p);
/* Tells whoever watches the user here that something changed. */
void presence_place_tell(struct presence_redis *m, const struct presence_place *p);

/* A device of it, or NULL. */
struct presence_own *presence_place_own(const struct presence_place *p, struct slice device);
/* It is to be written. */
void presence_own_behind(struct presence_redis *m, struct presence_own *o);
void presence_own_free(struct presence_redis *m, struct presence_own *o);
/* It has a newer session elsewhere: it is not ours to speak of any more. Runs foreign code. */
void presence_own_give_away(struct presence_redis *m, struct presence_own *o);

/* Writes what is behind, as much at once as is allowed; everything anew. */
void presence_place_pump(struct presence_redis *m);
void presence_place_write_all(struct presence_redis *m);

#endif
