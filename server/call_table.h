/* All calls of the node: by id, by user, by pair; busy, glare and recall; timers.
 *
 *     call_table_invite(t, &in, policy, &fx, now);      perform(&fx);
 *     call_table_event(t, &id, &ev, &fx, now);          perform(&fx);
 *     struct call_walk k = {0};
 *     while (call_table_session(t, &k, &ev, &fx, now))  perform(&fx);
 *     while (call_table_tick(t, &fx, now))              perform(&fx);
 *
 * fx is cleared by each of them. Effects borrow from the calls until the next call into the table.
 * Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_TABLE_H
#define SORI_SERVER_CALL_TABLE_H

#include "server/call.h"

struct call_table;
struct hnode;

/* Hard limit behind call_table_conf.per_user. */
#define CALL_TABLE_PER_USER_MAX 64

struct call_table_conf {
    struct call_conf call;
    size_t calls;    /* live calls on the node */
    size_t ended;    /* ended calls kept at most; the oldest go first */
    size_t per_user; /* live calls of one user, both roles; 1 .. CALL_TABLE_PER_USER_MAX (cut) */
    bool waiting;    /* busy_policy = waiting */
};

/* NULL when memory is out. */
struct call_table *call_table_new(const struct call_table_conf *conf, uint64_t now_us);
void call_table_free(struct call_table *t); /* NULL is allowed */

/* Performs one invite: a new call, the reply again (same id), glare, recall, or an error
 * (call.exists, call.busy, call.too_many, callee.unreachable, overloaded, internal, bad_request for
 * a call to oneself). in->waiting is ignored: the table knows. */
void call_table_invite(struct call_table *t, const struct call_invite *in, struct call_effects *out,
                       uint64_t now_us);

/* Performs a client's request on a call: call.not_found when there is none or when the device has
 * no part in it. */
void call_table_event(struct call_table *t, const struct sig_call_id *id,
                      const struct call_event *ev, struct call_effects *out, uint64_t now_us);

/* Tells one call after the other that something happened to the session of ev->user/ev->device
 * (CALL_EV_LOST .. CALL_EV_EXPIRED). Zero the walk first; true = out may hold effects, call again.
 * The calls are picked at the first call; more calls into the table in between are fine.
 * waiting_ok: the device said call-waiting (CALL_EV_NEW). */
struct call_walk {
    const struct sig_call_id *only; /* CALL_EV_NEW: this call alone; NULL: all */
    bool started;
    size_t n, at;
    struct sig_call_id ids[CALL_TABLE_PER_USER_MAX];
};
bool call_table_session(struct call_table *t, struct call_walk *walk, const struct call_event *ev,
                        bool waiting_ok, struct call_effects *out, uint64_t now_us);

/* The same for one call and a device that is on another node. False: there is no such live call, or
 * the device has nothing to do with it. */
bool call_table_device(struct call_table *t, const struct sig_call_id *id,
                       const struct call_event *ev, bool waiting_ok, struct call_effects *out,
                       uint64_t now_us);
/* Performs an invite of another node that crosses the call `first` of this one (glare); when that
 * does not ring any more: overloaded, which may be tried again. */
void call_table_cross(struct call_table *t, const struct sig_call_id *first,
                      const struct call_invite *in, struct call_effects *out, uint64_t now_us);

/* Goes on with a call of another node (call_snapshot.h). NULL: it can't be read, is there already,
 * or there is no room. The call is borrowed until the next call into the table. */
struct call *call_table_adopt(struct call_table *t, struct slice bytes, uint64_t now_us,
                              uint64_t wall_us);
/* Another node goes on with it: nobody here is told anything. */
void call_table_forget(struct call_table *t, const struct sig_call_id *id);

/* Ends a call by the server's will (admin, server_error). False when there is no such live call. */
bool call_table_end(struct call_table *t, const struct sig_call_id *id, enum sig_reason reason,
                    struct call_effects *out, uint64_t now_us);

/* Tells a call how it stands with the devices that are pushed for it (CALL_EV_PUSH). False when
 * there is no such live call. */
bool call_table_push(struct call_table *t, const struct sig_call_id *id, bool awaits, bool reached,
                     struct call_effects *out, uint64_t now_us);

/* The next time to tick; CLOCK_NEVER when there is nothing to wait for. */
uint64_t call_table_deadline(const struct call_table *t);
/* Performs one thing that is due. True = something was done (out may hold effects), call again. */
bool call_table_tick(struct call_table *t, struct call_effects *out, uint64_t now_us);

/* Most bytes of offers and answers in one list of views: a welcome and the messages behind it must
 * fit an output queue. */
#define CALL_TABLE_VIEWS_PAYLOAD ((size_t)49152)

/* Writes the array of call views for welcome.activeCalls; descriptions beyond
 * CALL_TABLE_VIEWS_PAYLOAD are left out (call.sync gives them). When it does not fit, w->bad. */
void call_table_views(const struct call_table *t, struct slice user, struct slice device,
                      struct wr *w, uint64_t now_us);
/* Bytes that call_table_views() needs at most right now. */
size_t call_table_views_size(const struct call_table *t, struct slice user, struct slice device);

/* The view of one call as call.sync's reply body data. False: not found. */
bool call_table_view(const struct call_table *t, const struct sig_call_id *id, struct slice user,
                     struct slice device, struct sig_view *out, uint64_t now_us);

/* What the call was when this was asked last: *before. Returns the call when that is another state
 * than now's; NULL: it did not change, or there is none. A new call was inviting before. */
const struct call *call_table_changed(struct call_table *t, const struct sig_call_id *id,
                                      enum sig_call_state *before);

/* The call, ended ones included, or NULL. Borrowed until the next call into the table. */
const struct call *call_table_find(const struct call_table *t, const struct sig_call_id *id);
/* The notes on it, or NULL. */
struct call_saved *call_table_saved(struct call_table *t, const struct sig_call_id *id);
/* Whether the device is a party of a call that is up, dials or rings (5 s pings). */
bool call_table_in_call(const struct call_table *t, struct slice user, struct slice device);
/* The live calls that the device is in, at most CALL_TABLE_PER_USER_MAX. Gives how many. */
size_t call_table_of_device(const struct call_table *t, struct slice user, struct slice device,
                            struct sig_call_id out[CALL_TABLE_PER_USER_MAX]);
/* Visits all calls, ended ones included, as htable_walk(); borrowed until the next call into the
 * table that changes it. */
const struct call *call_table_walk(const struct call_table *t, size_t *pos, struct hnode **saved);
/* Live calls; ended calls still kept. */
size_t call_table_count(const struct call_table *t);
size_t call_table_ended(const struct call_table *t);

#endif
