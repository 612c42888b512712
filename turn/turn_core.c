/* One worker's relay without its sockets: life and time.
 *
 * Called by turn_node.c. Pure: sockets are behind relay_ops.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_core.h"

#include <errno.h>

#include "turn/allocate.h"
#include "turn/connect.h"
#include "turn/mobility.h"

#define TICK_US US_PER_S /* reservations are looked at this often */

int turn_core_init(struct turn_core *c, struct turn_shared *shared, struct credentials *creds,
                   const struct relay_ops *ops, void *ops_arg, uint64_t now_us)
{
    const struct turn_limits *l = &shared->limits;

    *c = (struct turn_core){.shared = shared, .creds = creds, .ops = ops, .ops_arg = ops_arg};
    list_init(&c->media);
    c->sources = source_limit_new(l->source_entries, l->source);
    if (!c->sources || nonce_init(&c->nonces, shared->nonce_master, l->nonce_lifetime_s) != 0 ||
        alloc_table_init(&c->allocs, now_us) != 0 || peer_conns_init(&c->conns, now_us) != 0 ||
        guests_init(&c->guests, now_us) != 0) {
        turn_core_fini(c, now_us);
        return -ENOMEM;
    }
    return 0;
}

void turn_core_fini(struct turn_core *c, uint64_t now_us)
{
    size_t pos = 0;
    struct hnode *saved = NULL;
    struct alloc *a;

    while ((a = alloc_table_walk(&c->allocs, &pos, &saved)))
        allocate_end(c, a, "shutdown", now_us);
    alloc_table_fini(&c->allocs);
    peer_conns_fini(&c->conns);
    key_cache_free(c->keys);
    held_fini(&c->held);
    guests_fini(&c->guests);
    source_limit_free(c->sources);
    nonce_fini(&c->nonces);
    credentials_free(c->creds);
    *c = (struct turn_core){0};
}

void turn_core_reload(struct turn_core *c, struct credentials *creds)
{
    credentials_free(c->creds);
    c->creds = creds;
}

void turn_core_tick(struct turn_core *c, uint64_t now_us)
{
    struct alloc *a;
    struct reserved r;

    connect_tick(c, now_us);
    guests_tick(&c->guests, now_us);
    while ((a = alloc_expired(&c->allocs, now_us)))
        allocate_expire(c, a, now_us);
    for (struct held *h; (h = held_take_expired(&c->held, now_us));) {
        turn_metrics_drop(&c->metrics, TURN_DROP_LOOK_UP);
        held_free(h);
    }
    while (reserve_expire(c->shared->reserve, now_us, &r))
        turn_shared_give(c->shared, &r);
}

uint64_t turn_core_deadline(const struct turn_core *c, uint64_t now_us)
{
    uint64_t next = alloc_deadline(&c->allocs), conns = peer_conns_deadline(&c->conns);

    if (conns < next)
        next = conns;
    return next < now_us + TICK_US ? next : now_us + TICK_US;
}

int turn_core_expect_users(struct turn_core *c, const struct key_cache_conf *conf, unsigned held)
{
    c->held.max = held;
    c->keys = key_cache_new(conf);
    return c->keys ? 0 : -ENOMEM;
}

void turn_core_known(struct turn_core *c, unsigned realm, struct slice name, bool failed,
                     const struct known_keys *keys, uint64_t now_us)
{
    if (failed)
        key_cache_failed(c->keys, realm, name, now_us);
    else
        key_cache_answer(c->keys, realm, name, keys, now_us);
}

void turn_core_offload(const struct turn_core *c, struct alloc *a, bool alive)
{
    if (c->ops->offload)
        c->ops->offload(c->ops_arg, a, alive);
}

void turn_core_client_gone(struct turn_core *c, const struct five_tuple *client, uint64_t now_us)
{
    struct alloc *a = alloc_find(&c->allocs, client);

    held_drop(&c->held, client);
    if (a && !mobility_gone(c, a, client, now_us))
        allocate_end(c, a, "disconnected", now_us);
}
