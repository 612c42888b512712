/* A room as bytes, for the node that goes on with it when ours is gone (docs/CLUSTER.md): the room,
 * and each seat that is in, on its own. What the SFU tells anyway (slots, layers, news of media) is
 * not in them. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_ROOM_SNAPSHOT_H
#define SORI_SERVER_ROOM_SNAPSHOT_H

#include "server/room_table.h"

#define ROOM_SNAPSHOT_MAX      20480 /* of a room: its guests and who is banned */
#define ROOM_SNAPSHOT_SEAT_MAX 16384 /* of a seat, with all its tracks */

/* sfu, server: names of the room's media server, and of this node, whose room it is there. */
void room_snapshot_write(struct wr *w, const struct room *r, struct slice sfu, struct slice server);
/* Makes the room again, without seats. *sfu, *server borrow from bytes. NULL: the bytes are none of
 * ours, there is a room of that id, or memory is out. */
struct room *room_snapshot_read(struct room_table *t, struct slice id, struct slice bytes,
                                struct slice *sfu, struct slice *server, uint64_t now_us);

/* One seat that is in. ROOM_SNAPSHOT_SEAT_MAX bytes are enough. */
void room_snapshot_seat_write(struct wr *w, const struct seat *s, uint64_t now_us,
                              uint64_t wall_us);
/* Puts the seat into its room again: in, nowhere, without a socket. NULL: as above. */
struct seat *room_snapshot_seat_read(struct room_table *t, struct room *r, struct slice id,
                                     struct slice bytes, uint64_t now_us, uint64_t wall_us);

#endif
