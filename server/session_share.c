/* Sessions in Redis: key, scripts, record.
 *
 * Called by router_resume.c. Pure.
 *
 *     P sess:{SESSION}   hash: o = "EPOCH NODE", r = record, t0, t1 = hashes of tokens, x = 1: it
 *                        cannot move, mN = message number N: id hash (8 bytes) and text
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/session_share.h"

#include <errno.h>

#include "base/crypto.h"
#include "server/presence_wire.h"

#define VERSION     1
#define ID_HASH     8
#define FIXED_WORDS 9 /* of a save, before its messages */

/* KEYS sess. ARGV owner, life in ms, record, t0, t1, x, drop from, drop to, then field and value of
 * each message. */
#define SAVE_LUA                                                                                  \
    "local o = redis.call('HGET', KEYS[1], 'o')\n"                                                \
    "if o and o ~= ARGV[1] then return o end\n"                                                   \
    "redis.call('HSET', KEYS[1], 'o', ARGV[1], 'r', ARGV[3], 't0', ARGV[4], 't1', ARGV[5], 'x', " \
    "ARGV[6])\n"                                                                                  \
    "for i = tonumber(ARGV[7]), tonumber(ARGV[8]) do redis.call('HDEL', KEYS[1], 'm' .. i) end\n" \
    "for i = 9, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end\n"              \
    "redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"                                                   \
    "return 'ok'\n"

/* KEYS sess. ARGV owner, hash of the token. */
#define TAKE_LUA                                                      \
    "local v = redis.call('HMGET', KEYS[1], 'o', 't0', 't1', 'x')\n"  \
    "if not v[1] then return {'none'} end\n"                          \
    "if v[2] ~= ARGV[2] and v[3] ~= ARGV[2] then return {'no'} end\n" \
    "if v[4] == '1' then return {'stay'} end\n"                       \
    "redis.call('HSET', KEYS[1], 'o', ARGV[1])\n"                     \
    "local all = redis.call('HGETALL', KEYS[1])\n"                    \
    "table.insert(all, 1, v[1])\n"                                    \
    "table.insert(all, 1, 'ok')\n"                                    \
    "return all\n"

/* KEYS sess. ARGV owner. */
#define DROP_LUA                                                         \
    "if redis.call('HGET', KEYS[1], 'o') ~= ARGV[1] then return 0 end\n" \
    "return redis.call('DEL', KEYS[1])\n"

#define LUA(text)                                 \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }
const struct slice session_share_scripts[SESSION_SHARE_SCRIPTS] = {
    [SESSION_SHARE_SAVE] = LUA(SAVE_LUA),
    [SESSION_SHARE_TAKE] = LUA(TAKE_LUA),
    [SESSION_SHARE_DROP] = LUA(DROP_LUA),
};

/* ---- the record ---- */

static void put_text(struct wr *w, struct slice s)
{
    wr_be32(w, (uint32_t)s.len);
    wr_bytes(w, s);
}

static struct slice take_text(struct rd *r)
{
    return rd_take(r, rd_be32(r));
}

void session_record_write(struct wr *w, const struct session_record *r)
{
    wr_u8(w, VERSION);
    put_text(w, r->user);
    put_text(w, r->device);
    put_text(w, r->name);
    wr_be64(w, r->in_seq);
    wr_be64(w, r->out_seq);
    wr_be64(w, r->acked);
    wr_be64(w, r->generation);
    wr_u8(w, (uint8_t)r->state);
    put_text(w, r->watched);
}

int session_record_read(struct session_record *out, struct slice bytes)
{
    struct rd r = rd_init(bytes);
    struct session_record v = {.in_seq = 0};
    uint8_t version = rd_u8(&r);

    v.user = take_text(&r);
    v.device = take_text(&r);
    v.name = take_text(&r);
    v.in_seq = rd_be64(&r);
    v.out_seq = rd_be64(&r);
    v.acked = rd_be64(&r);
    v.generation = rd_be64(&r);
    uint8_t state = rd_u8(&r);
    v.watched = take_text(&r);
    if (r.bad || r.left > 0 || version != VERSION || !sig_user_ok(v.user) || !sig_id_ok(v.device) ||
        v.name.len > SESSION_NAME_MAX || v.acked > v.out_seq ||
        v.generation >= PRESENCE_WIRE_GENERATION_MAX || state < SIG_PRESENCE_ONLINE ||
        state >= SIG_PRESENCE_UNKNOWN)
        return -EBADMSG;
    v.state = (enum sig_presence)state;
    *out = v;
    return 0;
}

char session_share_field(struct slice name, struct slice value, struct session_share_message *m)
{
    if (slice_is(name, "r"))
        return 'r';
    if (name.len < 2 || name.p[0] != 'm' || value.len <= ID_HASH ||
        slice_to_u64(slice_sub(name, 1, name.len), UINT64_MAX - 1, &m->seq) != 0 || m->seq == 0)
        return 0;
    struct rd r = rd_init(value);
    m->id_hash = rd_be64(&r);
    m->text = rd_rest(&r);
    return 'm';
}

/* ---- commands ---- */

struct words {
    struct wr w;
    uint8_t buf[256];
};

static struct slice key_of(struct words *t, const struct call_claims *c,
                           const uint8_t id[SESSION_ID_BYTES])
{
    uint8_t text[2 * SESSION_ID_BYTES];
    struct wr hex = wr_init(text, sizeof(text));

    hex_encode(&hex, slice_of(id, SESSION_ID_BYTES));
    t->w = wr_init(t->buf, sizeof(t->buf));
    presence_wire_key(&t->w, c->prefix, "sess", wr_done(&hex));
    return wr_done(&t->w);
}

static struct slice owner_of(struct words *t, const struct call_claims *c)
{
    t->w = wr_init(t->buf, sizeof(t->buf));
    presence_wire_epoch(&t->w, c->epoch);
    wr_u8(&t->w, ' ');
    wr_bytes(&t->w, c->node);
    return wr_done(&t->w);
}

static struct slice number(struct words *t, uint64_t n)
{
    t->w = wr_init(t->buf, sizeof(t->buf));
    wr_u64(&t->w, n);
    return wr_done(&t->w);
}

int session_share_save(const struct call_claims *c, unsigned first, struct redis_call *call,
                       const struct session_share_save *s, uint64_t now_us)
{
    static uint8_t text[SESSION_SHARE_RECORD_MAX * 8];
    struct wr w = wr_init(text, sizeof(text));
    struct words key, owner, life, from, to;
    struct slice words[FIXED_WORDS + 2 * SESSION_SHARE_AT_ONCE];
    size_t n = 0;

    words[n++] = key_of(&key, c, s->id);
    words[n++] = owner_of(&owner, c);
    words[n++] = number(&life, s->life_us / US_PER_MS);
    words[n++] = s->record;
    words[n++] = slice_of(s->tokens[0], SESSION_SHARE_HASH);
    words[n++] = slice_of(s->tokens[1], SESSION_SHARE_HASH);
    words[n++] = s->here_only ? SLICE_LIT("1") : SLICE_LIT("0");
    words[n++] = number(&from, s->drop_from);
    words[n++] = number(&to, s->drop_to);
    for (size_t i = 0; i < s->n && i < SESSION_SHARE_AT_ONCE; i++) {
        size_t at = w.len;
        wr_u8(&w, 'm');
        wr_u64(&w, s->messages[i].seq);
        words[n++] = slice_of(text + at, w.len - at);
        at = w.len;
        wr_be64(&w, s->messages[i].id_hash);
        wr_bytes(&w, s->messages[i].text);
        words[n++] = slice_of(text + at, w.len - at);
    }
    if (w.bad)
        return -EMSGSIZE;
    return redis_client_eval(c->client, call, first + SESSION_SHARE_SAVE, 1, words, n, now_us);
}

int session_share_take(const struct call_claims *c, unsigned first, struct redis_call *call,
                       const uint8_t id[SESSION_ID_BYTES], const uint8_t token[SESSION_SHARE_HASH],
                       uint64_t now_us)
{
    struct words key, owner;
    const struct slice words[] = {key_of(&key, c, id), owner_of(&owner, c),
                                  slice_of(token, SESSION_SHARE_HASH)};

    return redis_client_eval(c->client, call, first + SESSION_SHARE_TAKE, 1, words,
                             ARRAY_LEN(words), now_us);
}

void session_share_drop(const struct call_claims *c, unsigned first,
                        const uint8_t id[SESSION_ID_BYTES], uint64_t now_us)
{
    struct words key, owner;
    const struct slice words[] = {key_of(&key, c, id), owner_of(&owner, c)};

    (void)redis_client_eval(c->client, NULL, first + SESSION_SHARE_DROP, 1, words, ARRAY_LEN(words),
                            now_us);
}
