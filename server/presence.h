/* Presence as others see it: devices summed up per user, subscriptions, gathered changes
 * (docs/SIGNALING.md §4).
 *
 * An unknown user, an offline one and an invisible one look the same, here and on the wire. Of
 * several attached devices the most reachable wins: online, busy, away.
 *
 *     presence_put(p, &entry, now);                        the session came, went, set its state
 *     presence_subscribe(p, &w, users, re, &out, now);     the reply's body is in out
 *     while ((w = presence_pop(p, now)))                   changes are due for a watcher
 *         presence_write(p, w, &out);                      body of one `presence` message
 *
 * Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_PRESENCE_H
#define SORI_SERVER_PRESENCE_H

#include "base/clock.h"
#include "base/timerwheel.h"
#include "server/presence_store.h"

#define PRESENCE_GATHER_US   (500 * US_PER_MS)
#define PRESENCE_WRITE_USERS 100 /* most users in one `presence` message; the rest follows */

struct presence;

/* A session that may subscribe. Embedded by its owner; a zeroed one is valid and has no
 * subscriptions. presence_unwatch_all() before its memory goes. */
struct presence_watcher {
    struct list _subs;  /* its subscriptions, kept by presence.c */
    struct list _dirty; /* those with something to tell */
    struct timer _timer;
    unsigned count; /* subscriptions */
};

/* A presence view over the store (borrowed; it must outlive p; its changed() hook is taken). NULL
 * when memory is out. */
struct presence *presence_new(struct presence_store *store, unsigned subscriptions_max,
                              uint64_t now_us);
/* All watchers must have been unwatched. NULL is allowed. */
void presence_free(struct presence *p);

/* Time for whatever store answers bring until the next call: pass the loop turn's time before a
 * store that answers later is run. The other functions do it themselves. */
void presence_now(struct presence *p, uint64_t now_us);

/* Adds or updates a device; as presence_store_put(). */
int presence_put(struct presence *p, const struct presence_entry *e, uint64_t now_us);
/* Removes a device if it is still this session's; as presence_store_remove(). */
void presence_remove(struct presence *p, struct slice user, struct slice device,
                     const uint8_t session[PRESENCE_SESSION_BYTES], uint64_t generation,
                     uint64_t now_us);

/* Subscribes w to the users of a checked raw array (sig_client_presence_users) and writes the
 * reply's body, {users:[{user,state}]}. Users subscribed before are told again, not counted twice.
 * States that the store does not know yet are written as unknown and follow as a change.
 *
 * Returns 0; -ENOSPC: it would be more than the maximum; -ENOMEM. On failure nothing was changed
 * and nothing written. presence_reply_size() bytes are enough. */
int presence_subscribe(struct presence *p, struct presence_watcher *w, struct slice users_raw,
                       struct slice re, struct wr *out, uint64_t now_us);
size_t presence_reply_size(struct slice users_raw);
/* Ends the subscriptions to those users; others in the list are ignored. */
void presence_unsubscribe(struct presence *p, struct presence_watcher *w, struct slice users_raw);
/* Ends all of them. */
void presence_unwatch_all(struct presence *p, struct presence_watcher *w);
/* Makes every subscription due again at once (after a resume: the client may have missed some). */
void presence_refresh(struct presence *p, struct presence_watcher *w, uint64_t now_us);

/* When presence_pop() is to be called; CLOCK_NEVER when nothing waits. */
uint64_t presence_deadline(const struct presence *p);
/* A watcher whose changes have been gathered long enough, or NULL. Write them, or (nobody is there
 * to hear) drop them by presence_drop(): then it is not due any more. */
struct presence_watcher *presence_pop(struct presence *p, uint64_t now_us);
/* Writes the body of one `presence` message with up to PRESENCE_WRITE_USERS changes. True when it
 * wrote something: call again for the rest. PRESENCE_WRITE_BYTES are enough. */
bool presence_write(struct presence *p, struct presence_watcher *w, struct wr *out);
#define PRESENCE_WRITE_BYTES ((size_t)32768)
void presence_drop(struct presence *p, struct presence_watcher *w);

/* The state of a user as another one sees it, out of its entries. */
enum sig_presence presence_of(const struct presence_entry *entries, size_t n);

/* Writes the users that w follows as an array of ids. */
void presence_watched(const struct presence *p, const struct presence_watcher *w, struct wr *out);

/* How many users are watched. */
size_t presence_topics(const struct presence *p);

#endif
