/* Presence as it stands in Redis.
 *
 * Called by presence_store_redis.c and node_lease.c. Pure. Scripts compare before they write: what
 * is stored of a newer session, or a newer generation of the same one, is never overwritten by who
 * comes late. Doing one twice does no harm. SPDX-License-Identifier: BSD-3-Clause */
#include "server/presence_wire.h"

#include <errno.h>

#include "base/crypto.h"

#define SESSION_TEXT ((size_t)2 * PRESENCE_SESSION_BYTES)
#define EPOCH_TEXT   16
#define FLAGS_TEXT   3
enum { CALL_WAITING = 1, ROOMS = 2 }; /* of the third one */

/* KEYS pres, watch. ARGV device, session, generation, stamp (0: this session is new to the store),
 * rest of the entry, most devices, life in ms.
 * Answers ok, stamp, the node whose session it took the place of (or ""), then the watchers as
 * node, epoch; or stale, replaced, full. */
#define PUT_LUA                                                                                   \
    "local old = redis.call('HGET', KEYS[1], ARGV[1])\n"                                          \
    "local stamp, from = ARGV[4], ''\n"                                                           \
    "if old then\n"                                                                               \
    "  local s, g, t, n = string.match(old, '^1 (%x+) (%d+) (%d+) %x+ %d+ (.*)$')\n"              \
    "  if s == ARGV[2] then\n"                                                                    \
    "    if tonumber(g) > tonumber(ARGV[3]) then return {'stale'} end\n"                          \
    "    stamp = t\n"                                                                             \
    "  elseif s then\n"                                                                           \
    "    if stamp ~= '0' and tonumber(t) > tonumber(stamp) then return {'replaced'} end\n"        \
    "    from = n .. ' ' .. s\n"                                                                  \
    "  end\n"                                                                                     \
    "elseif redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[6]) then\n"                              \
    "  return {'full'}\n"                                                                         \
    "end\n"                                                                                       \
    "if stamp == '0' then\n"                                                                      \
    "  local now = redis.call('TIME')\n"                                                          \
    "  stamp = now[1] .. string.format('%06d', tonumber(now[2]))\n"                               \
    "end\n"                                                                                       \
    "redis.call('HSET', KEYS[1], ARGV[1], table.concat({'1', ARGV[2], ARGV[3], stamp, ARGV[5]}, " \
    "' '))\n"                                                                                     \
    "redis.call('PEXPIRE', KEYS[1], ARGV[7])\n"                                                   \
    "local out = redis.call('HGETALL', KEYS[2])\n"                                                \
    "table.insert(out, 1, from)\n"                                                                \
    "table.insert(out, 1, stamp)\n"                                                               \
    "table.insert(out, 1, 'ok')\n"                                                                \
    "return out\n"

/* KEYS pres, watch. ARGV device, session, generation. Answers ok, "0", "", watchers; or stale. */
#define REMOVE_LUA                                                                   \
    "local old = redis.call('HGET', KEYS[1], ARGV[1])\n"                             \
    "local s, g = string.match(old or '', '^1 (%x+) (%d+) ')\n"                      \
    "if s ~= ARGV[2] or tonumber(g) > tonumber(ARGV[3]) then return {'stale'} end\n" \
    "redis.call('HDEL', KEYS[1], ARGV[1])\n"                                         \
    "local out = redis.call('HGETALL', KEYS[2])\n"                                   \
    "table.insert(out, 1, '')\n"                                                     \
    "table.insert(out, 1, '0')\n"                                                    \
    "table.insert(out, 1, 'ok')\n"                                                   \
    "return out\n"

/* KEYS pres. ARGV device, the whole text that was read: an entry of a dead node goes, if it is
 * still that one. */
#define PURGE_LUA                                               \
    "if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then\n" \
    "  return redis.call('HDEL', KEYS[1], ARGV[1])\n"           \
    "end\n"                                                     \
    "return 0\n"

/* KEYS watch. ARGV node, epoch, life in ms. */
#define WATCH_LUA                                     \
    "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])\n" \
    "redis.call('PEXPIRE', KEYS[1], ARGV[3])\n"       \
    "return 'ok'\n"

/* KEYS watch. ARGV node, epoch: not what a newer process of that name has written. */
#define UNWATCH_LUA                                             \
    "if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then\n" \
    "  return redis.call('HDEL', KEYS[1], ARGV[1])\n"           \
    "end\n"                                                     \
    "return 0\n"

/* KEYS node. ARGV epoch, life in ms, "1" to take it over, state. Answers ok; new: there was none,
 * or another process's; lost: another process has it. */
#define LEASE_LUA                                                           \
    "local old = redis.call('HGET', KEYS[1], 'epoch')\n"                    \
    "if old and old ~= ARGV[1] and ARGV[3] ~= '1' then return 'lost' end\n" \
    "redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'state', ARGV[4])\n"     \
    "redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"                             \
    "return old == ARGV[1] and 'ok' or 'new'\n"

#define LUA(text)                                 \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }
const struct slice presence_wire_scripts[PRESENCE_SCRIPTS] = {
    [PRESENCE_PUT] = LUA(PUT_LUA),         [PRESENCE_REMOVE] = LUA(REMOVE_LUA),
    [PRESENCE_PURGE] = LUA(PURGE_LUA),     [PRESENCE_WATCH] = LUA(WATCH_LUA),
    [PRESENCE_UNWATCH] = LUA(UNWATCH_LUA), [PRESENCE_LEASE] = LUA(LEASE_LUA),
};

void presence_wire_key(struct wr *w, struct slice prefix, const char *what, struct slice id)
{
    wr_bytes(w, prefix);
    wr_str(w, what);
    wr_str(w, ":{");
    for (size_t i = 0; i < id.len; i++) {
        uint8_t b = id.p[i];
        if (b == '{')
            wr_str(w, "%7B");
        else if (b == '}')
            wr_str(w, "%7D");
        else if (b == '%')
            wr_str(w, "%25");
        else
            wr_u8(w, b);
    }
    wr_u8(w, '}');
}

void presence_wire_session(struct wr *w, const uint8_t session[PRESENCE_SESSION_BYTES])
{
    hex_encode(w, slice_of(session, PRESENCE_SESSION_BYTES));
}

void presence_wire_epoch(struct wr *w, uint64_t epoch)
{
    uint8_t bytes[8];
    struct wr b = wr_init(bytes, sizeof(bytes));

    wr_be64(&b, epoch);
    hex_encode(w, wr_done(&b));
}

int presence_wire_epoch_decode(uint64_t *out, struct slice text)
{
    uint8_t bytes[8];

    if (text.len != EPOCH_TEXT || hex_decode(text, bytes, sizeof(bytes)) != 0)
        return -EBADMSG;
    struct rd r = rd_init(slice_of(bytes, sizeof(bytes)));
    *out = rd_be64(&r);
    return 0;
}

void presence_wire_owner(struct wr *w, uint64_t epoch, struct slice node)
{
    presence_wire_epoch(w, epoch);
    wr_u8(w, ' ');
    wr_bytes(w, node);
}

void presence_wire_rest(struct wr *w, const struct presence_entry *e, uint64_t epoch,
                        struct slice node)
{
    presence_wire_epoch(w, epoch);
    wr_u8(w, ' ');
    wr_u8(w, (uint8_t)('0' + (int)e->state));
    wr_u8(w, e->attached ? '1' : '0');
    wr_u8(w, (uint8_t)('0' + (e->call_waiting ? CALL_WAITING : 0) + (e->rooms ? ROOMS : 0)));
    wr_u8(w, ' ');
    wr_bytes(w, node);
}

/* Cuts the text up to the next space off s. */
static struct slice cut_word(struct slice *s)
{
    const uint8_t *space = s->len > 0 ? memchr(s->p, ' ', s->len) : NULL;
    size_t n = space ? (size_t)(space - s->p) : s->len;
    struct slice word = slice_sub(*s, 0, n);

    *s = slice_sub(*s, n + 1, s->len);
    return word;
}

static bool read_flag(uint8_t digit, bool *out)
{
    *out = digit == '1';
    return digit == '0' || digit == '1';
}

int presence_wire_decode(struct presence_wire *out, struct slice text)
{
    struct presence_wire v = *out;
    uint64_t stamp;

    if (!slice_is(cut_word(&text), "1"))
        return -EBADMSG;
    struct slice session = cut_word(&text), generation = cut_word(&text);
    v.stamp = cut_word(&text);
    struct slice epoch = cut_word(&text), flags = cut_word(&text);
    v.e.node = text;
    if (session.len != SESSION_TEXT || hex_decode(session, v.e.session, sizeof(v.e.session)) != 0 ||
        slice_to_u64(generation, PRESENCE_WIRE_GENERATION_MAX, &v.e.generation) != 0 ||
        v.stamp.len > PRESENCE_WIRE_STAMP_MAX || slice_to_u64(v.stamp, UINT64_MAX, &stamp) != 0 ||
        presence_wire_epoch_decode(&v.epoch, epoch) != 0 || flags.len != FLAGS_TEXT ||
        v.e.node.len == 0 || v.e.node.len > PRESENCE_WIRE_NODE_MAX)
        return -EBADMSG;
    if (flags.p[0] < '0' || flags.p[0] >= '0' + (int)SIG_PRESENCE_UNKNOWN ||
        !read_flag(flags.p[1], &v.e.attached) || flags.p[2] < '0' ||
        flags.p[2] > '0' + CALL_WAITING + ROOMS)
        return -EBADMSG;
    v.e.call_waiting = ((flags.p[2] - '0') & CALL_WAITING) != 0;
    v.e.rooms = ((flags.p[2] - '0') & ROOMS) != 0;
    v.e.state = (enum sig_presence)(flags.p[0] - '0');
    *out = v;
    return 0;
}

void presence_wire_say(struct wr *w, const struct presence_said *s)
{
    if (s->kind == PRESENCE_SAID_REPLACED) {
        wr_str(w, "r ");
        presence_wire_session(w, s->session);
        wr_u8(w, ' ');
        wr_u64(w, s->device.len);
        wr_u8(w, ' ');
        wr_bytes(w, s->device);
    } else {
        wr_str(w, "c ");
    }
    wr_bytes(w, s->user);
}

int presence_wire_said(struct presence_said *out, struct slice text)
{
    struct presence_said s = {0};
    struct slice what = cut_word(&text);
    uint64_t n;

    if (slice_is(what, "c")) {
        s.kind = PRESENCE_SAID_CHANGED;
    } else if (slice_is(what, "r")) {
        s.kind = PRESENCE_SAID_REPLACED;
        struct slice session = cut_word(&text);
        if (hex_decode(session, s.session, sizeof(s.session)) != 0 ||
            slice_to_u64(cut_word(&text), SIG_DEVICE_MAX, &n) != 0 || n == 0 || n > text.len)
            return -EBADMSG;
        s.device = slice_sub(text, 0, n);
        text = slice_sub(text, n, text.len);
    } else {
        return -EBADMSG;
    }
    if (text.len == 0 || text.len > SIG_USER_MAX)
        return -EBADMSG;
    s.user = text;
    *out = s;
    return 0;
}
