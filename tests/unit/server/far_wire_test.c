/* Tests of server/far_wire.c and the values of server/call_claims.c: what is read is what was
 * written, and nothing else is. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "server/call.h"
#include "server/call_claims.h"
#include "server/far_wire.h"

#define CALL "01234567-89ab-4cde-8f01-23456789abcd"

static struct far_message message(void)
{
    struct far_message m = {.kind = FAR_EVENT,
                            .user = SLICE_LIT("bob"),
                            .device = SLICE_LIT("phone"),
                            .id_hash = 0x1122334455667788,
                            .flags = FAR_REPLY | FAR_OVER,
                            .event = CALL_EV_NEW,
                            .can_wait = true,
                            .name = SLICE_LIT("Bob B."),
                            .text = SLICE_LIT("{\"type\":\"x\"}")};

    assert_int_equal(sig_call_id_parse(&m.call, SLICE_LIT(CALL)), 0);
    memset(m.session, 7, sizeof(m.session));
    return m;
}

static void test_a_message_is_read_as_it_was_written(void **state)
{
    struct far_message m = message(), back;
    uint8_t buf[FAR_WIRE_HEAD_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    far_wire_encode(&w, &m);
    assert_false(w.bad);
    assert_int_equal(far_wire_decode(&back, wr_done(&w)), 0);
    assert_true(back.kind == FAR_EVENT && sig_call_id_eq(&back.call, &m.call));
    assert_true(slice_eq(back.user, m.user) && slice_eq(back.device, m.device));
    assert_memory_equal(back.session, m.session, sizeof(m.session));
    assert_true(back.id_hash == m.id_hash && back.flags == m.flags && back.event == m.event);
    assert_true(back.can_wait && slice_eq(back.name, m.name) && slice_eq(back.text, m.text));
    for (size_t n = 0; n < w.len - m.text.len; n++)
        assert_int_equal(far_wire_decode(&back, slice_of(buf, n)), -EBADMSG);
}

static void test_what_no_node_of_ours_says_is_refused(void **state)
{
    struct far_message bad[] = {message(), message(), message(), message(), message()}, back;
    uint8_t buf[FAR_WIRE_HEAD_MAX];

    (void)state;
    bad[0].kind = FAR_KINDS;
    bad[1].event = CALL_EV_COUNT;
    bad[2].user = SLICE_LIT("b ob");
    bad[3].device = SLICE_LIT("");
    bad[4].user = SLICE_LIT("");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct wr w = wr_init(buf, sizeof(buf));
        far_wire_encode(&w, &bad[i]);
        assert_int_equal(far_wire_decode(&back, wr_done(&w)), -EBADMSG);
    }
    const struct far_message taken = {.kind = FAR_TAKEN, .call = bad[0].call};
    struct wr nobody = wr_init(buf, sizeof(buf));
    far_wire_encode(&nobody, &taken); /* it is about a call, nobody's device */
    assert_int_equal(far_wire_decode(&back, wr_done(&nobody)), 0);
    const struct far_message check = {
        .kind = FAR_CHECK, .call = bad[0].call, .user = SLICE_LIT("bob")};
    nobody = wr_init(buf, sizeof(buf));
    far_wire_encode(&nobody, &check);
    assert_int_equal(far_wire_decode(&back, wr_done(&nobody)), 0);
    struct far_message good = message();
    struct wr w = wr_init(buf, sizeof(buf));
    far_wire_encode(&w, &good);
    buf[0]++; /* another version */
    assert_int_equal(far_wire_decode(&back, wr_done(&w)), -EBADMSG);
}

static void test_claims_are_read(void **state)
{
    static const char *const bad_pairs[] = {"",
                                            CALL,
                                            CALL " 00000000000000a1",
                                            CALL " 00000000000000a1 a",
                                            CALL " xx a ann",
                                            "x 00000000000000a1 a ann",
                                            CALL " 00000000000000a1 a an/n"};
    static const char *const bad_users[] = {
        "", CALL, CALL " ", "x 00000000000000a1 a", CALL " 00000000000000a1 ", CALL " a1 a"};
    struct call_claim c;

    (void)state;
    assert_int_equal(call_claim_of_pair(&c, SLICE_LIT(CALL " 00000000000000a1 fra-1 ann")), 0);
    assert_true(c.epoch == 0xa1 && slice_is(c.node, "fra-1") && slice_is(c.caller, "ann"));
    assert_int_equal(call_claim_of_user(&c, SLICE_LIT(CALL " 00000000000000a1 fra-1")), 0);
    assert_true(c.epoch == 0xa1 && slice_is(c.node, "fra-1"));
    for (size_t i = 0; i < ARRAY_LEN(bad_pairs); i++)
        assert_int_equal(call_claim_of_pair(&c, slice_str(bad_pairs[i])), -EBADMSG);
    for (size_t i = 0; i < ARRAY_LEN(bad_users); i++)
        assert_int_equal(call_claim_of_user(&c, slice_str(bad_users[i])), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_message_is_read_as_it_was_written),
        cmocka_unit_test(test_what_no_node_of_ours_says_is_refused),
        cmocka_unit_test(test_claims_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
