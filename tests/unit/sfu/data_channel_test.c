/* data_channel.c: DATA_CHANNEL_OPEN to the byte, and which channels are taken.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/data_channel.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

/* RFC 8832 §5.1. */
static const char open_lossy[] = "03"       /* DATA_CHANNEL_OPEN */
                                 "81"       /* unordered, limited retransmissions */
                                 "0100"     /* priority 256 */
                                 "00000000" /* none */
                                 "000a"     /* label: 10 bytes */
                                 "0002"     /* protocol: 2 bytes */
                                 "736f72692d6c6f737379"
                                 "7631";

static void test_open_there_and_back(void **state)
{
    uint8_t buf[64], again[64];
    struct slice msg = hex_bytes(open_lossy, buf, sizeof(buf));
    struct wr w = wr_init(again, sizeof(again));
    struct dcep_open o;

    (void)state;
    assert_int_equal(dcep_decode(&o, msg), DCEP_OPEN);
    assert_int_equal(o.channel_type, DCEP_REXMIT | DCEP_UNORDERED);
    assert_int_equal(o.priority, 256);
    assert_int_equal(o.reliability, 0);
    assert_true(slice_is(o.label, "sori-lossy"));
    assert_true(slice_is(o.protocol, "v1"));
    dcep_open_encode(&o, &w);
    assert_true(slice_eq(wr_done(&w), msg));

    w = wr_init(again, sizeof(again));
    dcep_ack_encode(&w);
    assert_int_equal(dcep_decode(&o, wr_done(&w)), DCEP_ACK);
}

static void test_every_truncation_and_addition_is_refused(void **state)
{
    uint8_t buf[64];
    struct slice msg = hex_bytes(open_lossy, buf, sizeof(buf));
    struct dcep_open o;

    (void)state;
    for (size_t n = 0; n < msg.len; n++) {
        uint8_t *copy = guard_copy(buf, n);
        assert_int_equal(dcep_decode(&o, slice_of(copy, n)), -EBADMSG);
        guard_free(copy, n);
    }
    buf[msg.len] = 0;
    assert_int_equal(dcep_decode(&o, slice_of(buf, msg.len + 1)), -EBADMSG);
    buf[1] = 0x03; /* no such channel type */
    assert_int_equal(dcep_decode(&o, msg), -EBADMSG);
    buf[1] = 0x82;
    assert_int_equal(dcep_decode(&o, msg), DCEP_OPEN);
    buf[0] = 0x04;
    assert_int_equal(dcep_decode(&o, msg), -EBADMSG);
}

static void test_labels_have_a_limit(void **state)
{
    static uint8_t buf[1024], label[DCEP_LABEL_MAX + 1];
    struct dcep_open o = {.label = slice_of(label, DCEP_LABEL_MAX)};
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    dcep_open_encode(&o, &w);
    assert_int_equal(dcep_decode(&o, wr_done(&w)), DCEP_OPEN);
    o.label = slice_of(label, sizeof(label));
    w = wr_init(buf, sizeof(buf));
    dcep_open_encode(&o, &w);
    assert_int_equal(dcep_decode(&o, wr_done(&w)), -EBADMSG);
}

static void test_one_channel_of_each_class(void **state)
{
    struct data_channels t = {0};
    struct dcep_open reliable = {.label = SLICE_LIT("sori")};
    struct dcep_open lossy = {.channel_type = DCEP_REXMIT | DCEP_UNORDERED,
                              .label = SLICE_LIT("sori-lossy")};
    struct dcep_open other = {.label = SLICE_LIT("files")};

    (void)state;
    assert_null(data_channels_by_class(&t, DATA_RELIABLE));
    assert_int_equal(data_channels_open(&t, 2, &other), -EPROTO);
    assert_int_equal(data_channels_open(&t, 2, &reliable), 0);
    assert_int_equal(data_channels_open(&t, 2, &lossy), -EPROTO);    /* the stream is taken */
    assert_int_equal(data_channels_open(&t, 4, &reliable), -EPROTO); /* the class is taken */
    assert_int_equal(data_channels_open(&t, 4, &lossy), 0);
    assert_int_equal(data_channels_by_class(&t, DATA_LOSSY)->stream, 4);
    assert_int_equal(data_channels_by_stream(&t, 4)->channel_type, 0x81);
    assert_null(data_channels_by_stream(&t, 3));
    assert_true(data_channels_close(&t, 2));
    assert_false(data_channels_close(&t, 2));
    assert_int_equal(data_channels_by_class(&t, DATA_LOSSY)->stream, 4);
    assert_int_equal(data_channels_open(&t, 6, &reliable), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_there_and_back),
        cmocka_unit_test(test_every_truncation_and_addition_is_refused),
        cmocka_unit_test(test_labels_have_a_limit),
        cmocka_unit_test(test_one_channel_of_each_class),
    };

    return cmocka_run_group_tests_name("data_channel", tests, NULL, NULL);
}
