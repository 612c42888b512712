/* The commands that the presence store gives to Redis: keys and words put together, one function
 * each. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_PRESENCE_COMMAND_H
#define SORI_SERVER_PRESENCE_COMMAND_H

#include "net/redis_client.h"
#include "server/presence_wire.h"

#define PRESENCE_LIFE_US (24 * 3600 * US_PER_S) /* of a user's keys, unless written again */

/* Who gives them. Borrowed. */
struct presence_commands {
    struct redis_client *client;
    struct slice prefix, node;
    uint64_t epoch;
};

/* Each as redis_client_call(): 0 or a negative errno; call NULL: nobody wants to know. */

/* Puts the entry of this node (e->node is ignored), or takes it out. stamp: of its session; empty:
 * it is new. Answered as presence_wire.c tells. */
int presence_command_put(const struct presence_commands *c, struct redis_call *call,
                         struct slice user, const struct presence_entry *e, struct slice stamp,
                         uint64_t now_us);
int presence_command_remove(const struct presence_commands *c, struct redis_call *call,
                            struct slice user, const struct presence_entry *e, uint64_t now_us);
/* Says that this node watches the user, or does no more. */
int presence_command_watch(const struct presence_commands *c, struct redis_call *call,
                           struct slice user, bool on, uint64_t now_us);
/* Fetches the user's hash: device, text, device, text... */
int presence_command_fetch(const struct presence_commands *c, struct redis_call *call,
                           struct slice user, uint64_t now_us);

/* Nobody waits for these: best effort. An entry of a dead node is taken out if it still is this
 * text; something is said in a node's channel. */
void presence_command_purge(const struct presence_commands *c, struct slice user,
                            struct slice device, struct slice text, uint64_t now_us);
void presence_command_say(const struct presence_commands *c, struct slice node,
                          const struct presence_said *said, uint64_t now_us);

#endif
