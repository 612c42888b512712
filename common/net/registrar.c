/* A thread that keeps a node in the list that sori-servers read. SPDX-License-Identifier:
 * BSD-3-Clause */
#include "net/registrar.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/redis_link.h"
#include "net/resolve.h"
#include "net/tls.h"
#include "net/worker.h"

#define LOOK_US    (200 * US_PER_MS) /* at the latest: whether there is something to do */
#define STOP_US    (1500 * US_PER_MS)
#define POSTED_MAX 4096 /* words to publish on their way to this thread */

struct registrar {
    struct registrar_conf conf;
    struct worker *loop;
    struct resolver *resolver;
    struct tls_ctx *tls;
    struct redis_link *link;
    struct enroll enroll;
    struct wtimer tick;
    struct node_record record; /* its slices are of text */
    uint64_t epoch, stop_us;
    bool draining;
    unsigned posted; /* atomic */
    uint8_t channel[NODE_RECORD_KEY_MAX];
    size_t channel_len;
    struct redis_endpoint at[REDIS_ENDPOINTS_MAX];
    uint8_t text[NODE_RECORD_TEXT_MAX];
};

/* A record on its way to the thread. */
struct change {
    struct registrar *r;
    size_t len;
    uint8_t text[NODE_RECORD_TEXT_MAX];
};

struct publication {
    struct registrar *r;
    size_t len;
    uint8_t text[];
};

static uint64_t now_of(const struct registrar *r)
{
    return worker_now(r->loop);
}

static void say(struct registrar *r, bool urgent)
{
    uint64_t now = now_of(r);

    r->record.epoch = r->epoch;
    r->record.load = r->conf.load(r->conf.arg, now);
    r->record.draining = r->draining;
    if (enroll_say(&r->enroll, &r->record, urgent, now) != 0)
        log_error("cluster",
                  "this node's record is longer than %d bytes: fewer addresses are "
                  "needed",
                  NODE_RECORD_TEXT_MAX);
}

/* Takes over what the text says; the epoch in it is of no meaning. */
static bool take(struct registrar *r, struct slice text)
{
    memcpy(r->text, text.p, text.len);
    return node_record_decode(&r->record, r->conf.kind, slice_of(r->text, text.len)) == 0;
}

static bool put_text(uint8_t text[NODE_RECORD_TEXT_MAX], size_t *len,
                     const struct node_record *what)
{
    struct wr w = wr_init(text, NODE_RECORD_TEXT_MAX);
    struct node_record copy = *what;

    copy.epoch = 1;
    node_record_encode(&w, &copy);
    *len = wr_done(&w).len;
    return !w.bad;
}

/* ---- in the thread ---- */

static void arm(struct registrar *r)
{
    uint64_t at = enroll_deadline(&r->enroll), latest = now_of(r) + LOOK_US;

    worker_timer(r->loop, &r->tick, at < latest ? at : latest);
}

static void on_tick(void *arg, uint64_t now_us)
{
    struct registrar *r = arg;

    if (r->stop_us && (enroll_is_left(&r->enroll) || now_us >= r->stop_us))
        worker_stop(r->loop);
    if (now_us >= enroll_deadline(&r->enroll)) {
        say(r, false);
        enroll_tick(&r->enroll, now_us);
    }
    arm(r);
}

static void on_up(void *arg, uint64_t now_us)
{
    struct registrar *r = arg;

    say(r, false);
    enroll_up(&r->enroll, now_us);
}

static void on_lost(void *arg)
{
    struct registrar *r = arg;

    log_error("cluster",
              "another process has registered as %.*s: give each node a name of its own, and start "
              "this one again",
              SLICE_FMT(r->conf.name));
}

static void on_change(void *arg, uint64_t now_us)
{
    struct change *c = arg;
    struct registrar *r = c->r;

    (void)now_us;
    if (take(r, slice_of(c->text, c->len)))
        say(r, true);
    mem_free(c);
}

static void on_drain(void *arg, uint64_t now_us)
{
    struct registrar *r = arg;

    (void)now_us;
    r->draining = true;
    say(r, true);
}

static void on_publish(void *arg, uint64_t now_us)
{
    struct publication *p = arg;
    struct registrar *r = p->r;
    const struct slice words[] = {SLICE_LIT("SPUBLISH"), slice_of(r->channel, r->channel_len),
                                  slice_of(p->text, p->len)};

    __atomic_fetch_sub(&r->posted, 1, __ATOMIC_RELAXED);
    if (redis_client_ready(redis_link_client(r->link))) /* else nobody would hear it in time */
        (void)redis_client_call(redis_link_client(r->link), NULL, words, ARRAY_LEN(words), now_us);
    mem_free(p);
}

static void on_stop(void *arg, uint64_t now_us)
{
    struct registrar *r = arg;

    enroll_leave(&r->enroll, now_us);
    r->stop_us = now_us + STOP_US;
    worker_timer(r->loop, &r->tick, now_us);
}

/* ---- life ---- */

static bool make(struct registrar *r, char err[REGISTRAR_ERR_MAX])
{
    static const struct redis_client_ops ops = {.up = on_up};
    const struct redis_options *o = r->conf.redis;
    struct redis_link_conf link = {.name = "cluster", .tls_name = o->tls_name};

    r->loop = worker_new(0);
    r->resolver = r->loop ? resolver_new(r->loop) : NULL;
    if (!r->resolver)
        return false;
    if (o->tls) {
        r->tls = tls_client_ctx_new(o->ca_file, o->cert_file, o->key_file, NULL, err);
        if (!r->tls)
            return false;
    }
    link.resolver = r->resolver;
    link.tls = r->tls;
    redis_options_client(o, r->at, &link.client);
    link.client.scripts = node_record_scripts;
    link.client.scripts_n = NODE_SCRIPTS;
    r->link = redis_link_new(r->loop, &link, &ops, r);
    return r->link != NULL;
}

static void registrar_free(struct registrar *r)
{
    if (r->link)
        enroll_fini(&r->enroll);
    redis_link_free(r->link);
    tls_ctx_free(r->tls);
    resolver_free(r->resolver);
    worker_free(r->loop);
    mem_free(r);
}

struct registrar *registrar_start(const struct registrar_conf *conf, const struct node_record *what,
                                  char err[REGISTRAR_ERR_MAX])
{
    struct registrar *r = mem_zalloc(sizeof(*r));
    size_t len;

    snprintf(err, REGISTRAR_ERR_MAX, "[cluster]: out of memory or threads");
    if (!r)
        return NULL;
    r->conf = *conf;
    r->tick = (struct wtimer){.fn = on_tick, .arg = r};
    while (r->epoch == 0)
        rand_bytes(&r->epoch, sizeof(r->epoch));
    if (!make(r, err))
        goto fail;
    const struct enroll_conf enroll = {.prefix = slice_str(conf->redis->key_prefix),
                                       .name = conf->name,
                                       .kind = conf->kind,
                                       .lease_us = conf->redis->lease_s * US_PER_S};
    struct wr channel = wr_init(r->channel, sizeof(r->channel));
    node_record_media_channel(&channel, enroll.prefix);
    r->channel_len = wr_done(&channel).len;
    enroll_init(&r->enroll, &enroll, redis_link_client(r->link), on_lost, r);
    uint8_t text[NODE_RECORD_TEXT_MAX];
    if (!put_text(text, &len, what) || !take(r, slice_of(text, len))) {
        snprintf(err, REGISTRAR_ERR_MAX,
                 "[cluster]: this node's addresses do not fit a record of %d bytes and %d of them",
                 NODE_RECORD_TEXT_MAX, NODE_RECORD_AT_MAX);
        goto fail;
    }
    worker_timer(r->loop, &r->tick, 0);
    if (worker_start(r->loop, "cluster") == 0)
        return r;
fail:
    registrar_free(r);
    return NULL;
}

void registrar_change(struct registrar *r, const struct node_record *what)
{
    struct change *c = mem_zalloc(sizeof(*c));

    if (!c)
        return;
    c->r = r;
    if (!put_text(c->text, &c->len, what) || worker_post(r->loop, on_change, c) != 0)
        mem_free(c);
}

void registrar_publish(struct registrar *r, struct slice text)
{
    struct publication *p = NULL;

    if (__atomic_load_n(&r->posted, __ATOMIC_RELAXED) < POSTED_MAX)
        p = mem_zalloc(sizeof(*p) + text.len);
    if (!p)
        return;
    p->r = r;
    p->len = text.len;
    memcpy(p->text, text.p, text.len);
    __atomic_fetch_add(&r->posted, 1, __ATOMIC_RELAXED);
    if (worker_post(r->loop, on_publish, p) == 0)
        return;
    __atomic_fetch_sub(&r->posted, 1, __ATOMIC_RELAXED);
    mem_free(p);
}

void registrar_drain(struct registrar *r)
{
    if (r && worker_post(r->loop, on_drain, r) != 0)
        log_warn("cluster", "out of memory: sori-servers are not told of the drain");
}

void registrar_stop(struct registrar *r)
{
    if (!r)
        return;
    while (worker_post(r->loop, on_stop, r) != 0)
        continue; /* nothing can go on without: memory comes back */
    worker_join(r->loop);
    while (worker_settle(r->loop))
        continue;
    registrar_free(r);
}

const struct enroll_counters *registrar_count(const struct registrar *r)
{
    return &r->enroll.count;
}
