/* The report as one HTML page.
 *
 * Called by report_main.c. Names of regions, codecs and reasons are strangers' texts: they go
 * through report_html_text(), and the page's policy allows no script and no address. Pure but for
 * the file. SPDX-License-Identifier: BSD-3-Clause */
#include "server/report_html.h"

#include <inttypes.h>

#include "base/crypto.h"
#include "server/report_svg.h"

static const char style[] =
    ":root{color-scheme:light dark;--bg:#f5f6f8;--card:#fff;--ink:#1c2330;--dim:#667085;"
    "--line:#e3e7ee;--bar:#eef1f5}"
    "@media(prefers-color-scheme:dark){:root{--bg:#12151b;--card:#1b2029;--ink:#e8ebf1;"
    "--dim:#98a2b3;--line:#2c3440;--bar:#252c37}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    "main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}"
    "h1{font-size:26px;line-height:1.2;margin:0}h2{font-size:16px;margin:0 0 12px}"
    "header p{margin:6px 0 22px;color:var(--dim)}"
    ".figures{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));"
    "margin-bottom:16px}"
    ".cards{display:grid;gap:16px;grid-template-columns:repeat(2,minmax(0,1fr))}"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px;"
    "min-width:0}.wide{grid-column:1/-1}"
    ".figures .card{padding:14px 16px}.figures b{display:block;font-size:24px;line-height:1.25;"
    "font-variant-numeric:tabular-nums;white-space:nowrap}.figures span,.note{color:var(--dim);"
    "font-size:13px}.note{margin:10px 0 0}"
    "svg{display:block;width:100%;height:auto}svg text{fill:var(--dim);font-size:17px}.wide svg "
    "text{font-size:12px}"
    ".g{stroke:var(--line);fill:none}"
    ".key{display:flex;flex-wrap:wrap;gap:4px 14px;margin:8px 0 0;font-size:13px;color:var(--dim)}"
    ".key i{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:6px}"
    ".c0{fill:#2f9e62;background:#2f9e62}.c1{fill:#3b7ddd;background:#3b7ddd}"
    ".c2{fill:#e08a2b;background:#e08a2b}.c3{fill:#8a63d2;background:#8a63d2}"
    ".c4{fill:#d1588f;background:#d1588f}.c5{fill:#24a3a8;background:#24a3a8}"
    ".c6{fill:#9aa4b2;background:#9aa4b2}.c7{fill:#d9534f;background:#d9534f}"
    ".scroll{overflow-x:auto;margin:0 -4px}table{border-collapse:collapse;width:100%;"
    "font-size:14px}th,td{padding:7px 10px 7px 4px;text-align:right;white-space:nowrap;"
    "border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}"
    "th{color:var(--dim);font-weight:500;font-size:13px}td:first-child,th:first-child,.l{"
    "text-align:left}tr:last-child td{border-bottom:0}"
    "td.name{max-width:260px;overflow:hidden;text-overflow:ellipsis}"
    ".bars{display:grid;gap:10px}.bars p{margin:0 0 3px;display:flex;justify-content:space-between;"
    "gap:10px}.bars span:last-child{white-space:nowrap}.bars div "
    "div{background:var(--bar);border-radius:5px;height:10px;overflow:hidden}"
    ".bars i{display:block;height:100%;border-radius:5px}"
    ".none{color:var(--dim);margin:20px 0}code{font-size:13px}"
    "@media(max-width:760px){main{padding:18px 12px 40px}.cards{grid-template-columns:minmax(0,"
    "1fr)}.card{padding:14px}svg text,.wide svg text{font-size:22px}h1{font-size:22px}.figures{"
    "grid-template-columns:repeat(2,minmax(0,1fr))}.figures b{font-size:20px}}"
    "@media print{body{background:#fff}.card{break-inside:avoid}}";

/* ---- values ---- */

static void put_count(FILE *f, uint64_t n)
{
    char digits[32];
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);

    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            fputs("\xe2\x80\xaf", f); /* a narrow space */
        fputc(digits[i], f);
    }
}

static void put_percent(FILE *f, unsigned permille)
{
    fprintf(f, "%u.%u\xc2\xa0%%", permille / 10, permille % 10);
}

static void put_bytes(FILE *f, uint64_t bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB"};
    double v = (double)bytes / 1000;
    size_t i = 0;

    while (v >= 1000 && i + 1 < ARRAY_LEN(units)) {
        v /= 1000;
        i++;
    }
    if (bytes == 0)
        fputs("\xe2\x80\x93", f);
    else
        fprintf(f, "%.*f\xc2\xa0%s", v < 10 ? 2 : v < 100 ? 1 : 0, v, units[i]);
}

static void put_money(FILE *f, const struct report_view *v, uint64_t nanos)
{
    fprintf(f, "%" PRIu64 ".%02" PRIu64 "\xc2\xa0%s", (nanos + TARIFF_UNIT / 200) / TARIFF_UNIT,
            (nanos + TARIFF_UNIT / 200) % TARIFF_UNIT / (TARIFF_UNIT / 100), v->conf->currency);
}

static void put_minutes(FILE *f, uint64_t seconds)
{
    put_count(f, (seconds + 30) / 60);
}

static void put_mos(FILE *f, unsigned milli)
{
    if (milli == 0)
        fputs("\xe2\x80\x93", f);
    else
        fprintf(f, "%u.%02u", milli / 1000, milli % 1000 / 10);
}

static void put_day(FILE *f, uint32_t day)
{
    uint8_t buf[USAGE_DAY_TEXT];
    struct wr w = wr_init(buf, sizeof(buf));

    usage_day_write(&w, day);
    fprintf(f, "%.*s", SLICE_FMT(wr_done(&w)));
}

static void put_name(FILE *f, const char *name)
{
    fputs("<td class=name>", f);
    report_html_text(f, name[0] ? name : "\xe2\x80\x93");
    fputs("</td>", f);
}

static void open_card(FILE *f, const char *class, const char *title)
{
    fprintf(f, "<section class=\"card %s\"><h2>%s</h2>", class, title);
}

static void close_card(FILE *f)
{
    fputs("</section>\n", f);
}

/* ---- figures ---- */

static void put_figures(FILE *f, const struct report_view *v)
{
    const struct usage_row *t = &v->total;

    fputs("<div class=figures><div class=card><b>", f);
    put_count(f, usage_row_calls(t));
    fputs("</b><span>calls</span></div><div class=card><b>", f);
    put_percent(f, report_answer_rate(t));
    fputs("</b><span>answered</span></div><div class=card><b>", f);
    put_minutes(f, t->seconds);
    fputs("</b><span>minutes talked</span></div><div class=card><b>", f);
    put_percent(f, report_relay_share(v));
    fputs("</b><span>of calls over a relay</span></div><div class=card><b>", f);
    put_bytes(f, t->traffic.wire_out);
    fputs("</b><span>sent by relays</span></div><div class=card><b>", f);
    put_money(f, v, v->traffic_nanos + v->fixed_nanos);
    fputs("</b><span>traffic ", f);
    put_money(f, v, v->traffic_nanos);
    fputs(", fixed ", f);
    put_money(f, v, v->fixed_nanos);
    fputs("</span></div><div class=card><b>", f);
    put_percent(f, report_ice_failures(t));
    fputs("</b><span>answered, but no media</span></div><div class=card><b>", f);
    put_mos(f, usage_row_mos(t));
    fputs("</b><span>mean MOS, a tenth below ", f);
    put_mos(f, usage_row_mos_quantile(t, 100));
    fputs("</span></div></div>\n", f);
}

/* ---- charts by day ---- */

/* What a chart shows of the rows of a day. */
struct by_day {
    const struct report_view *v;
    enum { MINUTES, GIGABYTES, COST } what;
};

static uint32_t day_at(const struct report_view *v, size_t i)
{
    return v->from + (uint32_t)i;
}

static void day_label(void *arg, size_t i, struct wr *w)
{
    const struct by_day *b = arg;
    uint8_t buf[USAGE_DAY_TEXT];
    struct wr day = wr_init(buf, sizeof(buf));

    usage_day_write(&day, day_at(b->v, i));
    wr_bytes(w, slice_sub(wr_done(&day), 5, USAGE_DAY_TEXT));
}

static double amount(const struct by_day *b, size_t row)
{
    const struct usage_row *r = &b->v->rows[row];

    return b->what == MINUTES     ? (double)r->seconds / 60
           : b->what == GIGABYTES ? (double)r->traffic.wire_out / 1e9
                                  : (double)b->v->row_nanos[row] / (double)TARIFF_UNIT;
}

/* Rows are sorted by day: the first one that is not before it. */
static size_t first_of(const struct report_view *v, uint32_t day)
{
    size_t low = 0, high = v->rows_n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (v->rows[mid].day < day)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static double day_value(void *arg, size_t i, unsigned series)
{
    const struct by_day *b = arg;
    const struct report_view *v = b->v;
    uint32_t day = day_at(v, i);
    double sum = 0;

    for (size_t k = first_of(v, day); k < v->rows_n && v->rows[k].day == day; k++)
        if (b->what == COST || v->rows[k].path == (enum usage_path)series)
            sum += amount(b, k);
    return sum;
}

static void put_by_path(FILE *f, struct by_day *b, const char *title, const char *unit)
{
    struct report_chart c = {.title = title,
                             .unit = unit,
                             .n = b->v->to - b->v->from + 1,
                             .label = day_label,
                             .value = day_value,
                             .arg = b,
                             .series = USAGE_PATH_COUNT};

    for (unsigned p = 0; p < USAGE_PATH_COUNT; p++) {
        c.names[p] = usage_path_name((enum usage_path)p);
        c.classes[p] = p;
    }
    if (b->what == COST) {
        c.series = 1;
        c.names[0] = "traffic";
        c.classes[0] = 1;
    }
    open_card(f, b->what == MINUTES ? "wide" : "", title);
    report_svg(f, &c);
    close_card(f);
}

/* ---- bars ---- */

static void put_bar(FILE *f, uint64_t n, uint64_t of, unsigned class)
{
    double percent = of == 0 ? 0 : 100.0 * (double)n / (double)of;

    fprintf(f, "<div><i class=c%u style=\"width:%.2f%%\"></i></div>", class,
            percent > 100 ? 100 : percent);
}

static void put_outcomes(FILE *f, const struct report_view *v)
{
    static const unsigned classes[LEDGER_OUTCOME_COUNT] = {0, 2, 4, 3, 6, 7, 5};
    uint64_t all = usage_row_calls(&v->total);

    open_card(f, "", "How calls ended");
    fputs("<div class=bars>", f);
    for (unsigned o = 0; o < LEDGER_OUTCOME_COUNT; o++) {
        fprintf(f, "<div><p><span>%s</span><span>", ledger_outcome_name((enum ledger_outcome)o));
        put_count(f, v->total.calls[o]);
        fputs("</span></p>", f);
        put_bar(f, v->total.calls[o], all, classes[o]);
        fputs("</div>", f);
    }
    fputs("</div>", f);
    close_card(f);
}

static void put_whatif(FILE *f, const struct report_view *v)
{
    uint64_t most = v->traffic_nanos, most_bytes = v->total.traffic.wire_out;
    char text[REPORT_WHATIF_TEXT];

    for (unsigned k = 0; k < REPORT_WHATIF_COUNT; k++) {
        if (v->whatif[k].nanos > most)
            most = v->whatif[k].nanos;
        if (v->whatif[k].out_bytes > most_bytes)
            most_bytes = v->whatif[k].out_bytes;
    }
    open_card(f, "", "What if");
    fputs("<div class=bars><div><p><span>As it is</span><span>", f);
    put_bytes(f, v->total.traffic.wire_out);
    fputs(" \xc2\xb7 ", f);
    put_money(f, v, v->traffic_nanos);
    fputs("</span></p>", f);
    put_bar(f, v->total.traffic.wire_out, most_bytes, 1);
    fputs("</div>", f);
    for (unsigned k = 0; k < REPORT_WHATIF_COUNT; k++) {
        const struct report_whatif *w = &v->whatif[k];
        fprintf(f, "<div><p><span>%s</span><span>",
                report_whatif_text(v, (enum report_whatif_kind)k, text));
        if (w->possible) {
            put_bytes(f, w->out_bytes);
            fputs(" \xc2\xb7 ", f);
            put_money(f, v, w->nanos);
        } else {
            fputs("nothing is known to change", f);
        }
        fputs("</span></p>", f);
        put_bar(f, w->out_bytes, most_bytes, w->out_bytes > v->total.traffic.wire_out ? 2 : 0);
        fputs("</div>", f);
    }
    fputs("</div><p class=note>What relays would have sent, and what that traffic would have cost. "
          "Packets of voice only; video stays as it is.</p>",
          f);
    close_card(f);
}

/* ---- tables ---- */

static void put_sums(FILE *f, const struct report_view *v, const struct usage_row *row,
                     uint64_t nanos)
{
    fputs("<td>", f);
    put_count(f, row->calls[LEDGER_ANSWERED]);
    fputs("<td>", f);
    put_minutes(f, row->seconds);
    fputs("<td>", f);
    put_count(f, row->ice_failed);
    fputs("<td>", f);
    put_bytes(f, row->traffic.wire_in);
    fputs("<td>", f);
    put_bytes(f, row->traffic.wire_out);
    fputs("<td>", f);
    put_mos(f, usage_row_mos(row));
    fputs("<td>", f);
    if (nanos == 0)
        fputs("\xe2\x80\x93", f);
    else
        put_money(f, v, nanos);
    fputs("</tr>", f);
}

static void put_head(FILE *f, const char *first)
{
    fprintf(f,
            "<div class=scroll><table><thead><tr><th>%s<th>Answered<th>Minutes<th>No media<th>In"
            "<th>Out<th>MOS<th>Traffic cost</tr></thead><tbody>",
            first);
}

static void put_paths(FILE *f, const struct report_view *v)
{
    open_card(f, "wide", "By path");
    put_head(f, "Path");
    for (unsigned p = 0; p < USAGE_PATH_COUNT; p++) {
        fprintf(f, "<tr><td>%s", usage_path_name((enum usage_path)p));
        put_sums(f, v, &v->path[p], v->path_nanos[p]);
    }
    fputs("</tbody></table></div>", f);
    if (v->total.inferred > 0) {
        fputs("<p class=note>p2p: of ", f);
        put_count(f, v->total.inferred);
        fputs(" answered calls nobody told the path, and no relay carried them.</p>", f);
    }
    fputs("<p class=note>In and out are bytes on the network: the relays' payload with estimated "
          "headers.</p>",
          f);
    close_card(f);
}

/* Sums of all rows with one region, or one codec, in the order in which they first come. */
static void put_by_name(FILE *f, const struct report_view *v, bool codec)
{
    open_card(f, "wide", codec ? "By codec" : "By region");
    put_head(f, codec ? "Codec" : "Region");
    for (size_t i = 0; i < v->rows_n; i++) {
        const char *name = codec ? v->rows[i].codec : v->rows[i].region;
        struct usage_row sum = {0};
        uint64_t nanos = 0;
        bool seen = false;
        for (size_t k = 0; k < v->rows_n && !seen; k++) {
            if ((codec ? v->rows[k].codec : v->rows[k].region) != name)
                continue;
            seen = k < i;
            usage_row_add(&sum, &v->rows[k]);
            nanos += v->row_nanos[k];
        }
        if (seen)
            continue;
        fputs("<tr>", f);
        put_name(f, name);
        put_sums(f, v, &sum, nanos);
    }
    fputs("</tbody></table></div>", f);
    close_card(f);
}

/* What devices were connected by, as far as they told. */
static void put_networks(FILE *f, const struct report_view *v)
{
    uint64_t legs = 0;

    for (unsigned i = 0; i < USAGE_NETWORK_COUNT; i++)
        legs += v->total.net[i].legs;
    if (legs == 0)
        return;
    open_card(f, "", "By network");
    fputs("<div class=scroll><table><thead><tr><th>Network<th>Ends of calls<th>No media<th>MOS</tr>"
          "</thead><tbody>",
          f);
    for (unsigned i = 0; i < USAGE_NETWORK_COUNT; i++) {
        const struct usage_net *n = &v->total.net[i];
        if (n->legs == 0)
            continue;
        fprintf(f, "<tr><td>%s<td>", usage_network_name((enum usage_network)i));
        put_count(f, n->legs);
        fputs("<td>", f);
        put_count(f, n->ice_failed);
        fputs("<td>", f);
        put_mos(f, usage_net_mos(n));
        fputs("</tr>", f);
    }
    fputs("</tbody></table></div>", f);
    close_card(f);
}

static void put_latency_row(FILE *f, const char *name, const struct usage_hist *h)
{
    fprintf(f, "<tr><td>%s<td>", name);
    put_count(f, h->count);
    for (unsigned i = 0; i < 3; i++) {
        static const unsigned permille[] = {500, 950, 990};
        fputs("<td>", f);
        if (h->count == 0)
            fputs("\xe2\x80\x93", f);
        else
            fprintf(f, "%" PRIu64 "\xc2\xa0ms", usage_hist_quantile(h, permille[i]));
    }
    fputs("</tr>", f);
}

static void put_latency(FILE *f, const struct report_view *v)
{
    open_card(f, "", "How soon it rings");
    fputs("<div class=scroll><table><thead><tr><th>From, to<th>Calls<th>p50<th>p95<th>p99</tr>"
          "</thead><tbody>",
          f);
    put_latency_row(f, "invite to ringing", &v->pdd);
    put_latency_row(f, "push to ringing", &v->wake);
    put_latency_row(f, "push to verdict", &v->answer);
    fputs("</tbody></table></div>", f);
    close_card(f);
}

static bool same_push(const struct usage_push_row *a, const struct usage_push_row *b)
{
    return a->kind == b->kind && a->status == b->status && a->reason == b->reason;
}

static void put_pushes(FILE *f, const struct report_view *v)
{
    open_card(f, "", "Pushes");
    if (v->pushes_n == 0)
        fputs("<p class=none>None in these days.</p>", f);
    else
        fputs("<div class=scroll><table><thead><tr><th>Kind<th>Status<th class=l>Reason<th>Pushes"
              "</tr></thead><tbody>",
              f);
    for (size_t i = 0; i < v->pushes_n; i++) {
        uint64_t n = 0;
        bool seen = false;
        for (size_t k = 0; k < v->pushes_n && !seen; k++) {
            if (!same_push(&v->pushes[i], &v->pushes[k]))
                continue;
            seen = k < i;
            n += v->pushes[k].count;
        }
        if (seen)
            continue;
        fputs("<tr>", f);
        put_name(f, v->pushes[i].kind);
        fprintf(f, "<td>%u", v->pushes[i].status);
        fputs("<td class=\"name l\">", f);
        report_html_text(f, v->pushes[i].reason);
        fputs("</td><td>", f);
        put_count(f, n);
        fputs("</tr>", f);
    }
    fputs(v->pushes_n ? "</tbody></table></div>" : "", f);
    close_card(f);
}

static void mos_label(void *arg, size_t i, struct wr *w)
{
    (void)arg;
    wr_fmt(w, "%u.%u", 1 + (unsigned)i / 10, (unsigned)i % 10);
}

static double mos_value(void *arg, size_t i, unsigned series)
{
    const struct report_view *v = arg;

    return (double)v->path[series].mos[i];
}

static void put_mos_chart(FILE *f, struct report_view *v)
{
    struct report_chart c = {.title = "Quality (MOS) of call legs by path",
                             .unit = "legs",
                             .n = USAGE_MOS_BUCKETS,
                             .label = mos_label,
                             .value = mos_value,
                             .arg = v,
                             .series = USAGE_PATH_COUNT};

    for (unsigned p = 0; p < USAGE_PATH_COUNT; p++) {
        c.names[p] = usage_path_name((enum usage_path)p);
        c.classes[p] = p;
    }
    open_card(f, "", "Quality (MOS) of call legs");
    report_svg(f, &c);
    close_card(f);
}

static void put_users(FILE *f, const struct report_view *v)
{
    open_card(f, "wide", "Users with most relayed bytes");
    if (v->users_n == 0)
        fputs("<p class=none>The records name none.</p>", f);
    else
        fputs("<div class=scroll><table><thead><tr><th>User (hashed)<th>Payload<th>Allocations"
              "<th>Minutes</tr></thead><tbody>",
              f);
    for (size_t i = 0; i < v->users_n; i++) {
        uint8_t buf[2 * USAGE_USER_BYTES];
        struct wr w = wr_init(buf, sizeof(buf));
        hex_encode(&w, slice_of(v->users[i].hash, USAGE_USER_BYTES));
        fprintf(f, "<tr><td><code>%.*s</code><td>", SLICE_FMT(wr_done(&w)));
        put_bytes(f, v->users[i].bytes);
        fputs("<td>", f);
        put_count(f, v->users[i].allocations);
        fputs("<td>", f);
        put_minutes(f, v->users[i].seconds);
        fputs("</tr>", f);
    }
    fputs(v->users_n ? "</tbody></table></div>" : "", f);
    close_card(f);
}

static void put_wire(FILE *f)
{
    static const struct {
        unsigned kbps, ptime_ms;
    } rows[] = {{12, 20}, {20, 20}, {24, 20}, {32, 20}, {20, 40}, {20, 60}};

    open_card(f, "", "What voice weighs on a relay");
    fputs("<div class=scroll><table><thead><tr><th>Opus<th>One way<th>Headers<th>Sent a minute"
          "</tr></thead><tbody>",
          f);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t bps = 1000 * (uint64_t)rows[i].kbps;
        uint64_t wire = usage_wire_bps(bps, rows[i].ptime_ms);
        fprintf(f, "<tr><td>%u kbit/s, %u ms<td>%" PRIu64 ".%" PRIu64 " kbit/s<td>", rows[i].kbps,
                rows[i].ptime_ms, wire / 1000, wire % 1000 / 100);
        put_percent(f, usage_wire_overhead_permille(bps, rows[i].ptime_ms));
        fprintf(f, "<td>%" PRIu64 " kB</tr>", usage_wire_bytes_min(bps, rows[i].ptime_ms) / 1000);
    }
    fputs("</tbody></table></div>", f);
    close_card(f);
}

static void put_foot(FILE *f, const struct report_view *v)
{
    const struct report_inputs *in = v->inputs;
    const struct usage_skipped *s = usage_report_skipped(v->report);

    fputs("<p class=note>Made from ", f);
    put_count(f, in->lines);
    fprintf(f, " records of relays, %s, and ", in->ledger ? "a ledger" : "no ledger");
    put_count(f, in->archived);
    fputs(" archived days. Left out: ", f);
    put_count(f, in->damaged + in->version + in->absurd);
    fputs(" lines, ", f);
    put_count(f, s->future + s->outside);
    fputs(" records, ", f);
    put_count(f, in->bad_archives);
    fputs(" archived days. Days are UTC.</p>", f);
}

void report_html(FILE *f, const struct report_view *view)
{
    struct report_view v = *view;
    struct by_day minutes = {&v, MINUTES}, gigabytes = {&v, GIGABYTES}, cost = {&v, COST};

    fputs("<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
          "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src "
          "'unsafe-inline'\"><meta name=viewport content=\"width=device-width,initial-scale=1\">"
          "<meta name=referrer content=no-referrer><title>Usage ",
          f);
    put_day(f, v.from);
    fprintf(f, "</title><style>%s</style></head>\n<body><main><header><h1>Usage and cost</h1><p>",
            style);
    put_day(f, v.from);
    if (v.to != v.from) {
        fputs(" to ", f);
        put_day(f, v.to);
    }
    fputs("</p></header>\n", f);
    put_figures(f, &v);
    fputs("<div class=cards>\n", f);
    put_by_path(f, &minutes, "Minutes a day by path", "minutes");
    put_by_path(f, &gigabytes, "Gigabytes that relays sent a day", "GB");
    put_by_path(f, &cost, "Cost of traffic a day", v.conf->currency);
    put_outcomes(f, &v);
    put_whatif(f, &v);
    put_paths(f, &v);
    put_by_name(f, &v, false);
    put_by_name(f, &v, true);
    put_networks(f, &v);
    put_latency(f, &v);
    put_pushes(f, &v);
    put_mos_chart(f, &v);
    put_wire(f);
    put_users(f, &v);
    fputs("</div>\n", f);
    put_foot(f, &v);
    fputs("</main></body></html>\n", f);
}
