/* One SFU node: opening, requests and their answers, events and their acknowledgement, liveness
 * (docs/CONTROL.md, the server's side).
 *
 * Called by node_link.c (bytes, time) and router_room.c (requests). Pure.
 *
 *     NODE_DOWN --node_opened--> NODE_OPENING --recv_challenge, recv_welcome--> NODE_READY
 *         ^----------------------node_closed---------------+--------------------'
 *
 * A request is one heap block: its frame and when it fails. The list is in order of ids, and since
 * all have the same time, in order of deadlines, too. SPDX-License-Identifier: BSD-3-Clause */
#include "server/node.h"

#include "base/list.h"
#include "base/mem.h"
#include "base/rand.h"

#include <assert.h>
#include <errno.h>

enum node_state { NODE_DOWN, NODE_OPENING, NODE_READY };

struct node_req {
    struct list link;
    uint64_t id, deadline_us;
    void *ctx;
    bool sent; /* on some connection: it may have been done */
    enum ctl_type type;
    size_t len;
    uint8_t frame[];
};

struct node {
    struct node_conf conf;
    const struct node_ops *ops;
    void *arg;
    const struct node_wire *wire_ops;
    void *wire;

    enum node_state state;
    const char *why;
    uint64_t sfu_epoch; /* as it was last seen; 0 = never */
    bool alive;         /* rooms may be there: seen, and not given up since */
    uint64_t opened_us, heard_us, said_us, lost_us;

    struct list requests; /* struct node_req */
    size_t requests_n;
    uint64_t next_id, hello_id;

    uint64_t last_seq; /* highest event handled */
    bool gap_ok;       /* the next event may skip numbers: some were lost, sync makes up for it */
    unsigned unacked;
    uint64_t ack_us; /* when to acknowledge */

    bool draining;
    unsigned load;
    struct node_counters count;

    uint8_t sfu_nonce[CTL_NONCE_BYTES], nonce[CTL_NONCE_BYTES];
    struct ctl_msg rx, tx;
    uint8_t out[CTL_HEADER_BYTES + CTL_MESSAGE_MAX];
    uint8_t scratch[CTL_MESSAGE_MAX + CTL_SCRATCH_SPARE];
    char names[]; /* name, region */
};

struct node *node_new(const struct node_conf *conf, const struct node_ops *ops, void *arg)
{
    struct node *n = mem_zalloc(sizeof(*n) + conf->name.len + conf->region.len);

    assert(conf->epoch > 0);
    if (!n)
        return NULL;
    n->conf = *conf;
    n->ops = ops;
    n->arg = arg;
    n->next_id = 1;
    n->ack_us = n->lost_us = CLOCK_NEVER;
    list_init(&n->requests);
    struct wr w = wr_init(n->names, conf->name.len + conf->region.len);
    wr_bytes(&w, conf->name);
    wr_bytes(&w, conf->region);
    n->conf.name = slice_of(n->names, conf->name.len);
    n->conf.region = slice_of(n->names + conf->name.len, conf->region.len);
    return n;
}

static struct node_req *first_request(const struct node *n)
{
    struct list *l = list_first(&n->requests);

    return l ? CONTAINER_OF(l, struct node_req, link) : NULL;
}

static void drop_request(struct node *n, struct node_req *q)
{
    list_del(&q->link);
    n->requests_n--;
    mem_free(q);
}

void node_free(struct node *n)
{
    struct node_req *q;

    if (!n)
        return;
    while ((q = first_request(n)))
        drop_request(n, q);
    mem_free(n);
}

/* ---- sending ---- */

static void send_bytes(struct node *n, struct slice frame, uint64_t now_us)
{
    n->said_us = now_us;
    n->wire_ops->send(n->wire, frame);
}

/* Encodes n->tx and sends it. */
static void send_tx(struct node *n, uint64_t now_us)
{
    struct wr w = wr_init(n->out, sizeof(n->out));

    ctl_encode(&w, &n->tx);
    assert(!w.bad); /* only messages of fixed size come this way */
    send_bytes(n, wr_done(&w), now_us);
}

static void send_request(struct node *n, struct node_req *q, uint64_t now_us)
{
    if (q->sent)
        counter_inc(&n->count.resent);
    q->sent = true;
    send_bytes(n, slice_of(q->frame, q->len), now_us);
}

static void send_ack(struct node *n, uint64_t now_us)
{
    n->unacked = 0;
    n->ack_us = CLOCK_NEVER;
    n->tx = (struct ctl_msg){.type = CTL_ACK, .kind = CTL_KIND_EVENT};
    n->tx.u.ack.upto = n->last_seq;
    send_tx(n, now_us);
}

int node_request(struct node *n, const struct ctl_msg *m, void *ctx, uint64_t now_us)
{
    struct wr w = wr_init(n->out, sizeof(n->out));

    if (n->state != NODE_READY && !n->alive)
        return -ENOTCONN;
    if (n->requests_n >= CTL_INFLIGHT_MAX)
        return -ENOSPC;
    n->tx = *m;
    n->tx.kind = CTL_KIND_REQUEST;
    n->tx.id = n->next_id;
    ctl_encode(&w, &n->tx);
    if (w.bad)
        return -EMSGSIZE;
    struct node_req *q = mem_zalloc(sizeof(*q) + w.len);
    if (!q)
        return -ENOMEM;
    q->id = n->next_id++;
    q->deadline_us = now_us + n->conf.request_us;
    q->ctx = ctx;
    q->type = m->type;
    q->len = w.len;
    memcpy(q->frame, w.base, w.len);
    list_append(&n->requests, &q->link);
    n->requests_n++;
    counter_inc(&n->count.requests);
    if (n->state == NODE_READY)
        send_request(n, q, now_us);
    return 0;
}

void node_sync_end(struct node *n, uint64_t now_us)
{
    /* Without memory the SFU keeps rooms that nobody names until its grace is over. */
    (void)node_request(n, &(struct ctl_msg){.type = CTL_SYNC_END}, NULL, now_us);
}

/* ---- requests that end ---- */

static void finish(struct node *n, struct node_req *q, const struct ctl_msg *m)
{
    void *ctx = q->ctx;

    drop_request(n, q);
    if (ctx)
        n->ops->answered(n->arg, n, ctx, m);
}

/* Fails what may have been done and was not answered; what was never sent still can be. */
static void fail_sent(struct node *n)
{
    LIST_EACH(l, tmp, &n->requests)
    {
        struct node_req *q = CONTAINER_OF(l, struct node_req, link);
        if (q->sent)
            finish(n, q, NULL);
    }
}

/* Answers may make new requests (a leave for a join that failed): only those of before end. */
static void fail_all(struct node *n)
{
    uint64_t before = n->next_id;
    struct node_req *q;

    while ((q = first_request(n)) && q->id < before)
        finish(n, q, NULL);
}

static struct node_req *find_request(const struct node *n, uint64_t id)
{
    LIST_EACH(l, tmp, &n->requests)
    {
        struct node_req *q = CONTAINER_OF(l, struct node_req, link);
        if (q->id >= id)
            return q->id == id ? q : NULL;
    }
    return NULL;
}

/* ---- opening ---- */

static long refuse(struct node *n, const char *why)
{
    n->why = why;
    return -EPROTO;
}

static struct ctl_proof proof_of(const struct node *n)
{
    return (struct ctl_proof){.sfu_nonce = n->sfu_nonce,
                              .server_nonce = n->nonce,
                              .server = n->conf.server,
                              .server_epoch = n->conf.epoch};
}

static int recv_challenge(struct node *n, uint64_t now_us)
{
    struct ctl_proof proof = proof_of(n);

    if (n->rx.type != CTL_CHALLENGE || n->hello_id > 0)
        return (int)refuse(n, "a challenge was expected");
    if (n->rx.u.challenge.version != CTL_VERSION)
        return (int)refuse(n, "it speaks another version of the control protocol");
    memcpy(n->sfu_nonce, n->rx.u.challenge.nonce, CTL_NONCE_BYTES);
    rand_bytes(n->nonce, sizeof(n->nonce));
    n->tx = (struct ctl_msg){.type = CTL_HELLO, .kind = CTL_KIND_REQUEST, .id = 1};
    n->hello_id = 1;
    n->tx.u.hello.version = CTL_VERSION;
    n->tx.u.hello.server = n->conf.server;
    n->tx.u.hello.epoch = n->conf.epoch;
    n->tx.u.hello.sfu_epoch = n->sfu_epoch;
    n->tx.u.hello.last_seq = n->last_seq;
    memcpy(n->tx.u.hello.nonce, n->nonce, CTL_NONCE_BYTES);
    if (ctl_mac(n->conf.secret, &proof, n->tx.u.hello.mac) != 0)
        return (int)refuse(n, "out of memory");
    send_tx(n, now_us);
    return 0;
}

static void came_up(struct node *n, bool same, bool kept, uint64_t now_us)
{
    if (same && !kept)
        fail_sent(n);
    n->state = NODE_READY;
    n->alive = true;
    n->lost_us = CLOCK_NEVER;
    counter_inc(&n->count.connects);
    LIST_EACH(l, tmp, &n->requests)
    send_request(n, CONTAINER_OF(l, struct node_req, link), now_us);
    n->ops->changed(n->arg, n, NODE_CAME);
}

/* Its reply to hello: is it one of ours, and does it remember? */
static int recv_welcome(struct node *n, uint64_t now_us)
{
    struct ctl_proof proof = proof_of(n);
    uint8_t mac[CTL_MAC_BYTES];
    uint64_t epoch = n->rx.u.welcome.epoch;
    bool same = epoch == n->sfu_epoch, kept = n->rx.u.welcome.resumed && !n->rx.u.welcome.lost;

    if (n->rx.type != CTL_HELLO || n->rx.id != n->hello_id || n->hello_id == 0)
        return (int)refuse(n, "an answer to hello was expected");
    if (n->rx.kind != CTL_KIND_REPLY)
        return (int)refuse(n, n->rx.u.error.code == CTL_ERR_UNAUTHORIZED
                                  ? "it refused hello: the secrets differ"
                                  : "it refused hello");
    proof.by_sfu = true;
    proof.node = n->rx.u.welcome.node;
    proof.sfu_epoch = epoch;
    if (ctl_mac(n->conf.secret, &proof, mac) != 0 ||
        !crypto_equal(slice_of(mac, sizeof(mac)), slice_of(n->rx.u.welcome.mac, CTL_MAC_BYTES)))
        return (int)refuse(n, "its proof is wrong: the secrets differ");
    n->draining = n->rx.u.welcome.draining;
    n->load = (unsigned)n->rx.u.welcome.load;
    if (!same || !n->rx.u.welcome.resumed)
        n->last_seq = 0;
    n->gap_ok = !kept || !same;
    bool forgot = !same && n->alive;
    n->sfu_epoch = epoch;
    if (!forgot) {
        came_up(n, same, kept, now_us);
        return 0;
    }
    n->state = NODE_READY;
    n->lost_us = CLOCK_NEVER;
    counter_inc(&n->count.connects);
    fail_all(n);
    n->ops->changed(n->arg, n, NODE_FORGOT);
    return 0;
}

/* ---- messages ---- */

static void recv_request(struct node *n, uint64_t now_us)
{
    uint64_t id = n->rx.id;
    bool ping = n->rx.type == CTL_PING;

    n->tx = (struct ctl_msg){
        .type = CTL_PING, .kind = ping ? CTL_KIND_REPLY : CTL_KIND_ERROR, .id = id};
    if (!ping) {
        n->tx.type = n->rx.type;
        n->tx.u.error.code = CTL_ERR_UNSUPPORTED;
    }
    send_tx(n, now_us);
}

static void recv_answer(struct node *n)
{
    struct node_req *q = n->rx.type == CTL_PING ? NULL : find_request(n, n->rx.id);

    if (q && q->type == n->rx.type)
        finish(n, q, &n->rx);
}

/* Counts a kept event. False: it was handled before; a gap is refused with why set. */
static bool take_seq(struct node *n, uint64_t now_us)
{
    if (n->rx.seq <= n->last_seq) {
        counter_inc(&n->count.duplicates);
        n->ack_us = n->ack_us < now_us + NODE_ACK_US ? n->ack_us : now_us + NODE_ACK_US;
        return false;
    }
    if (n->rx.seq > n->last_seq + 1 && !n->gap_ok) {
        n->why = "an event is missing";
        return false;
    }
    n->gap_ok = false;
    n->last_seq = n->rx.seq;
    n->unacked++;
    if (n->unacked >= NODE_ACK_EVERY)
        send_ack(n, now_us);
    else if (n->ack_us == CLOCK_NEVER)
        n->ack_us = now_us + NODE_ACK_US;
    return true;
}

static int recv_event(struct node *n, uint64_t now_us)
{
    if (n->rx.type == CTL_CHALLENGE || n->rx.type == CTL_ACK)
        return (int)refuse(n, "an event that is not for a server");
    if (n->rx.type == CTL_LOAD) {
        n->load = (unsigned)n->rx.u.load.load;
        n->draining = n->rx.u.load.draining;
        return 0;
    }
    if (ctl_type_kept(n->rx.type) && !take_seq(n, now_us))
        return n->why ? -EPROTO : 0;
    counter_inc(&n->count.events);
    n->ops->event(n->arg, n, &n->rx);
    return 0;
}

static int recv_one(struct node *n, struct slice text, uint64_t now_us)
{
    struct wr scratch = wr_init(n->scratch, sizeof(n->scratch));
    const char *why = NULL;
    int rc = ctl_decode(&n->rx, text, &scratch, &why);

    if (rc == -EBADMSG)
        return (int)refuse(n, why);
    if (n->state == NODE_OPENING) {
        if (rc != 0)
            return (int)refuse(n, "a challenge was expected");
        return n->rx.kind == CTL_KIND_EVENT ? recv_challenge(n, now_us) : recv_welcome(n, now_us);
    }
    if (n->rx.kind == CTL_KIND_REQUEST) {
        recv_request(n, now_us);
        return 0;
    }
    if (rc != 0) { /* a type of a newer SFU: its number counts, and that is all */
        if (n->rx.kind == CTL_KIND_EVENT && n->rx.seq > 0 && !take_seq(n, now_us))
            return n->why ? -EPROTO : 0;
        return 0;
    }
    if (n->rx.kind == CTL_KIND_EVENT)
        return recv_event(n, now_us);
    recv_answer(n);
    return 0;
}

long node_recv(struct node *n, struct slice bytes, uint64_t now_us)
{
    size_t at = 0, used = 0;
    struct slice text;

    assert(n->state != NODE_DOWN);
    n->heard_us = now_us;
    for (;;) {
        int rc = ctl_frame(slice_sub(bytes, at, bytes.len), &text, &used);
        if (rc == -EAGAIN)
            return (long)at;
        if (rc != 0)
            return refuse(n, "a frame of no sane length");
        at += used;
        if (recv_one(n, text, now_us) != 0) {
            counter_inc(&n->count.refused);
            return -EPROTO;
        }
    }
}

void node_opened(struct node *n, const struct node_wire *ops, void *wire, uint64_t now_us)
{
    assert(n->state == NODE_DOWN);
    n->state = NODE_OPENING;
    n->wire_ops = ops;
    n->wire = wire;
    n->hello_id = 0;
    n->why = NULL;
    n->opened_us = n->heard_us = n->said_us = now_us;
}

void node_closed(struct node *n, uint64_t now_us)
{
    bool was_up = n->state == NODE_READY;

    n->state = NODE_DOWN;
    n->wire_ops = NULL;
    n->wire = NULL;
    n->unacked = 0;
    n->ack_us = CLOCK_NEVER;
    if (!was_up)
        return;
    n->lost_us = now_us;
    n->ops->changed(n->arg, n, NODE_WENT);
}

const char *node_why(const struct node *n)
{
    return n->why ? n->why : "";
}

/* ---- time ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t node_deadline(const struct node *n)
{
    const struct node_req *q = first_request(n);
    uint64_t at = q ? q->deadline_us : CLOCK_NEVER;

    if (n->alive && n->state != NODE_READY)
        at = earlier(at, n->lost_us + n->conf.dead_us);
    switch (n->state) {
    case NODE_DOWN:
        return at;
    case NODE_OPENING:
        return earlier(at, n->opened_us + NODE_OPEN_US);
    default:
        at = earlier(at, n->ack_us);
        return earlier(at, earlier(n->said_us + NODE_PING_US, n->heard_us + NODE_DEAD_US));
    }
}

static void give_up(struct node *n)
{
    n->alive = false;
    n->lost_us = CLOCK_NEVER;
    fail_all(n);
    n->ops->changed(n->arg, n, NODE_GIVEN_UP);
}

void node_give_up(struct node *n)
{
    if (n->state != NODE_READY && n->alive)
        give_up(n);
}

void node_refused(struct node *n)
{
    if (n->state == NODE_DOWN && n->alive)
        n->ops->changed(n->arg, n, NODE_REFUSED);
}

bool node_tick(struct node *n, uint64_t now_us)
{
    struct node_req *q;

    while ((q = first_request(n)) && q->deadline_us <= now_us) {
        counter_inc(&n->count.timeouts);
        finish(n, q, NULL);
    }
    /* While it opens, too: one that accepts and never says hello must not keep rooms waiting. */
    if (n->alive && n->state != NODE_READY && n->lost_us + n->conf.dead_us <= now_us)
        give_up(n);
    if (n->state == NODE_OPENING && n->opened_us + NODE_OPEN_US <= now_us) {
        n->why = "no hello in time";
        return false;
    }
    if (n->state != NODE_READY)
        return true;
    if (n->heard_us + NODE_DEAD_US <= now_us) {
        n->why = "nothing heard in time";
        return false;
    }
    if (n->ack_us <= now_us)
        send_ack(n, now_us);
    if (n->said_us + NODE_PING_US <= now_us) {
        n->tx = (struct ctl_msg){.type = CTL_PING, .kind = CTL_KIND_REQUEST, .id = 1};
        send_tx(n, now_us);
    }
    return true;
}

/* ---- looking ---- */

struct slice node_name(const struct node *n)
{
    return n->conf.name;
}

struct slice node_region(const struct node *n)
{
    return n->conf.region;
}

unsigned node_weight(const struct node *n)
{
    return n->conf.weight;
}

bool node_up(const struct node *n)
{
    return n->state == NODE_READY;
}

bool node_alive(const struct node *n)
{
    return n->alive;
}

uint64_t node_silence(const struct node *n, uint64_t now_us)
{
    return n->state == NODE_READY && now_us > n->heard_us ? now_us - n->heard_us : 0;
}

bool node_draining(const struct node *n)
{
    return n->draining;
}

unsigned node_load(const struct node *n)
{
    return n->load;
}

size_t node_open_requests(const struct node *n)
{
    return n->requests_n;
}

struct node_counters *node_count(struct node *n)
{
    return &n->count;
}
