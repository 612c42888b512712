/* The daily report: records of relays and of the ledger in, sums by day, path, region and codec
 * out.
 *
 *     usage_report_new() ─► _relay() _call() _quality() _push() _sums() _archived() in any order,
 *     doubled or not ─► usage_report_close() ─► days, rows, pushes, users, sorted
 *
 * The same records in another order give the same report. Days are UTC, counted since 1970. A
 * call's day is the one when it was made; an allocation's bytes belong to the day of the record
 * that first told of them. A call is joined with its allocations by its id, which is in the
 * credential.
 *
 * Pure; one thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_USAGE_REPORT_H
#define SORI_SERVER_USAGE_REPORT_H

#include "server/ledger.h"
#include "server/relay_record.h"
#include "server/usage_hist.h"
#include "server/usage_wire.h"

enum {
    USAGE_NAME_MAX = 64,    /* bytes of a region, codec, kind, reason */
    USAGE_NAMES_MAX = 512,  /* different ones of each; others become "other" */
    USAGE_DAY_MAX = 47481,  /* 2099-12-31 */
    USAGE_MOS_BUCKETS = 36, /* a tenth each, from 1.0 */
    USAGE_USER_BYTES = 8,   /* of a hashed user */
};

/* How a call's media went. */
enum usage_path {
    USAGE_P2P,
    USAGE_TURN_UDP,
    USAGE_TURN_TCP,
    USAGE_TURN_TLS,
    USAGE_TURN_DTLS,
    USAGE_SFU,
    USAGE_PATH_UNKNOWN,
    USAGE_PATH_COUNT
};
/* "p2p", "turn-udp" … "sfu", "unknown". */
const char *usage_path_name(enum usage_path p);
/* Returns 0 or -EINVAL (*out untouched). */
int usage_path_parse(struct slice name, enum usage_path *out);
static inline bool usage_path_is_turn(enum usage_path p)
{
    return p >= USAGE_TURN_UDP && p <= USAGE_TURN_DTLS;
}

/* What a leg's device was connected by, as it told. */
enum usage_network {
    USAGE_WIFI,
    USAGE_CELLULAR,
    USAGE_ETHERNET,
    USAGE_VPN,
    USAGE_OTHER_NETWORK,
    USAGE_NETWORK_UNKNOWN, /* not told: no leg of it is counted */
    USAGE_NETWORK_COUNT = USAGE_NETWORK_UNKNOWN
};
const char *usage_network_name(enum usage_network n);      /* "wifi" … "other" */
enum usage_network usage_network_parse(struct slice name); /* UNKNOWN for any other word */

/* Legs of one network. */
struct usage_net {
    uint64_t legs, ice_failed; /* of calls that ended because media could not flow */
    uint64_t mos_n, mos_milli; /* those that were judged, and their sum */
};

/* What relays moved: payload as they count it, and what that is on the network (estimated). */
struct usage_traffic {
    uint64_t up_pkts, up_bytes, down_pkts, down_bytes;
    uint64_t wire_in, wire_out;
};

/* One line of the table; day, path, region and codec are its key. */
struct usage_row {
    uint32_t day;
    enum usage_path path;
    const char *region, *codec; /* lent by the report; "": unknown */
    uint64_t calls[LEDGER_OUTCOME_COUNT];
    uint64_t seconds;    /* from answer to end */
    uint64_t ice_failed; /* ended because media could not flow */
    uint64_t inferred;   /* answered calls that are held for p2p because no relay carried them */
    uint64_t allocations, alloc_seconds;
    struct usage_traffic traffic;
    struct usage_voice voice;  /* of calls without video */
    uint64_t mos_n, mos_milli; /* legs, and their sum */
    uint64_t mos[USAGE_MOS_BUCKETS];
    struct usage_net net[USAGE_NETWORK_COUNT];
};

struct usage_push_row {
    uint32_t day;
    unsigned status; /* HTTP; 0: no answer */
    const char *kind, *reason;
    uint64_t count;
};

/* What belongs to a day as a whole. */
struct usage_day {
    uint32_t day;
    bool archived;            /* its rows came from the archive */
    uint64_t detail;          /* records that its rows were made from, doubles not counted */
    struct usage_hist pdd;    /* invite to ringing */
    struct usage_hist wake;   /* push to ringing */
    struct usage_hist answer; /* push to the service's answer */
};

/* A user of relays over all days of the report. */
struct usage_user {
    uint8_t hash[USAGE_USER_BYTES];
    uint64_t bytes, allocations, seconds;
};

/* What was left out, and why. */
struct usage_skipped {
    uint64_t future;  /* more than a day ahead of now */
    uint64_t outside; /* before 1970 or after 2099, or ends before it begins */
};

struct usage_conf {
    uint32_t from, to; /* days, both in the report; what is outside serves the month's tiers */
    uint64_t now_s;    /* Unix time */
    uint64_t relayed_bytes_s; /* a call was relayed if its allocations carried so much a second */
    size_t most;              /* calls and allocations that are held at once: 200 bytes each */
    struct slice user_key;    /* users are hashed with it; lent until close */
};

struct usage_report;

/* An empty report, or NULL when memory is out. _free(NULL) is allowed. */
struct usage_report *usage_report_new(const struct usage_conf *conf);
void usage_report_free(struct usage_report *r);

/* A call as the ledger has it: once it has ended. */
struct usage_call {
    struct sig_call_id id;
    uint64_t created_ms, ring_ms, answer_ms, end_ms;
    enum ledger_outcome outcome;
    enum sig_reason reason;
    enum ledger_path path;
    bool group, video;
    struct slice region;
};
/* One leg's quality. */
struct usage_leg {
    struct sig_call_id id;
    struct slice codec, network, leg;
    uint64_t at_ms;
    enum ledger_path path;
    unsigned samples, mos_milli;
};
struct usage_push {
    struct sig_call_id id;
    struct slice kind, reason;
    unsigned status;
    uint64_t sent_ms, answered_ms;
};
/* A day's sum that the ledger keeps when its calls are gone (or were never kept). */
struct usage_sum {
    uint32_t day;
    struct slice region;
    enum ledger_path path;
    enum ledger_outcome outcome;
    uint64_t calls, seconds, ice_failed;
};
/* The same for pushes. */
struct usage_push_sum {
    uint32_t day;
    struct slice kind, reason;
    unsigned status;
    uint64_t count;
};

/* Each returns 0 (also for what is counted as skipped), -ENOMEM, or -ENOSPC: more than conf->most:
 * the report is of no use, take fewer days. relay may come doubled; calls, legs, pushes and sums
 * come once each, as a database gives them. */
int usage_report_relay(struct usage_report *r, const struct relay_record *rec);
int usage_report_call(struct usage_report *r, const struct usage_call *c);
int usage_report_leg(struct usage_report *r, const struct usage_leg *l);
int usage_report_push(struct usage_report *r, const struct usage_push *p);
int usage_report_sum(struct usage_report *r, const struct usage_sum *s);
int usage_report_push_sum(struct usage_report *r, const struct usage_push_sum *s);

/* A day as it was archived: beginning with the day, then its rows and pushes (texts are copied). It
 * takes the place of what the records give for that day if it was made from more of them. */
int usage_report_archived_day(struct usage_report *r, const struct usage_day *d);
int usage_report_archived_row(struct usage_report *r, const struct usage_row *row);
int usage_report_archived_push(struct usage_report *r, const struct usage_push_row *row);

/* Joins and sums up. Once; nothing may be added after it. Returns 0 or -ENOMEM. */
int usage_report_close(struct usage_report *r);

/* After close; sorted: by day, then path, region, codec; users by bytes, most first. All days that
 * were given, those outside from..to too. */
const struct usage_row *usage_report_rows(const struct usage_report *r, size_t *n);
const struct usage_push_row *usage_report_pushes(const struct usage_report *r, size_t *n);
const struct usage_day *usage_report_days(const struct usage_report *r, size_t *n);
const struct usage_user *usage_report_users(const struct usage_report *r, size_t *n);
const struct usage_skipped *usage_report_skipped(const struct usage_report *r);
const struct usage_conf *usage_report_conf(const struct usage_report *r);

/* Adds other's sums to row (the key stays). */
void usage_row_add(struct usage_row *row, const struct usage_row *other);
/* All calls of a row. */
uint64_t usage_row_calls(const struct usage_row *row);
/* Its MOS × 1000: mean, and what permille of the legs are below (in the middle of a tenth); 0
 * without legs. */
unsigned usage_row_mos(const struct usage_row *row);
unsigned usage_net_mos(const struct usage_net *n); /* the mean, x 1000; 0: none was judged */
unsigned usage_row_mos_quantile(const struct usage_row *row, unsigned permille);

/* "2026-11-28" and back. Returns 0 or -EBADMSG. */
#define USAGE_DAY_TEXT 10
void usage_day_write(struct wr *w, uint32_t day);
int usage_day_parse(struct slice text, uint32_t *day);

#endif
