/* The peer data connections of TCP allocations (RFC 6062 §3): what each waits for and until when.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_PEER_CONN_H
#define SORI_TURN_PEER_CONN_H

#include "base/htable.h"
#include "base/timerwheel.h"
#include "turn/alloc.h"
#include "turn/stun_auth.h"

struct peer_sock;

enum peer_conn_state {
    PEER_CONN_CONNECTING, /* the peer has not answered; the client waits for its Connect */
    PEER_CONN_WAITING,    /* established, nothing is read; waits for a ConnectionBind */
    PEER_CONN_BOUND,      /* its descriptor is at the worker of the client's data connection */
};

/* What is kept of a request that is answered later. */
struct deferred {
    struct stun_identity id; /* what signs the answer */
    uint16_t method;
    uint8_t tid[STUN_TID_BYTES];
    bool fingerprint, has_counter;
    uint32_t counter; /* TRANSACTION_TRANSMIT_COUNTER */
};

struct peer_conn {
    struct list link;   /* in its allocation */
    struct hnode by_id; /* in the table */
    struct timer timer;
    struct alloc *alloc;
    struct addr peer; /* as the client names it */
    uint32_t id;      /* CONNECTION-ID */
    uint8_t state;
    unsigned worker;         /* while BOUND */
    struct peer_sock *sock;  /* the shell's, until BOUND */
    struct deferred waiting; /* the Connect request, while CONNECTING */
};

/* All peer data connections of the allocations of one worker. */
struct peer_conns {
    struct htable _by_id;
    struct timerwheel *_expiry;
};

/* Makes an empty table. Returns 0 or -ENOMEM. */
int peer_conns_init(struct peer_conns *t, uint64_t now_us);

/* Frees the table, which must be empty. A zeroed table is allowed. */
void peer_conns_fini(struct peer_conns *t);

/* A new connection of a to peer, in the table and in a. NULL when memory is out. */
struct peer_conn *peer_conn_new(struct peer_conns *t, struct alloc *a, const struct addr *peer,
                                uint32_t id, enum peer_conn_state state, uint64_t until_us);

/* Takes p out of table and allocation, wipes and frees it. NULL is allowed. */
void peer_conn_free(struct peer_conns *t, struct peer_conn *p);

/* Moves p on; until_us: when this state is over (CLOCK_NEVER: never). States only go forward. */
void peer_conn_move(struct peer_conns *t, struct peer_conn *p, enum peer_conn_state state,
                    uint64_t until_us);

/* The connection of that id, or the one of a to that very peer (port included), or NULL. */
struct peer_conn *peer_conn_find(const struct peer_conns *t, uint32_t id);
struct peer_conn *peer_conn_to(const struct alloc *a, const struct addr *peer);

/* The first connection of a to a peer of this family, or NULL. */
struct peer_conn *peer_conn_first(const struct alloc *a, uint8_t family);

/* One connection whose state's time is over (still in the table, its timer not set), or NULL; and
 * when to ask again. */
struct peer_conn *peer_conn_expired(struct peer_conns *t, uint64_t now_us);
uint64_t peer_conns_deadline(const struct peer_conns *t);

#endif
