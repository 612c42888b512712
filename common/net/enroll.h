/* A node's entry in the list that sori-servers read: made, renewed with what is true now, taken out
 * (docs/CLUSTER.md). A machine without sockets on a redis_client with node_record_scripts.
 *
 *     enroll_up()    the client is READY (again): the entry is written at once
 *     enroll_say()   something of the record has changed: with the next renewal, or now
 *     enroll_leave() a clean end: the entry goes, enroll_is_left() when that was answered
 *
 * The entry is renewed three times in the life of its lease. A process takes its name over from one
 * that had it before and does not take it back: the other may be its successor.
 * Pure; of the thread of its client. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_ENROLL_H
#define SORI_NET_ENROLL_H

#include "base/metrics.h"
#include "net/redis_client.h"
#include "proto/node_record.h"

struct enroll_conf {
    struct slice prefix, name; /* borrowed; name: node_record_name_ok() */
    enum node_kind kind;
    uint64_t lease_us;
};

struct enroll_counters {
    struct counter entered; /* gauge: 1 while the entry is known to stand */
    struct counter renewals, failures;
};

/* Embedded; its members are enroll.c's, but for count. */
struct enroll {
    struct enroll_conf conf;
    struct redis_client *client;
    void (*lost)(void *arg);
    void *arg;
    struct redis_call call;
    uint64_t epoch, renew_us, stands_us;
    bool asking, urgent, taken, is_lost, leaving, left;
    size_t key_len, text_len;
    struct enroll_counters count;
    uint8_t key[NODE_RECORD_KEY_MAX], text[NODE_RECORD_TEXT_MAX];
};

/* conf's slices are borrowed. lost(arg) is called once, when another process has taken the name.
 * Nothing is written before enroll_say() and enroll_up(). */
void enroll_init(struct enroll *e, const struct enroll_conf *conf, struct redis_client *client,
                 void (*lost)(void *arg), void *arg);
/* Before its client goes. */
void enroll_fini(struct enroll *e);

/* What the entry says from the next renewal on, or, urgent, at once. Returns 0 or -EMSGSIZE: it is
 * longer than a record may be, and the last one stays. */
int enroll_say(struct enroll *e, const struct node_record *r, bool urgent, uint64_t now_us);

/* The client is READY. */
void enroll_up(struct enroll *e, uint64_t now_us);

/* Takes the entry out, if it is ours. */
void enroll_leave(struct enroll *e, uint64_t now_us);
/* It is out, or nothing more can be done about it. */
bool enroll_is_left(const struct enroll *e);

/* When to call enroll_tick(), which renews; the record is best said just before. */
uint64_t enroll_deadline(const struct enroll *e);
void enroll_tick(struct enroll *e, uint64_t now_us);

#endif
