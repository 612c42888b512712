/* Inside the daily report: usage_report.c takes records in, usage_fold.c makes sums of them.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_USAGE_REPORT_PRIV_H
#define SORI_SERVER_USAGE_REPORT_PRIV_H

#include "base/htable.h"
#include "server/usage_report.h"

/* Texts that are the same are one. */
struct usage_name {
    struct hnode node;
    char text[USAGE_NAME_MAX + 1];
};
struct usage_names {
    struct htable table;
};

/* The most that an allocation's records of one day told. */
struct usage_alloc_day {
    struct usage_alloc_day *next;
    uint32_t day;
    uint64_t up_pkts, up_bytes, down_pkts, down_bytes;
};

struct usage_user_entry {
    struct hnode node;
    struct usage_user sum;
};

struct usage_call_entry;

struct usage_alloc {
    struct hnode node;
    uint64_t boot, serial;
    struct usage_alloc_day first, *more; /* in no order */
    uint64_t seconds;
    enum relay_transport transport;
    bool ipv6;
    const char *region;
    struct usage_call_entry *call; /* NULL: its user has no call */
    struct usage_user_entry *user; /* NULL: not told */
};

struct usage_leg_entry {
    struct usage_leg_entry *next;
    uint32_t day;
    unsigned samples, mos_milli;
    enum usage_network network;
    bool relay; /* as far as a relay: where nobody else has told */
    enum ledger_path path;
    const char *codec;
};

struct usage_call_entry {
    struct hnode node;
    struct sig_call_id id;
    bool known; /* the ledger has it: what follows is from there */
    bool group, video, media_failed;
    enum ledger_outcome outcome;
    enum ledger_path path;
    uint32_t day;
    uint64_t created_ms, ring_ms, seconds;
    const char *region;
    uint64_t pushed_ms; /* its first ring push; 0: none */
    struct usage_leg_entry *legs;
    /* Of its allocations, from fold_allocs() on. */
    uint64_t relayed_bytes, best_bytes, alloc_seconds;
    enum relay_transport best;
    const char *relay_region;
    uint32_t relay_day; /* the first; 0: none */
    /* And from fold_calls() on. */
    enum usage_path row_path;
    const char *codec;
};

struct usage_row_entry {
    struct hnode node;
    bool archived;
    struct usage_row row;
};
struct usage_push_entry {
    struct hnode node;
    bool archived;
    uint64_t sum; /* as the ledger has it: no less than its log, which is shortened */
    struct usage_push_row row;
};
/* Calls of one day and outcome, without names. */
struct usage_nameless {
    uint64_t calls, seconds, ice_failed;
};

struct usage_day_entry {
    struct hnode node;
    bool has_archive, relays; /* relays: there are records of relays of this day */
    uint64_t archived_detail;
    struct usage_day fresh, archive;
    /* Of what the ledger sums up, calls by outcome that it still has. */
    struct usage_nameless known[LEDGER_PATH_COUNT][LEDGER_OUTCOME_COUNT]; /* by the ledger's path */
};
struct usage_sum_entry {
    struct usage_sum_entry *next;
    struct usage_sum sum;
    const char *region;
};

struct usage_report {
    struct usage_conf conf;
    struct usage_skipped skipped;
    struct usage_names regions, codecs, kinds, reasons;
    struct htable allocs, calls, users, rows, pushes, days;
    struct usage_sum_entry *sums;
    size_t held; /* allocations, calls, legs, users */
    bool ledger; /* there are calls or sums of a ledger */
    struct usage_row *row_list;
    struct usage_push_row *push_list;
    struct usage_day *day_list;
    struct usage_user *user_list;
    size_t rows_n, pushes_n, days_n, users_n;
};

/* One text of those that are equal, lent; "other" when there are too many. NULL: memory is out. */
const char *usage_name_of(struct usage_names *n, struct slice text);
/* The entry with this key, made when it is not there. NULL: memory is out. */
struct usage_row *usage_row_at(struct usage_report *r, bool archived, uint32_t day,
                               enum usage_path path, const char *region, const char *codec);
struct usage_push_entry *usage_push_at(struct usage_report *r, bool archived, uint32_t day,
                                       const char *kind, unsigned status, const char *reason);
struct usage_day_entry *usage_day_at(struct usage_report *r, uint32_t day);

/* Bytes in seconds are media, not connectivity checks alone. */
bool usage_was_relayed(const struct usage_report *r, uint64_t bytes, uint64_t seconds);
enum usage_path usage_path_of(enum relay_transport t);
void usage_traffic_add(struct usage_traffic *t, const struct usage_traffic *more);

/* Steps of usage_report_close(), after calls and allocations: each returns 0 or -ENOMEM. */
int usage_fold_nameless(struct usage_report *r);
int usage_list(struct usage_report *r);

#endif
