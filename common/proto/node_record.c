/* Records of relays and media servers in Redis.
 *
 * Called by net/enroll.c, which writes one, and server/node_list.c, which reads all. Pure. A record
 * stands behind the time at which its lease ends, in one hash for all nodes of a kind: one script
 * reads the living ones and takes out the dead, and none of them is found by looking through keys.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/node_record.h"

#include <errno.h>

#include "base/addr.h"
#include "base/crypto.h"

#define EPOCH_TEXT    16
#define UNIX_PATH_MAX 107 /* sun_path without its NUL */

/* The hash itself goes a day after the last word. Doing it twice does no harm. */
#define ENTER_LUA                                                                              \
    "local t = redis.call('TIME')\n"                                                           \
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"                                      \
    "local old = redis.call('HGET', KEYS[1], ARGV[1])\n"                                       \
    "local ends, epoch = string.match(old or '', '^(%d+) 1 epoch=(%x+)')\n"                    \
    "if ends and tonumber(ends) <= now then epoch = nil end\n"                                 \
    "if epoch and epoch ~= ARGV[2] and ARGV[4] ~= '1' then return 'lost' end\n"                \
    "redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now + ARGV[3]) .. ARGV[5])\n" \
    "redis.call('PEXPIRE', KEYS[1], 86400000)\n"                                               \
    "return epoch == ARGV[2] and 'ok' or 'new'\n"

#define LEAVE_LUA                                                                     \
    "local old = redis.call('HGET', KEYS[1], ARGV[1])\n"                              \
    "if string.match(old or '', '^%d+ 1 epoch=(%x+)') ~= ARGV[2] then return 0 end\n" \
    "return redis.call('HDEL', KEYS[1], ARGV[1])\n"

#define LIST_LUA                                                      \
    "local t = redis.call('TIME')\n"                                  \
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"             \
    "local all, out = redis.call('HGETALL', KEYS[1]), {}\n"           \
    "for i = 1, #all, 2 do\n"                                         \
    "  local ends, text = string.match(all[i + 1], '^(%d+) (.*)$')\n" \
    "  if ends and tonumber(ends) > now then\n"                       \
    "    out[#out + 1] = all[i]\n"                                    \
    "    out[#out + 1] = text\n"                                      \
    "  else\n"                                                        \
    "    redis.call('HDEL', KEYS[1], all[i])\n"                       \
    "  end\n"                                                         \
    "end\n"                                                           \
    "return out\n"

#define LUA(text)                                 \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }
const struct slice node_record_scripts[NODE_SCRIPTS] = {
    [NODE_SCRIPT_ENTER] = LUA(ENTER_LUA),
    [NODE_SCRIPT_LEAVE] = LUA(LEAVE_LUA),
    [NODE_SCRIPT_LIST] = LUA(LIST_LUA),
};

void node_record_key(struct wr *w, struct slice prefix, enum node_kind kind)
{
    wr_bytes(w, prefix);
    wr_str(w, kind == NODE_RELAY ? "nodes:{relay}" : "nodes:{sfu}");
}

void node_record_media_channel(struct wr *w, struct slice prefix)
{
    wr_bytes(w, prefix);
    wr_str(w, "media:{relay}");
}

/* ---- what may stand in one ---- */

bool node_record_name_ok(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        uint8_t b = name.p[i];
        bool good = (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') ||
                    b == '.' || b == '_' || b == '-';
        if (!good)
            return false;
    }
    return name.len > 0 && name.len <= NODE_RECORD_NAME_MAX;
}

static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '\\')
            return false;
    return true;
}

bool node_record_place_ok(enum node_kind kind, struct slice place)
{
    static const char *const schemes[] = {"stun:", "stuns:", "turn:", "turns:"};
    struct addr a;

    if (place.len > NODE_RECORD_PLACE || !is_plain(place))
        return false;
    if (kind == NODE_SFU && slice_starts(place, SLICE_LIT("unix:/")))
        return place.len - 5 <= UNIX_PATH_MAX;
    if (kind == NODE_SFU)
        return addr_parse(&a, place) == 0 && a.port != 0;
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (slice_starts(place, slice_str(schemes[i])))
            return place.len > strlen(schemes[i]);
    return false;
}

static bool is_mark(struct slice s)
{
    uint8_t bytes[NODE_RECORD_MARK / 2];

    return s.len == NODE_RECORD_MARK && hex_decode(s, bytes, sizeof(bytes)) == 0;
}

/* ---- the text ---- */

static void put_word(struct wr *w, const char *name, struct slice value)
{
    wr_u8(w, ' ');
    wr_str(w, name);
    wr_bytes(w, value);
}

static void put_number(struct wr *w, const char *name, uint64_t value)
{
    put_word(w, name, (struct slice){0});
    wr_u64(w, value);
}

void node_record_encode(struct wr *w, const struct node_record *r)
{
    uint8_t bytes[8];
    struct wr epoch = wr_init(bytes, sizeof(bytes));

    wr_be64(&epoch, r->epoch);
    wr_str(w, "1 epoch=");
    hex_encode(w, wr_done(&epoch));
    put_number(w, "load=", r->load);
    put_number(w, "drain=", r->draining);
    put_number(w, "weight=", r->weight);
    if (r->region.len > 0)
        put_word(w, "region=", r->region);
    for (size_t i = 0; i < r->keys_n; i++)
        put_word(w, "key=", r->keys[i]);
    for (size_t i = 0; i < r->at_n; i++)
        put_word(w, "at=", r->at[i]);
}

/* Cuts the text up to the next space off s. */
static struct slice next_word(struct slice *s)
{
    const uint8_t *space = s->len > 0 ? memchr(s->p, ' ', s->len) : NULL;
    size_t n = space ? (size_t)(space - s->p) : s->len;
    struct slice word = slice_sub(*s, 0, n);

    *s = slice_sub(*s, n + 1, s->len);
    return word;
}

/* If word is NAME=VALUE of that name: *value is it. */
static bool is_named(struct slice word, const char *name, struct slice *value)
{
    if (!slice_starts(word, slice_str(name)))
        return false;
    *value = slice_sub(word, strlen(name), word.len);
    return true;
}

static bool read_number(struct slice s, uint64_t max, unsigned *out)
{
    uint64_t v;

    if (slice_to_u64(s, max, &v) != 0)
        return false;
    *out = (unsigned)v;
    return true;
}

static bool read_epoch(struct slice s, uint64_t *out)
{
    uint8_t bytes[EPOCH_TEXT / 2];

    if (s.len != EPOCH_TEXT || hex_decode(s, bytes, sizeof(bytes)) != 0)
        return false;
    struct rd r = rd_init(slice_of(bytes, sizeof(bytes)));
    *out = rd_be64(&r);
    return *out != 0;
}

static bool add(struct slice *v, size_t *n, size_t max, struct slice s)
{
    if (*n == max)
        return false;
    v[(*n)++] = s;
    return true;
}

/* Takes in one word; false: it must not be. */
static bool take(struct node_record *r, enum node_kind kind, struct slice word)
{
    unsigned flag = 0;
    struct slice v;

    if (is_named(word, "load=", &v))
        return read_number(v, NODE_RECORD_LOAD_MAX, &r->load);
    if (is_named(word, "drain=", &v)) {
        bool good = read_number(v, 1, &flag);
        r->draining = flag;
        return good;
    }
    if (is_named(word, "weight=", &v))
        return read_number(v, NODE_RECORD_WEIGHT_MAX, &r->weight);
    if (is_named(word, "region=", &v)) {
        r->region = v;
        return node_record_name_ok(v);
    }
    if (is_named(word, "key=", &v))
        return is_mark(v) && add(r->keys, &r->keys_n, ARRAY_LEN(r->keys), v);
    if (is_named(word, "at=", &v))
        return node_record_place_ok(kind, v) && add(r->at, &r->at_n, ARRAY_LEN(r->at), v);
    return true;
}

int node_record_decode(struct node_record *out, enum node_kind kind, struct slice text)
{
    struct node_record r = {.weight = 1};
    struct slice epoch;

    if (text.len > NODE_RECORD_TEXT_MAX || !slice_is(next_word(&text), "1") ||
        !is_named(next_word(&text), "epoch=", &epoch) || !read_epoch(epoch, &r.epoch))
        return -EBADMSG;
    while (text.len > 0)
        if (!take(&r, kind, next_word(&text)))
            return -EBADMSG;
    if (r.at_n == 0 || r.weight == 0)
        return -EBADMSG;
    *out = r;
    return 0;
}
