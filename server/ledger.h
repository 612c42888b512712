/* The ledger: what must outlive the process. Call records, missed calls, devices and push tokens,
 * the push log, quality summaries, privacy requests.
 *
 *     worker ──put, ask──► bounded queue ──batch──► ledger_run(): one transaction ──► store
 *            ◄──done── ledger_deliver() ◄──────── after its commit ──┘
 *
 * Nothing here waits for a disk: a call copies what it is given into the queue and returns, and
 * done comes later, in the order of the calls, after the commit. ledger_link.c runs the batches in
 * a thread of its own; unit tests and the simulator call ledger_run() and ledger_deliver()
 * themselves. What is asked of a disk is in ledger_store.h, with one implementation per engine.
 *
 * While the store is in trouble (disk full, read-only, damaged, away) records wait in the queue,
 * which goes on being tried; requests fail at once with -EAGAIN, so that nobody waits for them;
 * what finds the queue full is refused with -ENOSPC and counted. ledger_health() says what is
 * wrong.
 *
 * Times are wall clock milliseconds since the epoch (0: not, or unknown). Users and devices are the
 * texts of the signaling protocol. Tokens are secrets: nothing here logs them.
 * Threads: what is marked "worker" is for one thread, ledger_run() for one other.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_H
#define SORI_SERVER_LEDGER_H

#include "base/clock.h"
#include "base/metrics.h"
#include "proto/sig.h"

enum {
    LEDGER_TOKEN_MAX =
        2048,             /* bytes of a token: FCM and Web Push are long, Apple promises nothing */
    LEDGER_APP_MAX = 155, /* bundle or package name */
    LEDGER_VERSION_MAX = 32,
    LEDGER_LOCALE_MAX = 35,
    LEDGER_NAME_MAX = 64,    /* node, region, model, codec, reason */
    LEDGER_TOKENS_MAX = 16,  /* of one device */
    LEDGER_PARTIES_MAX = 64, /* in one record */
    LEDGER_IDS_MAX = 100,    /* calls in one ledger_seen() or ledger_hide() */
    LEDGER_PAGE_MAX = 100,   /* entries of one page */
};

/* ---- words; each has its text, as in the database, on the socket and in exports ---- */

enum ledger_platform {
    LEDGER_IOS,
    LEDGER_MACOS,
    LEDGER_ANDROID,
    LEDGER_WEB,
    LEDGER_PLATFORM_OTHER,
    LEDGER_PLATFORM_COUNT
};
enum ledger_env { LEDGER_ENV_UNKNOWN, LEDGER_PRODUCTION, LEDGER_SANDBOX, LEDGER_ENV_COUNT };
enum ledger_call_ui { LEDGER_CALLKIT, LEDGER_LCK, LEDGER_UI_NONE, LEDGER_CALL_UI_COUNT };
enum ledger_token_type {
    LEDGER_VOIP,
    LEDGER_ALERT,
    LEDGER_LIVEACTIVITY, /* of one call's activity */
    LEDGER_LA_START,     /* push to start */
    LEDGER_FCM,
    LEDGER_WEBPUSH,
    LEDGER_TOKEN_TYPE_COUNT
};
enum ledger_outcome {
    LEDGER_ANSWERED,
    LEDGER_MISSED,
    LEDGER_DECLINED,
    LEDGER_BUSY,
    LEDGER_CANCELLED,
    LEDGER_FAILED,
    LEDGER_UNREACHABLE,
    LEDGER_OUTCOME_COUNT
};
enum ledger_path { LEDGER_PATH_UNKNOWN, LEDGER_P2P, LEDGER_TURN, LEDGER_SFU, LEDGER_PATH_COUNT };
enum ledger_role { LEDGER_CALLER, LEDGER_CALLEE, LEDGER_MEMBER, LEDGER_ROLE_COUNT };
enum ledger_by {
    LEDGER_BY_SYSTEM,
    LEDGER_BY_CALLER,
    LEDGER_BY_CALLEE,
    LEDGER_BY_MEMBER, /* of a room: the one whose record it is */
    LEDGER_BY_COUNT
};

/* "ios", "sandbox", "callkit", "voip", "answered", "p2p", "caller", "system" … Never NULL. */
const char *ledger_platform_name(enum ledger_platform v);
const char *ledger_env_name(enum ledger_env v);
const char *ledger_call_ui_name(enum ledger_call_ui v);
const char *ledger_token_type_name(enum ledger_token_type v);
const char *ledger_outcome_name(enum ledger_outcome v);
const char *ledger_path_name(enum ledger_path v);
const char *ledger_role_name(enum ledger_role v);
const char *ledger_by_name(enum ledger_by v);
/* The other way. Return 0, or -EINVAL (*out untouched) when there is no such word. */
int ledger_platform_parse(struct slice name, enum ledger_platform *out);
int ledger_env_parse(struct slice name, enum ledger_env *out);
int ledger_call_ui_parse(struct slice name, enum ledger_call_ui *out);
int ledger_token_type_parse(struct slice name, enum ledger_token_type *out);
int ledger_outcome_parse(struct slice name, enum ledger_outcome *out);
int ledger_path_parse(struct slice name, enum ledger_path *out);
int ledger_role_parse(struct slice name, enum ledger_role *out);
int ledger_by_parse(struct slice name, enum ledger_by *out);
int ledger_reason_parse(struct slice name, enum sig_reason *out);

/* ---- records ---- */

/* A push token of a device. */
struct ledger_token {
    enum ledger_token_type type;
    struct slice token;         /* as the client gave it; empty in a registration: take it away */
    struct sig_call_id call_id; /* LEDGER_LIVEACTIVITY: whose; zero for the other types */
    uint64_t registered_ms;     /* the client named it last then: a 410 of before is void */
    uint64_t expires_ms;        /* 0: stays */
};

/* A device and its tokens: at most one of each type, and one LEDGER_LIVEACTIVITY per call. */
struct ledger_device {
    struct slice user, device; /* together the key */
    struct slice app, version, locale;
    enum ledger_platform platform;
    enum ledger_env env;
    enum ledger_call_ui call_ui;
    uint64_t seen_ms; /* registered, or said hello, last */
    const struct ledger_token *tokens;
    size_t tokens_n;
};

/* One party of a call; the key is (call, user). */
struct ledger_party {
    struct slice user, device; /* device: the one that called or answered; else empty */
    enum ledger_role role;
    uint64_t joined_ms, left_ms; /* of its media, or of its place in the room */
    bool missed;                 /* belongs on its list of missed calls */
};

/* A call, ended or (end_ms 0) answered and going on, so that a crash leaves a record. again: its
 * end was put before, with the path path_was; only its path may be another one now. */
struct ledger_call {
    struct sig_call_id id;
    bool group, video;
    uint64_t created_ms, ring_ms, answer_ms, end_ms;
    enum ledger_outcome outcome;
    enum sig_reason reason;
    enum ledger_by ended_by;
    enum ledger_path path, path_was;
    bool again;
    struct slice node, region;
    uint64_t relayed_bytes;
    const struct ledger_party *parties;
    size_t parties_n;
};

/* A push that was tried: why did it not ring? */
struct ledger_push {
    struct slice apns_id; /* 1..64 bytes: the key */
    struct sig_call_id call_id;
    struct slice user, device;
    struct slice kind;   /* "voip", "alert" … */
    unsigned status;     /* HTTP; 0: no answer */
    struct slice reason; /* "" when accepted */
    uint64_t sent_ms, answered_ms;
};

/* What one leg of a call sounded like; the key is (call, user, leg). */
struct ledger_quality {
    struct sig_call_id call_id;
    struct slice user, leg, model, codec;
    enum ledger_path path;
    uint64_t at_ms;
    unsigned samples;
    unsigned mos_avg_milli, mos_p10_milli, mos_min_milli; /* MOS × 1000 */
    unsigned loss_permille, rtt_ms, jitter_ms;
    unsigned silence_ms;  /* nothing came though the other side was not muted */
    struct slice worst;   /* what was to blame for the lowest: "loss", "delay", "codec" */
    struct slice network; /* the device's: "wifi", "cellular" …; empty: not told */
};

/* One moment of a leg, as it was reported and judged; the key is (call, user, leg, at). */
struct ledger_sample {
    struct sig_call_id call_id;
    struct slice user, leg, codec;
    enum ledger_path path;
    uint64_t at_ms;
    unsigned interval_ms, rtt_ms, jitter_ms, buffer_ms, silence_ms;
    unsigned loss_permille, burst_centi, bps; /* burst ratio × 100 */
    unsigned r_milli, mos_milli;              /* 0: nothing came that could be judged */
};

/* ---- what is read ---- */

/* A call as one of its parties sees it. */
struct ledger_entry {
    struct sig_call_id id;
    enum ledger_role role;
    bool group, video, missed, seen, hidden;
    struct slice peer;   /* of a call, or invitation, between two; empty: erased, or a stay */
    struct slice device; /* this user's */
    uint64_t created_ms, ring_ms, answer_ms, end_ms;
    enum ledger_outcome outcome;
    enum sig_reason reason;
    enum ledger_by ended_by;
    enum ledger_path path;
    uint64_t relayed_bytes;
    /* Of the leg that is known best; samples 0: none is. */
    unsigned samples, mos_avg_milli, mos_p10_milli, mos_min_milli;
    unsigned loss_permille, rtt_ms, jitter_ms, silence_ms;
    enum ledger_path quality_path;
    struct slice leg, model, codec, worst, network;
};

/* Where a page goes on (history.h makes text of it): entries older than this one. */
struct ledger_cursor {
    uint64_t created_ms;
    struct sig_call_id id;
};

struct ledger_query {
    struct slice user;
    const struct ledger_cursor *after; /* NULL: from the newest */
    size_t limit;                      /* 1 .. LEDGER_PAGE_MAX */
    bool missed_only;
};

/* A user's privacy request of one kind, as it stands. */
enum ledger_privacy_kind { LEDGER_DELETION, LEDGER_EXPORT, LEDGER_PRIVACY_KIND_COUNT };
enum ledger_privacy_state {
    LEDGER_PRIVACY_NONE,      /* nothing was asked for */
    LEDGER_PRIVACY_PENDING,   /* deletion: in its days of grace; export: being written */
    LEDGER_PRIVACY_RUNNING,   /* deletion: the purge has begun, there is no way back */
    LEDGER_PRIVACY_DONE,      /* export: the file is there until expires_ms */
    LEDGER_PRIVACY_CANCELLED, /* the deletion */
    LEDGER_PRIVACY_FAILED,    /* export: the file could not be written; ask again */
    LEDGER_PRIVACY_STATE_COUNT
};
#define LEDGER_REQUEST_ID_BYTES 16
struct ledger_privacy {
    uint8_t id[LEDGER_REQUEST_ID_BYTES];
    enum ledger_privacy_kind kind;
    enum ledger_privacy_state state;
    uint64_t requested_ms, due_ms, expires_ms;
    uint64_t bytes;     /* export: of the file */
    uint8_t sha256[32]; /* export: of the file */
    bool ndjson;        /* export: many calls, so one object a line */
};
const char *ledger_privacy_kind_name(enum ledger_privacy_kind v);   /* "deletion", "export" */
const char *ledger_privacy_state_name(enum ledger_privacy_state v); /* "none", "pending" … */
int ledger_privacy_kind_parse(struct slice name, enum ledger_privacy_kind *out);
int ledger_privacy_state_parse(struct slice name, enum ledger_privacy_state *out);

/* What a request brought; what it points to is good until done returns. */
struct ledger_result {
    const struct ledger_entry *entries; /* ledger_history() */
    size_t entries_n;
    const struct ledger_device *devices; /* ledger_devices() */
    size_t devices_n;
    bool more;      /* there are others: go on after the last one */
    uint64_t count; /* ledger_history(), _badge(), _seen(), _hide(): missed calls not yet seen */
    struct ledger_privacy privacy; /* ledger_erase(), _keep(), _export(), _privacy() */
};

/* How a call ends, on the worker, exactly once. rc: 0, committed; -EAGAIN: the store is in trouble,
 * try later; -ENOSPC: a limit per user (devices); -EACCES: the user's deletion is pending; -ENOENT:
 * there is no such thing; -EBUSY: too soon (one export a day); -EIO: this record can't be stored (a
 * bug or a damaged row; counted); -ENOMEM. r is never NULL. done may call the ledger again. */
typedef void ledger_done_fn(void *ctx, int rc, const struct ledger_result *r);

/* ---- the ledger ---- */

struct ledger;
struct ledger_store;

struct ledger_conf {
    size_t queue;       /* most jobs that wait */
    size_t queue_bytes; /* and their memory */
    size_t batch;       /* most jobs in one transaction */
    bool history;       /* no: of calls only the daily sums are kept */
    /* The clocks; NULL in tests: no lag is measured, trouble is tried without a pause. */
    uint64_t (*now_us)(void);
    uint64_t (*wall_ms)(void);
    /* On the worker, with ledger_new()'s arg: an export or a deletion was asked for, so that there
     * is something to sweep. NULL: not told. */
    void (*asked)(void *arg);
    /* The same: another server has changed something of this user's devices; an empty user: of
     * somebody's, since the news of a while were missed. NULL: not told. */
    void (*changed)(void *arg, struct slice user);
};

enum ledger_health {
    LEDGER_FINE,
    LEDGER_DISK_FULL,
    LEDGER_READ_ONLY,
    LEDGER_DAMAGED,
    LEDGER_TROUBLE, /* another I/O error, locked, out of memory */
    LEDGER_AWAY,    /* a database server that can't be reached */
    LEDGER_HEALTH_COUNT
};
const char *
ledger_health_name(enum ledger_health h); /* "ok", "disk_full" …: metric label, readyz */
const char *ledger_health_help(enum ledger_health h); /* what the operator does about it */

struct ledger_counters {
    struct counter records;  /* committed */
    struct counter requests; /* answered */
    struct counter refused;  /* found no room in the queue: lost, unless the caller asks again */
    struct counter failed;   /* -EIO */
    struct counter batches, retries;
    struct counter queued;                      /* gauge */
    struct counter health[LEDGER_HEALTH_COUNT]; /* gauges: 1 for the present one */
    struct histogram lag;                       /* from the call to the commit */
};

/* A ledger over s, which it owns from now on. wake(arg) is called, on the worker, when there is
 * work for ledger_run() and there was none before; NULL: nobody need be woken. NULL when memory is
 * out (s is then still the caller's). */
struct ledger *ledger_new(const struct ledger_conf *conf, struct ledger_store *s,
                          void (*wake)(void *arg), void *arg);
/* After both threads are done: what still waits is dropped without done. NULL is allowed. */
void ledger_free(struct ledger *l);

/* Worker. Records: kept through trouble. done may be NULL. Idempotent: a record with the same key
 * replaces the one before; only a call that has ended stays as it ended, whoever uses its id again:
 * a later record of the same end can but tell its path. Return 0; -ENOSPC: the queue is full;
 * -ENOMEM; -EINVAL: too long, no key, too many parties: nothing was queued, no done. */
int ledger_put_call(struct ledger *l, const struct ledger_call *c, ledger_done_fn *done, void *ctx);
int ledger_put_push(struct ledger *l, const struct ledger_push *p, ledger_done_fn *done, void *ctx);
int ledger_put_quality(struct ledger *l, const struct ledger_quality *q, ledger_done_fn *done,
                       void *ctx);
int ledger_put_sample(struct ledger *l, const struct ledger_sample *v, ledger_done_fn *done,
                      void *ctx);
/* The token is not good any more (410, BadDeviceToken): forgets it unless it was registered again
 * since since_ms (0: whenever). Only this very token, whosever it is by now. */
int ledger_bad_token(struct ledger *l, struct slice token, uint64_t since_ms, ledger_done_fn *done,
                     void *ctx);
/* Apple told which environment the device's tokens belong to; and: the device said hello (call it
 * once a day and device: tokens of devices unseen for long are forgotten). */
int ledger_set_env(struct ledger *l, struct slice user, struct slice device, enum ledger_env env,
                   ledger_done_fn *done, void *ctx);
int ledger_touch(struct ledger *l, struct slice user, struct slice device, uint64_t now_ms,
                 ledger_done_fn *done, void *ctx);

/* Worker. Requests: fail while the store is in trouble. Return as above.
 *
 * Registers d: a token given takes the place of the device's one of that type, types not given
 * stay, an empty one goes. A token that another device or user had leaves it in the same
 * transaction. -EACCES while the user's deletion is pending, -ENOSPC at the limit of devices. */
int ledger_put_device(struct ledger *l, const struct ledger_device *d, ledger_done_fn *done,
                      void *ctx);
int ledger_del_device(struct ledger *l, struct slice user, struct slice device,
                      ledger_done_fn *done, void *ctx);
int ledger_history(struct ledger *l, const struct ledger_query *q, ledger_done_fn *done, void *ctx);
/* The missed calls that the user has not seen yet, as r->count. */
int ledger_badge(struct ledger *l, struct slice user, ledger_done_fn *done, void *ctx);
/* Marks missed calls as seen: those of ids (n of them), or with n 0 all up to until_ms. r->count:
 * those that are left. */
int ledger_seen(struct ledger *l, struct slice user, const struct sig_call_id *ids, size_t n,
                uint64_t until_ms, ledger_done_fn *done, void *ctx);
/* Takes calls off the user's own list, in the same way; the other party's stays. A call that all
 * its parties have taken off is deleted. */
int ledger_hide(struct ledger *l, struct slice user, const struct sig_call_id *ids, size_t n,
                uint64_t until_ms, ledger_done_fn *done, void *ctx);

/* Deletion: devices and tokens go at once, everything else when the days of grace are over; asking
 * again changes nothing. _keep() takes it back (-ENOENT: there is none, -EACCES: it has begun).
 * _export() writes the user's file (privacy.h); _privacy() tells how a request of a kind stands.
 * actor: "user" or who did it for them, for the audit log; at most LEDGER_NAME_MAX. */
int ledger_erase(struct ledger *l, struct slice user, struct slice actor, uint64_t now_ms,
                 ledger_done_fn *done, void *ctx);
int ledger_keep(struct ledger *l, struct slice user, struct slice actor, uint64_t now_ms,
                ledger_done_fn *done, void *ctx);
int ledger_export(struct ledger *l, struct slice user, struct slice actor, uint64_t now_ms,
                  ledger_done_fn *done, void *ctx);
int ledger_privacy(struct ledger *l, struct slice user, enum ledger_privacy_kind kind,
                   ledger_done_fn *done, void *ctx);

/* Worker. A user's records are held (for a court, say): until that is lifted neither a purge nor
 * retention takes them, and what has begun stops. Both are in the audit log. Ends with -EEXIST:
 * they are held; -ENOENT: they are not; -ENOSPC: LEDGER_HOLDS_MAX are. */
enum { LEDGER_HOLDS_MAX = 1000 };
int ledger_hold(struct ledger *l, struct slice user, struct slice actor, bool on, uint64_t now_ms,
                ledger_done_fn *done, void *ctx);
/* Who is held: devices of the result, of which user and seen_ms (since when) tell. */
int ledger_holds(struct ledger *l, ledger_done_fn *done, void *ctx);

/* Worker. All devices with their tokens, a page each time, to fill the directory at start: those
 * behind (user, device), both empty at first. Waits while the store is in trouble. */
int ledger_devices(struct ledger *l, struct slice user, struct slice device, size_t limit,
                   ledger_done_fn *done, void *ctx);

/* Worker. The devices of one user, as many as are allowed; waits in the same way. */
int ledger_devices_of(struct ledger *l, struct slice user, ledger_done_fn *done, void *ctx);

/* Worker. Does one bounded step of what time brings: purges that are due, exports, retention.
 * r->more in done: call it again, soon; -EBUSY: another server sweeps, in a second; else in an
 * hour. Asked for by ledger_link.c. */
int ledger_sweep(struct ledger *l, uint64_t now_ms, ledger_done_fn *done, void *ctx);

/* Worker. Calls done for what ledger_run() has finished. Returns how many. */
size_t ledger_deliver(struct ledger *l);

/* The other thread. Performs one batch, in one transaction, and takes in what other servers tell.
 * Returns how many jobs (and news) wait for ledger_deliver(); 0: there was nothing to do; -EAGAIN:
 * the store is in trouble, call again in a moment (requests of the batch are finished all the same,
 * with -EAGAIN). */
long ledger_run(struct ledger *l);

/* The same thread. A descriptor that can be read when ledger_run() has something to take in; -1:
 * there is none. Good until the next ledger_run(). */
int ledger_fd(const struct ledger *l);

/* Any thread. */
enum ledger_health ledger_health(const struct ledger *l);
size_t ledger_queued(const struct ledger *l);
/* The records among them, which would be lost; looks through the whole queue. */
size_t ledger_unwritten(struct ledger *l);
struct ledger_counters *ledger_count(struct ledger *l);

#endif
