/* The pool: which request goes over which connection, what becomes of those that fail, when a
 * connection is opened again.
 *
 * Used by apns.c; driven by h2_client_link.c. Nothing is sent and nobody is told from inside
 * h2_pool_send(): requests queue, and h2_pool_pump() at the end of the turn places them.
 *
 *   send() -> WAITING -> pump: the connection with the fewest under way, but not the avoided one
 *      FLYING -> h2_job_answered() -> done
 *             -> h2_job_refused() by GOAWAY -> WAITING in front (never acted on: nothing doubles)
 *                                 by RST    -> PAUSED (0, 20, 40 ms .. 1 s) -> WAITING in front
 *             -> h2_job_failed()  -> once more on another connection if it may be done twice,
 *                                    else done (UNCERTAIN)
 *      any    -> deadline -> done (LATE, REFUSED or NO_CONNECTION)
 *
 *   slot: empty -> open() -> OPENING -> h2_conn_opened() -> UP -> goaway or retire() -> DRAINING
 *   (off its slot: a new one is opened beside it) -> nothing under way, or drain_us -> closed.
 *   An end before any answer doubles the slot's pause (full jitter); after one, or after a long
 *   life, it starts over, but no slot opens connections faster than one per retry_min_us.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/h2_pool.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/timerwheel.h"

#define RESENDS_MAX      1
#define REFUSED_PAUSE_US (20 * US_PER_MS) /* after the second refusal; doubles */
#define REFUSED_MAX_US   (1 * US_PER_S)
#define NO_MEMORY_US     (20 * US_PER_MS) /* pause of sending when submit() had no memory */
#define TROUBLE_MAX      200

enum job_state { JOB_WAITING, JOB_PAUSED, JOB_FLYING };

struct h2_job {
    struct list link;   /* pool.front or .queue, .paused, or conn.jobs */
    struct timer timer; /* deadline, or the end of a pause if that is earlier */
    struct h2_pool *pool;
    struct h2_request q; /* points into mem */
    h2_done_fn *done;
    void *ctx;
    struct h2_conn *conn; /* FLYING */
    void *stream;
    enum job_state state;
    unsigned avoid, resends, refusals, last_conn;
    bool maybe_done;
    uint64_t avoid_until_us, queued_us, sent_us;
    struct h2_header headers[H2_REQUEST_HEADERS_MAX];
    uint8_t mem[];
};

enum conn_state { CONN_OPENING, CONN_UP, CONN_DRAINING };

struct h2_conn {
    struct list link; /* pool.draining, or on none while on its slot */
    struct h2_pool *pool;
    void *wire; /* the link */
    struct list jobs;
    unsigned number, slot, n_jobs, limit;
    uint64_t answered, opened_us, drain_by_us;
    enum conn_state state;
    bool full; /* took no more in this pump */
};

struct slot {
    struct h2_conn *conn;
    uint64_t retry_us;
    unsigned tries;
};

struct h2_pool {
    struct h2_pool_conf conf;
    const struct h2_conn_ops *ops;
    void *env;
    struct timerwheel *wheel;
    struct list front, queue, paused, draining;
    unsigned n_jobs, last_number;
    uint64_t pumped_us;        /* last */
    uint64_t stalled_until_us; /* submit() had no memory; 0: it had */
    bool work;                 /* pump() is wanted at once */
    bool freeing;
    struct slot slots[H2_POOL_CONNS_MAX];
    struct h2_pool_stats stats;
    char trouble[TROUBLE_MAX];
};

static void want_pump(struct h2_pool *p)
{
    if (p->work || p->freeing)
        return;
    p->work = true;
    p->ops->wake(p->env);
}

/* ---- jobs ---- */

/* Off its list and its connection. */
static void unplace(struct h2_job *j)
{
    struct h2_pool *p = j->pool;

    list_del(&j->link);
    if (j->state != JOB_FLYING) {
        counter_sub(&p->stats.waiting, 1);
        return;
    }
    counter_sub(&p->stats.inflight, 1);
    j->conn->n_jobs--;
    j->conn = NULL;
    j->stream = NULL;
}

static void place(struct h2_job *j, struct list *list, enum job_state state)
{
    list_append(list, &j->link);
    j->state = state;
    counter_add(state == JOB_FLYING ? &j->pool->stats.inflight : &j->pool->stats.waiting, 1);
}

static struct counter *outcome_counter(struct h2_pool *p, enum h2_outcome outcome)
{
    switch (outcome) {
    case H2_ANSWERED:
        return &p->stats.answered;
    case H2_UNCERTAIN:
        return &p->stats.uncertain;
    case H2_LATE:
        return &p->stats.late;
    case H2_REFUSED:
        return &p->stats.refused;
    default:
        return &p->stats.no_connection;
    }
}

/* Tells and frees a job that is on no list any more. r: what is known; the rest is filled in. */
static void finish(struct h2_job *j, struct h2_response r, uint64_t now_us)
{
    struct h2_pool *p = j->pool;

    timer_cancel(p->wheel, &j->timer);
    r.maybe_done = j->maybe_done;
    r.conn = j->last_conn;
    r.resends = j->resends;
    r.queued_us = j->queued_us;
    r.sent_us = j->sent_us;
    r.answered_us = now_us;
    counter_inc(outcome_counter(p, r.outcome));
    p->n_jobs--;
    j->done(j->ctx, &r);
    mem_free(j);
}

static void give_up(struct h2_job *j, uint64_t now_us)
{
    struct h2_pool *p = j->pool;
    struct h2_response r = {.outcome = H2_LATE, .why = "no answer before the deadline"};

    if (j->state == JOB_FLYING) {
        j->maybe_done = true;
        p->ops->forget(j->conn->wire, j->stream);
    } else if (j->maybe_done) {
        r.why = "no answer; no second connection before the deadline";
    } else if (j->refusals > 0) {
        r = (struct h2_response){.outcome = H2_REFUSED,
                                 .why = "the peer refused it until the deadline"};
    } else if (counter_get(&p->stats.up) == 0) {
        r = (struct h2_response){.outcome = H2_NO_CONNECTION, .why = p->trouble};
    } else {
        r.why = "no free stream before the deadline";
    }
    unplace(j);
    finish(j, r, now_us);
}

static uint8_t *copy(uint8_t *at, struct slice *s)
{
    if (s->len > 0)
        memcpy(at, s->p, s->len);
    s->p = at;
    return at + s->len;
}

/* A job with everything of q in one piece of memory, or NULL. */
static struct h2_job *job_new(const struct h2_request *q)
{
    size_t bytes = q->method.len + q->path.len + q->authorization.len + q->body.len;

    for (size_t i = 0; i < q->n_headers; i++)
        bytes += q->headers[i].name.len + q->headers[i].value.len;
    struct h2_job *j = mem_zalloc(sizeof(*j) + bytes);
    if (!j)
        return NULL;
    uint8_t *at = j->mem;
    j->q = *q;
    j->q.headers = j->headers;
    at = copy(at, &j->q.method);
    at = copy(at, &j->q.path);
    at = copy(at, &j->q.authorization);
    at = copy(at, &j->q.body);
    for (size_t i = 0; i < q->n_headers; i++) {
        j->headers[i] = q->headers[i];
        at = copy(at, &j->headers[i].name);
        at = copy(at, &j->headers[i].value);
    }
    return j;
}

int h2_pool_send(struct h2_pool *p, const struct h2_request *q, h2_done_fn *done, void *ctx,
                 unsigned avoid_conn, uint64_t now_us)
{
    if (q->deadline_us <= now_us)
        return -ETIME;
    if (q->n_headers > H2_REQUEST_HEADERS_MAX || q->body.len > H2_REQUEST_BODY_MAX)
        return -EMSGSIZE;
    if (p->n_jobs >= p->conf.queue_max || p->freeing)
        return -ENOBUFS;
    struct h2_job *j = job_new(q);
    if (!j)
        return -ENOMEM;
    j->pool = p;
    j->done = done;
    j->ctx = ctx;
    j->queued_us = now_us;
    j->avoid = avoid_conn;
    j->avoid_until_us = now_us + H2_POOL_AVOID_US;
    p->n_jobs++;
    counter_inc(&p->stats.requests);
    timer_set(p->wheel, &j->timer, q->deadline_us);
    place(j, &p->queue, JOB_WAITING);
    want_pump(p);
    return 0;
}

/* ---- what links tell of jobs ---- */

void h2_job_answered(struct h2_job *j, const struct h2_response *r, uint64_t now_us)
{
    struct h2_response whole = *r;
    struct h2_pool *p = j->pool;

    assert(j->state == JOB_FLYING);
    j->conn->answered++;
    j->maybe_done = true;
    whole.outcome = H2_ANSWERED;
    unplace(j);
    finish(j, whole, now_us);
    want_pump(p);
}

void h2_job_refused(struct h2_job *j, bool goaway, uint64_t now_us)
{
    struct h2_pool *p = j->pool;
    uint64_t pause = 0;

    assert(j->state == JOB_FLYING);
    counter_inc(goaway ? &p->stats.moved_goaway : &p->stats.moved_refused);
    if (!goaway && ++j->refusals > 1) {
        unsigned doublings = j->refusals - 2 < 6 ? j->refusals - 2 : 6;
        pause = REFUSED_PAUSE_US << doublings;
        if (pause > REFUSED_MAX_US)
            pause = REFUSED_MAX_US;
    }
    unplace(j);
    if (pause == 0) {
        place(j, &p->front, JOB_WAITING);
    } else {
        place(j, &p->paused, JOB_PAUSED);
        if (now_us + pause < j->q.deadline_us)
            timer_set(p->wheel, &j->timer, now_us + pause);
    }
    want_pump(p);
}

void h2_job_failed(struct h2_job *j, const char *why, uint64_t now_us)
{
    struct h2_pool *p = j->pool;

    assert(j->state == JOB_FLYING);
    j->maybe_done = true;
    unplace(j);
    if (j->q.resend_uncertain && j->resends < RESENDS_MAX && !p->freeing) {
        j->resends++;
        j->avoid = j->last_conn;
        j->avoid_until_us = now_us + H2_POOL_AVOID_US;
        counter_inc(&p->stats.resent);
        place(j, &p->front, JOB_WAITING);
    } else {
        finish(j, (struct h2_response){.outcome = H2_UNCERTAIN, .why = why}, now_us);
    }
    want_pump(p);
}

/* ---- connections ---- */

/* When its slot may connect again. */
static void back_off(struct h2_pool *p, struct slot *s, const struct h2_conn *c, uint64_t now_us)
{
    uint64_t interval = p->conf.retry_min_us;

    s->conn = NULL;
    if (c && (c->answered > 0 || now_us - c->opened_us >= p->conf.retry_max_us)) {
        uint64_t soonest = c->opened_us + p->conf.retry_min_us;
        s->tries = 0;
        s->retry_us = soonest > now_us ? soonest : now_us;
        return;
    }
    for (unsigned i = 0; i < s->tries && interval < p->conf.retry_max_us; i++)
        interval *= 2;
    if (interval > p->conf.retry_max_us)
        interval = p->conf.retry_max_us;
    if (s->tries < 32)
        s->tries++;
    s->retry_us = now_us + rand_below(interval + 1);
}

static bool on_slot(const struct h2_conn *c)
{
    return c->pool->slots[c->slot].conn == c;
}

static void set_limit(struct h2_conn *c, unsigned streams)
{
    struct counter *gauge = &c->pool->stats.streams[c->slot];

    counter_sub(gauge, counter_get(gauge));
    counter_add(gauge, streams);
    c->limit = streams;
}

/* Takes c off its slot to finish what it has under way. */
static void start_drain(struct h2_conn *c, uint64_t now_us)
{
    struct h2_pool *p = c->pool;

    if (c->state == CONN_DRAINING)
        return;
    if (c->state == CONN_UP)
        counter_sub(&p->stats.up, 1);
    c->state = CONN_DRAINING;
    set_limit(c, 0);
    c->drain_by_us = now_us + p->conf.drain_us;
    back_off(p, &p->slots[c->slot], c, now_us);
    list_append(&p->draining, &c->link);
    want_pump(p);
}

/* c is over, or is to be closed now if `close`: its jobs fail, its memory goes. */
static void conn_end(struct h2_conn *c, enum h2_end end, const char *why, bool close,
                     uint64_t now_us)
{
    struct h2_pool *p = c->pool;
    struct list *first;

    if (end != H2_END_LOCAL)
        snprintf(p->trouble, sizeof(p->trouble), "%s", why);
    counter_inc(&p->stats.ended[end]);
    if (c->state == CONN_UP)
        counter_sub(&p->stats.up, 1);
    if (on_slot(c)) {
        set_limit(c, 0);
        back_off(p, &p->slots[c->slot], c, now_us);
    }
    list_del(&c->link);
    if (close)
        p->ops->close(c->wire);
    c->state = CONN_DRAINING;
    while ((first = list_first(&c->jobs)))
        h2_job_failed(CONTAINER_OF(first, struct h2_job, link), why, now_us);
    mem_free(c);
    want_pump(p);
}

unsigned h2_conn_number(const struct h2_conn *c)
{
    return c->number;
}

void h2_conn_opened(struct h2_conn *c, uint64_t now_us)
{
    (void)now_us;
    if (c->state != CONN_OPENING)
        return;
    c->state = CONN_UP;
    counter_inc(&c->pool->stats.opened);
    counter_add(&c->pool->stats.up, 1);
    want_pump(c->pool);
}

void h2_conn_limit(struct h2_conn *c, unsigned streams, uint64_t now_us)
{
    (void)now_us;
    if (on_slot(c))
        set_limit(c, streams);
    want_pump(c->pool);
}

void h2_conn_goaway(struct h2_conn *c, const char *why, uint64_t now_us)
{
    struct h2_pool *p = c->pool;

    snprintf(p->trouble, sizeof(p->trouble), "GOAWAY: %s", why);
    if (c->state == CONN_DRAINING)
        return; /* the second of two (RFC 9113 §6.8), or it was retired */
    counter_inc(&p->stats.goaways);
    start_drain(c, now_us);
}

void h2_conn_ended(struct h2_conn *c, enum h2_end end, const char *why, uint64_t now_us)
{
    conn_end(c, end, why, false, now_us);
}

void h2_pool_retire(struct h2_pool *p, unsigned conn, uint64_t now_us)
{
    for (unsigned i = 0; i < p->conf.conns; i++) {
        struct slot *s = &p->slots[i];
        struct h2_conn *c = s->conn;
        if (!c || c->state != CONN_UP || (conn != 0 && c->number != conn))
            continue;
        counter_inc(&p->stats.retired);
        start_drain(c, now_us);
        s->tries = 0;
        s->retry_us = now_us; /* wanted, not a failure */
    }
}

/* ---- the pump ---- */

static void open_slot(struct h2_pool *p, unsigned i, uint64_t now_us)
{
    struct h2_conn *c = mem_zalloc(sizeof(*c));

    if (!c) {
        back_off(p, &p->slots[i], NULL, now_us);
        return;
    }
    c->pool = p;
    c->slot = i;
    c->state = CONN_OPENING;
    c->opened_us = now_us;
    c->number = ++p->last_number;
    list_init(&c->jobs);
    c->wire = p->ops->open(p->env, c);
    if (!c->wire) {
        mem_free(c);
        back_off(p, &p->slots[i], NULL, now_us);
        return;
    }
    p->slots[i].conn = c;
}

static void end_drained(struct h2_pool *p, uint64_t now_us)
{
    LIST_EACH(it, tmp, &p->draining)
    {
        struct h2_conn *c = CONTAINER_OF(it, struct h2_conn, link);
        if (c->n_jobs == 0 || c->drain_by_us <= now_us)
            conn_end(c, H2_END_LOCAL, "replaced before the answer came", true, now_us);
    }
}

static void expire(struct h2_pool *p, uint64_t now_us)
{
    struct timer *t;

    while ((t = timerwheel_pop(p->wheel, now_us))) {
        struct h2_job *j = CONTAINER_OF(t, struct h2_job, timer);
        if (j->state != JOB_PAUSED || j->q.deadline_us <= now_us) {
            give_up(j, now_us);
            continue;
        }
        unplace(j);
        place(j, &p->front, JOB_WAITING);
        timer_set(p->wheel, &j->timer, j->q.deadline_us);
    }
}

/* Something besides `avoid` is up, or coming. */
static bool has_other(const struct h2_pool *p, unsigned avoid)
{
    for (unsigned i = 0; i < p->conf.conns; i++)
        if (!p->slots[i].conn || p->slots[i].conn->number != avoid)
            return true;
    return false;
}

/* The connection with the fewest requests under way that takes one more and is not avoided. */
static struct h2_conn *pick(struct h2_pool *p, unsigned avoid)
{
    struct h2_conn *best = NULL;

    for (unsigned i = 0; i < p->conf.conns; i++) {
        struct h2_conn *c = p->slots[i].conn;
        if (!c || c->state != CONN_UP || c->full || c->number == avoid)
            continue;
        if (!best || c->n_jobs < best->n_jobs)
            best = c;
    }
    return best;
}

/* Submits j to c. False: it stays where it is. */
static bool submit(struct h2_job *j, struct h2_conn *c, uint64_t now_us)
{
    struct h2_pool *p = c->pool;
    void *stream = NULL;
    int rc = p->ops->submit(c->wire, &j->q, j, &stream, now_us);

    if (rc != 0) {
        c->full = true;
        if (rc == -ENOMEM)
            p->stalled_until_us = now_us + NO_MEMORY_US;
        else if (rc != -EAGAIN)
            start_drain(c, now_us);
        return false;
    }
    unplace(j);
    j->conn = c;
    j->stream = stream;
    j->last_conn = c->number;
    if (j->sent_us == 0)
        j->sent_us = now_us;
    c->n_jobs++;
    place(j, &c->jobs, JOB_FLYING);
    return true;
}

/* Places j. False: no connection takes anything now. */
static bool place_one(struct h2_pool *p, struct h2_job *j, uint64_t now_us)
{
    unsigned avoid = now_us < j->avoid_until_us && has_other(p, j->avoid) ? j->avoid : 0;
    struct h2_conn *c;

    while ((c = pick(p, avoid))) {
        c->full = c->n_jobs >= p->conf.streams_max;
        if (!c->full && submit(j, c, now_us))
            return true;
        if (p->stalled_until_us > now_us)
            return false;
    }
    return avoid != 0 && pick(p, 0); /* only this one has to wait */
}

static bool dispatch(struct h2_pool *p, struct list *list, uint64_t now_us)
{
    LIST_EACH(it, tmp, list)
    {
        if (!place_one(p, CONTAINER_OF(it, struct h2_job, link), now_us))
            return false;
    }
    return true;
}

static void close_all(struct h2_pool *p, uint64_t now_us)
{
    struct list *first;

    for (unsigned i = 0; i < p->conf.conns; i++)
        if (p->slots[i].conn)
            conn_end(p->slots[i].conn, H2_END_LOCAL, "the pool is closed", true, now_us);
    while ((first = list_first(&p->draining)))
        conn_end(CONTAINER_OF(first, struct h2_conn, link), H2_END_LOCAL, "the pool is closed",
                 true, now_us);
}

void h2_pool_pump(struct h2_pool *p, uint64_t now_us)
{
    p->work = false;
    p->pumped_us = now_us;
    if (p->stalled_until_us <= now_us)
        p->stalled_until_us = 0;
    expire(p, now_us);
    end_drained(p, now_us);
    for (unsigned i = 0; i < p->conf.conns; i++) {
        struct slot *s = &p->slots[i];
        if (!s->conn && s->retry_us <= now_us)
            open_slot(p, i, now_us);
        if (s->conn)
            s->conn->full = false;
    }
    if (p->stalled_until_us == 0 && dispatch(p, &p->front, now_us))
        dispatch(p, &p->queue, now_us);
}

static uint64_t min_us(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* A job that waits only for the end of its avoiding, while others do not hold it up, is found by
 * looking at the head of the queues: behind a head that waits for room, everything waits. */
static uint64_t avoid_deadline(const struct h2_pool *p, const struct list *list, uint64_t at)
{
    unsigned looked = 0;

    LIST_EACH(it, tmp, list)
    {
        const struct h2_job *j = CONTAINER_OF(it, struct h2_job, link);
        if (j->avoid != 0 && j->avoid_until_us > p->pumped_us)
            at = min_us(at, j->avoid_until_us);
        if (++looked == H2_POOL_CONNS_MAX)
            break;
    }
    return at;
}

uint64_t h2_pool_deadline(const struct h2_pool *p)
{
    uint64_t at = p->work ? 0 : timerwheel_next(p->wheel);

    for (unsigned i = 0; i < p->conf.conns; i++)
        if (!p->slots[i].conn)
            at = min_us(at, p->slots[i].retry_us);
    LIST_EACH(it, tmp, &p->draining)
    at = min_us(at, CONTAINER_OF(it, struct h2_conn, link)->drain_by_us);
    if (p->stalled_until_us > 0 && (!list_empty(&p->front) || !list_empty(&p->queue)))
        at = min_us(at, p->stalled_until_us);
    return avoid_deadline(p, &p->queue, avoid_deadline(p, &p->front, at));
}

/* ---- the pool itself ---- */

const char *h2_end_name(enum h2_end e)
{
    static const char *const names[H2_ENDS] = {"local",   "eof",     "dead",  "protocol",
                                               "resolve", "connect", "proxy", "tls"};

    return (unsigned)e < H2_ENDS ? names[e] : "";
}

static bool conf_ok(const struct h2_pool_conf *c)
{
    return c->conns >= 1 && c->conns <= H2_POOL_CONNS_MAX && c->queue_max >= 1 &&
           c->streams_max >= 1 && c->retry_min_us >= 1 && c->retry_max_us >= c->retry_min_us;
}

struct h2_pool *h2_pool_new(const struct h2_pool_conf *conf, const struct h2_conn_ops *ops,
                            void *env, uint64_t now_us)
{
    struct h2_pool *p = conf_ok(conf) ? mem_zalloc(sizeof(*p)) : NULL;

    if (!p)
        return NULL;
    p->conf = *conf;
    p->ops = ops;
    p->env = env;
    list_init(&p->front);
    list_init(&p->queue);
    list_init(&p->paused);
    list_init(&p->draining);
    p->wheel = timerwheel_new(now_us);
    if (!p->wheel) {
        mem_free(p);
        return NULL;
    }
    return p;
}

void h2_pool_free(struct h2_pool *p, uint64_t now_us)
{
    if (!p)
        return;
    p->freeing = true;
    close_all(p, now_us);
    struct list *const lists[] = {&p->front, &p->queue, &p->paused};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct list *first;
        while ((first = list_first(lists[i]))) {
            struct h2_job *j = CONTAINER_OF(first, struct h2_job, link);
            enum h2_outcome outcome = j->maybe_done ? H2_UNCERTAIN : H2_NO_CONNECTION;
            unplace(j);
            finish(j, (struct h2_response){.outcome = outcome, .why = "the pool is closed"},
                   now_us);
        }
    }
    timerwheel_free(p->wheel);
    mem_free(p);
}

unsigned h2_pool_up(const struct h2_pool *p)
{
    return (unsigned)counter_get(&p->stats.up);
}

const char *h2_pool_trouble(const struct h2_pool *p)
{
    return p->trouble;
}

struct h2_pool_stats *h2_pool_stats(struct h2_pool *p)
{
    return &p->stats;
}

unsigned h2_pool_streams_limit(const struct h2_pool *p, unsigned slot)
{
    const struct h2_conn *c = slot < p->conf.conns ? p->slots[slot].conn : NULL;

    return c && c->state == CONN_UP ? c->limit : 0;
}
