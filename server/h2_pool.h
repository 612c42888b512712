/* Warm HTTP/2 connections to one authority, and the requests that wait for them or are under way.
 *
 * Pure: sockets, TLS and frames are behind h2_conn_ops (h2_link.c has the real ones), time comes in
 * as now_us. A user takes the pool of an h2_client (h2_client_link.h), which drives it, and needs
 * only h2_pool_send() and h2_pool_retire(). Owned by one worker thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_H2_POOL_H
#define SORI_SERVER_H2_POOL_H

#include "base/bytes.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "server/h2_message.h"

struct h2_pool;
struct h2_conn; /* the pool's record of one connection */
struct h2_job;  /* a request that the pool has taken */

#define H2_POOL_CONNS_MAX 16

struct h2_pool_conf {
    unsigned conns;     /* connections kept open, 1 .. H2_POOL_CONNS_MAX; 2 or more to survive
                           the loss of one without a pause */
    unsigned queue_max; /* requests waiting or under way at most */
    unsigned
        streams_max; /* requests under way on one connection at most, whatever the peer allows */
    uint64_t retry_min_us; /* reconnecting: the first pause at most; doubles, full jitter */
    uint64_t retry_max_us;
    uint64_t drain_us; /* an old connection may take so long to finish its requests */
};
#define H2_POOL_CONF_DEFAULT                                \
    ((struct h2_pool_conf){.conns = 2,                      \
                           .queue_max = 20000,              \
                           .streams_max = 1000,             \
                           .retry_min_us = 100 * US_PER_MS, \
                           .retry_max_us = 30 * US_PER_S,   \
                           .drain_us = 10 * US_PER_S})

/* Why a connection ended, or never came up. */
enum h2_end {
    H2_END_LOCAL,    /* h2_pool_retire(), or finished after a GOAWAY */
    H2_END_EOF,      /* closed or reset by the peer */
    H2_END_DEAD,     /* a PING was not answered */
    H2_END_PROTOCOL, /* not HTTP/2 as it should be */
    H2_END_RESOLVE,  /* the name has no address */
    H2_END_CONNECT,  /* no TCP connection */
    H2_END_PROXY,    /* the proxy does not connect us */
    H2_END_TLS,      /* handshake, certificate or ALPN */
    H2_ENDS,
};
const char *h2_end_name(enum h2_end e); /* "local", "eof", "dead" …: a metric's label */

/* Counters and gauges of a pool, to be registered (base/metrics.h); they outlive nothing but it. */
struct h2_pool_stats {
    struct counter requests, answered, uncertain, late, refused, no_connection;
    struct counter moved_refused, moved_goaway, resent; /* attempts repeated, by why */
    struct counter opened, goaways, retired, ended[H2_ENDS];
    struct counter up, waiting, inflight;      /* gauges: connections, requests, requests */
    struct counter streams[H2_POOL_CONNS_MAX]; /* gauges: what the peer allows, by slot */
};

/* What a connection is driven by. Each call may be made at any time between open() and close();
 * none calls back into the pool, except through the functions at the end, from the loop. */
struct h2_conn_ops {
    /* Begins to connect for c. NULL when memory is out: tried again later. */
    void *(*open)(void *env, struct h2_conn *c);
    /* Sends a request, which stays as it is until the job is told of or forgotten; *stream names it
     * for forget(). Returns 0; -EAGAIN: no room now; -EPIPE: takes no more; -ENOMEM. */
    int (*submit)(void *link, const struct h2_request *q, struct h2_job *job, void **stream,
                  uint64_t now_us);
    /* The job is over for the pool: its stream is reset and not mentioned again. */
    void (*forget)(void *link, void *stream);
    /* Frees the link; streams still open are forgotten. */
    void (*close)(void *link);
    /* h2_pool_pump() has something to do, or h2_pool_deadline() may be earlier than before. */
    void (*wake)(void *env);
};

/* A pool that opens its first connections at the first h2_pool_pump(). ops and env outlive it. NULL
 * when memory is out or conf is not within its ranges. */
struct h2_pool *h2_pool_new(const struct h2_pool_conf *conf, const struct h2_conn_ops *ops,
                            void *env, uint64_t now_us);
/* Tells every request its end (UNCERTAIN or NO_CONNECTION) and closes all. NULL is allowed. */
void h2_pool_free(struct h2_pool *p, uint64_t now_us);

/* Takes a request; everything in q is copied. done(ctx, …) is called once, later, never from in
 * here.
 *
 * avoid_conn: a connection (h2_response.conn) that it should not go over, for a second try: another
 * one is waited for, at most H2_POOL_AVOID_US; 0: any.
 *
 * Returns 0; -ENOBUFS: queue_max requests are there already; -EMSGSIZE: body or header count over
 * the limits; -ETIME: the deadline is not in the future; -ENOMEM. After anything but 0 done is not
 * called. */
#define H2_POOL_AVOID_US (500 * US_PER_MS)
int h2_pool_send(struct h2_pool *p, const struct h2_request *q, h2_done_fn *done, void *ctx,
                 unsigned avoid_conn, uint64_t now_us);

/* Replaces a connection (h2_response.conn) in good order: it gets no more requests, those under way
 * are finished, a new one is opened at once. 0: all of them. Unknown numbers are ignored. */
void h2_pool_retire(struct h2_pool *p, unsigned conn, uint64_t now_us);

/* For health: connections that are up; and what ended the last one that did not come up or broke,
 * as text for people ("certificate verify failed: …"), "" while nothing did. */
unsigned h2_pool_up(const struct h2_pool *p);
const char *h2_pool_trouble(const struct h2_pool *p);
struct h2_pool_stats *h2_pool_stats(struct h2_pool *p);
/* A connection's stream limit as the peer set it last, by slot 0 .. conns-1; 0 while it is not up.
 */
unsigned h2_pool_streams_limit(const struct h2_pool *p, unsigned slot);

/* --- for the shell that drives it */

/* Does what is due at now_us: deadlines, reconnects, sends. Calls done() functions. */
void h2_pool_pump(struct h2_pool *p, uint64_t now_us);
/* When to pump again at the latest; CLOCK_NEVER. */
uint64_t h2_pool_deadline(const struct h2_pool *p);

/* --- what links tell, from the loop, each followed by a pump in the same turn. `id` is for the
 * log: "call/2". */
unsigned h2_conn_number(const struct h2_conn *c);
/* TLS and HTTP/2 stand: requests may be submitted. */
void h2_conn_opened(struct h2_conn *c, uint64_t now_us);
/* The peer's stream limit is known or has changed. */
void h2_conn_limit(struct h2_conn *c, unsigned streams, uint64_t now_us);
/* The peer said GOAWAY (why: its reason as text), perhaps again: no more requests; those under way
 * go on. */
void h2_conn_goaway(struct h2_conn *c, const char *why, uint64_t now_us);
/* The connection is over; the link has been freed by its owner. Jobs that it had and did not tell
 * of are uncertain. */
void h2_conn_ended(struct h2_conn *c, enum h2_end end, const char *why, uint64_t now_us);
/* An answer is complete: status, fields, body, cut of r are read. */
void h2_job_answered(struct h2_job *j, const struct h2_response *r, uint64_t now_us);
/* The peer has certainly not acted on it: goaway tells by GOAWAY (moved at once), else by RST. */
void h2_job_refused(struct h2_job *j, bool goaway, uint64_t now_us);
/* Its stream ended without a whole answer (why). */
void h2_job_failed(struct h2_job *j, const char *why, uint64_t now_us);

#endif
