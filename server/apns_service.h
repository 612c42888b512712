/* Apple's push service as the router knows services: jobs of push.h become pushes of apns.h,
 * verdicts come back. Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_APNS_SERVICE_H
#define SORI_SERVER_APNS_SERVICE_H

#include "server/apns.h"
#include "server/push.h"
#include "server/router.h"

struct apns_service {
    struct router_push_service service; /* router_set_push() */
    struct apns *_apns;
    void (*_before)(void *arg), (*_enter)(void *arg);
    void *_arg;
};

/* before(arg) is called ahead of each use of a, enter(arg) ahead of each verdict: the shell sets
 * the clocks of both sides. Each may be NULL. */
void apns_service_init(struct apns_service *s, struct apns *a, void (*before)(void *arg),
                       void (*enter)(void *arg), void *arg);

/* The environment in the words of the other side. */
enum ledger_env apns_service_env(enum apns_env e);

/* A verdict of Apple's as one of push.h; its texts are static or v's. */
struct push_verdict apns_service_verdict(const struct apns_verdict *v);

#endif
