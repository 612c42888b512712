/* A router without sockets under a clock of the test's own, for router_test.c and
 * router_limits_test.c. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_FAKE_WORLD_H
#define SORI_TESTS_LIB_FAKE_WORLD_H

#include "tests/lib/fake_client.h"

struct world {
    struct server_conf conf; /* the defaults; a test may change them */
    struct token_keys *keys;
    struct router *r;
    uint64_t now;
};

/* cmocka's set-up and tear-down: *state is the world. */
static inline int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char err[CONF_ERR_MAX];

    if (conf_load(server_conf_opts, server_conf_opts_n, &w->conf, NULL, err) != 0)
        return -1;
    w->keys = token_keys_new(TOKEN_ALGS_PRODUCT);
    token_keys_add_secret(w->keys, (struct slice){0}, CRYPTO_HS256, SLICE_LIT(FAKE_SECRET), err);
    w->now = US_PER_S;
    w->r = router_new(&w->conf, &w->keys, NULL, w->now, FAKE_WALL);
    *state = w;
    return w->r ? 0 : -1;
}

static inline int teardown(void **state)
{
    struct world *w = *state;

    router_free(w->r);
    token_keys_free(w->keys);
    conf_free(server_conf_opts, server_conf_opts_n, &w->conf);
    free(w);
    return 0;
}

/* Lets time pass; everything that is due on the way happens on time. */
static inline void pass(struct world *w, uint64_t us)
{
    uint64_t end = w->now + us;

    for (uint64_t at; (at = router_deadline(w->r)) <= end;) {
        w->now = at > w->now ? at : w->now;
        router_clock(w->r, w->now, FAKE_WALL + w->now);
        router_tick(w->r);
    }
    w->now = end;
    router_clock(w->r, w->now, FAKE_WALL + w->now);
}

#endif
