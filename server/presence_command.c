/* The commands that the presence store gives to Redis.
 *
 * Called by presence_store_redis.c and presence_ask.c. Pure. SPDX-License-Identifier: BSD-3-Clause
 */
#include "server/presence_command.h"

#include <errno.h>

#define KEY(name, what, id)                                   \
    uint8_t name##_buf[PRESENCE_WIRE_KEY_MAX];                \
    struct wr name = wr_init(name##_buf, sizeof(name##_buf)); \
    presence_wire_key(&name, c->prefix, what, id)

enum { NUMBER_MAX = 24, SESSION_MAX = 40, REST_MAX = 128 };

static struct slice number(uint8_t buf[NUMBER_MAX], uint64_t n)
{
    struct wr w = wr_init(buf, NUMBER_MAX);

    wr_u64(&w, n);
    return wr_done(&w);
}

static struct slice session_text(uint8_t buf[SESSION_MAX], const struct presence_entry *e)
{
    struct wr w = wr_init(buf, SESSION_MAX);

    presence_wire_session(&w, e->session);
    return wr_done(&w);
}

int presence_command_put(const struct presence_commands *c, struct redis_call *call,
                         struct slice user, const struct presence_entry *e, struct slice stamp,
                         uint64_t now_us)
{
    uint8_t session[SESSION_MAX], generation[NUMBER_MAX], most[NUMBER_MAX], life[NUMBER_MAX];
    uint8_t rest_buf[REST_MAX];
    struct wr rest = wr_init(rest_buf, sizeof(rest_buf));
    KEY(pres, "pres", user);
    KEY(watch, "watch", user);

    presence_wire_rest(&rest, e, c->epoch, c->node);
    const struct slice words[] = {wr_done(&pres),
                                  wr_done(&watch),
                                  e->device,
                                  session_text(session, e),
                                  number(generation, e->generation),
                                  stamp.len > 0 ? stamp : SLICE_LIT("0"),
                                  wr_done(&rest),
                                  number(most, PRESENCE_DEVICES_MAX),
                                  number(life, PRESENCE_LIFE_US / US_PER_MS)};
    if (pres.bad || watch.bad || rest.bad)
        return -EINVAL;
    return redis_client_eval(c->client, call, PRESENCE_PUT, 2, words, ARRAY_LEN(words), now_us);
}

int presence_command_remove(const struct presence_commands *c, struct redis_call *call,
                            struct slice user, const struct presence_entry *e, uint64_t now_us)
{
    uint8_t session[SESSION_MAX], generation[NUMBER_MAX];
    KEY(pres, "pres", user);
    KEY(watch, "watch", user);

    const struct slice words[] = {wr_done(&pres), wr_done(&watch), e->device,
                                  session_text(session, e), number(generation, e->generation)};
    if (pres.bad || watch.bad)
        return -EINVAL;
    return redis_client_eval(c->client, call, PRESENCE_REMOVE, 2, words, ARRAY_LEN(words), now_us);
}

int presence_command_watch(const struct presence_commands *c, struct redis_call *call,
                           struct slice user, bool on, uint64_t now_us)
{
    uint8_t epoch_buf[NUMBER_MAX], life[NUMBER_MAX];
    struct wr epoch = wr_init(epoch_buf, sizeof(epoch_buf));
    KEY(watch, "watch", user);

    presence_wire_epoch(&epoch, c->epoch);
    const struct slice words[] = {wr_done(&watch), c->node, wr_done(&epoch),
                                  number(life, PRESENCE_LIFE_US / US_PER_MS)};
    if (watch.bad)
        return -EINVAL;
    return redis_client_eval(c->client, call, on ? PRESENCE_WATCH : PRESENCE_UNWATCH, 1, words,
                             on ? ARRAY_LEN(words) : ARRAY_LEN(words) - 1, now_us);
}

int presence_command_fetch(const struct presence_commands *c, struct redis_call *call,
                           struct slice user, uint64_t now_us)
{
    KEY(pres, "pres", user);

    const struct slice words[] = {SLICE_LIT("HGETALL"), wr_done(&pres)};
    if (pres.bad)
        return -EINVAL;
    return redis_client_call(c->client, call, words, ARRAY_LEN(words), now_us);
}

void presence_command_purge(const struct presence_commands *c, struct slice user,
                            struct slice device, struct slice text, uint64_t now_us)
{
    KEY(pres, "pres", user);

    const struct slice words[] = {wr_done(&pres), device, text};
    if (!pres.bad)
        (void)redis_client_eval(c->client, NULL, PRESENCE_PURGE, 1, words, ARRAY_LEN(words),
                                now_us);
}

void presence_command_say(const struct presence_commands *c, struct slice node,
                          const struct presence_said *said, uint64_t now_us)
{
    uint8_t text_buf[PRESENCE_WIRE_SAY_MAX];
    struct wr text = wr_init(text_buf, sizeof(text_buf));
    KEY(channel, "say", node);

    presence_wire_say(&text, said);
    const struct slice words[] = {SLICE_LIT("SPUBLISH"), wr_done(&channel), wr_done(&text)};
    if (!channel.bad && !text.bad)
        (void)redis_client_call(c->client, NULL, words, ARRAY_LEN(words), now_us);
}
