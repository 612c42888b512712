/* Live calls in Redis: keys and scripts.
 *
 * Called by router_keep.c. Pure.
 *
 *     P call:{CALL}     hash: o = "EPOCH NODE", s = snapshot
 *     P ncall:{NODE}    hash: CALL -> EPOCH
 *     P nodes:{all}     hash: NODE -> EPOCH
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_share.h"

#include <errno.h>

#include "server/presence_wire.h"

/* KEYS call. ARGV owner, snapshot, life in ms. */
#define KEEP_LUA                                                \
    "local o = redis.call('HGET', KEYS[1], 'o')\n"              \
    "if o and o ~= ARGV[1] then return o end\n"                 \
    "redis.call('HSET', KEYS[1], 'o', ARGV[1], 's', ARGV[2])\n" \
    "redis.call('PEXPIRE', KEYS[1], ARGV[3])\n"                 \
    "return o and 'ok' or 'new'\n"

/* KEYS call. ARGV owner, whose it must be. */
#define TAKE_LUA                                             \
    "local o = redis.call('HGET', KEYS[1], 'o')\n"           \
    "if not o then return {''} end\n"                        \
    "if o ~= ARGV[2] and o ~= ARGV[1] then return {o} end\n" \
    "redis.call('HSET', KEYS[1], 'o', ARGV[1])\n"            \
    "return {'ok', redis.call('HGET', KEYS[1], 's')}\n"

/* KEYS call; or a list, with ARGV[2] a field of it: only what has that value. */
#define DROP_LUA                                                       \
    "local f = ARGV[2] or 'o'\n"                                       \
    "if redis.call('HGET', KEYS[1], f) ~= ARGV[1] then return 0 end\n" \
    "if ARGV[2] then return redis.call('HDEL', KEYS[1], f) end\n"      \
    "return redis.call('DEL', KEYS[1])\n"

#define LUA(text)                                 \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }
const struct slice call_share_scripts[CALL_SHARE_SCRIPTS] = {
    [CALL_SHARE_KEEP] = LUA(KEEP_LUA),
    [CALL_SHARE_TAKE] = LUA(TAKE_LUA),
    [CALL_SHARE_DROP] = LUA(DROP_LUA),
};

/* A text of few words, on the stack. */
struct text {
    struct wr w;
    uint8_t buf[PRESENCE_WIRE_KEY_MAX];
};

static struct slice key_of(struct text *t, const struct call_claims *c, const char *what,
                           struct slice id)
{
    t->w = wr_init(t->buf, sizeof(t->buf));
    presence_wire_key(&t->w, c->prefix, what, id);
    return wr_done(&t->w);
}

static struct slice call_key(struct text *t, const struct call_claims *c,
                             const struct sig_call_id *id)
{
    char text[SIG_CALL_ID_TEXT + 1];

    return key_of(t, c, "call", slice_str(sig_call_id_text(id, text)));
}

static struct slice owner_text(struct text *t, struct slice node, uint64_t epoch)
{
    t->w = wr_init(t->buf, sizeof(t->buf));
    presence_wire_epoch(&t->w, epoch);
    wr_u8(&t->w, ' ');
    wr_bytes(&t->w, node);
    return wr_done(&t->w);
}

static struct slice epoch_text(struct text *t, uint64_t epoch)
{
    t->w = wr_init(t->buf, sizeof(t->buf));
    presence_wire_epoch(&t->w, epoch);
    return wr_done(&t->w);
}

static struct slice ms_text(struct text *t, uint64_t us)
{
    t->w = wr_init(t->buf, sizeof(t->buf));
    wr_u64(&t->w, us / US_PER_MS);
    return wr_done(&t->w);
}

static int eval(const struct call_claims *c, struct redis_call *call, enum call_share_script script,
                const struct slice *words, size_t n, uint64_t now_us)
{
    return redis_client_eval(c->client, call, c->first + CALL_CLAIMS_SCRIPTS + (unsigned)script, 1,
                             words, n, now_us);
}

int call_share_keep(const struct call_claims *c, struct redis_call *call,
                    const struct sig_call_id *id, struct slice snapshot, uint64_t life_us,
                    uint64_t now_us)
{
    struct text key, owner, life;
    const struct slice words[] = {call_key(&key, c, id), owner_text(&owner, c->node, c->epoch),
                                  snapshot, ms_text(&life, life_us)};

    return eval(c, call, CALL_SHARE_KEEP, words, ARRAY_LEN(words), now_us);
}

int call_share_take(const struct call_claims *c, struct redis_call *call,
                    const struct sig_call_id *id, struct slice node, uint64_t epoch,
                    uint64_t now_us)
{
    struct text key, owner, from;
    const struct slice words[] = {call_key(&key, c, id), owner_text(&owner, c->node, c->epoch),
                                  owner_text(&from, node, epoch)};

    return eval(c, call, CALL_SHARE_TAKE, words, ARRAY_LEN(words), now_us);
}

void call_share_drop(const struct call_claims *c, const struct sig_call_id *id, uint64_t now_us)
{
    struct text key, owner;
    const struct slice words[] = {call_key(&key, c, id), owner_text(&owner, c->node, c->epoch)};

    (void)eval(c, NULL, CALL_SHARE_DROP, words, ARRAY_LEN(words), now_us);
    call_share_unlist(c, id, c->node, c->epoch, now_us);
}

void call_share_list(const struct call_claims *c, const struct sig_call_id *id, uint64_t life_us,
                     uint64_t now_us)
{
    struct text key, epoch, life;
    char text[SIG_CALL_ID_TEXT + 1];
    struct slice list = key_of(&key, c, "ncall", c->node);
    const struct slice set[] = {SLICE_LIT("HSET"), list, slice_str(sig_call_id_text(id, text)),
                                epoch_text(&epoch, c->epoch)};
    const struct slice expire[] = {SLICE_LIT("PEXPIRE"), list, ms_text(&life, life_us)};

    (void)redis_client_call(c->client, NULL, set, ARRAY_LEN(set), now_us);
    (void)redis_client_call(c->client, NULL, expire, ARRAY_LEN(expire), now_us);
}

void call_share_unlist(const struct call_claims *c, const struct sig_call_id *id, struct slice node,
                       uint64_t epoch, uint64_t now_us)
{
    struct text key, value;
    char text[SIG_CALL_ID_TEXT + 1];
    const struct slice words[] = {key_of(&key, c, "ncall", node), epoch_text(&value, epoch),
                                  slice_str(sig_call_id_text(id, text))};

    (void)eval(c, NULL, CALL_SHARE_DROP, words, ARRAY_LEN(words), now_us);
}

static int get_all(const struct call_claims *c, struct redis_call *call, const char *what,
                   struct slice id, uint64_t now_us)
{
    struct text key;
    const struct slice words[] = {SLICE_LIT("HGETALL"), key_of(&key, c, what, id)};

    return redis_client_call(c->client, call, words, ARRAY_LEN(words), now_us);
}

int call_share_of_node(const struct call_claims *c, struct redis_call *call, struct slice node,
                       uint64_t now_us)
{
    return get_all(c, call, "ncall", node, now_us);
}

void call_share_join(const struct call_claims *c, uint64_t now_us)
{
    struct text key, epoch;
    const struct slice words[] = {SLICE_LIT("HSET"), key_of(&key, c, "servers", SLICE_LIT("all")),
                                  c->node, epoch_text(&epoch, c->epoch)};

    (void)redis_client_call(c->client, NULL, words, ARRAY_LEN(words), now_us);
}

int call_share_nodes(const struct call_claims *c, struct redis_call *call, uint64_t now_us)
{
    return get_all(c, call, "servers", SLICE_LIT("all"), now_us);
}

void call_share_leave(const struct call_claims *c, struct slice node, uint64_t epoch,
                      uint64_t now_us)
{
    struct text key, value;
    const struct slice words[] = {key_of(&key, c, "servers", SLICE_LIT("all")),
                                  epoch_text(&value, epoch), node};

    (void)eval(c, NULL, CALL_SHARE_DROP, words, ARRAY_LEN(words), now_us);
}

int call_share_owner(struct slice text, uint64_t *epoch, struct slice *node)
{
    const uint8_t *space = text.len > 0 ? memchr(text.p, ' ', text.len) : NULL;

    if (!space ||
        presence_wire_epoch_decode(epoch, slice_sub(text, 0, (size_t)(space - text.p))) != 0)
        return -EBADMSG;
    *node = slice_sub(text, (size_t)(space - text.p) + 1, text.len);
    return node->len > 0 && node->len <= PRESENCE_WIRE_NODE_MAX ? 0 : -EBADMSG;
}
