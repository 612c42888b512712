/* Payloads and headers of pushes to APNs.
 *
 * Called by apns_flight.c for each push (and once more, briefer, when it was too large). A VoIP
 * push is for a call that rings and for nothing else: iOS kills an app that gets one and shows no
 * call. SPDX-License-Identifier: BSD-3-Clause */
#include "server/push_payload.h"

#include "base/crypto.h"
#include "proto/json.h"
#include "proto/sig.h"
#include "proto/utf8.h"

#include <errno.h>

#define SUFFIX_MAX  24 /* of a topic */
#define HASH_PREFIX 16 /* bytes of SHA-256 that stand for a collapse id that is too long */
#define BRIEF_NAME  64 /* bytes of the name in a brief payload */
#define DECIMAL_MAX 20

static const struct {
    const char *name, *type, *suffix;
    bool urgent;
} KINDS[PUSH_KIND_COUNT] = {
    [PUSH_RING] = {"ring", "voip", ".voip", true},
    [PUSH_RING_ALERT] = {"ring_alert", "alert", "", true},
    [PUSH_MISSED] = {"missed", "alert", "", false},
    [PUSH_LIVE_START] = {"live_start", "liveactivity", ".push-type.liveactivity", false},
    [PUSH_LIVE_UPDATE] = {"live_update", "liveactivity", ".push-type.liveactivity", false},
    [PUSH_LIVE_END] = {"live_end", "liveactivity", ".push-type.liveactivity", false},
};

const char *push_kind_name(enum push_kind k)
{
    return (unsigned)k < PUSH_KIND_COUNT ? KINDS[k].name : "";
}

bool push_kind_urgent(enum push_kind k)
{
    return (unsigned)k < PUSH_KIND_COUNT && KINDS[k].urgent;
}

/* ---- what is acceptable ---- */

static bool is_alnum(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool topic_ok(struct slice s)
{
    if (s.len == 0 || s.len > PUSH_TOPIC_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '.' && s.p[i] != '-')
            return false;
    return true;
}

static bool call_id_ok(struct slice s)
{
    if (s.len == 0 || s.len > PUSH_CALL_ID_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '-')
            return false;
    return true;
}

static bool live(enum push_kind k)
{
    return k == PUSH_LIVE_START || k == PUSH_LIVE_UPDATE || k == PUSH_LIVE_END;
}

static bool content_ok(const struct push_content *c)
{
    if ((unsigned)c->kind >= PUSH_KIND_COUNT || !topic_ok(c->topic) || !call_id_ok(c->call_id) ||
        c->now_s == 0)
        return false;
    if (live(c->kind))
        return c->status.len > 0 && c->status.len <= PUSH_WORD_MAX &&
               (c->kind != PUSH_LIVE_START ||
                (c->live_type.len > 0 && c->live_type.len <= PUSH_WORD_MAX &&
                 sig_user_ok(c->from)));
    if (!sig_user_ok(c->from))
        return false;
    return c->kind == PUSH_MISSED || (c->ring_until_s > 0 && c->ws.len <= PUSH_WS_MAX &&
                                      c->ring_token.len <= PUSH_RING_TOKEN_MAX);
}

/* ---- pieces of JSON ---- */

static void key(struct wr *w, const char *name)
{
    if (w->len > 0 && w->base[w->len - 1] != '{')
        wr_u8(w, ',');
    wr_u8(w, '"');
    wr_str(w, name);
    wr_bytes(w, SLICE_LIT("\":"));
}

static void text(struct wr *w, const char *name, struct slice value)
{
    key(w, name);
    json_write_text(w, value);
}

static void text_if(struct wr *w, const char *name, struct slice value)
{
    if (value.len > 0)
        text(w, name, value);
}

static void number(struct wr *w, const char *name, uint64_t value)
{
    key(w, name);
    wr_u64(w, value);
}

static void raw(struct wr *w, const char *name, const char *value)
{
    key(w, name);
    wr_str(w, value);
}

/* The name to show: the display name, cut between two characters, or the user id. */
static struct slice shown_name(const struct push_content *c, bool brief)
{
    struct slice name = c->name.len > 0 ? c->name : c->from;
    size_t max = brief ? BRIEF_NAME : PUSH_NAME_MAX;

    /* What is not UTF-8 is cut anywhere: it comes out as U+FFFD in any case. */
    return utf8_valid(name) ? utf8_prefix(name, max) : slice_sub(name, 0, max);
}

static void alert(struct wr *w, const char *loc_key, struct slice name)
{
    key(w, "alert");
    wr_u8(w, '{');
    text(w, "loc-key", slice_str(loc_key));
    key(w, "loc-args");
    wr_u8(w, '[');
    json_write_text(w, name);
    wr_bytes(w, SLICE_LIT("]}"));
}

/* ---- payloads ---- */

/* What a device needs to find the call, or that it is over, in one round trip. */
static void write_call(struct wr *w, const struct push_content *c, bool brief)
{
    number(w, "v", 1);
    text(w, "call_id", c->call_id);
    text(w, "from", c->from);
    text(w, "name", shown_name(c, brief));
    raw(w, "video", c->video ? "true" : "false");
    number(w, "ts", c->now_s);
    number(w, "ring_until", c->ring_until_s);
    if (!brief)
        text_if(w, "ws", c->ws);
    text_if(w, "k", c->ring_token);
}

static void write_ring(struct wr *w, const struct push_content *c, bool brief)
{
    wr_bytes(w, SLICE_LIT("{\"aps\":{}"));
    write_call(w, c, brief);
    wr_u8(w, '}');
}

static void write_ring_alert(struct wr *w, const struct push_content *c, bool brief)
{
    wr_bytes(w, SLICE_LIT("{\"aps\":{"));
    alert(w, c->video ? "INCOMING_VIDEO_CALL_FROM" : "INCOMING_CALL_FROM", shown_name(c, brief));
    text(w, "sound", SLICE_LIT("ring30.caf"));
    text(w, "interruption-level", SLICE_LIT("time-sensitive"));
    text(w, "category", SLICE_LIT("INCOMING_CALL"));
    raw(w, "mutable-content", "1");
    wr_u8(w, '}');
    write_call(w, c, brief);
    wr_u8(w, '}');
}

static void write_missed(struct wr *w, const struct push_content *c, bool brief)
{
    wr_bytes(w, SLICE_LIT("{\"aps\":{"));
    alert(w, c->video ? "MISSED_VIDEO_CALL_FROM" : "MISSED_CALL_FROM", shown_name(c, brief));
    text(w, "sound", SLICE_LIT("default"));
    if (c->badge > 0)
        number(w, "badge", c->badge);
    text(w, "category", SLICE_LIT("MISSED_CALL"));
    text(w, "thread-id", SLICE_LIT("calls"));
    wr_u8(w, '}');
    number(w, "v", 1);
    text(w, "call_id", c->call_id);
    text(w, "from", c->from);
    raw(w, "video", c->video ? "true" : "false");
    number(w, "ts", c->now_s);
    wr_u8(w, '}');
}

static void write_state(struct wr *w, const struct push_content *c)
{
    key(w, "content-state");
    wr_u8(w, '{');
    text(w, "status", c->status);
    if (c->started_s > 0)
        number(w, "startedAt", c->started_s);
    if (c->kind == PUSH_LIVE_END)
        number(w, "seconds", c->seconds);
    wr_u8(w, '}');
}

static void write_live(struct wr *w, const struct push_content *c, bool brief)
{
    static const char *const events[PUSH_KIND_COUNT] = {
        [PUSH_LIVE_START] = "start", [PUSH_LIVE_UPDATE] = "update", [PUSH_LIVE_END] = "end"};

    wr_bytes(w, SLICE_LIT("{\"aps\":{"));
    number(w, "timestamp", c->now_s);
    text(w, "event", slice_str(events[c->kind]));
    if (c->kind == PUSH_LIVE_START) {
        text(w, "attributes-type", c->live_type);
        key(w, "attributes");
        wr_u8(w, '{');
        text(w, "callId", c->call_id);
        text(w, "caller", shown_name(c, brief));
        wr_u8(w, '}');
        raw(w, "input-push-token", "1");
        alert(w, "CALL_WITH", shown_name(c, brief));
    }
    write_state(w, c);
    if (c->kind == PUSH_LIVE_END)
        number(w, "dismissal-date", c->now_s + PUSH_LIVE_DISMISS_S);
    else
        number(w, "stale-date", c->now_s + PUSH_LIVE_STALE_S);
    wr_bytes(w, SLICE_LIT("}}"));
}

static void write_payload(struct wr *w, const struct push_content *c, bool brief)
{
    switch (c->kind) {
    case PUSH_RING:
        write_ring(w, c, brief);
        break;
    case PUSH_RING_ALERT:
        write_ring_alert(w, c, brief);
        break;
    case PUSH_MISSED:
        write_missed(w, c, brief);
        break;
    default:
        write_live(w, c, brief);
    }
}

/* ---- headers ---- */

/* "prefix:name", or with a hash in the name's place when that is over the limit. */
static void write_collapse(struct wr *w, const char *prefix, struct slice name)
{
    uint8_t sum[CRYPTO_SHA256_BYTES];

    wr_str(w, prefix);
    if (name.len <= PUSH_COLLAPSE_MAX - strlen(prefix)) {
        wr_bytes(w, name);
        return;
    }
    if (crypto_digest(CRYPTO_SHA256, &name, 1, sum) != 0)
        w->bad = true;
    hex_encode(w, slice_of(sum, HASH_PREFIX));
}

static uint64_t expiration_of(const struct push_content *c)
{
    switch (c->kind) {
    case PUSH_RING: /* now or never: a phone that is off must not ring an hour later */
        return 0;
    case PUSH_RING_ALERT:
        return c->ring_until_s;
    case PUSH_MISSED:
        return c->now_s + PUSH_MISSED_S;
    default:
        return c->now_s + PUSH_LIVE_S;
    }
}

static struct slice since(const struct wr *w, size_t from)
{
    return !w->bad ? slice_of(w->base + from, w->len - from) : (struct slice){0};
}

int push_payload_apns(struct push_apns *out, struct wr *w, const struct push_content *c, bool brief)
{
    if (!content_ok(c))
        return -EINVAL;
    struct push_apns p = {.type = KINDS[c->kind].type};
    struct wr body = wr_init(w->base + w->len, w->cap - w->len);
    size_t at = w->len, limit = c->kind == PUSH_RING ? PUSH_VOIP_BYTES : PUSH_OTHER_BYTES;

    write_payload(&body, c, brief);
    p.payload = wr_done(&body);
    if (!body.bad && body.len > limit) /* control characters grow sixfold */
        return -EINVAL;
    w->bad |= body.bad;
    w->len += wr_done(&body).len;
    at = w->len;
    wr_bytes(w, c->topic);
    wr_str(w, KINDS[c->kind].suffix);
    p.topic = since(w, at);
    at = w->len;
    wr_u64(w, expiration_of(c));
    p.expiration = since(w, at);
    p.priority = c->kind == PUSH_LIVE_UPDATE && c->live_quiet ? SLICE_LIT("5") : SLICE_LIT("10");
    at = w->len;
    if (c->kind == PUSH_MISSED)
        write_collapse(w, "missed:", c->from);
    else if (c->kind == PUSH_RING_ALERT)
        write_collapse(w, "call:", c->call_id);
    p.collapse_id = since(w, at);
    if (w->bad)
        return -ENOSPC;
    *out = p;
    return 0;
}
