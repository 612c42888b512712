/* One socket of a client: bytes <-> WebSocket frames <-> messages, liveness, closing.
 *
 * Pure: the shell (ws_listener.c, or a simulator) gives it bytes and takes bytes through
 * client_ops. Owned by the shell's connection; worker-owned. SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef SORI_SERVER_CLIENT_H
#define SORI_SERVER_CLIENT_H

#include "base/addr.h"
#include "base/timerwheel.h"
#include "base/tokenbucket.h"
#include "proto/sig.h"
#include "proto/ws.h"

struct far_login;
struct router;
struct session;

/* How bytes leave; each is called with the shell's own pointer. */
struct client_ops {
    /* Queues a and b together. 0, or -ENOBUFS: over the queue limit, nothing queued. */
    int (*write)(void *conn, struct slice a, struct slice b);
    /* Sends what is queued and ends the connection; client_free() follows later, not from inside.
     */
    void (*close)(void *conn);
};

struct client {
    struct ws ws;
    struct router *router;
    struct session *session; /* NULL before hello and after closing */
    struct far_login *login; /* its hello is asked for elsewhere, or NULL */
    const struct client_ops *ops;
    void *conn;
    struct timer timer;   /* hello deadline, ping, death: router.c's wheel */
    uint64_t heard_us;    /* last byte from the peer */
    uint64_t pinged_us;   /* when pinged: since when an answer is due */
    struct bucket frames; /* of any kind: even what is cheap may not come without end */
    struct addr from;
    bool closing, pinged;
};

/* A connection that has just been upgraded; its clock for hello starts. NULL: out of memory. */
struct client *client_new(struct router *r, const struct client_ops *ops, void *conn,
                          const struct addr *from);

/* The connection is gone: detaches the session, which waits for a resume. NULL is allowed. */
void client_free(struct client *c);

/* Bytes from the peer, changed in place. Returns how many were consumed; the rest (at most
 * WS_PENDING_MAX) must come again in front of the next ones. */
size_t client_recv(struct client *c, uint8_t *data, size_t len);

/* Sends one text message; a slow consumer is closed with 1013 instead. Gives false when it was not
 * queued (the session keeps what is reliable). */
bool client_send(struct client *c, struct slice text);

/* Sends a Close frame and ends the connection; the session, if any, is detached at once. */
void client_close(struct client *c, enum sig_close code);

/* Its timer is due. */
void client_tick(struct client *c);

/* Arms the timer anew: the ping interval has changed. */
void client_rearm(struct client *c);

#endif
