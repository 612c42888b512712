/* How calls and rooms sound: clients' reports (call.quality) and what the SFU says of its members
 * become samples, summaries, figures for the operator and an answer (docs/SIGNALING.md §5).
 *
 * Called by router.c (reports), router_history.c (a call has ended), router_sfu.c (events) and
 * router_room.c (somebody has left). What is known of a call waits in a watch of its own until a
 * little after its end: the last report comes when the hangup has been heard. A report decides
 * about nothing but its sender's own records. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "server/relay_media.h"
#include "server/router_priv.h"

#define LAST_WORD_US   (10 * US_PER_S) /* after the end, for the last report */
#define LOOK_US        (60 * US_PER_S) /* whether a call that nobody ended is still there */
#define SUMMARY_EVERY  6               /* reports: so much of a summary can a crash take */
#define KEEP_US        (60 * US_PER_S) /* between summaries of a member of a room */
#define HOLD_MAX_US    (60 * US_PER_S) /* how long a word of the SFU's holds good */
#define MODEL          SLICE_LIT("g107")
#define LEG_HEARD      SLICE_LIT("heard") /* the client's word */
#define LEG_SFU        SLICE_LIT("sfu")   /* ours */
#define LEG_RELAY      SLICE_LIT("relay") /* ours, up to the relay */
#define OWN_RELAY_US   (30 * US_PER_S)    /* so long a relay of one's own counts alone */
#define CENTI_TO_MILLI 10

/* From when on a sample counts as bad (docs/OPERATIONS.md: alerts). */
#define BAD_MOS_MILLI     3500
#define BAD_LOSS_PERMILLE 50
#define BAD_RTT_MS        400
#define BAD_JITTER_MS     30

static const uint32_t mos_bounds[] = {1500, 2000, 2500, 3000, 3500, 3750, 4000, 4250, 4500};

/* One call's two ends. */
struct quality_watch {
    struct hnode by_id;
    struct list link;
    struct sig_call_id id;
    uint64_t due_us; /* to look again, or (over) to forget */
    bool over;
    uint64_t at_ms[2];
    struct call_leg leg[2]; /* caller, callee */
    struct relay_ear {
        struct call_leg leg; /* what came for this end as far as a relay */
        uint64_t at_ms, own_us;
    } relay[2];
};

/* A member of a room, as the SFU judges it. */
struct seat_quality {
    struct call_leg leg;
    uint64_t since_us; /* the word that holds now */
    uint64_t kept_us;  /* the summary */
    unsigned mos_milli;
};

/* ---- life ---- */

bool router_quality_init(struct router *r)
{
    for (size_t i = 0; i < SIG_ROUTE_COUNT; i++)
        for (size_t k = 0; k < ROUTER_VOICES; k++)
            tally_init(&r->count.mos[i][k], mos_bounds, ARRAY_LEN(mos_bounds));
    tally_init(&r->count.relay_mos, mos_bounds, ARRAY_LEN(mos_bounds));
    list_init(&r->watches);
    list_init(&r->watches_over);
    return htable_init(&r->watches_by_id, 64) == 0;
}

static void drop_watch(struct router *r, struct quality_watch *w)
{
    htable_del(&r->watches_by_id, &w->by_id);
    list_del(&w->link);
    mem_free(w);
}

void router_quality_fini(struct router *r)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;

    while ((n = htable_walk(&r->watches_by_id, &pos, &saved)))
        drop_watch(r, CONTAINER_OF(n, struct quality_watch, by_id));
    htable_fini(&r->watches_by_id);
}

static uint64_t id_hash(const struct sig_call_id *id)
{
    return hash_bytes(slice_of(id->b, sizeof(id->b)));
}

static struct quality_watch *find_watch(const struct router *r, const struct sig_call_id *id)
{
    struct hnode *n = htable_first(&r->watches_by_id, id_hash(id));

    for (; n; n = htable_next(n)) {
        struct quality_watch *w = CONTAINER_OF(n, struct quality_watch, by_id);
        if (sig_call_id_eq(&w->id, id))
            return w;
    }
    return NULL;
}

/* NULL: memory is out. */
static struct quality_watch *make_watch(struct router *r, const struct call *c)
{
    struct quality_watch *w = mem_zalloc(sizeof(*w));

    if (!w)
        return NULL;
    w->id = *call_id(c);
    for (size_t i = 0; i < ARRAY_LEN(w->leg); i++) {
        call_leg_begin(&w->leg[i], call_times(c)->answered_us);
        call_leg_begin(&w->relay[i].leg, call_times(c)->answered_us);
    }
    w->over = !call_live(c);
    w->due_us = w->over ? call_times(c)->ended_us + LAST_WORD_US : r->now_us + LOOK_US;
    htable_add(&r->watches_by_id, &w->by_id, id_hash(&w->id));
    list_append(w->over ? &r->watches_over : &r->watches, &w->link);
    return w;
}

/* ---- records ---- */

static enum ledger_path path_of(enum sig_route route)
{
    static const enum ledger_path paths[SIG_ROUTE_COUNT] = {
        [SIG_ROUTE_UNKNOWN] = LEDGER_PATH_UNKNOWN,
        [SIG_ROUTE_P2P] = LEDGER_P2P,
        [SIG_ROUTE_TURN] = LEDGER_TURN,
        [SIG_ROUTE_SFU] = LEDGER_SFU,
    };

    return paths[route];
}

static bool keeps(const struct router *r)
{
    return r->ledger && r->conf->privacy.history;
}

static void put_summary(struct router *r, const struct sig_call_id *id, struct slice user,
                        struct slice leg_name, const struct call_leg *leg)
{
    struct call_leg_sum sum;

    call_leg_sum(leg, &sum);
    bool known = leg->network != SIG_NETWORK_UNKNOWN;
    if (!keeps(r) || (sum.samples == 0 && sum.silence_ms == 0 && !known))
        return;
    const struct ledger_quality q = {.call_id = *id,
                                     .user = user,
                                     .leg = leg_name,
                                     .model = MODEL,
                                     .codec = slice_str(sig_voice_name(leg->voice)),
                                     .path = path_of(leg->route),
                                     .at_ms = r->wall_us / US_PER_MS,
                                     .samples = sum.samples,
                                     .mos_avg_milli = sum.avg_milli,
                                     .mos_p10_milli = sum.p10_milli,
                                     .mos_min_milli = sum.min_milli,
                                     .loss_permille = sum.loss_permille,
                                     .rtt_ms = sum.rtt_ms,
                                     .jitter_ms = sum.jitter_ms,
                                     .silence_ms = sum.silence_ms,
                                     .worst = slice_str(call_blame_name(sum.worst)),
                                     .network = known ? slice_str(sig_network_name(leg->network))
                                                      : (struct slice){0}};
    (void)ledger_put_quality(r->ledger, &q, NULL, NULL); /* what is refused, the ledger counts */
}

static unsigned milli_of(double v)
{
    return (unsigned)(v * 1000 + 0.5);
}

static void put_sample(struct router *r, const struct sig_call_id *id, struct slice user,
                       struct slice leg_name, const struct call_sample *s, uint64_t at_ms)
{
    if (!keeps(r))
        return;
    const struct ledger_sample v = {.call_id = *id,
                                    .user = user,
                                    .leg = leg_name,
                                    .codec = slice_str(sig_voice_name(s->voice)),
                                    .path = path_of(s->route),
                                    .at_ms = at_ms,
                                    .interval_ms = s->interval_ms,
                                    .rtt_ms = s->rtt_ms,
                                    .jitter_ms = s->jitter_ms,
                                    .buffer_ms = s->buffer_ms,
                                    .silence_ms = s->silence_ms,
                                    .loss_permille = milli_of(s->loss),
                                    .burst_centi = milli_of(s->burst_ratio) / CENTI_TO_MILLI,
                                    .bps = s->bps,
                                    .r_milli = s->judged ? milli_of(s->r) : 0,
                                    .mos_milli = s->judged ? milli_of(s->mos) : 0};
    (void)ledger_put_sample(r->ledger, &v, NULL, NULL);
}

/* ---- figures ---- */

static size_t voice_class(enum sig_voice v)
{
    switch (v) {
    case SIG_VOICE_OPUS:
    case SIG_VOICE_RED:
        return ROUTER_VOICE_OPUS;
    case SIG_VOICE_PCMU:
    case SIG_VOICE_PCMA:
        return ROUTER_VOICE_G711;
    default:
        return ROUTER_VOICE_OTHER;
    }
}

static void count_sample(struct router *r, const struct call_sample *s)
{
    struct router_counters *n = &r->count;

    counter_inc(s->clamped > 0 ? &n->quality_clamped : &n->quality_accepted);
    counter_add(&n->quality_silence_ms, s->silence_ms);
    if (!s->judged || s->interval_ms == 0)
        return;
    unsigned mos = milli_of(s->mos);
    tally_add(&n->mos[s->route][voice_class(s->voice)], mos);
    counter_add(&n->quality_bad[ROUTER_BAD_MOS], mos < BAD_MOS_MILLI);
    counter_add(&n->quality_bad[ROUTER_BAD_LOSS], milli_of(s->loss) > BAD_LOSS_PERMILLE);
    counter_add(&n->quality_bad[ROUTER_BAD_RTT], s->rtt_ms > BAD_RTT_MS);
    counter_add(&n->quality_bad[ROUTER_BAD_JITTER], s->jitter_ms > BAD_JITTER_MS);
}

/* ---- reports ---- */

static void refused(const struct request *q, const struct sig_error *e)
{
    counter_inc(&q->r->count.quality_refused);
    request_error(q, e);
}

/* The call that the session may report on, and which end of it is its own. NULL: was answered. */
static const struct call *own_call(const struct request *q, size_t *end)
{
    struct router *r = q->r;
    const struct call *c = call_table_find(r->calls, &q->m->call_id);
    enum call_role role = c ? call_role(c, request_user(q), request_device(q)) : CALL_ROLE_NONE;

    if (role == CALL_ROLE_NONE)
        refused(q, &(struct sig_error){.code = SIG_ERR_CALL_NOT_FOUND});
    else if (!call_live(c) && r->now_us - call_times(c)->ended_us > LAST_WORD_US)
        refused(q, &(struct sig_error){.code = SIG_ERR_CALL_ENDED, .reason = call_ended_reason(c)});
    else if (role == CALL_ROLE_LEG || call_times(c)->answered_us == 0)
        refused(q, &(struct sig_error){.code = SIG_ERR_CALL_INVALID_STATE,
                                       .has_state = true,
                                       .state = call_state(c)});
    else {
        *end = role == CALL_ROLE_CALLER ? 0 : 1;
        return c;
    }
    return NULL;
}

static void answer(const struct request *q, const struct call_leg *leg, const struct call_sample *s)
{
    struct wr w = router_body(q->r);
    struct call_leg_sum sum;

    call_leg_sum(leg, &sum);
    sig_quality_reply(&w, q->m->id, &q->m->call_id,
                      &(struct sig_quality_view){.judged = s->judged,
                                                 .r_milli = milli_of(s->r),
                                                 .mos_milli = milli_of(s->mos),
                                                 .samples = sum.samples,
                                                 .avg_milli = sum.avg_milli,
                                                 .p10_milli = sum.p10_milli,
                                                 .min_milli = sum.min_milli,
                                                 .loss_permille = sum.loss_permille,
                                                 .rtt_ms = sum.rtt_ms,
                                                 .silence_ms = sum.silence_ms,
                                                 .route = leg->route,
                                                 .clamped = s->clamped});
    request_reply(q, &w);
}

static enum ledger_path call_path(const struct quality_watch *w)
{
    enum sig_route a = w->leg[0].route, b = w->leg[1].route;
    bool relayed = w->relay[0].leg.samples + w->relay[1].leg.samples > 0;

    if (a == SIG_ROUTE_TURN || b == SIG_ROUTE_TURN || relayed)
        return LEDGER_TURN;
    return path_of(a != SIG_ROUTE_UNKNOWN ? a : b);
}

/* Takes a report in. */
static void take(const struct request *q, const struct call *c, size_t end, struct quality_watch *w,
                 const struct sig_quality *in)
{
    struct router *r = q->r;
    struct call_leg *leg = &w->leg[end];
    enum ledger_path before = call_path(w);
    uint64_t now_ms = r->wall_us / US_PER_MS;
    struct call_sample s;

    call_leg_add(leg, in, (unsigned)r->conf->call.device_ms, r->now_us, &s);
    count_sample(r, &s);
    w->at_ms[end] = now_ms > w->at_ms[end] ? now_ms : w->at_ms[end] + 1;
    put_sample(r, &w->id, request_user(q), LEG_HEARD, &s, w->at_ms[end]);
    if (w->over || leg->samples % SUMMARY_EVERY == 0)
        put_summary(r, &w->id, request_user(q), LEG_HEARD, leg);
    if (w->over && call_path(w) != before)
        router_history_again(r, c, before);
    answer(q, leg, &s);
}

void router_quality_request(const struct request *q)
{
    struct router *r = q->r;
    struct sig_fault fault;
    struct sig_quality in;
    size_t end;

    if (q->s && !bucket_take(&q->s->quality, &r->quality, 1, r->now_us)) {
        counter_inc(&r->count.rate_limited);
        refused(q, &(struct sig_error){.code = SIG_ERR_RATE_LIMITED,
                                       .retry_after_ms = bucket_wait_ms(&q->s->quality, &r->quality,
                                                                        1, r->now_us)});
        return;
    }
    if (sig_quality_decode(&in, q->m, &fault) != 0) {
        refused(q, &(struct sig_error){.code = fault.code, .text = fault.text});
        return;
    }
    if (q->s && !call_table_find(r->calls, &q->m->call_id) && router_far_ask(q))
        return;
    const struct call *c = own_call(q, &end);
    if (!c)
        return;
    struct quality_watch *w = find_watch(r, &q->m->call_id);
    if (!w)
        w = make_watch(r, c);
    if (w)
        take(q, c, end, w, &in);
    else
        refused(q, &(struct sig_error){.code = SIG_ERR_INTERNAL});
}

/* ---- what relays say ---- */

/* The call that a relay may speak of now. */
static const struct call *call_of_media(const struct router *r, const struct relay_media *m)
{
    const struct call *c = call_table_find(r->calls, &m->call);
    bool good = c && call_times(c)->answered_us != 0 &&
                (call_live(c) || r->now_us - call_times(c)->ended_us <= LAST_WORD_US);

    return good ? c : NULL;
}

/* What came for one end of the call. */
static void hear_relay(struct router *r, struct quality_watch *w, const struct call *c, size_t end,
                       const struct sig_quality *q)
{
    struct relay_ear *ear = &w->relay[end];
    struct slice user = end == 0 ? call_caller(c) : call_callee(c);
    uint64_t now_ms = r->wall_us / US_PER_MS;
    struct call_sample s;

    call_leg_add(&ear->leg, q, (unsigned)r->conf->call.device_ms, r->now_us, &s);
    if (!s.judged || s.interval_ms == 0)
        return;
    tally_add(&r->count.relay_mos, milli_of(s.mos));
    ear->at_ms = now_ms > ear->at_ms ? now_ms : ear->at_ms + 1;
    put_sample(r, &w->id, user, LEG_RELAY, &s, ear->at_ms);
    if (w->over || ear->leg.samples % SUMMARY_EVERY == 0)
        put_summary(r, &w->id, user, LEG_RELAY, &ear->leg);
}

/* Both ends may use a relay each: what an end's own relay says of what came for it is nearest to
 * what is heard, so the other one's counts only where that says nothing. */
static void take_media(struct router *r, const struct call *c, struct quality_watch *w, size_t end,
                       const struct relay_media *m)
{
    struct relay_ear *other = &w->relay[1 - end];
    enum ledger_path before = call_path(w);
    struct sig_quality q;

    if (relay_media_heard(m, &m->down, &q)) {
        w->relay[end].own_us = r->now_us;
        hear_relay(r, w, c, end, &q);
    }
    if ((other->own_us == 0 || r->now_us - other->own_us > OWN_RELAY_US) &&
        relay_media_heard(m, &m->up, &q))
        hear_relay(r, w, c, 1 - end, &q);
    if (w->over && call_path(w) != before)
        router_history_again(r, c, before);
}

void router_relay_media(struct router *r, const struct relay_media *m)
{
    const struct call *c = call_of_media(r, m);
    bool caller = c && slice_eq(m->user, call_caller(c));
    struct quality_watch *w = NULL;

    if (caller || (c && slice_eq(m->user, call_callee(c)))) {
        w = find_watch(r, &m->call);
        if (!w)
            w = make_watch(r, c);
    }
    counter_inc(w ? &r->count.relay_media : &r->count.relay_media_stray);
    if (w)
        take_media(r, c, w, caller ? 0 : 1, m);
}

/* ---- the end of a call ---- */

enum ledger_path router_quality_path(const struct router *r, const struct sig_call_id *id)
{
    const struct quality_watch *w = find_watch(r, id);

    return w ? call_path(w) : LEDGER_PATH_UNKNOWN;
}

void router_quality_ended(struct router *r, const struct call *c)
{
    const struct slice users[] = {call_caller(c), call_callee(c)};
    struct quality_watch *w = find_watch(r, call_id(c));

    if (!w || w->over)
        return;
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        put_summary(r, &w->id, users[i], LEG_HEARD, &w->leg[i]);
        put_summary(r, &w->id, users[i], LEG_RELAY, &w->relay[i].leg);
    }
    list_del(&w->link);
    w->over = true;
    w->due_us = r->now_us + LAST_WORD_US;
    list_append(&r->watches_over, &w->link);
}

static struct quality_watch *first(const struct list *l)
{
    return list_empty(l) ? NULL : CONTAINER_OF(l->next, struct quality_watch, link);
}

uint64_t router_quality_deadline(const struct router *r)
{
    const struct quality_watch *live = first(&r->watches), *over = first(&r->watches_over);
    uint64_t at = live ? live->due_us : CLOCK_NEVER;

    return over && over->due_us < at ? over->due_us : at;
}

void router_quality_tick(struct router *r)
{
    struct quality_watch *w;

    while ((w = first(&r->watches_over)) && w->due_us <= r->now_us)
        drop_watch(r, w);
    while ((w = first(&r->watches)) && w->due_us <= r->now_us) {
        const struct call *c = call_table_find(r->calls, &w->id);
        if (!c || !call_live(c)) {
            drop_watch(r, w);
            continue;
        }
        list_del(&w->link);
        w->due_us = r->now_us + LOOK_US;
        list_append(&r->watches, &w->link);
    }
}

/* ---- rooms ---- */

/* What the SFU said last held until now; a moment, for who leaves with its word. */
static void hold(struct router *r, struct seat_quality *q)
{
    uint64_t us = r->now_us - q->since_us, ms = (us < HOLD_MAX_US ? us : HOLD_MAX_US) / US_PER_MS;

    if (q->mos_milli > 0)
        call_leg_add_mos(&q->leg, q->mos_milli, ms > 0 ? ms : 1);
    q->since_us = r->now_us;
}

/* So much of a summary can a crash take, and of the time that is known of a stay. */
static void keep_seat(struct router *r, const struct seat *s)
{
    struct seat_quality *q = s->quality;

    if (q->leg.samples == 0 || (q->kept_us != 0 && r->now_us - q->kept_us < KEEP_US))
        return;
    q->kept_us = r->now_us;
    if (router_has_stay(s))
        put_summary(r, &s->stay, s->user, LEG_SFU, &q->leg);
}

void router_quality_room(struct router *r, const struct room *room, const struct ctl_msg *m)
{
    for (size_t i = 0; i < m->u.quality.n; i++) {
        const struct ctl_quality *v = &m->u.quality.v[i];
        struct seat *s = seat_find(r->rooms, v->participant);
        if (!s || s->room != room || !s->in)
            continue;
        if (!s->quality)
            s->quality = mem_zalloc(sizeof(*s->quality));
        if (!s->quality)
            continue;
        hold(r, s->quality);
        keep_seat(r, s);
        s->quality->mos_milli = v->mos * CENTI_TO_MILLI;
        s->quality->leg.route = SIG_ROUTE_SFU;
        s->quality->leg.voice = SIG_VOICE_OPUS;
        tally_add(&r->count.mos[SIG_ROUTE_SFU][ROUTER_VOICE_OPUS], s->quality->mos_milli);
        counter_add(&r->count.quality_bad[ROUTER_BAD_MOS], s->quality->mos_milli < BAD_MOS_MILLI);
    }
}

void router_quality_left(struct router *r, const struct seat *s)
{
    if (!s->quality)
        return;
    hold(r, s->quality);
    put_summary(r, &s->stay, s->user, LEG_SFU, &s->quality->leg);
}
