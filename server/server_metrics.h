/* Names of sori-server's metrics. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_SERVER_METRICS_H
#define SORI_SERVER_SERVER_METRICS_H

#include "server/export_sock.h"
#include "server/push.h"
#include "server/router.h"
#include "server/ws_listener.h"

/* Registers every counter under its Prometheus name; the cells must outlive m. */
void server_metrics_register(struct metrics *m, const struct router_counters *r,
                             const struct ws_counters *w);

/* The same for rings; p may be NULL. */
void server_metrics_push(struct metrics *m, struct push *p);
/* The same for exports that are fetched. */
void server_metrics_exports(struct metrics *m, const struct export_sock_counters *c);

#endif
