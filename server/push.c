/* Rings of calls, and every push on its way.
 *
 * Called by router_push.c; verdicts come through push_apns.c. Pure. A ring lives from the invite
 * to the answer or the end; a push (struct push_out) until its verdict, which may be later: what it
 * says of the token counts all the same. Changes are only noted (news): the router takes them to
 * the call machine at its next tick, so that a verdict never runs the call machine from inside a
 * send. SPDX-License-Identifier: BSD-3-Clause */
#include "server/push.h"

#include "base/hash.h"
#include "base/htable.h"
#include "base/mem.h"
#include "server/push_suspects.h"

enum { RINGS_EXPECT = 64, CALL_TEXT = SIG_CALL_ID_TEXT + 1 };

enum dev_state { DEV_WAITS, DEV_SENT, DEV_TAKEN, DEV_FAILED, DEV_CAME };

struct ring_dev {
    enum dev_state state;
    uint8_t device_len;
    char device[SIG_DEVICE_MAX];
    uint64_t sent_us;
    struct push_out *out; /* its push without a verdict */
};

struct ring {
    struct hnode by_callee;
    struct list waiting; /* on push.waiting while a device is still to acknowledge */
    struct list changed; /* on push.changed */
    struct push_call call;
    uint64_t ack_at_us;
    bool reached;
    size_t n;
    struct ring_dev *dev; /* behind the texts, in the memory behind this struct */
};

struct push_out {
    struct list link;
    struct push *p;
    void *service;
    struct ring *ring; /* NULL: over, or none */
    size_t dev;
    enum push_kind kind;
    enum ledger_env env;
    struct sig_call_id call;
    uint64_t sent_ms;
    struct slice token, user, device, topic; /* in the memory behind this struct */
    char id[PUSH_ID_TEXT + 1];
};

/* How many pushes one user's activities of one call have had. */
struct live {
    struct hnode node;
    struct sig_call_id call;
    uint64_t user;
    unsigned n;
    bool started;      /* one was started by us; its own token is to come */
    const char *shown; /* what they were told last; static text */
};

struct push {
    struct push_conf conf;
    struct device_dir *dir;
    const struct push_ops *ops;
    void *arg;
    uint64_t now_us, wall_us;
    struct htable rings, lives;
    struct list waiting, changed, outs;
    struct push_suspects suspects;
    struct push_counters count;
};

const char *push_result_name(enum push_result r)
{
    static const char *const names[PUSH_RESULT_COUNT] = {"taken", "gone", "bad", "no"};

    return (unsigned)r < PUSH_RESULT_COUNT ? names[r] : "";
}

struct push *push_new(const struct push_conf *conf, struct device_dir *dir,
                      const struct push_ops *ops, void *arg, uint64_t now_us, uint64_t wall_us)
{
    struct push *p = mem_zalloc(sizeof(*p));

    if (!p)
        return NULL;
    p->conf = *conf;
    p->dir = dir;
    p->ops = ops;
    p->arg = arg;
    push_clock(p, now_us, wall_us);
    list_init(&p->waiting);
    list_init(&p->changed);
    list_init(&p->outs);
    if (push_suspects_init(&p->suspects) == 0 && htable_init(&p->rings, RINGS_EXPECT) == 0 &&
        htable_init(&p->lives, RINGS_EXPECT) == 0)
        return p;
    push_free(p);
    return NULL;
}

void push_free(struct push *p)
{
    struct hnode *n, *saved = NULL;
    size_t pos = 0;

    if (!p)
        return;
    while ((n = htable_walk(&p->rings, &pos, &saved)))
        mem_free(CONTAINER_OF(n, struct ring, by_callee));
    pos = 0;
    saved = NULL;
    while ((n = htable_walk(&p->lives, &pos, &saved)))
        mem_free(CONTAINER_OF(n, struct live, node));
    while (!list_empty(&p->outs)) {
        struct push_out *out = CONTAINER_OF(list_first(&p->outs), struct push_out, link);
        list_del(&out->link);
        mem_free(out);
    }
    push_suspects_fini(&p->suspects);
    htable_fini(&p->rings);
    htable_fini(&p->lives);
    mem_free(p);
}

void push_clock(struct push *p, uint64_t now_us, uint64_t wall_us)
{
    p->now_us = now_us;
    p->wall_us = wall_us;
}

struct push_counters *push_count_of(struct push *p)
{
    return &p->count;
}

static uint64_t wall_s_at(const struct push *p, uint64_t at_us)
{
    return at_us >= p->now_us ? (p->wall_us + (at_us - p->now_us)) / US_PER_S
                              : (p->wall_us - (p->now_us - at_us)) / US_PER_S;
}

/* ---- which token ---- */

static const struct dir_token *token_of(const struct push *p, const struct dir_device *d,
                                        enum ledger_token_type type)
{
    const struct dir_token *t = device_dir_token(d, type, NULL);

    return t && !push_suspects_has(&p->suspects, t->token) ? t : NULL;
}

/* The token that rings the device, and how: a VoIP push only where a call may be shown; who has no
 * such thing gets an alert. NULL: it can't be rung. */
static const struct dir_token *ring_token(const struct push *p, const struct dir_device *d,
                                          enum push_kind *kind)
{
    const struct dir_token *t = d->call_ui == LEDGER_UI_NONE ? NULL : token_of(p, d, LEDGER_VOIP);

    *kind = PUSH_RING;
    if (t)
        return t;
    *kind = PUSH_RING_ALERT;
    return token_of(p, d, LEDGER_ALERT);
}

/* ---- sending ---- */

/* The record of a push to d, with its texts copied. NULL: memory is out. */
static struct push_out *new_out(struct push *p, const struct dir_device *d, struct slice token)
{
    size_t n = token.len + d->user.len + d->device.len + d->app.len;
    struct push_out *out = mem_zalloc(sizeof(*out) + n);

    if (!out)
        return NULL;
    struct wr w = wr_init(out + 1, n);
    struct slice *to[] = {&out->token, &out->user, &out->device, &out->topic};
    const struct slice from[] = {token, d->user, d->device, d->app};
    for (size_t i = 0; i < ARRAY_LEN(to); i++) {
        size_t at = w.len;
        wr_bytes(&w, from[i]);
        *to[i] = slice_of(&w.base[at], from[i].len);
    }
    out->p = p;
    out->env = d->env;
    out->sent_ms = p->wall_us / US_PER_MS;
    list_append(&p->outs, &out->link);
    return out;
}

static void free_out(struct push_out *out)
{
    list_del(&out->link);
    mem_free(out);
}

/* Sends content to a token of d. NULL: it was not sent. */
static struct push_out *send_to(struct push *p, const struct dir_device *d, struct slice token,
                                const struct sig_call_id *call, struct push_content *content,
                                uint64_t deadline_us)
{
    struct push_out *out = new_out(p, d, token);
    char text[CALL_TEXT];

    if (!out)
        return NULL;
    out->kind = content->kind;
    out->call = *call;
    content->topic = out->topic;
    content->call_id = slice_str(sig_call_id_text(call, text));
    content->now_s = p->wall_us / US_PER_S;
    const struct push_job job = {
        .content = *content, .token = out->token, .env = d->env, .deadline_us = deadline_us};
    if (p->ops->send(p->arg, &job, out, out->id) != 0) {
        counter_inc(&p->count.unsent);
        free_out(out);
        return NULL;
    }
    counter_inc(&p->count.sent[content->kind]);
    return out;
}

static void log_push(const struct push_out *out, unsigned status, struct slice reason)
{
    struct push *p = out->p;

    p->ops->log(p->arg, &(struct ledger_push){.apns_id = slice_str(out->id),
                                              .call_id = out->call,
                                              .user = out->user,
                                              .device = out->device,
                                              .kind = slice_str(push_kind_name(out->kind)),
                                              .status = status,
                                              .reason = reason,
                                              .sent_ms = out->sent_ms,
                                              .answered_ms = p->wall_us / US_PER_MS});
}

/* ---- rings ---- */

static struct slice dev_name(const struct ring_dev *d)
{
    return slice_of(d->device, d->device_len);
}

/* Walks the rings of a callee; *n is the table's node, NULL first. */
static struct ring *next_ring(const struct push *p, struct slice callee, struct hnode **n)
{
    *n = *n ? htable_next(*n) : htable_first(&p->rings, hash_bytes(callee));
    for (; *n; *n = htable_next(*n)) {
        struct ring *r = CONTAINER_OF(*n, struct ring, by_callee);
        if (slice_eq(r->call.callee, callee))
            return r;
    }
    return NULL;
}

static struct ring *find_ring(const struct push *p, const struct sig_call_id *call,
                              struct slice callee)
{
    struct hnode *n = NULL;
    struct ring *r;

    while ((r = next_ring(p, callee, &n)))
        if (sig_call_id_eq(&r->call.id, call))
            return r;
    return NULL;
}

static struct ring_dev *find_dev(struct ring *r, struct slice device)
{
    for (size_t i = 0; i < r->n; i++)
        if (slice_eq(dev_name(&r->dev[i]), device))
            return &r->dev[i];
    return NULL;
}

static bool has_state(const struct ring *r, enum dev_state state)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->dev[i].state == state)
            return true;
    return false;
}

static void note(struct push *p, struct ring *r)
{
    if (!list_linked(&r->changed))
        list_append(&p->changed, &r->changed);
    if (list_linked(&r->waiting) && !has_state(r, DEV_WAITS))
        list_del(&r->waiting);
}

static void set_state(struct push *p, struct ring *r, struct ring_dev *d, enum dev_state state)
{
    d->state = state;
    r->reached = r->reached || state == DEV_TAKEN;
    note(p, r);
}

/* Pushes one device of a ring. */
static void wake(struct push *p, struct ring *r, struct ring_dev *d)
{
    const struct dir_device *dir = device_dir_find(p->dir, r->call.callee, dev_name(d));
    uint8_t token[PUSH_RING_TOKEN_MAX];
    struct wr k = wr_init(token, sizeof(token));
    enum push_kind kind;
    const struct dir_token *t = dir ? ring_token(p, dir, &kind) : NULL;

    set_state(p, r, d, DEV_FAILED);
    if (!t || r->call.until_us <= p->now_us)
        return;
    p->ops->ring_token(p->arg, &r->call.id, r->call.callee, dev_name(d), r->call.until_us, &k);
    struct push_content content = {.kind = kind,
                                   .from = r->call.caller,
                                   .name = r->call.caller_name,
                                   .video = r->call.video,
                                   .ring_until_s = wall_s_at(p, r->call.until_us),
                                   .ws = p->conf.ws,
                                   .ring_token = slice_of(token, k.bad ? 0 : k.len)};
    d->out = send_to(p, dir, t->token, &r->call.id, &content, r->call.until_us);
    if (!d->out)
        return;
    d->out->ring = r;
    d->out->dev = (size_t)(d - r->dev);
    d->sent_us = p->now_us;
    set_state(p, r, d, DEV_SENT);
}

unsigned push_count(const struct push *p, struct slice user, push_connected_fn *connected,
                    void *arg)
{
    enum push_kind kind;
    unsigned n = 0;

    for (const struct dir_device *d = device_dir_first(p->dir, user); d; d = device_dir_next(d))
        if (n < PUSH_DEVICES_MAX && ring_token(p, d, &kind) && !connected(arg, d->device))
            n++;
    return n;
}

/* A ring with its texts and devices copied. NULL: memory is out. */
static struct ring *new_ring(const struct push_call *call, size_t devices)
{
    size_t head = sizeof(struct ring), at = head + devices * sizeof(struct ring_dev);
    size_t n = call->caller.len + call->caller_name.len + call->callee.len;
    uint8_t *block = mem_zalloc(at + n);
    struct ring *r = (struct ring *)(void *)block;

    if (!r)
        return NULL;
    r->dev = (struct ring_dev *)(void *)(block + head);
    r->call = *call;
    struct wr w = wr_init(block + at, n);
    struct slice *texts[] = {&r->call.caller, &r->call.caller_name, &r->call.callee};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t from = w.len;
        wr_bytes(&w, *texts[i]);
        *texts[i] = slice_of(&w.base[from], texts[i]->len);
    }
    return r;
}

static size_t count_pushable(const struct push *p, struct slice user)
{
    enum push_kind kind;
    size_t n = 0;

    for (const struct dir_device *d = device_dir_first(p->dir, user); d; d = device_dir_next(d))
        n += ring_token(p, d, &kind) != NULL;
    return n < PUSH_DEVICES_MAX ? n : PUSH_DEVICES_MAX;
}

bool push_ring(struct push *p, const struct push_call *call, push_connected_fn *connected,
               void *arg)
{
    size_t n = count_pushable(p, call->callee);
    enum push_kind kind;

    if (n == 0 || find_ring(p, &call->id, call->callee))
        return true;
    struct ring *r = new_ring(call, n);
    if (!r)
        return false;
    for (const struct dir_device *d = device_dir_first(p->dir, call->callee); d && r->n < n;
         d = device_dir_next(d)) {
        if (!ring_token(p, d, &kind) || d->device.len > SIG_DEVICE_MAX)
            continue;
        struct ring_dev *dev = &r->dev[r->n++];
        dev->device_len = (uint8_t)d->device.len;
        memcpy(dev->device, d->device.p, d->device.len);
    }
    htable_add(&p->rings, &r->by_callee, hash_bytes(r->call.callee));
    counter_inc(&p->count.rings);
    r->ack_at_us = p->now_us + p->conf.ack_us;
    list_append(&p->waiting, &r->waiting);
    for (size_t i = 0; i < r->n; i++)
        if (!connected(arg, dev_name(&r->dev[i])))
            wake(p, r, &r->dev[i]);
    note(p, r);
    return true;
}

void push_over(struct push *p, const struct sig_call_id *call, struct slice callee)
{
    struct ring *r = find_ring(p, call, callee);

    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++) {
        struct push_out *out = r->dev[i].out;
        if (!out)
            continue;
        out->ring = NULL;
        p->ops->cancel(p->arg, slice_str(out->id));
    }
    htable_del(&p->rings, &r->by_callee);
    if (list_linked(&r->waiting))
        list_del(&r->waiting);
    if (list_linked(&r->changed))
        list_del(&r->changed);
    counter_sub(&p->count.rings, 1);
    mem_free(r);
}

/* Something happened to a device: act() for each ring that it belongs to. */
static void each_ring(struct push *p, struct slice user, struct slice device,
                      const struct sig_call_id *only,
                      void (*act)(struct push *p, struct ring *r, struct ring_dev *d))
{
    struct hnode *n = NULL;
    struct ring *r;

    while ((r = next_ring(p, user, &n))) {
        struct ring_dev *d = find_dev(r, device);
        if (d && (!only || sig_call_id_eq(only, &r->call.id)))
            act(p, r, d);
    }
}

static void connect_one(struct push *p, struct ring *r, struct ring_dev *d)
{
    if (d->state != DEV_SENT && d->state != DEV_TAKEN)
        return;
    counter_inc(&p->count.came);
    histogram_add(&p->count.wake_us, p->now_us - d->sent_us);
    set_state(p, r, d, DEV_CAME);
}

static void came_one(struct push *p, struct ring *r, struct ring_dev *d)
{
    connect_one(p, r, d);
    if (d->state != DEV_WAITS)
        return;
    counter_inc(&p->count.awake);
    set_state(p, r, d, DEV_CAME);
}

static void lost_one(struct push *p, struct ring *r, struct ring_dev *d)
{
    if (d->state == DEV_WAITS)
        wake(p, r, d);
}

void push_came(struct push *p, struct slice user, struct slice device,
               const struct sig_call_id *only)
{
    each_ring(p, user, device, only, came_one);
}

void push_connected(struct push *p, struct slice user, struct slice device,
                    const struct sig_call_id *only)
{
    each_ring(p, user, device, only, connect_one);
}

void push_lost(struct push *p, struct slice user, struct slice device)
{
    each_ring(p, user, device, NULL, lost_one);
}

/* ---- other pushes ---- */

void push_missed(struct push *p, const struct push_call *call, unsigned badge)
{
    for (const struct dir_device *d = device_dir_first(p->dir, call->callee); d;
         d = device_dir_next(d)) {
        const struct dir_token *t = token_of(p, d, LEDGER_ALERT);
        struct push_content content = {.kind = PUSH_MISSED,
                                       .from = call->caller,
                                       .name = call->caller_name,
                                       .video = call->video,
                                       .badge = badge};
        if (t)
            (void)send_to(p, d, t->token, &call->id, &content, p->now_us + PUSH_LIVE_S * US_PER_S);
    }
}

static struct live *find_live(const struct push *p, const struct sig_call_id *call, uint64_t user)
{
    uint64_t h = hash_bytes(slice_of(call->b, sizeof(call->b))) ^ user;

    for (struct hnode *n = htable_first(&p->lives, h); n; n = htable_next(n)) {
        struct live *l = CONTAINER_OF(n, struct live, node);
        if (l->user == user && sig_call_id_eq(&l->call, call))
            return l;
    }
    return NULL;
}

/* What is remembered of the activities of this call and user. NULL: memory is out. */
static struct live *keep_live(struct push *p, const struct sig_call_id *call, uint64_t user)
{
    struct live *l = find_live(p, call, user);

    if (l || !(l = mem_zalloc(sizeof(*l))))
        return l;
    l->call = *call;
    l->user = user;
    htable_add(&p->lives, &l->node, hash_bytes(slice_of(call->b, sizeof(call->b))) ^ user);
    return l;
}

static void forget_live(struct push *p, struct live *l)
{
    if (!l)
        return;
    htable_del(&p->lives, &l->node);
    mem_free(l);
}

/* How the device can be told: its activity's own token, or one to start it. NULL: not at all. */
static const struct dir_token *live_token(const struct push *p, const struct dir_device *d,
                                          const struct push_activity *a, enum push_kind *kind)
{
    const struct dir_token *t = device_dir_token(d, LEDGER_LIVEACTIVITY, &a->call);

    *kind = a->over ? PUSH_LIVE_END : PUSH_LIVE_UPDATE;
    if (!t && !a->over && p->conf.live_type.len > 0 && slice_eq(d->device, a->device)) {
        const struct live *l = find_live(p, &a->call, hash_bytes(a->user));
        *kind = PUSH_LIVE_START;
        t = l && l->started ? NULL : device_dir_token(d, LEDGER_LA_START, NULL);
    }
    return t && !push_suspects_has(&p->suspects, t->token) ? t : NULL;
}

/* Whether this change is told: it is counted when it is. */
static bool may_tell(struct push *p, const struct push_activity *a)
{
    struct live *l = keep_live(p, &a->call, hash_bytes(a->user));

    if (!l || l->n >= PUSH_LIVE_MAX - 1 || (l->shown && strcmp(l->shown, a->status) == 0))
        return false;
    l->n++;
    l->shown = a->status;
    return true;
}

void push_live(struct push *p, const struct push_activity *a)
{
    bool asked = false, may = a->over;
    enum push_kind kind;

    for (const struct dir_device *d = device_dir_first(p->dir, a->user); d;
         d = device_dir_next(d)) {
        const struct dir_token *t = live_token(p, d, a, &kind);
        struct push_content content = {.kind = kind,
                                       .from = a->peer,
                                       .name = a->peer_name,
                                       .live_type = p->conf.live_type,
                                       .status = slice_str(a->status),
                                       .started_s = a->started_us ? wall_s_at(p, a->started_us) : 0,
                                       .seconds = a->seconds};
        if (!t)
            continue;
        if (!asked && !a->over)
            may = may_tell(p, a);
        asked = true;
        if (!may ||
            !send_to(p, d, t->token, &a->call, &content, p->now_us + PUSH_LIVE_S * US_PER_S))
            continue;
        if (kind == PUSH_LIVE_START)
            find_live(p, &a->call, hash_bytes(a->user))->started = true;
    }
    if (a->over)
        forget_live(p, find_live(p, &a->call, hash_bytes(a->user)));
}

/* ---- verdicts ---- */

static void believe(struct push *p, struct slice token)
{
    if (device_dir_bad(p->dir, token, 0))
        p->ops->bad_token(p->arg, token, 0);
}

void push_doubt(struct push *p, struct slice topic, enum ledger_env env, uint64_t since_us)
{
    push_suspects_doubt(&p->suspects, topic, env, since_us);
}

static void learn(struct push_out *out, const struct push_verdict *v)
{
    struct push *p = out->p;

    switch (v->result) {
    case PUSH_GONE:
        if (device_dir_bad(p->dir, out->token, v->gone_since_ms))
            p->ops->bad_token(p->arg, out->token, v->gone_since_ms);
        break;
    case PUSH_BAD:
        if (push_suspects_add(&p->suspects, out->token, out->topic, out->env, p->now_us) != 0)
            believe(p, out->token);
        break;
    case PUSH_TAKEN:
        if (v->env != LEDGER_ENV_UNKNOWN && v->env != out->env &&
            device_dir_set_env(p->dir, out->user, out->device, v->env))
            p->ops->set_env(p->arg, out->user, out->device, v->env);
        break;
    default:
        break;
    }
}

void push_verdict(struct push_out *out, const struct push_verdict *v)
{
    struct push *p = out->p;
    struct ring *r = out->ring;

    counter_inc(&p->count.verdicts[v->result]);
    log_push(out, v->status, v->reason);
    learn(out, v);
    if (r) {
        struct ring_dev *d = &r->dev[out->dev];
        d->out = NULL;
        bool maybe = v->result == PUSH_NO && v->maybe;
        if (d->state == DEV_SENT && !maybe)
            set_state(p, r, d, v->result == PUSH_TAKEN ? DEV_TAKEN : DEV_FAILED);
    }
    free_out(out);
}

void push_out_set_service(struct push_out *out, void *service)
{
    out->service = service;
}

void *push_out_service(const struct push_out *out)
{
    return out->service;
}

/* ---- time ---- */

bool push_news(struct push *p, struct push_news *news)
{
    if (list_empty(&p->changed))
        return false;
    struct ring *r = CONTAINER_OF(list_first(&p->changed), struct ring, changed);
    list_del(&r->changed);
    *news = (struct push_news){.call = r->call.id,
                               .awaits = has_state(r, DEV_SENT) || has_state(r, DEV_TAKEN),
                               .reached = r->reached};
    return true;
}

uint64_t push_deadline(const struct push *p)
{
    uint64_t at = CLOCK_NEVER;

    if (!list_empty(&p->changed))
        return p->now_us;
    if (!list_empty(&p->waiting))
        at = CONTAINER_OF(list_first(&p->waiting), struct ring, waiting)->ack_at_us;
    uint64_t bad = push_suspects_deadline(&p->suspects);
    at = bad < at ? bad : at;
    return at;
}

/* Its connected devices had their time. */
static void ack_over(struct push *p, struct ring *r)
{
    list_del(&r->waiting);
    for (size_t i = 0; i < r->n; i++) {
        if (r->dev[i].state != DEV_WAITS)
            continue;
        counter_inc(&p->count.late);
        wake(p, r, &r->dev[i]);
    }
}

void push_tick(struct push *p)
{
    while (!list_empty(&p->waiting)) {
        struct ring *r = CONTAINER_OF(list_first(&p->waiting), struct ring, waiting);
        if (r->ack_at_us > p->now_us)
            break;
        ack_over(p, r);
    }
    uint8_t token[LEDGER_TOKEN_MAX];
    for (struct slice t; (t = push_suspects_due(&p->suspects, p->now_us, token)).len > 0;)
        believe(p, t);
}
