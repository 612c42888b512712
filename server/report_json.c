/* The report as JSON.
 *
 * Called by report_main.c. Texts of strangers go through json_write_text(); money is written as a
 * decimal number of the currency's units. Pure but for the file. SPDX-License-Identifier:
 * BSD-3-Clause */
#include "server/report_json.h"

#include <inttypes.h>
#include <time.h>

#include "base/crypto.h"
#include "proto/json.h"

#define SCHEMA     "usage-report/1"
#define TEXT_BYTES (6 * CONF_SECTION_NAME_MAX + 2) /* of any name, each byte escaped */

/* ---- values ---- */

static void put_text(FILE *f, const char *text)
{
    uint8_t buf[TEXT_BYTES];
    struct wr w = wr_init(buf, sizeof(buf));

    json_write_text(&w, slice_str(text));
    fprintf(f, "%.*s", SLICE_FMT(w.bad ? SLICE_LIT("\"\"") : wr_done(&w)));
}

static void put_day(FILE *f, const char *key, uint32_t day)
{
    uint8_t buf[USAGE_DAY_TEXT];
    struct wr w = wr_init(buf, sizeof(buf));

    usage_day_write(&w, day);
    fprintf(f, "\"%s\":\"%.*s\"", key, SLICE_FMT(wr_done(&w)));
}

static void put_money(FILE *f, const char *key, uint64_t nanos)
{
    uint8_t buf[32];
    struct wr w = wr_init(buf, sizeof(buf));

    tariff_write(&w, nanos);
    fprintf(f, "\"%s\":%.*s", key, SLICE_FMT(wr_done(&w)));
}

static void put_number(FILE *f, const char *key, uint64_t n)
{
    fprintf(f, "\"%s\":%" PRIu64, key, n);
}

/* Thousandths with three digits behind the point. */
static void put_milli(FILE *f, const char *key, unsigned milli)
{
    fprintf(f, "\"%s\":%u.%03u", key, milli / 1000, milli % 1000);
}

static void put_time(FILE *f, const char *key, uint64_t at_s)
{
    time_t s = (time_t)at_s;
    struct tm tm = {0};

    gmtime_r(&s, &tm);
    fprintf(f, "\"%s\":\"%04d-%02d-%02dT%02d:%02d:%02dZ\"", key, tm.tm_year + 1900, tm.tm_mon + 1,
            tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* ---- parts ---- */

static void put_traffic(FILE *f, const struct usage_traffic *t)
{
    fprintf(f,
            "\"traffic\":{\"up_packets\":%" PRIu64 ",\"up_bytes\":%" PRIu64
            ",\"down_packets\":%" PRIu64 ",\"down_bytes\":%" PRIu64 ",\"wire_in_bytes\":%" PRIu64
            ",\"wire_out_bytes\":%" PRIu64 "}",
            t->up_pkts, t->up_bytes, t->down_pkts, t->down_bytes, t->wire_in, t->wire_out);
}

static void put_mos(FILE *f, const struct usage_row *row)
{
    fputs("\"mos\":", f);
    if (row->mos_n == 0) {
        fputs("null", f);
        return;
    }
    fputc('{', f);
    put_number(f, "legs", row->mos_n);
    fputc(',', f);
    put_milli(f, "mean", usage_row_mos(row));
    fputc(',', f);
    put_milli(f, "p10", usage_row_mos_quantile(row, 100));
    fputc(',', f);
    put_milli(f, "p50", usage_row_mos_quantile(row, 500));
    fputc('}', f);
}

static void put_networks(FILE *f, const struct usage_row *row)
{
    const char *sep = "";

    fputs("\"networks\":{", f);
    for (unsigned i = 0; i < USAGE_NETWORK_COUNT; i++) {
        const struct usage_net *n = &row->net[i];
        if (n->legs == 0)
            continue;
        fprintf(f, "%s\"%s\":{", sep, usage_network_name((enum usage_network)i));
        put_number(f, "legs", n->legs);
        fputc(',', f);
        put_number(f, "ice_failed", n->ice_failed);
        fputc(',', f);
        if (n->mos_n > 0)
            put_milli(f, "mos_mean", usage_net_mos(n));
        else
            fputs("\"mos_mean\":null", f);
        fputc('}', f);
        sep = ",";
    }
    fputc('}', f);
}

/* The sums of a row, without its key. */
static void put_sums(FILE *f, const struct usage_row *row)
{
    fputs("\"calls\":{", f);
    for (unsigned o = 0; o < LEDGER_OUTCOME_COUNT; o++)
        fprintf(f, "%s\"%s\":%" PRIu64, o ? "," : "", ledger_outcome_name((enum ledger_outcome)o),
                row->calls[o]);
    fputs("},", f);
    put_number(f, "seconds", row->seconds);
    fputc(',', f);
    put_number(f, "ice_failed", row->ice_failed);
    fputc(',', f);
    put_number(f, "path_inferred", row->inferred);
    fputc(',', f);
    put_number(f, "allocations", row->allocations);
    fputc(',', f);
    put_number(f, "allocation_seconds", row->alloc_seconds);
    fputc(',', f);
    put_traffic(f, &row->traffic);
    fputc(',', f);
    put_number(f, "voice_packet_ms", usage_voice_ptime_ms(row->voice));
    fputc(',', f);
    put_mos(f, row);
    fputc(',', f);
    put_networks(f, row);
}

static void put_latency(FILE *f, const char *key, const struct usage_hist *h)
{
    fprintf(f, "\"%s\":", key);
    if (h->count == 0) {
        fputs("null", f);
        return;
    }
    fprintf(f,
            "{\"count\":%" PRIu64 ",\"p50_ms\":%" PRIu64 ",\"p95_ms\":%" PRIu64
            ",\"p99_ms\":%" PRIu64 "}",
            h->count, usage_hist_quantile(h, 500), usage_hist_quantile(h, 950),
            usage_hist_quantile(h, 990));
}

static void put_latencies(FILE *f, const struct usage_hist *pdd, const struct usage_hist *wake,
                          const struct usage_hist *answer)
{
    fputs("\"latency\":{", f);
    put_latency(f, "invite_to_ringing", pdd);
    fputc(',', f);
    put_latency(f, "push_to_ringing", wake);
    fputc(',', f);
    put_latency(f, "push_to_verdict", answer);
    fputc('}', f);
}

static void put_rows(FILE *f, const struct report_view *v, uint32_t day, size_t *at)
{
    const char *sep = "";

    fputs("\"rows\":[", f);
    for (; *at < v->rows_n && v->rows[*at].day == day; (*at)++) {
        const struct usage_row *row = &v->rows[*at];
        fprintf(f, "%s\n   {\"path\":\"%s\",\"region\":", sep, usage_path_name(row->path));
        put_text(f, row->region);
        fputs(",\"codec\":", f);
        put_text(f, row->codec);
        fputc(',', f);
        put_sums(f, row);
        fputc(',', f);
        put_money(f, "cost", v->row_nanos[*at]);
        fputc('}', f);
        sep = ",";
    }
    fputc(']', f);
}

static void put_pushes(FILE *f, const struct report_view *v, uint32_t day, size_t *at)
{
    const char *sep = "";

    fputs("\"pushes\":[", f);
    for (; *at < v->pushes_n && v->pushes[*at].day == day; (*at)++) {
        const struct usage_push_row *p = &v->pushes[*at];
        fprintf(f, "%s{\"kind\":", sep);
        put_text(f, p->kind);
        fprintf(f, ",\"status\":%u,\"reason\":", p->status);
        put_text(f, p->reason);
        fprintf(f, ",\"count\":%" PRIu64 "}", p->count);
        sep = ",";
    }
    fputc(']', f);
}

static void put_days(FILE *f, const struct report_view *v)
{
    size_t row = 0, push = 0;

    fputs("\"days\":[", f);
    for (size_t i = 0; i < v->days_n; i++) {
        const struct usage_day *d = &v->days[i];
        fprintf(f, "%s\n  {", i ? "," : "");
        put_day(f, "day", d->day);
        fprintf(f, ",\"archived\":%s,", d->archived ? "true" : "false");
        put_money(f, "cost", v->day_nanos[i]);
        fputc(',', f);
        put_latencies(f, &d->pdd, &d->wake, &d->answer);
        fputc(',', f);
        put_rows(f, v, d->day, &row);
        fputc(',', f);
        put_pushes(f, v, d->day, &push);
        fputc('}', f);
    }
    fputs("]", f);
}

static void put_totals(FILE *f, const struct report_view *v)
{
    fputs("\"totals\":{", f);
    put_sums(f, &v->total);
    fputc(',', f);
    put_milli(f, "answer_rate", report_answer_rate(&v->total));
    fputc(',', f);
    put_milli(f, "relay_share", report_relay_share(v));
    fputc(',', f);
    put_milli(f, "ice_failure_rate", report_ice_failures(&v->total));
    fprintf(f, ",\"pushes\":%" PRIu64 ",\"pushes_taken\":%" PRIu64 ",", v->pushes_all,
            v->pushes_taken);
    put_latencies(f, &v->pdd, &v->wake, &v->answer);
    fputs(",\"cost\":{", f);
    put_money(f, "traffic", v->traffic_nanos);
    fputc(',', f);
    put_money(f, "fixed", v->fixed_nanos);
    fputc(',', f);
    put_money(f, "all", v->traffic_nanos + v->fixed_nanos);
    fputs("}}", f);
}

static void put_paths(FILE *f, const struct report_view *v)
{
    fputs("\"paths\":[", f);
    for (unsigned p = 0; p < USAGE_PATH_COUNT; p++) {
        fprintf(f, "%s\n  {\"path\":\"%s\",", p ? "," : "", usage_path_name((enum usage_path)p));
        put_sums(f, &v->path[p]);
        fputc(',', f);
        put_money(f, "cost", v->path_nanos[p]);
        fputc('}', f);
    }
    fputc(']', f);
}

static void put_users(FILE *f, const struct report_view *v)
{
    fputs("\"users\":[", f);
    for (size_t i = 0; i < v->users_n; i++) {
        const struct usage_user *u = &v->users[i];
        uint8_t buf[2 * USAGE_USER_BYTES];
        struct wr w = wr_init(buf, sizeof(buf));
        hex_encode(&w, slice_of(u->hash, sizeof(u->hash)));
        fprintf(f,
                "%s{\"user\":\"%.*s\",\"relayed_bytes\":%" PRIu64 ",\"allocations\":%" PRIu64
                ",\"allocation_seconds\":%" PRIu64 "}",
                i ? "," : "", SLICE_FMT(wr_done(&w)), u->bytes, u->allocations, u->seconds);
    }
    fputc(']', f);
}

static void put_whatif(FILE *f, const struct report_view *v)
{
    char text[REPORT_WHATIF_TEXT];

    fputs("\"what_if\":[", f);
    for (unsigned k = 0; k < REPORT_WHATIF_COUNT; k++) {
        const struct report_whatif *w = &v->whatif[k];
        enum report_whatif_kind kind = (enum report_whatif_kind)k;
        fprintf(f, "%s\n  {\"name\":\"%s\",\"text\":\"%s\"", k ? "," : "", report_whatif_name(kind),
                report_whatif_text(v, kind, text));
        if (w->possible) {
            fprintf(f, ",\"wire_out_bytes\":%" PRIu64 ",", w->out_bytes);
            put_money(f, "cost", w->nanos);
        } else {
            fputs(",\"wire_out_bytes\":null,\"cost\":null", f);
        }
        fputc('}', f);
    }
    fputc(']', f);
}

static void put_inputs(FILE *f, const struct report_view *v)
{
    const struct report_inputs *in = v->inputs;
    const struct usage_skipped *s = usage_report_skipped(v->report);

    fprintf(f,
            "\"inputs\":{\"ledger\":%s,\"relay_files\":%" PRIu64 ",\"relay_records\":%" PRIu64
            ",\"archived_days\":%" PRIu64 ",\"skipped\":{\"damaged\":%" PRIu64
            ",\"version\":%" PRIu64 ",\"absurd\":%" PRIu64 ",\"future\":%" PRIu64
            ",\"outside\":%" PRIu64 ",\"archives\":%" PRIu64 "}}",
            in->ledger ? "true" : "false", in->files, in->lines, in->archived, in->damaged,
            in->version, in->absurd, s->future, s->outside, in->bad_archives);
}

void report_json(FILE *f, const struct report_view *v)
{
    fputs("{\"schema\":\"" SCHEMA "\",", f);
    put_time(f, "generated", v->now_s);
    fputc(',', f);
    put_day(f, "from", v->from);
    fputc(',', f);
    put_day(f, "to", v->to);
    fprintf(f, ",\"currency\":\"%s\",\n ", v->conf->currency);
    put_inputs(f, v);
    fputs(",\n ", f);
    put_totals(f, v);
    fputs(",\n ", f);
    put_paths(f, v);
    fputs(",\n ", f);
    put_whatif(f, v);
    fputs(",\n ", f);
    put_users(f, v);
    fputs(",\n ", f);
    put_days(f, v);
    fputs("}\n", f);
}
