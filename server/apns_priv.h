/* Inside of the client of Apple's push service, shared by apns.c (keys, pushes in, time),
 * apns_flight.c (one push), apns_judge.c (answers) and apns_trouble.c (keys that are not accepted).
 * Nobody else includes it. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_APNS_PRIV_H
#define SORI_SERVER_APNS_PRIV_H

#include "base/htable.h"
#include "base/log.h"
#include "base/timerwheel.h"
#include "server/apns.h"
#include "server/apns_guard.h"

#define APNS_TRIES 2 /* requests of one push out at once: the first and a hedge */

/* Why a push may be sent a second time; once for each. */
enum apns_second {
    SECOND_SERVER = 1 << 0,
    SECOND_ENV = 1 << 1,
    SECOND_TOKEN = 1 << 2,
    SECOND_SHORT = 1 << 3,
    SECOND_CONN = 1 << 4,
    SECOND_BUSY = 1 << 5,
    SECOND_HEDGE = 1 << 6,
    SECOND_LOST = 1 << 7,
};

struct apns_lane {
    unsigned failed_conn, failures; /* 5xx in a row, on which connection */
};

/* One signing identity in one environment. */
struct apns_ident {
    enum apns_env env;
    struct apns_token *token; /* NULL: a certificate */
    struct apns_lane lanes[APNS_CLASSES];
    bool stopped, probing; /* not accepted; one push is out to see whether it is again */
    uint64_t stop_until_us, stop_us;
    const char *trouble;
};

struct apns_topic {
    struct slice topic;
    int keys[2]; /* production, sandbox; -1: none */
    struct apns_guard guard[2];
    uint8_t text[PUSH_TOPIC_MAX];
};

struct apns_try {
    struct apns_flight *flight;
    unsigned lane, gen; /* of the provider token; 0: none */
    bool out;
};

/* One push under way. Its text follows: hex of the token, headers and payload, the brief one's. */
struct apns_flight {
    struct list link;
    struct hnode node; /* by apns-id */
    struct timer timer;
    struct apns *apns;
    apns_done_fn *done;
    void *ctx;
    struct apns_topic *app;
    enum push_kind kind;
    enum apns_env asked, env; /* the token's as the job says; where it is tried */
    uint64_t started_us, deadline_us, retry_us, hedge_us;
    uint64_t token_hash;
    struct apns_try tries[APNS_TRIES];
    unsigned sent, spent; /* requests; enum apns_second */
    unsigned avoid;       /* connection that the next try goes around */
    bool over;            /* the verdict is out: only answers are waited for */
    bool brief, cancelled, maybe_done;
    struct apns_ident *probes; /* stopped key that this push is to try out; NULL */
    struct apns_answer last;
    struct slice path;
    struct push_apns push, brief_push;
    char id[APNS_ID_TEXT + 1];
    uint8_t text[];
};

struct apns {
    const struct apns_ops *ops;
    void *arg;
    uint64_t now_us, wall_us;
    struct timerwheel *wheel;
    uint64_t woken_us; /* the earliest deadline that was told since the last tick */
    struct list flights;
    struct htable by_id;
    size_t flights_n;
    struct apns_ident keys[APNS_KEYS_MAX];
    size_t keys_n;
    const char *trouble; /* atomic */
    struct log_limit log_reason;
    struct apns_counters count;
    size_t apps_n;
    struct apns_topic apps[];
};

static inline int apns_topic_key(const struct apns_topic *t, enum apns_env env)
{
    return t->keys[env == APNS_SANDBOX];
}

static inline struct apns_ident *apns_lane_ident(struct apns *a, unsigned lane)
{
    return &a->keys[apns_lane_key(lane)];
}

/* Its requests that are out. */
static inline unsigned apns_flight_out(const struct apns_flight *f)
{
    return (unsigned)f->tries[0].out + f->tries[1].out;
}

/* Takes a connection of a lane out of use; conn 0: there is none. */
void apns_retire(struct apns *a, unsigned lane, unsigned conn);

/* ---- keys that are not accepted (apns_trouble.c) ---- */

/* Says anew what an operator must look at. */
void apns_set_trouble(struct apns *a);
/* Apple refuses the key: no pushes with it for a while. */
void apns_key_stop(struct apns *a, struct apns_ident *k, enum apns_reason why);
/* Apple takes the key: whatever it says of a push otherwise. */
void apns_key_works(struct apns *a, struct apns_ident *k);
/* A stopped key takes nothing, and when its time is over one push to see. */
bool apns_key_open(const struct apns *a, const struct apns_ident *k);

/* ---- one push (apns_flight.c) ---- */

/* A flight with its text, not yet on any list. 0, -EINVAL or -ENOMEM. */
int apns_flight_make(struct apns_flight **out, const struct apns_job *job);
/* Off all lists, and gone. */
void apns_flight_free(struct apns_flight *f);
/* Sends it once more, on t. Returns 0, or what kept it from going out (it has not ended). */
int apns_flight_send(struct apns_flight *f, struct apns_try *t);
/* One more try for this cause, at at_us, if it has not had one and there is time. */
bool apns_flight_again(struct apns_flight *f, enum apns_second why, struct counter *count,
                       uint64_t at_us);
/* Sets its timer, after what it waits for has changed. */
void apns_flight_wait(struct apns_flight *f);
/* Says how it ended. f is freed now, or when the last answer has come. */
void apns_flight_end(struct apns_flight *f, enum apns_result result, enum apns_why why);
/* Its timer has come. */
void apns_flight_timer(struct apns_flight *f);

/* ---- answers (apns_judge.c) ---- */

/* The end of a request; ctx: its struct apns_try (h2_done_fn). */
void apns_flight_answer(void *ctx, const struct h2_response *r);

#endif
