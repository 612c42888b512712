/* hello and auth.refresh: who is it, and does a session go on?
 *
 * Called by router.c with the first message of a socket, and with refreshes. Identity comes from
 * the token alone; the device id is the client's word unless the token binds one. A refused token
 * counts against the address. The welcome is sent before anything that was missed. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "proto/sig_client.h"
#include "proto/sig_server.h"
#include "server/router_priv.h"
#include "server/token.h"

#define RETRY_MS    1000 /* until Redis is there, perhaps */
#define SPREAD_MS   2000 /* who is not admitted comes again within that time */
#define WELCOME_MAX 4096 /* a welcome without its call views */

/* Refuses the socket: one error, one close. */
static void refuse_with(struct router *r, struct client *c, const struct sig_msg *m,
                        const struct sig_error *why, enum sig_close close)
{
    struct sig_error e = *why;
    struct wr w = router_body(r);

    counter_inc(&r->count.errors[e.code]);
    if (m->has_id)
        e.re = m->id;
    sig_server_error(&w, &e);
    router_send_plain(r, c, &w);
    client_close(c, close);
}

static void refuse(struct router *r, struct client *c, const struct sig_msg *m, enum sig_err code,
                   const char *text, enum sig_close close)
{
    refuse_with(r, c, m, &(struct sig_error){.code = code, .text = text}, close);
}

static enum sig_err wire_error(enum token_error e)
{
    return e == TOKEN_EXPIRED   ? SIG_ERR_TOKEN_EXPIRED
           : e == TOKEN_NOT_YET ? SIG_ERR_TOKEN_NOT_VALID_YET
                                : SIG_ERR_UNAUTHORIZED;
}

static enum token_error verify(const struct router *r, struct token *out, struct slice jws)
{
    const struct token_rules rules = {.issuer = r->conf->auth.issuer,
                                      .audience = r->conf->auth.audience,
                                      .leeway_s = (uint32_t)r->conf->auth.leeway_s};

    enum token_error e = token_verify(out, *r->keys, &rules, jws, r->wall_us / US_PER_S);
    if (e == TOKEN_OK || e == TOKEN_EXPIRED || e == TOKEN_NO_MEMORY)
        return e;
    enum token_error ring = ring_token_verify(out, r->ring_keys, jws, r->wall_us / US_PER_S);
    return ring == TOKEN_OK || ring == TOKEN_EXPIRED ? ring : e;
}

/* The monotonic time at which the token ends, leeway included. */
static uint64_t expiry_us(const struct router *r, const struct token *t)
{
    uint64_t end_s = t->expires_at_s + r->conf->auth.leeway_s, wall_s = r->wall_us / US_PER_S;
    uint64_t left_s = end_s > wall_s ? end_s - wall_s : 0;

    if (left_s > UINT32_MAX) /* 136 years: no overflow below */
        left_s = UINT32_MAX;
    return r->now_us + left_s * US_PER_S;
}

/* False: memory is out, nothing was taken. */
static bool take_token(const struct router *r, struct session *s, const struct token *t)
{
    char *room = *t->perms.room ? mem_strndup(slice_str(t->perms.room)) : NULL;

    if (*t->perms.room && !room)
        return false;
    mem_free(s->room);
    s->room = room;
    s->room_perms = t->perms.in_room;
    s->expires_us = expiry_us(r, t);
    s->expiry_told = false;
    s->only_call = t->has_call;
    s->call = t->call;
    s->may_call = t->perms.call;
    s->may_presence = t->perms.presence;
    return true;
}

/* The session that hello wants to go on with, or NULL. */
static struct session *find_resumed(struct router *r, const struct sig_hello *h,
                                    const struct token *t)
{
    if (!h->resume)
        return NULL;
    struct session *s = session_find(r->sessions, h->session_id);
    if (!s || s->ending || !slice_is(user_id(s->user), t->user) ||
        !slice_eq(session_device(s), h->device) || !session_token_ok(s, h->resume_token) ||
        !reliable_can_resume(&s->rel, h->last_seq)) {
        counter_inc(&r->count.resumes_lost);
        return NULL;
    }
    counter_inc(&r->count.resumes_ok);
    reliable_recv(&s->rel, 0, true, h->last_seq, r->now_us);
    return s;
}

/* The user's session that has been without a socket longest, or NULL. */
static struct session *oldest_detached(const struct user *u)
{
    struct session *oldest = NULL;

    LIST_EACH(l, tmp, &u->sessions)
    {
        struct session *s = CONTAINER_OF(l, struct session, of_user);
        if (!s->client && (!oldest || s->gone_us < oldest->gone_us))
            oldest = s;
    }
    return oldest;
}

/* A new session; an older one of the same device makes way. NULL: no room. */
static struct session *make_session(struct router *r, const struct sig_hello *h,
                                    const struct token *t)
{
    struct user *u = user_find(r->sessions, slice_str(t->user));
    struct session *old = u ? session_find_device(u, h->device) : NULL;

    if (!old && u && u->sessions_n >= r->conf->limits.devices_per_user) {
        old = oldest_detached(u);
        if (!old)
            return NULL;
    }
    if (old)
        router_end(r, old,
                   slice_eq(session_device(old), h->device) ? CALL_EV_COUNT : CALL_EV_EXPIRED);
    struct session *s = session_new(r->sessions, slice_str(t->user), h->device, slice_str(t->name));
    if (!s)
        return NULL;
    s->state = SIG_PRESENCE_ONLINE;
    counter_inc(&r->count.sessions);
    return s;
}

static void write_welcome(struct router *r, struct session *s, const struct sig_hello *h,
                          bool resumed, struct slice views, struct wr *w)
{
    char id[SESSION_ID_TEXT], token[SESSION_ID_TEXT];

    session_id_text(s, id);
    session_rotate(s, resumed ? h->resume_token : (struct slice){0}, token);
    sig_server_welcome(w, &(struct sig_welcome){
                              .session_id = slice_of(id, sizeof(id)),
                              .resume_token = slice_of(token, sizeof(token)),
                              .user = user_id(s->user),
                              .name = session_name(s),
                              .device = session_device(s),
                              .node = slice_str(r->conf->server.node_id),
                              .resume_ttl_ms = r->conf->session.resume_ttl_s * 1000,
                              .server_time_ms = r->wall_us / US_PER_MS,
                              .last_seq = s->rel.in_seq,
                              .ping_interval_ms = r->conf->session.ping_idle_s * 1000,
                              .ping_timeout_ms = r->conf->session.ping_call_s * 2000,
                              .resumed = resumed,
                              .active_calls_raw = views,
                          });
}

/* Sends the welcome with the views of the device's calls. False: out of memory. */
static bool welcome(struct router *r, struct client *c, struct session *s,
                    const struct sig_hello *h, bool resumed)
{
    size_t views_max = call_table_views_size(r->calls, user_id(s->user), session_device(s));
    uint8_t *heap = mem_zalloc(views_max + 1 + views_max + WELCOME_MAX);

    if (!heap)
        return false;
    struct wr views = wr_init(heap, views_max);
    struct wr w = wr_init(heap + views_max, 1 + views_max + WELCOME_MAX);
    call_table_views(r->calls, user_id(s->user), session_device(s), &views, r->now_us);
    wr_u8(&w, '{');
    write_welcome(r, s, h, resumed, wr_done(&views), &w);
    bool ok = !w.bad && !views.bad && client_send(c, wr_done(&w));
    mem_free(heap);
    return ok;
}

static void replay(struct session *s, struct client *c, uint64_t last_seq)
{
    const struct list *pos = NULL;
    struct slice text;

    while (!c->closing && (text = reliable_replay(&s->rel, last_seq, &pos)).len > 0)
        client_send(c, text);
}

/* Everything is in order: the socket gets its session. */
static void accept_client(struct router *r, struct client *c, const struct sig_msg *m,
                          const struct sig_hello *h, const struct token *t, struct session *taken)
{
    struct session *s = taken ? taken : find_resumed(r, h, t);
    bool resumed = s != NULL;

    if (!s)
        s = make_session(r, h, t);
    if (!s) {
        refuse(r, c, m, SIG_ERR_OVERLOADED, NULL, SIG_CLOSE_OVERLOAD);
        return;
    }
    if (s->client) {
        struct client *old = s->client;
        s->client = NULL; /* closing the old socket must not detach the session */
        old->session = NULL;
        client_close(old, SIG_CLOSE_REPLACED);
    }
    if (!take_token(r, s, t)) {
        refuse(r, c, m, SIG_ERR_INTERNAL, NULL, SIG_CLOSE_INTERNAL);
        return;
    }
    s->can_rooms = (h->caps & SIG_CAP_ROOMS) != 0;
    s->can_wait = (h->caps & SIG_CAP_CALL_WAITING) != 0;
    s->in_call = router_in_call(r, s);
    counter_inc(&r->count.logins_ok);
    router_attached(r, s, c);
    router_record_hello(r, s);
    if (!welcome(r, c, s, h, resumed)) {
        client_close(c, SIG_CLOSE_INTERNAL);
        return;
    }
    if (resumed) {
        replay(s, c, h->last_seq);
        presence_refresh(r->presence, &s->watcher, r->now_us);
    }
    if (resumed)
        router_room_session(r, s, ROOM_SESSION_BACK, ROOM_REASON_NONE);
    if (taken)
        router_far_greet_back(r, s);
    /* NEW would ring it, too. */
    router_call_session(r, s, resumed || !s->may_call ? CALL_EV_BACK : CALL_EV_NEW);
}

void login_try_later(struct router *r, struct client *c, const struct sig_msg *m)
{
    refuse_with(r, c, m,
                &(struct sig_error){.code = SIG_ERR_STORE_UNAVAILABLE,
                                    .text = "whether this session lives cannot be told now",
                                    .retry_after_ms = RETRY_MS},
                SIG_CLOSE_OVERLOAD);
}

void login_go_on(struct router *r, struct client *c, const struct sig_msg *m,
                 const struct sig_hello *h, struct session *taken)
{
    struct token t;

    if (verify(r, &t, h->token) != TOKEN_OK) { /* it was good a moment ago */
        refuse(r, c, m, SIG_ERR_TOKEN_EXPIRED, NULL, SIG_CLOSE_AUTH);
        return;
    }
    if (taken && (!slice_is(user_id(taken->user), t.user) || taken->ending)) {
        router_end(r, taken, CALL_EV_COUNT);
        taken = NULL;
    }
    counter_inc(taken ? &r->count.resumes_ok : &r->count.resumes_lost);
    if (taken)
        reliable_recv(&taken->rel, 0, true, h->last_seq, r->now_us);
    accept_client(r, c, m, h, &t, taken);
}

void login_hello(struct router *r, struct client *c, const struct sig_msg *m, struct wr *scratch,
                 struct slice text)
{
    uint64_t key = limit_addr_key(&c->from);
    struct sig_fault fault;
    struct sig_hello h;
    struct token t;

    if (sig_client_hello(&h, m, scratch, &fault) != 0) {
        refuse(r, c, m, fault.code, fault.text, SIG_CLOSE_MALFORMED);
        return;
    }
    if (!limit_take(r->login_failures, key, 0, r->now_us)) {
        counter_inc(&r->count.rate_limited);
        refuse_with(
            r, c, m,
            &(struct sig_error){.code = SIG_ERR_RATE_LIMITED,
                                .text = "too many failed logins",
                                .retry_after_ms = limit_wait_ms(r->login_failures, key, r->now_us)},
            SIG_CLOSE_RATE);
        return;
    }
    if (r->draining) {
        refuse(r, c, m, SIG_ERR_OVERLOADED, "the server is about to restart", SIG_CLOSE_RESTART);
        return;
    }
    if (!bucket_take(&r->admission, &r->logins, 1, r->now_us)) {
        uint32_t wait_ms = bucket_wait_ms(&r->admission, &r->logins, 1, r->now_us);
        counter_inc(&r->count.rate_limited);
        refuse_with(
            r, c, m,
            &(struct sig_error){.code = SIG_ERR_OVERLOADED,
                                .text = "too many clients come at once",
                                .retry_after_ms = wait_ms + (uint32_t)rand_below(SPREAD_MS)},
            SIG_CLOSE_OVERLOAD);
        return;
    }
    enum token_error e = verify(r, &t, h.token);
    if (e != TOKEN_OK) {
        counter_inc(&r->count.logins_refused);
        if (e != TOKEN_EXPIRED) /* an app that slept too long is no attacker */
            limit_take(r->login_failures, key, 1, r->now_us);
        log_debug("login", "token refused: %s", token_error_name(e));
        refuse(r, c, m, wire_error(e), NULL, SIG_CLOSE_AUTH);
        return;
    }
    if (*t.device && !slice_is(h.device, t.device)) {
        counter_inc(&r->count.logins_refused);
        refuse(r, c, m, SIG_ERR_FORBIDDEN, "the token is for another device", SIG_CLOSE_FORBIDDEN);
        return;
    }
    if (!router_resume_ask(r, c, &h, text))
        accept_client(r, c, m, &h, &t, NULL);
}

void login_refresh(const struct request *q)
{
    struct router *r = q->r;
    struct sig_fault fault;
    struct slice jws;
    struct token t;

    if (sig_client_auth_refresh(&jws, q->m, q->scratch, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    enum token_error e = verify(r, &t, jws);
    if (e != TOKEN_OK) {
        counter_inc(&r->count.logins_refused);
        request_fail(q, wire_error(e), NULL);
        return;
    }
    if (!slice_is(user_id(q->s->user), t.user) ||
        (*t.device && !slice_is(session_device(q->s), t.device))) {
        request_fail(q, SIG_ERR_FORBIDDEN, "the token is for another user or device");
        return;
    }
    if (!take_token(r, q->s, &t)) {
        request_fail(q, SIG_ERR_INTERNAL, NULL);
        return;
    }
    router_arm(r, q->s);
    struct wr w = router_body(r);
    uint64_t leeway = r->conf->auth.leeway_s * US_PER_S, left = q->s->expires_us - r->now_us;
    sig_server_auth_refresh(&w, q->m->id, (left > leeway ? left - leeway : 0) / US_PER_MS);
    request_reply(q, &w);
}
