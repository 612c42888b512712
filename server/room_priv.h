/* Inside of the room table, shared by room_table.c (life), room_rules.c (what members do) and
 * room_media.c (what the SFU says). Nobody else includes it. SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef SORI_SERVER_ROOM_PRIV_H
#define SORI_SERVER_ROOM_PRIV_H

#include "server/seat.h"

/* A user that is invited to, or banned from, one room. */
struct room_guest {
    struct list link;
    bool admin; /* comes in as one */
    size_t len;
    char user[];
};

struct room_table {
    struct room_conf conf;
    const struct room_ops *ops;
    void *arg;
    struct htable by_id, seats_by_id, seats_by_device, seats_by_user;
    struct timerwheel *rooms_wheel, *seats_wheel;
};

/* Tells; room_say_person() and room_say_track() tell the others about s unless they do not see
 * it, room_say_owner() its own device. */
void room_say(const struct room_table *t, struct room *r, struct seat *to,
              const struct room_note *note);
void room_say_person(const struct room_table *t, const struct seat *s, enum room_event event,
                     enum room_reason reason);
void room_say_track(const struct room_table *t, const struct seat *s,
                    const struct seat_track *track, enum room_event event, struct slice by);
void room_say_owner(const struct room_table *t, struct seat *s, const struct seat_track *track,
                    enum room_event event, struct slice by);
/* Tells the others when the state of s that they know is no longer true. */
void room_review(const struct room_table *t, struct seat *s);
/* A command about s to its room's node, if it has one. Fills in whom it is about. */
void room_command(const struct room_table *t, const struct seat *s, struct ctl_msg *m);
/* Another seat of the same device in the same room, or NULL. */
struct seat *room_twin(const struct room_table *t, const struct seat *s);
/* The router hears that what is saved of a seat (NULL: of the room) is no longer true. */
void room_touch(const struct room_table *t, struct room *r, struct seat *s);
/* Makes an empty room; puts a new seat into one. NULL: memory is out. */
struct room *room_new(struct room_table *t, struct slice id, uint64_t now_us);
void room_add_seat(struct room_table *t, struct room *r, struct seat *s);
/* Sets the timer of a seat to what is due next. */
void room_arm_seat(struct room_table *t, struct seat *s);
/* Looks a user up on a list of guests; adds it (NULL: no memory, or the list is full). */
struct room_guest *room_guest_find(const struct list *head, struct slice user);
struct room_guest *room_guest_add(struct list *head, size_t *n, struct slice user);

#endif
