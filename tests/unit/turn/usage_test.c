/* usage.c: the record of an allocation names what privacy allows.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/usage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/json.h"
#include "turn/tcp_meter.h"

static const char *format(const char *username, enum usage_user privacy)
{
    static char text[USAGE_TEXT_MAX + 1];
    struct five_tuple client = {.transport = FIVE_TUPLE_TLS};
    struct alloc *a = alloc_new(&client, slice_str(username), US_PER_S);
    struct wr w = wr_init(text, USAGE_TEXT_MAX);

    a->up_pkts = 1;
    a->up_bytes = 2;
    a->down_pkts = 3;
    a->down_bytes = 4;
    usage_format(&w, a, SLICE_LIT("sori"), privacy, "expired", 61 * US_PER_S + 5);
    alloc_free(a);
    assert_false(w.bad);
    text[w.len] = '\0';
    return text;
}

static void test_record_has_call_user_and_amounts(void **state)
{
    (void)state;
    assert_string_equal(
        format("1700000000:call-7:ann", USAGE_USER_PLAIN),
        "allocation ended: user=ann call=call-7 transport=tls seconds=60 "
        "up_packets=1 up_bytes=2 down_packets=3 down_bytes=4 realm=sori why=expired");
    assert_non_null(strstr(format("ann", USAGE_USER_PLAIN), "user=ann call=- "));
}

static void test_privacy_hides_the_user(void **state)
{
    char hashed[USAGE_TEXT_MAX];

    (void)state;
    assert_non_null(strstr(format("17:c:ann", USAGE_USER_NONE), "user=- call=c "));
    assert_int_equal(
        slice_to_cstr(slice_str(format("17:c:ann", USAGE_USER_HASHED)), hashed, sizeof(hashed)), 0);
    assert_null(strstr(hashed, "ann"));
    assert_string_equal(format("17:c:ann", USAGE_USER_HASHED), hashed); /* the same each time */
}

static void test_record_of_a_living_one_has_no_reason(void **state)
{
    struct five_tuple client = {.transport = FIVE_TUPLE_UDP};
    struct alloc *a = alloc_new(&client, SLICE_LIT("ann"), US_PER_S);
    uint8_t text[USAGE_TEXT_MAX];
    struct wr w = wr_init(text, sizeof(text));

    (void)state;
    usage_format(&w, a, SLICE_LIT("sori"), USAGE_USER_PLAIN, NULL, 3 * US_PER_S);
    assert_true(slice_is(wr_done(&w),
                         "allocation alive: user=ann call=- transport=udp seconds=2 up_packets=0 "
                         "up_bytes=0 down_packets=0 down_bytes=0 realm=sori"));
    alloc_free(a);
}

static void test_json_record_has_the_same_and_more(void **state)
{
    struct five_tuple client = {.transport = FIVE_TUPLE_TLS};
    struct alloc *a = alloc_new(&client, SLICE_LIT("17:call\x01:a\"nn"), US_PER_S);
    const struct usage_stamp stamp = {
        0xabc,          7, 61 * US_PER_S + 5, UINT64_C(1700000000) * US_PER_S, SLICE_LIT("r1"),
        SLICE_LIT("kr")};
    uint8_t text[USAGE_TEXT_MAX];
    struct wr w = wr_init(text, sizeof(text));

    (void)state;
    a->relayed.family = ADDR_V6;
    a->serial = 9;
    a->up_pkts = 1;
    a->up_bytes = 2;
    a->down_pkts = 3;
    a->down_bytes = 4;
    usage_json(&w, a, SLICE_LIT("so\"ri"), USAGE_USER_PLAIN, "expired", &stamp);
    assert_true(slice_is(
        wr_done(&w),
        "{\"v\":1,\"id\":\"0000000000000abc-7\",\"alloc\":\"0000000000000abc-9\","
        "\"time\":1700000000,\"event\":\"ended\",\"node\":\"r1\",\"region\":\"kr\",\"realm\":"
        "\"so\\\"ri\","
        "\"user\":\"a\\\"nn\",\"call\":\"call\\u0001\",\"transport\":\"tls\",\"relay\":\"udp\","
        "\"family\":\"ipv6\",\"seconds\":60,\"up_packets\":1,\"up_bytes\":2,\"down_packets\":3,"
        "\"down_bytes\":4,\"why\":\"expired\"}"));
    w = wr_init(text, sizeof(text));
    a->second.relayed.family = ADDR_V4;
    usage_json(&w, a, SLICE_LIT("r"), USAGE_USER_NONE, NULL, &stamp);
    static const struct json_limits limits = {.depth = 1, .values = 32, .bytes = USAGE_TEXT_MAX};
    struct json_field f[] = {
        {"user", {0}, 0}, {"family", {0}, 0}, {"why", {0}, 0}, {"event", {0}, 0}};
    assert_int_equal(json_scan_object(wr_done(&w), &limits, f, ARRAY_LEN(f)), 0);
    assert_true(slice_is(f[0].value, "\"-\"") && slice_is(f[1].value, "\"dual\""));
    assert_true(f[2].kind == JSON_KIND_NONE && slice_is(f[3].value, "\"alive\""));
    alloc_free(a);
}

static void test_worst_name_fits_json(void **state)
{
    static const uint8_t name[STUN_USERNAME_MAX] = {1};
    struct five_tuple client = {0};
    struct alloc *a = alloc_new(&client, slice_of(name, sizeof(name)), 0);
    uint8_t text[USAGE_TEXT_MAX];
    struct wr w = wr_init(text, sizeof(text));
    static const uint8_t longest[64] = {1};
    const struct slice name64 = slice_of(longest, sizeof(longest));
    const struct usage_stamp stamp = {UINT64_MAX, UINT64_MAX, UINT64_MAX,
                                      UINT64_MAX, name64,     name64};

    (void)state;
    a->up_pkts = a->up_bytes = a->down_pkts = a->down_bytes = UINT64_MAX;
    usage_json(&w, a, SLICE_LIT("\1\1\1\1"), USAGE_USER_PLAIN, "disconnected", &stamp);
    assert_false(w.bad);
    alloc_free(a);
}

/* While it lives, too, not only at its end. */
static void test_bytes_of_tcp_connections_count(void **state)
{
    static const struct throttle_rules rules;
    struct five_tuple client = {.transport = FIVE_TUPLE_TCP};
    struct alloc *a = alloc_new(&client, SLICE_LIT("ann"), 0);
    const struct usage_stamp stamp = {0};
    uint8_t text[USAGE_TEXT_MAX];

    (void)state;
    a->tcp = true;
    a->meter = tcp_meter_new(&rules, NULL, NULL, 0);
    tcp_meter_count(a->meter, 11, 0);
    tcp_meter_count(a->meter, 0, 22);
    for (unsigned i = 0; i < 2; i++) {
        struct wr w = wr_init(text, sizeof(text));
        char got[USAGE_TEXT_MAX];
        if (i == 0)
            usage_json(&w, a, SLICE_LIT("r"), USAGE_USER_PLAIN, NULL, &stamp);
        else
            usage_format(&w, a, SLICE_LIT("r"), USAGE_USER_PLAIN, NULL, 0);
        slice_to_cstr(wr_done(&w), got, sizeof(got));
        assert_non_null(strstr(got, i == 0 ? "\"up_bytes\":11," : "up_bytes=11 "));
        assert_non_null(strstr(got, i == 0 ? "\"down_bytes\":22" : "down_bytes=22 "));
    }
    alloc_free(a);
}

static void count_due(void *arg, const struct alloc *a)
{
    unsigned *times = arg;

    times[a->tuple.client.port]++;
}

/* 2000 allocations that begin at once, looked at 16 times an interval of 60 s for ten minutes. */
static void test_each_living_one_is_due_once_an_interval(void **state)
{
    enum { COUNT = 2000, LOOKS = 16, INTERVALS = 10 };
    static unsigned times[COUNT];
    const uint64_t interval_us = 60 * US_PER_S;
    struct alloc_table t;
    struct hnode *saved = NULL;
    struct alloc *a;
    size_t pos = 0;

    (void)state;
    assert_int_equal(alloc_table_init(&t, US_PER_S), 0);
    for (uint16_t i = 0; i < COUNT; i++) {
        struct five_tuple client = {.client = {.family = ADDR_V4, .port = i}};
        a = alloc_new(&client, SLICE_LIT("ann"), US_PER_S);
        alloc_add(&t, a);
    }
    for (unsigned look = 1; look < LOOKS; look++)
        usage_due(&t, interval_us, US_PER_S + look * interval_us / LOOKS, count_due, times);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(times[i], 0); /* nothing before its time */
    for (unsigned look = LOOKS; look <= LOOKS * INTERVALS + LOOKS / 2; look++)
        usage_due(&t, interval_us, US_PER_S + look * interval_us / LOOKS, count_due, times);
    for (unsigned i = 0; i < COUNT; i++)
        assert_in_range(times[i], INTERVALS - 1, INTERVALS);
    while ((a = alloc_table_walk(&t, &pos, &saved))) {
        alloc_del(&t, a);
        alloc_free(a);
    }
    alloc_table_fini(&t);
}

static void test_longest_username_fits(void **state)
{
    char name[STUN_USERNAME_MAX + 1];

    (void)state;
    memset(name, '%', STUN_USERNAME_MAX);
    name[STUN_USERNAME_MAX] = '\0';
    format(name, USAGE_USER_PLAIN);
}

static void rtp(struct media_quality *m, unsigned n)
{
    uint8_t buf[12];
    struct wr w = wr_init(buf, sizeof(buf));

    wr_be16(&w, 0x806f);
    wr_be16(&w, (uint16_t)n);
    wr_be32(&w, n * 960);
    wr_be32(&w, 7);
    media_quality_packet(m, MEDIA_UP, wr_done(&w), US_PER_S + n * 20 * US_PER_MS);
}

static void test_the_end_of_an_allocation_tells_of_its_media(void **state)
{
    static char text[USAGE_TEXT_MAX + 1];
    struct five_tuple client = {.transport = FIVE_TUPLE_UDP};
    struct alloc *a = alloc_new_judged(&client, SLICE_LIT("1700000000:call-7:ann"), US_PER_S);
    const struct usage_stamp stamp = {.boot = 1, .now_us = 11 * US_PER_S};
    struct media_report report;

    (void)state;
    for (unsigned n = 0; n < 500; n++)
        if (n != 100 && n != 101)
            rtp(a->media, n);
    assert_true(media_quality_next(a->media, 11 * US_PER_S, &report));
    struct wr w = wr_init(text, USAGE_TEXT_MAX);
    usage_json(&w, a, SLICE_LIT("r"), USAGE_USER_PLAIN, NULL, &stamp);
    text[w.len] = '\0';
    assert_null(strstr(text, "media"));
    w = wr_init(text, USAGE_TEXT_MAX);
    usage_json(&w, a, SLICE_LIT("r"), USAGE_USER_PLAIN, "expired", &stamp);
    text[w.len] = '\0';
    assert_non_null(strstr(text, ",\"media\":{\"up\":{\"expected\":435,\"lost\":2,\"runs\":1,"
                                 "\"jitter_us\":0,\"rtt_us\":0}}}"));
    w = wr_init(text, USAGE_TEXT_MAX);
    usage_format(&w, a, SLICE_LIT("r"), USAGE_USER_PLAIN, "expired", 11 * US_PER_S);
    text[w.len] = '\0';
    assert_non_null(strstr(text, " why=expired up_lost=2/435 up_jitter_us=0 up_rtt_us=0"));
    w = wr_init(text, USAGE_TEXT_MAX);
    usage_media_json(&w, a, &report, &stamp);
    text[w.len] = '\0';
    assert_non_null(strstr(text, "\"user\":\"ann\",\"call\":\"call-7\",\"ms\":10000,\"up\":{"
                                 "\"packets\":497,"));
    alloc_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_end_of_an_allocation_tells_of_its_media),
        cmocka_unit_test(test_record_has_call_user_and_amounts),
        cmocka_unit_test(test_privacy_hides_the_user),
        cmocka_unit_test(test_record_of_a_living_one_has_no_reason),
        cmocka_unit_test(test_bytes_of_tcp_connections_count),
        cmocka_unit_test(test_each_living_one_is_due_once_an_interval),
        cmocka_unit_test(test_json_record_has_the_same_and_more),
        cmocka_unit_test(test_worst_name_fits_json),
        cmocka_unit_test(test_longest_username_fits),
    };

    return cmocka_run_group_tests_name("usage", tests, NULL, NULL);
}
