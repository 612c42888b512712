/* Live calls in Redis: keys and scripts.
 *
 * Called by router_keep.c. Pure.
 *
 *     P calls:{EPOCH NODE}   hash: CALL = state, tCALL = texts; of one that was taken from it:
 *                            >CALL = "EPOCH NODE" of who has, until it stands there "\n" and state
 *     P servers:{all}        hash: "EPOCH NODE" -> 1
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_share.h"

#include <errno.h>

#include "server/presence_wire.h"

#define DROP_US \
    (60 * US_PER_S) /* an ended call is taken out until Redis is back, if it is by then */
#define LEFT_US \
    (900 * US_PER_S) /* who comes back to what was taken from it finds that for so long */

/* KEYS calls of the dead. ARGV call, owner. The state stays until the new owner has saved it: it
 * may ask once more. A state beside a mark was written by a process that did not know yet. */
#define TAKE_LUA                                                             \
    "local s = redis.call('HGET', KEYS[1], ARGV[1])\n"                       \
    "local m = redis.call('HGET', KEYS[1], '>' .. ARGV[1])\n"                \
    "if s then redis.call('HDEL', KEYS[1], ARGV[1]) end\n"                   \
    "if s and not m then\n"                                                  \
    "  redis.call('HSET', KEYS[1], '>' .. ARGV[1], ARGV[2] .. '\\n' .. s)\n" \
    "else\n"                                                                 \
    "  m = m or ''\n"                                                        \
    "  local o = string.match(m, '^[^\\n]*')\n"                              \
    "  if o ~= ARGV[2] or #m <= #o then return {o} end\n"                    \
    "  s = string.sub(m, #o + 2)\n"                                          \
    "end\n"                                                                  \
    "return {'ok', redis.call('HGET', KEYS[1], 't' .. ARGV[1]) or '', s}\n"

#define LUA(text)                                 \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }
const struct slice call_share_scripts[CALL_SHARE_SCRIPTS] = {
    [CALL_SHARE_TAKE] = LUA(TAKE_LUA),
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

static struct slice owner_text(struct text *t, struct slice node, uint64_t epoch)
{
    t->w = wr_init(t->buf, sizeof(t->buf));
    presence_wire_owner(&t->w, epoch, node);
    return wr_done(&t->w);
}

/* The hash of a process. */
static struct slice calls_key(struct text *t, const struct call_claims *c, struct slice node,
                              uint64_t epoch)
{
    struct text owner;

    return key_of(t, c, "calls", owner_text(&owner, node, epoch));
}

static struct slice all_key(struct text *t, const struct call_claims *c)
{
    return key_of(t, c, "servers", SLICE_LIT("all"));
}

static struct slice ms_text(struct text *t, uint64_t us)
{
    t->w = wr_init(t->buf, sizeof(t->buf));
    wr_u64(&t->w, us / US_PER_MS);
    return wr_done(&t->w);
}

/* Names of a call's fields. */
struct names {
    char text[1 + SIG_CALL_ID_TEXT + 1];
};

/* what: a letter in front of the id; 0: none. */
static struct slice name_of(struct names *n, char what, const struct sig_call_id *id)
{
    n->text[0] = what;
    sig_call_id_text(id, n->text + 1);
    return slice_of(n->text + (what == 0), SIG_CALL_ID_TEXT + (what != 0));
}

static int ask(const struct call_claims *c, struct redis_call *call, const struct slice *words,
               size_t n, uint64_t now_us)
{
    return redis_client_call(c->client, call, words, n, now_us);
}

int call_share_keep(const struct call_claims *c, struct redis_call *call,
                    const struct sig_call_id *id, struct slice state, struct slice texts,
                    uint64_t now_us)
{
    struct text key;
    struct names name, more;
    const struct slice words[] = {SLICE_LIT("HSET"),       calls_key(&key, c, c->node, c->epoch),
                                  name_of(&name, 0, id),   state,
                                  name_of(&more, 't', id), texts};

    return ask(c, call, words, ARRAY_LEN(words) - (texts.len > 0 ? 0 : 2), now_us);
}

int call_share_who(const struct call_claims *c, struct redis_call *call,
                   const struct sig_call_id *id, uint64_t now_us)
{
    struct text key;
    struct names name;
    const struct slice words[] = {SLICE_LIT("HGET"), calls_key(&key, c, c->node, c->epoch),
                                  name_of(&name, '>', id)};

    return ask(c, call, words, ARRAY_LEN(words), now_us);
}

int call_share_take(const struct call_claims *c, struct redis_call *call,
                    const struct sig_call_id *id, struct slice node, uint64_t epoch,
                    uint64_t now_us)
{
    struct text key, owner;
    struct names name;
    const struct slice words[] = {calls_key(&key, c, node, epoch), name_of(&name, 0, id),
                                  owner_text(&owner, c->node, c->epoch)};

    return redis_client_eval(c->client, call, c->first + CALL_SHARE_TAKE, 1, words,
                             ARRAY_LEN(words), now_us);
}

void call_share_ours(const struct call_claims *c, const struct sig_call_id *id, uint64_t now_us)
{
    struct text key;
    struct names name;
    const struct slice words[] = {SLICE_LIT("HDEL"), calls_key(&key, c, c->node, c->epoch),
                                  name_of(&name, '>', id)};

    (void)ask(c, NULL, words, ARRAY_LEN(words), now_us);
}

void call_share_took(const struct call_claims *c, const struct sig_call_id *id, struct slice node,
                     uint64_t epoch, uint64_t now_us)
{
    struct text key, owner;
    struct names name, more;
    struct slice calls = calls_key(&key, c, node, epoch);
    const struct slice mark[] = {SLICE_LIT("HSET"), calls, name_of(&name, '>', id),
                                 owner_text(&owner, c->node, c->epoch)};
    const struct slice texts[] = {SLICE_LIT("HDEL"), calls, name_of(&more, 't', id)};

    (void)ask(c, NULL, mark, ARRAY_LEN(mark), now_us);
    (void)ask(c, NULL, texts, ARRAY_LEN(texts), now_us);
}

void call_share_drop(const struct call_claims *c, const struct sig_call_id *id, uint64_t now_us)
{
    struct text key;
    struct names name, more;
    const struct slice words[] = {SLICE_LIT("HDEL"), calls_key(&key, c, c->node, c->epoch),
                                  name_of(&name, 0, id), name_of(&more, 't', id)};

    (void)redis_client_say(c->client, words, ARRAY_LEN(words), DROP_US, now_us);
}

int call_share_lease(const struct call_claims *c, struct redis_call *call, struct slice node,
                     uint64_t now_us)
{
    struct text key;
    const struct slice words[] = {SLICE_LIT("HGET"), key_of(&key, c, "node", node),
                                  SLICE_LIT("epoch")};

    return ask(c, call, words, ARRAY_LEN(words), now_us);
}

int call_share_of_node(const struct call_claims *c, struct redis_call *call, struct slice node,
                       uint64_t epoch, uint64_t now_us)
{
    struct text key;
    const struct slice words[] = {SLICE_LIT("HKEYS"), calls_key(&key, c, node, epoch)};

    return ask(c, call, words, ARRAY_LEN(words), now_us);
}

/* The hash of a process goes by itself in life_us. */
static void expire(const struct call_claims *c, struct slice node, uint64_t epoch, uint64_t life_us,
                   uint64_t now_us)
{
    struct text key, life;
    const struct slice words[] = {SLICE_LIT("PEXPIRE"), calls_key(&key, c, node, epoch),
                                  ms_text(&life, life_us)};

    (void)ask(c, NULL, words, ARRAY_LEN(words), now_us);
}

void call_share_join(const struct call_claims *c, uint64_t life_us, uint64_t now_us)
{
    struct text key, owner;
    const struct slice words[] = {SLICE_LIT("HSET"), all_key(&key, c),
                                  owner_text(&owner, c->node, c->epoch), SLICE_LIT("1")};

    (void)ask(c, NULL, words, ARRAY_LEN(words), now_us);
    expire(c, c->node, c->epoch, life_us, now_us);
}

int call_share_nodes(const struct call_claims *c, struct redis_call *call, uint64_t now_us)
{
    struct text key;
    const struct slice words[] = {SLICE_LIT("HGETALL"), all_key(&key, c)};

    return ask(c, call, words, ARRAY_LEN(words), now_us);
}

void call_share_leave(const struct call_claims *c, struct slice node, uint64_t epoch,
                      uint64_t now_us)
{
    struct text key, owner;
    const struct slice words[] = {SLICE_LIT("HDEL"), all_key(&key, c),
                                  owner_text(&owner, node, epoch)};

    (void)ask(c, NULL, words, ARRAY_LEN(words), now_us);
    expire(c, node, epoch, LEFT_US, now_us);
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
