/* Joins calls with their allocations and sums everything up.
 *
 *     allocations ─► bytes of each day ─► rows            (row of the allocation's transport)
 *          └──► relayed bytes of their call ─► the call's path ─► rows
 *     sums of the ledger, less the calls that it still has ─► rows without a path of their own
 *     archived days ─► in place of fresh ones that know less
 *
 * Called through usage_report.h. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/usage_report_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"

/* A call whose relays carried less than this in all was not relayed, however short it was: these
 * are connectivity checks. */
#define RELAYED_BYTES_MIN 2000
#define VOICE_PACKET_MS   10 /* at least, of one direction */

enum usage_path usage_path_of(enum relay_transport t)
{
    static const enum usage_path path[RELAY_TRANSPORT_COUNT] = {
        [RELAY_UDP] = USAGE_TURN_UDP,
        [RELAY_TCP] = USAGE_TURN_TCP,
        [RELAY_TLS] = USAGE_TURN_TLS,
        [RELAY_DTLS] = USAGE_TURN_DTLS,
    };

    return path[t];
}

bool usage_was_relayed(const struct usage_report *r, uint64_t bytes, uint64_t seconds)
{
    uint64_t least = r->conf.relayed_bytes_s * seconds;

    return bytes >= RELAYED_BYTES_MIN && bytes >= least;
}

/* ---- allocations ---- */

static int by_day(const void *a, const void *b)
{
    const struct usage_alloc_day *x = *(const struct usage_alloc_day *const *)a,
                                 *y = *(const struct usage_alloc_day *const *)b;

    return (x->day > y->day) - (x->day < y->day);
}

/* The days of an allocation in order, heap memory. NULL: memory is out. */
static const struct usage_alloc_day **days_in_order(const struct usage_alloc *a, size_t *n)
{
    *n = 1;
    for (const struct usage_alloc_day *d = a->more; d; d = d->next)
        (*n)++;
    const struct usage_alloc_day **v = mem_calloc(*n, sizeof(*v));
    size_t i = 0;
    if (!v)
        return NULL;
    v[i++] = &a->first;
    for (const struct usage_alloc_day *d = a->more; d; d = d->next)
        v[i++] = d;
    qsort(v, *n, sizeof(*v), by_day);
    return v;
}

/* What a counter has risen by since *was. */
static uint64_t rise(uint64_t now, uint64_t *was)
{
    uint64_t by = now > *was ? now - *was : 0;

    *was += by;
    return by;
}

/* The most that the allocation's records told of any amount. */
static uint64_t bytes_of(const struct usage_alloc *a)
{
    uint64_t up = a->first.up_bytes, down = a->first.down_bytes;

    for (const struct usage_alloc_day *d = a->more; d; d = d->next) {
        up = d->up_bytes > up ? d->up_bytes : up;
        down = d->down_bytes > down ? d->down_bytes : down;
    }
    return up + down;
}

static uint64_t packets_of(const struct usage_alloc *a)
{
    uint64_t up = a->first.up_pkts, down = a->first.down_pkts;

    for (const struct usage_alloc_day *d = a->more; d; d = d->next) {
        up = d->up_pkts > up ? d->up_pkts : up;
        down = d->down_pkts > down ? d->down_pkts : down;
    }
    return up + down;
}

/* Seconds of voice that the allocation carried, one way; 0: none, or something else. The ledger
 * knows which calls had video; of others the packets tell: voice sends none each few milliseconds.
 */
static uint64_t voice_seconds(const struct usage_report *r, const struct usage_alloc *a)
{
    const struct usage_call_entry *c = a->call;

    if (!c || (c->known && c->video))
        return 0;
    uint64_t seconds = c->known ? c->seconds : a->seconds;
    if (!usage_was_relayed(r, bytes_of(a), seconds) ||
        (!c->known && packets_of(a) * VOICE_PACKET_MS > 2 * 1000 * seconds))
        return 0;
    return seconds;
}

static int fold_alloc_days(struct usage_report *r, const struct usage_alloc *a)
{
    struct usage_alloc_day was = {0};
    const char *none = usage_name_of(&r->codecs, (struct slice){0});
    const char *codec = a->call ? a->call->codec : none;
    uint64_t voice = voice_seconds(r, a);
    size_t n;
    const struct usage_alloc_day **v = days_in_order(a, &n);
    int rc = v && none ? 0 : -ENOMEM;

    for (size_t i = 0; i < n && rc == 0; i++) {
        struct usage_traffic t = {.up_pkts = rise(v[i]->up_pkts, &was.up_pkts),
                                  .up_bytes = rise(v[i]->up_bytes, &was.up_bytes),
                                  .down_pkts = rise(v[i]->down_pkts, &was.down_pkts),
                                  .down_bytes = rise(v[i]->down_bytes, &was.down_bytes)};
        struct usage_wire wire =
            usage_wire_of(a->transport, a->ipv6, t.up_pkts, t.up_bytes, t.down_pkts, t.down_bytes);
        struct usage_row *row =
            usage_row_at(r, false, v[i]->day, usage_path_of(a->transport), a->region, codec);
        struct usage_day_entry *day = usage_day_at(r, v[i]->day);
        if (!row || !day) {
            rc = -ENOMEM;
            break;
        }
        t.wire_in = wire.in;
        t.wire_out = wire.out;
        usage_traffic_add(&row->traffic, &t);
        day->fresh.detail++;
        if (i == 0)
            row->allocations++;
        if (i + 1 == n)
            row->alloc_seconds += a->seconds;
        if (voice == 0)
            continue;
        row->voice.pkts += t.up_pkts + t.down_pkts;
        row->voice.bytes += t.up_bytes + t.down_bytes;
        row->voice.seconds += i + 1 == n ? 2 * voice : 0;
    }
    mem_free(v);
    return rc;
}

static uint32_t first_day(const struct usage_alloc *a)
{
    uint32_t day = a->first.day;

    for (const struct usage_alloc_day *d = a->more; d; d = d->next)
        day = d->day < day ? d->day : day;
    return day;
}

static void note_in_call(struct usage_call_entry *c, const struct usage_alloc *a)
{
    uint64_t bytes = bytes_of(a);
    uint32_t day = first_day(a);

    c->relayed_bytes += bytes;
    if (a->seconds > c->alloc_seconds)
        c->alloc_seconds = a->seconds;
    if (c->relay_day == 0 || day < c->relay_day)
        c->relay_day = day;
    /* Of equal ones the slower transport, the later name: any order gives the same. */
    if (!c->relay_region || bytes > c->best_bytes ||
        (bytes == c->best_bytes &&
         (a->transport > c->best ||
          (a->transport == c->best && strcmp(a->region, c->relay_region) > 0)))) {
        c->best_bytes = bytes;
        c->best = a->transport;
        c->relay_region = a->region;
    }
}

static void note_in_user(struct usage_user_entry *u, const struct usage_alloc *a)
{
    u->sum.bytes += bytes_of(a);
    u->sum.allocations++;
    u->sum.seconds += a->seconds;
}

static void fold_allocs_of_calls(struct usage_report *r)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;

    while ((n = htable_walk(&r->allocs, &pos, &saved))) {
        const struct usage_alloc *a = CONTAINER_OF(n, struct usage_alloc, node);
        if (a->call)
            note_in_call(a->call, a);
        if (a->user)
            note_in_user(a->user, a);
    }
}

static int fold_allocs(struct usage_report *r)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;
    int rc = 0;

    while (rc == 0 && (n = htable_walk(&r->allocs, &pos, &saved)))
        rc = fold_alloc_days(r, CONTAINER_OF(n, struct usage_alloc, node));
    return rc;
}

/* ---- calls ---- */

/* Relays' legs count where there are no others. */
static bool only_relays(const struct usage_call_entry *c)
{
    for (const struct usage_leg_entry *l = c->legs; l; l = l->next)
        if (!l->relay)
            return false;
    return true;
}

/* What its legs say: the codec of the one with most samples, and how media went. */
static enum ledger_path hear_legs(struct usage_call_entry *c)
{
    const struct usage_leg_entry *best = NULL;
    enum ledger_path path = c->path;
    bool relays = only_relays(c);

    for (const struct usage_leg_entry *l = c->legs; l; l = l->next) {
        if (l->relay && !relays)
            continue;
        if (!best || l->samples > best->samples ||
            (l->samples == best->samples && strcmp(l->codec, best->codec) > 0))
            best = l;
        if (path == LEDGER_PATH_UNKNOWN || l->path > path)
            path = l->path;
    }
    if (best)
        c->codec = best->codec;
    return path;
}

/* The call's path; *inferred: nobody has told it. */
static enum usage_path path_of(struct usage_report *r, struct usage_call_entry *c, bool *inferred)
{
    enum ledger_path told = hear_legs(c);
    uint64_t seconds = c->known ? c->seconds : c->alloc_seconds;

    *inferred = false;
    if (told == LEDGER_SFU || c->group)
        return USAGE_SFU;
    if (c->relay_region && (told == LEDGER_TURN || usage_was_relayed(r, c->relayed_bytes, seconds)))
        return usage_path_of(c->best);
    if (told == LEDGER_P2P)
        return USAGE_P2P;
    if (told == LEDGER_TURN) /* a relay whose records are not here */
        return USAGE_PATH_UNKNOWN;
    const struct usage_day_entry *day = c->known ? usage_day_at(r, c->day) : NULL;
    *inferred =
        day && day->relays && c->outcome == LEDGER_ANSWERED && !c->media_failed && c->seconds > 0;
    return *inferred ? USAGE_P2P : USAGE_PATH_UNKNOWN;
}

static void fold_network(struct usage_row *row, const struct usage_call_entry *c,
                         const struct usage_leg_entry *l, bool judged)
{
    if (l->network == USAGE_NETWORK_UNKNOWN)
        return;
    struct usage_net *n = &row->net[l->network];
    n->legs++;
    n->ice_failed += c->media_failed;
    n->mos_n += judged;
    n->mos_milli += judged ? l->mos_milli : 0;
}

static int fold_legs(struct usage_report *r, const struct usage_call_entry *c, const char *region)
{
    bool relays = only_relays(c);

    for (const struct usage_leg_entry *l = c->legs; l; l = l->next) {
        if (l->relay && !relays)
            continue;
        uint32_t on = c->known ? c->day : l->day;
        struct usage_row *row = usage_row_at(r, false, on, c->row_path, region, l->codec);
        struct usage_day_entry *day = usage_day_at(r, on);
        if (!row || !day)
            return -ENOMEM;
        day->fresh.detail++;
        bool judged = l->mos_milli >= 1000 && l->mos_milli <= 5000;
        fold_network(row, c, l, judged);
        if (!judged)
            continue;
        unsigned tenth = (l->mos_milli - 1000) / 100;
        row->mos_n++;
        row->mos_milli += l->mos_milli;
        row->mos[tenth < USAGE_MOS_BUCKETS ? tenth : USAGE_MOS_BUCKETS - 1]++;
    }
    return 0;
}

static int fold_times(struct usage_report *r, const struct usage_call_entry *c)
{
    struct usage_day_entry *day = usage_day_at(r, c->day);

    if (!day)
        return -ENOMEM;
    day->fresh.detail++;
    struct usage_nameless *known = &day->known[c->path][c->outcome];
    known->calls++;
    known->seconds += c->seconds;
    known->ice_failed += c->media_failed;
    if (c->ring_ms >= c->created_ms && c->ring_ms != 0)
        usage_hist_add(&day->fresh.pdd, c->ring_ms - c->created_ms, 1);
    if (c->pushed_ms != 0 && c->ring_ms >= c->pushed_ms)
        usage_hist_add(&day->fresh.wake, c->ring_ms - c->pushed_ms, 1);
    return 0;
}

static int fold_call(struct usage_report *r, struct usage_call_entry *c)
{
    const char *none = usage_name_of(&r->regions, (struct slice){0}), *region = c->region;
    bool inferred;

    if (!none)
        return -ENOMEM;
    c->row_path = path_of(r, c, &inferred);
    if (!region || !region[0])
        region = c->relay_region ? c->relay_region : none;
    int rc = fold_legs(r, c, region);
    if (rc != 0 || !c->known)
        return rc;
    struct usage_row *row = usage_row_at(r, false, c->day, c->row_path, region, c->codec);
    if (!row)
        return -ENOMEM;
    row->calls[c->outcome]++;
    row->seconds += c->seconds;
    row->ice_failed += c->media_failed;
    row->inferred += inferred;
    return fold_times(r, c);
}

static int fold_calls(struct usage_report *r)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;
    int rc = 0;

    while (rc == 0 && (n = htable_walk(&r->calls, &pos, &saved)))
        rc = fold_call(r, CONTAINER_OF(n, struct usage_call_entry, node));
    return rc;
}

/* Codecs first, since allocations' rows go by them. */
static void hear_all(struct usage_report *r)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;

    while ((n = htable_walk(&r->calls, &pos, &saved)))
        (void)hear_legs(CONTAINER_OF(n, struct usage_call_entry, node));
}

int usage_report_close(struct usage_report *r)
{
    int rc;

    hear_all(r);
    fold_allocs_of_calls(r);
    rc = fold_allocs(r);
    if (rc == 0)
        rc = fold_calls(r);
    if (rc == 0)
        rc = usage_fold_nameless(r);
    return rc == 0 ? usage_list(r) : rc;
}
