/* An allocation: one client's relayed address with its permissions and channels (RFC 8656 §3.2),
 * and the table of all allocations of a worker. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_ALLOC_H
#define SORI_TURN_ALLOC_H

#include "base/htable.h"
#include "base/list.h"
#include "base/timerwheel.h"
#include "base/tokenbucket.h"
#include "proto/stun_attr.h"
#include "turn/access_token.h"
#include "turn/chan.h"
#include "turn/five_tuple.h"
#include "turn/perm.h"
#include "turn/throttle.h"

struct media_quality;
struct offload_flow;
struct tcp_meter;

/* The second relayed address of a dual allocation (RFC 8656 §7.1): the same members as the first's,
 * in struct alloc. relayed.family is ADDR_NONE when there is none. */
struct alloc_second {
    struct addr relayed;
    void *sock;
    uint64_t until_us;
    uint16_t pool;
};

/* Where a mobile allocation's client is going to be (RFC 8016): the same members as in struct
 * alloc.
 */
struct alloc_place {
    struct five_tuple tuple;
    struct addr via;
    void *link;
    uint16_t at;
    uint32_t seq;
};

/* What a mobile allocation has besides: mobility.c. */
struct alloc_mobile {
    struct hnode by_serial, by_next; /* in the table; by_next while moving */
    struct alloc *alloc;
    struct alloc_place next;
    uint16_t moves;              /* so far, modulo 2^16 */
    uint64_t moved_us;           /* when it began the last one */
    uint8_t tid[STUN_TID_BYTES]; /* of the Refresh that asked for it */
    bool lost;                   /* its connection is gone: nobody is there */
};

struct alloc {
    struct hnode node;  /* in the table, by tuple */
    struct timer timer; /* deadline_us = when the first of its relayed addresses expires */
    struct five_tuple tuple;
    struct addr relayed; /* as bound on this machine */
    void *sock;          /* the shell's, between relay_ops.open and .close */
    uint64_t until_us;   /* when this relayed address expires */
    struct alloc_second second;
    struct addr via; /* over UDP: the proxy that its client's datagrams come through and go back to;
                        ADDR_NONE: none, they go to the client */
    void *link;      /* the shell's: the client's connection or association; NULL over UDP */
    struct alloc_mobile *mobile; /* owned; NULL: it has no tickets */
    uint16_t at;  /* the worker where its client's packets come in: another one after a move */
    bool moving;  /* mobile->next is where it will be; in the table by that tuple, too */
    bool tcp;     /* its relayed address is one of TCP */
    uint32_t seq; /* of the last message passed on from there: struct guest */
    struct perm_table perms;
    struct chan_table chans;
    struct throttle throttle;
    struct offload_flow *flows; /* the shell's: channels of it that the kernel relays */
    struct access_token *grant; /* that it is held by, owned; NULL: by other credentials */
    uint64_t start_us, account;
    uint64_t reported_us; /* when usage_due() gave it last, 0 = never */
    uint64_t serial;      /* 1, 2, .. in the order of alloc_add() */
    uint64_t up_pkts, up_bytes, down_pkts, down_bytes; /* up: client to peer; see alloc_bytes() */
    struct media_quality *media; /* in its memory; NULL: its packets are not judged */
    uint32_t lifetime_s;         /* as granted last */
    unsigned n_conns;            /* of conns */
    struct list conns;           /* peer data connections of a TCP allocation: peer_conn.h */
    struct tcp_meter *meter;     /* of a TCP allocation; a reference */
    uint16_t pool;               /* index of the relay address */
    uint16_t realm;              /* of its user */
    uint8_t refused_family;      /* as on the wire; 0: the client got what it asked for */
    uint16_t refused_code;       /* its ADDRESS-ERROR-CODE */
    bool has_token;
    uint8_t token[STUN_RESERVATION_BYTES]; /* of the reserved neighbour, for retransmissions */
    uint8_t tid[STUN_TID_BYTES];           /* of the Allocate that made it */
    uint16_t user_len;
    uint8_t user[]; /* the USERNAME that made it */
};

/* All allocations of one worker. */
struct alloc_table {
    struct htable _by_tuple, _by_next, _by_serial;
    struct timerwheel *_expiry;
    uint64_t _serial;
};

/* Makes an empty table. Returns 0 or -ENOMEM. */
int alloc_table_init(struct alloc_table *t, uint64_t now_us);

/* Frees the table, which must be empty. A zeroed table is allowed. */
void alloc_table_fini(struct alloc_table *t);

/* How many there are. */
size_t alloc_table_count(const struct alloc_table *t);

/* Visits every one: starts with *pos = 0 and *saved = NULL, NULL at the end. The one given may be
 * ended before the next call. */
struct alloc *alloc_table_walk(const struct alloc_table *t, size_t *pos, struct hnode **saved);

/* A new allocation for this client, in no table; username at most STUN_USERNAME_MAX bytes. NULL
 * when memory is out. */
struct alloc *alloc_new(const struct five_tuple *client, struct slice username, uint64_t now_us);

/* The same, with a place for judging its media (a->media, whose interval begins) beside it. */
struct alloc *alloc_new_judged(const struct five_tuple *client, struct slice username,
                               uint64_t now_us);

/* Frees an allocation that is in no table. NULL is allowed. */
void alloc_free(struct alloc *a);

/* The USERNAME that made it; lent. */
struct slice alloc_user(const struct alloc *a);

/* Payload bytes so far, those of its TCP connections too. */
void alloc_bytes(const struct alloc *a, uint64_t *up, uint64_t *down);

/* The client's allocation (by the 5-tuple that it has or is moving to), or NULL. A lost one is not
 * found: who comes from there now is another client until his ticket says that he is not. */
struct alloc *alloc_find(const struct alloc_table *t, const struct five_tuple *client);

/* Makes a, which is in no table yet, mobile. Returns 0 or -ENOMEM. */
int alloc_make_mobile(struct alloc *a);

/* True when it is mobile and nobody is there. */
static inline bool alloc_is_lost(const struct alloc *a)
{
    return a->mobile && a->mobile->lost;
}

/* The mobile allocation of this serial, or NULL. */
struct alloc *alloc_by_serial(const struct alloc_table *t, uint64_t serial);

/* a, mobile and not moving, is found by the 5-tuple of `to`, too; then either a is there and
 * nowhere else, or all is as before. */
void alloc_move_begin(struct alloc_table *t, struct alloc *a, const struct alloc_place *to);
void alloc_move_end(struct alloc_table *t, struct alloc *a);
void alloc_move_cancel(struct alloc_table *t, struct alloc *a);

/* Adds a to the table (no other may have its tuple, unless that is lost), or takes it out. */
void alloc_add(struct alloc_table *t, struct alloc *a);
void alloc_del(struct alloc_table *t, struct alloc *a);

/* True when it has a relayed address of this family (ADDR_V4, ADDR_V6). */
static inline bool alloc_has(const struct alloc *a, uint8_t family)
{
    return a->relayed.family == family || (a->second.relayed.family == family && family);
}

/* How many relayed addresses it has: 1, or 2. */
static inline unsigned alloc_addresses(const struct alloc *a)
{
    return a->second.relayed.family == ADDR_NONE ? 1 : 2;
}

/* The socket of its relayed address of this family, which it must have. */
static inline void *alloc_sock(const struct alloc *a, uint8_t family)
{
    return a->relayed.family == family ? a->sock : a->second.sock;
}

/* Makes the second relayed address the first, and the first the second. Either may be empty while
 * the caller is at work. */
void alloc_swap(struct alloc *a);

/* Sets when it expires: now_us + lifetime_s. a must be in the table. */
void alloc_refresh(struct alloc_table *t, struct alloc *a, uint32_t lifetime_s, uint64_t now_us);

/* The same for its relayed address of one family, which it must have. */
void alloc_refresh_family(struct alloc_table *t, struct alloc *a, uint8_t family,
                          uint32_t lifetime_s, uint64_t now_us);

/* Lets it expire at until_us at the latest. */
void alloc_shorten(struct alloc_table *t, struct alloc *a, uint64_t until_us);

/* Sets the timer again after an address has gone. */
void alloc_rearm(struct alloc_table *t, struct alloc *a);

/* One allocation with a relayed address whose time is over (still in the table, its timer not set),
 * or NULL; and when to ask again. */
struct alloc *alloc_expired(struct alloc_table *t, uint64_t now_us);
uint64_t alloc_deadline(const struct alloc_table *t);

#endif
