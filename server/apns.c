/* Pushes to APNs: lanes, requests, what each answer leads to.
 *
 * Called by the router (apns_push) and apns_link.c (time, pools). Pure: requests go through
 * apns_ops, answers come back to on_answer().
 *
 *     apns_push --send_try--> out --on_answer--> judge --verdict--> done(), freed when nothing
 *                              ^                   |                is out any more
 *                              '--send_try-- retry_us (apns_tick)
 *
 * Each cause of a second try has a budget of one (enum second), so that a push makes at most a
 * handful of requests whatever Apple answers. All requests of a push carry the same apns-id.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns.h"

#include "base/crypto.h"
#include "base/hash.h"
#include "base/htable.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/timerwheel.h"
#include "server/apns_guard.h"

#include <assert.h>
#include <errno.h>

#define TRIES         2 /* requests of one push out at once: the first and a hedge */
#define PATH_PREFIX   SLICE_LIT("/3/device/")
#define HEADERS_MAX   6
#define HEDGE_LEFT_US (US_PER_S) /* no hedge when so little time is left */
#define FAILURES_MAX  3          /* 5xx in a row on one connection: it is replaced */
#define LOG_PER_S     2
#define EXPECT_JOBS   256

/* Why a push may be sent a second time; once for each. */
enum second {
    SECOND_SERVER = 1 << 0,
    SECOND_ENV = 1 << 1,
    SECOND_TOKEN = 1 << 2,
    SECOND_SHORT = 1 << 3,
    SECOND_CONN = 1 << 4,
    SECOND_BUSY = 1 << 5,
    SECOND_HEDGE = 1 << 6,
    SECOND_LOST = 1 << 7,
};

struct lane {
    unsigned failed_conn, failures; /* 5xx in a row, on which connection */
};

/* One signing identity in one environment. */
struct key {
    enum apns_env env;
    struct apns_token *token; /* NULL: a certificate */
    struct lane lanes[APNS_CLASSES];
    bool stopped, probing; /* not accepted; one push is out to see whether it is again */
    uint64_t stop_until_us, stop_us;
    const char *trouble;
};

struct app {
    struct slice topic;
    int keys[2]; /* production, sandbox; -1: none */
    struct apns_guard guard[2];
    uint8_t text[PUSH_TOPIC_MAX];
};

struct
try {
    struct flight *flight;
    unsigned lane, gen; /* of the provider token; 0: none */
    bool out;
};

/* One push under way. Its text follows: hex of the token, headers and payload, the brief one's. */
struct flight {
    struct list link;
    struct hnode node; /* by apns-id */
    struct timer timer;
    struct apns *apns;
    apns_done_fn *done;
    void *ctx;
    struct app *app;
    enum push_kind kind;
    enum apns_env asked, env; /* the token's as the job says; where it is tried */
    uint64_t started_us, deadline_us, retry_us, hedge_us;
    uint64_t token_hash;
    struct try tries[TRIES];
    unsigned sent, spent; /* requests; enum second */
    unsigned avoid;       /* connection that the next try goes around */
    bool over;            /* the verdict is out: only answers are waited for */
    bool brief, cancelled, maybe_done;
    struct key *probes; /* stopped key that this push is to try out; NULL */
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
    struct key keys[APNS_KEYS_MAX];
    size_t keys_n;
    const char *trouble; /* atomic */
    struct log_limit log_reason;
    struct apns_counters count;
    size_t apps_n;
    struct app apps[];
};

/* ---- names ---- */

const char *apns_env_name(enum apns_env e)
{
    static const char *const names[] = {"unknown", "production", "sandbox"};

    return (unsigned)e < ARRAY_LEN(names) ? names[e] : names[0];
}

const char *apns_result_name(enum apns_result r)
{
    static const char *const names[APNS_RESULT_COUNT] = {"accepted",     "token_gone", "token_bad",
                                                         "token_parked", "rejected",   "gave_up"};

    return (unsigned)r < APNS_RESULT_COUNT ? names[r] : "";
}

const char *apns_why_name(enum apns_why w)
{
    static const char *const names[APNS_WHY_COUNT] = {
        [APNS_WHY_NONE] = "",
        [APNS_WHY_DEADLINE] = "deadline",
        [APNS_WHY_NO_CONNECTION] = "no_connection",
        [APNS_WHY_UNCERTAIN] = "uncertain",
        [APNS_WHY_STOPPED] = "stopped",
        [APNS_WHY_NO_KEY] = "no_key",
        [APNS_WHY_BUSY] = "busy",
        [APNS_WHY_SERVER] = "server",
        [APNS_WHY_MASS] = "mass",
        [APNS_WHY_FULL] = "full",
        [APNS_WHY_CONTENT] = "content",
        [APNS_WHY_CANCELLED] = "cancelled",
        [APNS_WHY_MEMORY] = "memory",
    };

    return (unsigned)w < APNS_WHY_COUNT ? names[w] : "";
}

/* ---- trouble ---- */

static const char *key_trouble(enum apns_reason r)
{
    switch (r) {
    case APNS_ExpiredProviderToken:
        return "APNs calls a token expired that was just made: is this machine's clock right?";
    case APNS_InvalidProviderToken:
        return "APNs refuses the provider token: check team_id, key_id, key_file and the clock";
    case APNS_BadEnvironmentKeyIdInToken:
    case APNS_BadEnvironmentKeyInToken:
        return "APNs says that the key is for the other environment (production or sandbox)";
    case APNS_BadCertificate:
    case APNS_BadCertificateEnvironment:
        return "APNs refuses the certificate: is it for this app and environment, and in force?";
    case APNS_MissingProviderToken:
        return "APNs wants a provider token or certificate: check [app] key_file and cert_file";
    case APNS_Forbidden:
        return "APNs forbids this key to send: was it revoked?";
    default:
        return "APNs does not accept the key or certificate";
    }
}

static void set_trouble(struct apns *a)
{
    const char *what = NULL;

    for (size_t i = 0; i < a->keys_n && !what; i++)
        if (a->keys[i].stopped)
            what = a->keys[i].trouble;
    for (size_t i = 0; i < a->apps_n && !what; i++)
        if (a->apps[i].guard[0].tripped || a->apps[i].guard[1].tripped)
            what = "APNs rejects every token of an app: wrong topic or environment? No token is "
                   "marked bad";
    __atomic_store_n(&a->trouble, what, __ATOMIC_RELAXED);
}

const char *apns_trouble(const struct apns *a)
{
    return __atomic_load_n(&a->trouble, __ATOMIC_RELAXED);
}

static void key_stop(struct apns *a, struct key *k, enum apns_reason why)
{
    if (k->stopped && !k->probing)
        return; /* an answer to what was out when it was stopped */
    k->stop_us = k->stop_us == 0 ? APNS_STOP_MIN_US : k->stop_us * 2;
    if (k->stop_us > APNS_STOP_MAX_US)
        k->stop_us = APNS_STOP_MAX_US;
    k->stop_until_us = a->now_us + k->stop_us;
    k->stopped = true;
    k->probing = false;
    k->trouble = key_trouble(why);
    counter_inc(&a->count.stops);
    log_error("apns", "%s: %s (%s); no pushes for %llu s", apns_env_name(k->env), k->trouble,
              apns_reason_name(why), (unsigned long long)(k->stop_us / US_PER_S));
    set_trouble(a);
}

/* Apple takes the key: whatever it says of a push otherwise. */
static void key_works(struct apns *a, struct key *k)
{
    k->stop_us = 0;
    if (!k->stopped)
        return;
    k->stopped = k->probing = false;
    log_info("apns", "%s: the key is accepted again", apns_env_name(k->env));
    set_trouble(a);
}

/* A stopped key takes nothing, and when its time is over one push to see. */
static bool key_open(const struct apns *a, const struct key *k)
{
    return !k->stopped || (a->now_us >= k->stop_until_us && !k->probing);
}

/* ---- making and ending ---- */

static int find_key(const struct app *app, enum apns_env env)
{
    return app->keys[env == APNS_SANDBOX];
}

static struct app *find_app(struct apns *a, struct slice topic)
{
    for (size_t i = 0; i < a->apps_n; i++)
        if (slice_eq(a->apps[i].topic, topic))
            return &a->apps[i];
    return NULL;
}

static bool copy_keys(struct apns *a, const struct apns_conf *conf)
{
    for (size_t i = 0; i < conf->keys_n; i++) {
        struct key *k = &a->keys[a->keys_n++];
        k->env = conf->keys[i].env;
        if (!conf->keys[i].signer)
            continue;
        k->token = apns_token_new(conf->keys[i].team, conf->keys[i].kid, conf->keys[i].signer);
        if (!k->token)
            return false;
    }
    return true;
}

static void free_flight(struct flight *f)
{
    struct apns *a = f->apns;

    timer_cancel(a->wheel, &f->timer);
    list_del(&f->link);
    htable_del(&a->by_id, &f->node);
    a->flights_n--;
    counter_sub(&a->count.jobs, 1);
    crypto_wipe(f->text, f->path.len);
    mem_free(f);
}

void apns_free(struct apns *a)
{
    if (!a)
        return;
    LIST_EACH(l, tmp, &a->flights)
    free_flight(CONTAINER_OF(l, struct flight, link));
    for (size_t i = 0; i < a->keys_n; i++)
        apns_token_free(a->keys[i].token);
    htable_fini(&a->by_id);
    timerwheel_free(a->wheel);
    mem_free(a);
}

void apns_clock(struct apns *a, uint64_t now_us, uint64_t wall_us)
{
    a->now_us = now_us;
    a->wall_us = wall_us;
}

struct apns *apns_new(const struct apns_conf *conf, const struct apns_ops *ops, void *arg,
                      uint64_t now_us, uint64_t wall_us)
{
    struct apns *a = mem_zalloc(sizeof(*a) + conf->apps_n * sizeof(a->apps[0]));

    assert(conf->keys_n <= APNS_KEYS_MAX);
    if (!a)
        return NULL;
    a->ops = ops;
    a->arg = arg;
    a->woken_us = CLOCK_NEVER;
    apns_clock(a, now_us, wall_us);
    list_init(&a->flights);
    a->wheel = timerwheel_new(now_us);
    if (!a->wheel || htable_init(&a->by_id, EXPECT_JOBS) != 0 || !copy_keys(a, conf)) {
        apns_free(a);
        return NULL;
    }
    for (size_t i = 0; i < conf->apps_n; i++) {
        struct app *app = &a->apps[a->apps_n++];
        struct wr w = wr_init(app->text, sizeof(app->text));
        wr_bytes(&w, conf->apps[i].topic);
        app->topic = wr_done(&w);
        app->keys[0] = conf->apps[i].production;
        app->keys[1] = conf->apps[i].sandbox;
        assert(app->keys[0] < (int)conf->keys_n && app->keys[1] < (int)conf->keys_n);
    }
    return a;
}

unsigned apns_lanes(const struct apns *a)
{
    return (unsigned)a->keys_n * APNS_CLASSES;
}

size_t apns_lane_key(unsigned lane)
{
    return lane / APNS_CLASSES;
}

enum apns_class apns_lane_class(unsigned lane)
{
    return (enum apns_class)(lane % APNS_CLASSES);
}

static struct key *lane_key(struct apns *a, unsigned lane)
{
    return &a->keys[lane / APNS_CLASSES];
}

static void retire(struct apns *a, unsigned lane, unsigned conn)
{
    if (conn != 0)
        a->ops->retire(a->arg, lane, conn, a->now_us);
}

int apns_rekey(struct apns *a, size_t key, struct slice team, struct slice kid,
               struct crypto_signer *signer)
{
    struct key *k = &a->keys[key];

    assert(key < a->keys_n);
    if (!k->token || apns_token_rekey(k->token, team, kid, signer) != 0)
        return -EINVAL;
    /* A connection is bound to the key that its first push was signed with. */
    for (unsigned c = 0; c < APNS_CLASSES; c++)
        a->ops->retire(a->arg, (unsigned)key * APNS_CLASSES + c, 0, a->now_us);
    k->stopped = k->probing = false;
    k->stop_us = 0;
    set_trouble(a);
    return 0;
}

void apns_resign(struct apns *a, size_t key, struct crypto_signer *signer)
{
    if (a->keys[key].token)
        apns_token_resign(a->keys[key].token, signer);
}

/* ---- verdicts ---- */

static unsigned tries_out(const struct flight *f)
{
    return (unsigned)f->tries[0].out + f->tries[1].out;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void set_timer(struct flight *f)
{
    struct apns *a = f->apns;
    uint64_t end_us = f->deadline_us + APNS_GRACE_US;
    uint64_t at_us = earlier(end_us, earlier(f->retry_us, f->hedge_us));

    timer_set(a->wheel, &f->timer, f->over ? CLOCK_NEVER : at_us);
    if (!f->over && at_us < a->woken_us && a->ops->wake) {
        a->woken_us = at_us;
        a->ops->wake(a->arg);
    }
}

/* Says how it ended. f is freed now, or when the last answer has come. */
static void finish(struct flight *f, enum apns_result result, enum apns_why why)
{
    struct apns *a = f->apns;
    bool answered = result != APNS_GAVE_UP || f->last.status > 0;
    struct apns_verdict v = {.result = result,
                             .why = why,
                             .status = f->last.status,
                             .reason = answered ? f->last.reason : APNS_REASON_NONE,
                             .env = f->env,
                             .env_changed = result == APNS_ACCEPTED && f->asked != f->env,
                             .maybe_done = f->maybe_done || tries_out(f) > 0,
                             .gone_since_ms = f->last.timestamp_ms,
                             .id = slice_of(f->id, APNS_ID_TEXT),
                             .tries = f->sent,
                             .took_us = a->now_us - f->started_us};

    if (f->probes)
        f->probes->probing = false;
    counter_inc(&a->count.results[f->kind][result]);
    if (why != APNS_WHY_NONE)
        counter_inc(&a->count.gave_up[why]);
    histogram_add(push_kind_urgent(f->kind) ? &a->count.call_us : &a->count.other_us, v.took_us);
    f->over = true;
    f->retry_us = f->hedge_us = CLOCK_NEVER;
    set_timer(f);
    f->done(f->ctx, &v);
    if (tries_out(f) == 0)
        free_flight(f);
}

/* ---- requests ---- */

static void add_header(struct h2_header *h, size_t *n, const char *name, struct slice value,
                       enum h2_indexing indexing)
{
    h[(*n)++] = (struct h2_header){slice_str(name), value, indexing};
}

static void on_answer(void *ctx, const struct h2_response *r);

/* Sends f once more, on t. Returns 0 or what kept it from going out (finish() was not called). */
static int send_on(struct flight *f, struct try *t)
{
    struct apns *a = f->apns;
    const struct push_apns *p = f->brief ? &f->brief_push : &f->push;
    enum apns_class class = push_kind_urgent(f->kind) ? APNS_CALL : APNS_OTHER;
    int key = find_key(f->app, f->env);
    struct key *k = &a->keys[key];
    struct h2_header h[HEADERS_MAX];
    struct h2_request q = {.path = f->path,
                           .headers = h,
                           .body = p->payload,
                           .deadline_us = f->deadline_us,
                           .resend_uncertain = true};

    if (!key_open(a, k))
        return -EHOSTDOWN;
    *t = (struct try){.flight = f, .lane = (unsigned)key * APNS_CLASSES + class};
    if (k->token) {
        uint64_t minted = apns_token_minted(k->token);
        if (apns_token_bearer(k->token, &q.authorization, &t->gen, a->now_us, a->wall_us) != 0)
            return -EIO;
        counter_add(&a->count.tokens_minted, apns_token_minted(k->token) - minted);
    }
    add_header(h, &q.n_headers, "apns-topic", p->topic, H2_INDEX);
    add_header(h, &q.n_headers, "apns-push-type", slice_str(p->type), H2_INDEX);
    add_header(h, &q.n_headers, "apns-priority", p->priority, H2_INDEX);
    add_header(h, &q.n_headers, "apns-expiration", p->expiration,
               slice_is(p->expiration, "0") ? H2_INDEX : H2_INDEX_FIRST);
    add_header(h, &q.n_headers, "apns-id", slice_of(f->id, APNS_ID_TEXT), H2_INDEX_FIRST);
    if (p->collapse_id.len > 0)
        add_header(h, &q.n_headers, "apns-collapse-id", p->collapse_id, H2_INDEX_FIRST);
    int rc = a->ops->send(a->arg, t->lane, &q, on_answer, t, f->avoid, a->now_us);
    if (rc != 0)
        return rc;
    t->out = true;
    f->sent++;
    f->avoid = 0;
    if (k->stopped) {
        k->probing = true;
        f->probes = k;
    }
    return 0;
}

static enum apns_why why_of(int rc)
{
    switch (rc) {
    case -EHOSTDOWN:
        return APNS_WHY_STOPPED;
    case -ECANCELED:
        return APNS_WHY_CANCELLED;
    case -ENOBUFS:
        return APNS_WHY_FULL;
    case -ETIME:
        return APNS_WHY_DEADLINE;
    case -EMSGSIZE:
        return APNS_WHY_CONTENT;
    default:
        return APNS_WHY_MEMORY;
    }
}

/* Another try, or the end. */
static void send_again(struct flight *f)
{
    struct try *t = f->tries[0].out ? &f->tries[1] : &f->tries[0];

    assert(!t->out);
    f->retry_us = CLOCK_NEVER;
    int rc = f->cancelled ? -ECANCELED : send_on(f, t);
    if (rc == 0)
        set_timer(f);
    else if (tries_out(f) > 0)
        set_timer(f);
    else
        finish(f, APNS_GAVE_UP, why_of(rc));
}

/* One more try for this cause, at_us, if it has not had one and there is time. */
static bool try_again(struct flight *f, enum second why, struct counter *count, uint64_t at_us)
{
    if ((f->spent & why) || at_us >= f->deadline_us)
        return false;
    f->spent |= why;
    counter_inc(count);
    if (at_us > f->apns->now_us) {
        f->retry_us = at_us;
        set_timer(f);
    } else {
        send_again(f);
    }
    return true;
}

/* ---- judging answers ---- */

static void on_accepted(struct flight *f, const struct try *t)
{
    struct apns *a = f->apns;
    struct apns_guard *g = &f->app->guard[f->env == APNS_SANDBOX];
    bool tripped = g->tripped;

    if (lane_key(a, t->lane)->token)
        apns_token_accepted(lane_key(a, t->lane)->token, t->gen);
    apns_guard_accept(g, a->now_us);
    if (tripped)
        set_trouble(a);
}

static bool guard_rejects(struct flight *f, enum apns_env env)
{
    struct apns *a = f->apns;
    struct apns_guard *g = &f->app->guard[env == APNS_SANDBOX];
    bool before = g->tripped;
    uint64_t since_us;

    if (!apns_guard_reject(g, f->token_hash, a->now_us, &since_us))
        return false;
    if (!before) {
        counter_inc(&a->count.guards);
        log_error("apns",
                  "%.*s, %s: all tokens are rejected and none was accepted; is the topic or the "
                  "environment wrong? No token is marked bad",
                  SLICE_FMT(f->app->topic), apns_env_name(env));
        set_trouble(a);
        if (a->ops->doubt)
            a->ops->doubt(a->arg, f->app->topic, env, since_us);
    }
    return true;
}

static void on_bad_token(struct flight *f)
{
    enum apns_env other = f->env == APNS_SANDBOX ? APNS_PRODUCTION : APNS_SANDBOX;
    bool mass;

    if (f->asked == APNS_ENV_UNKNOWN && !(f->spent & SECOND_ENV) && find_key(f->app, other) >= 0) {
        f->env = other;
        if (!try_again(f, SECOND_ENV, &f->apns->count.retries_env, f->apns->now_us))
            finish(f, APNS_GAVE_UP, APNS_WHY_DEADLINE);
        return;
    }
    mass = guard_rejects(f, f->env);
    if (f->spent & SECOND_ENV)
        mass |= guard_rejects(f, other);
    finish(f, mass ? APNS_REJECTED : APNS_TOKEN_BAD, mass ? APNS_WHY_MASS : APNS_WHY_NONE);
}

/* The provider token was refused. */
static void on_jwt(struct flight *f, const struct try *t, unsigned conn)
{
    struct apns *a = f->apns;
    struct key *k = lane_key(a, t->lane);
    bool expired = f->last.what == APNS_DO_NEW_JWT;

    /* Once a connection has said so it says so of every push, whatever token that has. */
    retire(a, t->lane, conn);
    if (k->token && (expired || f->last.reason == APNS_InvalidProviderToken) &&
        apns_token_refused(k->token, t->gen, expired, a->now_us, a->wall_us)) {
        f->avoid = conn;
        if (try_again(f, SECOND_TOKEN, &a->count.retries_token, a->now_us))
            return;
    }
    key_stop(a, k, f->last.reason);
    finish(f, APNS_REJECTED, APNS_WHY_NONE);
}

static void on_old_jwt(struct flight *f, const struct try *t)
{
    struct apns *a = f->apns;
    struct key *k = lane_key(a, t->lane);

    if (k->token && apns_token_too_often(k->token, t->gen, a->now_us, a->wall_us) &&
        try_again(f, SECOND_TOKEN, &a->count.retries_token, a->now_us))
        return;
    finish(f, APNS_REJECTED, APNS_WHY_NONE);
}

static void on_failure(struct flight *f, const struct try *t, unsigned conn)
{
    struct apns *a = f->apns;
    struct lane *l = &lane_key(a, t->lane)->lanes[apns_lane_class(t->lane)];
    uint64_t pause_us = APNS_RETRY_MIN_US + rand_below(APNS_RETRY_MAX_US - APNS_RETRY_MIN_US + 1);

    if (l->failed_conn != conn)
        *l = (struct lane){.failed_conn = conn};
    l->failures++;
    if (f->last.what == APNS_DO_RETIRE || l->failures >= FAILURES_MAX)
        retire(a, t->lane, conn);
    if (tries_out(f) > 0)
        return; /* the other request may do better */
    f->avoid = conn;
    if (!try_again(f, SECOND_SERVER, &a->count.retries_server, a->now_us + pause_us))
        finish(f, APNS_GAVE_UP, APNS_WHY_SERVER);
}

static void on_reconnect(struct flight *f, const struct try *t, unsigned conn)
{
    retire(f->apns, t->lane, conn);
    f->avoid = conn;
    if (!try_again(f, SECOND_CONN, &f->apns->count.retries_conn, f->apns->now_us))
        finish(f, APNS_REJECTED, APNS_WHY_NONE);
}

static void on_busy(struct flight *f)
{
    struct apns *a = f->apns;

    /* A call can't wait so long; the callee's other devices ring. */
    if (push_kind_urgent(f->kind) ||
        !try_again(f, SECOND_BUSY, &a->count.retries_busy, a->now_us + APNS_BUSY_US))
        finish(f, APNS_GAVE_UP, APNS_WHY_BUSY);
}

static void on_too_large(struct flight *f)
{
    f->brief = true;
    if (!try_again(f, SECOND_SHORT, &f->apns->count.retries_short, f->apns->now_us))
        finish(f, APNS_REJECTED, APNS_WHY_CONTENT);
}

static void log_reason(struct flight *f, const char *what)
{
    struct apns *a = f->apns;

    if (log_allow(&a->log_reason, LOG_PER_S, a->now_us))
        log_warn("apns", "%s to %.*s, %s: %s: %u %s (%u more like this)", push_kind_name(f->kind),
                 SLICE_FMT(f->app->topic), apns_env_name(f->env), what, f->last.status,
                 apns_reason_name(f->last.reason), a->log_reason.suppressed);
}

/* What a whole answer leads to. f may be gone afterwards. */
static void judge(struct flight *f, const struct try *t, unsigned conn)
{
    switch (f->last.what) {
    case APNS_DO_ACCEPT:
        finish(f, APNS_ACCEPTED, APNS_WHY_NONE);
        break;
    case APNS_DO_BAD_TOKEN:
        on_bad_token(f);
        break;
    case APNS_DO_GONE:
        finish(f, APNS_TOKEN_GONE, APNS_WHY_NONE);
        break;
    case APNS_DO_PARK:
        log_reason(f, "the token is another app's");
        finish(f, APNS_TOKEN_PARKED, APNS_WHY_NONE);
        break;
    case APNS_DO_RECONNECT:
        on_reconnect(f, t, conn);
        break;
    case APNS_DO_NEW_JWT:
    case APNS_DO_STOP:
        on_jwt(f, t, conn);
        break;
    case APNS_DO_OLD_JWT:
        log_reason(f, "the provider token changes too often; does another server use the key?");
        on_old_jwt(f, t);
        break;
    case APNS_DO_SHORTEN:
        on_too_large(f);
        break;
    case APNS_DO_WAIT:
        on_busy(f);
        break;
    case APNS_DO_RETRY:
    case APNS_DO_RETIRE:
        on_failure(f, t, conn);
        break;
    case APNS_DO_DROP:
        log_reason(f, "refused");
        finish(f, APNS_REJECTED, APNS_WHY_NONE);
        break;
    }
}

/* What every answer teaches, also one that comes after the verdict. */
static void learn(struct flight *f, const struct try *t, const struct apns_answer *answer,
                  unsigned conn)
{
    struct apns *a = f->apns;
    struct key *k = lane_key(a, t->lane);
    struct lane *l = &k->lanes[apns_lane_class(t->lane)];

    counter_inc(&a->count.answers[k->env == APNS_SANDBOX][answer->reason]);
    if (answer->status < 500 && l->failed_conn == conn)
        l->failures = 0;
    if (answer->what == APNS_DO_ACCEPT)
        on_accepted(f, t);
    if (answer->status < 500 && answer->what != APNS_DO_STOP && answer->what != APNS_DO_NEW_JWT &&
        answer->what != APNS_DO_OLD_JWT)
        key_works(a, k);
}

/* A request ended without an answer. */
static void no_answer(struct flight *f, const struct h2_response *r)
{
    static const enum apns_why whys[] = {[H2_UNCERTAIN] = APNS_WHY_UNCERTAIN,
                                         [H2_LATE] = APNS_WHY_DEADLINE,
                                         [H2_REFUSED] = APNS_WHY_SERVER,
                                         [H2_NO_CONNECTION] = APNS_WHY_NO_CONNECTION};

    if (r->outcome == H2_UNCERTAIN)
        counter_inc(&f->apns->count.uncertain);
    f->maybe_done |= r->maybe_done;
    if (tries_out(f) > 0 || f->retry_us != CLOCK_NEVER)
        return;
    /* The pool has sent it twice. Doubled is harmless: all have the same apns-id and call id. */
    if (r->outcome != H2_UNCERTAIN || !try_again(f, SECOND_LOST, &f->apns->count.retries_lost,
                                                 f->apns->now_us + APNS_RETRY_MIN_US))
        finish(f, APNS_GAVE_UP, whys[r->outcome]);
}

static void on_answer(void *ctx, const struct h2_response *r)
{
    struct try *t = ctx;
    struct flight *f = t->flight;
    struct apns *a = f->apns;

    if (r->answered_us > a->now_us)
        apns_clock(a, r->answered_us, a->wall_us + (r->answered_us - a->now_us));
    t->out = false;
    if (r->outcome == H2_ANSWERED) {
        struct apns_answer answer = apns_answer_read(r->status, r->body);
        learn(f, t, &answer, r->conn);
        if (!f->over) {
            f->last = answer;
            judge(f, t, r->conn);
            return;
        }
    } else if (!f->over) {
        no_answer(f, r);
        return;
    }
    if (tries_out(f) == 0)
        free_flight(f);
}

/* ---- pushing ---- */

static void write_uuid(char out[APNS_ID_TEXT + 1])
{
    uint8_t b[16];
    struct wr w = wr_init(out, APNS_ID_TEXT + 1);

    rand_bytes(b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4, variant 1 (RFC 9562 §5.4) */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof(b); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            wr_u8(&w, '-');
        hex_encode(&w, slice_of(&b[i], 1));
    }
    wr_u8(&w, '\0');
}

/* s, which points into from, as it is in a copy of from at to. */
static struct slice moved(struct slice s, const uint8_t *from, const uint8_t *to)
{
    return s.len == 0 ? s : slice_of(to + (s.p - from), s.len);
}

static void move_push(struct push_apns *p, const uint8_t *from, const uint8_t *to)
{
    p->topic = moved(p->topic, from, to);
    p->expiration = moved(p->expiration, from, to);
    p->collapse_id = moved(p->collapse_id, from, to);
    p->payload = moved(p->payload, from, to);
}

/* A flight with its text, not yet on any list. 0, -EINVAL or -ENOMEM. */
static int make_flight(struct flight **out, const struct apns_job *job)
{
    uint8_t mem[2 * APNS_TOKEN_MAX + 2 * PUSH_APNS_BYTES + 16];
    struct wr w = wr_init(mem, sizeof(mem));
    struct push_apns push, brief;

    if (job->token.len == 0 || job->token.len > APNS_TOKEN_MAX || job->env > APNS_SANDBOX)
        return -EINVAL;
    wr_bytes(&w, PATH_PREFIX);
    hex_encode(&w, job->token);
    size_t path = w.len;
    if (push_payload_apns(&push, &w, &job->content, false) != 0 ||
        push_payload_apns(&brief, &w, &job->content, true) != 0)
        return -EINVAL;
    struct flight *f = mem_zalloc(sizeof(*f) + w.len);
    if (!f)
        return -ENOMEM;
    memcpy(f->text, mem, w.len);
    f->path = slice_of(f->text, path);
    f->push = push;
    f->brief_push = brief;
    move_push(&f->push, mem, f->text);
    move_push(&f->brief_push, mem, f->text);
    *out = f;
    return 0;
}

int apns_push(struct apns *a, const struct apns_job *job, apns_done_fn *done, void *ctx,
              char id[APNS_ID_TEXT + 1])
{
    struct app *app = find_app(a, job->content.topic);
    enum apns_env env = job->env;
    struct flight *f;

    if (env == APNS_ENV_UNKNOWN)
        env = app && app->keys[0] >= 0 ? APNS_PRODUCTION : APNS_SANDBOX;
    if (!app || find_key(app, env) < 0)
        return -ENOENT;
    if (job->deadline_us <= a->now_us)
        return -ETIME;
    if (a->flights_n >= APNS_JOBS_MAX)
        return -ENOBUFS;
    int rc = make_flight(&f, job);
    if (rc != 0)
        return rc;
    f->apns = a;
    f->done = done;
    f->ctx = ctx;
    f->app = app;
    f->kind = job->content.kind;
    f->asked = job->env;
    f->env = env;
    f->started_us = a->now_us;
    f->deadline_us = job->deadline_us;
    f->retry_us = CLOCK_NEVER;
    f->hedge_us = push_kind_urgent(f->kind) ? a->now_us + APNS_HEDGE_US : CLOCK_NEVER;
    if (f->hedge_us > f->deadline_us || f->deadline_us - f->hedge_us < HEDGE_LEFT_US)
        f->hedge_us = CLOCK_NEVER;
    f->token_hash = hash_bytes(job->token);
    write_uuid(f->id);
    rc = send_on(f, &f->tries[0]);
    if (rc != 0) {
        crypto_wipe(f->text, f->path.len);
        mem_free(f);
        return rc == -EIO ? -ENOMEM : rc;
    }
    list_append(&a->flights, &f->link);
    htable_add(&a->by_id, &f->node, hash_bytes(slice_of(f->id, APNS_ID_TEXT)));
    a->flights_n++;
    counter_inc(&a->count.jobs);
    set_timer(f);
    if (id)
        memcpy(id, f->id, sizeof(f->id));
    return 0;
}

void apns_cancel(struct apns *a, struct slice id)
{
    for (struct hnode *n = htable_first(&a->by_id, hash_bytes(id)); n; n = htable_next(n)) {
        struct flight *f = CONTAINER_OF(n, struct flight, node);
        if (!slice_eq(id, slice_of(f->id, APNS_ID_TEXT)) || f->over)
            continue;
        f->cancelled = true;
        f->hedge_us = CLOCK_NEVER;
        if (f->retry_us != CLOCK_NEVER)
            f->retry_us = a->now_us; /* the verdict comes from apns_tick() */
        set_timer(f);
        return;
    }
}

/* ---- time ---- */

uint64_t apns_deadline(const struct apns *a)
{
    return timerwheel_next(a->wheel);
}

static void on_timer(struct flight *f)
{
    struct apns *a = f->apns;

    if (f->deadline_us + APNS_GRACE_US <= a->now_us) {
        finish(f, APNS_GAVE_UP, APNS_WHY_DEADLINE);
    } else if (f->retry_us <= a->now_us) {
        send_again(f);
    } else if (f->hedge_us <= a->now_us) {
        f->hedge_us = CLOCK_NEVER;
        if (tries_out(f) != 1 || !try_again(f, SECOND_HEDGE, &a->count.hedges, a->now_us))
            set_timer(f);
    } else {
        set_timer(f);
    }
}

void apns_tick(struct apns *a)
{
    struct timer *t;

    a->woken_us = CLOCK_NEVER;
    while ((t = timerwheel_pop(a->wheel, a->now_us)))
        on_timer(CONTAINER_OF(t, struct flight, timer));
}

struct apns_counters *apns_count(struct apns *a)
{
    return &a->count;
}
