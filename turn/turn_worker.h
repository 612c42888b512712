/* One worker of the relay: the core and the sockets around it, on one thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_WORKER_H
#define SORI_TURN_WORKER_H

#include "net/udp.h"
#include "net/worker.h"
#include "turn/offload.h"
#include "turn/relay.h"
#include "turn/turn_conf.h"
#include "turn/usage.h"

struct source_limit;
struct tls_ctx;
struct registrar;
struct turn_redis_link;
struct usage_writer;
struct turn_dtls_listener;
struct turn_tcp_listener;
struct turn_udp_listener;

struct turn_worker {
    struct worker *loop;
    struct turn_core core;
    struct udp_io *io;
    struct histogram busy;           /* how long the loop's turns take */
    char io_why[UDP_WHY_MAX];        /* why epoll was taken for want of io_uring; empty else */
    struct htable relays;            /* relay sockets by address: relay_sock.c */
    struct tls_ctx *tls;             /* read at each accept; NULL without TLS and DTLS */
    struct turn_dtls_listener *dtls; /* NULL without DTLS */
    struct source_limit *connects;   /* new connections per source; NULL without such listeners */
    struct htable data_conns;        /* client data connections by id: tcp_data_sock.c */
    uint8_t *tcp_buf;                /* tcp_buffer_bytes: one read of a data connection */
    struct handover_lane *lanes;     /* to each worker; NULL alone: handover.c */
    unsigned n_lanes;
    const struct five_tuple *answering; /* whose message was passed on to us: forward.c */
    struct wflush handed;
    struct turn_worker *const *all; /* of the node, by index; set before any runs */
    bool stopped;                   /* all threads have ended: no mail any more */
    const struct turn_conf *conf;
    struct turn_redis_link *redis; /* lent; NULL: none */
    struct usage_writer *writer;   /* the same */
    uint64_t boot, records;        /* see struct usage_stamp; records of this worker so far */
    struct registrar *registrar;   /* that media's quality is published by; NULL: none */
    struct wtimer tick, report, media;
    struct offload_worker offload;
    /* By listener number: UDP first, then TCP, then TLS. */
    struct turn_udp_listener *udp[TURN_LISTEN_MAX];
    struct turn_tcp_listener *tcp[2 * TURN_LISTEN_MAX];
    size_t n_udp, n_tcp;
};

/* Makes a worker with all its listeners open, not running yet. conf, shared, redis, writer (NULL:
 * none) and offload (NULL: off) outlive it; takes creds in any case. NULL with err (CONF_ERR_MAX
 * bytes) saying what could not be opened. */
struct turn_worker *turn_worker_new(unsigned index, const struct turn_conf *conf,
                                    struct turn_shared *shared, struct credentials *creds,
                                    struct turn_redis_link *redis, struct usage_writer *writer,
                                    struct offload *offload, char err[CONF_ERR_MAX]);

/* Ends everything. The thread must have been joined. NULL is allowed. */
void turn_worker_free(struct turn_worker *w);

/* The TLS context (with DTLS when that is on) of this configuration, with all its certificates.
 * NULL with err (TLS_ERR_MAX). */
struct tls_ctx *turn_worker_tls(const struct turn_conf *conf, char *err);

/* Hands new credentials and, unless NULL, a new TLS context to the worker, which takes both. Any
 * thread. Returns 0 or -ENOMEM (then they are freed). */
int turn_worker_reload(struct turn_worker *w, struct credentials *creds, struct tls_ctx *tls);

/* What has come of looking up a user: see turn_core_known(). Any thread. */
void turn_worker_known(struct turn_worker *w, unsigned realm, struct slice name, bool failed,
                       const struct known_keys *keys);

/* Each user that was looked up is looked up again at his next request. Any thread. */
void turn_worker_forget_users(struct turn_worker *w);

/* Runs fn(w, arg) in the worker's thread and waits for its end. Any other thread, while the worker
 * runs. Returns 0, or -ENOMEM when it was not run. */
typedef void turn_worker_fn(struct turn_worker *w, void *arg, uint64_t now_us);
int turn_worker_call(struct turn_worker *w, turn_worker_fn *fn, void *arg);

/* Sends a relayed message to a's client, over whatever it came by. Worker thread. */
void turn_worker_to_client(struct turn_worker *w, const struct alloc *a,
                           const struct relay_to_client *out);

#endif
