/* What one seat holds: tracks, slots, wishes; for room_table.c and seat.c only.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_SEAT_H
#define SORI_SERVER_SEAT_H

#include "server/room_table.h"

/* A seat with its names copied, on no list. NULL: memory is out. */
struct seat *seat_new(const struct room_entry *in, struct slice id);
void seat_free(struct seat *s); /* NULL is allowed */

/* Adds or changes a track as the SFU describes it. *fresh: it is new; *changed: something that
 * others see is different. NULL: memory is out, or CTL_TRACKS_MAX are there. */
struct seat_track *seat_track_put(struct seat *s, const struct ctl_track *t, bool *fresh,
                                  bool *changed);
void seat_track_del(struct seat *s, struct seat_track *t); /* frees it */

/* Replaces the slots; without memory the old ones stay. */
void seat_slots_put(struct seat *s, const struct ctl_slot *v, size_t n);
/* Replaces metadata or name (a heap copy). False: memory is out. */
bool seat_text_put(struct slice *field, struct slice text);

enum sig_room_role seat_role_of(const struct sig_room_perms *p); /* what they amount to */

#endif
