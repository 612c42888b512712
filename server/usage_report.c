/* The daily report's tables, and what is put into them.
 *
 * Called by report_main.c and ledger_store_sqlite_report.c, through usage_report.h. What is put in
 * is kept by allocation and by call, the greatest amounts of each day and allocation, so that
 * neither order nor doubles matter; usage_fold.c sums up. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/usage_report_priv.h"

#include <errno.h>
#include <time.h>

#include "base/crypto.h"
#include "base/hash.h"
#include "base/mem.h"

#define DAY_S     UINT64_C(86400)
#define DAY_MS    (1000 * DAY_S)
#define AHEAD_S   DAY_S             /* clocks may be wrong by so much */
#define RING_PUSH SLICE_LIT("ring") /* and ring_alert */
#define OTHER     SLICE_LIT("other")

static const char *const paths[USAGE_PATH_COUNT] = {"p2p",       "turn-udp", "turn-tcp", "turn-tls",
                                                    "turn-dtls", "sfu",      "unknown"};

const char *usage_path_name(enum usage_path p)
{
    return (unsigned)p < USAGE_PATH_COUNT ? paths[p] : "";
}

static const char *const networks[USAGE_NETWORK_COUNT] = {"wifi", "cellular", "ethernet", "vpn",
                                                          "other"};

const char *usage_network_name(enum usage_network n)
{
    return (unsigned)n < USAGE_NETWORK_COUNT ? networks[n] : "";
}

enum usage_network usage_network_parse(struct slice name)
{
    for (unsigned i = 0; i < USAGE_NETWORK_COUNT; i++)
        if (slice_is(name, networks[i]))
            return (enum usage_network)i;
    return USAGE_NETWORK_UNKNOWN;
}

int usage_path_parse(struct slice name, enum usage_path *out)
{
    for (unsigned i = 0; i < USAGE_PATH_COUNT; i++)
        if (slice_is(name, paths[i])) {
            *out = (enum usage_path)i;
            return 0;
        }
    return -EINVAL;
}

void usage_day_write(struct wr *w, uint32_t day)
{
    time_t s = (time_t)day * (time_t)DAY_S;
    struct tm tm = {0};

    gmtime_r(&s, &tm);
    wr_fmt(w, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
}

int usage_day_parse(struct slice text, uint32_t *day)
{
    struct tm tm = {0};
    int *const part[] = {&tm.tm_year, &tm.tm_mon, &tm.tm_mday};
    static const size_t at[] = {0, 5, 8, 11};
    uint8_t again[USAGE_DAY_TEXT];
    struct wr w = wr_init(again, sizeof(again));

    if (text.len != USAGE_DAY_TEXT)
        return -EBADMSG;
    for (size_t i = 0; i < ARRAY_LEN(part); i++)
        for (size_t k = at[i]; k < at[i + 1] - 1; k++)
            *part[i] = *part[i] * 10 + (text.p[k] - '0');
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    time_t s = timegm(&tm);
    if (s < 0 || (uint64_t)s / DAY_S > USAGE_DAY_MAX)
        return -EBADMSG;
    usage_day_write(&w, (uint32_t)((uint64_t)s / DAY_S));
    if (!slice_eq(wr_done(&w), text)) /* 31 June, signs, letters */
        return -EBADMSG;
    *day = (uint32_t)((uint64_t)s / DAY_S);
    return 0;
}

/* ---- tables ---- */

static struct usage_name *find_name(const struct usage_names *n, struct slice text, uint64_t hash)
{
    struct hnode *at = htable_first(&n->table, hash);

    while (at && !slice_is(text, CONTAINER_OF(at, struct usage_name, node)->text))
        at = htable_next(at);
    return at ? CONTAINER_OF(at, struct usage_name, node) : NULL;
}

const char *usage_name_of(struct usage_names *n, struct slice text)
{
    uint64_t hash = hash_bytes(text);
    struct usage_name *found = find_name(n, text, hash);

    if (found)
        return found->text;
    if (n->table.count >= USAGE_NAMES_MAX && !slice_eq(text, OTHER))
        return usage_name_of(n, OTHER);
    struct usage_name *fresh = mem_zalloc(sizeof(*fresh));
    if (!fresh)
        return NULL;
    if (slice_to_cstr(text, fresh->text, sizeof(fresh->text)) != 0) { /* too long, or a NUL */
        mem_free(fresh);
        return usage_name_of(n, OTHER);
    }
    htable_add(&n->table, &fresh->node, hash);
    return fresh->text;
}

/* Mixes numbers and the addresses of interned texts. */
static uint64_t hash_of(const uint64_t *v, size_t n)
{
    return hash_bytes(slice_of(v, n * sizeof(*v)));
}

struct usage_row *usage_row_at(struct usage_report *r, bool archived, uint32_t day,
                               enum usage_path path, const char *region, const char *codec)
{
    const uint64_t key[] = {archived, day, path, (uintptr_t)region, (uintptr_t)codec};
    uint64_t hash = hash_of(key, ARRAY_LEN(key));

    for (struct hnode *n = htable_first(&r->rows, hash); n; n = htable_next(n)) {
        struct usage_row_entry *e = CONTAINER_OF(n, struct usage_row_entry, node);
        if (e->archived == archived && e->row.day == day && e->row.path == path &&
            e->row.region == region && e->row.codec == codec)
            return &e->row;
    }
    struct usage_row_entry *e = mem_zalloc(sizeof(*e));
    if (!e)
        return NULL;
    e->archived = archived;
    e->row = (struct usage_row){.day = day, .path = path, .region = region, .codec = codec};
    htable_add(&r->rows, &e->node, hash);
    return &e->row;
}

struct usage_push_entry *usage_push_at(struct usage_report *r, bool archived, uint32_t day,
                                       const char *kind, unsigned status, const char *reason)
{
    const uint64_t key[] = {archived, day, status, (uintptr_t)kind, (uintptr_t)reason};
    uint64_t hash = hash_of(key, ARRAY_LEN(key));

    for (struct hnode *n = htable_first(&r->pushes, hash); n; n = htable_next(n)) {
        struct usage_push_entry *e = CONTAINER_OF(n, struct usage_push_entry, node);
        if (e->archived == archived && e->row.day == day && e->row.status == status &&
            e->row.kind == kind && e->row.reason == reason)
            return e;
    }
    struct usage_push_entry *e = mem_zalloc(sizeof(*e));
    if (!e)
        return NULL;
    e->archived = archived;
    e->row = (struct usage_push_row){.day = day, .status = status, .kind = kind, .reason = reason};
    htable_add(&r->pushes, &e->node, hash);
    return e;
}

struct usage_day_entry *usage_day_at(struct usage_report *r, uint32_t day)
{
    const uint64_t key[] = {day};
    uint64_t hash = hash_of(key, ARRAY_LEN(key));

    for (struct hnode *n = htable_first(&r->days, hash); n; n = htable_next(n)) {
        struct usage_day_entry *e = CONTAINER_OF(n, struct usage_day_entry, node);
        if (e->fresh.day == day)
            return e;
    }
    struct usage_day_entry *e = mem_zalloc(sizeof(*e));
    if (!e)
        return NULL;
    e->fresh.day = e->archive.day = day;
    htable_add(&r->days, &e->node, hash);
    return e;
}

/* One more of what is held by the million. */
static int hold(struct usage_report *r)
{
    if (r->held >= r->conf.most)
        return -ENOSPC;
    r->held++;
    return 0;
}

/* The day of a time in milliseconds. False: counted as skipped. */
static bool day_of(struct usage_report *r, uint64_t ms, uint32_t *day)
{
    if (ms == 0 || ms / DAY_MS > USAGE_DAY_MAX) {
        r->skipped.outside++;
        return false;
    }
    if (ms / 1000 > r->conf.now_s + AHEAD_S) {
        r->skipped.future++;
        return false;
    }
    *day = (uint32_t)(ms / DAY_MS);
    return true;
}

/* The call of this id, made when it is not there. */
static int call_at(struct usage_report *r, const struct sig_call_id *id,
                   struct usage_call_entry **out)
{
    uint64_t hash = hash_bytes(slice_of(id->b, sizeof(id->b)));

    for (struct hnode *n = htable_first(&r->calls, hash); n; n = htable_next(n)) {
        *out = CONTAINER_OF(n, struct usage_call_entry, node);
        if (sig_call_id_eq(&(*out)->id, id))
            return 0;
    }
    if (hold(r) != 0)
        return -ENOSPC;
    struct usage_call_entry *c = mem_zalloc(sizeof(*c));
    const char *none = usage_name_of(&r->codecs, (struct slice){0});
    if (!c || !none) {
        mem_free(c);
        return -ENOMEM;
    }
    c->id = *id;
    c->codec = none;
    htable_add(&r->calls, &c->node, hash);
    *out = c;
    return 0;
}

/* ---- relays ---- */

static int user_at(struct usage_report *r, struct slice name, struct usage_user_entry **out)
{
    uint8_t mac[CRYPTO_SHA256_BYTES];

    *out = NULL;
    if (name.len == 0 || slice_is(name, "-"))
        return 0;
    if (crypto_hmac(CRYPTO_SHA256, r->conf.user_key, &name, 1, mac) != 0)
        return -ENOMEM;
    uint64_t hash = hash_bytes(slice_of(mac, USAGE_USER_BYTES));
    for (struct hnode *n = htable_first(&r->users, hash); n; n = htable_next(n)) {
        *out = CONTAINER_OF(n, struct usage_user_entry, node);
        if (memcmp((*out)->sum.hash, mac, USAGE_USER_BYTES) == 0)
            return 0;
    }
    if (hold(r) != 0)
        return -ENOSPC;
    struct usage_user_entry *u = mem_zalloc(sizeof(*u));
    if (!u)
        return -ENOMEM;
    memcpy(u->sum.hash, mac, USAGE_USER_BYTES);
    htable_add(&r->users, &u->node, hash);
    *out = u;
    return 0;
}

static struct usage_alloc *find_alloc(const struct usage_report *r, const struct relay_record *rec,
                                      uint64_t hash)
{
    for (struct hnode *n = htable_first(&r->allocs, hash); n; n = htable_next(n)) {
        struct usage_alloc *a = CONTAINER_OF(n, struct usage_alloc, node);
        if (a->boot == rec->boot && a->serial == rec->serial)
            return a;
    }
    return NULL;
}

static int new_alloc(struct usage_report *r, const struct relay_record *rec, uint32_t day,
                     uint64_t hash, struct usage_alloc **out)
{
    struct usage_call_entry *call = NULL;
    struct usage_user_entry *user = NULL;
    struct sig_call_id id;
    int rc = hold(r);

    if (rc == 0 && sig_call_id_parse(&id, rec->call) == 0)
        rc = call_at(r, &id, &call);
    if (rc == 0)
        rc = user_at(r, rec->user, &user);
    const char *region = usage_name_of(&r->regions, rec->region);
    struct usage_alloc *a = rc == 0 && region ? mem_zalloc(sizeof(*a)) : NULL;
    if (!a)
        return rc != 0 ? rc : -ENOMEM;
    *a = (struct usage_alloc){.boot = rec->boot,
                              .serial = rec->serial,
                              .first.day = day,
                              .transport = rec->transport,
                              .ipv6 = rec->ipv6,
                              .region = region,
                              .call = call,
                              .user = user};
    htable_add(&r->allocs, &a->node, hash);
    *out = a;
    return 0;
}

/* The amounts of an allocation's day. NULL: memory is out. */
static struct usage_alloc_day *alloc_day(struct usage_alloc *a, uint32_t day)
{
    struct usage_alloc_day *d = &a->first;

    if (d->day == day)
        return d;
    for (d = a->more; d; d = d->next)
        if (d->day == day)
            return d;
    d = mem_zalloc(sizeof(*d));
    if (!d)
        return NULL;
    d->day = day;
    d->next = a->more;
    a->more = d;
    return d;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

int usage_report_relay(struct usage_report *r, const struct relay_record *rec)
{
    const uint64_t key[] = {rec->boot, rec->serial};
    uint64_t hash = hash_of(key, ARRAY_LEN(key));
    struct usage_alloc *a = find_alloc(r, rec, hash);
    uint32_t day;

    if (!day_of(r, rec->at_s < UINT64_MAX / 1000 ? rec->at_s * 1000 : 0, &day))
        return 0;
    int rc = a ? 0 : new_alloc(r, rec, day, hash, &a);
    if (rc != 0)
        return rc;
    struct usage_alloc_day *d = alloc_day(a, day);
    if (!d)
        return -ENOMEM;
    d->up_pkts = most(d->up_pkts, rec->up_pkts);
    d->up_bytes = most(d->up_bytes, rec->up_bytes);
    d->down_pkts = most(d->down_pkts, rec->down_pkts);
    d->down_bytes = most(d->down_bytes, rec->down_bytes);
    a->seconds = most(a->seconds, rec->seconds);
    struct usage_day_entry *on = usage_day_at(r, day);
    if (!on)
        return -ENOMEM;
    on->relays = true;
    return 0;
}

/* ---- the ledger ---- */

int usage_report_call(struct usage_report *r, const struct usage_call *in)
{
    struct usage_call_entry *c;
    uint32_t day;

    if (in->end_ms == 0 || !day_of(r, in->created_ms, &day))
        return 0;
    if (in->end_ms < in->created_ms || (in->answer_ms != 0 && in->end_ms < in->answer_ms)) {
        r->skipped.outside++;
        return 0;
    }
    int rc = call_at(r, &in->id, &c);
    const char *region = usage_name_of(&r->regions, in->region);
    if (rc != 0 || !region)
        return rc != 0 ? rc : -ENOMEM;
    c->known = r->ledger = true;
    c->group = in->group;
    c->video = in->video;
    c->media_failed = in->reason == SIG_REASON_MEDIA_FAILED;
    c->outcome = in->outcome;
    c->path = in->path;
    c->day = day;
    c->created_ms = in->created_ms;
    c->ring_ms = in->ring_ms;
    c->seconds = in->answer_ms != 0 ? (in->end_ms - in->answer_ms) / 1000 : 0;
    c->region = region;
    return 0;
}

int usage_report_leg(struct usage_report *r, const struct usage_leg *in)
{
    struct usage_call_entry *c;
    uint32_t day;

    if (!day_of(r, in->at_ms, &day))
        return 0;
    int rc = call_at(r, &in->id, &c);
    if (rc == 0)
        rc = hold(r);
    const char *codec = usage_name_of(&r->codecs, in->codec);
    struct usage_leg_entry *l = rc == 0 && codec ? mem_zalloc(sizeof(*l)) : NULL;
    if (!l)
        return rc != 0 ? rc : -ENOMEM;
    *l = (struct usage_leg_entry){.next = c->legs,
                                  .day = day,
                                  .samples = in->samples,
                                  .mos_milli = in->mos_milli,
                                  .network = usage_network_parse(in->network),
                                  .relay = slice_is(in->leg, "relay"),
                                  .path = in->path,
                                  .codec = codec};
    c->legs = l;
    return 0;
}

int usage_report_push(struct usage_report *r, const struct usage_push *in)
{
    uint32_t day;

    if (!day_of(r, in->sent_ms, &day))
        return 0;
    const char *kind = usage_name_of(&r->kinds, in->kind),
               *reason = usage_name_of(&r->reasons, in->reason);
    struct usage_push_entry *e =
        kind && reason ? usage_push_at(r, false, day, kind, in->status, reason) : NULL;
    struct usage_day_entry *d = usage_day_at(r, day);
    if (!e || !d)
        return -ENOMEM;
    e->row.count++;
    d->fresh.detail++;
    if (in->answered_ms >= in->sent_ms && in->status != 0)
        usage_hist_add(&d->fresh.answer, in->answered_ms - in->sent_ms, 1);
    if (!slice_starts(in->kind, RING_PUSH))
        return 0;
    struct usage_call_entry *c;
    int rc = call_at(r, &in->id, &c);
    if (rc == 0 && (c->pushed_ms == 0 || in->sent_ms < c->pushed_ms))
        c->pushed_ms = in->sent_ms;
    return rc;
}

/* A sum's day. False: counted as skipped. */
static bool is_day(struct usage_report *r, uint32_t day)
{
    bool outside = day > USAGE_DAY_MAX, future = day > (r->conf.now_s + AHEAD_S) / DAY_S;

    if (outside)
        r->skipped.outside++;
    else if (future)
        r->skipped.future++;
    return !outside && !future;
}

int usage_report_push_sum(struct usage_report *r, const struct usage_push_sum *s)
{
    if (!is_day(r, s->day))
        return 0;
    const char *kind = usage_name_of(&r->kinds, s->kind),
               *reason = usage_name_of(&r->reasons, s->reason);
    struct usage_push_entry *e =
        kind && reason ? usage_push_at(r, false, s->day, kind, s->status, reason) : NULL;
    if (!e || !usage_day_at(r, s->day))
        return -ENOMEM;
    e->sum += s->count;
    return 0;
}

int usage_report_sum(struct usage_report *r, const struct usage_sum *s)
{
    if (!is_day(r, s->day) || (unsigned)s->outcome >= LEDGER_OUTCOME_COUNT)
        return 0;
    int rc = hold(r);
    const char *region = usage_name_of(&r->regions, s->region);
    struct usage_sum_entry *e = rc == 0 && region ? mem_zalloc(sizeof(*e)) : NULL;
    if (!e)
        return rc != 0 ? rc : -ENOMEM;
    *e = (struct usage_sum_entry){.next = r->sums, .sum = *s, .region = region};
    e->sum.region = (struct slice){0};
    r->sums = e;
    r->ledger = true;
    return 0;
}

/* ---- archived days ---- */

int usage_report_archived_day(struct usage_report *r, const struct usage_day *d)
{
    struct usage_day_entry *e = usage_day_at(r, d->day);

    if (!e)
        return -ENOMEM;
    e->has_archive = true;
    e->archive = *d;
    e->archive.archived = true;
    e->archived_detail = d->detail;
    return 0;
}

int usage_report_archived_row(struct usage_report *r, const struct usage_row *in)
{
    const char *region = usage_name_of(&r->regions, slice_str(in->region)),
               *codec = usage_name_of(&r->codecs, slice_str(in->codec));
    struct usage_row *row =
        region && codec ? usage_row_at(r, true, in->day, in->path, region, codec) : NULL;

    if (!row)
        return -ENOMEM;
    usage_row_add(row, in);
    return 0;
}

int usage_report_archived_push(struct usage_report *r, const struct usage_push_row *in)
{
    const char *kind = usage_name_of(&r->kinds, slice_str(in->kind)),
               *reason = usage_name_of(&r->reasons, slice_str(in->reason));
    struct usage_push_entry *e =
        kind && reason ? usage_push_at(r, true, in->day, kind, in->status, reason) : NULL;

    if (!e)
        return -ENOMEM;
    e->row.count += in->count;
    return 0;
}

/* ---- life ---- */

struct usage_report *usage_report_new(const struct usage_conf *conf)
{
    struct usage_report *r = mem_zalloc(sizeof(*r));

    if (!r)
        return NULL;
    r->conf = *conf;
    if (htable_init(&r->regions.table, 16) == 0 && htable_init(&r->codecs.table, 16) == 0 &&
        htable_init(&r->kinds.table, 16) == 0 && htable_init(&r->reasons.table, 16) == 0 &&
        htable_init(&r->allocs, 1024) == 0 && htable_init(&r->calls, 1024) == 0 &&
        htable_init(&r->users, 256) == 0 && htable_init(&r->rows, 64) == 0 &&
        htable_init(&r->pushes, 64) == 0 && htable_init(&r->days, 64) == 0)
        return r;
    usage_report_free(r);
    return NULL;
}

/* Frees the objects of a table, whose node is their first member, and the table. */
static void free_table(struct htable *t)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;

    while (t->_slots && (n = htable_walk(t, &pos, &saved))) {
        htable_del(t, n);
        mem_free(n);
    }
    htable_fini(t);
}

static void free_details(struct usage_report *r)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;

    while (r->allocs._slots && (n = htable_walk(&r->allocs, &pos, &saved))) {
        struct usage_alloc *a = CONTAINER_OF(n, struct usage_alloc, node);
        for (struct usage_alloc_day *d = a->more, *next; d; d = next) {
            next = d->next;
            mem_free(d);
        }
    }
    saved = NULL;
    pos = 0;
    while (r->calls._slots && (n = htable_walk(&r->calls, &pos, &saved))) {
        struct usage_call_entry *c = CONTAINER_OF(n, struct usage_call_entry, node);
        for (struct usage_leg_entry *l = c->legs, *next; l; l = next) {
            next = l->next;
            mem_free(l);
        }
    }
    for (struct usage_sum_entry *s = r->sums, *next; s; s = next) {
        next = s->next;
        mem_free(s);
    }
}

void usage_report_free(struct usage_report *r)
{
    if (!r)
        return;
    free_details(r);
    struct htable *const tables[] = {
        &r->allocs, &r->calls,         &r->users,        &r->rows,        &r->pushes,
        &r->days,   &r->regions.table, &r->codecs.table, &r->kinds.table, &r->reasons.table};
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        free_table(tables[i]);
    mem_free(r->row_list);
    mem_free(r->push_list);
    mem_free(r->day_list);
    mem_free(r->user_list);
    mem_free(r);
}
