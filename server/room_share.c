/* Rooms in Redis: key and scripts.
 *
 * Called by router_far_room.c and router_room_keep.c. Pure.
 *
 *     P room:{ROOM}   hash: o = "EPOCH NODE", r = the room, sPARTICIPANT = a seat (room_snapshot.c)
 *
 * Doing one twice does no harm. SPDX-License-Identifier: BSD-3-Clause */
#include "server/room_share.h"

#include <errno.h>

#include "server/presence_wire.h"

/* KEYS room. ARGV owner, life in ms, the owner that may be replaced. */
#define CLAIM_LUA                                                  \
    "local o = redis.call('HGET', KEYS[1], 'o')\n"                 \
    "if o and o ~= ARGV[1] and o ~= ARGV[3] then return {o} end\n" \
    "redis.call('HSET', KEYS[1], 'o', ARGV[1])\n"                  \
    "redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"                    \
    "local all = redis.call('HGETALL', KEYS[1])\n"                 \
    "table.insert(all, 1, 'ok')\n"                                 \
    "return all\n"

/* KEYS room. ARGV owner, life in ms, how many fields are gone, those, then field and value of each
 * that is there. */
#define KEEP_LUA                                                                      \
    "local o = redis.call('HGET', KEYS[1], 'o')\n"                                    \
    "if o and o ~= ARGV[1] then return o end\n"                                       \
    "redis.call('HSET', KEYS[1], 'o', ARGV[1])\n"                                     \
    "local at = 4 + tonumber(ARGV[3])\n"                                              \
    "for i = 4, at - 1 do redis.call('HDEL', KEYS[1], ARGV[i]) end\n"                 \
    "for i = at, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end\n" \
    "redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"                                       \
    "return 'ok'\n"

/* KEYS room. ARGV owner. */
#define DROP_LUA                                                         \
    "if redis.call('HGET', KEYS[1], 'o') ~= ARGV[1] then return 0 end\n" \
    "return redis.call('DEL', KEYS[1])\n"

#define LUA(text)                                 \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }
const struct slice room_share_scripts[ROOM_SHARE_SCRIPTS] = {
    [ROOM_SHARE_CLAIM] = LUA(CLAIM_LUA),
    [ROOM_SHARE_KEEP] = LUA(KEEP_LUA),
    [ROOM_SHARE_DROP] = LUA(DROP_LUA),
};

enum { NUMBER_MAX = 24 };

/* What every script begins with: the key, and who we are. */
struct head {
    struct wr key, owner;
    uint8_t key_buf[PRESENCE_WIRE_KEY_MAX], owner_buf[CALL_CLAIMS_TEXT_MAX];
};

static bool head_of(struct head *h, const struct call_claims *c, struct slice room)
{
    h->key = wr_init(h->key_buf, sizeof(h->key_buf));
    h->owner = wr_init(h->owner_buf, sizeof(h->owner_buf));
    presence_wire_key(&h->key, c->prefix, "room", room);
    presence_wire_owner(&h->owner, c->epoch, c->node);
    return !h->key.bad && !h->owner.bad;
}

static struct slice number(uint8_t buf[NUMBER_MAX], uint64_t n)
{
    struct wr w = wr_init(buf, NUMBER_MAX);

    wr_u64(&w, n);
    return wr_done(&w);
}

int room_share_claim(const struct call_claims *c, unsigned first, struct redis_call *call,
                     struct slice room, struct slice dead, uint64_t life_us, uint64_t now_us)
{
    uint8_t life[NUMBER_MAX];
    struct head h;

    if (!head_of(&h, c, room))
        return -EINVAL;
    const struct slice words[] = {wr_done(&h.key), wr_done(&h.owner),
                                  number(life, life_us / US_PER_MS), dead};
    return redis_client_eval(c->client, call, first + ROOM_SHARE_CLAIM, 1, words, ARRAY_LEN(words),
                             now_us);
}

int room_share_keep(const struct call_claims *c, unsigned first, struct redis_call *call,
                    struct slice room, const struct room_share_save *s, uint64_t life_us,
                    uint64_t now_us)
{
    struct slice words[4 + 3 * ROOM_SHARE_AT_ONCE];
    uint8_t life[NUMBER_MAX], gone[NUMBER_MAX];
    struct head h;
    size_t n = 4;

    if (!head_of(&h, c, room) || s->fields_n > ARRAY_LEN(s->fields) ||
        s->gone_n > ARRAY_LEN(s->gone))
        return -EINVAL;
    words[0] = wr_done(&h.key);
    words[1] = wr_done(&h.owner);
    words[2] = number(life, life_us / US_PER_MS);
    words[3] = number(gone, s->gone_n);
    for (size_t i = 0; i < s->gone_n; i++)
        words[n++] = s->gone[i];
    for (size_t i = 0; i < s->fields_n; i++)
        words[n++] = s->fields[i];
    return redis_client_eval(c->client, call, first + ROOM_SHARE_KEEP, 1, words, n, now_us);
}

void room_share_drop(const struct call_claims *c, unsigned first, struct slice room,
                     uint64_t now_us)
{
    struct head h;

    if (!head_of(&h, c, room))
        return;
    const struct slice words[] = {wr_done(&h.key), wr_done(&h.owner)};
    (void)redis_client_eval(c->client, NULL, first + ROOM_SHARE_DROP, 1, words, ARRAY_LEN(words),
                            now_us);
}
