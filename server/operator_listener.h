/* The operator's socket: a Unix socket of mode 0600 that sorictl speaks to (operator.h).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_OPERATOR_LISTENER_H
#define SORI_SERVER_OPERATOR_LISTENER_H

#include "server/operator.h"
#include "server/ws_listener.h"

struct operator_listener;

/* What the daemon does for it; called on the worker. */
struct operator_host {
    struct operator_facts (*facts)(void *arg);
    /* Begins the end: clients go elsewhere within that time. */
    void (*drain)(void *arg, uint64_t within_us);
    void *arg;
};

#define OPERATOR_LISTENER_ERR_MAX 256

/* Opens the socket at path (lent) and serves it on w, which does not run yet. NULL with err. */
struct operator_listener *operator_listener_new(struct worker *w, const char *path,
                                                struct router *r, struct ws_listener *clock,
                                                const struct operator_host *host,
                                                char err[OPERATOR_LISTENER_ERR_MAX]);

/* Closes everything and removes the socket file; the worker must have stopped, and the ledger
 * ended. NULL is allowed. */
void operator_listener_free(struct operator_listener *l);

#endif
