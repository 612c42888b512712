/* Tests of server/call_offers.c: one offer per side, glare, fresh starts.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/call.h"
#include "server/call_offers.h"

enum { CALLER = CALL_SIDE_CALLER, CALLEE = CALL_SIDE_CALLEE };

static enum sig_err judge(struct call_offers *o, int side, enum sig_sdp sdp, const char *id,
                          uint64_t now_us)
{
    struct sig_negotiate n = {.sdp = sdp, .id = slice_str(id)};

    return call_offers_judge(o, side, &n, now_us);
}

static void test_scripts(void **state)
{
    /* one letter a step: side (a caller, b callee), what (o offer, s answer, r rollback, f fresh
     * offer), id, seconds since the step before; then what is said to it (. passed, g glare, i
     * invalid) */
    static const char *const scripts[][8] = {
        {"ao1 0 .", "bs1 0 .", "ao2 0 ."},             /* offer, answer, and again */
        {"ao1 0 .", "ao2 9 i", "ao2 1 ."},             /* a second offer waits 10 s */
        {"ao1 0 .", "bo2 0 g", "bs1 0 ."},             /* glare: the callee gives way */
        {"bo2 0 .", "ao1 0 .", "as2 0 i", "bs1 0 ."},  /* glare the other way round */
        {"ao1 0 .", "bs2 0 i", "bs1 0 ."},             /* an answer to something else */
        {"ao1 0 .", "as1 0 i"},                        /* to one's own offer */
        {"as1 0 i", "br1 0 i"},                        /* to nothing */
        {"bo1 0 .", "br1 0 .", "bo2 0 ."},             /* rolled back */
        {"bo1 0 .", "br2 0 i", "bo2 0 i"},             /* another one's name */
        {"ao1 0 .", "bs1 11 ."},                       /* late, but it fits */
        {"ao1 0 .", "bo2 11 .", "bs1 0 i", "as2 0 ."}, /* too late: a newer offer */
        {"ao1 0 .", "af2 0 .", "bs1 0 i", "bs2 0 ."},  /* fresh: starts over */
        {"ao1 0 .", "bf2 0 .", "bs1 0 i", "as2 0 ."},  /* the callee's, too */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct call_offers o = {0};
        uint64_t now = US_PER_S;
        for (size_t k = 0; k < ARRAY_LEN(scripts[i]) && scripts[i][k]; k++) {
            const char *s = scripts[i][k];
            struct sig_negotiate n = {.sdp = s[1] == 's'   ? SIG_SDP_ANSWER
                                             : s[1] == 'r' ? SIG_SDP_ROLLBACK
                                                           : SIG_SDP_OFFER,
                                      .id = slice_of(s + 2, 1),
                                      .fresh = s[1] == 'f'};
            uint64_t wait = 0;
            size_t len = strlen(s);
            assert_int_equal(slice_to_u64(slice_of(s + 4, len - 6), 60, &wait), 0);
            now += wait * US_PER_S;
            enum sig_err err = call_offers_judge(&o, s[0] == 'a' ? CALLER : CALLEE, &n, now);
            char got = err == SIG_OK ? '.' : err == SIG_ERR_CALL_GLARE ? 'g' : 'i';
            if (got != s[len - 1])
                fail_msg("script %zu, step %zu: %s", i, k, sig_err_name(err));
        }
    }
}

static void test_ids_are_bounded(void **state)
{
    char longest[SIG_ID_MAX + 2];
    struct call_offers o = {0};

    (void)state;
    memset(longest, 'x', sizeof(longest));
    longest[SIG_ID_MAX + 1] = '\0';
    assert_int_equal(judge(&o, CALLER, SIG_SDP_OFFER, longest, 1), SIG_ERR_BAD_REQUEST);
    assert_int_equal(judge(&o, CALLER, SIG_SDP_OFFER, "", 1), SIG_ERR_BAD_REQUEST);
    longest[SIG_ID_MAX] = '\0';
    assert_int_equal(judge(&o, CALLER, SIG_SDP_OFFER, longest, 1), SIG_OK);
    assert_int_equal(judge(&o, CALLEE, SIG_SDP_ANSWER, longest, 1), SIG_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_ids_are_bounded),
    };

    return cmocka_run_group_tests_name("call_offers", tests, NULL, NULL);
}
