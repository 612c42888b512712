/* One push on its way: its text, its requests, its timer, its end.
 *
 *     apns_flight_make --apns_flight_send--> out --answer--> apns_judge.c --> apns_flight_end
 *                               ^                                |
 *                               '---------apns_flight_again------'  retry_us, by apns_flight_timer
 *
 * Called by apns.c (push, cancel, tick) and apns_judge.c. Pure: requests go through apns_ops.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns_priv.h"

#include "base/crypto.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>

#define PATH_PREFIX SLICE_LIT("/3/device/")
#define HEADERS_MAX 6

/* ---- its text ---- */

static struct slice moved(struct slice s, const uint8_t *from, const uint8_t *to)
{
    return s.len == 0 ? s : slice_of(to + (s.p - from), s.len);
}

static void move_push(struct push_apns *p, const uint8_t *from, const uint8_t *to)
{
    p->topic = moved(p->topic, from, to);
    p->expiration = moved(p->expiration, from, to);
    p->collapse_id = moved(p->collapse_id, from, to);
    p->payload = moved(p->payload, from, to);
}

int apns_flight_make(struct apns_flight **out, const struct apns_job *job)
{
    uint8_t mem[2 * APNS_TOKEN_MAX + 2 * PUSH_APNS_BYTES + 16];
    struct wr w = wr_init(mem, sizeof(mem));
    struct push_apns push, brief;

    if (job->token.len == 0 || job->token.len > APNS_TOKEN_MAX || job->env > APNS_SANDBOX)
        return -EINVAL;
    wr_bytes(&w, PATH_PREFIX);
    hex_encode(&w, job->token);
    size_t path = w.len;
    if (push_payload_apns(&push, &w, &job->content, false) != 0 ||
        push_payload_apns(&brief, &w, &job->content, true) != 0)
        return -EINVAL;
    struct apns_flight *f = mem_zalloc(sizeof(*f) + w.len);
    if (!f)
        return -ENOMEM;
    memcpy(f->text, mem, w.len);
    f->path = slice_of(f->text, path);
    f->push = push;
    f->brief_push = brief;
    move_push(&f->push, mem, f->text);
    move_push(&f->brief_push, mem, f->text);
    *out = f;
    return 0;
}

void apns_flight_free(struct apns_flight *f)
{
    struct apns *a = f->apns;

    timer_cancel(a->wheel, &f->timer);
    list_del(&f->link);
    htable_del(&a->by_id, &f->node);
    a->flights_n--;
    counter_sub(&a->count.jobs, 1);
    crypto_wipe(f->text, f->path.len);
    mem_free(f);
}

/* ---- its end ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void apns_flight_wait(struct apns_flight *f)
{
    struct apns *a = f->apns;
    uint64_t end_us = f->deadline_us + APNS_GRACE_US;
    uint64_t at_us = earlier(end_us, earlier(f->retry_us, f->hedge_us));

    timer_set(a->wheel, &f->timer, f->over ? CLOCK_NEVER : at_us);
    if (!f->over && at_us < a->woken_us && a->ops->wake) {
        a->woken_us = at_us;
        a->ops->wake(a->arg);
    }
}

void apns_flight_end(struct apns_flight *f, enum apns_result result, enum apns_why why)
{
    struct apns *a = f->apns;
    bool answered = result != APNS_GAVE_UP || f->last.status > 0;
    struct apns_verdict v = {.result = result,
                             .why = why,
                             .status = f->last.status,
                             .reason = answered ? f->last.reason : APNS_REASON_NONE,
                             .env = f->env,
                             .env_changed = result == APNS_ACCEPTED && f->asked != f->env,
                             .maybe_done = f->maybe_done || apns_flight_out(f) > 0,
                             .gone_since_ms = f->last.timestamp_ms,
                             .id = slice_of(f->id, APNS_ID_TEXT),
                             .tries = f->sent,
                             .took_us = a->now_us - f->started_us};

    if (f->probes)
        f->probes->probing = false;
    counter_inc(&a->count.results[f->kind][result]);
    if (why != APNS_WHY_NONE)
        counter_inc(&a->count.gave_up[why]);
    histogram_add(push_kind_urgent(f->kind) ? &a->count.call_us : &a->count.other_us, v.took_us);
    f->over = true;
    f->retry_us = f->hedge_us = CLOCK_NEVER;
    apns_flight_wait(f);
    f->done(f->ctx, &v);
    if (apns_flight_out(f) == 0)
        apns_flight_free(f);
}

/* ---- requests ---- */

static void add_header(struct h2_header *h, size_t *n, const char *name, struct slice value,
                       enum h2_indexing indexing)
{
    h[(*n)++] = (struct h2_header){slice_str(name), value, indexing};
}

int apns_flight_send(struct apns_flight *f, struct apns_try *t)
{
    struct apns *a = f->apns;
    const struct push_apns *p = f->brief ? &f->brief_push : &f->push;
    enum apns_class class = push_kind_urgent(f->kind) ? APNS_CALL : APNS_OTHER;
    int key = apns_topic_key(f->app, f->env);
    struct apns_ident *k = &a->keys[key];
    struct h2_header h[HEADERS_MAX];
    struct h2_request q = {.path = f->path,
                           .headers = h,
                           .body = p->payload,
                           .deadline_us = f->deadline_us,
                           .resend_uncertain = true};

    if (!apns_key_open(a, k))
        return -EHOSTDOWN;
    *t = (struct apns_try){.flight = f, .lane = (unsigned)key * APNS_CLASSES + class};
    if (k->token) {
        uint64_t minted = apns_token_minted(k->token);
        if (apns_token_bearer(k->token, &q.authorization, &t->gen, a->now_us, a->wall_us) != 0)
            return -EIO;
        counter_add(&a->count.tokens_minted, apns_token_minted(k->token) - minted);
    }
    add_header(h, &q.n_headers, "apns-topic", p->topic, H2_INDEX);
    add_header(h, &q.n_headers, "apns-push-type", slice_str(p->type), H2_INDEX);
    add_header(h, &q.n_headers, "apns-priority", p->priority, H2_INDEX);
    add_header(h, &q.n_headers, "apns-expiration", p->expiration,
               slice_is(p->expiration, "0") ? H2_INDEX : H2_INDEX_FIRST);
    add_header(h, &q.n_headers, "apns-id", slice_of(f->id, APNS_ID_TEXT), H2_INDEX_FIRST);
    if (p->collapse_id.len > 0)
        add_header(h, &q.n_headers, "apns-collapse-id", p->collapse_id, H2_INDEX_FIRST);
    int rc = a->ops->send(a->arg, t->lane, &q, apns_flight_answer, t, f->avoid, a->now_us);
    if (rc != 0)
        return rc;
    t->out = true;
    f->sent++;
    f->avoid = 0;
    if (k->stopped) {
        k->probing = true;
        f->probes = k;
    }
    return 0;
}

static enum apns_why why_of(int rc)
{
    switch (rc) {
    case -EHOSTDOWN:
        return APNS_WHY_STOPPED;
    case -ECANCELED:
        return APNS_WHY_CANCELLED;
    case -ENOBUFS:
        return APNS_WHY_FULL;
    case -ETIME:
        return APNS_WHY_DEADLINE;
    case -EMSGSIZE:
        return APNS_WHY_CONTENT;
    default:
        return APNS_WHY_MEMORY;
    }
}

/* Another try, or the end. */
static void send_again(struct apns_flight *f)
{
    struct apns_try *t = f->tries[0].out ? &f->tries[1] : &f->tries[0];

    assert(!t->out);
    f->retry_us = CLOCK_NEVER;
    int rc = f->cancelled ? -ECANCELED : apns_flight_send(f, t);
    if (rc == 0)
        apns_flight_wait(f);
    else if (apns_flight_out(f) > 0)
        apns_flight_wait(f);
    else
        apns_flight_end(f, APNS_GAVE_UP, why_of(rc));
}

bool apns_flight_again(struct apns_flight *f, enum apns_second why, struct counter *count,
                       uint64_t at_us)
{
    if ((f->spent & why) || at_us >= f->deadline_us)
        return false;
    f->spent |= why;
    counter_inc(count);
    if (at_us > f->apns->now_us) {
        f->retry_us = at_us;
        apns_flight_wait(f);
    } else {
        send_again(f);
    }
    return true;
}

/* ---- its time ---- */

void apns_flight_timer(struct apns_flight *f)
{
    struct apns *a = f->apns;

    if (f->deadline_us + APNS_GRACE_US <= a->now_us) {
        apns_flight_end(f, APNS_GAVE_UP, APNS_WHY_DEADLINE);
    } else if (f->retry_us <= a->now_us) {
        send_again(f);
    } else if (f->hedge_us <= a->now_us) {
        f->hedge_us = CLOCK_NEVER;
        if (apns_flight_out(f) != 1 ||
            !apns_flight_again(f, SECOND_HEDGE, &a->count.hedges, a->now_us))
            apns_flight_wait(f);
    } else {
        apns_flight_wait(f);
    }
}
