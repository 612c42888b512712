/* Where calls and devices went that were here: others hear it until they know. And how a call
 * leaves that another node has taken.
 *
 * Called by router_keep.c, and router_far*.c (sessions that go on elsewhere; who asks here). What
 * is passed on to a wrong node by chance of two equal keys is dropped there. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"
#include "base/mem.h"
#include "server/router_far_priv.h"

#define KEEP_US  (60 * US_PER_S)
#define KEPT_MAX 65536

static struct far_trace *find(const struct far *f, uint64_t key, const struct sig_call_id *call)
{
    for (struct hnode *n = htable_first(&f->traces_by_key, key); n; n = htable_next(n)) {
        struct far_trace *t = CONTAINER_OF(n, struct far_trace, by_key);
        if (t->key == key && sig_call_id_eq(&t->call, call))
            return t;
    }
    return NULL;
}

static void drop(struct far *f, struct far_trace *t)
{
    htable_del(&f->traces_by_key, &t->by_key);
    list_del(&t->link);
    f->traces_n--;
    mem_free(t);
}

static void add(struct router *r, uint64_t key, const struct sig_call_id *call, struct slice node,
                uint64_t epoch)
{
    struct far *f = r->far;
    struct far_trace *t = find(f, key, call);

    if (node.len > NODE_BUS_NODE_MAX)
        return;
    if (t)
        drop(f, t);
    if (f->traces_n == KEPT_MAX)
        drop(f, CONTAINER_OF(list_first(&f->traces), struct far_trace, link));
    t = mem_zalloc(sizeof(*t));
    if (!t)
        return;
    t->key = key;
    t->call = *call;
    t->epoch = epoch;
    t->forget_us = r->now_us + KEEP_US;
    t->node_len = (uint8_t)node.len;
    memcpy(t->node, node.p, node.len);
    htable_add(&f->traces_by_key, &t->by_key, key);
    list_append(&f->traces, &t->link);
    f->traces_n++;
}

void far_trace_call(struct router *r, const struct sig_call_id *call, struct slice node,
                    uint64_t epoch)
{
    add(r, far_call_key(call), call, node, epoch);
}

void far_trace_device(struct router *r, struct slice user, struct slice device, struct slice node,
                      uint64_t epoch)
{
    static const struct sig_call_id none;

    add(r, far_device_key(user, device), &none, node, epoch);
}

const struct far_trace *far_trace_of_call(const struct far *f, const struct sig_call_id *call)
{
    return find(f, far_call_key(call), call);
}

const struct far_trace *far_trace_of_device(const struct far *f, struct slice user,
                                            struct slice device)
{
    static const struct sig_call_id none;

    return find(f, far_device_key(user, device), &none);
}

void far_trace_forget(struct far *f, const struct sig_call_id *call)
{
    struct far_trace *t = find(f, far_call_key(call), call);

    if (t)
        drop(f, t);
}

void far_traces_tick(struct router *r)
{
    LIST_EACH(link, tmp, &r->far->traces)
    {
        struct far_trace *t = CONTAINER_OF(link, struct far_trace, link);
        if (t->forget_us > r->now_us)
            return;
        drop(r->far, t);
    }
}

void far_traces_free(struct far *f)
{
    LIST_EACH(link, tmp, &f->traces)
    drop(f, CONTAINER_OF(link, struct far_trace, link));
    htable_fini(&f->traces_by_key);
}

/* ---- leaving ---- */

/* The device's node hears who has the call; that one hears what has waited here for the device, and
 * passes it on. */
static void leave_leg(struct router *r, struct far_leg *l, const struct far_trace *t)
{
    if (l->node_len > 0 && !far_leg_at(l, far_trace_node(t), t->epoch))
        far_elsewhere(r, far_leg_node(l), l->epoch, &l->call, far_leg_user(l), far_leg_device(l),
                      t);
    if (l->away)
        router_far_place(r, &l->call, far_leg_user(l), far_leg_device(l), far_trace_node(t),
                         t->epoch);
}

void far_call_lose(struct router *r, const struct sig_call_id *id, struct slice node,
                   uint64_t epoch)
{
    const struct call *c = call_table_find(r->calls, id);
    struct slice user, device;
    size_t pos = 0;
    char text[SIG_CALL_ID_TEXT + 1];

    if (!c || !call_live(c))
        return;
    log_warn("call", "%s is run by node %.*s now", sig_call_id_text(id, text), SLICE_FMT(node));
    far_trace_call(r, id, node, epoch);
    const struct far_trace *t = far_trace_of_call(r->far, id);
    while (call_devices(c, &pos, &user, &device)) {
        struct session *s = router_find_session(r, user, device);
        struct far_leg *ours = far_find(r->far, id, user, device, false);
        if (ours && t)
            leave_leg(r, ours, t);
        if (ours)
            far_drop(r->far, ours);
        struct far_leg *l = s ? far_host(r, id, user, device, node, epoch) : NULL;
        if (!l)
            continue;
        l->confirmed = true;
        far_tell(r, l, s->client ? CALL_EV_BACK : CALL_EV_LOST, s->can_wait);
    }
    call_claims_drop_user(r->far->nodes.claims, id, call_caller(c), r->now_us);
    call_claims_drop_user(r->far->nodes.claims, id, call_callee(c), r->now_us);
    call_table_forget(r->calls, id);
}
