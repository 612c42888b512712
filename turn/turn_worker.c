/* One worker of the relay: the core and the sockets around it, on one thread.
 *
 * Made by turn_node.c, before the threads run. Nothing is shared with other workers but
 * struct turn_shared; new credentials and certificates come through the loop's mailbox.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_worker.h"

#include <errno.h>
#include <pthread.h>

#include "base/crypto.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/registrar.h"
#include "net/tls.h"
#include "turn/forward.h"
#include "turn/relay_sock.h"
#include "turn/tcp_data_sock.h"
#include "turn/tcp_relay_sock.h"
#include "turn/turn_dtls_listener.h"
#include "turn/turn_redis_link.h"
#include "turn/turn_tcp_listener.h"
#include "turn/turn_udp_listener.h"
#include "turn/usage_writer.h"

#define IO_SLOTS      512 /* reads in flight */
#define RELAYS_EXPECT 256 /* relay sockets; the table grows */

#define REPORTS 16 /* looks at what is due per usage_interval */

/* What another thread wants done here, and waits for. */
struct call {
    struct turn_worker *w;
    turn_worker_fn *fn;
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done;
};

/* What a reload brings. */
struct renewal {
    struct turn_worker *w;
    struct credentials *creds;
    struct tls_ctx *tls;
};

static void on_tick(void *arg, uint64_t now_us)
{
    struct turn_worker *w = arg;

    w->core.wall_offset_us = clock_wall_us() - now_us;
    turn_core_tick(&w->core, now_us);
    worker_timer(w->loop, &w->tick, turn_core_deadline(&w->core, now_us));
}

static int on_open(void *arg, struct alloc *a, const struct addr *at)
{
    return a->tcp ? tcp_relay_sock_open(arg, a, at) : relay_sock_open(arg, a, at);
}

static void on_close(void *arg, struct alloc *a)
{
    if (a->tcp)
        tcp_relay_sock_close(arg, a);
    else
        relay_sock_close(arg, a);
}

static int on_connect(void *arg, struct peer_conn *p)
{
    return tcp_relay_sock_connect(arg, p);
}

static void on_disconnect(void *arg, struct peer_conn *p)
{
    tcp_relay_sock_disconnect(arg, p);
}

static int on_tell(void *arg, const struct alloc *a, struct slice msg)
{
    (void)arg;
    return turn_tcp_listener_tell(a->link, msg);
}

/* As JSON, to whoever wants it so. */
static void hand_out_record(struct turn_worker *w, const struct alloc *a, const char *why,
                            uint64_t now_us)
{
    bool publish = w->redis && w->conf->redis_usage != TURN_REDIS_USAGE_OFF;
    uint8_t text[USAGE_TEXT_MAX];
    struct wr json = wr_init(text, sizeof(text));

    if (!publish && !w->writer)
        return;
    const struct usage_stamp stamp = {.boot = w->boot,
                                      .id = ++w->records,
                                      .now_us = now_us,
                                      .wall_us = now_us + w->core.wall_offset_us,
                                      .node = slice_str(w->conf->usage_node),
                                      .region = slice_str(w->conf->usage_region)};

    usage_json(&json, a, realm_name(&w->core.shared->realms, a->realm),
               (enum usage_user)w->conf->log_users, why, &stamp);
    if (!json.bad && publish)
        turn_redis_link_record(w->redis, wr_done(&json));
    if (!json.bad && w->writer)
        usage_writer_record(w->writer, wr_done(&json));
}

static void write_record(struct turn_worker *w, const struct alloc *a, const char *why,
                         uint64_t now_us)
{
    uint8_t text[USAGE_TEXT_MAX];
    struct wr line = wr_init(text, sizeof(text));

    hand_out_record(w, a, why, now_us);
    if (!log_enabled(LOG_INFO) || w->conf->log_usage == TURN_LOG_USAGE_OFF ||
        (!why && w->conf->log_usage == TURN_LOG_USAGE_ENDED))
        return;
    usage_format(&line, a, realm_name(&w->core.shared->realms, a->realm),
                 (enum usage_user)w->conf->log_users, why, now_us);
    log_info("usage", "%.*s", SLICE_FMT(wr_done(&line)));
}

/* Ends an interval of a's media, and tells of it. */
static void hand_out_media(struct turn_worker *w, const struct alloc *a, uint64_t now_us)
{
    uint8_t text[USAGE_TEXT_MAX];
    struct wr json = wr_init(text, sizeof(text));
    struct media_report media;

    if (a->flows)
        media_quality_blind(a->media);
    if (!media_quality_next(a->media, now_us, &media))
        return;
    for (unsigned i = 0; i < MEDIA_WAYS; i++) {
        counter_add(&w->core.metrics.media_expected[i], media.leg[i].voice.expected);
        counter_add(&w->core.metrics.media_lost[i], media.leg[i].voice.lost);
    }
    if (!w->registrar)
        return;
    const struct usage_stamp stamp = {.boot = w->boot, .node = slice_str(w->conf->usage_node)};
    usage_media_json(&json, a, &media, &stamp);
    if (!json.bad)
        registrar_publish(w->registrar, wr_done(&json));
}

static struct media_quality *first_media(const struct turn_worker *w)
{
    return list_empty(&w->core.media)
               ? NULL
               : CONTAINER_OF(list_first(&w->core.media), struct media_quality, due);
}

static void on_media(void *arg, uint64_t now_us)
{
    struct turn_worker *w = arg;
    uint64_t interval_us = w->conf->media_interval_s * US_PER_S;
    struct media_quality *m;

    while ((m = first_media(w)) && m->since_us + interval_us <= now_us) {
        list_del(&m->due);
        list_append(&w->core.media, &m->due);
        hand_out_media(w, m->owner, now_us);
    }
    /* Whoever comes meanwhile is due later. */
    worker_timer(w->loop, &w->media, (m ? m->since_us : now_us) + interval_us);
}

static int on_look_up(void *arg, unsigned realm, struct slice name)
{
    const struct turn_worker *w = arg;

    return turn_redis_link_ask(w->redis, worker_index(w->loop), realm, name);
}

static void on_ended(void *arg, const struct alloc *a, const char *why, uint64_t now_us)
{
    if (a->media)
        hand_out_media(arg, a, now_us);
    write_record(arg, a, why, now_us);
}

static void on_due(void *arg, const struct alloc *a)
{
    struct turn_worker *w = arg;

    write_record(w, a, NULL, worker_now(w->loop));
}

static void on_report(void *arg, uint64_t now_us)
{
    struct turn_worker *w = arg;
    uint64_t interval_us = w->conf->usage_interval_s * US_PER_S;

    usage_due(&w->core.allocs, interval_us, now_us, on_due, w);
    worker_timer(w->loop, &w->report, now_us + interval_us / REPORTS);
}

static void on_left(void *arg, unsigned worker, const struct five_tuple *tuple, uint32_t seq)
{
    forward_left(arg, worker, tuple, seq);
}

static void on_offload(void *arg, struct alloc *a, bool alive)
{
    struct turn_worker *w = arg;

    offload_update(&w->offload, a, alive);
}

static const struct relay_ops ops = {
    .open = on_open,
    .close = on_close,
    .connect = on_connect,
    .disconnect = on_disconnect,
    .tell = on_tell,
    .left = on_left,
    .ended = on_ended,
    .offload = on_offload,
    .look_up = on_look_up,
};

static int failed(char err[CONF_ERR_MAX], const char *what, const struct addr *at, int err_no)
{
    char text[ADDR_TEXT_MAX];

    snprintf(err, CONF_ERR_MAX, "%s %s: %s", what, addr_format(at, text), strerror(-err_no));
    return err_no;
}

static int listen_udp(struct turn_worker *w, uint16_t *number, char err[CONF_ERR_MAX])
{
    const struct turn_conf *c = w->conf;

    for (size_t i = 0; i < c->n_udp; i++) {
        int e = turn_udp_listener_new(&w->udp[i], w, &c->listen_udp[i], (*number)++);
        if (e)
            return failed(err, "[turn] listen_udp", &c->listen_udp[i], e);
        w->n_udp++;
    }
    return 0;
}

static int listen_streams(struct turn_worker *w, const struct addr *v, size_t n,
                          enum five_tuple_transport transport, uint16_t *number,
                          char err[CONF_ERR_MAX])
{
    for (size_t i = 0; i < n; i++) {
        int e = turn_tcp_listener_new(&w->tcp[w->n_tcp], w, &v[i], transport, (*number)++);
        if (e)
            return failed(err,
                          transport == FIVE_TUPLE_TLS ? "[turn] listen_tls" : "[turn] listen_tcp",
                          &v[i], e);
        w->n_tcp++;
    }
    return 0;
}

struct tls_ctx *turn_worker_tls(const struct turn_conf *conf, char *err)
{
    struct tls_ctx *t = (turn_conf_wants_dtls(conf) ? tls_ctx_new_with_dtls : tls_ctx_new)(
        conf->certs[0].cert, conf->certs[0].key, TURN_ALPN, err);

    for (size_t i = 1; t && i < conf->n_certs; i++) {
        if (tls_ctx_add(t, conf->certs[i].cert, conf->certs[i].key, err) != 0) {
            tls_ctx_free(t);
            return NULL;
        }
    }
    return t;
}

static int open_listeners(struct turn_worker *w, char err[CONF_ERR_MAX])
{
    const struct turn_conf *c = w->conf;
    uint16_t number = 0;

    if (turn_conf_wants_tls(c)) {
        char why[TLS_ERR_MAX];
        w->tls = turn_worker_tls(c, why);
        if (!w->tls) {
            snprintf(err, CONF_ERR_MAX, "[tls] %s", why);
            return -EINVAL;
        }
    }
    if (c->n_tcp + c->n_tls > 0 || turn_conf_wants_dtls(c)) {
        w->connects = source_limit_new((unsigned)c->source_entries, turn_conf_connects(c));
        if (!w->connects)
            return -ENOMEM;
    }
    int e = turn_conf_wants_dtls(c) ? turn_dtls_listener_new(&w->dtls, w) : 0;
    if (!e)
        e = listen_udp(w, &number, err);
    if (!e)
        e = listen_streams(w, c->listen_tcp, c->n_tcp, FIVE_TUPLE_TCP, &number, err);
    if (!e)
        e = listen_streams(w, c->listen_tls, c->n_tls, FIVE_TUPLE_TLS, &number, err);
    return e;
}

static int open_io(struct turn_worker *w, char err[CONF_ERR_MAX])
{
    static const enum udp_backend_wish wish[] = {UDP_AUTO, UDP_EPOLL, UDP_URING};
    const struct udp_io_conf conf = {
        .backend = wish[w->conf->io],
        .slots = IO_SLOTS,
        .slot_bytes = UDP_DATAGRAM_MAX,
    };

    worker_coalesce(w->loop, w->conf->coalesce_us);
    worker_measure(w->loop, &w->busy);
    w->io = udp_io_new(w->loop, &conf, w->io_why);
    if (w->io)
        return 0;
    snprintf(err, CONF_ERR_MAX, "[turn] io: %s", w->io_why);
    return -ENOSYS;
}

struct turn_worker *turn_worker_new(unsigned index, const struct turn_conf *conf,
                                    struct turn_shared *shared, struct credentials *creds,
                                    struct turn_redis_link *redis, struct usage_writer *writer,
                                    struct offload *offload, char err[CONF_ERR_MAX])
{
    struct turn_worker *w = mem_zalloc(sizeof(*w));

    snprintf(err, CONF_ERR_MAX, "out of memory or descriptors");
    if (w)
        w->loop = worker_new(index);
    if (!w || !w->loop) {
        credentials_free(creds);
        goto fail;
    }
    w->conf = conf;
    w->redis = redis;
    w->writer = writer;
    rand_bytes(&w->boot, sizeof(w->boot));
    w->report = (struct wtimer){.fn = on_report, .arg = w};
    w->tick = (struct wtimer){.fn = on_tick, .arg = w};
    w->media = (struct wtimer){.fn = on_media, .arg = w};
    if (turn_core_init(&w->core, shared, creds, &ops, w, worker_now(w->loop)) != 0)
        goto fail;
    w->core.worker = index;
    if (offload_worker_init(&w->offload, offload, w) != 0)
        goto fail;
    if (htable_init(&w->data_conns, 1) != 0)
        goto fail;
    if (conf->tcp_allocations) {
        w->tcp_buf = mem_realloc(NULL, (size_t)conf->tcp_buffer_bytes);
        if (!w->tcp_buf)
            goto fail;
    }
    const struct key_cache_conf cache = turn_conf_key_cache(conf);
    if (conf->redis_users &&
        turn_core_expect_users(&w->core, &cache, (unsigned)conf->redis_held) != 0)
        goto fail;
    if (open_io(w, err) != 0 || htable_init(&w->relays, RELAYS_EXPECT) != 0 ||
        open_listeners(w, err) != 0)
        goto fail;
    on_tick(w, worker_now(w->loop));
    if (conf->usage_interval_s > 0)
        on_report(w, worker_now(w->loop));
    if (conf->media_quality)
        on_media(w, worker_now(w->loop));
    return w;
fail:
    turn_worker_free(w);
    return NULL;
}

void turn_worker_free(struct turn_worker *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n_tcp; i++)
        turn_tcp_listener_free(w->tcp[i]);
    turn_dtls_listener_free(w->dtls);
    tcp_data_sock_end_all(w);
    if (w->loop)
        turn_core_fini(&w->core, worker_now(w->loop));
    offload_worker_fini(&w->offload);
    for (size_t i = 0; i < w->n_udp; i++)
        turn_udp_listener_free(w->udp[i]);
    tls_ctx_free(w->tls);
    source_limit_free(w->connects);
    udp_io_free(w->io);
    htable_fini(&w->relays);
    htable_fini(&w->data_conns);
    mem_free(w->tcp_buf);
    handover_close(w);
    worker_free(w->loop);
    mem_free(w);
}

static void on_renewal(void *arg, uint64_t now_us)
{
    struct renewal *r = arg;

    (void)now_us;
    turn_core_reload(&r->w->core, r->creds);
    if (r->tls) {
        tls_ctx_free(r->w->tls);
        r->w->tls = r->tls;
    }
    mem_free(r);
}

int turn_worker_reload(struct turn_worker *w, struct credentials *creds, struct tls_ctx *tls)
{
    struct renewal *r = mem_zalloc(sizeof(*r));

    if (r)
        *r = (struct renewal){w, creds, tls};
    if (r && worker_post(w->loop, on_renewal, r) == 0)
        return 0;
    mem_free(r);
    credentials_free(creds);
    tls_ctx_free(tls);
    return -ENOMEM;
}

/* An answer on its way to a worker. */
struct knowledge {
    struct turn_worker *w;
    unsigned realm;
    bool failed, has_keys;
    struct known_keys keys;
    size_t len;
    uint8_t name[];
};

static void on_known(void *arg, uint64_t now_us)
{
    struct knowledge *k = arg;
    struct turn_core *c = &k->w->core;
    struct slice name = slice_of(k->name, k->len);

    turn_core_known(c, k->realm, name, k->failed, k->has_keys ? &k->keys : NULL, now_us);
    struct held *h;
    /* At most what waits now: one that must ask again waits for the next answer. */
    for (unsigned n = c->held.n; n > 0 && (h = held_take(&c->held, k->realm, name)); n--) {
        turn_tcp_listener_again(h->link, held_message(h));
        held_free(h);
    }
    crypto_wipe(&k->keys, sizeof(k->keys));
    mem_free(k);
}

void turn_worker_known(struct turn_worker *w, unsigned realm, struct slice name, bool failed,
                       const struct known_keys *keys)
{
    struct knowledge *k = mem_zalloc(sizeof(*k) + name.len);

    if (!k)
        return; /* the question is given up when its time is over */
    *k = (struct knowledge){.w = w, .realm = realm, .failed = failed, .has_keys = keys != NULL};
    if (keys)
        k->keys = *keys;
    k->len = name.len;
    struct wr to = wr_init(k->name, name.len);
    wr_bytes(&to, name);
    if (worker_post(w->loop, on_known, k) == 0)
        return;
    crypto_wipe(&k->keys, sizeof(k->keys));
    mem_free(k);
}

static void on_forget(void *arg, uint64_t now_us)
{
    struct turn_worker *w = arg;

    (void)now_us;
    if (w->core.keys)
        key_cache_expire(w->core.keys);
}

void turn_worker_forget_users(struct turn_worker *w)
{
    (void)worker_post(w->loop, on_forget, w); /* without memory they are forgotten in their time */
}

static void on_call(void *arg, uint64_t now_us)
{
    struct call *c = arg;

    c->fn(c->w, c->arg, now_us);
    pthread_mutex_lock(&c->lock);
    c->done = true;
    pthread_cond_signal(&c->ended);
    pthread_mutex_unlock(&c->lock); /* c is its caller's again, who frees it */
}

int turn_worker_call(struct turn_worker *w, turn_worker_fn *fn, void *arg)
{
    struct call c = {.w = w, .fn = fn, .arg = arg};

    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.ended, NULL);
    int err = worker_post(w->loop, on_call, &c);
    pthread_mutex_lock(&c.lock);
    while (!err && !c.done)
        pthread_cond_wait(&c.ended, &c.lock);
    pthread_mutex_unlock(&c.lock);
    pthread_cond_destroy(&c.ended);
    pthread_mutex_destroy(&c.lock);
    return err;
}

void turn_worker_to_client(struct turn_worker *w, const struct alloc *a,
                           const struct relay_to_client *out)
{
    if (a->tuple.transport != FIVE_TUPLE_UDP && a->at != w->core.worker)
        forward_to_client(w, a, out);
    else if (alloc_is_lost(a))
        turn_metrics_drop(&w->core.metrics, TURN_DROP_CLIENT_QUEUE);
    else if (five_tuple_is_stream(&a->tuple))
        turn_tcp_listener_send(a->link, out);
    else if (a->tuple.transport == FIVE_TUPLE_DTLS)
        turn_dtls_listener_send(a->link, out);
    else
        turn_udp_listener_send(w->udp[a->tuple.listener],
                               a->via.family == ADDR_NONE ? &a->tuple.client : &a->via, out);
}
