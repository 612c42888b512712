/* A client of Redis as a machine without sockets: commands in a pipeline, each with a deadline,
 * over one connection that is found (by Sentinel, if wanted), proven to be the master, and made
 * again.
 *
 *     redis_client_call(c, &call, words, n, now);     call.fn runs exactly once, later
 *
 *              wish OPEN          opened            all of the set-up is answered
 *     REST ─────────────► OPENING ───────► SETTING UP ─────────────────────────► READY
 *      ▲  (redis_seek.h)                      │   of a Sentinel: it names the master, and we close
 *      └──────────── closed ◄─ wish CLOSE ◄───┴── an error, silence, another role ──┘
 *
 * Set-up: AUTH, SELECT, ROLE, the scripts (SCRIPT LOAD), the channels, all sent together. A call
 * may be made at any time: what cannot be sent yet waits for its own deadline, so that a failover
 * of a few seconds is a delay and no error. Nothing is ever waited for.
 *
 * One connection does what is asked in order; commands that block (XREAD BLOCK) and subscriptions
 * want a client of their own. redis_link.c is the shell around it.
 * Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_REDIS_CLIENT_H
#define SORI_NET_REDIS_CLIENT_H

#include "net/redis_seek.h"
#include "proto/resp.h"

#define REDIS_SCRIPTS_MAX  24
#define REDIS_CHANNELS_MAX 8
#define REDIS_WHY_MAX      160

struct redis_client;
struct redis_slot;

/* What has become of a call. */
enum redis_end {
    REDIS_ANSWERED, /* reply is there; it may be an error of Redis's (RESP_ERROR) */
    REDIS_UNSENT,   /* its deadline came before it could be sent: it was certainly not done */
    REDIS_LATE,     /* it was sent and not answered in time: it may have been done, or be yet */
    REDIS_BROKEN,   /* the same, because the connection went (only of calls without `again`) */
    REDIS_ENDS
};

struct redis_call;
/* reply: NULL but for REDIS_ANSWERED; lent. May make and cancel calls, must not free the client. */
typedef void redis_done_fn(struct redis_call *call, enum redis_end end, const struct resp *reply,
                           uint64_t now_us);

/* One command. The caller fills the first four and keeps it until fn has run or it is cancelled. */
struct redis_call {
    redis_done_fn *fn;
    void *arg;
    uint64_t deadline_us; /* 0: the configured timeout from now */
    bool again; /* doing it twice does no harm: it is sent again when the connection breaks
                   under it, and when Redis says that it was not done (READONLY, LOADING,
                   MASTERDOWN, NOSCRIPT), until its deadline */
    struct redis_slot *_slot;
};

/* What the client tells its owner. None may free it; each may be NULL but wake. */
struct redis_client_ops {
    void (*wake)(void *arg); /* there is something to send or wish, or a new deadline */
    void (*up)(void *arg, uint64_t now_us); /* READY; what was written before may be lost */
    void (*down)(void *arg, const char *why, uint64_t now_us); /* not READY any more, or an attempt
                                                                  has failed */
    /* Something was said in one of the channels. Slices are lent. */
    void (*message)(void *arg, struct slice channel, struct slice payload, uint64_t now_us);
};

/* Slices and arrays are borrowed: they outlive the client (endpoints are copied). */
struct redis_client_conf {
    const struct redis_endpoint *at; /* servers, or with master: Sentinels */
    size_t at_n;                     /* 1 .. REDIS_ENDPOINTS_MAX */
    struct slice master;         /* the master's name with the Sentinels; empty: none are asked */
    struct slice user, password; /* of Redis; no password: no AUTH; no user: the default one */
    struct slice sentinel_user, sentinel_password; /* the same, of the Sentinels */
    unsigned database;
    bool any_role;               /* a replica will do; else the master only (needs +role) */
    const struct slice *scripts; /* Lua, for redis_client_eval() */
    size_t scripts_n;            /* <= REDIS_SCRIPTS_MAX */
    const struct slice *channels;
    size_t channels_n;   /* <= REDIS_CHANNELS_MAX; > 0: it hears these and makes no calls */
    bool sharded;        /* SSUBSCRIBE */
    uint64_t timeout_us; /* of a call without a deadline of its own */
    uint64_t open_us;    /* for all up to READY, of each attempt */
    uint64_t dead_us;    /* silence with something unanswered: the connection is given up. Longer
                            than any command blocks */
    uint64_t idle_us;    /* silence with nothing unanswered: PING */
    uint64_t retry_min_us, retry_max_us; /* redis_seek_init() */
    size_t calls_max, bytes_max;         /* calls without an end, and their bytes */
    size_t reply_bytes, reply_values;    /* resp_reader_new() */
    uint64_t seed;
};

/* Since it was made. */
struct redis_client_stats {
    uint64_t connects, losses, failures; /* READY; READY no more; attempts in vain */
    uint64_t calls, ends[REDIS_ENDS], again;
};

/* A client at REST that wishes to open. NULL when memory is out. */
struct redis_client *redis_client_new(const struct redis_client_conf *conf,
                                      const struct redis_client_ops *ops, void *arg,
                                      uint64_t now_us);
/* Calls without an end are forgotten: their fn does not run. NULL is allowed. */
void redis_client_free(struct redis_client *c);

/* Asks for a command of n words (1 .. RESP_WORDS_MAX), copied. call NULL: nobody wants to know.
 * fn never runs inside. Returns 0; -ENOBUFS: calls_max or bytes_max is reached (do without, later
 * or not at all); -ENOMEM; -EINVAL: too many words, or the client is a subscriber. */
int redis_client_call(struct redis_client *c, struct redis_call *call, const struct slice *words,
                      size_t n, uint64_t now_us);
/* What nobody waits for and is to be done all the same, once or twice: as a call with `again`, for
 * so long. */
int redis_client_say(struct redis_client *c, const struct slice *words, size_t n, uint64_t life_us,
                     uint64_t now_us);
/* The same as redis_client_call() for the script of that index: n words, of which the first keys_n
 * are its KEYS. */
int redis_client_eval(struct redis_client *c, struct redis_call *call, unsigned script,
                      size_t keys_n, const struct slice *words, size_t n, uint64_t now_us);
/* fn does not run. What was sent is done all the same. Harmless after its end. */
void redis_client_cancel(struct redis_client *c, struct redis_call *call);

/* Facts. redis_client_why(): why it is not READY, for a log; "" when it is. */
bool redis_client_ready(const struct redis_client *c);
const char *redis_client_why(const struct redis_client *c);
const struct redis_client_stats *redis_client_stats(const struct redis_client *c);
size_t redis_client_calls(const struct redis_client *c); /* without an end now */

/* ---- for the shell ---- */

enum redis_wish { REDIS_WISH_NOTHING, REDIS_WISH_OPEN, REDIS_WISH_CLOSE };

/* What is to be done about the socket now: OPEN one to *to (lent; OPENING begins with this), or
 * CLOSE the one there is (REST begins with this). Ask again after it was done. */
enum redis_wish redis_client_wish(struct redis_client *c, const struct redis_endpoint **to,
                                  uint64_t now_us);
/* The socket (and TLS) is there; it could not be made, or is gone: why. */
void redis_client_opened(struct redis_client *c, uint64_t now_us);
void redis_client_closed(struct redis_client *c, const char *why, uint64_t now_us);
/* Bytes came. Ignored while it wishes to CLOSE. */
void redis_client_recv(struct redis_client *c, struct slice bytes, uint64_t now_us);
/* Copies bytes to be sent to buf, at most cap, and counts them as sent. Returns how many; 0: no
 * more now. */
size_t redis_client_take(struct redis_client *c, uint8_t *buf, size_t cap, uint64_t now_us);

/* When to call redis_client_tick(), which does what is due. */
uint64_t redis_client_deadline(const struct redis_client *c);
void redis_client_tick(struct redis_client *c, uint64_t now_us);

#endif
