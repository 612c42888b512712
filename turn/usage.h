/* The record of one allocation's use, as a log line. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_USAGE_H
#define SORI_TURN_USAGE_H

#include "turn/alloc.h"
#include "turn/media_quality.h"

/* How users appear in the log. */
enum usage_user {
    USAGE_USER_HASHED, /* 16 hex digits, the same for one user until the process restarts */
    USAGE_USER_PLAIN,
    USAGE_USER_NONE,
};

#define USAGE_VERSION  1    /* of the JSON record; a reader refuses what it does not know */
#define USAGE_TEXT_MAX 6144 /* a name of control characters grows sixfold in JSON */

/* Writes the record of an allocation as it is at now_us: realm, user, call id (of a time-limited
 * username), packets and bytes each way so far, seconds. why: one word for one that ends, NULL for
 * one that lives on. */
void usage_format(struct wr *w, const struct alloc *a, struct slice realm, enum usage_user privacy,
                  const char *why, uint64_t now_us);

/* Writes the same record as one JSON object. id: its number in this worker, of which boot is a
 * random name: together they tell one record from any other. boot and the allocation's number name
 * the allocation. wall_us: Unix time. node, region: as configured, or empty. */
struct usage_stamp {
    uint64_t boot, id, now_us, wall_us;
    struct slice node, region;
};
void usage_json(struct wr *w, const struct alloc *a, struct slice realm, enum usage_user privacy,
                const char *why, const struct usage_stamp *stamp);

/* Writes what one interval of a's media was like as one JSON object, for sori-server
 * (docs/CLUSTER.md): call, user (plain: it tells which end it was), the figures of each way. */
void usage_media_json(struct wr *w, const struct alloc *a, const struct media_report *media,
                      const struct usage_stamp *stamp);

/* Calls fn(arg, a) for allocations that have lived interval_us since they began or were last given,
 * for some of them when there are many: asked 16 times an interval, it gives each in time or half
 * an interval late. fn must not end allocations. */
typedef void usage_fn(void *arg, const struct alloc *a);
void usage_due(const struct alloc_table *t, uint64_t interval_us, uint64_t now_us, usage_fn *fn,
               void *arg);

#endif
