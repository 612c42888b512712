/* A client of Redis as a machine without sockets: slots in lists, replies in their order.
 *
 * Run by redis_link.c; asked by whoever stores something in Redis. Pure.
 *
 *     setup, waiting ──take──► open ──reply──► gone
 *        ▲                       │
 *        └── again ── broken ◄───┘   the others end as REDIS_BROKEN
 *
 * A slot is a command and stays in `open` until its reply came, whoever still wants that: replies
 * are told apart by nothing but their order. SPDX-License-Identifier: BSD-3-Clause */
#include "net/redis_client.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "base/crypto.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/timerwheel.h"

#define SHA1_TEXT 40 /* what SCRIPT LOAD answers with */

enum state { REST, OPENING, SETTING_UP, READY, DOOMED };
enum slot_kind { SLOT_CALL, SLOT_AUTH, SLOT_PLAIN, SLOT_ROLE, SLOT_SCRIPT, SLOT_MASTER, SLOT_PING };

struct redis_slot {
    struct list link;
    struct timer timer;      /* of a call */
    struct redis_call *call; /* NULL: nobody wants to know (any more) */
    enum slot_kind kind;
    bool again;
    bool maybe;      /* it was sent over a connection that broke: it may have been done */
    unsigned script; /* of SLOT_SCRIPT, and of a call with sha_at */
    size_t sha_at;   /* where in bytes the script's SHA1 goes; 0: nowhere */
    size_t taken, len;
    uint8_t bytes[];
};

struct redis_client {
    struct redis_client_conf conf;
    const struct redis_client_ops *ops;
    void *arg;
    struct redis_seek seek;
    enum state state;
    bool at_sentinel;
    struct list setup, waiting, open; /* struct redis_slot */
    struct redis_slot *partial;       /* the first of setup or waiting, of which a part was taken */
    struct timerwheel *wheel;
    struct resp_reader *reader;
    size_t calls, bytes; /* of slots that are calls */
    size_t setup_left;   /* steps without an answer */
    uint64_t open_by_us; /* OPENING, SETTING_UP */
    uint64_t heard_us;   /* the last word, or when we began to wait for one */
    struct redis_client_stats stats;
    char why[REDIS_WHY_MAX];
    char sha[REDIS_SCRIPTS_MAX][SHA1_TEXT];
};

static void wake(struct redis_client *c)
{
    c->ops->wake(c->arg);
}

/* ---- slots ---- */

static struct redis_slot *new_slot(struct redis_client *c, enum slot_kind kind,
                                   const struct slice *words, size_t n)
{
    size_t size = resp_command_size(words, n);
    struct redis_slot *s = mem_zalloc(sizeof(*s) + size);

    if (!s)
        return NULL;
    struct wr w = wr_init(s->bytes, size);
    resp_command(&w, words, n);
    assert(!w.bad);
    s->kind = kind;
    s->len = w.len;
    if (kind == SLOT_CALL) {
        c->calls++;
        c->bytes += s->len;
    }
    return s;
}

static void free_slot(struct redis_client *c, struct redis_slot *s)
{
    list_del(&s->link);
    timer_cancel(c->wheel, &s->timer);
    if (c->partial == s)
        c->partial = NULL;
    if (s->kind == SLOT_CALL) {
        c->calls--;
        c->bytes -= s->len;
    }
    if (s->kind == SLOT_AUTH)
        crypto_wipe(s->bytes, s->len);
    mem_free(s);
}

/* Nobody waits for its reply any more. */
static struct redis_call *let_go(struct redis_slot *s)
{
    struct redis_call *call = s->call;

    s->call = NULL;
    if (call)
        call->_slot = NULL;
    return call;
}

static void tell(struct redis_client *c, struct redis_call *call, enum redis_end end,
                 const struct resp *reply, uint64_t now_us)
{
    c->stats.ends[end]++;
    if (call)
        call->fn(call, end, reply, now_us);
}

static void finish(struct redis_client *c, struct redis_slot *s, enum redis_end end,
                   const struct resp *reply, uint64_t now_us)
{
    struct redis_call *call = let_go(s);

    free_slot(c, s);
    tell(c, call, end, reply, now_us);
}

static struct redis_slot *first_of(const struct list *l)
{
    struct list *first = list_first(l);

    return first ? CONTAINER_OF(first, struct redis_slot, link) : NULL;
}

static void drop_all(struct redis_client *c, struct list *l)
{
    struct redis_slot *s;

    while ((s = first_of(l))) {
        let_go(s);
        free_slot(c, s);
    }
}

/* ---- the end of a connection ---- */

/* What was sent and may be sent again goes back to the front, in its order; the rest ends. */
static void take_back(struct redis_client *c, uint64_t now_us)
{
    struct redis_slot *s;
    struct list back;

    list_init(&back);
    drop_all(c, &c->setup);
    c->setup_left = 0;
    s = c->partial; /* an unfinished command is none */
    c->partial = NULL;
    if (s)
        s->taken = 0;
    if (s && !timer_is_set(&s->timer))
        free_slot(c, s); /* nobody wants it any more */
    while ((s = first_of(&c->open))) {
        if (!s->call) {
            free_slot(c, s);
        } else if (s->again) {
            list_del(&s->link);
            list_append(&back, &s->link);
            s->taken = 0;
            s->maybe = true;
            c->stats.again++;
        } else {
            finish(c, s, REDIS_BROKEN, NULL, now_us);
        }
    }
    while (!list_empty(&back)) {
        struct list *last = back.prev;
        list_del(last);
        list_prepend(&c->waiting, last);
    }
}

/* The connection is of no use: the shell is to close it. */
static void doom(struct redis_client *c, const char *what, struct slice more, uint64_t now_us)
{
    bool was_ready = c->state == READY;

    if (c->state == REST || c->state == DOOMED)
        return;
    c->state = DOOMED;
    snprintf(c->why, sizeof(c->why), "%s%s%.*s", what, more.len > 0 ? ": " : "",
             more.len < REDIS_WHY_MAX ? (int)more.len : REDIS_WHY_MAX,
             more.p ? (const char *)more.p : "");
    if (was_ready) {
        c->stats.losses++;
        redis_seek_lost(&c->seek, now_us);
    } else {
        c->stats.failures++;
        redis_seek_failed(&c->seek, now_us);
    }
    take_back(c, now_us);
    if (c->ops->down)
        c->ops->down(c->arg, c->why, now_us);
    wake(c);
}

static void doom_text(struct redis_client *c, const char *what, uint64_t now_us)
{
    doom(c, what, (struct slice){0}, now_us);
}

/* ---- set-up ---- */

/* False: memory is out, and it is doomed. */
static bool ask(struct redis_client *c, enum slot_kind kind, unsigned script,
                const struct slice *words, size_t n, uint64_t now_us)
{
    struct redis_slot *s = c->state == DOOMED ? NULL : new_slot(c, kind, words, n);

    if (!s) {
        doom_text(c, "memory is out", now_us);
        return false;
    }
    s->script = script;
    list_append(&c->setup, &s->link);
    c->setup_left++;
    return true;
}

static void ask_auth(struct redis_client *c, struct slice user, struct slice password,
                     uint64_t now_us)
{
    const struct slice words[] = {SLICE_LIT("AUTH"), user, password};
    const struct slice alone[] = {SLICE_LIT("AUTH"), password};

    if (password.len > 0 && user.len > 0)
        ask(c, SLOT_AUTH, 0, words, ARRAY_LEN(words), now_us);
    else if (password.len > 0)
        ask(c, SLOT_AUTH, 0, alone, ARRAY_LEN(alone), now_us);
}

static void set_up_sentinel(struct redis_client *c, uint64_t now_us)
{
    const struct slice words[] = {SLICE_LIT("SENTINEL"), SLICE_LIT("get-master-addr-by-name"),
                                  c->conf.master};

    ask_auth(c, c->conf.sentinel_user, c->conf.sentinel_password, now_us);
    ask(c, SLOT_MASTER, 0, words, ARRAY_LEN(words), now_us);
}

static void set_up_server(struct redis_client *c, uint64_t now_us)
{
    const struct redis_client_conf *conf = &c->conf;
    uint8_t text[24];
    struct wr number = wr_init(text, sizeof(text));
    const struct slice ping[] = {SLICE_LIT("PING")}, role[] = {SLICE_LIT("ROLE")};

    ask_auth(c, conf->user, conf->password, now_us);
    wr_u64(&number, conf->database);
    const struct slice select[] = {SLICE_LIT("SELECT"), wr_done(&number)};
    if (conf->database > 0)
        ask(c, SLOT_PLAIN, 0, select, ARRAY_LEN(select), now_us);
    if (conf->any_role)
        ask(c, SLOT_PLAIN, 0, ping, ARRAY_LEN(ping), now_us);
    else
        ask(c, SLOT_ROLE, 0, role, ARRAY_LEN(role), now_us);
    for (unsigned i = 0; i < conf->scripts_n; i++) {
        const struct slice load[] = {SLICE_LIT("SCRIPT"), SLICE_LIT("LOAD"), conf->scripts[i]};
        ask(c, SLOT_SCRIPT, i, load, ARRAY_LEN(load), now_us);
    }
    for (size_t i = 0; i < conf->channels_n; i++) {
        const struct slice subscribe[] = {
            conf->sharded ? SLICE_LIT("SSUBSCRIBE") : SLICE_LIT("SUBSCRIBE"), conf->channels[i]};
        ask(c, SLOT_PLAIN, 0, subscribe, ARRAY_LEN(subscribe), now_us);
    }
}

static void up(struct redis_client *c, uint64_t now_us)
{
    c->state = READY;
    c->why[0] = '\0';
    c->stats.connects++;
    redis_seek_found(&c->seek);
    if (c->ops->up)
        c->ops->up(c->arg, now_us);
    wake(c);
}

/* The master's address is known: this connection was for nothing else. */
static void on_master(struct redis_client *c, const struct resp *v, uint64_t now_us)
{
    if (redis_seek_named(&c->seek, resp_text(resp_at(v, 0)), resp_text(resp_at(v, 1))) != 0) {
        doom(c, "this Sentinel knows no master of the name", c->conf.master, now_us);
        return;
    }
    c->state = DOOMED;
    take_back(c, now_us);
    wake(c);
}

static const char *const STEPS[] = {
    [SLOT_CALL] = "",
    [SLOT_AUTH] = "AUTH was refused: check user and password",
    [SLOT_PLAIN] = "SELECT, PING or SUBSCRIBE was refused",
    [SLOT_ROLE] = "ROLE was refused: the ACL user needs +role",
    [SLOT_SCRIPT] = "SCRIPT LOAD was refused: the ACL user needs +script|load",
    [SLOT_MASTER] = "the Sentinel refuses",
    [SLOT_PING] = "PING was refused",
};

/* The answer to a step of the set-up, or to PING. */
static void on_step(struct redis_client *c, enum slot_kind kind, unsigned script,
                    const struct resp *v, uint64_t now_us)
{
    if (v->kind == RESP_ERROR) {
        doom(c, STEPS[kind], v->text, now_us);
        return;
    }
    if (kind == SLOT_ROLE && !slice_is(resp_text(resp_at(v, 0)), "master")) {
        doom_text(c, "this is not the master", now_us);
        return;
    }
    if (kind == SLOT_SCRIPT) {
        struct slice sha = resp_text(v);
        if (sha.len != SHA1_TEXT) {
            doom_text(c, "SCRIPT LOAD was not answered with a SHA1", now_us);
            return;
        }
        memcpy(c->sha[script], sha.p, SHA1_TEXT);
    }
    if (kind == SLOT_MASTER) {
        on_master(c, v, now_us);
        return;
    }
    if (c->state == SETTING_UP && kind != SLOT_PING && --c->setup_left == 0)
        up(c, now_us);
}

/* ---- replies ---- */

/* Redis says that it has not done this, and won't over this connection. */
static bool is_refusal(const struct resp *v)
{
    return resp_is_error(v, "READONLY") || resp_is_error(v, "LOADING") ||
           resp_is_error(v, "MASTERDOWN") || resp_is_error(v, "NOSCRIPT");
}

/* What subscribers hear unasked. True: that was it. */
static bool on_push(struct redis_client *c, const struct resp *v, uint64_t now_us)
{
    struct slice what = resp_text(resp_at(v, 0));

    if (c->conf.channels_n == 0)
        return false;
    if (slice_is(what, "message") || slice_is(what, "smessage")) {
        if (c->ops->message)
            c->ops->message(c->arg, resp_text(resp_at(v, 1)), resp_text(resp_at(v, 2)), now_us);
        return true;
    }
    if (slice_is(what, "unsubscribe") || slice_is(what, "sunsubscribe")) {
        doom_text(c, "the channel has moved to another server", now_us);
        return true;
    }
    return false;
}

static void on_reply(struct redis_client *c, const struct resp *v, uint64_t now_us)
{
    struct redis_slot *s = first_of(&c->open);

    if (on_push(c, v, now_us))
        return;
    if (!s) {
        doom_text(c, "a reply to nothing", now_us);
        return;
    }
    if (s->kind != SLOT_CALL) {
        enum slot_kind kind = s->kind;
        unsigned script = s->script;
        free_slot(c, s);
        on_step(c, kind, script, v, now_us);
        return;
    }
    bool refusal = is_refusal(v);
    if (!refusal || !s->call || !s->again)
        finish(c, s, REDIS_ANSWERED, v, now_us);
    if (refusal)
        doom(c, "Redis refuses", v->text, now_us);
}

void redis_client_recv(struct redis_client *c, struct slice bytes, uint64_t now_us)
{
    struct resp *v;

    if (c->state != SETTING_UP && c->state != READY)
        return;
    c->heard_us = now_us;
    int err = resp_feed(c->reader, bytes);
    while (err == 0 && (c->state == SETTING_UP || c->state == READY)) {
        err = resp_next(c->reader, &v);
        if (err)
            break;
        on_reply(c, v, now_us);
        resp_free(v);
    }
    if (err == -EMSGSIZE)
        doom_text(c, "a reply is larger than allowed", now_us);
    else if (err == -EBADMSG)
        doom_text(c, "what it says is not RESP2: is this Redis, and TLS on both sides or none?",
                  now_us);
    else if (err && err != -EAGAIN)
        doom_text(c, "memory is out", now_us);
    wake(c);
}

/* ---- sending ---- */

static struct redis_slot *next_slot(const struct redis_client *c)
{
    if (c->partial)
        return c->partial;
    struct redis_slot *s = first_of(&c->setup);
    return s || c->state != READY ? s : first_of(&c->waiting);
}

static bool is_busy(const struct redis_client *c)
{
    return !list_empty(&c->open) || c->partial;
}

size_t redis_client_take(struct redis_client *c, uint8_t *buf, size_t cap, uint64_t now_us)
{
    struct wr w = wr_init(buf, cap);
    struct redis_slot *s;

    if (c->state != SETTING_UP && c->state != READY)
        return 0;
    while (w.len < cap && (s = next_slot(c))) {
        if (s->sha_at > 0 && s->taken == 0)
            memcpy(s->bytes + s->sha_at, c->sha[s->script], SHA1_TEXT);
        if (!is_busy(c))
            c->heard_us = now_us;
        struct slice part = slice_sub(slice_of(s->bytes, s->len), s->taken, cap - w.len);
        wr_bytes(&w, part);
        s->taken += part.len;
        c->partial = s->taken < s->len ? s : NULL;
        if (c->partial)
            break;
        list_del(&s->link);
        list_append(&c->open, &s->link);
    }
    return w.len;
}

/* ---- calls ---- */

static int add_call(struct redis_client *c, struct redis_call *call, const struct slice *words,
                    size_t n, struct redis_slot **out, uint64_t now_us)
{
    if (n == 0 || n > RESP_WORDS_MAX || c->conf.channels_n > 0)
        return -EINVAL;
    if (c->calls >= c->conf.calls_max || resp_command_size(words, n) > c->conf.bytes_max - c->bytes)
        return -ENOBUFS;
    struct redis_slot *s = new_slot(c, SLOT_CALL, words, n);
    if (!s)
        return -ENOMEM;
    uint64_t deadline_us = now_us + c->conf.timeout_us;
    if (call) {
        if (call->deadline_us > 0)
            deadline_us = call->deadline_us;
        s->call = call;
        s->again = call->again;
        call->_slot = s;
    }
    timer_set(c->wheel, &s->timer, deadline_us);
    list_append(&c->waiting, &s->link);
    c->stats.calls++;
    *out = s;
    wake(c);
    return 0;
}

int redis_client_call(struct redis_client *c, struct redis_call *call, const struct slice *words,
                      size_t n, uint64_t now_us)
{
    struct redis_slot *s;

    return add_call(c, call, words, n, &s, now_us);
}

int redis_client_eval(struct redis_client *c, struct redis_call *call, unsigned script,
                      size_t keys_n, const struct slice *words, size_t n, uint64_t now_us)
{
    static const uint8_t no_sha[SHA1_TEXT];
    struct slice all[RESP_WORDS_MAX];
    struct redis_slot *s;
    uint8_t text[24];
    struct wr number = wr_init(text, sizeof(text));

    assert(script < c->conf.scripts_n && keys_n <= n);
    if (n > RESP_WORDS_MAX - 3)
        return -EINVAL;
    wr_u64(&number, keys_n);
    all[0] = SLICE_LIT("EVALSHA");
    all[1] = slice_of(no_sha, SHA1_TEXT);
    all[2] = wr_done(&number);
    for (size_t i = 0; i < n; i++)
        all[3 + i] = words[i];
    int err = add_call(c, call, all, 3 + n, &s, now_us);
    if (err)
        return err;
    /* "*N\r\n" "$7\r\nEVALSHA\r\n" "$40\r\n": it is known when the slot is taken. */
    s->script = script;
    s->sha_at = (3 + n < 10 ? 4 : 5) + sizeof("$7\r\nEVALSHA\r\n$40\r\n") - 1;
    return 0;
}

void redis_client_cancel(struct redis_client *c, struct redis_call *call)
{
    struct redis_slot *s = call->_slot;

    if (!s)
        return;
    let_go(s);
    timer_cancel(c->wheel, &s->timer);
    if (s->taken == 0)
        free_slot(c, s);
}

/* ---- time ---- */

static void expire(struct redis_client *c, struct redis_slot *s, uint64_t now_us)
{
    bool maybe = s->taken > 0 || s->maybe;
    struct redis_call *call = let_go(s);

    if (s->taken == 0)
        free_slot(c, s);
    tell(c, call, maybe ? REDIS_LATE : REDIS_UNSENT, NULL, now_us);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t redis_client_deadline(const struct redis_client *c)
{
    uint64_t at = timerwheel_next(c->wheel);

    if (c->state == REST)
        at = earlier(at, redis_seek_deadline(&c->seek));
    if (c->state == OPENING || c->state == SETTING_UP)
        at = earlier(at, c->open_by_us);
    if (c->state == READY)
        at = earlier(at, c->heard_us + (is_busy(c) ? c->conf.dead_us : c->conf.idle_us));
    return at;
}

static void ping(struct redis_client *c, uint64_t now_us)
{
    const struct slice words[] = {SLICE_LIT("PING")};
    struct redis_slot *s = new_slot(c, SLOT_PING, words, ARRAY_LEN(words));

    c->heard_us = now_us; /* memory is out: later */
    if (!s)
        return;
    list_append(&c->setup, &s->link);
    wake(c);
}

void redis_client_tick(struct redis_client *c, uint64_t now_us)
{
    struct timer *t;

    while ((t = timerwheel_pop(c->wheel, now_us)))
        expire(c, CONTAINER_OF(t, struct redis_slot, timer), now_us);
    if ((c->state == OPENING || c->state == SETTING_UP) && now_us >= c->open_by_us)
        doom_text(c, "no answer while the connection is made", now_us);
    else if (c->state == READY && is_busy(c) && now_us >= c->heard_us + c->conf.dead_us)
        doom_text(c, "no answer in time", now_us);
    else if (c->state == READY && !is_busy(c) && list_empty(&c->setup) &&
             now_us >= c->heard_us + c->conf.idle_us)
        ping(c, now_us);
    else if (c->state == REST && now_us >= redis_seek_deadline(&c->seek))
        wake(c);
}

/* ---- the shell's ---- */

enum redis_wish redis_client_wish(struct redis_client *c, const struct redis_endpoint **to,
                                  uint64_t now_us)
{
    if (c->state == DOOMED) {
        c->state = REST;
        return REDIS_WISH_CLOSE;
    }
    if (c->state != REST)
        return REDIS_WISH_NOTHING;
    const struct redis_endpoint *at = redis_seek_next(&c->seek, now_us, &c->at_sentinel);
    if (!at)
        return REDIS_WISH_NOTHING;
    c->state = OPENING;
    c->open_by_us = now_us + c->conf.open_us;
    *to = at;
    return REDIS_WISH_OPEN;
}

void redis_client_opened(struct redis_client *c, uint64_t now_us)
{
    if (c->state != OPENING)
        return;
    resp_reader_free(c->reader);
    c->reader = resp_reader_new(c->conf.reply_bytes, c->conf.reply_values);
    c->state = SETTING_UP;
    c->heard_us = now_us;
    if (!c->reader)
        doom_text(c, "memory is out", now_us);
    else if (c->at_sentinel)
        set_up_sentinel(c, now_us);
    else
        set_up_server(c, now_us);
    wake(c);
}

void redis_client_closed(struct redis_client *c, const char *why, uint64_t now_us)
{
    doom_text(c, why, now_us);
    c->state = REST;
}

/* ---- life ---- */

struct redis_client *redis_client_new(const struct redis_client_conf *conf,
                                      const struct redis_client_ops *ops, void *arg,
                                      uint64_t now_us)
{
    struct redis_client *c = mem_zalloc(sizeof(*c));

    assert(conf->scripts_n <= REDIS_SCRIPTS_MAX && conf->channels_n <= REDIS_CHANNELS_MAX);
    if (!c)
        return NULL;
    c->wheel = timerwheel_new(now_us);
    if (!c->wheel) {
        mem_free(c);
        return NULL;
    }
    c->conf = *conf;
    c->ops = ops;
    c->arg = arg;
    redis_seek_init(&c->seek, conf->at, conf->at_n, conf->master.len > 0, conf->retry_min_us,
                    conf->retry_max_us, conf->seed);
    list_init(&c->setup);
    list_init(&c->waiting);
    list_init(&c->open);
    snprintf(c->why, sizeof(c->why), "not connected yet");
    return c;
}

void redis_client_free(struct redis_client *c)
{
    if (!c)
        return;
    drop_all(c, &c->setup);
    drop_all(c, &c->waiting);
    drop_all(c, &c->open);
    resp_reader_free(c->reader);
    timerwheel_free(c->wheel);
    mem_free(c);
}

bool redis_client_ready(const struct redis_client *c)
{
    return c->state == READY;
}

const char *redis_client_why(const struct redis_client *c)
{
    return c->why;
}

const struct redis_client_stats *redis_client_stats(const struct redis_client *c)
{
    return &c->stats;
}

size_t redis_client_calls(const struct redis_client *c)
{
    return c->calls;
}
