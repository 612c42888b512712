/* Which nodes live.
 *
 * Part of presence_store_redis.c. Pure. Others are asked for one by one, from the first time that
 * somebody wants to know of them until they are dead: a read a second for each pair of nodes, none
 * for a user.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/node_lease.h"

#include <assert.h>

#include "base/hash.h"
#include "base/htable.h"
#include "base/mem.h"
#include "server/presence_wire.h"

#define WANTED_US   (60 * US_PER_S) /* a dead node that nobody has asked for is forgotten */
#define NODES_MAX   1024
#define RENEWALS    3              /* of a lease in its life */
#define GRACE_US    (3 * US_PER_S) /* after Redis came back: others may be on their way to it */
#define RETRY_US    (500 * US_PER_MS)
#define LEFT_MS     1
#define DOUBTED_MAX 4 /* processes of one name whose life was asked about */

/* A process that is not the one that lives as far as is known: of former times, or a newer one. */
struct doubted {
    uint64_t epoch, since_us; /* it is dead when the node was asked since, and said otherwise */
    uint64_t noticed_us;
};

struct peer {
    struct hnode by_name;
    struct node_lease *l;
    struct redis_call call;
    bool asking, known;
    uint64_t epoch;             /* known: of the process that lives; 0: none */
    uint64_t sent_us, asked_us; /* the last question; the one whose answer is known */
    uint64_t heard_us, wanted_us;
    struct doubted doubted[DOUBTED_MAX];
    unsigned doubted_n; /* in all: the next one replaces the oldest */
    size_t name_len;
    uint8_t name[];
};

struct node_lease {
    struct node_lease_conf conf;
    const struct node_lease_ops *ops;
    void *arg;
    struct redis_client *client;
    struct redis_call renewal, leave;
    struct htable peers;
    bool renewing, taken, lost, left, leaving;
    bool fresh; /* Redis is there again, and has not confirmed the lease since */
    uint64_t renew_us, poll_us, up_us;
    uint64_t said_us,
        sure_us; /* the last renewal; until when the lease stands by those that were answered */
};

static void key_of(struct node_lease *l, struct slice node, struct wr *w)
{
    presence_wire_key(w, l->conf.prefix, "node", node);
}

/* ---- our own ---- */

static void on_renewed(struct redis_call *call, enum redis_end end, const struct resp *reply,
                       uint64_t now_us)
{
    struct node_lease *l = call->arg;
    struct slice said = end == REDIS_ANSWERED ? resp_text(reply) : (struct slice){0};

    *(call == &l->leave ? &l->leaving : &l->renewing) = false;
    if (l->left)
        return;
    if (said.len == 0 && now_us + RETRY_US < l->renew_us)
        l->renew_us = now_us + RETRY_US;
    if (slice_is(said, "lost") && !l->lost) {
        l->lost = true;
        l->ops->lost(l->arg, now_us);
        return;
    }
    bool is_new = slice_is(said, "new");
    if (!is_new && !slice_is(said, "ok"))
        return;
    l->taken = true;
    l->sure_us = l->said_us + l->conf.lease_us;
    if (is_new || l->fresh)
        l->ops->stands(l->arg, now_us);
    l->fresh = false;
}

/* Writes the lease for so long. 0: sent. */
static int say(struct node_lease *l, struct redis_call *call, uint64_t life_ms, uint64_t now_us)
{
    uint8_t key_buf[PRESENCE_WIRE_KEY_MAX], epoch_buf[32], ms_buf[24];
    struct wr key = wr_init(key_buf, sizeof(key_buf)),
              epoch = wr_init(epoch_buf, sizeof(epoch_buf)), ms = wr_init(ms_buf, sizeof(ms_buf));

    key_of(l, l->conf.node, &key);
    presence_wire_epoch(&epoch, l->conf.epoch);
    wr_u64(&ms, life_ms);
    const struct slice words[] = {wr_done(&key), wr_done(&epoch), wr_done(&ms),
                                  l->taken ? SLICE_LIT("0") : SLICE_LIT("1"), SLICE_LIT("serving")};
    *call = (struct redis_call){
        .fn = on_renewed, .arg = l, .deadline_us = now_us + l->conf.lease_us, .again = true};
    return redis_client_eval(l->client, call, PRESENCE_LEASE, 1, words, 5, now_us);
}

static void renew(struct node_lease *l, uint64_t now_us)
{
    l->renew_us = now_us + l->conf.lease_us / RENEWALS;
    if (l->renewing || l->lost || l->left)
        return;
    l->said_us = now_us;
    l->renewing = say(l, &l->renewal, l->conf.lease_us / US_PER_MS, now_us) == 0;
}

void node_lease_leave(struct node_lease *l, uint64_t now_us)
{
    if (!l->client || !l->taken || l->lost || l->left)
        return;
    l->left = true;
    l->leaving = say(l, &l->leave, LEFT_MS, now_us) == 0;
}

/* ---- others ---- */

static void doubt(struct peer *p, uint64_t epoch, uint64_t since_us, uint64_t now_us)
{
    p->doubted[p->doubted_n++ % DOUBTED_MAX] = (struct doubted){epoch, since_us, now_us};
}

/* Since when it is asked for, from now on at the latest. */
static uint64_t doubted_since(struct peer *p, uint64_t epoch, uint64_t now_us)
{
    uint64_t since_us = CLOCK_NEVER;

    for (unsigned i = 0; i < DOUBTED_MAX && i < p->doubted_n; i++)
        if (p->doubted[i].epoch == epoch && p->doubted[i].since_us < since_us)
            since_us = p->doubted[i].since_us;
    if (since_us != CLOCK_NEVER)
        return since_us;
    doubt(p, epoch, now_us, now_us);
    return now_us;
}

static void on_peer(struct redis_call *call, enum redis_end end, const struct resp *reply,
                    uint64_t now_us)
{
    struct peer *p = call->arg;
    struct node_lease *l = p->l;
    uint64_t epoch = 0;

    p->asking = false;
    if (end != REDIS_ANSWERED || reply->kind == RESP_ERROR)
        return; /* asked again by the next poll; meanwhile what is known grows old */
    if (reply->kind == RESP_STRING && presence_wire_epoch_decode(&epoch, reply->text) != 0)
        epoch = 0;
    if (epoch == 0 && p->epoch != 0 && now_us < l->up_us + GRACE_US)
        epoch = p->epoch;
    bool other = !p->known || p->epoch != epoch;
    if (p->epoch != 0 && p->epoch != epoch)
        doubt(p, p->epoch, 0, now_us); /* it did live */
    p->known = true;
    p->epoch = epoch;
    p->asked_us = p->sent_us;
    p->heard_us = now_us;
    if (other)
        l->ops->changed(l->arg, now_us);
}

static void ask(struct node_lease *l, struct peer *p, uint64_t now_us)
{
    uint8_t key_buf[PRESENCE_WIRE_KEY_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf));

    if (p->asking || !l->client)
        return;
    key_of(l, slice_of(p->name, p->name_len), &key);
    const struct slice words[] = {SLICE_LIT("HGET"), wr_done(&key), SLICE_LIT("epoch")};
    p->call = (struct redis_call){.fn = on_peer, .arg = p, .again = true};
    p->sent_us = now_us;
    p->asking = redis_client_call(l->client, &p->call, words, 3, now_us) == 0;
}

static void drop_peer(struct node_lease *l, struct peer *p)
{
    if (p->asking)
        redis_client_cancel(l->client, &p->call);
    htable_del(&l->peers, &p->by_name);
    mem_free(p);
}

static struct peer *find_peer(const struct node_lease *l, struct slice node)
{
    for (struct hnode *n = htable_first(&l->peers, hash_bytes(node)); n; n = htable_next(n)) {
        struct peer *p = CONTAINER_OF(n, struct peer, by_name);
        if (slice_eq(slice_of(p->name, p->name_len), node))
            return p;
    }
    return NULL;
}

static struct peer *need_peer(struct node_lease *l, struct slice node)
{
    struct peer *p = find_peer(l, node);

    if (p || l->peers.count >= NODES_MAX)
        return p;
    p = mem_zalloc(sizeof(*p) + node.len);
    if (!p)
        return NULL;
    p->l = l;
    p->name_len = node.len;
    memcpy(p->name, node.p, node.len);
    htable_add(&l->peers, &p->by_name, hash_bytes(node));
    return p;
}

enum node_alive node_lease_of(struct node_lease *l, struct slice node, uint64_t epoch,
                              uint64_t read_us, uint64_t now_us)
{
    if (slice_eq(node, l->conf.node))
        return epoch == l->conf.epoch && !l->lost ? NODE_ALIVE : NODE_DEAD;
    struct peer *p = node.len > 0 ? need_peer(l, node) : NULL;
    if (!p)
        return NODE_UNKNOWN;
    p->wanted_us = now_us;
    /* What was asked for twice and not answered is not known any more. */
    bool fresh = p->known && now_us < p->heard_us + 3 * l->conf.poll_us;
    if (fresh && p->epoch == epoch)
        return NODE_ALIVE;
    uint64_t since_us = doubted_since(p, epoch, now_us);
    if (fresh && p->asked_us >= (read_us ? read_us : since_us))
        return NODE_DEAD;
    p->known = false;
    ask(l, p, now_us);
    return NODE_UNKNOWN;
}

void node_lease_look(struct node_lease *l, struct slice node, uint64_t now_us)
{
    struct peer *p = find_peer(l, node);

    if (p)
        ask(l, p, now_us);
}

uint64_t node_lease_dead_us(const struct node_lease *l, struct slice node, uint64_t epoch,
                            uint64_t now_us)
{
    const struct peer *p = find_peer(l, node);
    uint64_t us = 0;

    for (unsigned i = 0; p && i < DOUBTED_MAX && i < p->doubted_n; i++)
        if (p->doubted[i].epoch == epoch && now_us - p->doubted[i].noticed_us > us)
            us = now_us - p->doubted[i].noticed_us;
    return us;
}

static void poll_peers(struct node_lease *l, uint64_t now_us)
{
    struct hnode *n, *saved = NULL;
    size_t pos = 0;

    l->poll_us = now_us + l->conf.poll_us;
    while ((n = htable_walk(&l->peers, &pos, &saved))) {
        struct peer *p = CONTAINER_OF(n, struct peer, by_name);
        if (p->known && p->epoch == 0 && now_us >= p->wanted_us + WANTED_US)
            drop_peer(l, p);
        else
            ask(l, p, now_us);
    }
}

/* ---- life ---- */

struct node_lease *node_lease_new(const struct node_lease_conf *conf,
                                  const struct node_lease_ops *ops, void *arg)
{
    struct node_lease *l = mem_zalloc(sizeof(*l));

    assert(conf->epoch != 0);
    if (!l)
        return NULL;
    if (htable_init(&l->peers, 0) != 0) {
        mem_free(l);
        return NULL;
    }
    l->conf = *conf;
    l->ops = ops;
    l->arg = arg;
    return l;
}

void node_lease_free(struct node_lease *l)
{
    struct hnode *n, *saved = NULL;
    size_t pos = 0;

    if (!l)
        return;
    if (l->renewing)
        redis_client_cancel(l->client, &l->renewal);
    if (l->leaving)
        redis_client_cancel(l->client, &l->leave);
    while ((n = htable_walk(&l->peers, &pos, &saved)))
        drop_peer(l, CONTAINER_OF(n, struct peer, by_name));
    htable_fini(&l->peers);
    mem_free(l);
}

void node_lease_use(struct node_lease *l, struct redis_client *client)
{
    l->client = client;
}

void node_lease_up(struct node_lease *l, uint64_t now_us)
{
    l->fresh = true;
    l->up_us = now_us;
    renew(l, now_us);
    poll_peers(l, now_us);
}

bool node_lease_is_sure(const struct node_lease *l, uint64_t now_us)
{
    return l->taken && !l->lost && !l->left && now_us < l->sure_us;
}

bool node_lease_is_lost(const struct node_lease *l)
{
    return l->lost;
}

uint64_t node_lease_deadline(const struct node_lease *l)
{
    if (!l->client || !redis_client_ready(l->client))
        return CLOCK_NEVER; /* node_lease_up() comes */
    return l->renew_us < l->poll_us ? l->renew_us : l->poll_us;
}

void node_lease_tick(struct node_lease *l, uint64_t now_us)
{
    if (!l->client || !redis_client_ready(l->client))
        return;
    if (now_us >= l->renew_us)
        renew(l, now_us);
    if (now_us >= l->poll_us)
        poll_peers(l, now_us);
}
