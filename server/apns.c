/* Pushes to APNs: keys, topics and lanes; pushes in, time.
 *
 * Called by the router (apns_push()) and apns_link.c (time, pools). Pure: requests go through
 * apns_ops. A push under way is in apns_flight.c, what an answer leads to in apns_judge.c, a key
 * that is not accepted in apns_trouble.c.
 *
 * Each cause of a second try has a budget of one (enum apns_second), so that a push makes at most a
 * handful of requests whatever Apple answers. All requests of a push carry the same apns-id.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns_priv.h"

#include "base/crypto.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"

#include <assert.h>
#include <errno.h>

#define HEDGE_LEFT_US (US_PER_S) /* no hedge when so little time is left */
#define EXPECT_JOBS   256

/* ---- making and ending ---- */

static struct apns_topic *find_app(struct apns *a, struct slice topic)
{
    for (size_t i = 0; i < a->apps_n; i++)
        if (slice_eq(a->apps[i].topic, topic))
            return &a->apps[i];
    return NULL;
}

static bool copy_keys(struct apns *a, const struct apns_conf *conf)
{
    for (size_t i = 0; i < conf->keys_n; i++) {
        struct apns_ident *k = &a->keys[a->keys_n++];
        k->env = conf->keys[i].env;
        if (!conf->keys[i].signer)
            continue;
        k->token = apns_token_new(conf->keys[i].team, conf->keys[i].kid, conf->keys[i].signer);
        if (!k->token)
            return false;
    }
    return true;
}

void apns_free(struct apns *a)
{
    if (!a)
        return;
    LIST_EACH(l, tmp, &a->flights)
    apns_flight_free(CONTAINER_OF(l, struct apns_flight, link));
    for (size_t i = 0; i < a->keys_n; i++)
        apns_token_free(a->keys[i].token);
    htable_fini(&a->by_id);
    timerwheel_free(a->wheel);
    mem_free(a);
}

void apns_clock(struct apns *a, uint64_t now_us, uint64_t wall_us)
{
    a->now_us = now_us;
    a->wall_us = wall_us;
}

struct apns *apns_new(const struct apns_conf *conf, const struct apns_ops *ops, void *arg,
                      uint64_t now_us, uint64_t wall_us)
{
    struct apns *a = mem_zalloc(sizeof(*a) + conf->apps_n * sizeof(a->apps[0]));

    assert(conf->keys_n <= APNS_KEYS_MAX);
    if (!a)
        return NULL;
    a->ops = ops;
    a->arg = arg;
    a->woken_us = CLOCK_NEVER;
    apns_clock(a, now_us, wall_us);
    list_init(&a->flights);
    a->wheel = timerwheel_new(now_us);
    if (!a->wheel || htable_init(&a->by_id, EXPECT_JOBS) != 0 || !copy_keys(a, conf)) {
        apns_free(a);
        return NULL;
    }
    for (size_t i = 0; i < conf->apps_n; i++) {
        struct apns_topic *app = &a->apps[a->apps_n++];
        struct wr w = wr_init(app->text, sizeof(app->text));
        wr_bytes(&w, conf->apps[i].topic);
        app->topic = wr_done(&w);
        app->keys[0] = conf->apps[i].production;
        app->keys[1] = conf->apps[i].sandbox;
        assert(app->keys[0] < (int)conf->keys_n && app->keys[1] < (int)conf->keys_n);
    }
    return a;
}

unsigned apns_lanes(const struct apns *a)
{
    return (unsigned)a->keys_n * APNS_CLASSES;
}

size_t apns_lane_key(unsigned lane)
{
    return lane / APNS_CLASSES;
}

enum apns_class apns_lane_class(unsigned lane)
{
    return (enum apns_class)(lane % APNS_CLASSES);
}

void apns_retire(struct apns *a, unsigned lane, unsigned conn)
{
    if (conn != 0)
        a->ops->retire(a->arg, lane, conn, a->now_us);
}

int apns_rekey(struct apns *a, size_t key, struct slice team, struct slice kid,
               struct crypto_signer *signer)
{
    struct apns_ident *k = &a->keys[key];

    assert(key < a->keys_n);
    if (!k->token || apns_token_rekey(k->token, team, kid, signer) != 0)
        return -EINVAL;
    /* A connection is bound to the key that its first push was signed with. */
    for (unsigned c = 0; c < APNS_CLASSES; c++)
        a->ops->retire(a->arg, (unsigned)key * APNS_CLASSES + c, 0, a->now_us);
    k->stopped = k->probing = false;
    k->stop_us = 0;
    apns_set_trouble(a);
    return 0;
}

void apns_resign(struct apns *a, size_t key, struct crypto_signer *signer)
{
    if (a->keys[key].token)
        apns_token_resign(a->keys[key].token, signer);
}

/* ---- pushing ---- */

static void write_uuid(char out[APNS_ID_TEXT + 1])
{
    uint8_t b[16];
    struct wr w = wr_init(out, APNS_ID_TEXT + 1);

    rand_bytes(b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4, variant 1 (RFC 9562 §5.4) */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof(b); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            wr_u8(&w, '-');
        hex_encode(&w, slice_of(&b[i], 1));
    }
    wr_u8(&w, '\0');
}

int apns_push(struct apns *a, const struct apns_job *job, apns_done_fn *done, void *ctx,
              char id[APNS_ID_TEXT + 1])
{
    struct apns_topic *app = find_app(a, job->content.topic);
    enum apns_env env = job->env;
    struct apns_flight *f;

    if (env == APNS_ENV_UNKNOWN)
        env = app && app->keys[0] >= 0 ? APNS_PRODUCTION : APNS_SANDBOX;
    if (!app || apns_topic_key(app, env) < 0)
        return -ENOENT;
    if (job->deadline_us <= a->now_us)
        return -ETIME;
    if (a->flights_n >= APNS_JOBS_MAX)
        return -ENOBUFS;
    int rc = apns_flight_make(&f, job);
    if (rc != 0)
        return rc;
    f->apns = a;
    f->done = done;
    f->ctx = ctx;
    f->app = app;
    f->kind = job->content.kind;
    f->asked = job->env;
    f->env = env;
    f->started_us = a->now_us;
    f->deadline_us = job->deadline_us;
    f->retry_us = CLOCK_NEVER;
    f->hedge_us = push_kind_urgent(f->kind) ? a->now_us + APNS_HEDGE_US : CLOCK_NEVER;
    if (f->hedge_us > f->deadline_us || f->deadline_us - f->hedge_us < HEDGE_LEFT_US)
        f->hedge_us = CLOCK_NEVER;
    f->token_hash = hash_bytes(job->token);
    write_uuid(f->id);
    rc = apns_flight_send(f, &f->tries[0]);
    if (rc != 0) {
        crypto_wipe(f->text, f->path.len);
        mem_free(f);
        return rc == -EIO ? -ENOMEM : rc;
    }
    list_append(&a->flights, &f->link);
    htable_add(&a->by_id, &f->node, hash_bytes(slice_of(f->id, APNS_ID_TEXT)));
    a->flights_n++;
    counter_inc(&a->count.jobs);
    apns_flight_wait(f);
    if (id)
        memcpy(id, f->id, sizeof(f->id));
    return 0;
}

void apns_cancel(struct apns *a, struct slice id)
{
    for (struct hnode *n = htable_first(&a->by_id, hash_bytes(id)); n; n = htable_next(n)) {
        struct apns_flight *f = CONTAINER_OF(n, struct apns_flight, node);
        if (!slice_eq(id, slice_of(f->id, APNS_ID_TEXT)) || f->over)
            continue;
        f->cancelled = true;
        f->hedge_us = CLOCK_NEVER;
        if (f->retry_us != CLOCK_NEVER)
            f->retry_us = a->now_us; /* the verdict comes from apns_tick() */
        apns_flight_wait(f);
        return;
    }
}

/* ---- time ---- */

uint64_t apns_deadline(const struct apns *a)
{
    return timerwheel_next(a->wheel);
}

void apns_tick(struct apns *a)
{
    struct timer *t;

    a->woken_us = CLOCK_NEVER;
    while ((t = timerwheel_pop(a->wheel, a->now_us)))
        apns_flight_timer(CONTAINER_OF(t, struct apns_flight, timer));
}

struct apns_counters *apns_count(struct apns *a)
{
    return &a->count;
}
