/* Sessions that go on at another node: ours are saved, others' are taken when their client comes.
 *
 * Called by router.c (something was numbered), login.c (hello with a session that is not here) and
 * ticks. Pure.
 *
 *     router_saves() ─► dirty ─► end of the turn ─► Redis ─ another's? ─► the session here ends
 * (4409) hello ─► router_resume_ask() ─► Redis: token right, ours now ─► the session is made again
 *           ─► login_accept(): welcome, what was missed, calls hear of it
 *
 * What is sent leaves in the same turn in which it is saved: who has got a message that was not,
 * says so with its last number. SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/sig_client.h"
#include "server/call_share.h"
#include "server/router_far_priv.h"
#include "server/session_share.h"

#define LIFE_US  (24 * 3600 * US_PER_S) /* of a session with a socket that says nothing */
#define SPARE_US (10 * US_PER_S)        /* a dead node's is kept a little longer than its time */

#define WHOLE_US (LIFE_US / 4) /* all of it is saved again, for its time to live */
#define SOON_US  US_PER_S
#define LEAP_MAX 65536 /* messages of a client that its former node has taken and not saved */
#define TRIM_AT  16    /* acknowledged messages are taken out so many at once, or when it is soon */

/* A save under way. */
struct far_save {
    struct list link;
    struct router *r;
    struct redis_call call;
    size_t n; /* messages in it */
    uint8_t id[SESSION_ID_BYTES];
};

/* A hello that waits. */
struct far_login {
    struct list link;
    struct router *r;
    struct client *c;
    struct redis_call call;
    size_t len;
    uint8_t text[];
};

static const struct call_claims *claims(const struct router *r)
{
    return r->far->nodes.claims;
}

static unsigned scripts(const struct router *r)
{
    return claims(r)->first + CALL_SHARE_SCRIPTS;
}

static void hash_token(const uint8_t token[SESSION_ID_BYTES], uint8_t out[SESSION_SHARE_HASH])
{
    const struct slice part = slice_of(token, SESSION_ID_BYTES);

    if (crypto_digest(CRYPTO_SHA256, &part, 1, out) != 0)
        memset(out, 0, SESSION_SHARE_HASH);
}

/* ---- saving ---- */

void router_saves(struct router *r, struct session *s)
{
    if (r->far && !list_linked(&s->dirty))
        list_append(&r->far->dirty_sessions, &s->dirty);
}

void router_saves_whole(struct router *r, struct session *s)
{
    s->save_whole = true;
    router_saves(r, s);
}

void router_saves_soon(struct router *r, struct session *s)
{
    if (!r->far || list_linked(&s->soon))
        return;
    s->soon_us = r->now_us + SOON_US;
    list_append(&r->far->soon_sessions, &s->soon);
}

void router_saves_end(struct router *r, struct session *s)
{
    list_del(&s->dirty);
    list_del(&s->soon);
    if (r->far && !s->taken_away)
        session_share_drop(claims(r), scripts(r), s->id, r->now_us);
}

static void free_save(struct far_save *k)
{
    redis_client_cancel(claims(k->r)->client, &k->call);
    list_del(&k->link);
    mem_free(k);
}

/* All that is not acknowledged is to be saved once more. */
static void save_again(struct router *r, struct session *s)
{
    s->saved_seq = reliable_acked(&s->rel);
    router_saves_whole(r, s);
}

static void on_saved(struct redis_call *call, enum redis_end end, const struct resp *reply,
                     uint64_t now_us)
{
    struct far_save *k = call->arg;
    struct router *r = k->r;
    bool failed = end != REDIS_ANSWERED || reply->kind == RESP_ERROR;
    bool gone = !failed && reply->kind == RESP_INTEGER && (uint64_t)reply->integer > k->n;
    uint64_t epoch;
    struct slice node;

    (void)now_us;
    if (!failed && !gone && reply->kind == RESP_INTEGER) { /* nearly always */
        free_save(k);
        return;
    }
    router_enter(r);
    struct session *s = session_by_id(r->sessions, k->id);
    if (!s && gone) /* it has ended meanwhile, and this came later */
        session_share_drop(claims(r), scripts(r), k->id, r->now_us);
    free_save(k);
    if (!s)
        return;
    if (failed || gone) {
        save_again(r, s);
    } else if (call_share_owner(resp_text(reply), &epoch, &node) == 0) {
        s->taken_away =
            true; /* its client has come to another node, which says what it has not (MOVED) */
        router_saves_soon(r, s);
    }
}

/* What a whole save has beyond numbers and messages. False: it is too long. */
static bool add_record(struct router *r, const struct session *s, struct session_share_save *out)
{
    struct far *f = r->far;
    struct wr w = wr_init(f->record, sizeof(f->record));
    struct wr watched = wr_init(f->body, sizeof(f->body));
    struct wr rooms = wr_init(f->room_body, sizeof(f->room_body));

    presence_watched(r->presence, &s->watcher, &watched);
    router_far_room_list(r, s, &rooms);
    session_record_write(&w, &(struct session_record){.user = user_id(s->user),
                                                      .device = session_device(s),
                                                      .name = session_name(s),
                                                      .watched = wr_done(&watched),
                                                      .rooms = wr_done(&rooms)});
    session_tokens(s, out->tokens, hash_token);
    out->record = wr_done(&w);
    out->life_us = s->client ? LIFE_US : r->conf->session.resume_ttl_s * US_PER_S + SPARE_US;
    return !w.bad;
}

/* Takes messages out that the client has acknowledged. */
static void trim(struct router *r, struct session *s)
{
    uint64_t acked = reliable_acked(&s->rel);

    while (s->saved_acked < acked) {
        session_share_trim(claims(r), s->id, s->saved_acked + 1, acked, r->now_us);
        s->saved_acked += SESSION_SHARE_AT_ONCE;
    }
    s->saved_acked = acked;
}

static void save(struct router *r, struct session *s)
{
    struct far *f = r->far;
    struct session_share_message messages[SESSION_SHARE_AT_ONCE];
    struct session_share_save out = {.id = s->id,
                                     .numbers = {.in_seq = s->rel.in_seq,
                                                 .out_seq = s->rel.out_seq,
                                                 .acked = reliable_acked(&s->rel),
                                                 .generation = s->generation,
                                                 .state = s->state},
                                     .messages = messages};
    bool whole = s->save_whole || r->now_us >= s->saved_us + WHOLE_US;
    const struct list *pos = NULL;
    struct slice text;

    while (out.n < SESSION_SHARE_AT_ONCE &&
           (text = reliable_replay(&s->rel, s->saved_seq, &pos)).len > 0) {
        struct session_share_message *m = &messages[out.n++];
        m->text = text;
        reliable_numbers(pos, &m->seq, &m->id_hash);
    }
    struct far_save *k = whole && !add_record(r, s, &out) ? NULL : mem_zalloc(sizeof(*k));
    if (!k)
        return;
    k->r = r;
    k->n = out.n;
    memcpy(k->id, s->id, sizeof(k->id));
    k->call = (struct redis_call){.fn = on_saved, .arg = k, .again = true};
    list_append(&f->saves, &k->link);
    if ((whole ? session_share_save(claims(r), scripts(r), &k->call, &out, r->now_us)
               : session_share_add(claims(r), &k->call, &out, r->now_us)) != 0) {
        free_save(k); /* the next change saves it */
        return;
    }
    if (whole) {
        s->save_whole = false;
        s->saved_us = r->now_us;
    }
    if (s->saved_acked + TRIM_AT <= out.numbers.acked || s->soon_us == 0)
        trim(r, s);
    s->soon_us = CLOCK_NEVER;
    list_del(&s->soon);
    if (s->saved_acked < out.numbers.acked)
        router_saves_soon(r, s);
    if (out.n > 0)
        s->saved_seq = messages[out.n - 1].seq;
    if (out.n == SESSION_SHARE_AT_ONCE)
        router_saves(r, s);
}

/* Redis is there again, perhaps empty. */
void router_saves_all(struct router *r)
{
    struct hnode *saved = NULL;
    size_t pos = 0;

    for (struct session *s; (s = session_walk(r->sessions, &pos, &saved));) {
        s->saved_acked = reliable_acked(&s->rel);
        save_again(r, s);
    }
}

/* The node that has it does not say so: it is gone itself, or MOVED is on its way. */
static void end_taken(struct router *r, struct session *s)
{
    if (s->soon_us == 0)
        router_end(r, s, CALL_EV_COUNT);
}

void router_saves_tick(struct router *r, bool ready)
{
    struct far *f = r->far;
    struct list now, *l;

    list_init(&now);
    while ((l = list_first(&f->soon_sessions)) &&
           CONTAINER_OF(l, struct session, soon)->soon_us <= r->now_us) {
        struct session *s = CONTAINER_OF(l, struct session, soon);
        list_del(l);
        s->soon_us = 0;
        router_saves(r, s);
    }
    while ((l = list_first(&f->dirty_sessions))) {
        list_del(l);
        list_append(&now, l);
    }
    while ((l = list_first(&now))) {
        struct session *s = CONTAINER_OF(l, struct session, dirty);
        list_del(l);
        if (s->taken_away)
            end_taken(r, s);
        else if (ready && !s->ending)
            save(r, s);
    }
}

bool router_saves_wait(const struct router *r)
{
    return !list_empty(&r->far->dirty_sessions);
}

uint64_t router_saves_deadline(const struct router *r)
{
    const struct list *l = list_first(&r->far->soon_sessions);

    return l ? CONTAINER_OF(l, const struct session, soon)->soon_us : CLOCK_NEVER;
}

bool router_settled(const struct router *r)
{
    if (!r->far)
        return true;
    LIST_EACH(l, tmp, &r->far->soon_sessions)
    if (CONTAINER_OF(l, struct session, soon)->taken_away)
        return false;
    return list_empty(&r->far->saves) && !router_saves_wait(r);
}

/* ---- taking ---- */

void router_resume_cancel(struct far_login *k)
{
    redis_client_cancel(claims(k->r)->client, &k->call);
    k->c->login = NULL;
    list_del(&k->link);
    mem_free(k);
}

void router_resume_forward(struct router *r, struct session *s, struct slice node, uint64_t epoch,
                           uint64_t has)
{
    const struct list *pos = NULL;
    struct far_message m = {
        .kind = FAR_SAY, .user = user_id(s->user), .device = session_device(s), .flags = FAR_REPLY};
    struct slice text;
    uint64_t seq;

    memcpy(m.session, s->id, sizeof(m.session));
    while ((text = reliable_replay(&s->rel, has, &pos)).len > 0) {
        reliable_numbers(pos, &seq, &m.id_hash);
        m.text = reliable_body(text);
        /* A request that the other node has not seen is repeated by the client, and answered there.
         */
        if (!reliable_is_reply(m.id_hash) && far_send(r, node, epoch, &m) != 0)
            log_warn("call", "a message for a session that went to node %.*s is lost",
                     SLICE_FMT(node));
    }
}

/* The node that had it hears that it has not any more. */
static void tell_former(struct router *r, const struct session *s, const struct resp *reply)
{
    struct far_message m = {
        .kind = FAR_MOVED, .user = user_id(s->user), .device = session_device(s)};
    struct slice node;
    uint64_t epoch;

    memcpy(m.session, s->id, sizeof(m.session));
    m.id_hash = s->rel.out_seq;
    if (call_share_owner(resp_text(resp_at(reply, 1)), &epoch, &node) == 0 &&
        epoch != node_bus_epoch(r->far->nodes.bus))
        (void)far_send(r, node, epoch, &m);
}

static int by_seq(const void *a, const void *b)
{
    const struct session_share_message *x = a, *y = b;

    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Makes the session again. NULL: it can't be; the client begins a new one. */
static struct session *make_again(struct router *r, const struct sig_hello *h,
                                  const struct resp *reply)
{
    struct session_record rec = {.name = {0}};
    struct session_numbers num = {.in_seq = 0};
    size_t most = reply->n / 2, n = 0;
    struct session_share_message *m = mem_zalloc((most + 1) * sizeof(*m));
    unsigned parts = 0;
    uint8_t token[SESSION_ID_BYTES], id[SESSION_ID_BYTES];
    size_t token_len = 0, id_len = 0;
    struct session *s = NULL;

    for (size_t i = 2; m && i + 1 < reply->n; i += 2) {
        struct slice value = resp_text(resp_at(reply, i + 1));
        char what = session_share_field(resp_text(resp_at(reply, i)), value, &m[n]);
        if (what == 'r')
            parts += session_record_read(&rec, value) == 0;
        else if (what == 'n')
            parts += session_numbers_read(&num, value) == 0;
        n += what == 'm';
    }
    if (!m || parts != 2 || !slice_eq(rec.device, h->device) || h->last_seq < num.acked ||
        base64url_decode(h->resume_token, token, sizeof(token), &token_len) != 0 ||
        base64url_decode(h->session_id, id, sizeof(id), &id_len) != 0)
        goto out;
    qsort(m, n, sizeof(*m), by_seq);
    struct user *u = user_find(r->sessions, rec.user);
    struct session *old = u ? session_find_device(u, rec.device) : NULL;
    if (old)
        router_end(r, old, CALL_EV_COUNT);
    s = session_new(r->sessions, rec.user, rec.device, rec.name);
    if (!s)
        goto out;
    counter_inc(&r->count.sessions);
    session_restore(r->sessions, s, id, token);
    s->state = num.state;
    s->generation = num.generation;
    s->gone_us = r->now_us;
    /* The node that had it may have died before it could save: what it acknowledged was done. */
    if (h->next_seq > num.in_seq + 1 && h->next_seq - num.in_seq <= LEAP_MAX)
        num.in_seq = h->next_seq - 1;
    reliable_restore(&s->rel, num.in_seq, num.out_seq > h->last_seq ? num.out_seq : h->last_seq,
                     num.acked);
    for (size_t i = 0; i < n; i++)
        if (m[i].seq > num.acked && m[i].seq <= s->rel.out_seq &&
            !reliable_restore_message(&s->rel, m[i].seq, m[i].id_hash, m[i].text))
            s->ending = true; /* memory is out */
    s->saved_seq = s->saved_acked = num.acked;
    if (rec.watched.len > 2) {
        struct wr w = wr_init(r->far->body, sizeof(r->far->body));
        (void)presence_subscribe(r->presence, &s->watcher, rec.watched, SLICE_LIT("r"), &w,
                                 r->now_us);
    }
    tell_former(r, s, reply);
    router_far_room_resume(r, s, rec.rooms);
out:
    mem_free(m);
    return s;
}

static void on_answer(struct redis_call *call, enum redis_end end, const struct resp *reply,
                      uint64_t now_us)
{
    struct far_login *k = call->arg;
    struct router *r = k->r;
    struct client *c = k->c;
    struct wr scratch = wr_init(r->scratch, sizeof(r->scratch));
    struct sig_fault fault;
    struct sig_hello h;
    struct sig_msg m;
    bool answered = end == REDIS_ANSWERED && reply->kind == RESP_ARRAY;

    (void)now_us;
    router_enter(r);
    c->login = NULL;
    if (sig_decode(&m, slice_of(k->text, k->len), &scratch, &fault) == 0 &&
        sig_client_hello(&h, &m, &scratch, &fault) == 0) {
        if (!answered)
            login_try_later(r, c, &m);
        else
            login_go_on(r, c, &m, &h,
                        slice_is(resp_text(resp_at(reply, 0)), "ok") ? make_again(r, &h, reply)
                                                                     : NULL);
    }
    list_del(&k->link);
    mem_free(k);
}

bool router_resume_ask(struct router *r, struct client *c, const struct sig_hello *h,
                       struct slice text)
{
    uint8_t id[SESSION_ID_BYTES], token[SESSION_ID_BYTES], hash[SESSION_SHARE_HASH];
    size_t id_len, token_len;

    if (!r->far || !h->resume || c->login || !far_hold_may_ask(r, false) ||
        base64url_decode(h->session_id, id, sizeof(id), &id_len) != 0 || id_len != sizeof(id) ||
        base64url_decode(h->resume_token, token, sizeof(token), &token_len) != 0 ||
        token_len != sizeof(token) || session_by_id(r->sessions, id))
        return false;
    struct far_login *k = mem_zalloc(sizeof(*k) + text.len);
    if (!k)
        return false;
    k->r = r;
    k->c = c;
    k->len = text.len;
    memcpy(k->text, text.p, text.len);
    k->call = (struct redis_call){
        .fn = on_answer, .arg = k, .deadline_us = r->now_us + FAR_ANSWER_US, .again = true};
    hash_token(token, hash);
    list_append(&r->far->logins, &k->link);
    c->login = k;
    if (session_share_take(claims(r), scripts(r), &k->call, id, hash, r->now_us) == 0)
        return true;
    router_resume_cancel(k);
    return false;
}

void router_resume_free(struct router *r)
{
    LIST_EACH(link, tmp, &r->far->saves)
    free_save(CONTAINER_OF(link, struct far_save, link));
    LIST_EACH(link, tmp, &r->far->logins)
    router_resume_cancel(CONTAINER_OF(link, struct far_login, link));
}
