/* One worker's relay without its sockets: everything that dispatch.c and its handlers act on.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_CORE_H
#define SORI_TURN_CORE_H

#include "base/source_limit.h"
#include "turn/alloc.h"
#include "turn/credentials.h"
#include "turn/guest.h"
#include "turn/held.h"
#include "turn/key_cache.h"
#include "turn/nonce.h"
#include "turn/peer_conn.h"
#include "turn/turn_metrics.h"
#include "turn/turn_shared.h"

/* What the core asks of its shell; tests put a model behind it. */
struct relay_ops {
    /* Opens a relay socket bound to at and sets a->sock. Returns 0, -EADDRINUSE (another port is
     * tried) or another -errno (the Allocate is answered 508). */
    int (*open)(void *arg, struct alloc *a, const struct addr *at);
    /* Closes a->sock. */
    void (*close)(void *arg, struct alloc *a);
    /* Begins an outgoing connection from p->alloc's relayed address to p->peer and sets p->sock;
     * connect_done() tells the outcome, never from inside this call. Returns 0 or -errno (447). */
    int (*connect)(void *arg, struct peer_conn *p);
    /* Closes p->sock if it is set; of a BOUND one, closes it at p->worker. */
    void (*disconnect)(void *arg, struct peer_conn *p);
    /* Sends a control message to a's client. Returns 0, or -errno when there is no room. */
    int (*tell)(void *arg, const struct alloc *a, struct slice msg);
    /* Told that a 5-tuple at another worker leads to no allocation of ours any more; seq: of the
     * last message that has come from there. */
    void (*left)(void *arg, unsigned worker, const struct five_tuple *tuple, uint32_t seq);
    /* Told when an allocation ends, before it is gone: usage records. May be NULL. */
    void (*ended)(void *arg, const struct alloc *a, const char *why, uint64_t now_us);
    /* Told when what a's channels may carry has changed, by a request, a move or time, and when it
     * ends (alive: false), before its record is written. May be NULL. */
    void (*offload)(void *arg, struct alloc *a, bool alive);
    /* Asks elsewhere for a user's keys: turn_core_known() is called with the answer later. Returns
     * 0, or -EAGAIN when nobody can be asked now. NULL: there is nobody. */
    int (*look_up)(void *arg, unsigned realm, struct slice name);
};

struct turn_core {
    struct turn_shared *shared; /* lent */
    struct credentials *creds;  /* owned */
    struct nonce_keys nonces;
    struct source_limit *sources;
    struct alloc_table allocs;
    struct peer_conns conns; /* of its TCP allocations */
    struct key_cache *keys;  /* of users who are known elsewhere; NULL: there is nobody to ask */
    struct held_list held;
    struct guests guests; /* clients here of allocations elsewhere */
    struct list media;    /* of struct media_quality: whose interval ends first is first */
    struct turn_metrics metrics;
    const struct relay_ops *ops;
    void *ops_arg;
    uint64_t wall_offset_us; /* wall clock minus now_us; the shell keeps it right */
    unsigned next_relay;     /* where the search for a relay address starts */
    struct addr via;         /* the proxy that the message at hand came through, or ADDR_NONE */
    uint16_t elsewhere_from; /* with DISPATCH_ANSWER_ELSEWHERE: number of a UDP listener */
    struct addr elsewhere_to;
    uint32_t bound_id; /* with DISPATCH_BIND: the CONNECTION-ID, and the worker that has it */
    unsigned bound_worker;
    unsigned worker, n_workers; /* our own number, and how many there are: the shell sets them */
    unsigned forward_to;        /* with DISPATCH_FORWARD: the worker */
    bool forwarded; /* the message at hand was passed on to us, by the worker came_from */
    unsigned came_from;
};

/* Makes a core. Takes creds in any case. Returns 0 or -ENOMEM. */
int turn_core_init(struct turn_core *c, struct turn_shared *shared, struct credentials *creds,
                   const struct relay_ops *ops, void *ops_arg, uint64_t now_us);

/* Ends every allocation and frees the rest. A zeroed core is allowed. */
void turn_core_fini(struct turn_core *c, uint64_t now_us);

/* Replaces the credentials; takes creds. Allocations live on until their next request. */
void turn_core_reload(struct turn_core *c, struct credentials *creds);

/* Ends what has expired, reservations too. */
void turn_core_tick(struct turn_core *c, uint64_t now_us);

/* When to call turn_core_tick() again. */
uint64_t turn_core_deadline(const struct turn_core *c, uint64_t now_us);

/* Makes a place for users who are known elsewhere; before the first request. Returns 0 or -ENOMEM.
 */
int turn_core_expect_users(struct turn_core *c, const struct key_cache_conf *conf, unsigned held);

/* What has come of looking a user up. keys: NULL when there is no such user; failed: nobody could
 * be asked. The requests of streams that waited for it are taken by held_take() afterwards. */
void turn_core_known(struct turn_core *c, unsigned realm, struct slice name, bool failed,
                     const struct known_keys *keys, uint64_t now_us);

/* Calls relay_ops.offload. */
void turn_core_offload(const struct turn_core *c, struct alloc *a, bool alive);

/* The client's connection is gone: ends its allocation, unless it may come by another (mobility.h).
 */
void turn_core_client_gone(struct turn_core *c, const struct five_tuple *client, uint64_t now_us);

#endif
