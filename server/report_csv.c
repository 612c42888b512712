/* The report as CSV.
 *
 * Called by report_main.c. Pure but for the file. SPDX-License-Identifier: BSD-3-Clause */
#include "server/report_csv.h"

#include <inttypes.h>
#include <string.h>

void report_csv_text(FILE *f, const char *text)
{
    bool formula = text[0] != '\0' && strchr("=+-@\t\r", text[0]);
    bool quote = formula || strpbrk(text, ",\"\r\n") || text[0] == ' ';

    if (!quote) {
        fputs(text, f);
        return;
    }
    fputs(formula ? "\"'" : "\"", f);
    for (const char *p = text; *p; p++) {
        if (*p == '"')
            fputc('"', f);
        fputc(*p, f);
    }
    fputc('"', f);
}

static void put_network(FILE *f, const struct usage_net *n)
{
    unsigned mos = usage_net_mos(n);

    fprintf(f, ",%" PRIu64 ",%" PRIu64 ",", n->legs, n->ice_failed);
    if (mos > 0)
        fprintf(f, "%u.%03u", mos / 1000, mos % 1000);
}

static void put_row(FILE *f, const struct usage_row *row, uint64_t nanos)
{
    const struct usage_traffic *t = &row->traffic;
    uint8_t day[USAGE_DAY_TEXT], money[32];
    struct wr d = wr_init(day, sizeof(day)), m = wr_init(money, sizeof(money));

    usage_day_write(&d, row->day);
    tariff_write(&m, nanos);
    fprintf(f, "%.*s,%s,", SLICE_FMT(wr_done(&d)), usage_path_name(row->path));
    report_csv_text(f, row->region);
    fputc(',', f);
    report_csv_text(f, row->codec);
    for (unsigned o = 0; o < LEDGER_OUTCOME_COUNT; o++)
        fprintf(f, ",%" PRIu64, row->calls[o]);
    fprintf(f,
            ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
            ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%u",
            row->seconds, row->ice_failed, row->allocations, row->alloc_seconds, t->up_pkts,
            t->up_bytes, t->down_pkts, t->down_bytes, t->wire_in, t->wire_out,
            usage_voice_ptime_ms(row->voice));
    if (row->mos_n > 0)
        fprintf(f, ",%u.%03u", usage_row_mos(row) / 1000, usage_row_mos(row) % 1000);
    else
        fputc(',', f);
    fprintf(f, ",%.*s", SLICE_FMT(wr_done(&m)));
    for (unsigned i = 0; i < USAGE_NETWORK_COUNT; i++)
        put_network(f, &row->net[i]);
    fputs("\r\n", f);
}

void report_csv(FILE *f, const struct report_view *v)
{
    fputs("day,path,region,codec", f);
    for (unsigned o = 0; o < LEDGER_OUTCOME_COUNT; o++)
        fprintf(f, ",%s", ledger_outcome_name((enum ledger_outcome)o));
    fputs(",seconds,ice_failed,allocations,allocation_seconds,up_packets,up_bytes,down_packets,"
          "down_bytes,wire_in_bytes,wire_out_bytes,voice_packet_ms,mos_mean,",
          f);
    fprintf(f, "cost_%s", v->conf->currency);
    for (unsigned i = 0; i < USAGE_NETWORK_COUNT; i++) {
        const char *name = usage_network_name((enum usage_network)i);
        fprintf(f, ",%s_legs,%s_ice_failed,%s_mos_mean", name, name, name);
    }
    fputs("\r\n", f);
    for (size_t i = 0; i < v->rows_n; i++)
        put_row(f, &v->rows[i], v->row_nanos[i]);
}
