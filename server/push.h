/* Ringing devices that are asleep: who is pushed for a call, when, and what became of it
 * (docs/SIGNALING.md §5).
 *
 * One ring per call, in it one entry per device of the callee:
 *
 *     waits ──acknowledged──► came        waits: it is connected; its call.incoming has ack_us to
 * be │ ack_us, or its socket went             acknowledged: who is awake needs no push ▼ sent
 * ──taken──► taken ──says hello──► came └──refused──► failed
 *
 * A device that is not connected begins at sent. The ring says of itself only two things, which
 * push_news() brings to the call machine: a device may still come; a push service has taken a push.
 * It ends with push_over(): nothing is pushed for a call that does not ring. Missed calls and Live
 * Activities are pushed from here, too.
 *
 * How a push gets to its service is push_ops.send's business (push_apns.c).
 * Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_PUSH_H
#define SORI_SERVER_PUSH_H

#include "base/clock.h"
#include "base/metrics.h"
#include "server/device_dir.h"
#include "server/push_payload.h"

enum {
    PUSH_ID_TEXT = 36,     /* of a push's own id, a UUID */
    PUSH_DEVICES_MAX = 16, /* of one ring; more are not pushed */
    PUSH_LIVE_MAX = 4,     /* pushes to one call's Live Activity, the end included */
};
struct push;
struct push_out; /* one push under way */

/* What the service is to send. Lent. */
struct push_job {
    struct push_content content;
    struct slice token; /* as the device registered it */
    enum ledger_env env;
    uint64_t deadline_us; /* a verdict comes at the latest now */
};

enum push_result {
    PUSH_TAKEN, /* the service has it; that is not "delivered" */
    PUSH_GONE,  /* the token is no longer registered, since gone_since_ms */
    PUSH_BAD,   /* no token at all */
    PUSH_NO,    /* not taken; the token is not to blame */
    PUSH_RESULT_COUNT
};
const char *push_result_name(enum push_result r); /* "taken", "gone", "bad", "no" */

struct push_verdict {
    enum push_result result;
    unsigned status;     /* HTTP; 0: no answer */
    struct slice reason; /* for the push log; "" when taken */
    bool maybe;          /* NO: it may have arrived all the same: the device may come */
    enum ledger_env env; /* TAKEN: the token's; UNKNOWN: as it was */
    uint64_t gone_since_ms;
};

struct push_ops {
    /* Sends. push_verdict(out, …) comes once, later, never from inside. id: the push's own id, with
     * NUL, for the log. Returns 0; negative errno: it is not sent, no verdict comes. */
    int (*send)(void *arg, const struct push_job *job, struct push_out *out,
                char id[PUSH_ID_TEXT + 1]);
    /* The call does not ring any more: the push of this id is not sent (again). Its verdict comes
     * all the same, later. */
    void (*cancel)(void *arg, struct slice id);
    /* Writes the token with which device may join the call until until_us; nothing on failure. */
    void (*ring_token)(void *arg, const struct sig_call_id *call, struct slice user,
                       struct slice device, uint64_t until_us, struct wr *w);
    /* For the ledger: the token is no good (0: never was), the device's environment is known, a
     * push was tried. */
    void (*bad_token)(void *arg, struct slice token, uint64_t since_ms);
    void (*set_env)(void *arg, struct slice user, struct slice device, enum ledger_env env);
    void (*log)(void *arg, const struct ledger_push *p);
};

struct push_conf {
    uint64_t ack_us;
    struct slice ws;        /* the server's address in a payload; may be empty */
    struct slice live_type; /* of Live Activities that are started; empty: none are */
};

/* Whether a device has a session with a socket now. */
typedef bool push_connected_fn(void *arg, struct slice device);

/* A call to be rung for. */
struct push_call {
    struct sig_call_id id;
    struct slice caller, caller_name, callee;
    bool video;
    uint64_t until_us; /* ringing ends */
};

struct push_counters {
    struct counter rings;                 /* gauge: calls with pushes out */
    struct counter sent[PUSH_KIND_COUNT]; /* handed to a service */
    struct counter verdicts[PUSH_RESULT_COUNT];
    struct counter late;      /* after a connected device did not acknowledge in time */
    struct counter awake;     /* devices that acknowledged in time: no push was needed */
    struct counter came;      /* devices that a push has brought */
    struct counter unsent;    /* the service did not even take the job */
    struct histogram wake_us; /* from the push to the device's hello */
};

/* dir, ops and arg outlive it; conf is copied, its text borrowed. NULL when memory is out. */
struct push *push_new(const struct push_conf *conf, struct device_dir *dir,
                      const struct push_ops *ops, void *arg, uint64_t now_us, uint64_t wall_us);
/* No verdict may come after it. NULL is allowed. */
void push_free(struct push *p);
/* Sets the time of this turn. */
void push_clock(struct push *p, uint64_t now_us, uint64_t wall_us);

/* How many devices of the user would be pushed at once: they have a token and no socket. */
unsigned push_count(const struct push *p, struct slice user, push_connected_fn *connected,
                    void *arg);
/* Begins a ring: pushes who is not connected, and waits for those who are. Devices without a token
 * are no part of it. Nothing is done when there are none, or when the call has a ring already.
 * False: memory is out, nobody is pushed. */
bool push_ring(struct push *p, const struct push_call *call, push_connected_fn *connected,
               void *arg);
/* The call rings no more: answered, or over. */
void push_over(struct push *p, const struct sig_call_id *call, struct slice callee);

/* The device has the calls that ring for the user (only: this one; NULL: all): it acknowledged, or
 * said something. */
void push_came(struct push *p, struct slice user, struct slice device,
               const struct sig_call_id *only);
/* It has got a socket: a push did its work. Who is still to acknowledge stays so. */
void push_connected(struct push *p, struct slice user, struct slice device,
                    const struct sig_call_id *only);
/* It has lost its socket: it is pushed if it has not acknowledged. */
void push_lost(struct push *p, struct slice user, struct slice device);

/* A call was missed: tells all devices of the callee that take alerts. badge: its missed calls not
 * seen yet, this one included; 0: unknown. */
void push_missed(struct push *p, const struct push_call *call, unsigned badge);
/* The state of a call, as the Live Activities of one of its users show it. */
struct push_activity {
    struct sig_call_id call;
    struct slice user;
    struct slice device;          /* the user's device in the call: one may be started there */
    struct slice peer, peer_name; /* whom it shows; the name may be empty */
    const char *status;           /* "connecting", "active", "held", "ended" */
    uint64_t started_us;          /* when it was answered; 0: not yet */
    bool over;                    /* it has ended, after seconds */
    uint64_t seconds;
};
/* Tells the activities of the user's devices what changed; a device without one, that registered a
 * push-to-start token and is in the call, gets one started ([push] live_type must be set). At most
 * PUSH_LIVE_MAX - 1 for one call and user, the end not counted; what they show already is not told
 * again. */
void push_live(struct push *p, const struct push_activity *a);

/* What became of a push. out is gone afterwards. */
void push_verdict(struct push_out *out, const struct push_verdict *v);
/* A pointer of whoever sends it, for its own use. */
void push_out_set_service(struct push_out *out, void *service);
void *push_out_service(const struct push_out *out);
/* Tokens of this app and environment that were called bad at since_us or later may be good. */
void push_doubt(struct push *p, struct slice topic, enum ledger_env env, uint64_t since_us);

/* What changed for a call since it was told last. False: nothing. */
struct push_news {
    struct sig_call_id call;
    bool awaits, reached; /* call_table_push() */
};
bool push_news(struct push *p, struct push_news *news);

/* When to call push_tick(), and push_news() after it; CLOCK_NEVER: nothing waits. */
uint64_t push_deadline(const struct push *p);
void push_tick(struct push *p);

/* What the operator sees. */
struct push_counters *push_count_of(struct push *p);

#endif
