/* Names to addresses without waiting: getaddrinfo() on a thread of its own.
 *
 * Nothing is kept: each question asks the system anew. Questions are answered one after another, so
 * a resolver belongs to one purpose. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_RESOLVE_H
#define SORI_NET_RESOLVE_H

#include "base/addr.h"

#define RESOLVE_ADDRS_MAX 16
#define RESOLVE_HOST_MAX  253 /* characters of a name (RFC 1035 §2.3.4) */

struct resolver;
struct resolve_query;
struct worker;

/* addrs: n of them (0: none, why says it, else it is ""), lent. Called once, on the worker. */
typedef void resolve_fn(void *arg, const struct addr *addrs, size_t n, const char *why);

/* NULL when memory or threads are out. */
struct resolver *resolver_new(struct worker *w);
/* No answers after it; cancel what is asked first. Does not wait for the question being asked. NULL
 * is allowed. */
void resolver_free(struct resolver *r);

/* Asks for the addresses of host (a name, or an address in text), which get the port. NULL when
 * memory is out or host is longer than a name. The query is gone once fn has been called. */
struct resolve_query *resolver_ask(struct resolver *r, const char *host, uint16_t port,
                                   resolve_fn *fn, void *arg);
/* fn is not called. NULL is allowed. */
void resolver_cancel(struct resolve_query *q);

#endif
