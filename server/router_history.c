/* Calls and stays in rooms into records: who called whom, when, how it ended, and what the callee
 * has missed.
 *
 * Called by router_call.c after each step of a call. A record is put when a call is answered, so
 * that a crash leaves one, and when it ends. A missed call is counted before it is told: record,
 * then badge, then the alert (router_push.c); while the ledger is in trouble the alert does not
 * wait for it. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "base/mem.h"
#include "server/router_priv.h"

#include <limits.h>

/* A missed call on its way through the ledger. */
struct missed {
    struct list link;
    struct router *r;
    struct push_call call; /* texts in the memory behind this struct */
};

void router_history_init(struct router *r)
{
    list_init(&r->missed);
}

static void drop_missed(struct missed *m)
{
    list_del(&m->link);
    mem_free(m);
}

void router_history_fini(struct router *r)
{
    while (!list_empty(&r->missed))
        drop_missed(CONTAINER_OF(list_first(&r->missed), struct missed, link));
}

/* ---- records ---- */

static uint64_t wall_ms(const struct router *r, uint64_t at_us)
{
    return at_us == 0 ? 0 : (r->wall_us - (r->now_us - at_us)) / US_PER_MS;
}

static enum ledger_outcome outcome_of(const struct call *c)
{
    if (call_times(c)->answered_us > 0)
        return LEDGER_ANSWERED;
    switch (call_ended_reason(c)) {
    case SIG_REASON_CANCELLED:
        return LEDGER_CANCELLED;
    case SIG_REASON_TIMEOUT:
        return LEDGER_MISSED;
    case SIG_REASON_UNREACHABLE:
        return LEDGER_UNREACHABLE;
    case SIG_REASON_DECLINED:
    case SIG_REASON_NEED_PERMISSION:
        return LEDGER_DECLINED;
    case SIG_REASON_BUSY:
        return LEDGER_BUSY;
    default:
        return LEDGER_FAILED;
    }
}

static enum ledger_by by_of(const struct call *c)
{
    enum call_role by = call_ended_by(c);

    return by == CALL_ROLE_NONE     ? LEDGER_BY_SYSTEM
           : by == CALL_ROLE_CALLER ? LEDGER_BY_CALLER
                                    : LEDGER_BY_CALLEE;
}

/* was: the path that its end was put with, when that was done; else NULL. */
static int put_call(struct router *r, const struct call *c, const enum ledger_path *was,
                    ledger_done_fn *done, void *ctx)
{
    const struct call_times *t = call_times(c);
    uint64_t answered = wall_ms(r, t->answered_us), ended = wall_ms(r, t->ended_us);
    const struct ledger_party parties[] = {
        {.user = call_caller(c),
         .device = call_caller_device(c),
         .role = LEDGER_CALLER,
         .joined_ms = answered,
         .left_ms = answered ? ended : 0},
        {.user = call_callee(c),
         .device = call_winner(c),
         .role = LEDGER_CALLEE,
         .joined_ms = answered,
         .left_ms = answered ? ended : 0,
         .missed = call_missed(c)},
    };
    const struct ledger_call rec = {.id = *call_id(c),
                                    .group = call_invites(c),
                                    .video = call_is_video(c),
                                    .created_ms = wall_ms(r, t->made_us),
                                    .ring_ms = wall_ms(r, t->rang_us),
                                    .answer_ms = answered,
                                    .end_ms = ended,
                                    .outcome = outcome_of(c),
                                    .reason = call_ended_reason(c),
                                    .ended_by = by_of(c),
                                    .path = router_quality_path(r, call_id(c)),
                                    .path_was = was ? *was : LEDGER_PATH_UNKNOWN,
                                    .again = was != NULL,
                                    .node = slice_str(r->conf->server.node_id),
                                    .region = slice_str(r->conf->server.region),
                                    .parties = parties,
                                    .parties_n = ARRAY_LEN(parties)};

    return ledger_put_call(r->ledger, &rec, done, ctx);
}

/* ---- missed calls ---- */

static void on_badge(void *ctx, int rc, const struct ledger_result *res)
{
    struct missed *m = ctx;
    uint64_t n = rc == 0 ? res->count : 0;

    router_enter(m->r);
    router_push_missed(m->r, &m->call, n < UINT_MAX ? (unsigned)n : UINT_MAX);
    drop_missed(m);
}

static void on_put(void *ctx, int rc, const struct ledger_result *res)
{
    struct missed *m = ctx;

    (void)rc;
    (void)res;
    router_enter(m->r);
    if (ledger_badge(m->r->ledger, m->call.callee, on_badge, m) == 0)
        return;
    router_push_missed(m->r, &m->call, 0);
    drop_missed(m);
}

/* Keeps a missed call until its record is written. NULL: memory is out. */
static struct missed *new_missed(struct router *r, const struct push_call *call)
{
    size_t n = call->caller.len + call->caller_name.len + call->callee.len;
    struct missed *m = mem_zalloc(sizeof(*m) + n);

    if (!m)
        return NULL;
    m->r = r;
    m->call = *call;
    struct wr w = wr_init(m + 1, n);
    struct slice *texts[] = {&m->call.caller, &m->call.caller_name, &m->call.callee};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t at = w.len;
        wr_bytes(&w, *texts[i]);
        *texts[i] = slice_of(&w.base[at], texts[i]->len);
    }
    list_append(&r->missed, &m->link);
    return m;
}

/* Nobody waits for a record of a ledger in trouble. NULL: tell the callee now. */
static struct missed *await_record(struct router *r, const struct push_call *call)
{
    bool fine = r->ledger && r->push && ledger_health(r->ledger) == LEDGER_FINE;

    return fine ? new_missed(r, call) : NULL;
}

/* The record was put, with m behind it, or (rc) not. */
static void put_missed(struct router *r, const struct push_call *call, struct missed *m, int rc)
{
    if (m && rc == 0)
        return;
    if (m)
        drop_missed(m);
    router_push_missed(r, call, 0);
}

void router_history_changed(struct router *r, const struct call *c, enum sig_call_state before)
{
    enum sig_call_state now = call_state(c);
    if (now == SIG_CALL_OVER)
        router_quality_ended(r, c);
    bool answered = before <= SIG_CALL_RINGS && now > SIG_CALL_RINGS && now < SIG_CALL_OVER;

    if (call_missed(c)) {
        const struct push_call call = {.id = *call_id(c),
                                       .caller = call_caller(c),
                                       .caller_name = call_caller_name(c),
                                       .callee = call_callee(c),
                                       .video = call_is_video(c)};
        struct missed *m = await_record(r, &call);
        int rc = r->ledger ? put_call(r, c, NULL, m ? on_put : NULL, m) : 0;
        put_missed(r, &call, m, rc);
    } else if (r->ledger && (answered || now == SIG_CALL_OVER)) {
        (void)put_call(r, c, NULL, NULL,
                       NULL); /* what the queue does not take, the ledger counts */
    }
}

void router_history_refused(struct router *r, const struct push_call *call, bool into_room,
                            enum sig_err why)
{
    bool busy = why == SIG_ERR_CALL_BUSY, missed = !busy || r->conf->call.busy_is_missed;
    uint64_t now_ms = r->wall_us / US_PER_MS;
    struct missed *m;
    int rc = 0;

    if (!busy && why != SIG_ERR_CALLEE_UNREACHABLE)
        return;
    m = missed ? await_record(r, call) : NULL;
    const struct ledger_party parties[] = {
        {.user = call->caller, .role = LEDGER_CALLER},
        {.user = call->callee, .role = LEDGER_CALLEE, .missed = missed}};
    const struct ledger_call rec = {.id = call->id,
                                    .group = into_room,
                                    .video = call->video,
                                    .created_ms = now_ms,
                                    .end_ms = now_ms,
                                    .outcome = busy ? LEDGER_BUSY : LEDGER_UNREACHABLE,
                                    .reason = busy ? SIG_REASON_BUSY : SIG_REASON_UNREACHABLE,
                                    .node = slice_str(r->conf->server.node_id),
                                    .region = slice_str(r->conf->server.region),
                                    .parties = parties,
                                    .parties_n = ARRAY_LEN(parties)};
    if (r->ledger)
        rc = ledger_put_call(r->ledger, &rec, m ? on_put : NULL, m);
    if (missed)
        put_missed(r, call, m, rc);
}

void router_history_again(struct router *r, const struct call *c, enum ledger_path was)
{
    if (r->ledger)
        (void)put_call(r, c, &was, NULL, NULL);
}

/* ---- rooms ---- */

static enum sig_reason stay_reason(enum room_reason why)
{
    switch (why) {
    case ROOM_REASON_LEFT:
        return SIG_REASON_HANGUP;
    case ROOM_REASON_REPLACED:
        return SIG_REASON_SUPERSEDED;
    case ROOM_REASON_EXPIRED:
        return SIG_REASON_CONNECTION_LOST;
    case ROOM_REASON_KICKED:
    case ROOM_REASON_BANNED:
    case ROOM_REASON_CLOSED:
        return SIG_REASON_ADMIN;
    default:
        return SIG_REASON_MEDIA_FAILED;
    }
}

static void put_stay(struct router *r, const struct seat *s, uint64_t end_ms,
                     enum sig_reason reason, enum ledger_by by)
{
    bool video = false;

    LIST_EACH(l, tmp, &s->tracks)
    video = video || CONTAINER_OF(l, struct seat_track, of_seat)->t.kind == RTP_KIND_VIDEO;
    const struct ledger_party party = {.user = s->user,
                                       .device = s->device,
                                       .role = LEDGER_MEMBER,
                                       .joined_ms = wall_ms(r, s->in_us),
                                       .left_ms = end_ms};
    const struct ledger_call rec = {.id = s->stay,
                                    .group = true,
                                    .video = video,
                                    .created_ms = party.joined_ms,
                                    .answer_ms = party.joined_ms,
                                    .end_ms = end_ms,
                                    .outcome = LEDGER_ANSWERED,
                                    .reason = reason,
                                    .ended_by = by,
                                    .path = LEDGER_SFU,
                                    .node = slice_str(r->conf->server.node_id),
                                    .parties = &party,
                                    .parties_n = 1};
    (void)ledger_put_call(r->ledger, &rec, NULL, NULL);
}

static void end_stay(struct router *r, struct seat *s, enum sig_reason reason, enum ledger_by by)
{
    if (!r->ledger || !router_has_stay(s))
        return;
    put_stay(r, s, r->wall_us / US_PER_MS, reason, by);
    router_quality_left(r, s);
    s->stay = (struct sig_call_id){{0}};
}

/* Each stay is a record of its own, which names nobody else: a room may be large and go on for
 * days. It is put when its media is connected, so that a crash leaves one, and when it ends. */
void router_history_stay(struct router *r, struct seat *s, enum room_reason why)
{
    if (!r->ledger)
        return;
    if (why == ROOM_REASON_NONE) {
        router_new_call_id(&s->stay);
        put_stay(r, s, 0, SIG_REASON_NONE, LEDGER_BY_SYSTEM);
    } else {
        end_stay(r, s, stay_reason(why),
                 why == ROOM_REASON_LEFT ? LEDGER_BY_MEMBER : LEDGER_BY_SYSTEM);
    }
}

void router_history_stop(struct router *r)
{
    struct hnode *saved = NULL;
    struct room *room;
    size_t pos = 0;

    while ((room = room_walk(r->rooms, &pos, &saved)))
        LIST_EACH(l, tmp, &room->seats)
        {
            struct seat *s = CONTAINER_OF(l, struct seat, of_room);
            end_stay(r, s, SIG_REASON_SERVER_ERROR, LEDGER_BY_SYSTEM);
        }
}
