/* Tests of server/call_reason.c: the table of SIGNALING.md §5.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/call_reason.h"

static void test_the_table_is_the_contracts(void **state)
{
    static const struct {
        const char *name;
        unsigned sip;
        const char *callkit;
        bool missed;
    } rows[] = {
        {"", 0, "", false},
        {"hangup", 200, "remoteEnded", false},
        {"cancelled", 487, "remoteEnded", true},
        {"timeout", 408, "unanswered", true},
        {"unreachable", 480, "failed", true},
        {"declined", 603, "remoteEnded", false},
        {"busy", 486, "remoteEnded", true},
        {"answered_elsewhere", 200, "answeredElsewhere", false},
        {"declined_elsewhere", 603, "declinedElsewhere", false},
        {"busy_elsewhere", 486, "declinedElsewhere", false},
        {"forbidden", 403, "failed", false},
        {"need_permission", 403, "failed", false},
        {"superseded", 200, "remoteEnded", false},
        {"glare", 200, "remoteEnded", false},
        {"room_migrated", 200, "remoteEnded", false},
        {"media_failed", 500, "failed", false},
        {"connection_lost", 500, "failed", false},
        {"max_duration", 487, "remoteEnded", false},
        {"admin", 487, "remoteEnded", false},
        {"server_error", 500, "failed", false},
    };

    (void)state;
    assert_int_equal(ARRAY_LEN(rows), SIG_REASON_COUNT);
    for (int i = 0; i < SIG_REASON_COUNT; i++) {
        enum sig_reason r = (enum sig_reason)i;
        assert_string_equal(sig_reason_name(r), rows[i].name);
        assert_int_equal(call_reason_sip(r), rows[i].sip);
        assert_string_equal(call_reason_callkit(r), rows[i].callkit);
        assert_int_equal(call_reason_missed(r, true), rows[i].missed);
    }
}

static void test_busy_is_missed_only_when_configured(void **state)
{
    (void)state;
    assert_false(call_reason_missed(SIG_REASON_BUSY, false));
    assert_true(call_reason_missed(SIG_REASON_TIMEOUT, false));
}

static void test_the_other_devices_hear_the_elsewhere_form(void **state)
{
    (void)state;
    assert_int_equal(call_reason_elsewhere(SIG_REASON_BUSY), SIG_REASON_BUSY_ELSEWHERE);
    assert_int_equal(call_reason_elsewhere(SIG_REASON_DECLINED), SIG_REASON_DECLINED_ELSEWHERE);
    assert_int_equal(call_reason_elsewhere(SIG_REASON_MEDIA_FAILED), SIG_REASON_DECLINED_ELSEWHERE);
}

static void test_numbers_outside_the_table_are_server_errors(void **state)
{
    (void)state;
    assert_int_equal(call_reason_sip((enum sig_reason)99), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table_is_the_contracts),
        cmocka_unit_test(test_busy_is_missed_only_when_configured),
        cmocka_unit_test(test_the_other_devices_hear_the_elsewhere_form),
        cmocka_unit_test(test_numbers_outside_the_table_are_server_errors),
    };

    return cmocka_run_group_tests_name("call_reason", tests, NULL, NULL);
}
