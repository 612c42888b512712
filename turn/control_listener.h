/* The control socket: a Unix socket of mode 0600 that sori-turnctl speaks to.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_CONTROL_LISTENER_H
#define SORI_TURN_CONTROL_LISTENER_H

#include "turn/turn_node.h"

struct control_listener;

#define CONTROL_ERR_MAX 256

/* Opens the socket and serves it in a thread of its own, one connection at a time, until stopped.
 * A socket file that nobody listens on any more is replaced. path is lent. drain(): called in that
 * thread, must return at once. The node outlives the listener and its workers run. NULL with err.
 */
struct control_listener *control_listener_start(const char *path, struct turn_node *node,
                                                void (*drain)(void), char err[CONTROL_ERR_MAX]);

/* Ends the thread and removes the socket file. NULL is allowed. */
void control_listener_stop(struct control_listener *l);

#endif
