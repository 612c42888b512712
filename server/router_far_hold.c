/* What has to be asked of Redis before something goes on, and what waits behind it.
 *
 * Called by router_call.c and router_far.c. Pure. While something is asked for a session and a
 * call, what the device says of the call waits (struct far_hold), in its order.
 *
 *     request on an unknown call, new session ─► the user's calls ─► ASK, EVENT to their nodes
 *     invite ─► router_far_invite.c
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/mem.h"
#include "server/router_far_priv.h"

#define LOOK_US        (10 * US_PER_MS)
#define UNKNOWN_US     (2 * US_PER_S) /* a node whose lease is not known by then counts */
#define AGAIN_US       (200 * US_PER_MS)
#define HELD_MAX       256 /* messages that wait behind one question, and their bytes */
#define HELD_BYTES_MAX 65536

void far_hold_free(struct far_hold *h)
{
    struct far *f = h->r->far;
    struct list *first;

    redis_client_cancel(f->nodes.claims->client, &h->look);
    if (h->kind == FAR_HOLD_INVITE) {
        struct far_invite *i = far_invite_of(h);
        redis_client_cancel(f->nodes.claims->client, &i->pair);
        redis_client_cancel(f->nodes.claims->client, &i->user);
        if (i->looking)
            presence_store_cancel(h->r->store, &i->lookup);
    }
    while ((first = list_first(&h->texts))) {
        list_del(first);
        mem_free(CONTAINER_OF(first, struct far_held, link));
    }
    list_del(&h->link);
    if (h->kind == FAR_HOLD_INVITE)
        mem_free(far_invite_of(h));
    else
        mem_free(h);
}

bool far_hold_push(struct far_hold *h, struct slice text, uint64_t id_hash)
{
    struct far_held *t;

    if (h->texts_n == HELD_MAX || (h->texts_n > 0 && text.len > HELD_BYTES_MAX - h->bytes))
        return false;
    t = mem_zalloc(sizeof(*t) + text.len);
    if (!t)
        return false;
    t->id_hash = id_hash;
    t->len = text.len;
    memcpy(t->text, text.p, text.len);
    list_append(&h->texts, &t->link);
    if (h->texts_n++ > 0)
        h->bytes += text.len;
    return true;
}

void far_hold_init(struct far_hold *h, struct router *r, const struct session *s,
                   enum far_hold_kind kind, const struct sig_call_id *call)
{
    h->r = r;
    h->kind = kind;
    h->by_us = r->now_us + FAR_ANSWER_US;
    list_init(&h->texts);
    memcpy(h->session, s->id, sizeof(h->session));
    if (call)
        h->call = *call;
    list_append(&r->far->holds, &h->link);
}

/* What requests of the session about the call wait behind, or NULL. */
static struct far_hold *find_hold(const struct far *f, const uint8_t session[SESSION_ID_BYTES],
                                  const struct sig_call_id *call)
{
    LIST_EACH(link, tmp, &f->holds)
    {
        struct far_hold *h = CONTAINER_OF(link, struct far_hold, link);
        if (h->kind != FAR_HOLD_GREETING && sig_call_id_eq(&h->call, call) &&
            memcmp(h->session, session, sizeof(h->session)) == 0)
            return h;
    }
    return NULL;
}

bool router_far_hold(const struct request *q)
{
    struct far_hold *h = q->r->far ? find_hold(q->r->far, q->s->id, &q->m->call_id) : NULL;

    if (h && !far_hold_push(h, q->text, q->id_hash))
        request_fail(q, SIG_ERR_OVERLOADED, NULL);
    return h != NULL;
}

bool router_far_held(const struct router *r, const struct session *s, uint64_t id_hash)
{
    LIST_EACH(link, tmp, &r->far->holds)
    {
        struct far_hold *h = CONTAINER_OF(link, struct far_hold, link);
        if (memcmp(h->session, s->id, sizeof(h->session)) != 0)
            continue;
        LIST_EACH(l, tmp_text, &h->texts)
        if (CONTAINER_OF(l, struct far_held, link)->id_hash == id_hash)
            return true;
    }
    return false;
}

/* ---- going on ---- */

/* Performs what waited, from the first or from what came behind it. */
void far_hold_replay(struct far_hold *h, struct session *s, bool first_too)
{
    struct router *r = h->r;
    struct list texts, *l;

    list_init(&texts); /* the hold goes: nothing may wait behind it any more */
    while ((l = list_first(&h->texts))) {
        list_del(l);
        list_append(&texts, l);
    }
    uint8_t id[SESSION_ID_BYTES];
    bool unknown = h->kind == FAR_HOLD_REQUEST && h->failed && !h->orphans;
    memcpy(id, s->id, sizeof(id));
    far_hold_free(h);
    for (bool skip = !first_too; (l = list_first(&texts)); skip = false) {
        struct far_held *t = CONTAINER_OF(l, struct far_held, link);
        struct wr scratch = wr_init(r->scratch, sizeof(r->scratch));
        struct sig_fault fault;
        struct sig_msg m;
        s = session_by_id(r->sessions, id);
        list_del(l);
        if (!skip && s && !s->ending &&
            sig_decode(&m, slice_of(t->text, t->len), &scratch, &fault) == 0) {
            const struct request q = {.r = r,
                                      .c = s->client,
                                      .s = s,
                                      .m = &m,
                                      .text = slice_of(t->text, t->len),
                                      .scratch = &scratch,
                                      .id_hash = t->id_hash};
            if (router_far_hold(&q))
                ; /* behind an invite that waited, too */
            else if (m.type == SIG_CALL_INVITE)
                router_call_request(&q);
            else if (!call_table_find(r->calls, &m.call_id) && router_far_ask(&q))
                ; /* it is the other node's to answer */
            else if (unknown && !call_table_find(r->calls, &m.call_id))
                far_unavailable(&q);
            else if (m.type == SIG_CALL_QUALITY)
                router_quality_request(&q);
            else
                router_call_perform(&q);
        }
        mem_free(t);
    }
}

bool far_claim_is_ours(const struct far *f, const struct call_claim *c)
{
    return c->epoch == node_bus_epoch(f->nodes.bus) &&
           slice_eq(c->node, node_bus_node(f->nodes.bus));
}

enum node_alive far_claim_alive(const struct far *f, const struct call_claim *c)
{
    return far_claim_is_ours(f, c) ? NODE_ALIVE : f->nodes.alive(f->nodes.arg, c->node, c->epoch);
}

/* Whether somebody may still go on with the call of a leg whose node is gone. */
static bool may_go_on(const struct far_hold *h, const struct far_leg *l)
{
    bool named = h->failed;

    for (size_t i = 0; i < h->found_n; i++)
        named = named || sig_call_id_eq(&h->found[i].call, &l->call);
    return named && h->r->now_us < l->orphan_us + FAR_ORPHAN_US;
}

/* The device's legs whose node nobody has followed are over. */
static void end_orphans(struct router *r, const struct far_hold *h, const struct session *s)
{
    LIST_EACH(link, tmp, &r->far->legs)
    {
        struct far_leg *l = CONTAINER_OF(link, struct far_leg, link);
        if (h->orphans && l->host && l->orphan && slice_eq(far_leg_user(l), user_id(s->user)) &&
            slice_eq(far_leg_device(l), session_device(s)) && !may_go_on(h, l))
            far_orphan_end(r, l);
    }
}

/* Also when another one's entry says otherwise: it was written by a node that was cut off. */
static bool is_run_here(const struct router *r, const struct call_claim *claim)
{
    const struct call *c = call_table_find(r->calls, &claim->call);

    return far_claim_is_ours(r->far, claim) || (c && call_live(c));
}

/* A call of the session's user is run elsewhere: it is told that the device is there. */
static void greet_one(struct far_hold *h, struct session *s, const struct call_claim *c)
{
    struct router *r = h->r;
    struct slice user = user_id(s->user), device = session_device(s);
    struct far_leg *l = far_find(r->far, &c->call, user, device, true);

    if (h->orphans && (!l || !l->orphan))
        return;
    bool known = (l && l->confirmed) || h->back;
    l = far_host(r, &c->call, user, device, c->node, c->epoch);
    if (!l)
        return;
    l->confirmed = known;
    if (s->client || !known || !h->orphans) /* the next node takes it for lost */
        far_tell(r, l, known && (h->orphans || h->back) ? CALL_EV_BACK : CALL_EV_NEW, s->can_wait);
    if (!s->client && !s->lost_untold)
        far_tell(r, l, CALL_EV_LOST, s->can_wait);
}

/* Whether that node was told of that call; it is from now on. */
static bool was_told(struct far_hold *h, const struct call_claim *c)
{
    for (size_t i = 0; i < h->told_n; i++)
        if (h->told[i].epoch == c->epoch && sig_call_id_eq(&h->told[i].call, &c->call))
            return true;
    if (h->told_n == ARRAY_LEN(h->told))
        return true;
    h->told[h->told_n].call = c->call;
    h->told[h->told_n++].epoch = c->epoch;
    return false;
}

/* Tells a session's news to the nodes of its user's calls, each once. */
static void greet(struct far_hold *h, struct session *s)
{
    struct router *r = h->r;

    for (size_t i = 0; i < h->found_n; i++) {
        const struct call_claim *c = &h->found[i];
        if (!is_run_here(r, c) && far_claim_alive(r->far, c) != NODE_DEAD && !was_told(h, c))
            greet_one(h, s, c);
    }
}

/* The call of a request is run by the node that the user's entry names, or there is none. */
static void go_on(struct far_hold *h, struct session *s)
{
    struct router *r = h->r;

    for (size_t i = 0; i < h->found_n; i++) {
        const struct call_claim *c = &h->found[i];
        struct slice user = user_id(s->user), device = session_device(s);
        if (is_run_here(r, c) || far_claim_alive(r->far, c) == NODE_DEAD)
            continue;
        struct far_leg *l = far_find(r->far, &c->call, user, device, true);
        bool orphan = l && l->orphan;
        l = far_host(r, &c->call, user, device, c->node, c->epoch);
        if (!l && r->now_us < h->by_us) { /* memory is out: it is not said that there is no call */
            h->again_us = r->now_us + AGAIN_US;
            return;
        }
        if (l && orphan) /* before what it asks: the new node takes it for lost */
            far_tell(r, l, s->client ? CALL_EV_BACK : CALL_EV_LOST, s->can_wait);
    }
    far_hold_replay(h, s, true);
}

/* ---- answers ---- */

/* Nodes of which it is not known whether they live. */
static bool unsettled(struct far_hold *h)
{
    bool open = false;

    for (size_t k = 0; k < h->found_n; k++)
        open = far_claim_alive(h->r->far, &h->found[k]) == NODE_UNKNOWN || open;
    if (h->kind != FAR_HOLD_INVITE)
        return open;
    struct far_invite *i = far_invite_of(h);
    struct call_claim pair;
    for (size_t k = 0; k < i->busy_n; k++)
        open = far_claim_alive(h->r->far, &i->busy[k]) == NODE_UNKNOWN || open;
    if (i->pair_len > 0 && call_claim_of_pair(&pair, slice_of(i->pair_text, i->pair_len)) == 0)
        open = far_claim_alive(h->r->far, &pair) == NODE_UNKNOWN || open;
    return open;
}

/* Whoever has taken the call writes itself behind the dead one's entry, and then that out. */
static bool has_new_node(const struct far_hold *h, const struct sig_call_id *id)
{
    for (size_t k = 0; k < h->found_n; k++)
        if (sig_call_id_eq(&h->found[k].call, id) &&
            far_claim_alive(h->r->far, &h->found[k]) != NODE_DEAD)
            return true;
    return false;
}

/* A call whose node is dead is about to be another's: it is looked for again. Also when Redis has
 * not said whose it is. */
static bool wants_again(const struct far_hold *h)
{
    if (h->failed)
        return h->orphans;
    for (size_t k = 0; k < h->found_n; k++)
        if (far_claim_alive(h->r->far, &h->found[k]) == NODE_DEAD &&
            !has_new_node(h, &h->found[k].call))
            return true;
    return false;
}

/* Whether the session waits on; it is looked for again by then. */
static bool waits_on(struct far_hold *h, struct session *s)
{
    struct router *r = h->r;

    if (!wants_again(h))
        return false;
    if (h->again_us == 0 && !h->orphans)
        h->by_us = r->now_us + FAR_ORPHAN_US;
    h->again_us = r->now_us + AGAIN_US;
    if (r->now_us >= h->by_us)
        return false;
    h->failed = false;
    if (h->kind == FAR_HOLD_GREETING) /* the others need not wait */
        greet(h, s);
    return true;
}

void far_hold_look_at(struct far_hold *h)
{
    struct router *r = h->r;
    bool late = r->now_us >= h->by_us;

    if (h->open > 0 && !late)
        return;
    if (h->open > 0)
        h->failed = true;
    if (h->settled_us == 0)
        h->settled_us = r->now_us;
    if (!late && r->now_us < h->settled_us + UNKNOWN_US && unsettled(h))
        return;
    struct session *s = session_by_id(r->sessions, h->session);
    if (!s || s->ending) {
        if (h->kind == FAR_HOLD_INVITE)
            far_invite_drop(far_invite_of(h));
        far_hold_free(h);
        return;
    }
    if (h->kind != FAR_HOLD_INVITE && waits_on(h, s))
        return;
    if (h->kind == FAR_HOLD_GREETING) {
        greet(h, s);
        end_orphans(r, h, s);
        far_hold_free(h);
    } else if (h->kind == FAR_HOLD_REQUEST) {
        go_on(h, s);
    } else {
        struct far_invite *i = far_invite_of(h);
        struct call_claim pair;
        if (!late && !i->replaced && i->pair_len > 0 &&
            call_claim_of_pair(&pair, slice_of(i->pair_text, i->pair_len)) == 0 &&
            far_claim_alive(r->far, &pair) == NODE_DEAD) {
            i->replaced = true;
            far_invite_ask_first(i, &pair);
            return;
        }
        if (!far_invite_waits(i))
            far_invite_make(i, s);
    }
}

void far_hold_take(struct far_hold *h, const struct resp *reply, struct call_claim *out, size_t *n)
{
    for (size_t k = 0; k < reply->n && *n < FAR_FOUND_MAX; k++) {
        struct slice text = resp_text(resp_at(reply, k));
        struct wr w = wr_init(h->memory, sizeof(h->memory));
        w.len = h->memory_len;
        wr_bytes(&w, text);
        if (w.bad || text.len > CALL_CLAIMS_TEXT_MAX)
            return;
        if (call_claim_of_user(&out[*n], slice_of(h->memory + h->memory_len, text.len)) != 0)
            continue;
        if (h->kind == FAR_HOLD_INVITE && far_claim_is_ours(h->r->far, &out[*n]) &&
            sig_call_id_eq(&out[*n].call, &h->call))
            return;
        if ((h->kind == FAR_HOLD_REQUEST || h->only_call) &&
            !sig_call_id_eq(&out[*n].call, &h->call))
            continue;
        h->memory_len = w.len;
        (*n)++;
    }
}

bool far_hold_not_first(enum redis_end end, const struct resp *reply)
{
    return end == REDIS_ANSWERED && reply->kind == RESP_INTEGER && reply->integer > 1;
}

void far_hold_on_look(struct redis_call *call, enum redis_end end, const struct resp *reply,
                      uint64_t now_us)
{
    struct far_hold *h = call->arg;

    (void)now_us;
    router_enter(h->r);
    h->open--;
    if (end == REDIS_ANSWERED && reply->kind == RESP_ARRAY)
        far_hold_take(h, reply, h->found, &h->found_n);
    else
        h->failed = true;
    far_hold_look_at(h);
}

/* ---- questions ---- */

/* Whether asking makes sense: Redis is there, or has not been away for long. */
bool far_hold_may_ask(const struct router *r, bool in_haste)
{
    uint64_t away_us = 0;

    if (r->far->nodes.ready(r->far->nodes.arg, &away_us))
        return true;
    return !in_haste && r->now_us < away_us + FAR_ANSWER_US;
}

static bool look_up(struct far_hold *h, const struct session *s)
{
    struct router *r = h->r;

    h->look = (struct redis_call){
        .fn = far_hold_on_look, .arg = h, .deadline_us = h->by_us, .again = true};
    if (call_claims_look(r->far->nodes.claims, &h->look, user_id(s->user), r->now_us) != 0)
        return false;
    h->open = 1;
    return true;
}

/* Asks for the user's calls, for what is to wait behind the answer. orphans: of a dead node's call,
 * which is looked for as long as another may take it, whatever Redis says. NULL: none can be asked.
 */
static struct far_hold *begin(struct router *r, const struct session *s, enum far_hold_kind kind,
                              const struct sig_call_id *call, bool orphans)
{
    struct far_hold *h = orphans || far_hold_may_ask(r, false) ? mem_zalloc(sizeof(*h)) : NULL;

    if (!h)
        return NULL;
    far_hold_init(h, r, s, kind, call);
    h->only_call = kind == FAR_HOLD_GREETING && s->only_call && !orphans;
    h->orphans = orphans;
    if (orphans)
        h->by_us = r->now_us + FAR_ORPHAN_US;
    if (look_up(h, s))
        return h;
    h->failed = true;
    if (orphans)
        return h;
    far_hold_free(h);
    return NULL;
}

bool router_far_look(const struct request *q)
{
    struct router *r = q->r;
    const struct far_leg *l =
        r->far ? far_find(r->far, &q->m->call_id, request_user(q), request_device(q), true) : NULL;
    struct far_hold *h =
        r->far ? begin(r, q->s, FAR_HOLD_REQUEST, &q->m->call_id, l && l->orphan) : NULL;

    if (!r->far)
        return false;
    if (h && far_hold_push(h, q->text, q->id_hash))
        return true;
    if (h)
        far_hold_free(h);
    far_unavailable(q);
    return true;
}

bool far_hold_take_back(struct router *r, const struct far_message *m)
{
    const struct session *s = session_by_id(r->sessions, m->session);

    if (!s || s->ending)
        return true; /* nobody waits for it any more */
    struct far_hold *h = find_hold(r->far, s->id, &m->call);
    if (!h)
        h = begin(r, s, FAR_HOLD_REQUEST, &m->call, true);
    if (!h || !far_hold_push(h, m->text, m->id_hash))
        return true; /* who waits for its answer is told with all that wait for the node */
    struct far_wait *wait = m->id_hash ? far_wait_find(r->far, m->session, m->id_hash) : NULL;
    if (wait)
        far_wait_drop(wait);
    return true;
}

static struct far_hold *greeting(struct router *r, const struct session *s, bool orphans)
{
    return begin(r, s, FAR_HOLD_GREETING, s->only_call ? &s->call : NULL, orphans);
}

void router_far_greet(struct router *r, const struct session *s)
{
    (void)greeting(r, s, false);
}

void router_far_greet_back(struct router *r, const struct session *s)
{
    struct far_hold *h = r->far ? greeting(r, s, false) : NULL;

    if (h)
        h->back = true;
}

void router_far_greet_again(struct router *r, const struct session *s)
{
    (void)greeting(r, s, true);
}

/* Asks once more. */
static void look_again(struct far_hold *h)
{
    const struct session *s = session_by_id(h->r->sessions, h->session);

    h->again_us = h->r->now_us + AGAIN_US;
    h->found_n = h->memory_len = 0;
    h->settled_us = 0;
    if (!s || !look_up(h, s))
        h->failed = true;
}

/* ---- time ---- */

void router_far_holds_free(struct router *r)
{
    LIST_EACH(link, tmp, &r->far->holds)
    far_hold_free(CONTAINER_OF(link, struct far_hold, link));
}

uint64_t router_far_holds_deadline(const struct router *r)
{
    uint64_t at = CLOCK_NEVER;

    LIST_EACH(link, tmp, &r->far->holds)
    {
        const struct far_hold *h = CONTAINER_OF(link, struct far_hold, link);
        uint64_t own = h->open == 0 ? r->now_us + LOOK_US : h->by_us;
        at = own < at ? own : at;
    }
    return at;
}

/* One that is ready, or whose callee is here while Redis is away. */
static struct far_hold *next_due(const struct router *r)
{
    uint64_t away_us = 0;
    bool ready = r->far->nodes.ready(r->far->nodes.arg, &away_us);

    LIST_EACH(link, tmp, &r->far->holds)
    {
        struct far_hold *h = CONTAINER_OF(link, struct far_hold, link);
        if (h->open > 0 && !ready && h->kind == FAR_HOLD_INVITE &&
            user_find(r->sessions, far_invite_callee(far_invite_of(h))))
            h->by_us = r->now_us;
        if (h->open == 0 && h->again_us > 0 && r->now_us < h->by_us) {
            if (r->now_us >= h->again_us && h->kind != FAR_HOLD_INVITE)
                look_again(h);
            if (!h->failed && (h->kind != FAR_HOLD_INVITE || r->now_us < h->again_us))
                continue;
        }
        bool due = r->now_us >= h->by_us || (h->open == 0 && !unsettled(h)) ||
                   (h->open == 0 && r->now_us >= h->settled_us + UNKNOWN_US);
        if (due)
            return h;
    }
    return NULL;
}

void router_far_holds_tick(struct router *r)
{
    struct far_hold *h;

    while ((h = next_due(r)))
        if (h->kind == FAR_HOLD_INVITE && h->open == 0 && h->again_us > 0 && r->now_us < h->by_us)
            far_invite_look_again(far_invite_of(h));
        else
            far_hold_look_at(h);
}
