/* The report's sums for Prometheus.
 *
 * Called by report_main.c. Gauges, not counters: each report is of its own days. Pure but for the
 * file. SPDX-License-Identifier: BSD-3-Clause */
#include "server/report_prom.h"

#include <inttypes.h>

static void head(FILE *f, const char *name, const char *help)
{
    fprintf(f, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

/* A label's value: backslash, quote and line's end are escaped. */
static void put_label(FILE *f, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '\n')
            fputs("\\n", f);
        else if (*p == '\\' || *p == '"')
            fprintf(f, "\\%c", *p);
        else
            fputc(*p, f);
    }
}

static void put_money(FILE *f, uint64_t nanos)
{
    uint8_t buf[32];
    struct wr w = wr_init(buf, sizeof(buf));

    tariff_write(&w, nanos);
    fprintf(f, "%.*s\n", SLICE_FMT(wr_done(&w)));
}

static void put_calls(FILE *f, const struct report_view *v)
{
    head(f, "sori_usage_calls", "Calls of the report's days by path and outcome.");
    for (unsigned p = 0; p < USAGE_PATH_COUNT; p++)
        for (unsigned o = 0; o < LEDGER_OUTCOME_COUNT; o++)
            if (v->path[p].calls[o] > 0)
                fprintf(f, "sori_usage_calls{path=\"%s\",outcome=\"%s\"} %" PRIu64 "\n",
                        usage_path_name((enum usage_path)p),
                        ledger_outcome_name((enum ledger_outcome)o), v->path[p].calls[o]);
    head(f, "sori_usage_talk_seconds", "Time talked, by path.");
    for (unsigned p = 0; p < USAGE_PATH_COUNT; p++)
        fprintf(f, "sori_usage_talk_seconds{path=\"%s\"} %" PRIu64 "\n",
                usage_path_name((enum usage_path)p), v->path[p].seconds);
    head(f, "sori_usage_ice_failed_calls", "Calls whose media could not flow.");
    fprintf(f, "sori_usage_ice_failed_calls %" PRIu64 "\n", v->total.ice_failed);
}

/* Sums of the rows of one region, from row i on; false: an earlier row had that region. */
static bool region_sum(const struct report_view *v, size_t i, struct usage_row *sum,
                       uint64_t *nanos)
{
    *sum = (struct usage_row){0};
    *nanos = 0;
    for (size_t k = 0; k < v->rows_n; k++) {
        if (v->rows[k].region != v->rows[i].region)
            continue;
        if (k < i)
            return false;
        usage_row_add(sum, &v->rows[k]);
        *nanos += v->row_nanos[k];
    }
    return true;
}

static void put_regions(FILE *f, const struct report_view *v)
{
    struct usage_row sum;
    uint64_t nanos;

    head(f, "sori_usage_relay_bytes", "Bytes of relays on the network (estimated), by region.");
    for (size_t i = 0; i < v->rows_n; i++) {
        if (!region_sum(v, i, &sum, &nanos))
            continue;
        const uint64_t bytes[] = {sum.traffic.wire_in, sum.traffic.wire_out};
        for (unsigned d = 0; d < ARRAY_LEN(bytes); d++) {
            fputs("sori_usage_relay_bytes{region=\"", f);
            put_label(f, v->rows[i].region);
            fprintf(f, "\",direction=\"%s\"} %" PRIu64 "\n", d == 0 ? "in" : "out", bytes[d]);
        }
    }
    head(f, "sori_usage_cost",
         "Price of relays' traffic by region, and of the months' fixed costs.");
    for (size_t i = 0; i < v->rows_n; i++) {
        if (!region_sum(v, i, &sum, &nanos))
            continue;
        fputs("sori_usage_cost{kind=\"traffic\",region=\"", f);
        put_label(f, v->rows[i].region);
        fprintf(f, "\",currency=\"%s\"} ", v->conf->currency);
        put_money(f, nanos);
    }
    fprintf(f, "sori_usage_cost{kind=\"fixed\",region=\"\",currency=\"%s\"} ", v->conf->currency);
    put_money(f, v->fixed_nanos);
}

void report_prom(FILE *f, const struct report_view *v)
{
    head(f, "sori_usage_days", "Days that the report is of.");
    fprintf(f, "sori_usage_days %" PRIu32 "\n", v->to - v->from + 1);
    head(f, "sori_usage_made_timestamp_seconds", "When the report was made.");
    fprintf(f, "sori_usage_made_timestamp_seconds %" PRIu64 "\n", v->now_s);
    put_calls(f, v);
    put_regions(f, v);
}
