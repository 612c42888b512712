/* A live call as bytes: one order of fields, a version in front.
 *
 * Called by router_keep.c. Pure. Points in time are those of the writer's monotonic clock, and the
 * moment of writing is there by it and as wall clock: monotonic clocks of two nodes have nothing in
 * common. So a call that has not changed has the same bytes but for that moment.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_snapshot.h"

#include <string.h>

#include "base/mem.h"
#include "server/call_priv.h"

#define VERSION 2
#define MOMENT  16                     /* behind the version: wall clock, monotonic clock */
#define GAP_MAX (24 * 3600 * US_PER_S) /* a clock that is further ahead is wrong */

enum {
    IS_VIDEO = 1,
    RANG = 2,
    DELIVERED = 4,
    SECOND = 8,
    AWAITS = 16,
    WAS_PUSHED = 32,
    INVITES = 64,
    NO_WINNER = 255,
};

/* ---- writing ---- */

static void put_text(struct wr *w, struct slice s)
{
    wr_be32(w, (uint32_t)s.len);
    wr_bytes(w, s);
}

static void put_keep(struct wr *w, const struct call_keep *k)
{
    struct slice data;
    size_t pos = 0;

    wr_be16(w, (uint16_t)k->n);
    while (call_keep_next(k, &pos, &data))
        put_text(w, data);
}

static uint8_t flags_of(const struct call *c)
{
    return (uint8_t)((c->is_video ? IS_VIDEO : 0) | (c->rang ? RANG : 0) |
                     (c->delivered ? DELIVERED : 0) | (c->second ? SECOND : 0) |
                     (c->awaits ? AWAITS : 0) | (c->was_pushed ? WAS_PUSHED : 0) |
                     (c->invites ? INVITES : 0));
}

static void put_legs(struct wr *w, const struct call *c)
{
    wr_u8(w, (uint8_t)c->legs_n);
    for (size_t i = 0; i < c->legs_n; i++) {
        const struct call_leg *l = &c->legs[i];
        wr_u8(w, (uint8_t)l->state);
        wr_u8(w, (uint8_t)l->reason);
        wr_u8(w, l->present);
        wr_u8(w, l->call_waiting);
        put_text(w, call_leg_device(l));
        put_keep(w, &l->kept);
    }
    wr_u8(w, c->winner ? (uint8_t)(c->winner - c->legs) : NO_WINNER);
}

/* Faster than a keyed hash, many times a call. Whoever sends what makes two states alike leaves his
 * own call with an older one. */
static uint64_t mix(struct slice s)
{
    uint64_t h = s.len, word;

    for (size_t i = 0; i < s.len; i += sizeof(word)) {
        word = 0;
        memcpy(&word, s.p + i, s.len - i < sizeof(word) ? s.len - i : sizeof(word));
        h = (h ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        h ^= h >> 29;
    }
    return h | 1;
}

void call_snapshot_texts(struct wr *w, const struct call *c)
{
    put_text(w, c->offer);
    put_text(w, c->metadata);
    put_text(w, c->room_raw);
    put_text(w, c->answer);
}

uint64_t call_snapshot_texts_mark(const struct call *c)
{
    const uint64_t lens[] = {c->offer.len, c->metadata.len, c->room_raw.len, c->answer.len};

    return mix(slice_of(lens, sizeof(lens))); /* each is set once and dropped once */
}

uint64_t call_snapshot_state(struct wr *w, const struct call *c, uint64_t now_us, uint64_t wall_us)
{
    const uint64_t times[] = {c->ring_us,        c->grace_us,      c->connect_us,
                              c->reconnect_us,   c->max_us,        c->forget_us,
                              c->times.made_us,  c->times.rang_us, c->times.answered_us,
                              c->times.ended_us, c->active_at_us};
    size_t from = w->len;

    wr_u8(w, VERSION);
    wr_be64(w, wall_us);
    wr_be64(w, now_us);
    wr_bytes(w, slice_of(c->id.b, sizeof(c->id.b)));
    put_text(w, c->caller);
    put_text(w, c->caller_device);
    put_text(w, c->caller_name);
    put_text(w, c->callee);
    wr_u8(w, (uint8_t)c->state);
    wr_u8(w, (uint8_t)c->reason);
    wr_u8(w, flags_of(c));
    wr_be16(w, c->pushed);
    wr_u8(w, (uint8_t)c->ended_by);
    for (size_t i = 0; i < ARRAY_LEN(times); i++)
        wr_be64(w, times[i]);
    wr_be64(w, c->duration_ms);
    put_text(w, call_room_id(c));
    put_keep(w, &c->caller_kept);
    put_legs(w, c);
    for (int side = 0; side < 2; side++) {
        wr_u8(w, c->party[side].online);
        wr_u8(w, (uint8_t)c->party[side].media);
    }
    from += 1 + MOMENT;
    return w->bad ? 0 : mix(slice_of(w->base + from, w->len - from));
}

void call_snapshot_write(struct wr *w, const struct call *c, uint64_t now_us, uint64_t wall_us)
{
    call_snapshot_texts(w, c);
    (void)call_snapshot_state(w, c, now_us, wall_us);
}

struct call_saved *call_snapshot_saved(struct call *c)
{
    return &c->saved;
}

/* ---- reading ---- */

static struct slice take_text(struct rd *r)
{
    return rd_take(r, rd_be32(r));
}

static bool take_keep(struct rd *r, struct call_keep *k)
{
    unsigned n = rd_be16(r);

    for (unsigned i = 0; i < n && !r->bad; i++) {
        struct slice data = take_text(r);
        if (r->bad || call_keep_add(k, data) != 0)
            return false;
    }
    return !r->bad;
}

/* When it was written, by the writer's clock, and how long ago that is. */
struct moment {
    uint64_t then_us, gap_us;
};

static uint64_t take_left(struct rd *r, uint64_t now_us, const struct moment *m)
{
    uint64_t at = rd_be64(r), left = at > m->then_us ? at - m->then_us : 0;

    if (at == CLOCK_NEVER)
        return CLOCK_NEVER;
    if (left > GAP_MAX) /* nothing of ours waits that long */
        left = GAP_MAX;
    return now_us + (left > m->gap_us ? left - m->gap_us : 0);
}

/* A monotonic clock may be younger than the call: then it began with the clock. */
static uint64_t take_ago(struct rd *r, uint64_t now_us, const struct moment *m)
{
    uint64_t at = rd_be64(r), ago = m->then_us > at ? m->then_us - at : 0;

    if (at == 0)
        return 0;
    if (ago > GAP_MAX)
        ago = GAP_MAX;
    return now_us > ago + m->gap_us ? now_us - ago - m->gap_us : 1;
}

static bool take_leg(struct rd *r, struct call *c)
{
    uint8_t state = rd_u8(r), reason = rd_u8(r), present = rd_u8(r), waiting = rd_u8(r);
    struct slice device = take_text(r);
    int err;

    if (r->bad || state > LEG_STOPPED || reason >= SIG_REASON_COUNT || !sig_id_ok(device))
        return false;
    struct call_leg *l = call_add_leg(c, device, &err);
    if (!l)
        return false;
    l->state = (enum leg_state)state;
    l->reason = (enum sig_reason)reason;
    l->present = present != 0;
    l->call_waiting = waiting != 0;
    return take_keep(r, &l->kept);
}

static bool take_legs(struct rd *r, struct call *c)
{
    unsigned n = rd_u8(r);

    for (unsigned i = 0; i < n; i++)
        if (!take_leg(r, c))
            return false;
    uint8_t winner = rd_u8(r);
    if (winner != NO_WINNER) {
        if (winner >= c->legs_n)
            return false;
        c->winner = &c->legs[winner];
    }
    return (c->winner != NULL) == (c->state > SIG_CALL_RINGS && c->state < SIG_CALL_OVER);
}

static bool take_answer(struct call *c, struct slice answer)
{
    if (answer.len == 0)
        return true;
    c->answer_mem = mem_zalloc(answer.len);
    if (!c->answer_mem)
        return false;
    memcpy(c->answer_mem, answer.p, answer.len);
    c->answer = slice_of(c->answer_mem, answer.len);
    return true;
}

static void take_flags(struct call *c, uint8_t flags)
{
    c->rang = (flags & RANG) != 0;
    c->delivered = (flags & DELIVERED) != 0;
    c->awaits = (flags & AWAITS) != 0;
    c->was_pushed = (flags & WAS_PUSHED) != 0;
    c->invites = (flags & INVITES) != 0;
}

static bool take_rest(struct rd *r, struct call *c)
{
    for (int side = 0; side < 2; side++) {
        c->party[side].online = rd_u8(r) != 0;
        uint8_t media = rd_u8(r);
        if (media >= SIG_CONN_COUNT)
            return false;
        c->party[side].media = (enum sig_conn)media;
    }
    return !r->bad && r->left == 0;
}

struct call *call_snapshot_read(const struct call_conf *conf, struct slice bytes, uint64_t now_us,
                                uint64_t wall_us)
{
    struct rd r = rd_init(bytes);
    struct call_invite in = {.devices_n = 0};
    uint64_t deadlines[6], past[5];

    in.offer_raw = take_text(&r);
    in.metadata_raw = take_text(&r);
    in.room_raw = take_text(&r);
    struct slice answer = take_text(&r);
    uint8_t version = rd_u8(&r);
    uint64_t wrote_us = rd_be64(&r);
    const struct moment m = {
        .gap_us = wall_us > wrote_us && wall_us - wrote_us < GAP_MAX ? wall_us - wrote_us : 0,
        .then_us = rd_be64(&r)};
    struct slice id = rd_take(&r, sizeof(in.id.b));
    in.user = take_text(&r);
    in.device = take_text(&r);
    in.name = take_text(&r);
    in.to = take_text(&r);
    uint8_t state = rd_u8(&r), reason = rd_u8(&r), flags = rd_u8(&r);
    uint16_t pushed = rd_be16(&r);
    uint8_t ended_by = rd_u8(&r);
    for (size_t i = 0; i < ARRAY_LEN(deadlines); i++)
        deadlines[i] = take_left(&r, now_us, &m);
    for (size_t i = 0; i < ARRAY_LEN(past); i++)
        past[i] = take_ago(&r, now_us, &m);
    uint64_t duration_ms = rd_be64(&r);
    struct slice room = take_text(&r);
    if (r.bad || version != VERSION || state >= SIG_CALL_OVER || reason >= SIG_REASON_COUNT ||
        ended_by > CALL_ROLE_WINNER || room.len > SIG_ROOM_MAX || !sig_user_ok(in.user) ||
        !sig_user_ok(in.to) || !sig_id_ok(in.device) || in.name.len > CALL_NAME_MAX)
        return NULL;
    memcpy(in.id.b, id.p, sizeof(in.id.b));
    in.is_video = (flags & IS_VIDEO) != 0;
    in.waiting = (flags & SECOND) != 0;
    in.room = room;
    struct call *c = call_new_bare(conf, &in);
    if (!c)
        return NULL;
    take_flags(c, flags);
    c->state = (enum sig_call_state)state;
    c->reason = (enum sig_reason)reason;
    c->pushed = pushed;
    c->ended_by = (enum call_role)ended_by;
    c->ring_us = deadlines[0];
    c->grace_us = deadlines[1];
    c->connect_us = deadlines[2];
    c->reconnect_us = deadlines[3];
    c->max_us = deadlines[4];
    c->forget_us = deadlines[5];
    c->times = (struct call_times){past[0], past[1], past[2], past[3]};
    c->active_at_us = past[4];
    c->duration_ms = duration_ms;
    if (take_answer(c, answer) && take_keep(&r, &c->caller_kept) && take_legs(&r, c) &&
        take_rest(&r, c))
        return c;
    call_free(c);
    return NULL;
}

bool call_devices(const struct call *c, size_t *pos, struct slice *user, struct slice *device)
{
    size_t i = (*pos)++;

    *user = i == 0 ? c->caller : c->callee;
    if (i > c->legs_n)
        return false;
    *device = i == 0 ? c->caller_device : call_leg_device(&c->legs[i - 1]);
    return true;
}
