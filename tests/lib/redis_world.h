/* A client of Redis without sockets, for tests: what it sends is kept, what it hears is said here.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_REDIS_WORLD_H
#define SORI_TESTS_LIB_REDIS_WORLD_H

#include "net/redis_client.h"

#define REDIS_WORLD_SHA "0123456789abcdef0123456789abcdef01234567"

static struct redis_world {
    struct redis_client *c;
    uint64_t now;
    int wakes, ups, downs, messages;
    char why[REDIS_WHY_MAX], payload[64];
    char sent[65536];
    size_t sent_len;
} world;

static void world_wake(void *arg)
{
    (void)arg;
    world.wakes++;
}

static void world_up(void *arg, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    world.ups++;
}

static void world_down(void *arg, const char *why, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    world.downs++;
    (void)slice_to_cstr(slice_str(why), world.why, sizeof(world.why));
}

static void world_message(void *arg, struct slice channel, struct slice payload, uint64_t now_us)
{
    (void)arg;
    (void)channel;
    (void)now_us;
    world.messages++;
    (void)slice_to_cstr(payload, world.payload, sizeof(world.payload));
}

static const struct redis_client_ops world_ops = {world_wake, world_up, world_down, world_message};

static const struct redis_endpoint world_at[] = {{"127.0.0.1", 6379}};

static inline struct redis_client_conf world_conf(void)
{
    return (struct redis_client_conf){.at = world_at,
                                      .at_n = 1,
                                      .timeout_us = 1000000,
                                      .open_us = 2000000,
                                      .dead_us = 1500000,
                                      .idle_us = 5000000,
                                      .retry_min_us = 100000,
                                      .retry_max_us = 1000000,
                                      .calls_max = 16,
                                      .bytes_max = 65536,
                                      .reply_bytes = 65536,
                                      .reply_values = 1024,
                                      .seed = 1};
}

/* Takes what is to be sent, `step` bytes at a time; world.sent is it, as text. */
static inline const char *world_take(size_t step)
{
    size_t n;

    world.sent_len = 0;
    while (world.sent_len + step < sizeof(world.sent) &&
           (n = redis_client_take(world.c, (uint8_t *)world.sent + world.sent_len, step,
                                  world.now)) > 0)
        world.sent_len += n;
    world.sent[world.sent_len] = '\0';
    return world.sent;
}

static inline void world_say(const char *text)
{
    redis_client_recv(world.c, slice_str(text), world.now);
}

/* Opens the socket that it wishes for; gives the port. */
static inline uint16_t world_open(void)
{
    const struct redis_endpoint *to = NULL;

    if (redis_client_wish(world.c, &to, world.now) != REDIS_WISH_OPEN)
        return 0;
    uint16_t port = to->port;
    redis_client_opened(world.c, world.now);
    return port;
}

#endif
