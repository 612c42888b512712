/* report_view.c, report_archive.c, report_csv.c: prices by month and region, what-ifs, days for
 * ever, texts that do no harm. SPDX-License-Identifier: BSD-3-Clause */
#include "server/report_view.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "server/report_archive.h"
#include "server/report_csv.h"
#include "server/report_html.h"
#include "server/report_json.h"
#include "server/report_svg.h"

#define DAY    UINT32_C(20785) /* 2026-11-28 */
#define GB     UINT64_C(1000000000)
#define DOLLAR TARIFF_UNIT

static const char ini[] = "[report]\ncurrency = EUR\n[tariff]\nfree_gb = 10\ntiers = 0:1, 100:0.5\n"
                          "[region kr]\ntiers = 0:2\ningress = 0.1\n[fixed]\nmonthly = host=30\n";

static struct report_conf conf_of(const char *text)
{
    struct report_conf c = {0};
    char err[CONF_ERR_MAX] = "";

    if (report_conf_load_text(&c, slice_str(text), "test", err) != 0)
        fail_msg("%s", err);
    return c;
}

static struct usage_report *fresh(uint32_t from, uint32_t to)
{
    const struct usage_conf c = {.from = from,
                                 .to = to,
                                 .now_s = ((uint64_t)DAY + 100) * 86400,
                                 .relayed_bytes_s = 200,
                                 .most = 1000,
                                 .user_key = SLICE_LIT("key")};
    struct usage_report *r = usage_report_new(&c);

    assert_non_null(r);
    return r;
}

/* A day of the archive with so much traffic: 20 ms voice of 20 kbit/s, all of it. */
static void day(struct usage_report *r, uint32_t on, const char *region, uint64_t gb)
{
    const struct usage_day d = {.day = on, .detail = 5};
    uint64_t pkts = gb * 10000000; /* 72 bytes of payload and 28 of headers make 100 */
    const struct usage_row row = {
        .day = on,
        .path = USAGE_TURN_UDP,
        .region = region,
        .codec = "opus",
        .calls = {[LEDGER_ANSWERED] = 20},
        .seconds = 1200,
        .traffic = {pkts / 2, pkts / 2 * 72, pkts / 2, pkts / 2 * 72, gb * GB, gb * GB},
        .voice = {pkts / 50, pkts, pkts * 72}};

    assert_int_equal(usage_report_archived_day(r, &d), 0);
    assert_int_equal(usage_report_archived_row(r, &row), 0);
}

static const struct report_inputs no_inputs;

static void test_prices_go_by_month_and_region(void **state)
{
    struct report_conf c = conf_of(ini);
    struct usage_report *r = fresh(DAY, DAY + 3); /* 28 November to 1 December */
    struct report_view v;

    (void)state;
    day(r, DAY - 27, "us", 60); /* of the month, before the report: 10 free, 50 paid */
    day(r, DAY - 30, "us", 99); /* of another month */
    day(r, DAY, "us", 50);      /* 40 at 1, 10 at 0.5 */
    day(r, DAY + 1, "kr", 7);   /* at 2, and 0.1 for what comes in */
    day(r, DAY + 3, "us", 11);  /* December: 10 free */
    assert_int_equal(usage_report_close(r), 0);
    assert_int_equal(report_view_init(&v, r, &c, &no_inputs), 0);
    assert_int_equal(v.rows_n, 3);
    assert_int_equal(v.days_n, 3);
    assert_int_equal(v.row_nanos[0], 45 * DOLLAR);
    assert_int_equal(v.row_nanos[1], 14 * DOLLAR + 7 * DOLLAR / 10);
    assert_int_equal(v.row_nanos[2], 1 * DOLLAR);
    assert_int_equal(v.traffic_nanos, 60 * DOLLAR + 7 * DOLLAR / 10);
    assert_int_equal(v.path_nanos[USAGE_TURN_UDP], v.traffic_nanos);
    /* Three days of November's 30, one of December's 31. */
    assert_int_equal(v.fixed_nanos, 3 * DOLLAR + 30 * DOLLAR / 31);
    report_view_fini(&v);
    usage_report_free(r);
    report_conf_free(&c);
}

static void test_what_if(void **state)
{
    struct report_conf c = conf_of("[tariff]\ntiers = 0:1\n");
    struct usage_report *r = fresh(DAY, DAY);
    const struct usage_row p2p = {.day = DAY,
                                  .path = USAGE_P2P,
                                  .region = "us",
                                  .codec = "opus",
                                  .calls = {[LEDGER_ANSWERED] = 60}};
    struct report_view v;

    (void)state;
    day(r, DAY, "us", 100);
    assert_int_equal(usage_report_archived_row(r, &p2p), 0);
    assert_int_equal(usage_report_close(r), 0);
    assert_int_equal(report_view_init(&v, r, &c, &no_inputs), 0);
    assert_int_equal(report_relay_share(&v), 250); /* 20 of 80 */
    /* Half of the packets: each pair loses 28 + 22 bytes of headers of its 200. */
    assert_int_equal(v.whatif[REPORT_PACKETS].out_bytes, 75 * GB);
    assert_int_equal(v.whatif[REPORT_PACKETS].nanos, 75 * DOLLAR);
    assert_int_equal(v.whatif[REPORT_SILENCE].out_bytes, 55 * GB);
    /* 30 bytes in place of 50 in each packet of 100. */
    assert_int_equal(v.whatif[REPORT_BITRATE].out_bytes, 80 * GB);
    assert_int_equal(v.whatif[REPORT_SHARE_LESS].out_bytes, 80 * GB); /* 20 % in place of 25 */
    assert_int_equal(v.whatif[REPORT_SHARE_MORE].nanos, 120 * DOLLAR);
    report_view_fini(&v);
    usage_report_free(r);
    report_conf_free(&c);
}

static void test_without_anything(void **state)
{
    struct report_conf c = conf_of("");
    struct usage_report *r = fresh(DAY, DAY + 1);
    struct report_view v;
    char *text;
    size_t len;

    (void)state;
    assert_int_equal(usage_report_close(r), 0);
    assert_int_equal(report_view_init(&v, r, &c, &no_inputs), 0);
    for (unsigned k = 0; k < REPORT_WHATIF_COUNT; k++)
        assert_false(v.whatif[k].possible);
    assert_int_equal(report_answer_rate(&v.total) + report_ice_failures(&v.total), 0);
    FILE *f = open_memstream(&text, &len);
    report_json(f, &v);
    report_csv(f, &v);
    report_html(f, &v);
    fclose(f);
    assert_non_null(strstr(text, "\"days\":[]"));
    assert_non_null(strstr(text, "Nothing in these days."));
    free(text);
    report_view_fini(&v);
    usage_report_free(r);
    report_conf_free(&c);
}

/* ---- days for ever ---- */

static char *archive(const struct usage_report *r, size_t *len)
{
    struct report_conf c = conf_of("");
    struct report_view v;
    char *text;
    FILE *f = open_memstream(&text, len);

    assert_int_equal(report_view_init(&v, r, &c, &no_inputs), 0);
    assert_int_equal(v.days_n, 1);
    report_archive_write(f, &v, 0);
    fclose(f);
    report_view_fini(&v);
    report_conf_free(&c);
    return text;
}

static void test_a_day_comes_back_from_the_archive(void **state)
{
    struct usage_report *r = fresh(DAY, DAY), *again = fresh(DAY, DAY), *bad;
    const struct usage_push_row push = {
        .day = DAY, .status = 410, .kind = "ring", .reason = "Unregistered", .count = 3};
    size_t len, second_len, n;

    (void)state;
    struct usage_day d = {.day = DAY, .detail = 12};
    for (uint64_t ms = 0; ms < 300000; ms += 777)
        usage_hist_add(&d.wake, ms, ms % 5);
    assert_int_equal(usage_report_archived_day(r, &d), 0);
    struct usage_row row = {
        .day = DAY, .path = USAGE_SFU, .region = "k\"r", .codec = "", .mos = {[30] = 2}};
    for (uint64_t *p = &row.seconds, i = 1; p < row.mos; p++, i++)
        *p = i * 1000003;
    assert_int_equal(usage_report_archived_row(r, &row), 0);
    assert_int_equal(usage_report_archived_push(r, &push), 0);
    assert_int_equal(usage_report_close(r), 0);
    char *text = archive(r, &len);
    assert_int_equal(report_archive_read(again, slice_of(text, len)), 0);
    assert_int_equal(usage_report_close(again), 0);
    char *second = archive(again, &second_len);
    assert_string_equal(text, second);
    const struct usage_row *back = usage_report_rows(again, &n);
    assert_int_equal(n, 1);
    assert_string_equal(back->region, "k\"r");
    assert_memory_equal(&back->seconds, &row.seconds,
                        sizeof(row) - offsetof(struct usage_row, seconds));
    assert_memory_equal(&usage_report_days(again, &n)->wake, &d.wake, sizeof(d.wake));
    /* Every truncation is refused, and leaves nothing behind. */
    for (size_t cut = 0; cut < len; cut += 13) {
        bad = fresh(DAY, DAY);
        assert_int_equal(report_archive_read(bad, slice_of(text, cut)), -EBADMSG);
        assert_int_equal(usage_report_close(bad), 0);
        usage_report_days(bad, &n);
        assert_int_equal(n, 0);
        usage_report_free(bad);
    }
    free(second);
    free(text);
    usage_report_free(r);
    usage_report_free(again);
}

/* ---- texts ---- */

static void written(void (*fn)(FILE *f, const char *text), const char *text, const char *want)
{
    char *got;
    size_t len;
    FILE *f = open_memstream(&got, &len);

    fn(f, text);
    fclose(f);
    assert_string_equal(got, want);
    free(got);
}

static void test_texts_of_strangers(void **state)
{
    (void)state;
    written(report_csv_text, "", "");
    written(report_csv_text, "kr-1", "kr-1");
    written(report_csv_text, "a,b", "\"a,b\"");
    written(report_csv_text, "a\"b\n", "\"a\"\"b\n\"");
    written(report_csv_text, "=1+1", "\"'=1+1\"");
    written(report_csv_text, "+1", "\"'+1\"");
    written(report_csv_text, "-1", "\"'-1\"");
    written(report_csv_text, "@x", "\"'@x\"");
    written(report_csv_text, "\tx", "\"'\tx\"");
    written(report_csv_text, "\rx", "\"'\rx\"");
    written(report_html_text, "<b a='1' c=\"2\">&", "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;");
    written(report_html_text, "\x1b[31m\n", "\xef\xbf\xbd[31m\xef\xbf\xbd");
}

static void test_oom(void **state)
{
    struct report_conf c = conf_of(ini);
    struct usage_report *r = fresh(DAY, DAY + 1);
    uint64_t live;

    (void)state;
    day(r, DAY, "us", 10);
    day(r, DAY + 1, "kr", 10);
    assert_int_equal(usage_report_close(r), 0);
    live = mem_live();
    for (uint64_t n = 0;; n++) {
        struct report_view v;
        mem_fail_after(n);
        int rc = report_view_init(&v, r, &c, &no_inputs);
        bool failed = mem_failed();
        mem_fail_never();
        report_view_fini(&v);
        assert_int_equal(mem_live(), live);
        if (!failed)
            break;
        assert_int_equal(rc, -ENOMEM);
    }
    usage_report_free(r);
    report_conf_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prices_go_by_month_and_region),
        cmocka_unit_test(test_what_if),
        cmocka_unit_test(test_without_anything),
        cmocka_unit_test(test_a_day_comes_back_from_the_archive),
        cmocka_unit_test(test_texts_of_strangers),
        cmocka_unit_test(test_oom),
    };

    return cmocka_run_group_tests_name("report_view", tests, NULL, NULL);
}
