/* Claims on pairs and users in Redis: keys, values, scripts.
 *
 * Called by router_far_invite.c. Pure. Values:
 *
 *     P pair:{A B}      "CALL EPOCH NODE CALLER"
 *     P ucall:{USER}    hash: CALL -> "EPOCH NODE"
 *
 * Each script writes one key. Doing one twice does no harm. SPDX-License-Identifier: BSD-3-Clause
 */
#include "server/call_claims.h"

#include <errno.h>

#include "server/presence_wire.h"

/* KEYS pair. ARGV value, life in ms, the value that may be replaced. */
#define PAIR_LUA                                                         \
    "local old = redis.call('GET', KEYS[1])\n"                           \
    "if old and old ~= ARGV[1] and old ~= ARGV[3] then return old end\n" \
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n"               \
    "return 'ok'\n"

/* KEYS ucall. ARGV call, value, life in ms. */
#define USER_LUA                                      \
    "local had = redis.call('HGETALL', KEYS[1])\n"    \
    "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])\n" \
    "redis.call('PEXPIRE', KEYS[1], ARGV[3])\n"       \
    "return had\n"

/* KEYS pair or ucall. ARGV value, and of a ucall the call: only what is still so. */
#define DROP_LUA                                                  \
    "if ARGV[2] then\n"                                           \
    "  if redis.call('HGET', KEYS[1], ARGV[2]) == ARGV[1] then\n" \
    "    return redis.call('HDEL', KEYS[1], ARGV[2])\n"           \
    "  end\n"                                                     \
    "elseif redis.call('GET', KEYS[1]) == ARGV[1] then\n"         \
    "  return redis.call('DEL', KEYS[1])\n"                       \
    "end\n"                                                       \
    "return 0\n"

#define LUA(text)                                 \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }
const struct slice call_claims_scripts[CALL_CLAIMS_SCRIPTS] = {
    [CALL_CLAIMS_PAIR] = LUA(PAIR_LUA),
    [CALL_CLAIMS_USER] = LUA(USER_LUA),
    [CALL_CLAIMS_DROP] = LUA(DROP_LUA),
};

enum { NUMBER_MAX = 24, KEY_MAX = PRESENCE_WIRE_KEY_MAX * 2 };

static struct slice ms_text(uint8_t buf[NUMBER_MAX], uint64_t us)
{
    struct wr w = wr_init(buf, NUMBER_MAX);

    wr_u64(&w, us / US_PER_MS);
    return wr_done(&w);
}

/* ---- keys and values ---- */

static void pair_key(struct wr *w, const struct call_claims *c, struct slice a, struct slice b)
{
    uint8_t buf[2 * SIG_USER_MAX + 1];
    struct wr both = wr_init(buf, sizeof(buf));
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;
    bool swap = order > 0 || (order == 0 && a.len > b.len);

    wr_bytes(&both, swap ? b : a);
    wr_u8(&both, ' ');
    wr_bytes(&both, swap ? a : b);
    w->bad |= both.bad;
    presence_wire_key(w, c->prefix, "pair", wr_done(&both));
}

static void user_value(struct wr *w, const struct call_claims *c)
{
    presence_wire_epoch(w, c->epoch);
    wr_u8(w, ' ');
    wr_bytes(w, c->node);
}

static void pair_value(struct wr *w, const struct call_claims *c, const struct sig_call_id *id,
                       struct slice caller)
{
    sig_call_id_write(w, id);
    wr_u8(w, ' ');
    user_value(w, c);
    wr_u8(w, ' ');
    wr_bytes(w, caller);
}

static struct slice cut(struct slice *s)
{
    const uint8_t *end = s->len > 0 ? memchr(s->p, ' ', s->len) : NULL;
    size_t n = end ? (size_t)(end - s->p) : s->len;
    struct slice word = slice_sub(*s, 0, n);

    *s = slice_sub(*s, n + 1, s->len);
    return word;
}

int call_claim_of_user(struct call_claim *out, struct slice field, struct slice value)
{
    struct call_claim v = {.text = value};

    if (sig_call_id_parse(&v.call, field) != 0 ||
        presence_wire_epoch_decode(&v.epoch, cut(&value)) != 0 || value.len == 0 ||
        value.len > PRESENCE_WIRE_NODE_MAX)
        return -EBADMSG;
    v.node = value;
    *out = v;
    return 0;
}

int call_claim_of_pair(struct call_claim *out, struct slice value)
{
    struct call_claim v = {.text = value};

    if (sig_call_id_parse(&v.call, cut(&value)) != 0 ||
        presence_wire_epoch_decode(&v.epoch, cut(&value)) != 0)
        return -EBADMSG;
    v.node = cut(&value);
    v.caller = value;
    if (v.node.len == 0 || v.node.len > PRESENCE_WIRE_NODE_MAX || !sig_user_ok(v.caller))
        return -EBADMSG;
    *out = v;
    return 0;
}

/* ---- commands ---- */

int call_claims_pair(const struct call_claims *c, struct redis_call *call,
                     const struct sig_call_id *id, struct slice caller, struct slice callee,
                     struct slice old, uint64_t life_us, uint64_t now_us)
{
    uint8_t key_buf[KEY_MAX], value_buf[CALL_CLAIMS_TEXT_MAX], life[NUMBER_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf)),
              value = wr_init(value_buf, sizeof(value_buf));

    pair_key(&key, c, caller, callee);
    pair_value(&value, c, id, caller);
    const struct slice words[] = {wr_done(&key), wr_done(&value), ms_text(life, life_us), old};
    if (key.bad || value.bad)
        return -EINVAL;
    return redis_client_eval(c->client, call, c->first + CALL_CLAIMS_PAIR, 1, words,
                             ARRAY_LEN(words), now_us);
}

int call_claims_user(const struct call_claims *c, struct redis_call *call,
                     const struct sig_call_id *id, struct slice user, uint64_t life_us,
                     uint64_t now_us)
{
    uint8_t key_buf[PRESENCE_WIRE_KEY_MAX], value_buf[CALL_CLAIMS_TEXT_MAX], life[NUMBER_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf)),
              value = wr_init(value_buf, sizeof(value_buf));
    char text[SIG_CALL_ID_TEXT + 1];

    presence_wire_key(&key, c->prefix, "ucall", user);
    user_value(&value, c);
    const struct slice words[] = {wr_done(&key), slice_str(sig_call_id_text(id, text)),
                                  wr_done(&value), ms_text(life, life_us)};
    if (key.bad || value.bad)
        return -EINVAL;
    return redis_client_eval(c->client, call, c->first + CALL_CLAIMS_USER, 1, words,
                             ARRAY_LEN(words), now_us);
}

int call_claims_look(const struct call_claims *c, struct redis_call *call, struct slice user,
                     uint64_t now_us)
{
    uint8_t key_buf[PRESENCE_WIRE_KEY_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf));

    presence_wire_key(&key, c->prefix, "ucall", user);
    const struct slice words[] = {SLICE_LIT("HGETALL"), wr_done(&key)};
    if (key.bad)
        return -EINVAL;
    return redis_client_call(c->client, call, words, ARRAY_LEN(words), now_us);
}

/* call: empty of a pair. */
static void drop(const struct call_claims *c, const struct wr *key, struct slice value,
                 struct slice call, uint64_t now_us)
{
    const struct slice words[] = {wr_done(key), value, call};

    if (!key->bad)
        (void)redis_client_eval(c->client, NULL, c->first + CALL_CLAIMS_DROP, 1, words,
                                call.len > 0 ? 3 : 2, now_us);
}

void call_claims_drop_pair(const struct call_claims *c, const struct sig_call_id *id,
                           struct slice caller, struct slice callee, uint64_t now_us)
{
    uint8_t key_buf[KEY_MAX], value_buf[CALL_CLAIMS_TEXT_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf)),
              value = wr_init(value_buf, sizeof(value_buf));

    pair_key(&key, c, caller, callee);
    pair_value(&value, c, id, caller);
    drop(c, &key, wr_done(&value), (struct slice){0}, now_us);
}

void call_claims_drop_user(const struct call_claims *c, const struct sig_call_id *id,
                           struct slice user, uint64_t now_us)
{
    uint8_t value_buf[CALL_CLAIMS_TEXT_MAX];
    struct wr value = wr_init(value_buf, sizeof(value_buf));

    user_value(&value, c);
    call_claims_purge_user(c, &(struct call_claim){.call = *id, .text = wr_done(&value)}, user,
                           now_us);
}

void call_claims_purge_user(const struct call_claims *c, const struct call_claim *dead,
                            struct slice user, uint64_t now_us)
{
    uint8_t key_buf[PRESENCE_WIRE_KEY_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf));
    char text[SIG_CALL_ID_TEXT + 1];

    presence_wire_key(&key, c->prefix, "ucall", user);
    drop(c, &key, dead->text, slice_str(sig_call_id_text(&dead->call, text)), now_us);
}
