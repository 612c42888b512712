/* One SFU node as the server sees it: the server's side of docs/CONTROL.md as a pure machine.
 *
 *     down --link connects--> opening --challenge, hello, proof--> up --link lost--> down
 *
 * It keeps requests until they are answered: what a broken connection swallowed is sent again under
 * the same id, and the SFU does it once. Events come in order and once.
 *
 * node_link.c gives it bytes and takes bytes through node_wire; the router makes requests and hears
 * through node_ops. No callback comes from inside node_request().
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_NODE_H
#define SORI_SERVER_NODE_H

#include "base/clock.h"
#include "base/metrics.h"
#include "proto/ctl.h"

#define NODE_OPEN_US   (5 * US_PER_S) /* connect, challenge, hello */
#define NODE_PING_US   (2 * US_PER_S) /* silence of ours before a ping */
#define NODE_DEAD_US   (6 * US_PER_S) /* silence of the SFU's before the connection is given up */
#define NODE_ACK_US    (200 * US_PER_MS)
#define NODE_ACK_EVERY 32

struct node;

struct node_conf {
    struct slice name;   /* the configured one, for logs and metrics; copied */
    struct slice region; /* copied; empty: none */
    struct slice server; /* this server's name; borrowed, like the secret */
    struct slice secret;
    uint64_t epoch;      /* this server's, not 0 */
    unsigned weight;     /* 1 .. 100: how much it can carry beside the others */
    uint64_t request_us; /* a request without an answer fails after this */
    uint64_t dead_us;    /* without a connection for so long its rooms count as lost */
};

enum node_change {
    NODE_CAME,     /* it is up; rooms that were on it are there: sync them, then node_sync_end() */
    NODE_WENT,     /* the connection is gone; rooms go on meanwhile */
    NODE_FORGOT,   /* it is up, restarted: nothing of before is there; then node_sync_end() */
    NODE_REFUSED,  /* it is down, and nobody listens where it was: its process is gone, or about to
                      come back with nothing of before. node_give_up() may be called at once */
    NODE_GIVEN_UP, /* it has been down for dead_us: whatever was on it counts as lost */
};

struct node_ops {
    /* A request is over: m is the reply or error (CTL_KIND_ERROR), or NULL: it could not be done
     * or nobody knows (no connection, no answer in time). Exactly once per request. */
    void (*answered)(void *arg, struct node *n, void *ctx, const struct ctl_msg *m);
    void (*event)(void *arg, struct node *n, const struct ctl_msg *m);
    void (*changed)(void *arg, struct node *n, enum node_change what);
};

/* The connection: set by the link while there is one. */
struct node_wire {
    /* Queues bytes. A queue that is full ends the connection, later, by the link's own doing. */
    void (*send)(void *wire, struct slice bytes);
};

struct node_counters {
    struct counter requests, resent, timeouts, events, duplicates, connects, refused;
};

/* NULL when memory is out. */
struct node *node_new(const struct node_conf *conf, const struct node_ops *ops, void *arg);
void node_free(struct node *n); /* open requests are dropped without a word; NULL is allowed */

/* ---- for the link ---- */

/* A connection is there; it must be closed or down before. */
void node_opened(struct node *n, const struct node_wire *ops, void *wire, uint64_t now_us);
/* Bytes from the SFU. Returns how many were taken (the rest comes again in front of the next
 * ones), or -EPROTO: close the connection (node_why() says why). */
long node_recv(struct node *n, struct slice bytes, uint64_t now_us);
/* It is gone, whoever ended it. node_why(): what was wrong, if something was; "" else. */
void node_closed(struct node *n, uint64_t now_us);
const char *node_why(const struct node *n);

/* A connection was refused: there is no process behind the address. */
void node_refused(struct node *n);

/* When to call node_tick(). */
uint64_t node_deadline(const struct node *n);
/* Does what is due. False: the connection must be closed (silence, no hello in time). */
bool node_tick(struct node *n, uint64_t now_us);

/* ---- for the router ---- */

/* Sends a request, now or when the connection is back; id and kind are set here. ctx comes back in
 * answered(). Returns 0; -ENOTCONN: it is down and has nothing of ours; -ENOSPC: too many are
 * open; -EMSGSIZE; -ENOMEM: nothing was sent, answered() will not come. */
int node_request(struct node *n, const struct ctl_msg *m, void *ctx, uint64_t now_us);

/* Tells the SFU that every room it should have was synced: the end of NODE_CAME and NODE_FORGOT. */
void node_sync_end(struct node *n, uint64_t now_us);

/* Gives it up before its time, if it is down: NODE_GIVEN_UP follows at once. */
void node_give_up(struct node *n);

/* What is known of it: as configured, and as it last said. node_alive(): rooms may be there.
 * node_silence(): how long nothing has been heard of it, 0 when it is not up. */
struct slice node_name(const struct node *n);
struct slice node_region(const struct node *n);
unsigned node_weight(const struct node *n);
bool node_up(const struct node *n);
bool node_alive(const struct node *n);
uint64_t node_silence(const struct node *n, uint64_t now_us);
bool node_draining(const struct node *n);
unsigned node_load(const struct node *n); /* 0 .. CTL_LOAD_MAX */
size_t node_open_requests(const struct node *n);
struct node_counters *node_count(struct node *n);

#endif
