/* The SFU's end of the control protocol without its sockets: connections of sori-servers and of the
 * operator, what each server has here, which worker a room lives on.
 *
 *     c = ctl_hub_open(h, user, operator, now)      a connection; the challenge is sent
 *     used = ctl_hub_data(h, c, bytes, now)         what came; the rest comes again with more
 *     ctl_hub_closed(h, c, now)                     it is gone
 *     ctl_hub_said(h, sayings, now)                 what workers say (sfu_worker.h)
 *     ctl_hub_tick(h, now)                          every CTL_HUB_TICK_US
 *
 * Pure; owned by the control thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_CTL_HUB_H
#define SORI_SFU_CTL_HUB_H

#include "base/clock.h"
#include "base/list.h"
#include "base/metrics.h"
#include "sfu/sfu_conf.h"

struct ctl_conn;
struct ctl_hub;

#define CTL_HUB_TICK_US (500 * US_PER_MS)

/* What the node is at the moment. */
struct ctl_hub_state {
    unsigned workers, load; /* load: 0 .. 1000 */
    uint64_t rooms, participants;
};

struct ctl_hub_ops {
    /* Queues bytes for a connection; false: more than may wait, or it is broken (it is then closed:
     * a server finds the rest after a reconnect). */
    bool (*send)(void *user, struct slice bytes);
    /* Ends it once everything queued has left. Not called from inside another op. */
    void (*close)(void *user);
    /* The worker a new room goes to. */
    unsigned (*place)(void *arg);
    /* Hand a worker a request (0 or -ENOMEM), have it close a room, have all take new rooms or not.
     */
    int (*request)(void *arg, unsigned worker, uint64_t epoch, struct slice key, struct slice text);
    void (*close_room)(void *arg, unsigned worker, struct slice key);
    void (*drain)(void *arg, bool on);
    void (*state)(void *arg, struct ctl_hub_state *out);
};

struct ctl_hub_counters {
    struct counter connections; /* gauge */
    struct counter refused, requests, repeats, stale, bad, events, events_lost;
};

/* conf is borrowed. epoch: random, not 0, at most 2^52. NULL when memory is out. */
struct ctl_hub *ctl_hub_new(const struct sfu_conf *conf, uint64_t epoch,
                            const struct ctl_hub_ops *ops, void *arg);
void ctl_hub_free(struct ctl_hub *h); /* connections are forgotten; NULL is allowed */

/* NULL: refused (too many, or no memory); the caller closes it. */
struct ctl_conn *ctl_hub_open(struct ctl_hub *h, void *user, bool operator_, uint64_t now_us);
/* Returns how many bytes were taken. */
size_t ctl_hub_data(struct ctl_hub *h, struct ctl_conn *c, struct slice bytes, uint64_t now_us);
/* The connection is gone; c is freed. */
void ctl_hub_closed(struct ctl_hub *h, struct ctl_conn *c, uint64_t now_us);

/* Takes a list of struct sfu_saying and frees them. */
void ctl_hub_said(struct ctl_hub *h, struct list *sayings, uint64_t now_us);

/* Liveness, load events, servers that stay away. */
void ctl_hub_tick(struct ctl_hub *h, uint64_t now_us);

/* No new rooms, or again: tells the servers. */
void ctl_hub_drain(struct ctl_hub *h, bool on, uint64_t now_us);

/* What it counts. */
struct ctl_hub_counters *ctl_hub_count(struct ctl_hub *h);

#endif
