/* The middle of sori-server: messages to their handlers, answers to their sockets, timers.
 *
 * client.c calls router_message() with whole messages. Handlers: login.c (hello, tokens),
 * router_presence.c, router_call.c; router_session.c has a session's life.
 * Whatever a session's loss means to its calls is told from router_tick(), never from inside a
 * send: the effects of one step are performed without another step in between.
 *
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/router.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "proto/sig_server.h"
#include "server/presence_store_mem.h"
#include "server/router_priv.h"

#include <assert.h>
#include <errno.h>

#define STRIKES_PER_MIN 100 /* refused messages before a client that does not listen is closed */
#define LIMIT_KEYS      16384
#define FRAMES_RATIO    10  /* frames of any kind for each message that is allowed */
#define FRAMES_SPARE    400 /* and so many more at once: acks, pongs, what a resume repeats */

/* n in `seconds`, and as many at once; 0 = no limit. */
static struct bucket_rule rule(uint64_t n, uint64_t seconds, uint64_t burst)
{
    uint64_t milli = n * 1000 / seconds;

    return (struct bucket_rule){.milli_per_s = n == 0 ? 0 : (uint32_t)(milli ? milli : 1),
                                .burst = (uint32_t)burst};
}

static struct call_table_conf call_conf(const struct server_conf *c)
{
    return (struct call_table_conf){
        .call = {.ring_timeout_us = c->call.ring_timeout_s * US_PER_S,
                 .caller_grace_us = c->call.caller_grace_s * US_PER_S,
                 .connect_timeout_us = c->call.connect_timeout_s * US_PER_S,
                 .reconnect_timeout_us = c->call.reconnect_timeout_s * US_PER_S,
                 .max_duration_us = c->call.max_duration_s * US_PER_S,
                 .ended_keep_us = c->call.ended_keep_s * US_PER_S,
                 .pushed_keep_us = c->push.ended_keep_s * US_PER_S,
                 .busy_is_missed = c->call.busy_is_missed},
        .calls = c->limits.calls,
        .ended = c->limits.calls,
        .per_user = c->limits.calls_per_user,
        .waiting = c->call.busy_policy == SERVER_BUSY_WAITING,
    };
}

static struct room_conf room_conf(const struct server_conf *c)
{
    return (struct room_conf){.rooms = c->room.rooms,
                              .participants = c->room.participants,
                              .per_user = c->room.rooms_per_user,
                              .tracks = c->room.tracks,
                              .metadata_bytes = c->room.metadata_bytes,
                              .open = c->room.open,
                              .creator_is_admin = c->room.creator_is_admin,
                              .empty_us = c->room.empty_timeout_s * US_PER_S,
                              .gone_us = c->session.resume_ttl_s * US_PER_S,
                              .restart_us = c->room.restart_timeout_s * US_PER_S};
}

static void set_rules(struct router *r)
{
    const struct server_conf *c = r->conf;

    r->logins = rule(c->limits.logins_per_s, 1, 2 * c->limits.logins_per_s);
    r->messages = rule(c->limits.messages_per_s, 1, c->limits.messages_burst);
    r->candidates = rule(c->limits.candidates_per_10s, 10, c->limits.candidates_per_10s);
    r->quality = rule(c->limits.quality_per_min, 60, c->limits.quality_per_min);
    r->records = rule(c->limits.records_per_min, 60, c->limits.records_per_min);
    r->subscribes = rule(c->limits.subscribes_per_min, 60, c->limits.subscribes_per_min);
    if (c->limits.messages_per_s > 0 && c->limits.candidates_per_10s > 0)
        r->frames = rule(FRAMES_RATIO * c->limits.messages_per_s + c->limits.candidates_per_10s, 1,
                         FRAMES_RATIO * c->limits.messages_burst + c->limits.candidates_per_10s +
                             FRAMES_SPARE);
    r->strikes = rule(STRIKES_PER_MIN, 60, STRIKES_PER_MIN);
    r->reliable = (struct reliable_limits){.messages = c->session.replay_messages,
                                           .bytes = c->session.replay_bytes};
}

static struct limit_table *table(uint64_t n, uint64_t seconds)
{
    const struct bucket_rule limit = rule(n, seconds, n);

    return limit_table_new(&limit, LIMIT_KEYS);
}

/* False: memory is out. */
static bool make_limits(struct router *r)
{
    const struct server_conf *c = r->conf;

    r->login_failures = table(c->limits.login_failures_per_10min, 600);
    r->invites_short = table(c->limits.invites_per_10s, 10);
    r->invites_long = table(c->limits.invites_per_hour, 3600);
    r->pairs = table(c->limits.invites_per_pair_per_min, 60);
    r->joins = table(c->room.joins_per_10s, 10);
    return r->login_failures && r->invites_short && r->invites_long && r->pairs && r->joins;
}

struct router *router_new(const struct server_conf *conf, struct token_keys *const *keys,
                          struct presence_store *store, uint64_t now_us, uint64_t wall_us)
{
    struct call_table_conf calls = call_conf(conf);
    struct room_conf rooms = room_conf(conf);
    struct router *r = mem_zalloc(sizeof(*r));

    if (!r)
        return NULL;
    r->conf = conf;
    r->keys = keys;
    r->now_us = now_us;
    r->wall_us = wall_us;
    r->out[0] = '{';
    list_init(&r->bad_tokens);
    router_record_init(r);
    router_history_init(r);
    set_rules(r);
    r->client_wheel = timerwheel_new(now_us);
    r->session_wheel = timerwheel_new(now_us);
    r->sessions = session_table_new();
    r->calls = call_table_new(&calls, now_us);
    r->rooms = room_table_new(&rooms, &router_room_ops, r, now_us);
    r->own_store = store ? NULL : presence_store_mem_new();
    r->store = store ? store : r->own_store;
    if (r->store) {
        r->store->replaced = router_replaced;
        r->store->replaced_arg = r;
    }
    r->presence =
        r->store ? presence_new(r->store, (unsigned)conf->limits.subscriptions, now_us) : NULL;
    if (router_quality_init(r) && router_push_init(r) && router_sfu_init(r) && r->client_wheel &&
        r->session_wheel && r->sessions && r->calls && r->rooms && r->presence && make_limits(r))
        return r;
    router_free(r);
    return NULL;
}

void router_free(struct router *r)
{
    struct hnode *saved = NULL;
    size_t pos = 0;

    if (!r)
        return;
    if (r->sessions && r->presence)
        for (struct session *s; (s = session_walk(r->sessions, &pos, &saved));)
            presence_unwatch_all(r->presence, &s->watcher);
    router_far_free(r);
    router_quality_fini(r);
    router_record_fini(r);
    router_history_fini(r);
    router_push_fini(r);
    presence_free(r->presence);
    if (r->store)
        r->store->replaced = NULL;
    presence_store_free(r->own_store);
    router_sfu_fini(r);
    room_table_free(r->rooms);
    call_table_free(r->calls);
    session_table_free(r->sessions);
    limit_table_free(r->login_failures);
    limit_table_free(r->invites_short);
    limit_table_free(r->invites_long);
    limit_table_free(r->pairs);
    limit_table_free(r->joins);
    timerwheel_free(r->client_wheel);
    timerwheel_free(r->session_wheel);
    mem_free(r);
}

void router_clock(struct router *r, uint64_t now_us, uint64_t wall_us)
{
    r->now_us = now_us;
    r->wall_us = wall_us;
    presence_now(r->presence, now_us);
    if (r->push)
        push_clock(r->push, now_us, wall_us);
}

uint64_t router_now(const struct router *r)
{
    return r->now_us;
}

struct timerwheel *router_wheel(struct router *r)
{
    return r->client_wheel;
}

struct router_counters *router_count(struct router *r)
{
    return &r->count;
}

uint64_t router_ping_us(const struct router *r, bool in_call)
{
    return (in_call ? r->conf->session.ping_call_s : r->conf->session.ping_idle_s) * US_PER_S;
}

uint64_t router_hello_us(const struct router *r)
{
    return r->conf->session.handshake_timeout_s * US_PER_S;
}

const struct bucket_rule *router_frames(const struct router *r)
{
    return &r->frames;
}

void router_count_close(struct router *r, enum sig_close code)
{
    struct router_counters *n = &r->count;

    switch (code) {
    case SIG_CLOSE_PROTOCOL:
    case SIG_CLOSE_UNSUPPORTED:
    case SIG_CLOSE_BAD_UTF8:
    case SIG_CLOSE_TOO_LARGE:
    case SIG_CLOSE_MALFORMED:
        counter_inc(&n->closes_protocol);
        break;
    case SIG_CLOSE_OVERLOAD:
        counter_inc(&n->closes_overload);
        break;
    case SIG_CLOSE_AUTH:
    case SIG_CLOSE_FORBIDDEN:
        counter_inc(&n->closes_auth);
        break;
    case SIG_CLOSE_TIMEOUT:
        counter_inc(&n->closes_timeout);
        break;
    case SIG_CLOSE_REPLACED:
        counter_inc(&n->closes_replaced);
        break;
    case SIG_CLOSE_RATE:
        counter_inc(&n->closes_rate);
        break;
    default:
        counter_inc(&n->closes_other);
        break;
    }
}

/* ---- sending ---- */

struct wr router_body(struct router *r)
{
    return wr_init(r->out + 1, ROUTER_OUT_BYTES);
}

void router_send_plain(struct router *r, struct client *c, const struct wr *body)
{
    assert(!body->bad && body->base == r->out + 1);
    counter_inc(&r->count.messages_out);
    client_send(c, slice_of(r->out, body->len + 1));
}

/* Its history can no longer be kept: it may not go on as if nothing were missing. */
static void break_session(struct router *r, struct session *s)
{
    s->ending = true;
    timer_set(r->session_wheel, &s->timer, r->now_us);
    if (s->client)
        client_close(s->client, SIG_CLOSE_OVERLOAD);
}

void router_send(struct router *r, struct session *s, struct slice body, uint64_t id_hash)
{
    if (s->ending)
        return;
    struct slice text = reliable_send(&s->rel, &r->reliable, body, id_hash);
    if (text.len == 0) {
        break_session(r, s);
        return;
    }
    counter_inc(&r->count.messages_out);
    router_saves(r, s);
    if (s->client)
        client_send(s->client, text);
}

void request_reply(const struct request *q, const struct wr *body)
{
    if (body->bad) /* only a bug could: buffers are sized for every message */
        request_fail(q, SIG_ERR_INTERNAL, NULL);
    else if (q->far && q->m->room.len > 0)
        router_far_room_reply(q, wr_done(body));
    else if (q->far)
        router_far_reply(q, wr_done(body));
    else
        router_send(q->r, q->s, wr_done(body), q->id_hash);
}

void request_error(const struct request *q, const struct sig_error *e)
{
    struct sig_error full = *e;

    counter_inc(&q->r->count.errors[e->code]);
    if (!q->m->has_id)
        return;
    full.re = q->m->id;
    full.call_id = q->m->has_call_id ? &q->m->call_id : NULL;
    full.room = q->m->room;
    struct wr w = router_body(q->r);
    sig_server_error(&w, &full);
    assert(!w.bad);
    request_reply(q, &w);
}

void request_fail(const struct request *q, enum sig_err code, const char *text)
{
    request_error(q, &(struct sig_error){.code = code, .text = text});
}

/* ---- messages ---- */

static void ping(const struct request *q)
{
    struct sig_fault fault;
    struct slice t = {0};
    struct wr w = router_body(q->r);

    if (sig_client_ping(&t, q->m, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    sig_server_pong(&w, q->m->id, t);
    router_send_plain(q->r, q->c, &w);
}

/* What a session with a ring token may ask: all that the one call needs. */
static bool within_call(const struct request *q)
{
    enum sig_type t = q->m->type;

    if (t == SIG_ACK || t == SIG_PING || t == SIG_AUTH_REFRESH || t == SIG_SESSION_CLOSE)
        return true;
    if (!q->m->has_call_id || !sig_call_id_eq(&q->m->call_id, &q->s->call))
        return false;
    return t == SIG_TURN_CREDENTIALS ||
           (sig_type_needs_call(t) && t != SIG_CALL_INVITE && t != SIG_CALL_UPGRADE);
}

static void perform(const struct request *q)
{
    enum sig_type t = q->m->type;

    if (q->s->only_call && !within_call(q)) {
        request_fail(q, SIG_ERR_FORBIDDEN,
                     "this token is good for one call only: auth.refresh with another first");
        return;
    }
    switch (t) {
    case SIG_ACK:
        break;
    case SIG_PING:
        ping(q);
        break;
    case SIG_HELLO:
        request_fail(q, SIG_ERR_BAD_REQUEST, "hello was already said");
        break;
    case SIG_AUTH_REFRESH:
        login_refresh(q);
        break;
    case SIG_SESSION_CLOSE: {
        struct wr w = router_body(q->r);
        sig_server_raw(&w, &(struct sig_head){.type = t, .re = q->m->id}, SLICE_LIT("{}"));
        request_reply(q, &w);
        router_end(q->r, q->s, CALL_EV_CLOSED);
        break;
    }
    case SIG_PRESENCE_SUBSCRIBE:
    case SIG_PRESENCE_UNSUBSCRIBE:
    case SIG_PRESENCE_SET:
        router_presence_request(q);
        break;
    case SIG_TURN_CREDENTIALS:
        router_turn_request(q);
        break;
    case SIG_CALL_QUALITY:
        router_quality_request(q);
        break;
    default:
        if (sig_type_is_record(t))
            router_record_request(q);
        else if (sig_type_needs_room(t))
            router_room_request(q);
        else
            router_call_request(q);
        break;
    }
}

/* Whether the session may send this message now; a client that goes on regardless is closed. */
static bool within_rate(const struct request *q)
{
    struct router *r = q->r;
    bool candidates = q->m->type == SIG_CALL_CANDIDATES || q->m->type == SIG_ROOM_CANDIDATES;
    struct bucket *b = candidates ? &q->s->candidates : &q->s->messages;
    const struct bucket_rule *limit = candidates ? &r->candidates : &r->messages;

    if (q->m->type == SIG_ACK || bucket_take(b, limit, 1, r->now_us))
        return true;
    counter_inc(&r->count.rate_limited);
    if (!bucket_take(&q->s->strikes, &r->strikes, 1, r->now_us)) {
        client_close(q->c, SIG_CLOSE_RATE);
        return false;
    }
    request_error(q, &(struct sig_error){.code = SIG_ERR_RATE_LIMITED,
                                         .retry_after_ms = bucket_wait_ms(b, limit, 1, r->now_us)});
    return false;
}

/* A request that was handled before: its answer again. */
static void repeat(const struct request *q)
{
    struct slice stored = reliable_reply(&q->s->rel, q->id_hash);

    counter_inc(&q->r->count.duplicates);
    if (stored.len > 0)
        client_send(q->c, stored);
    else if (!router_sfu_waits(q->r, q->s, q->id_hash) && /* else its answer is still to come */
             !router_far_waits(q->r, q->s, q->id_hash) &&
             !router_far_room_waits(q->r, q->s, q->id_hash) &&
             !router_record_waits(q->r, q->s, q->id_hash))
        request_fail(q, SIG_ERR_DUPLICATE_REQUEST, NULL);
}

/* Before hello: anything else, and anything malformed, ends the connection. */
static void first_message(struct router *r, struct client *c, const struct sig_msg *m,
                          struct wr *scratch, const struct sig_fault *fault, struct slice whole)
{
    if (!fault && m->type == SIG_HELLO && !c->login) {
        login_hello(r, c, m, scratch, whole);
        return;
    }
    struct wr w = router_body(r);
    enum sig_err code = fault ? fault->code : SIG_ERR_BAD_REQUEST;
    counter_inc(&r->count.errors[code]);
    sig_server_error(&w, &(struct sig_error){.re = m->has_id ? m->id : (struct slice){0},
                                             .code = code,
                                             .text = fault ? fault->text : "say hello first"});
    router_send_plain(r, c, &w);
    client_close(c, SIG_CLOSE_MALFORMED);
}

/* Something that could not be read: answered without a number. */
static void unreadable(struct router *r, struct client *c, const struct sig_fault *fault)
{
    struct wr w = router_body(r);

    counter_inc(&r->count.errors[fault->code]);
    sig_server_error(&w, &(struct sig_error){.code = fault->code, .text = fault->text});
    router_send_plain(r, c, &w);
}

/* A readable message of a session. */
static void session_message(const struct request *q, const struct sig_fault *fault)
{
    struct session *s = q->s;
    /* A type of a newer protocol is numbered too: its number must not become a gap. */
    bool numbered = q->m->has_seq &&
                    (sig_type_numbered_by_client(q->m->type) || !sig_type_from_client(q->m->type));

    switch (
        reliable_recv(&s->rel, numbered ? q->m->seq : 0, q->m->has_ack, q->m->ack, q->r->now_us)) {
    case RELIABLE_BAD:
        client_close(q->c, SIG_CLOSE_MALFORMED);
        return;
    case RELIABLE_SEEN:
        if (q->m->has_id)
            repeat(q);
        router_arm(q->r, s);
        return;
    case RELIABLE_NEW:
        break;
    }
    router_arm(q->r, s);
    if (s->incoming_seq && reliable_acked(&s->rel) >= s->incoming_seq) {
        s->incoming_seq = 0;
        router_call_session(q->r, s, CALL_EV_DELIVERED);
    }
    if (q->m->type == SIG_ACK || !within_rate(q))
        return;
    if (q->id_hash && reliable_seen_id(&s->rel, q->id_hash))
        repeat(q);
    else if (fault)
        request_fail(q, fault->code, fault->text);
    else
        perform(q);
}

/* What changes nothing when it is said once more: a client whose node has died repeats it. */
static bool may_come_twice(const struct sig_msg *m)
{
    return m->type == SIG_ACK || m->type == SIG_PING || m->type == SIG_CALL_INVITE ||
           m->type == SIG_CALL_RINGING || m->type == SIG_CALL_STATE ||
           m->type == SIG_CALL_CANDIDATES || m->type == SIG_ROOM_CANDIDATES ||
           m->type == SIG_CALL_QUALITY;
}

void router_message(struct router *r, struct client *c, struct slice text)
{
    struct wr scratch = wr_init(r->scratch, sizeof(r->scratch));
    struct sig_fault fault;
    struct sig_msg m;
    bool bad = sig_decode(&m, text, &scratch, &fault) != 0;

    counter_inc(&r->count.messages_in[m.type]);
    if (!c->session) {
        first_message(r, c, &m, &scratch, bad ? &fault : NULL, text);
        return;
    }
    if (session_confirm(c->session))
        router_saves_whole(r, c->session);
    if (may_come_twice(&m))
        router_saves_soon(r, c->session);
    else
        router_saves(r, c->session);
    if (bad && fault.code == SIG_ERR_BAD_JSON) {
        unreadable(r, c, &fault);
        return;
    }
    const struct request q = {.r = r,
                              .c = c,
                              .s = c->session,
                              .m = &m,
                              .text = text,
                              .scratch = &scratch,
                              .id_hash = m.has_id ? hash_bytes(m.id) | 1 : 0};
    session_message(&q, bad ? &fault : NULL);
}

/* ---- time ---- */

uint64_t router_deadline(const struct router *r)
{
    uint64_t at = timerwheel_next(r->client_wheel), sessions = timerwheel_next(r->session_wheel),
             calls = call_table_deadline(r->calls), presence = presence_deadline(r->presence),
             rooms = router_room_deadline(r), push = router_push_deadline(r),
             quality = router_quality_deadline(r), records = router_record_deadline(r),
             far = router_far_deadline(r);

    at = sessions < at ? sessions : at;
    at = calls < at ? calls : at;
    at = rooms < at ? rooms : at;
    at = push < at ? push : at;
    at = quality < at ? quality : at;
    at = records < at ? records : at;
    at = far < at ? far : at;
    return presence < at ? presence : at;
}

void router_tick(struct router *r)
{
    struct timer *t;

    while ((t = timerwheel_pop(r->client_wheel, r->now_us)))
        client_tick(CONTAINER_OF(t, struct client, timer));
    while ((t = timerwheel_pop(r->session_wheel, r->now_us)))
        router_session_tick(r, CONTAINER_OF(t, struct session, timer));
    router_record_tick(r);
    router_push_tick(r);
    router_call_tick(r);
    router_far_tick(r);
    router_room_tick(r);
    router_quality_tick(r);
    while (router_presence_tick(r))
        ;
    counter_add(&r->count.calls, call_table_count(r->calls) - counter_get(&r->count.calls));
}

/* ---- leaving ---- */

bool router_draining(const struct router *r)
{
    return r->draining;
}

void router_drain(struct router *r, uint64_t spread_ms)
{
    struct hnode *saved = NULL;
    size_t pos = 0;

    r->draining = true;
    for (struct session *s; (s = session_walk(r->sessions, &pos, &saved));) {
        struct wr w = router_body(r);
        if (!s->client)
            continue;
        sig_server_goaway(&w, spread_ms ? rand_below(spread_ms) : 0, false, spread_ms);
        router_send_plain(r, s->client, &w);
    }
}

void router_close_all(struct router *r, enum sig_close code)
{
    struct hnode *saved = NULL;
    size_t pos = 0;

    router_history_stop(r);
    for (struct session *s; (s = session_walk(r->sessions, &pos, &saved));)
        if (s->client)
            client_close(s->client, code);
}

void router_set_owner(struct router *r, void *owner)
{
    r->owner = owner;
}

void *router_owner(const struct router *r)
{
    return r->owner;
}
