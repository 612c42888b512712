/* Lookups of the presence store over Redis.
 *
 * Part of presence_store_redis.c. Pure.
 *
 *     fetching ──hash──► (leases known) ──► done
 *                          │ not yet           ▲
 *                          └──► unsettled ─────┘ a lease was answered, or time is up
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/presence_ask.h"

#include <errno.h>

#include "base/mem.h"

/* Entries of a dead node are left for so long: who calls the user meanwhile learns that its devices
 * are about to be elsewhere. */
#define KEPT_US (10 * US_PER_S)

struct asked {
    struct list link; /* asks.fetching or asks.unsettled */
    struct presence_asks *a;
    struct presence_lookup *l;
    struct redis_call call;
    bool fetching;
    uint64_t by_us, read_us;
    size_t n, text_len, user_len;
    struct presence_wire found[PRESENCE_DEVICES_MAX];
    uint8_t text[PRESENCE_DEVICES_MAX * (SIG_DEVICE_MAX + PRESENCE_WIRE_ENTRY_MAX)];
    uint8_t user[];
};

static struct slice user_of(const struct asked *q)
{
    return slice_of(q->user, q->user_len);
}

static void free_asked(struct asked *q)
{
    if (q->fetching)
        redis_client_cancel(q->a->commands->client, &q->call);
    list_del(&q->link);
    mem_free(q);
}

static enum node_alive alive(const struct asked *q, const struct presence_wire *v, uint64_t now_us)
{
    return node_lease_of(q->a->lease, v->e.node, v->epoch, q->read_us, now_us);
}

/* Ends it: what is known to live is told. */
static void finish(struct asked *q, int err, uint64_t now_us)
{
    struct presence_entry out[PRESENCE_DEVICES_MAX];
    struct presence_asks *a = q->a;
    size_t n = 0;

    for (size_t i = 0; err == 0 && i < q->n; i++) {
        enum node_alive life = alive(q, &q->found[i], now_us);
        if (q->l && life == NODE_DEAD)
            q->l->orphans = true;
        if (life != NODE_ALIVE)
            continue;
        out[n] = q->found[i].e;
        out[n].node_epoch = q->found[i].epoch;
        out[n++].user = user_of(q);
    }
    list_del(&q->link);
    if (q->l)
        a->done(a->arg, user_of(q), q->l, err, out, n);
    mem_free(q);
}

/* The text of an entry lies behind its device. */
static struct slice text_of(const struct asked *q, const struct presence_wire *v)
{
    size_t at = (size_t)(v->e.device.p - q->text) + v->e.device.len;
    size_t end = (size_t)(v->e.node.p - q->text) + v->e.node.len;

    return slice_sub(slice_of(q->text, q->text_len), at, end - at);
}

/* Whether the leases of all nodes in it are known; entries of those long dead go. */
static bool settle(struct asked *q, uint64_t now_us)
{
    bool all = true;

    for (size_t i = 0; i < q->n; i++)
        all = alive(q, &q->found[i], now_us) != NODE_UNKNOWN && all; /* each is asked for */
    for (size_t i = 0; all && i < q->n; i++) {
        const struct presence_wire *v = &q->found[i];
        if (alive(q, v, now_us) == NODE_DEAD &&
            node_lease_dead_us(q->a->lease, v->e.node, v->epoch, now_us) >= KEPT_US)
            presence_command_purge(q->a->commands, user_of(q), v->e.device, text_of(q, v), now_us);
    }
    return all;
}

static void take_found(struct asked *q, struct slice device, struct slice text)
{
    struct wr w = wr_init(q->text, sizeof(q->text));
    struct presence_wire v = {{.user = {0}}, 0, {0}};

    if (q->n == PRESENCE_DEVICES_MAX || device.len == 0 || device.len > SIG_DEVICE_MAX ||
        text.len > PRESENCE_WIRE_ENTRY_MAX)
        return;
    w.len = q->text_len;
    wr_bytes(&w, device);
    wr_bytes(&w, text);
    struct slice kept = slice_sub(wr_done(&w), q->text_len, device.len + text.len);
    if (presence_wire_decode(&v, slice_sub(kept, device.len, text.len)) != 0)
        return; /* nobody of ours wrote that */
    v.e.device = slice_sub(kept, 0, device.len);
    q->text_len = w.len;
    q->found[q->n++] = v;
}

static void on_found(struct redis_call *call, enum redis_end end, const struct resp *reply,
                     uint64_t now_us)
{
    struct asked *q = call->arg;

    q->fetching = false;
    if (end != REDIS_ANSWERED || reply->kind != RESP_ARRAY) {
        finish(q, -EAGAIN, now_us);
        return;
    }
    q->read_us = now_us;
    for (size_t i = 0; i + 1 < reply->n; i += 2)
        take_found(q, resp_text(resp_at(reply, i)), resp_text(resp_at(reply, i + 1)));
    if (settle(q, now_us)) {
        finish(q, 0, now_us);
        return;
    }
    list_del(&q->link);
    list_append(&q->a->unsettled, &q->link);
}

int presence_ask(struct presence_asks *a, struct slice user, struct presence_lookup *l,
                 uint64_t now_us)
{
    struct asked *q = mem_zalloc(sizeof(*q) + user.len);

    if (!q)
        return -ENOMEM;
    q->a = a;
    q->l = l;
    q->by_us = now_us + a->answer_us;
    q->user_len = user.len;
    if (user.len > 0)
        memcpy(q->user, user.p, user.len);
    q->call = (struct redis_call){.fn = on_found, .arg = q, .deadline_us = q->by_us, .again = true};
    int err = presence_command_fetch(a->commands, &q->call, user, now_us);
    if (err) {
        mem_free(q);
        return err;
    }
    q->fetching = true;
    list_append(&a->fetching, &q->link);
    return 0;
}

static void cancel_in(struct list *list, const struct presence_lookup *l)
{
    LIST_EACH(link, tmp, list)
    {
        struct asked *q = CONTAINER_OF(link, struct asked, link);
        if (q->l == l)
            free_asked(q);
    }
}

void presence_ask_cancel(struct presence_asks *a, const struct presence_lookup *l)
{
    cancel_in(&a->fetching, l);
    cancel_in(&a->unsettled, l);
}

/* Ends one of those that may end. False: there is none. */
static bool end_one(struct presence_asks *a, uint64_t now_us)
{
    LIST_EACH(link, tmp, &a->unsettled)
    {
        struct asked *q = CONTAINER_OF(link, struct asked, link);
        bool settled = settle(q, now_us);
        if (!settled && now_us < q->by_us)
            continue;
        finish(q, settled ? 0 : -EAGAIN, now_us);
        return true;
    }
    return false;
}

void presence_asks_look(struct presence_asks *a, uint64_t now_us)
{
    while (end_one(a, now_us))
        ; /* each runs foreign code: the list is begun anew */
}

uint64_t presence_asks_deadline(const struct presence_asks *a)
{
    uint64_t at = CLOCK_NEVER;

    LIST_EACH(link, tmp, &a->unsettled)
    {
        const struct asked *q = CONTAINER_OF(link, struct asked, link);
        if (q->by_us < at)
            at = q->by_us;
    }
    return at;
}

void presence_asks_init(struct presence_asks *a, const struct presence_commands *commands,
                        struct node_lease *lease, uint64_t answer_us, presence_asked_fn *done,
                        void *arg)
{
    *a = (struct presence_asks){commands, lease, answer_us, done, arg, {0}, {0}};
    list_init(&a->fetching);
    list_init(&a->unsettled);
}

void presence_asks_fini(struct presence_asks *a)
{
    LIST_EACH(link, tmp, &a->fetching)
    free_asked(CONTAINER_OF(link, struct asked, link));
    LIST_EACH(link, tmp, &a->unsettled)
    free_asked(CONTAINER_OF(link, struct asked, link));
}
