/* Invites, while there are other nodes: who first called whom, who is busy, where the callee is.
 *
 * Called by router_call.c. Pure.
 *
 *     invite ─► pair, both users, presence: all asked at once ─► far_invite_make(): glare, busy,
 * the call
 *
 * Without Redis, or when it does not answer in time, a call is made with what this node knows; a
 * callee who is not here at all is then not "unreachable", but unknown: store.unavailable.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/mem.h"
#include "proto/sig_client.h"
#include "server/router_far_priv.h"

#define PAIR_SPARE_US (10 * US_PER_S)
#define BACK_US                                                                       \
    (3 * US_PER_S) /* Redis may have come back empty: nodes write what they have anew \
                    */
#define ELSEWHERE_US (200 * US_PER_MS) /* devices of a dead node are looked for so often */
/* Whoever has just come was told so before Redis has read it, which takes some time when it is
 * busy. */
#define ON_ITS_WAY_US (30 * US_PER_MS)

/* ---- invites ---- */

bool router_far_connected(const struct router *r, struct slice user, struct slice device)
{
    const struct far_invite *i = r->far ? r->far->making : NULL;

    if (!i || !slice_eq(far_invite_callee(i), user))
        return false;
    for (size_t n = 0; n < i->there_n; n++)
        if (i->there[n].attached &&
            slice_eq(slice_of(i->there[n].device, i->there[n].device_len), device))
            return true;
    return false;
}

static void drop_claims(const struct far_invite *i, struct slice caller)
{
    const struct far_hold *h = &i->hold;
    const struct call_claims *c = h->r->far->nodes.claims;

    call_claims_drop_pair(c, &h->call, caller, far_invite_callee(i), h->r->now_us);
    call_claims_drop_user(c, &h->call, caller, h->r->now_us);
    call_claims_drop_user(c, &h->call, far_invite_callee(i), h->r->now_us);
}

/* The entry of a call that another node is about to take tells its devices that it is not over. */
static bool nobody_goes_on(const struct far *f, const struct call_claim *dead)
{
    return f->nodes.dead_us(f->nodes.arg, dead->node, dead->epoch) >= FAR_ORPHAN_US;
}

/* Calls of the list that count: elsewhere, far_claim_alive, not this one. Those of the long dead
 * are taken out. A call that the dialing device is in is superseded by this one, when it is with
 * the same user. */
static size_t count_elsewhere(struct far_invite *i, const struct session *s,
                              const struct call_claim *list, size_t n, struct slice user)
{
    struct far_hold *h = &i->hold;
    struct router *r = h->r;
    size_t count = 0;

    for (size_t k = 0; k < n; k++) {
        const struct call_claim *c = &list[k];
        if (far_claim_is_ours(r->far, c) || sig_call_id_eq(&c->call, &h->call))
            continue;
        if (far_claim_alive(r->far, c) == NODE_DEAD) {
            if (nobody_goes_on(r->far, c))
                call_claims_purge_user(r->far->nodes.claims, c, user, r->now_us);
        } else if (!router_far_supersede(r, user_id(s->user), session_device(s), &c->call)) {
            count++;
            (void)far_send(r, c->node, c->epoch,
                           &(struct far_message){.kind = FAR_CHECK, .call = c->call, .user = user});
        }
    }
    return count;
}

/* Makes the call. */
static void make(struct far_invite *i, const struct request *q, const struct sig_invite *in)
{
    struct call_device devices[PRESENCE_DEVICES_MAX];
    struct router_invite more = {.devices = devices};
    struct far_hold *h = &i->hold;
    struct router *r = h->r;

    for (size_t n = 0; n < i->there_n; n++) {
        const struct far_there *t = &i->there[n];
        struct slice device = slice_of(t->device, t->device_len);
        if (router_find_session(r, far_invite_callee(i), device))
            continue;
        devices[more.devices_n++] = (struct call_device){device, t->attached, t->can_wait};
        router_far_place(r, &h->call, far_invite_callee(i), device, slice_of(t->node, t->node_len),
                         t->epoch);
    }
    more.busy = count_elsewhere(i, q->s, i->busy, i->busy_n, far_invite_callee(i));
    more.calls = count_elsewhere(i, q->s, h->found, h->found_n, user_id(q->s->user));
    r->far->making = i;
    bool made = router_invite_now(q, in, &more);
    r->far->making = NULL;
    if (made)
        return;
    drop_claims(i, user_id(q->s->user));
    for (size_t n = 0; n < i->there_n; n++)
        router_far_unplace(r, &h->call, far_invite_callee(i),
                           slice_of(i->there[n].device, i->there[n].device_len));
}

/* Whether the callee could be elsewhere, for all we know, and is not here. */
static bool is_unknown(const struct far_invite *i)
{
    const struct user *u = user_find(i->hold.r->sessions, far_invite_callee(i));

    return i->hold.failed && !u && router_push_count(i->hold.r, far_invite_callee(i)) == 0;
}

void far_invite_make(struct far_invite *i, struct session *s)
{
    struct far_hold *h = &i->hold;
    struct router *r = h->r;
    const struct far_held *t = CONTAINER_OF(list_first(&h->texts), struct far_held, link);
    struct wr scratch = wr_init(r->scratch, sizeof(r->scratch));
    struct call_claim pair;
    struct sig_fault fault;
    struct sig_invite in;
    struct sig_msg m;

    if (sig_decode(&m, slice_of(t->text, t->len), &scratch, &fault) != 0 ||
        sig_client_invite(&in, &m, &fault) != 0) {
        far_hold_free(h); /* it was read before */
        return;
    }
    const struct request q = {.r = r,
                              .c = s->client,
                              .s = s,
                              .m = &m,
                              .text = slice_of(t->text, t->len),
                              .scratch = &scratch,
                              .id_hash = t->id_hash};
    bool taken = i->pair_len > 0 &&
                 call_claim_of_pair(&pair, slice_of(i->pair_text, i->pair_len)) == 0 &&
                 !far_claim_is_ours(r->far, &pair) && slice_eq(pair.caller, far_invite_callee(i)) &&
                 far_claim_alive(r->far, &pair) != NODE_DEAD;
    if (taken) {
        drop_claims(i, user_id(s->user));
        far_ask(&q, pair.node, pair.epoch, FAR_CROSS, &pair.call);
    } else if (is_unknown(i)) {
        drop_claims(i, user_id(s->user));
        request_error(&q, &(struct sig_error){.code = SIG_ERR_STORE_UNAVAILABLE,
                                              .text = "where the callee is cannot be told now",
                                              .retry_after_ms = FAR_RETRY_MS});
    } else {
        make(i, &q, &in);
    }
    far_hold_replay(h, s, false);
}

/* There are calls of the user before this one: which? */
static bool look(struct far_invite *i, struct redis_call *call, redis_done_fn *fn,
                 struct slice user)
{
    struct far_hold *h = &i->hold;

    call->fn = fn;
    if (call_claims_look(h->r->far->nodes.claims, call, user, h->r->now_us) != 0)
        return false;
    h->open++;
    return true;
}

static void on_callee(struct redis_call *call, enum redis_end end, const struct resp *reply,
                      uint64_t now_us)
{
    struct far_invite *i = call->arg;

    (void)now_us;
    router_enter(i->hold.r);
    i->hold.open--;
    if (end == REDIS_ANSWERED && reply->kind == RESP_ARRAY)
        far_hold_take(&i->hold, reply, i->busy, &i->busy_n);
    else if (far_hold_not_first(end, reply))
        i->hold.failed |= !look(i, call, on_callee, far_invite_callee(i));
    else if (end != REDIS_ANSWERED || reply->kind != RESP_INTEGER)
        i->hold.failed = true;
    far_hold_look_at(&i->hold);
}

static void on_caller(struct redis_call *call, enum redis_end end, const struct resp *reply,
                      uint64_t now_us)
{
    struct far_hold *h = call->arg;
    const struct session *s = session_by_id(h->r->sessions, h->session);

    (void)now_us;
    router_enter(h->r);
    h->open--;
    if (far_hold_not_first(end, reply))
        h->failed |= !s || !look(far_invite_of(h), call, far_hold_on_look, user_id(s->user));
    else if (end != REDIS_ANSWERED || reply->kind != RESP_INTEGER)
        h->failed = true;
    far_hold_look_at(h);
}

/* The pair's first entry is known. */
static void take_first(struct far_invite *i, struct slice text)
{
    struct far_hold *h = &i->hold;
    struct call_claim c;

    if (text.len > sizeof(i->pair_text) || text.len > UINT8_MAX ||
        call_claim_of_pair(&c, text) != 0 ||
        (far_claim_is_ours(h->r->far, &c) && sig_call_id_eq(&c.call, &h->call)))
        return;
    i->pair_len = (uint8_t)text.len;
    memcpy(i->pair_text, text.p, i->pair_len);
}

static void on_pair(struct redis_call *call, enum redis_end end, const struct resp *reply,
                    uint64_t now_us)
{
    struct far_invite *i = call->arg;

    (void)now_us;
    router_enter(i->hold.r);
    i->hold.open--;
    i->pair_len = 0;
    if (end == REDIS_ANSWERED && reply->kind == RESP_ARRAY)
        take_first(i, resp_text(resp_at(reply, 0)));
    else if (far_hold_not_first(end, reply))
        far_invite_ask_first(i, NULL);
    else if (end != REDIS_ANSWERED || reply->kind != RESP_INTEGER)
        i->hold.failed = true;
    far_hold_look_at(&i->hold);
}

bool far_there_of(struct far_there *out, const struct presence_entry *e)
{
    if (e->node_epoch == 0 || e->device.len > sizeof(out->device) ||
        e->node.len > sizeof(out->node))
        return false;
    *out = (struct far_there){.epoch = e->node_epoch,
                              .attached = e->attached,
                              .can_wait = e->call_waiting,
                              .can_rooms = e->rooms,
                              .device_len = (uint8_t)e->device.len,
                              .node_len = (uint8_t)e->node.len};
    memcpy(out->device, e->device.p, e->device.len);
    memcpy(out->node, e->node.p, e->node.len);
    return true;
}

static void on_there(struct presence_lookup *l, int err, const struct presence_entry *entries,
                     size_t n)
{
    struct far_invite *i = l->arg;

    router_enter(i->hold.r);
    i->looking = false;
    i->hold.open--;
    if (err)
        i->hold.failed = true;
    i->orphans |= l->orphans;
    for (size_t k = 0; k < n && i->there_n < PRESENCE_DEVICES_MAX; k++)
        i->there_n += far_there_of(&i->there[i->there_n], &entries[k]);
    far_hold_look_at(&i->hold);
}

void far_invite_drop(const struct far_invite *i)
{
    drop_claims(i, slice_of(i->from, i->from_len));
}

bool far_invite_waits(struct far_invite *i)
{
    struct far_hold *h = &i->hold;
    struct router *r = h->r;
    struct slice callee = far_invite_callee(i);

    bool may_come = i->orphans || (r->far->back_us > 0 && r->now_us < r->far->back_us + BACK_US);

    if (i->there_n > 0 || h->failed || r->now_us >= h->by_us || user_find(r->sessions, callee))
        return false;
    if (!i->looked_again) {
        i->looked_again = true;
        h->again_us = r->now_us + ON_ITS_WAY_US;
        return true;
    }
    if (!may_come || (r->devices && device_dir_first(r->devices, callee)))
        return false;
    h->again_us = r->now_us + ELSEWHERE_US;
    return true;
}

void far_invite_look_again(struct far_invite *i)
{
    struct far_hold *h = &i->hold;

    h->again_us = 0;
    i->lookup = (struct presence_lookup){.fn = on_there, .arg = i};
    i->looking = true;
    h->open++;
    presence_store_lookup(h->r->store, far_invite_callee(i), &i->lookup);
}

/* ---- questions ---- */

void far_invite_ask_first(struct far_invite *i, const struct call_claim *dead)
{
    struct far_hold *h = &i->hold;
    struct router *r = h->r;
    const struct session *s = session_by_id(r->sessions, h->session);
    const struct call_claims *c = r->far->nodes.claims;
    struct slice callee = far_invite_callee(i);

    if (s && dead)
        call_claims_purge_pair(c, dead, user_id(s->user), callee, r->now_us);
    i->pair = (struct redis_call){.fn = on_pair, .arg = i, .deadline_us = h->by_us, .again = true};
    if (s && call_claims_first(c, &i->pair, user_id(s->user), callee, r->now_us) == 0)
        h->open++;
    else
        h->failed = true;
}

static void ask_all(struct far_invite *i, const struct session *s)
{
    struct far_hold *h = &i->hold;
    struct router *r = h->r;
    const struct call_claims *c = r->far->nodes.claims;
    uint64_t life_us = r->conf->call.max_duration_s * US_PER_S;

    i->pair = (struct redis_call){.fn = on_pair, .arg = i, .deadline_us = h->by_us, .again = true};
    i->user =
        (struct redis_call){.fn = on_callee, .arg = i, .deadline_us = h->by_us, .again = true};
    h->look =
        (struct redis_call){.fn = on_caller, .arg = h, .deadline_us = h->by_us, .again = true};
    const int asked[] = {
        call_claims_pair(c, &i->pair, &h->call, user_id(s->user), far_invite_callee(i),
                         r->conf->call.ring_timeout_s * US_PER_S + PAIR_SPARE_US, r->now_us),
        call_claims_user(c, &h->look, &h->call, user_id(s->user), life_us, r->now_us),
        call_claims_user(c, &i->user, &h->call, far_invite_callee(i), life_us, r->now_us)};
    for (size_t n = 0; n < ARRAY_LEN(asked); n++) {
        h->open += asked[n] == 0;
        h->failed |= asked[n] != 0;
    }
    i->lookup = (struct presence_lookup){.fn = on_there, .arg = i};
    i->looking = true;
    h->open++; /* last: the answer may come inside */
    presence_store_lookup(r->store, far_invite_callee(i), &i->lookup);
}

bool router_far_invite(const struct request *q, const struct sig_invite *in)
{
    struct router *r = q->r;
    bool here = user_find(r->sessions, q->m->to) != NULL;

    (void)in;
    if (!r->far || call_table_find(r->calls, &q->m->call_id) ||
        slice_eq(q->m->to, user_id(q->s->user)))
        return false;
    if (!far_hold_may_ask(r, here)) {
        if (here || router_push_count(r, q->m->to) > 0)
            return false;
        request_error(q, &(struct sig_error){.code = SIG_ERR_STORE_UNAVAILABLE,
                                             .text = "where the callee is cannot be told now",
                                             .retry_after_ms = FAR_RETRY_MS});
        return true;
    }
    struct far_invite *i = mem_zalloc(sizeof(*i));
    if (!i)
        return false;
    far_hold_init(&i->hold, r, q->s, FAR_HOLD_INVITE, &q->m->call_id);
    i->to_len = (uint8_t)q->m->to.len;
    memcpy(i->to, q->m->to.p, q->m->to.len);
    i->from_len = (uint8_t)user_id(q->s->user).len;
    memcpy(i->from, user_id(q->s->user).p, i->from_len);
    if (!far_hold_push(&i->hold, q->text, q->id_hash)) {
        far_hold_free(&i->hold);
        return false;
    }
    ask_all(i, q->s);
    return true;
}
