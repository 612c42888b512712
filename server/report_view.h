/* What the report says, before it is put into any form: the days that were asked for, their sums,
 * prices and what-ifs. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_REPORT_VIEW_H
#define SORI_SERVER_REPORT_VIEW_H

#include "server/report_conf.h"
#include "server/usage_report.h"

/* Lines and files that were read, and why some were not used. */
struct report_inputs {
    uint64_t files, lines;
    uint64_t damaged, version, absurd; /* lines: relay_record_decode() */
    uint64_t archived, bad_archives;   /* days */
    bool ledger;
};

enum report_whatif_kind {
    REPORT_PACKETS, /* longer packets */
    REPORT_SILENCE, /* silence suppressed */
    REPORT_BITRATE, /* a lower rate */
    REPORT_SHARE_LESS,
    REPORT_SHARE_MORE, /* of calls over relays */
    REPORT_WHATIF_COUNT
};

struct report_whatif {
    bool possible; /* false: nothing is known that could be changed */
    uint64_t out_bytes, in_bytes;
    uint64_t nanos; /* of traffic */
};

struct report_view {
    const struct report_conf *conf;
    const struct usage_report *report; /* closed; lent */
    const struct report_inputs *inputs;
    uint64_t now_s;
    uint32_t from, to;
    /* Of the days from..to, lent by the report. */
    const struct usage_row *rows;
    const struct usage_push_row *pushes;
    const struct usage_day *days;
    size_t rows_n, pushes_n, days_n;
    const struct usage_user *users;
    size_t users_n;         /* conf->top_users at most */
    uint64_t *row_nanos;    /* what the traffic of each row costs; ours */
    uint64_t *day_nanos;    /* and of each day */
    uint64_t traffic_nanos; /* all of it */
    uint64_t fixed_nanos;   /* share of these days in monthly costs */
    struct usage_row total, path[USAGE_PATH_COUNT];
    uint64_t path_nanos[USAGE_PATH_COUNT];
    struct usage_hist pdd, wake, answer;
    uint64_t pushes_taken, pushes_all;
    struct report_whatif whatif[REPORT_WHATIF_COUNT];
};

/* Everything lent must outlive the view. Returns 0 or -ENOMEM; then it is to be freed all the same.
 */
int report_view_init(struct report_view *v, const struct usage_report *r,
                     const struct report_conf *conf, const struct report_inputs *inputs);
/* A zeroed struct is allowed. */
void report_view_fini(struct report_view *v);

/* Thousandths of calls that were answered; of answered calls whose path is known, those over a
 * relay; of answered calls, those whose media failed. 0 without any. */
unsigned report_answer_rate(const struct usage_row *total);
unsigned report_relay_share(const struct report_view *v);
unsigned report_ice_failures(const struct usage_row *total);

/* "40 ms packets" and the like, NUL ended. */
#define REPORT_WHATIF_TEXT 64
const char *report_whatif_text(const struct report_view *v, enum report_whatif_kind k,
                               char out[REPORT_WHATIF_TEXT]);
/* "packet_length" …: its name in files. */
const char *report_whatif_name(enum report_whatif_kind k);

#endif
