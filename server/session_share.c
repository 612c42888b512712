/* Sessions in Redis: key, scripts, record.
 *
 * Called by router_resume.c. Pure.
 *
 *     P sess:{SESSION}   hash: o = "EPOCH NODE", t0, t1 = hashes of tokens, x = 1: it cannot move;
 *                        of each process that has it or had it: r.EPOCH = record, n.EPOCH =
 * numbers, mN.EPOCH = message number N: id hash (8 bytes) and text
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/session_share.h"

#include <errno.h>

#include "base/crypto.h"
#include "server/presence_wire.h"

#define VERSION     2
#define ID_HASH     8
#define FIXED_WORDS 6 /* of a whole save, before its fields */

/* KEYS sess. ARGV owner, life in ms, t0, t1, x, then field and value of each. */
#define SAVE_LUA                                                                              \
    "local o = redis.call('HGET', KEYS[1], 'o')\n"                                            \
    "if o and o ~= ARGV[1] then return o end\n"                                               \
    "redis.call('HSET', KEYS[1], 'o', ARGV[1], 't0', ARGV[3], 't1', ARGV[4], 'x', ARGV[5],\n" \
    "  unpack(ARGV, 6))\n"                                                                    \
    "redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"                                               \
    "return 'ok'\n"

/* KEYS sess. ARGV owner, hash of the token. An end is a dot and 16 digits, as in the owner. */
#define TAKE_LUA                                                                           \
    "local v = redis.call('HMGET', KEYS[1], 'o', 't0', 't1', 'x')\n"                       \
    "if not v[1] then return {'none'} end\n"                                               \
    "if v[2] ~= ARGV[2] and v[3] ~= ARGV[2] then return {'no'} end\n"                      \
    "if v[4] == '1' then return {'stay'} end\n"                                            \
    "local was, now = '.' .. string.sub(v[1], 1, 16), '.' .. string.sub(ARGV[1], 1, 16)\n" \
    "local all, out = redis.call('HGETALL', KEYS[1]), {'ok', v[1]}\n"                      \
    "for i = 1, #all, 2 do\n"                                                              \
    "  if string.sub(all[i], -17) == was then\n"                                           \
    "    local name = string.sub(all[i], 1, -18)\n"                                        \
    "    redis.call('HDEL', KEYS[1], all[i])\n"                                            \
    "    redis.call('HSET', KEYS[1], name .. now, all[i + 1])\n"                           \
    "    out[#out + 1] = name\n"                                                           \
    "    out[#out + 1] = all[i + 1]\n"                                                     \
    "  end\n"                                                                              \
    "end\n"                                                                                \
    "redis.call('HSET', KEYS[1], 'o', ARGV[1])\n"                                          \
    "return out\n"

/* KEYS sess. ARGV owner. What has no owner is a late word of ours. */
#define DROP_LUA                                   \
    "local o = redis.call('HGET', KEYS[1], 'o')\n" \
    "if o and o ~= ARGV[1] then return 0 end\n"    \
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
    put_text(w, r->watched);
    put_text(w, r->rooms);
}

void session_numbers_write(struct wr *w, const struct session_numbers *n)
{
    wr_u8(w, VERSION);
    wr_be64(w, n->in_seq);
    wr_be64(w, n->out_seq);
    wr_be64(w, n->acked);
    wr_be64(w, n->generation);
    wr_u8(w, (uint8_t)n->state);
}

int session_record_read(struct session_record *out, struct slice bytes)
{
    struct rd r = rd_init(bytes);
    struct session_record v = {.name = {0}};
    uint8_t version = rd_u8(&r);

    v.user = take_text(&r);
    v.device = take_text(&r);
    v.name = take_text(&r);
    v.watched = take_text(&r);
    v.rooms = take_text(&r);
    if (r.bad || r.left > 0 || version != VERSION || !sig_user_ok(v.user) || !sig_id_ok(v.device) ||
        v.name.len > SESSION_NAME_MAX)
        return -EBADMSG;
    *out = v;
    return 0;
}

int session_numbers_read(struct session_numbers *out, struct slice bytes)
{
    struct rd r = rd_init(bytes);
    struct session_numbers v = {.in_seq = 0};
    uint8_t version = rd_u8(&r);

    v.in_seq = rd_be64(&r);
    v.out_seq = rd_be64(&r);
    v.acked = rd_be64(&r);
    v.generation = rd_be64(&r);
    uint8_t state = rd_u8(&r);
    if (r.bad || r.left > 0 || version != VERSION || v.acked > v.out_seq ||
        v.generation >= PRESENCE_WIRE_GENERATION_MAX || state < SIG_PRESENCE_ONLINE ||
        state >= SIG_PRESENCE_UNKNOWN)
        return -EBADMSG;
    v.state = (enum sig_presence)state;
    *out = v;
    return 0;
}

char session_share_field(struct slice name, struct slice value, struct session_share_message *m)
{
    if (slice_is(name, "r") || slice_is(name, "n"))
        return (char)name.p[0];
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
    presence_wire_owner(&t->w, c->epoch, c->node);
    return wr_done(&t->w);
}

static struct slice number(struct words *t, uint64_t n)
{
    t->w = wr_init(t->buf, sizeof(t->buf));
    wr_u64(&t->w, n);
    return wr_done(&t->w);
}

/* Fields and values, and the memory that they are in. One worker's at a time. */
struct fields {
    struct wr w;
    struct slice *words;
    size_t n;
    uint64_t epoch;
};

/* Ends the name that was begun at `at`. */
static void end_name(struct fields *f, size_t at)
{
    wr_u8(&f->w, '.');
    presence_wire_epoch(&f->w, f->epoch);
    f->words[f->n++] = slice_of(f->w.base + at, f->w.len - at);
}

static void add_message_name(struct fields *f, uint64_t seq)
{
    size_t at = f->w.len;

    wr_u8(&f->w, 'm');
    wr_u64(&f->w, seq);
    end_name(f, at);
}

static void add_numbers(struct fields *f, const struct session_numbers *n)
{
    size_t at = f->w.len;

    wr_u8(&f->w, 'n');
    end_name(f, at);
    at = f->w.len;
    session_numbers_write(&f->w, n);
    f->words[f->n++] = slice_of(f->w.base + at, f->w.len - at);
}

static void add_messages(struct fields *f, const struct session_share_save *s)
{
    for (size_t i = 0; i < s->n && i < SESSION_SHARE_AT_ONCE; i++) {
        add_message_name(f, s->messages[i].seq);
        size_t at = f->w.len;
        wr_be64(&f->w, s->messages[i].id_hash);
        wr_bytes(&f->w, s->messages[i].text);
        f->words[f->n++] = slice_of(f->w.base + at, f->w.len - at);
    }
}

/* For one command at a time: it is copied before the next. */
static struct wr memory(void)
{
    static uint8_t text[SESSION_SHARE_RECORD_MAX * 8];

    return wr_init(text, sizeof(text));
}

int session_share_save(const struct call_claims *c, unsigned first, struct redis_call *call,
                       const struct session_share_save *s, uint64_t now_us)
{
    struct slice words[FIXED_WORDS + 4 + 2 * SESSION_SHARE_AT_ONCE];
    struct fields f = {.w = memory(), .words = words, .epoch = c->epoch};
    struct words key, owner, life;

    words[f.n++] = key_of(&key, c, s->id);
    words[f.n++] = owner_of(&owner, c);
    words[f.n++] = number(&life, s->life_us / US_PER_MS);
    words[f.n++] = slice_of(s->tokens[0], SESSION_SHARE_HASH);
    words[f.n++] = slice_of(s->tokens[1], SESSION_SHARE_HASH);
    words[f.n++] = s->here_only ? SLICE_LIT("1") : SLICE_LIT("0");
    wr_u8(&f.w, 'r');
    end_name(&f, 0);
    words[f.n++] = s->record;
    add_numbers(&f, &s->numbers);
    add_messages(&f, s);
    if (f.w.bad)
        return -EMSGSIZE;
    return redis_client_eval(c->client, call, first + SESSION_SHARE_SAVE, 1, words, f.n, now_us);
}

int session_share_add(const struct call_claims *c, struct redis_call *call,
                      const struct session_share_save *s, uint64_t now_us)
{
    struct slice words[4 + 2 * SESSION_SHARE_AT_ONCE];
    struct fields f = {.w = memory(), .words = words, .epoch = c->epoch};
    struct words key;

    words[f.n++] = SLICE_LIT("HSET");
    words[f.n++] = key_of(&key, c, s->id);
    add_numbers(&f, &s->numbers);
    add_messages(&f, s);
    if (f.w.bad)
        return -EMSGSIZE;
    return redis_client_call(c->client, call, words, f.n, now_us);
}

void session_share_trim(const struct call_claims *c, const uint8_t id[SESSION_ID_BYTES],
                        uint64_t from, uint64_t to, uint64_t now_us)
{
    struct slice words[2 + SESSION_SHARE_AT_ONCE];
    struct fields f = {.w = memory(), .words = words, .epoch = c->epoch};
    struct words key;

    words[f.n++] = SLICE_LIT("HDEL");
    words[f.n++] = key_of(&key, c, id);
    for (uint64_t i = from; i <= to && f.n < ARRAY_LEN(words); i++)
        add_message_name(&f, i);
    if (f.n > 2)
        (void)redis_client_call(c->client, NULL, words, f.n, now_us);
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
