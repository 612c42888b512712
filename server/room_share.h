/* Rooms in Redis: which node runs each, and what another one needs to go on with it
 * (docs/CLUSTER.md). Every write compares the owner first: who has lost a room, because it was
 * taken for dead, is told by its next write. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_ROOM_SHARE_H
#define SORI_SERVER_ROOM_SHARE_H

#include "server/call_claims.h"

enum room_share_script { ROOM_SHARE_CLAIM, ROOM_SHARE_KEEP, ROOM_SHARE_DROP, ROOM_SHARE_SCRIPTS };
extern const struct slice room_share_scripts[ROOM_SHARE_SCRIPTS];

#define ROOM_SHARE_AT_ONCE 16 /* fields of one save, and ids of seats that are gone */

/* What is saved: fields (name, value, …), and names of fields that are gone. */
struct room_share_save {
    struct slice fields[2 * ROOM_SHARE_AT_ONCE], gone[ROOM_SHARE_AT_ONCE];
    size_t fields_n, gone_n; /* fields_n: of names and values together */
};

/* c: as for claims; its client has room_share_scripts from `first` on. Each asks for one command
 * and returns as redis_client_call(); also -EINVAL.
 *
 * Makes the room ours when it is nobody's, or that of a dead process (dead: its text, or empty).
 * Answered "ok" and all fields, or the owner's text (call_share_owner()). */
int room_share_claim(const struct call_claims *c, unsigned first, struct redis_call *call,
                     struct slice room, struct slice dead, uint64_t life_us, uint64_t now_us);
/* Ours, as it is now. Answered "ok", or the owner's text when it is another's. */
int room_share_keep(const struct call_claims *c, unsigned first, struct redis_call *call,
                    struct slice room, const struct room_share_save *s, uint64_t life_us,
                    uint64_t now_us);
/* It is over, if it is ours. */
void room_share_drop(const struct call_claims *c, unsigned first, struct slice room,
                     uint64_t now_us);

#endif
