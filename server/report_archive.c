/* The sums of one day as lines of JSON, and back.
 *
 * Called by report_main.c. A file is looked through before anything of it is used. Pure but for the
 * file. SPDX-License-Identifier: BSD-3-Clause */
#include "server/report_archive.h"

#include <errno.h>
#include <inttypes.h>

#include "proto/json.h"

#define SCHEMA     "usage-day/1"
#define NUMBER_MAX (UINT64_C(1) << 53)
#define TEXT_BYTES (6 * USAGE_NAME_MAX + 2)

/* The numbers of a row, by name and place. */
struct number {
    const char *key;
    size_t offset;
};
#define NUMBER(key, member)                     \
    {                                           \
        key, offsetof(struct usage_row, member) \
    }
static const struct number numbers[] = {
    NUMBER("answered", calls[LEDGER_ANSWERED]),
    NUMBER("missed", calls[LEDGER_MISSED]),
    NUMBER("declined", calls[LEDGER_DECLINED]),
    NUMBER("busy", calls[LEDGER_BUSY]),
    NUMBER("cancelled", calls[LEDGER_CANCELLED]),
    NUMBER("failed", calls[LEDGER_FAILED]),
    NUMBER("unreachable", calls[LEDGER_UNREACHABLE]),
    NUMBER("seconds", seconds),
    NUMBER("ice_failed", ice_failed),
    NUMBER("inferred", inferred),
    NUMBER("allocations", allocations),
    NUMBER("allocation_seconds", alloc_seconds),
    NUMBER("up_packets", traffic.up_pkts),
    NUMBER("up_bytes", traffic.up_bytes),
    NUMBER("down_packets", traffic.down_pkts),
    NUMBER("down_bytes", traffic.down_bytes),
    NUMBER("wire_in_bytes", traffic.wire_in),
    NUMBER("wire_out_bytes", traffic.wire_out),
    NUMBER("voice_seconds", voice.seconds),
    NUMBER("voice_packets", voice.pkts),
    NUMBER("voice_bytes", voice.bytes),
    NUMBER("mos_legs", mos_n),
    NUMBER("mos_milli", mos_milli),
};
enum { PATH = ARRAY_LEN(numbers), REGION, CODEC, MOS, NETWORKS, ROW_FIELDS };
_Static_assert(ROW_FIELDS <= JSON_FIELDS_MAX, "a row's fields are read in one call");

enum { HIST_PDD, HIST_WAKE, HIST_ANSWER, HIST_COUNT };
static const char *const hists[HIST_COUNT] = {"invite_to_ringing", "push_to_ringing",
                                              "push_to_verdict"};

static uint64_t *number_of(struct usage_row *row, size_t i)
{
    return (uint64_t *)(void *)((char *)row + numbers[i].offset);
}

static struct usage_hist *hist_of(struct usage_day *d, unsigned i)
{
    return i == HIST_PDD ? &d->pdd : i == HIST_WAKE ? &d->wake : &d->answer;
}

/* ---- writing ---- */

static void put_text(FILE *f, const char *key, const char *text)
{
    uint8_t buf[TEXT_BYTES];
    struct wr w = wr_init(buf, sizeof(buf));

    json_write_text(&w, slice_str(text));
    fprintf(f, ",\"%s\":%.*s", key, SLICE_FMT(w.bad ? SLICE_LIT("\"\"") : wr_done(&w)));
}

/* [[at,count], …] of those that are not 0. */
static void put_pairs(FILE *f, const uint64_t *n, unsigned count, uint64_t (*at)(unsigned))
{
    const char *sep = "";

    fputc('[', f);
    for (unsigned i = 0; i < count; i++) {
        if (n[i] == 0)
            continue;
        fprintf(f, "%s[%" PRIu64 ",%" PRIu64 "]", sep, at(i), n[i]);
        sep = ",";
    }
    fputc(']', f);
}

static uint64_t tenth(unsigned i)
{
    return i;
}

/* [[network,legs,ice_failed,judged,mos_milli], …] of those that have legs. */
static void put_networks(FILE *f, const struct usage_row *row)
{
    const char *sep = "";

    for (unsigned i = 0; i < USAGE_NETWORK_COUNT; i++) {
        const struct usage_net *n = &row->net[i];
        if (n->legs == 0)
            continue;
        fprintf(f, "%s[\"%s\",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]", sep,
                usage_network_name((enum usage_network)i), n->legs, n->ice_failed, n->mos_n,
                n->mos_milli);
        sep = ",";
    }
}

static void put_row(FILE *f, const struct usage_row *row)
{
    struct usage_row copy = *row;

    fprintf(f, "{\"kind\":\"row\",\"path\":\"%s\"", usage_path_name(row->path));
    put_text(f, "region", row->region);
    put_text(f, "codec", row->codec);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        fprintf(f, ",\"%s\":%" PRIu64, numbers[i].key, *number_of(&copy, i));
    fputs(",\"mos\":", f);
    put_pairs(f, row->mos, USAGE_MOS_BUCKETS, tenth);
    fputs(",\"networks\":[", f);
    put_networks(f, row);
    fputs("]}\n", f);
}

static void put_push(FILE *f, const struct usage_push_row *p)
{
    fputs("{\"kind\":\"push\"", f);
    put_text(f, "push", p->kind);
    fprintf(f, ",\"status\":%u", p->status);
    put_text(f, "reason", p->reason);
    fprintf(f, ",\"count\":%" PRIu64 "}\n", p->count);
}

void report_archive_write(FILE *f, const struct report_view *v, size_t i)
{
    struct usage_day d = v->days[i];
    uint8_t text[USAGE_DAY_TEXT];
    struct wr w = wr_init(text, sizeof(text));
    uint64_t lines = 1;

    usage_day_write(&w, d.day);
    fprintf(f, "{\"schema\":\"" SCHEMA "\",\"day\":\"%.*s\",\"detail\":%" PRIu64 "}\n",
            SLICE_FMT(wr_done(&w)), d.detail);
    for (size_t k = 0; k < v->rows_n; k++) {
        if (v->rows[k].day != d.day)
            continue;
        put_row(f, &v->rows[k]);
        lines++;
    }
    for (size_t k = 0; k < v->pushes_n; k++) {
        if (v->pushes[k].day != d.day)
            continue;
        put_push(f, &v->pushes[k]);
        lines++;
    }
    for (unsigned k = 0; k < HIST_COUNT; k++) {
        fprintf(f, "{\"kind\":\"latency\",\"of\":\"%s\",\"buckets\":", hists[k]);
        put_pairs(f, hist_of(&d, k)->n, USAGE_HIST_BUCKETS, usage_hist_floor);
        fputs("}\n", f);
        lines++;
    }
    fprintf(f, "{\"kind\":\"end\",\"lines\":%" PRIu64 "}\n", lines);
}

/* ---- reading ---- */

/* Where the lines of a day go: nowhere while it is looked through. */
struct reading {
    struct usage_report *report;
    struct usage_day day; /* what is of the day as a whole */
    uint64_t lines;
    bool ended;
};

static const struct json_limits limits = {.depth = 4, .values = 1024, .bytes = 65536};

/* A name, NUL ended. */
static bool read_name(struct slice value, char out[USAGE_NAME_MAX + 1])
{
    uint8_t buf[USAGE_NAME_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice text;

    return json_text(value, &text, &w) && slice_to_cstr(text, out, USAGE_NAME_MAX + 1) == 0;
}

static bool read_pair(struct slice value, uint64_t *at, uint64_t *n)
{
    struct json_items it = json_items(value);
    struct slice a, b;

    return json_items_count(value) == 2 && json_items_next(&it, &a) && json_items_next(&it, &b) &&
           json_u64(a, NUMBER_MAX, at) && json_u64(b, NUMBER_MAX, n);
}

static bool read_mos(struct slice value, struct usage_row *row)
{
    struct json_items it = json_items(value);
    struct slice pair;
    uint64_t at, n;

    if (json_kind_of(value) != JSON_KIND_ARRAY)
        return false;
    while (json_items_next(&it, &pair)) {
        if (!read_pair(pair, &at, &n) || at >= USAGE_MOS_BUCKETS)
            return false;
        row->mos[at] = n;
    }
    return true;
}

static bool read_network(struct slice value, struct usage_row *row)
{
    struct json_items it = json_items(value);
    char name[USAGE_NAME_MAX + 1];
    struct slice v;
    uint64_t n[4];

    if (json_items_count(value) != 1 + ARRAY_LEN(n) || !json_items_next(&it, &v) ||
        !read_name(v, name))
        return false;
    enum usage_network at = usage_network_parse(slice_str(name));
    for (size_t i = 0; i < ARRAY_LEN(n); i++)
        if (!json_items_next(&it, &v) || !json_u64(v, NUMBER_MAX, &n[i]))
            return false;
    if (at != USAGE_NETWORK_UNKNOWN)
        row->net[at] = (struct usage_net){n[0], n[1], n[2], n[3]};
    return true;
}

/* Days that were written by earlier versions have none. */
static bool read_networks(struct slice value, struct usage_row *row)
{
    struct json_items it = json_items(value);
    struct slice one;

    if (value.len == 0)
        return true;
    if (json_kind_of(value) != JSON_KIND_ARRAY)
        return false;
    while (json_items_next(&it, &one))
        if (!read_network(one, row))
            return false;
    return true;
}

static int read_row(struct reading *r, struct slice line, bool use)
{
    struct json_field f[ROW_FIELDS] = {[PATH] = {.key = "path"},
                                       [REGION] = {.key = "region"},
                                       [CODEC] = {.key = "codec"},
                                       [MOS] = {.key = "mos"},
                                       [NETWORKS] = {.key = "networks"}};
    char region[USAGE_NAME_MAX + 1], codec[USAGE_NAME_MAX + 1], path[USAGE_NAME_MAX + 1];
    struct usage_row row = {.day = r->day.day, .region = region, .codec = codec};
    bool good;

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        f[i].key = numbers[i].key;
    good = json_fields(line, f, ROW_FIELDS) == 0 && read_name(f[PATH].value, path) &&
           usage_path_parse(slice_str(path), &row.path) == 0 &&
           read_name(f[REGION].value, region) && read_name(f[CODEC].value, codec) &&
           read_mos(f[MOS].value, &row) && read_networks(f[NETWORKS].value, &row);
    for (size_t i = 0; i < ARRAY_LEN(numbers) && good; i++)
        good = json_u64(f[i].value, NUMBER_MAX, number_of(&row, i));
    if (!good)
        return -EBADMSG;
    return use ? usage_report_archived_row(r->report, &row) : 0;
}

static int read_push(struct reading *r, struct slice line, bool use)
{
    struct json_field f[] = {
        {.key = "push"}, {.key = "status"}, {.key = "reason"}, {.key = "count"}};
    char kind[USAGE_NAME_MAX + 1], reason[USAGE_NAME_MAX + 1];
    struct usage_push_row row = {.day = r->day.day, .kind = kind, .reason = reason};
    uint64_t status;

    if (json_fields(line, f, ARRAY_LEN(f)) != 0 || !read_name(f[0].value, kind) ||
        !json_u64(f[1].value, 999, &status) || !read_name(f[2].value, reason) ||
        !json_u64(f[3].value, NUMBER_MAX, &row.count))
        return -EBADMSG;
    row.status = (unsigned)status;
    return use ? usage_report_archived_push(r->report, &row) : 0;
}

static int read_latency(struct reading *r, struct slice line)
{
    struct json_field f[] = {{.key = "of"}, {.key = "buckets"}};
    char of[USAGE_NAME_MAX + 1];
    struct slice pair;
    uint64_t at, n;
    unsigned k = 0;

    if (json_fields(line, f, ARRAY_LEN(f)) != 0 || !read_name(f[0].value, of) ||
        f[1].kind != JSON_KIND_ARRAY)
        return -EBADMSG;
    while (k < HIST_COUNT && !slice_is(slice_str(of), hists[k]))
        k++;
    struct json_items it = json_items(f[1].value);
    while (k < HIST_COUNT && json_items_next(&it, &pair)) {
        if (!read_pair(pair, &at, &n))
            return -EBADMSG;
        usage_hist_add(hist_of(&r->day, k), at, n);
    }
    return k < HIST_COUNT ? 0 : -EBADMSG;
}

static int read_head(struct reading *r, struct slice line)
{
    struct json_field f[] = {{.key = "schema"}, {.key = "day"}, {.key = "detail"}};
    char schema[USAGE_NAME_MAX + 1], day[USAGE_NAME_MAX + 1];

    if (json_fields(line, f, ARRAY_LEN(f)) != 0 || !read_name(f[0].value, schema) ||
        !slice_is(slice_str(schema), SCHEMA) || !read_name(f[1].value, day) ||
        usage_day_parse(slice_str(day), &r->day.day) != 0 ||
        !json_u64(f[2].value, NUMBER_MAX, &r->day.detail))
        return -EBADMSG;
    return 0;
}

static int read_line(struct reading *r, struct slice line, bool use)
{
    struct json_field f[] = {{.key = "kind"}, {.key = "lines"}};
    char kind[USAGE_NAME_MAX + 1];
    uint64_t lines;

    if (json_scan_object(line, &limits, f, ARRAY_LEN(f)) != 0 || r->ended)
        return -EBADMSG;
    if (r->lines++ == 0)
        return read_head(r, line);
    if (!read_name(f[0].value, kind))
        return -EBADMSG;
    struct slice k = slice_str(kind);
    if (slice_is(k, "row"))
        return read_row(r, line, use);
    if (slice_is(k, "push"))
        return read_push(r, line, use);
    if (slice_is(k, "latency"))
        return use ? 0 : read_latency(r, line);
    r->ended =
        slice_is(k, "end") && json_u64(f[1].value, NUMBER_MAX, &lines) && lines == r->lines - 1;
    return r->ended ? 0 : -EBADMSG;
}

static int read_lines(struct reading *r, struct slice text, bool use)
{
    int rc = 0;

    r->lines = 0;
    r->ended = false;
    while (text.len > 0 && rc == 0) {
        size_t end = 0;
        while (end < text.len && text.p[end] != '\n')
            end++;
        rc = end < text.len ? read_line(r, slice_sub(text, 0, end), use) : -EBADMSG;
        text = slice_sub(text, end + 1, text.len);
    }
    return rc == 0 && !r->ended ? -EBADMSG : rc;
}

int report_archive_read(struct usage_report *report, struct slice text)
{
    struct reading r = {.report = report};
    int rc = read_lines(&r, text, false);

    if (rc == 0)
        rc = usage_report_archived_day(report, &r.day);
    return rc == 0 ? read_lines(&r, text, true) : rc;
}
