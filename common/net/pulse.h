/* Whether workers still turn: each is asked by mail, and answers when it gets to its mail.
 *
 * For the service manager's watchdog: a process whose main thread is fine and whose worker hangs in
 * a packet is no working process. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_PULSE_H
#define SORI_NET_PULSE_H

#include "net/worker.h"

struct pulse;

/* For at most max workers. NULL when memory is out. */
struct pulse *pulse_new(size_t max);
/* Frees it; the threads of the workers must have ended. NULL is allowed. */
void pulse_free(struct pulse *p);

/* Adds one of the max workers. Before the first beat. */
void pulse_add(struct pulse *p, struct worker *w);

/* True when every worker has answered since the last call (the first one is always true). Asks all
 * that have answered again. One thread. */
bool pulse_beat(struct pulse *p);

#endif
