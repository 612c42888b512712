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
#include "net/redis_client_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "base/crypto.h"
#include "base/mem.h"

static void wake(struct redis_client *c)
{
    c->ops->wake(c->arg);
}

/* ---- slots ---- */

struct redis_slot *redis_slot_new(struct redis_client *c, enum redis_slot_kind kind,
                                  const struct slice *words, size_t n)
{
    size_t size = resp_command_size(words, n);
    struct redis_slot *s = mem_realloc(NULL, sizeof(*s) + size);

    if (!s)
        return NULL;
    *s = (struct redis_slot){.kind = kind};
    struct wr w = wr_init(s->bytes, size);
    resp_command(&w, words, n);
    assert(!w.bad);
    s->len = w.len;
    if (kind == REDIS_SLOT_CALL) {
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
    if (s->kind == REDIS_SLOT_CALL) {
        c->calls--;
        c->bytes -= s->len;
    }
    if (s->kind == REDIS_SLOT_AUTH)
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
void redis_client_take_back(struct redis_client *c, uint64_t now_us)
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
        bool wanted = s->call || (s->again && timer_is_set(&s->timer));
        if (!wanted) {
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
void redis_client_doom(struct redis_client *c, const char *what, struct slice more, uint64_t now_us)
{
    bool was_ready = c->state == REDIS_READY;

    if (c->state == REDIS_REST || c->state == REDIS_DOOMED)
        return;
    c->state = REDIS_DOOMED;
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
    redis_client_take_back(c, now_us);
    if (c->ops->down)
        c->ops->down(c->arg, c->why, now_us);
    wake(c);
}

static void doom_text(struct redis_client *c, const char *what, uint64_t now_us)
{
    redis_client_doom(c, what, (struct slice){0}, now_us);
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
    if (s->kind != REDIS_SLOT_CALL) {
        enum redis_slot_kind kind = s->kind;
        unsigned script = s->script;
        free_slot(c, s);
        redis_setup_step(c, kind, script, v, now_us);
        return;
    }
    bool refusal = is_refusal(v);
    if (!refusal || !s->again || !(s->call || timer_is_set(&s->timer)))
        finish(c, s, REDIS_ANSWERED, v, now_us);
    if (refusal)
        redis_client_doom(c, "Redis refuses", v->text, now_us);
}

void redis_client_recv(struct redis_client *c, struct slice bytes, uint64_t now_us)
{
    struct resp *v;

    if (c->state != REDIS_SETTING_UP && c->state != REDIS_READY)
        return;
    c->heard_us = now_us;
    int err = resp_feed(c->reader, bytes);
    while (err == 0 && (c->state == REDIS_SETTING_UP || c->state == REDIS_READY)) {
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
    return s || c->state != REDIS_READY ? s : first_of(&c->waiting);
}

static bool is_busy(const struct redis_client *c)
{
    return !list_empty(&c->open) || c->partial;
}

size_t redis_client_take(struct redis_client *c, uint8_t *buf, size_t cap, uint64_t now_us)
{
    struct wr w = wr_init(buf, cap);
    struct redis_slot *s;

    if (c->state != REDIS_SETTING_UP && c->state != REDIS_READY)
        return 0;
    while (w.len < cap && (s = next_slot(c))) {
        if (s->sha_at > 0 && s->taken == 0)
            memcpy(s->bytes + s->sha_at, c->sha[s->script], REDIS_SHA1_TEXT);
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
    struct redis_slot *s = redis_slot_new(c, REDIS_SLOT_CALL, words, n);
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

int redis_client_say(struct redis_client *c, const struct slice *words, size_t n, uint64_t life_us,
                     uint64_t now_us)
{
    struct redis_slot *s;
    int err = add_call(c, NULL, words, n, &s, now_us);

    if (err)
        return err;
    s->again = true;
    timer_set(c->wheel, &s->timer, now_us + life_us);
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
    static const uint8_t no_sha[REDIS_SHA1_TEXT];
    struct slice all[RESP_WORDS_MAX];
    struct redis_slot *s;
    uint8_t text[24];
    struct wr number = wr_init(text, sizeof(text));

    assert(script < c->conf.scripts_n && keys_n <= n);
    if (n > RESP_WORDS_MAX - 3)
        return -EINVAL;
    wr_u64(&number, keys_n);
    all[0] = SLICE_LIT("EVALSHA");
    all[1] = slice_of(no_sha, REDIS_SHA1_TEXT);
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

    if (c->state == REDIS_REST)
        at = earlier(at, redis_seek_deadline(&c->seek));
    if (c->state == REDIS_OPENING || c->state == REDIS_SETTING_UP)
        at = earlier(at, c->open_by_us);
    if (c->state == REDIS_READY)
        at = earlier(at, c->heard_us + (is_busy(c) ? c->conf.dead_us : c->conf.idle_us));
    return at;
}

static void ping(struct redis_client *c, uint64_t now_us)
{
    const struct slice words[] = {SLICE_LIT("PING")};
    struct redis_slot *s = redis_slot_new(c, REDIS_SLOT_PING, words, ARRAY_LEN(words));

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
    if ((c->state == REDIS_OPENING || c->state == REDIS_SETTING_UP) && now_us >= c->open_by_us)
        doom_text(c, "no answer while the connection is made", now_us);
    else if (c->state == REDIS_READY && is_busy(c) && now_us >= c->heard_us + c->conf.dead_us)
        doom_text(c, "no answer in time", now_us);
    else if (c->state == REDIS_READY && !is_busy(c) && list_empty(&c->setup) &&
             now_us >= c->heard_us + c->conf.idle_us)
        ping(c, now_us);
    else if (c->state == REDIS_REST && now_us >= redis_seek_deadline(&c->seek))
        wake(c);
}

/* ---- the shell's ---- */

enum redis_wish redis_client_wish(struct redis_client *c, const struct redis_endpoint **to,
                                  uint64_t now_us)
{
    if (c->state == REDIS_DOOMED) {
        c->state = REDIS_REST;
        return REDIS_WISH_CLOSE;
    }
    if (c->state != REDIS_REST)
        return REDIS_WISH_NOTHING;
    const struct redis_endpoint *at = redis_seek_next(&c->seek, now_us, &c->at_sentinel);
    if (!at)
        return REDIS_WISH_NOTHING;
    c->state = REDIS_OPENING;
    c->open_by_us = now_us + c->conf.open_us;
    *to = at;
    return REDIS_WISH_OPEN;
}

void redis_client_opened(struct redis_client *c, uint64_t now_us)
{
    if (c->state != REDIS_OPENING)
        return;
    resp_reader_free(c->reader);
    c->reader = resp_reader_new(c->conf.reply_bytes, c->conf.reply_values);
    c->state = REDIS_SETTING_UP;
    c->heard_us = now_us;
    if (!c->reader)
        doom_text(c, "memory is out", now_us);
    else
        redis_setup_begin(c, now_us);
    wake(c);
}

void redis_client_closed(struct redis_client *c, const char *why, uint64_t now_us)
{
    doom_text(c, why, now_us);
    c->state = REDIS_REST;
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
    return c->state == REDIS_READY;
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
