/* The days that were asked for, their sums, prices and what-ifs.
 *
 * Called by report_main.c after the report is closed. Traffic is priced by region and calendar
 * month: a day costs what the month's bill is after it, less what it was before; so days of the
 * month that lie before the first one asked for count too, when their records are there. A day's
 * price is split over its rows by their bytes. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/report_view.h"

#include <errno.h>
#include <time.h>

#include "base/mem.h"

#define DAY_S 86400

/* What a row moves on the network, as it is or as it would be. */
struct load {
    uint64_t out, in;
};

static struct tm date_of(uint32_t day)
{
    time_t s = (time_t)day * DAY_S;
    struct tm tm = {0};

    gmtime_r(&s, &tm);
    return tm;
}

static bool same_month(uint32_t a, uint32_t b)
{
    struct tm x = date_of(a), y = date_of(b);

    return x.tm_year == y.tm_year && x.tm_mon == y.tm_mon;
}

static unsigned days_in_month(uint32_t day)
{
    struct tm tm = date_of(day);
    unsigned n = (unsigned)tm.tm_mday;

    for (uint32_t next = day + 1; same_month(day, next); next++)
        n++;
    return n;
}

static uint64_t share(uint64_t whole, uint64_t part, uint64_t of)
{
    return of == 0 ? 0 : (uint64_t)((unsigned __int128)whole * part / of);
}

/* ---- prices ---- */

/* A region's bytes in its month: up to the day before, and of the day. */
struct region_month {
    const char *region;
    unsigned month;
    struct load before, today;
};
struct ledger_of_months {
    struct region_month *v; /* USAGE_NAMES_MAX + 1: no more regions have names of their own */
    size_t n;
};

static struct region_month *month_of(struct ledger_of_months *m, const char *region, unsigned month)
{
    size_t i = 0;

    while (i < m->n && m->v[i].region != region)
        i++;
    if (i == m->n)
        m->v[m->n++] = (struct region_month){.region = region, .month = month};
    if (m->v[i].month != month)
        m->v[i] = (struct region_month){.region = region, .month = month};
    return &m->v[i];
}

/* What the rows of one day cost. */
static void price_day(const struct report_conf *conf, struct ledger_of_months *months,
                      const struct usage_row *rows, const struct load *loads, size_t n,
                      uint64_t *nanos)
{
    struct tm date = date_of(rows[0].day);
    unsigned month = (unsigned)(date.tm_year * 12 + date.tm_mon);

    for (size_t i = 0; i < n; i++) {
        struct region_month *m = month_of(months, rows[i].region, month);
        m->today.out += loads[i].out;
        m->today.in += loads[i].in;
    }
    for (size_t i = 0; i < n; i++) {
        const struct region_month *m = month_of(months, rows[i].region, month);
        const struct tariff *t = report_conf_tariff(conf, rows[i].region);
        uint64_t was = tariff_price(t, m->before.out, m->before.in);
        uint64_t is = tariff_price(t, m->before.out + m->today.out, m->before.in + m->today.in);
        nanos[i] = share(is - was, loads[i].out + loads[i].in, m->today.out + m->today.in);
    }
    for (size_t i = 0; i < months->n; i++) {
        months->v[i].before.out += months->v[i].today.out;
        months->v[i].before.in += months->v[i].today.in;
        months->v[i].today = (struct load){0};
    }
}

/* What each row costs; rows are in the order of days. Returns 0 or -ENOMEM. */
static int price(const struct report_conf *conf, const struct usage_row *rows,
                 const struct load *loads, size_t n, uint64_t *nanos)
{
    struct ledger_of_months months = {.v = mem_calloc(USAGE_NAMES_MAX + 1, sizeof(*months.v))};

    for (size_t i = 0, end; i < n && months.v; i = end) {
        for (end = i; end < n && rows[end].day == rows[i].day; end++)
            continue;
        price_day(conf, &months, &rows[i], &loads[i], end - i, &nanos[i]);
    }
    bool done = months.v != NULL;
    mem_free(months.v);
    return done ? 0 : -ENOMEM;
}

/* ---- what if ---- */

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* The row if its voice were v. */
static struct load with_voice(const struct usage_row *row, struct usage_voice v)
{
    const struct usage_traffic *t = &row->traffic;
    uint64_t pkts = t->up_pkts + t->down_pkts, bytes = t->up_bytes + t->down_bytes;
    uint64_t less_pkts = row->voice.pkts > v.pkts ? row->voice.pkts - v.pkts : 0;
    uint64_t less = row->voice.bytes > v.bytes ? row->voice.bytes - v.bytes : 0;
    uint64_t out = less + share(minus(t->wire_out, bytes), less_pkts, pkts);
    uint64_t in = less + share(minus(t->wire_in, bytes), less_pkts, pkts);

    return (struct load){minus(t->wire_out, out), minus(t->wire_in, in)};
}

/* Thousandths of relayed calls, changed by so many points, over what they are. */
static struct load with_share(const struct usage_row *row, unsigned now, unsigned then)
{
    return (struct load){share(row->traffic.wire_out, then, now),
                         share(row->traffic.wire_in, then, now)};
}

static struct load imagine(const struct report_view *v, const struct usage_row *row,
                           enum report_whatif_kind k)
{
    const struct report_conf *c = v->conf;
    unsigned now = report_relay_share(v), points = (unsigned)c->share_points * 10;
    unsigned more = now + points < 1000 ? now + points : 1000;

    switch (k) {
    case REPORT_PACKETS:
        return with_voice(row, usage_voice_ptime(row->voice, (unsigned)c->ptime_ms));
    case REPORT_SILENCE:
        return with_voice(row, usage_voice_dtx(row->voice, (unsigned)c->dtx_percent));
    case REPORT_BITRATE:
        return with_voice(row, usage_voice_bitrate(row->voice, c->bitrate));
    case REPORT_SHARE_LESS:
        return with_share(row, now, now > points ? now - points : 0);
    default:
        return with_share(row, now, more);
    }
}

static bool is_possible(const struct report_view *v, enum report_whatif_kind k)
{
    return k < REPORT_SHARE_LESS ? v->total.voice.pkts > 0 : report_relay_share(v) > 0;
}

static bool is_in(const struct report_view *v, uint32_t day)
{
    return day >= v->from && day <= v->to;
}

/* One what-if, with memory for n rows. */
static int imagine_all(struct report_view *v, enum report_whatif_kind k,
                       const struct usage_row *all, size_t n, struct load *loads, uint64_t *nanos)
{
    struct report_whatif *w = &v->whatif[k];

    w->possible = is_possible(v, k);
    if (!w->possible)
        return 0;
    for (size_t i = 0; i < n; i++)
        loads[i] = imagine(v, &all[i], k);
    int rc = price(v->conf, all, loads, n, nanos);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!is_in(v, all[i].day))
            continue;
        w->out_bytes += loads[i].out;
        w->in_bytes += loads[i].in;
        w->nanos += nanos[i];
    }
    return rc;
}

static int what_if(struct report_view *v, const struct usage_row *all, size_t n)
{
    struct load *loads = mem_calloc(n, sizeof(*loads));
    uint64_t *nanos = mem_calloc(n, sizeof(*nanos));
    int rc = loads && nanos ? 0 : -ENOMEM;

    for (unsigned k = 0; rc == 0 && k < REPORT_WHATIF_COUNT; k++)
        rc = imagine_all(v, (enum report_whatif_kind)k, all, n, loads, nanos);
    mem_free(loads);
    mem_free(nanos);
    return rc;
}

/* ---- the view ---- */

/* What of a sorted list lies in from..to; stride bytes an element, whose first member is its day.
 */
static const void *cut(const void *list, size_t n, size_t stride, const struct report_view *v,
                       size_t *count, size_t *first)
{
    const uint8_t *p = list;
    size_t i = 0, end;
    uint32_t day;

    for (; i < n && (memcpy(&day, p + i * stride, sizeof(day)), day < v->from); i++)
        continue;
    for (end = i; end < n && (memcpy(&day, p + end * stride, sizeof(day)), day <= v->to); end++)
        continue;
    *count = end - i;
    *first = i;
    return p + i * stride;
}

static int price_all(struct report_view *v, const struct usage_row *all, size_t n, size_t first)
{
    struct load *loads = mem_calloc(n, sizeof(*loads));
    uint64_t *nanos = mem_calloc(n, sizeof(*nanos));

    v->row_nanos = mem_calloc(v->rows_n, sizeof(*v->row_nanos));
    v->day_nanos = mem_calloc(v->days_n, sizeof(*v->day_nanos));
    bool done = loads && nanos && v->row_nanos && v->day_nanos;
    for (size_t i = 0; i < n && done; i++)
        loads[i] = (struct load){all[i].traffic.wire_out, all[i].traffic.wire_in};
    done = done && price(v->conf, all, loads, n, nanos) == 0;
    for (size_t i = 0; i < v->rows_n && done; i++)
        v->row_nanos[i] = nanos[first + i];
    mem_free(loads);
    mem_free(nanos);
    return done ? 0 : -ENOMEM;
}

static void sum_rows(struct report_view *v)
{
    size_t d = 0;

    for (size_t i = 0; i < v->rows_n; i++) {
        usage_row_add(&v->total, &v->rows[i]);
        usage_row_add(&v->path[v->rows[i].path], &v->rows[i]);
        v->path_nanos[v->rows[i].path] += v->row_nanos[i];
        v->traffic_nanos += v->row_nanos[i];
        while (d < v->days_n && v->days[d].day < v->rows[i].day)
            d++;
        if (d < v->days_n && v->days[d].day == v->rows[i].day)
            v->day_nanos[d] += v->row_nanos[i];
    }
}

static void sum_days(struct report_view *v)
{
    for (size_t i = 0; i < v->days_n; i++) {
        usage_hist_merge(&v->pdd, &v->days[i].pdd);
        usage_hist_merge(&v->wake, &v->days[i].wake);
        usage_hist_merge(&v->answer, &v->days[i].answer);
    }
    for (size_t i = 0; i < v->pushes_n; i++) {
        v->pushes_all += v->pushes[i].count;
        v->pushes_taken += v->pushes[i].status == 200 ? v->pushes[i].count : 0;
    }
    for (uint32_t day = v->from; day <= v->to; day++) {
        unsigned of = days_in_month(day);
        for (size_t i = 0; i < v->conf->fixed_n; i++)
            v->fixed_nanos += v->conf->fixed[i].nanos / of;
    }
}

int report_view_init(struct report_view *v, const struct usage_report *r,
                     const struct report_conf *conf, const struct report_inputs *inputs)
{
    const struct usage_conf *c = usage_report_conf(r);
    size_t n, first, any;
    const struct usage_row *all = usage_report_rows(r, &n);

    *v = (struct report_view){.conf = conf,
                              .report = r,
                              .inputs = inputs,
                              .now_s = c->now_s,
                              .from = c->from,
                              .to = c->to};
    for (unsigned p = 0; p < USAGE_PATH_COUNT; p++)
        v->path[p].path = (enum usage_path)p;
    v->rows = cut(all, n, sizeof(*all), v, &v->rows_n, &first);
    v->pushes = usage_report_pushes(r, &v->pushes_n);
    v->pushes = cut(v->pushes, v->pushes_n, sizeof(*v->pushes), v, &v->pushes_n, &any);
    v->days = usage_report_days(r, &v->days_n);
    v->days = cut(v->days, v->days_n, sizeof(*v->days), v, &v->days_n, &any);
    v->users = usage_report_users(r, &v->users_n);
    if (v->users_n > conf->top_users)
        v->users_n = (size_t)conf->top_users;
    if (price_all(v, all, n, first) != 0)
        return -ENOMEM;
    sum_rows(v);
    sum_days(v);
    return what_if(v, all, n);
}

void report_view_fini(struct report_view *v)
{
    mem_free(v->row_nanos);
    mem_free(v->day_nanos);
    *v = (struct report_view){0};
}

/* ---- rates ---- */

static unsigned permille(uint64_t part, uint64_t of)
{
    return of == 0 ? 0 : (unsigned)((part * 1000 + of / 2) / of);
}

unsigned report_answer_rate(const struct usage_row *total)
{
    return permille(total->calls[LEDGER_ANSWERED], usage_row_calls(total));
}

unsigned report_relay_share(const struct report_view *v)
{
    uint64_t relayed = 0;

    for (unsigned p = 0; p < USAGE_PATH_COUNT; p++)
        if (usage_path_is_turn((enum usage_path)p))
            relayed += v->path[p].calls[LEDGER_ANSWERED];
    return permille(relayed, relayed + v->path[USAGE_P2P].calls[LEDGER_ANSWERED]);
}

unsigned report_ice_failures(const struct usage_row *total)
{
    return permille(total->ice_failed, total->calls[LEDGER_ANSWERED]);
}

const char *report_whatif_name(enum report_whatif_kind k)
{
    static const char *const names[REPORT_WHATIF_COUNT] = {"packet_length", "silence", "bitrate",
                                                           "relay_share_less", "relay_share_more"};

    return (unsigned)k < REPORT_WHATIF_COUNT ? names[k] : "";
}

const char *report_whatif_text(const struct report_view *v, enum report_whatif_kind k,
                               char out[REPORT_WHATIF_TEXT])
{
    const struct report_conf *c = v->conf;
    size_t n = REPORT_WHATIF_TEXT;

    if (k == REPORT_PACKETS)
        snprintf(out, n, "Voice in %u ms packets", (unsigned)c->ptime_ms);
    else if (k == REPORT_SILENCE)
        snprintf(out, n, "Silence not sent (%u %% of packets)", (unsigned)c->dtx_percent);
    else if (k == REPORT_BITRATE)
        snprintf(out, n, "Codec at %u.%u kbit/s", (unsigned)(c->bitrate / 1000),
                 (unsigned)(c->bitrate % 1000 / 100));
    else
        snprintf(out, n, "Relay share %u points %s", (unsigned)c->share_points,
                 k == REPORT_SHARE_LESS ? "lower" : "higher");
    return out;
}
