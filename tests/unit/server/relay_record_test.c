/* relay_record.c: what sori-turn writes is read; what is damaged is refused, each in its way.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/relay_record.h"

#include <errno.h>
#include <stdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* As turn/usage.c writes it (tests/unit/turn/usage_test.c). */
static const char line[] =
    "{\"v\":1,\"id\":\"0000000000000abc-7\",\"alloc\":\"0000000000000abc-9\",\"time\":1800000000,"
    "\"event\":\"ended\",\"node\":\"r1\",\"region\":\"kr\",\"realm\":\"so\\\"ri\",\"user\":"
    "\"a\\\"nn\",\"call\":\"6f1e2a34-0000-4000-8000-000000000000\",\"transport\":\"tls\",\"relay\":"
    "\"udp\",\"family\":\"ipv6\",\"seconds\":60,\"up_packets\":1,\"up_bytes\":2,\"down_packets\":3,"
    "\"down_bytes\":4,\"why\":\"expired\"}";

static uint8_t scratch_bytes[RELAY_RECORD_LINE_MAX];

static int decode(struct relay_record *r, struct slice text)
{
    struct wr scratch = wr_init(scratch_bytes, sizeof(scratch_bytes));

    return relay_record_decode(r, text, &scratch);
}

static void test_a_record_of_the_relay_is_read(void **state)
{
    struct relay_record r;

    (void)state;
    assert_int_equal(decode(&r, slice_str(line)), 0);
    assert_true(r.boot == 0xabc && r.serial == 9 && r.at_s == 1800000000 && r.seconds == 60);
    assert_true(r.ended && r.ipv6 && !r.tcp_peers && r.transport == RELAY_TLS);
    assert_true(r.up_pkts == 1 && r.up_bytes == 2 && r.down_pkts == 3 && r.down_bytes == 4);
    assert_true(slice_is(r.node, "r1") && slice_is(r.region, "kr") && slice_is(r.user, "a\"nn"));
    assert_true(slice_is(r.call, "6f1e2a34-0000-4000-8000-000000000000"));
}

static void test_what_is_written_is_read_again(void **state)
{
    uint8_t text[RELAY_RECORD_LINE_MAX];
    struct relay_record in = {.boot = UINT64_MAX,
                              .serial = 5,
                              .at_s = 1800000000,
                              .seconds = 10,
                              .transport = RELAY_DTLS,
                              .node = SLICE_LIT("n"),
                              .user = SLICE_LIT("=1+1\n"),
                              .call = SLICE_LIT("-"),
                              .up_pkts = 500,
                              .up_bytes = 36000},
                        out;
    struct wr w = wr_init(text, sizeof(text));

    (void)state;
    relay_record_encode(&w, &in);
    assert_int_equal(decode(&out, slice_of(text, w.len - 1)), 0);
    assert_true(out.boot == in.boot && out.serial == 5 && out.up_bytes == 36000 && !out.ended);
    assert_true(slice_eq(out.user, in.user) && slice_eq(out.call, in.call) && out.region.len == 0);
}

static void test_every_truncation_is_damaged(void **state)
{
    struct relay_record r;

    (void)state;
    for (size_t i = 0; i < sizeof(line) - 1; i++)
        assert_int_equal(decode(&r, slice_of(line, i)), -EBADMSG);
}

/* The record with one part of it replaced. */
static int changed(const char *part, const char *by)
{
    char text[2048];
    const char *at = strstr(line, part);
    struct relay_record r;

    assert_non_null(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - line), line, by, at + strlen(part));
    return decode(&r, slice_str(text));
}

static void test_each_field_is_looked_at(void **state)
{
    static const struct {
        const char *part, *by;
        int rc;
    } rows[] = {
        {"\"v\":1", "\"v\":2", -EPROTONOSUPPORT},
        {"\"v\":1,", "", -EBADMSG}, /* a record of before there were versions */
        {"\"v\":1", "\"v\":\"1\"", -EBADMSG},
        {"abc-9", "abc9", -EBADMSG},
        {"abc-9", "abc-", -EBADMSG},
        {"abc-9", "abc-18446744073709551616", -EBADMSG},
        {"\"alloc\":\"0000", "\"alloc\":\"000x", -EBADMSG},
        {"1800000000", "-1", -EBADMSG},
        {"1800000000", "1e9", -EBADMSG},
        {"1800000000", "1500000000", -ERANGE}, /* 2017 */
        {"1800000000", "9007199254740991", -ERANGE},
        {"1800000000", "99999999999999999999", -EBADMSG},
        {"\"ended\"", "\"over\"", -EBADMSG},
        {"\"tls\"", "\"sctp\"", -EBADMSG},
        {"\"tls\"", "\"TLS\"", -EBADMSG},
        {"\"relay\":\"udp\"", "\"relay\":\"tls\"", -EBADMSG},
        {"\"ipv6\"", "\"dual\"", 0},
        {"\"ipv6\"", "null", -EBADMSG},
        {"\"seconds\":60", "\"seconds\":4000000000", -ERANGE}, /* older than its time */
        {"\"seconds\":60", "\"seconds\":6.5", -EBADMSG},
        {"\"up_bytes\":2", "\"up_bytes\":65536", -ERANGE}, /* in one packet */
        {"\"up_bytes\":2", "\"up_bytes\":65534", 0},
        {"\"up_packets\":1,\"up_bytes\":2", "\"up_packets\":900719925474,\"up_bytes\":2", -ERANGE},
        {"\"down_bytes\":4", "\"down_bytes\":true", -EBADMSG},
        {"\"kr\"", "7", -EBADMSG},
        {"\"kr\"", "\"0123456789012345678901234567890123456789012345678901234567890123\"", 0},
        {"\"kr\"", "\"01234567890123456789012345678901234567890123456789012345678901234\"",
         -EBADMSG},
        {"\"user\":", "\"user\":\"x\",\"user\":", -EBADMSG}, /* twice */
        {"\"why\":\"expired\"", "\"later\":{\"a\":[1]}", 0}, /* what is added later */
        {"\"relay\":\"udp\"", "\"relay\":\"tcp\"", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (changed(rows[i].part, rows[i].by) != rows[i].rc)
            fail_msg("%s -> %s: %d", rows[i].part, rows[i].by, changed(rows[i].part, rows[i].by));
}

static void test_tcp_peers_have_bytes_without_packets(void **state)
{
    char text[2048];
    const char *from = strstr(line, "\"udp\""), *bytes = strstr(line, "\"up_packets\"");
    struct relay_record r;

    (void)state;
    snprintf(text, sizeof(text),
             "%.*s\"tcp\"%.*s\"up_packets\":0,\"up_bytes\":5000000,"
             "\"down_packets\":0,\"down_bytes\":4}",
             (int)(from - line), line, (int)(bytes - from - 5), from + 5);
    assert_int_equal(decode(&r, slice_str(text)), 0);
    assert_true(r.tcp_peers && r.up_bytes == 5000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_record_of_the_relay_is_read),
        cmocka_unit_test(test_what_is_written_is_read_again),
        cmocka_unit_test(test_every_truncation_is_damaged),
        cmocka_unit_test(test_each_field_is_looked_at),
        cmocka_unit_test(test_tcp_peers_have_bytes_without_packets),
    };

    return cmocka_run_group_tests_name("relay_record", tests, NULL, NULL);
}
