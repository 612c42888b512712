/* A live call as bytes, so that another node can go on with it (docs/CLUSTER.md). Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_SNAPSHOT_H
#define SORI_SERVER_CALL_SNAPSHOT_H

#include "server/call.h"

/* Enough for every call: offer, answer, metadata, and what legs and caller have kept. */
#define CALL_SNAPSHOT_MAX          \
    ((size_t)3 * SIG_LARGE_BYTES + \
     (CALL_LEGS_MAX + 1) * (CALL_KEPT_BYTES_MAX + 4 * CALL_KEPT_MAX) + (size_t)16384)

/* Writes c: its texts and its state, one behind the other. wall_us: the wall clock at now_us: time
 * goes on while nobody has the call. */
void call_snapshot_write(struct wr *w, const struct call *c, uint64_t now_us, uint64_t wall_us);

/* The two apart. The texts (offer, answer, metadata) change seldom: only with their mark. Of the
 * state the hash is given: the same one, nothing has changed but the clocks; 0: no room. */
void call_snapshot_texts(struct wr *w, const struct call *c);
uint64_t call_snapshot_texts_mark(const struct call *c);
uint64_t call_snapshot_state(struct wr *w, const struct call *c, uint64_t now_us, uint64_t wall_us);

/* What of it stands elsewhere: whoever saves calls keeps its notes here. */
struct call_saved *call_snapshot_saved(struct call *c);

/* Makes the call again, with the deadlines that it had. What is known of sockets is as it was
 * written: tell the call of those that are not there (CALL_EV_LOST). Offers of a renegotiation that
 * were not answered block nobody. NULL: not a call of ours, or memory is out. conf is borrowed. */
struct call *call_snapshot_read(const struct call_conf *conf, struct slice bytes, uint64_t now_us,
                                uint64_t wall_us);

/* The devices of a call that may have a session, one by one: *pos = 0 first; false at the end. */
bool call_devices(const struct call *c, size_t *pos, struct slice *user, struct slice *device);

#endif
