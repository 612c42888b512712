/* DTLS clients of a worker: cookies, associations, deadlines.
 *
 * Called by turn_udp_listener.c with every datagram that begins like DTLS, and by the worker's
 * timers. A shell: dispatch.c decides what a message means. The life of an association:
 *
 *     ClientHello without a good cookie ──► HelloVerifyRequest, nothing is kept
 *     ClientHello with one ─begin()─► HALF-OPEN ─opened()─► OPEN ─end()─► gone
 *                                         └── end(): failed, or handshake_timeout
 *
 * Nothing is allocated before the client has shown by a cookie that it receives at its address. A
 * client that begins anew from the same address and port replaces its old association only after
 * its new cookie was good (RFC 6347 §4.2.8). An open one lives like a connection: idle_timeout
 * without an allocation, and that long after its allocation's last second.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_dtls_listener.h"

#include <errno.h>

#include "base/mem.h"
#include "net/dtls.h"
#include "proto/dtls_cookie.h"
#include "turn/dispatch.h"
#include "turn/forward.h"
#include "turn/relay_sock.h"
#include "turn/turn_udp_listener.h"

#define ASSOCS_EXPECT   64 /* the table grows */
#define BEGINS_PER_TURN 16 /* handshakes begun in one loop turn: calls that run must not wait */
#define VERIFY_MAX      64 /* bytes of a HelloVerifyRequest */
/* Datagrams of a handshake with records of the next epoch: OpenSSL keeps what it can't read yet, a
 * hundred records of 17 kB. An honest client sends one, and again when it was lost. */
#define EARLY_MAX 8

struct turn_dtls_listener {
    struct turn_worker *w;
    struct htable assocs; /* by key */
    struct dtls_cookie_keys cookies;
    uint64_t turn_us; /* the loop turn that `begun` counts */
    unsigned begun, half_open;
    uint8_t joined[UDP_HEAD_MAX + DTLS_RECORD_MAX]; /* head and payload, for one record */
};

struct assoc {
    struct hnode node;
    struct five_tuple key;   /* the client's, before it has named a host */
    struct five_tuple tuple; /* the same with that host */
    struct addr via;         /* the proxy that its datagrams come through, or ADDR_NONE */
    struct turn_dtls_listener *l;
    struct dtls *dtls;
    struct wtimer timer;
    uint64_t until_us; /* end of the handshake's time, or of the idle one */
    uint8_t random[DTLS_HELLO_RANDOM_BYTES];
    uint8_t early; /* datagrams so far with what cannot be read before it is open */
    bool open;
    bool allocated; /* had an allocation when last seen */
};

static void drop(struct turn_dtls_listener *l, enum turn_drop why)
{
    turn_metrics_drop(&l->w->core.metrics, why);
}

/* ---- associations ---- */

static struct assoc *find(const struct turn_dtls_listener *l, const struct five_tuple *client)
{
    struct hnode *n = htable_first(&l->assocs, five_tuple_hash(client));

    for (; n; n = htable_next(n)) {
        struct assoc *a = CONTAINER_OF(n, struct assoc, node);
        if (five_tuple_eq(&a->key, client))
            return a;
    }
    return NULL;
}

static void send_dgram(struct turn_worker *w, const struct five_tuple *client,
                       const struct addr *via, struct slice bytes)
{
    struct udp_sock *s = turn_udp_listener_sock(w->udp[client->listener]);
    const struct addr *to = via->family == ADDR_NONE ? &client->client : via;

    if (bytes.len <= UDP_COPY_MAX) {
        udp_send_copy(s, to, bytes);
    } else {
        const struct udp_out dgram = {.to = to, .body = bytes};
        udp_send(s, &dgram);
        udp_push(w->io); /* bytes are OpenSSL's */
    }
}

static void on_dgram(void *arg, struct slice datagram)
{
    const struct assoc *a = arg;

    send_dgram(a->l->w, &a->tuple, &a->via, datagram);
}

static void half_open_count(struct turn_dtls_listener *l, int change)
{
    struct counter *gauge = &l->w->core.metrics.dtls_half_open;

    l->half_open += (unsigned)change;
    counter_add(gauge, (uint64_t)(int64_t)change);
}

static void rearm(struct assoc *a)
{
    struct worker *loop = a->l->w->loop;
    uint64_t again_us = a->open ? CLOCK_NEVER : dtls_deadline(a->dtls, worker_now(loop));

    worker_timer(loop, &a->timer, again_us < a->until_us ? again_us : a->until_us);
}

static void end(struct assoc *a)
{
    struct turn_dtls_listener *l = a->l;
    struct turn_worker *w = l->w;

    turn_core_client_gone(&w->core, &a->tuple, worker_now(w->loop));
    forward_gone(w, &a->tuple);
    if (a->open) {
        dtls_shutdown(a->dtls);
    } else {
        half_open_count(l, -1);
        counter_inc(&w->core.metrics.dtls_failed);
    }
    counter_sub(&w->core.metrics.dtls_associations, 1);
    worker_timer_cancel(w->loop, &a->timer);
    htable_del(&l->assocs, &a->node);
    dtls_free(a->dtls);
    mem_free(a);
}

static void on_timer(void *arg, uint64_t now_us)
{
    struct assoc *a = arg;

    if (now_us >= a->until_us || (!a->open && dtls_tick(a->dtls) != 0))
        end(a);
    else
        rearm(a);
}

static void opened(struct assoc *a)
{
    struct turn_worker *w = a->l->w;

    a->open = true;
    a->tuple.host = realm_host(&w->core.shared->realms, dtls_host(a->dtls));
    a->until_us = worker_now(w->loop) + w->conf->idle_s * US_PER_S;
    half_open_count(a->l, -1);
    counter_inc(&w->core.metrics.dtls_made);
}

/* After each answer, as for a connection: see move_deadline() in turn_tcp_listener.c. */
static void move_deadline(struct assoc *a, uint64_t now_us)
{
    const struct turn_worker *w = a->l->w;
    const struct alloc *has = alloc_find(&w->core.allocs, &a->tuple);

    if (has || a->allocated)
        a->until_us = (has ? has->timer.deadline_us : now_us) + w->conf->idle_s * US_PER_S;
    a->allocated = has != NULL;
}

/* ---- messages ---- */

static void send_message(struct assoc *a, struct slice message)
{
    int err = dtls_write(a->dtls, message);

    if (err)
        drop(a->l, err == -EMSGSIZE ? TURN_DROP_TOO_LONG : TURN_DROP_NO_MEMORY);
}

static void take_message(struct assoc *a, struct slice message)
{
    struct turn_worker *w = a->l->w;
    uint64_t now_us = worker_now(w->loop);
    uint8_t buf[DISPATCH_ANSWER_MAX];
    struct wr answer = wr_init(buf, sizeof(buf));
    struct relay_to_peer out;

    switch (dispatch_client(&w->core, &a->tuple, a, message, now_us, &answer, &out)) {
    case DISPATCH_RELAY:
        relay_sock_send(w, &out);
        break;
    case DISPATCH_ANSWER:
        move_deadline(a, now_us);
        send_message(a, wr_done(&answer));
        break;
    case DISPATCH_FORWARD:
        forward_message(w, &a->tuple, message);
        a->until_us = now_us + w->core.shared->limits.max_lifetime_s * US_PER_S + GUEST_US;
        break;
    case DISPATCH_ANSWER_ELSEWHERE: /* UDP only */
    case DISPATCH_LATER:
    case DISPATCH_BIND: /* TCP and TLS only */
    case DISPATCH_DROP:
        break;
    }
}

/* Takes what is in the datagram that a has been shown: plaintext goes where the datagram was, which
 * is longer. Ends a when it is over. */
static void take_records(struct assoc *a, const struct udp_msg *m)
{
    bool data = dtls_hello_is_data(m->p[0]), any = false;
    size_t at = 0;
    int n;

    while ((n = dtls_read(a->dtls, m->p + at, m->len - at)) > 0 || n == -EMSGSIZE) {
        if (!a->open)
            opened(a);
        any = true;
        a->via = a->l->w->core.via;
        if (n < 0) {
            drop(a->l, TURN_DROP_TOO_LONG);
            continue;
        }
        take_message(a, slice_of(m->p + at, (size_t)n));
        at += (size_t)n;
    }
    if (n != -EAGAIN) {
        end(a);
        return;
    }
    if (!a->open && dtls_is_open(a->dtls))
        opened(a);
    if (data && !any)
        drop(a->l, TURN_DROP_DTLS_RECORD);
    rearm(a);
}

/* False when a, half open, has been sent too much that it can only keep. */
static bool may_feed(struct assoc *a, struct slice dgram)
{
    if (a->open || dtls_hello_is_clear(dgram))
        return true;
    if (a->early == EARLY_MAX)
        return false;
    a->early++;
    return true;
}

static void feed(struct assoc *a, const struct udp_msg *m)
{
    if (!may_feed(a, slice_of(m->p, m->len))) {
        drop(a->l, TURN_DROP_DTLS_RECORD);
        return;
    }
    dtls_feed(a->dtls, slice_of(m->p, m->len));
    take_records(a, m);
}

/* ---- the beginning ---- */

/* Asks the client to come again with a cookie. */
static void verify(struct turn_dtls_listener *l, const struct five_tuple *client,
                   const struct dtls_hello *hello, uint64_t now_us)
{
    uint8_t cookie[DTLS_COOKIE_BYTES], buf[VERIFY_MAX];
    struct wr answer = wr_init(buf, sizeof(buf));

    if (!source_limit_take(l->w->core.sources, &client->client, now_us)) {
        drop(l, TURN_DROP_SOURCE_LIMIT);
        return;
    }
    if (dtls_cookie_make(&l->cookies, five_tuple_bytes(client), hello->random, now_us, cookie)) {
        drop(l, TURN_DROP_NO_MEMORY);
        return;
    }
    dtls_hello_put_verify(&answer, hello, slice_of(cookie, sizeof(cookie)));
    send_dgram(l->w, client, &l->w->core.via, wr_done(&answer));
}

/* True when one more association may begin now; `replaced` is one that would make room. */
static bool may_begin(struct turn_dtls_listener *l, const struct five_tuple *client,
                      const struct assoc *replaced, uint64_t now_us)
{
    const struct turn_conf *c = l->w->conf;
    unsigned half_open = l->half_open - (replaced && !replaced->open);
    size_t count = l->assocs.count - (replaced != NULL);

    if (l->turn_us != now_us) {
        l->turn_us = now_us;
        l->begun = 0;
    }
    if (half_open >= c->dtls_half_open)
        drop(l, TURN_DROP_DTLS_HALF_OPEN);
    else if (count >= c->dtls_associations)
        drop(l, TURN_DROP_DTLS_FULL);
    else if (l->begun >= BEGINS_PER_TURN)
        drop(l, TURN_DROP_DTLS_BUSY);
    else if (!source_limit_take(l->w->connects, &client->client, now_us))
        counter_inc(&l->w->core.metrics.refused[TURN_REFUSED_RATE]);
    else
        return true;
    return false;
}

static void begin(struct turn_dtls_listener *l, const struct five_tuple *client,
                  const struct dtls_hello *hello, const struct udp_msg *m, uint64_t now_us)
{
    struct turn_worker *w = l->w;
    struct assoc *a = mem_zalloc(sizeof(*a));

    if (a) {
        *a = (struct assoc){.l = l, .key = *client, .tuple = *client, .via = w->core.via};
        a->dtls = dtls_new(w->tls, slice_of(m->p, m->len), on_dgram, a);
    }
    if (!a || !a->dtls) {
        drop(l, a ? TURN_DROP_DTLS_HELLO : TURN_DROP_NO_MEMORY);
        mem_free(a);
        return;
    }
    memcpy(a->random, hello->random.p, sizeof(a->random));
    a->timer = (struct wtimer){.fn = on_timer, .arg = a};
    a->until_us = now_us + w->conf->handshake_s * US_PER_S;
    htable_add(&l->assocs, &a->node, five_tuple_hash(client));
    counter_inc(&w->core.metrics.dtls_associations);
    half_open_count(l, 1);
    l->begun++;
    take_records(a, m);
}

static void take_hello(struct turn_dtls_listener *l, const struct five_tuple *client,
                       struct assoc *a, const struct udp_msg *m)
{
    uint64_t now_us = worker_now(l->w->loop);
    struct slice key = five_tuple_bytes(client);
    struct dtls_hello h;

    if (!client_policy_allows(&l->w->core.shared->clients, &client->client)) {
        drop(l, TURN_DROP_CLIENT_DENIED);
        return;
    }
    if (dtls_hello_decode(&h, slice_of(m->p, m->len)) != 0) {
        drop(l, TURN_DROP_DTLS_HELLO);
        return;
    }
    if (!dtls_cookie_is_valid(&l->cookies, h.cookie, key, h.random, now_us)) {
        if (h.cookie.len > 0)
            drop(l, TURN_DROP_DTLS_COOKIE);
        verify(l, client, &h, now_us);
        return;
    }
    if (a && slice_eq(h.random, slice_of(a->random, sizeof(a->random)))) {
        feed(a, m); /* the same one again: our answer was lost, or is under way */
        return;
    }
    if (!may_begin(l, client, a, now_us))
        return;
    if (a)
        end(a);
    begin(l, client, &h, m, now_us);
}

void turn_dtls_listener_take(struct turn_dtls_listener *l, const struct five_tuple *from,
                             const struct udp_msg *m)
{
    struct five_tuple client = *from;

    client.transport = FIVE_TUPLE_DTLS;
    struct assoc *a = find(l, &client);
    if (dtls_hello_is(slice_of(m->p, m->len)))
        take_hello(l, &client, a, m);
    else if (a)
        feed(a, m);
    else
        drop(l, TURN_DROP_DTLS_STRAY);
}

/* ---- the worker's side ---- */

int turn_dtls_listener_new(struct turn_dtls_listener **out, struct turn_worker *w)
{
    struct turn_dtls_listener *l = mem_zalloc(sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->w = w;
    if (dtls_cookie_init(&l->cookies, w->core.shared->cookie_master) != 0 ||
        htable_init(&l->assocs, ASSOCS_EXPECT) != 0) {
        turn_dtls_listener_free(l);
        return -ENOMEM;
    }
    *out = l;
    return 0;
}

void turn_dtls_listener_free(struct turn_dtls_listener *l)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;

    if (!l)
        return;
    while (l->assocs.count > 0 && (n = htable_walk(&l->assocs, &pos, &saved)))
        end(CONTAINER_OF(n, struct assoc, node));
    if (l->w->io)
        udp_push(l->w->io); /* the goodbyes */
    htable_fini(&l->assocs);
    dtls_cookie_fini(&l->cookies);
    mem_free(l);
}

void turn_dtls_listener_send(void *link, const struct relay_to_client *out)
{
    struct assoc *a = link;
    struct wr w = wr_init(a->l->joined, sizeof(a->l->joined));

    wr_bytes(&w, slice_of(out->head, out->head_len));
    wr_bytes(&w, out->payload);
    wr_zero(&w, out->pad);
    if (w.bad || w.len > DTLS_RECORD_MAX)
        drop(a->l, TURN_DROP_TOO_LONG);
    else
        send_message(a, wr_done(&w));
}

void turn_dtls_listener_left(void *link)
{
    struct assoc *a = link;

    a->until_us = worker_now(a->l->w->loop) + a->l->w->conf->idle_s * US_PER_S;
    rearm(a);
}
