/* The simulated world of call_sim.c: devices with their queues, and the server's call table.
 *
 * Included by call_sim.c and call_people.h only. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_SIM_CALL_WORLD_H
#define SORI_TESTS_SIM_CALL_WORLD_H

#include <stdio.h>

#include "base/rand.h"
#include "tests/sim/call_oracle.h"

enum { QUEUE_MAX = 512, STEPS = 500, COMPLETE_SEEDS = 5000, USERS_MAX = 4, TEXT_MAX = 24 };

/* What a device believes about a call. */
enum belief { B_NONE, B_DIALING, B_ALERTING, B_UP, B_OVER };

/* Client to server. */
struct request {
    bool invite;
    enum call_event_kind kind;
    int call, to_user;
    struct sig_reject reject;
    enum sig_conn conn;
    enum sig_sdp sdp;
    bool fresh;
};

/* Server to client. */
struct notice {
    enum { N_FX, N_WELCOME } what;
    enum call_fx_kind kind;
    enum sig_type type;
    enum sig_err err;
    int call, merged_into;
    bool glare;
    enum sig_call_state state; /* REPLY */
    uint64_t live;             /* WELCOME: bit per call */
};

struct device {
    int user;
    char name[TEXT_MAX];
    bool session, socket, waiting;
    struct request up[QUEUE_MAX];
    struct notice down[QUEUE_MAX];
    unsigned up_n, down_n;
    enum belief belief[CALLS_MAX];
};

struct sim {
    struct rand_src rnd;
    uint64_t seed, now_us;
    bool verbose;
    struct call_table_conf conf;
    struct call_table *table;
    struct call_effects fx;
    int devs_n, users_n, calls_n;
    struct device dev[DEVS_MAX];
    struct oracle oracle;
    bool awaits[CALLS_MAX]; /* what the call was told last of the pushed devices */
};

static inline unsigned below(struct sim *s, unsigned n)
{
    return (unsigned)rand_src_below(&s->rnd, n);
}

static inline bool chance(struct sim *s, unsigned percent)
{
    return below(s, 100) < percent;
}

#define SAY(s, ...)                    \
    do {                               \
        if ((s)->verbose)              \
            (void)printf(__VA_ARGS__); \
    } while (0)

static const char *const user_names[USERS_MAX] = {"ann", "bob", "cyd", "dan"};

static inline struct slice user_of(const struct sim *s, int dev)
{
    return slice_str(user_names[s->dev[dev].user]);
}

static inline struct slice name_of(const struct sim *s, int dev)
{
    return slice_str(s->dev[dev].name);
}

static inline int find_device(const struct sim *s, struct slice user, struct slice name)
{
    for (int d = 0; d < s->devs_n; d++)
        if (slice_eq(user_of(s, d), user) && slice_eq(name_of(s, d), name))
            return d;
    return -1;
}

#endif
