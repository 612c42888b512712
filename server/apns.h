/* The client of Apple's push service as a pure machine: a push goes in, requests go out over
 * pools of connections, one verdict comes back.
 *
 *     apns_push() --> waiting for an answer --done()--> verdict
 *                      ^         |
 *                      '--retry--'   per the table of apns_reason.h, inside the deadline
 *
 * A key (team and key id, or a certificate) has up to four lanes: production and sandbox, each with
 * connections of its own for calls and for everything else, so that rejected alerts do not slow a
 * call down. Which key an app's pushes are signed with is the configuration's (topic, environment).
 *
 * Never blocks, never calls done() from inside apns_push(). Worker-owned; apns_trouble() any
 * thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_APNS_H
#define SORI_SERVER_APNS_H

#include "base/clock.h"
#include "base/metrics.h"
#include "server/apns_reason.h"
#include "server/apns_token.h"
#include "server/h2_message.h"
#include "server/push_payload.h"

enum {
    APNS_TOKEN_MAX = 256,  /* bytes of a device token (twice as many digits) */
    APNS_ID_TEXT = 36,     /* of an apns-id, a UUID */
    APNS_KEYS_MAX = 64,    /* keys and certificates, both environments together */
    APNS_JOBS_MAX = 50000, /* pushes under way at once */
};
#define APNS_RETRY_MIN_US                                                  \
    (200 * US_PER_MS) /* pause before the second try after a 5xx, at least \
                       */
#define APNS_RETRY_MAX_US (500 * US_PER_MS)
/* A call that is unanswered so long is sent again: if its connection is dead, and the one that it
 * was moved to as well, a new one stands by now. */
#define APNS_HEDGE_US    (2500 * US_PER_MS)
#define APNS_GRACE_US    (50 * US_PER_MS) /* after the deadline, for the pool to say what kept it */
#define APNS_BUSY_US     (10 * US_PER_S)  /* "TooManyRequests": the pause before the next try */
#define APNS_STOP_MIN_US (10 * US_PER_S)  /* a key that is not accepted rests so long; doubles */
#define APNS_STOP_MAX_US (300 * US_PER_S)

enum apns_env { APNS_ENV_UNKNOWN, APNS_PRODUCTION, APNS_SANDBOX };
enum apns_class { APNS_CALL, APNS_OTHER, APNS_CLASSES };

/* "unknown", "production", "sandbox". */
const char *apns_env_name(enum apns_env e);

struct apns;

struct apns_job {
    struct push_content content;
    struct slice token;   /* the device's, raw bytes, 1 to APNS_TOKEN_MAX */
    enum apns_env env;    /* the token's; UNKNOWN: production, then sandbox */
    uint64_t deadline_us; /* nothing is sent after this, and the verdict comes APNS_GRACE_US later
                             at the latest. For a call: when ringing ends */
};

enum apns_result {
    APNS_ACCEPTED,     /* Apple has it; that is not "delivered" */
    APNS_TOKEN_GONE,   /* no longer registered since gone_since_ms: forget the token if it was
                          registered before that, and is still the same */
    APNS_TOKEN_BAD,    /* no token of this app: mark it bad. apns_ops.doubt may take that back */
    APNS_TOKEN_PARKED, /* another app's token: use it no more; an operator must look */
    APNS_REJECTED,     /* reason says why; the token is not to blame */
    APNS_GAVE_UP,      /* why says why; it may have been delivered when maybe_done */
    APNS_RESULT_COUNT
};
/* "accepted", "token_gone", "token_bad", "token_parked", "rejected", "gave_up". */
const char *apns_result_name(enum apns_result r);

/* Why it was given up, or rejected without blame. */
enum apns_why {
    APNS_WHY_NONE,
    APNS_WHY_DEADLINE,      /* no answer in time */
    APNS_WHY_NO_CONNECTION, /* Apple is not reached */
    APNS_WHY_UNCERTAIN,     /* it went out several times and nothing was heard */
    APNS_WHY_STOPPED,       /* the key is not accepted at present: not tried */
    APNS_WHY_NO_KEY,        /* no key for this topic and environment */
    APNS_WHY_BUSY,          /* too many pushes to this device */
    APNS_WHY_SERVER,        /* Apple failed twice */
    APNS_WHY_MASS,          /* many tokens rejected and none accepted: the configuration's fault */
    APNS_WHY_FULL,          /* too many pushes wait */
    APNS_WHY_CONTENT,       /* too large, even without what is optional */
    APNS_WHY_CANCELLED,     /* apns_cancel() */
    APNS_WHY_MEMORY,
    APNS_WHY_COUNT
};
/* "deadline", "no_connection" …; "" for NONE. */
const char *apns_why_name(enum apns_why w);

/* Lent to the callback. */
struct apns_verdict {
    enum apns_result result;
    enum apns_why why;
    unsigned status;         /* the last answer's; 0: none */
    enum apns_reason reason; /* the last answer's */
    enum apns_env env;       /* ACCEPTED: the token's environment; store it when env_changed */
    bool env_changed;
    bool maybe_done;
    uint64_t gone_since_ms; /* TOKEN_GONE: wall clock, milliseconds; 0: Apple did not say */
    struct slice id;        /* apns-id, 36 characters */
    unsigned tries;         /* requests sent */
    uint64_t took_us;       /* since apns_push() */
};
typedef void apns_done_fn(void *ctx, const struct apns_verdict *v);

struct apns_ops {
    /* h2_pool_send() on the pool of a lane; the same results. */
    int (*send)(void *arg, unsigned lane, const struct h2_request *q, h2_done_fn *done, void *ctx,
                unsigned avoid_conn, uint64_t now_us);
    /* h2_pool_retire() on it. */
    void (*retire)(void *arg, unsigned lane, unsigned conn, uint64_t now_us);
    /* Tokens of this app and environment that were called bad at since_us or later (now_us's
     * clock) are in doubt: un-mark them. NULL is allowed. */
    void (*doubt)(void *arg, struct slice topic, enum apns_env env, uint64_t since_us);
    /* apns_deadline() is earlier than it was. NULL is allowed. */
    void (*wake)(void *arg);
};

/* One signing identity in one environment. Either a key or a certificate (then signer is NULL and
 * the connections carry it). */
struct apns_key {
    enum apns_env env; /* PRODUCTION or SANDBOX */
    struct slice team, kid;
    struct crypto_signer *signer; /* lent; must outlive the machine or the next apns_rekey() */
};

/* Pushes of a topic: index into keys for each environment, or -1. */
struct apns_app {
    struct slice topic;
    int production, sandbox;
};

struct apns_conf { /* all is copied */
    const struct apns_key *keys;
    size_t keys_n;
    const struct apns_app *apps;
    size_t apps_n;
};

/* NULL when memory is out. ops and arg outlive it. */
struct apns *apns_new(const struct apns_conf *conf, const struct apns_ops *ops, void *arg,
                      uint64_t now_us, uint64_t wall_us);
/* Drops pushes under way without a word. The pools must be freed before, so that no request's
 * end is still to come. NULL is allowed. */
void apns_free(struct apns *a);

/* To be called once per loop turn, before anything else. */
void apns_clock(struct apns *a, uint64_t now_us, uint64_t wall_us);

/* A lane's pool: lanes are numbered 0 .. apns_lanes() - 1. */
unsigned apns_lanes(const struct apns *a);
size_t apns_lane_key(unsigned lane); /* index into conf.keys */
enum apns_class apns_lane_class(unsigned lane);

/* Starts a push; done(ctx, verdict) is called once, later. Everything is copied.
 *
 * id: where the apns-id is written (36 characters and NUL), for the push log; NULL is allowed.
 *
 * Returns 0; -EINVAL: token or content are not acceptable; -ENOENT: no key for this topic in any
 * environment that fits; -EHOSTDOWN: the key is not accepted at present (apns_trouble()); -ENOBUFS:
 * too many pushes wait; -ETIME: the deadline has passed; -ENOMEM. After anything but 0 done is not
 * called. */
int apns_push(struct apns *a, const struct apns_job *job, apns_done_fn *done, void *ctx,
              char id[APNS_ID_TEXT + 1]);
/* The push of that apns-id is not wanted any more (the call is over): it is not sent again. done()
 * comes as for every other push, with APNS_WHY_CANCELLED when nothing is heard of what went out.
 * An id that is over already is ignored. */
void apns_cancel(struct apns *a, struct slice id);

/* When to call apns_tick(). */
uint64_t apns_deadline(const struct apns *a);
void apns_tick(struct apns *a);

/* A key was rotated (SIGHUP): from now on keys[i] signs with this one, over new connections. team
 * and kid are copied. Returns 0 or -ENOMEM (the old one goes on). */
int apns_rekey(struct apns *a, size_t key, struct slice team, struct slice kid,
               struct crypto_signer *signer);

/* The same key under another object (its file was read again): nothing changes but what signs. */
void apns_resign(struct apns *a, size_t key, struct crypto_signer *signer);

/* What an operator must look at, one static text; NULL when all is well. Any thread. */
const char *apns_trouble(const struct apns *a);

struct apns_counters {
    struct counter results[PUSH_KIND_COUNT][APNS_RESULT_COUNT];
    struct counter answers[2][APNS_REASON_COUNT]; /* production, sandbox; NONE = accepted */
    struct counter gave_up[APNS_WHY_COUNT];
    struct counter retries_server, retries_env, retries_token, retries_short, retries_conn,
        retries_busy, retries_lost, hedges;
    struct counter uncertain, stops, guards;
    struct counter tokens_minted;
    struct counter jobs;                /* gauge: under way */
    struct histogram call_us, other_us; /* apns_push() to the verdict */
};
struct apns_counters *apns_count(struct apns *a);
/* Registers them all; a must outlive m. */
void apns_metrics_register(struct metrics *m, struct apns *a);

#endif
