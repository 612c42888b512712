/* Calls and the devices that sleep: the router's side of push.h.
 *
 * Called by router_call.c: before an invite (how many would be woken), after it, and whenever a
 * call or a session changes. News of pushes go to the call machine from router_push_tick() only, or
 * before it is told that a session is gone. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "base/crypto.h"
#include "base/mem.h"
#include "base/rand.h"
#include "proto/json.h"
#include "server/router_priv.h"

#define RING_TOKEN_SPARE_US (60 * US_PER_S) /* a ring token outlives the ringing by so much */

/* ---- what push.c asks of the world ---- */

static int op_send(void *arg, const struct push_job *job, struct push_out *out,
                   char id[PUSH_ID_TEXT + 1])
{
    struct router *r = arg;

    return r->service->send(r->service->arg, job, out, id);
}

static void op_cancel(void *arg, struct slice id)
{
    struct router *r = arg;

    r->service->cancel(r->service->arg, id);
}

static struct slice ring_secret(const struct router *r)
{
    const struct conf_secret *s = &r->conf->push.ring_secret;

    return s->len > 0 ? slice_of(s->p, s->len) : slice_of(r->ring_secret, sizeof(r->ring_secret));
}

static void op_ring_token(void *arg, const struct sig_call_id *call, struct slice user,
                          struct slice device, uint64_t until_us, struct wr *w)
{
    struct router *r = arg;
    uint64_t end_us = r->wall_us + (until_us - r->now_us) + RING_TOKEN_SPARE_US;

    if (ring_token_write(w, ring_secret(r), user, device, call, end_us / US_PER_S) != 0)
        w->bad = true;
}

/* What the queue does not take is lost: the ledger counts it. */
struct bad_token {
    struct list link; /* on router.bad_tokens until the ledger knows */
    struct router *r;
    uint64_t since_ms;
    size_t len;
    uint8_t token[];
};

static void bad_token_free(struct bad_token *b)
{
    list_del(&b->link);
    crypto_wipe(b->token, b->len);
    mem_free(b);
}

/* What was read from the ledger meanwhile may have brought it back. */
static void on_bad_token(void *ctx, int rc, const struct ledger_result *res)
{
    struct bad_token *b = ctx;

    (void)res;
    if (rc == 0)
        device_dir_bad(b->r->devices, slice_of(b->token, b->len), b->since_ms);
    bad_token_free(b);
}

static void op_bad_token(void *arg, struct slice token, uint64_t since_ms)
{
    struct router *r = arg;
    struct bad_token *b = r->ledger ? mem_zalloc(sizeof(*b) + token.len) : NULL;

    if (!r->ledger)
        return;
    if (!b) {
        (void)ledger_bad_token(r->ledger, token, since_ms, NULL, NULL);
        return;
    }
    *b = (struct bad_token){.r = r, .since_ms = since_ms, .len = token.len};
    memcpy(b->token, token.p, token.len);
    list_append(&r->bad_tokens, &b->link);
    if (ledger_bad_token(r->ledger, token, since_ms, on_bad_token, b) != 0)
        bad_token_free(b);
}

static void op_set_env(void *arg, struct slice user, struct slice device, enum ledger_env env)
{
    struct router *r = arg;

    if (r->ledger)
        (void)ledger_set_env(r->ledger, user, device, env, NULL, NULL);
}

static void op_log(void *arg, const struct ledger_push *p)
{
    struct router *r = arg;

    if (r->ledger)
        (void)ledger_put_push(r->ledger, p, NULL, NULL);
}

static const struct push_ops ops = {.send = op_send,
                                    .cancel = op_cancel,
                                    .ring_token = op_ring_token,
                                    .bad_token = op_bad_token,
                                    .set_env = op_set_env,
                                    .log = op_log};

/* ---- life ---- */

bool router_push_init(struct router *r)
{
    rand_bytes(r->ring_secret, sizeof(r->ring_secret));
    r->ring_keys = ring_token_keys(ring_secret(r));
    return r->ring_keys != NULL;
}

void router_push_fini(struct router *r)
{
    LIST_EACH(it, tmp, &r->bad_tokens)
    bad_token_free(CONTAINER_OF(it, struct bad_token, link));
    push_free(r->push);
    token_keys_free(r->ring_keys);
    crypto_wipe(r->ring_secret, sizeof(r->ring_secret));
}

bool router_set_push(struct router *r, struct device_dir *dir,
                     const struct router_push_service *service)
{
    const struct push_conf conf = {.ack_us = r->conf->push.ack_ms * US_PER_MS,
                                   .ws = slice_str(r->conf->push.address),
                                   .live_type = slice_str(r->conf->push.live_type)};

    r->devices = dir;
    if (!service)
        return true;
    r->service = service;
    r->push = push_new(&conf, dir, &ops, r, r->now_us, r->wall_us);
    return r->push != NULL;
}

struct push *router_push(const struct router *r)
{
    return r->push;
}

/* ---- rings ---- */

/* Whose devices are looked at. */
struct looking {
    const struct router *r;
    struct slice user;
};

/* Its session has a socket, and would ring. */
static bool connected(void *arg, struct slice device)
{
    const struct looking *at = arg;
    const struct session *s = router_find_session(at->r, at->user, device);

    if (!s)
        return router_far_connected(at->r, at->user, device);
    return s->client && !s->ending && s->may_call && !s->only_call;
}

unsigned router_push_count(struct router *r, struct slice user)
{
    struct looking at = {r, user};

    return r->push ? push_count(r->push, user, connected, &at) : 0;
}

static struct push_call about(const struct call *c)
{
    return (struct push_call){.id = *call_id(c),
                              .caller = call_caller(c),
                              .caller_name = call_caller_name(c),
                              .callee = call_callee(c),
                              .video = call_is_video(c),
                              .until_us = call_ring_until_us(c)};
}

void router_push_begin(struct router *r, const struct sig_call_id *id)
{
    const struct call *c = r->push ? call_table_find(r->calls, id) : NULL;

    if (!c || !call_live(c) || !call_rings(c) || call_is_second(c))
        return;
    struct push_call call = about(c);
    struct looking at = {r, call.callee};
    if (!push_ring(r->push, &call, connected, &at)) /* nobody will come */
        router_call_pushed(r, &(struct push_news){.call = *id});
}

static void tell_live(struct router *r, const struct call *c, const char *status, bool over)
{
    struct push_activity a = {.call = *call_id(c),
                              .user = call_caller(c),
                              .device = call_caller_device(c),
                              .peer = call_callee(c),
                              .status = status,
                              .started_us = call_times(c)->answered_us,
                              .over = over,
                              .seconds = call_duration_ms(c) / 1000};

    push_live(r->push, &a);
    a.user = call_callee(c);
    a.device = call_winner(c);
    a.peer = call_caller(c);
    a.peer_name = call_caller_name(c);
    push_live(r->push, &a);
}

/* The device is one of the two that talk. */
static bool is_party(const struct call *c, struct slice user, struct slice device)
{
    return (slice_eq(user, call_caller(c)) && slice_eq(device, call_caller_device(c))) ||
           (slice_eq(user, call_callee(c)) && slice_eq(device, call_winner(c)));
}

void router_push_info(struct router *r, struct slice user, struct slice device,
                      const struct sig_call_id *id, struct slice data)
{
    const struct call *c = r->push ? call_table_find(r->calls, id) : NULL;
    struct json_field hold = {.key = "onHold"};
    bool on;

    if (c && call_state(c) == SIG_CALL_ACTIVE && is_party(c, user, device) &&
        json_fields(data, &hold, 1) == 0 && json_truth(hold.value, &on))
        tell_live(r, c, on ? "held" : "active", false);
}

void router_push_changed(struct router *r, const struct call *c, enum sig_call_state before)
{
    enum sig_call_state now = call_state(c);

    if (!r->push)
        return;
    if (before <= SIG_CALL_RINGS && now > SIG_CALL_RINGS)
        push_over(r->push, call_id(c), call_callee(c));
    if (now == SIG_CALL_CONNECTING)
        tell_live(r, c, "connecting", false);
    else if (now == SIG_CALL_ACTIVE && before == SIG_CALL_CONNECTING)
        tell_live(r, c, "active", false);
    else if (now == SIG_CALL_OVER)
        tell_live(r, c, "ended", true);
}

void router_push_missed(struct router *r, const struct push_call *call, unsigned badge)
{
    if (r->push)
        push_missed(r->push, call, badge);
}

/* ---- sessions ---- */

static void bring_news(struct router *r)
{
    struct push_news news;

    while (push_news(r->push, &news))
        router_call_pushed(r, &news);
}

void router_push_session(struct router *r, const struct session *s, enum call_event_kind kind)
{
    const struct sig_call_id *only = s->only_call ? &s->call : NULL;
    struct slice user = user_id(s->user), device = session_device(s);

    if (!r->push)
        return;
    if (kind == CALL_EV_DELIVERED) {
        push_came(r->push, user, device, only);
    } else if (kind == CALL_EV_NEW || (kind == CALL_EV_BACK && s->may_call)) {
        push_connected(r->push, user, device, only);
    } else if (kind != CALL_EV_BACK) {
        push_lost(r->push, user, device);
        bring_news(r); /* before the call hears that nobody is left */
    }
}

void router_push_spoke(struct router *r, struct slice user, struct slice device,
                       const struct sig_call_id *call)
{
    if (r->push)
        push_came(r->push, user, device, call);
}

void router_push_far(struct router *r, struct slice user, struct slice device,
                     const struct sig_call_id *call, enum call_event_kind kind)
{
    if (!r->push)
        return;
    if (kind == CALL_EV_DELIVERED)
        push_came(r->push, user, device, call);
    else if (kind == CALL_EV_NEW || kind == CALL_EV_BACK)
        push_connected(r->push, user, device, call);
    else
        push_lost(r->push, user, device);
}

/* ---- time ---- */

uint64_t router_push_deadline(const struct router *r)
{
    return r->push ? push_deadline(r->push) : CLOCK_NEVER;
}

void router_push_tick(struct router *r)
{
    if (!r->push)
        return;
    push_tick(r->push);
    bring_news(r);
}
