/* A lite agent's answers: authentic checks, every refusal, restarts.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/ice_lite.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/ice_check.h"

static const struct addr from = {.ip = {192, 0, 2, 9}, .port = 40000, .family = ADDR_V4};

struct answer {
    enum ice_lite_verdict verdict;
    struct ice_lite_in in;
    uint8_t buf[ICE_LITE_ANSWER_MAX];
    struct stun_msg m;
    size_t len;
};

static void take(struct answer *a, const struct ice_lite *ice, const struct ice_check *c)
{
    uint8_t buf[256];
    struct stun_msg m;
    struct wr w = wr_init(a->buf, sizeof(a->buf));

    assert_int_equal(stun_decode(&m, ice_check_make(c, buf, sizeof(buf))), 0);
    a->verdict = ice_lite_recv(ice, &m, &from, &a->in, &w);
    assert_false(w.bad);
    a->len = w.len;
    if (w.len > 0) {
        assert_int_equal(stun_decode(&a->m, wr_done(&w)), 0);
        assert_true(a->m.has_fingerprint);
        assert_memory_equal(a->m.tid, m.tid, STUN_TID_BYTES);
    }
}

static struct ice_check check_of(const struct ice_credentials *c)
{
    return (struct ice_check){.ufrag = slice_of(c->ufrag, sizeof(c->ufrag)),
                              .pwd = slice_of(c->pwd, sizeof(c->pwd))};
}

static int error_of(const struct answer *a)
{
    struct slice v;

    assert_int_equal(a->m.type, stun_type(STUN_BINDING, STUN_ERROR));
    assert_true(stun_find(&a->m, STUN_ATTR_ERROR_CODE, &v));
    return stun_error_decode(v);
}

static void test_a_check_is_answered_with_the_address_it_came_from(void **state)
{
    struct ice_lite ice;
    struct answer a;
    struct slice v;
    struct addr seen;

    (void)state;
    ice_lite_init(&ice);
    struct ice_check c = check_of(&ice.cur);
    c.priority = 77;
    take(&a, &ice, &c);
    assert_int_equal(a.verdict, ICE_LITE_CHECK);
    assert_false(a.in.use_candidate);
    assert_false(a.in.has_nomination);
    assert_true(a.in.is_new);
    assert_int_equal(a.in.priority, 77);
    assert_int_equal(a.m.type, stun_type(STUN_BINDING, STUN_SUCCESS));
    assert_true(stun_find(&a.m, STUN_ATTR_XOR_MAPPED_ADDRESS, &v));
    assert_int_equal(stun_xaddr_decode(&seen, v, a.m.tid), 0);
    assert_true(addr_eq(&seen, &from));
    assert_true(stun_verify_sha1(&a.m, c.pwd));
    c.nominate = true;
    c.nomination = 5;
    c.no_role = true; /* an older agent */
    take(&a, &ice, &c);
    assert_int_equal(a.verdict, ICE_LITE_CHECK);
    assert_true(a.in.use_candidate);
    assert_true(a.in.has_nomination);
    assert_int_equal(a.in.nomination, 5);
}

static void test_refusals(void **state)
{
    struct ice_lite ice, other;
    struct answer a;

    (void)state;
    ice_lite_init(&ice);
    ice_lite_init(&other);
    const struct ice_check good = check_of(&ice.cur);
    struct ice_check c[8];
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        c[i] = good;
    c[0].no_username = true;
    c[1].no_integrity = true;
    c[2].ufrag = slice_of(other.cur.ufrag, sizeof(other.cur.ufrag));
    c[3].pwd = slice_of(other.cur.pwd, sizeof(other.cur.pwd));
    c[4].unknown = 0x7ffe;
    c[5].no_priority = true;
    c[6].controlled = true;
    c[7].unknown = 0x8ffe; /* comprehension-optional */
    static const struct {
        enum ice_lite_verdict verdict;
        enum ice_lite_why why;
        int error;
    } want[] = {
        {ICE_LITE_REFUSE, ICE_LITE_WHY_NO_USERNAME, 400},
        {ICE_LITE_REFUSE, ICE_LITE_WHY_NO_INTEGRITY, 400},
        {ICE_LITE_REFUSE, ICE_LITE_WHY_USERNAME, 401},
        {ICE_LITE_REFUSE, ICE_LITE_WHY_INTEGRITY, 401},
        {ICE_LITE_CONFLICT, ICE_LITE_WHY_UNKNOWN_ATTR, 420},
        {ICE_LITE_CONFLICT, ICE_LITE_WHY_NO_PRIORITY, 400},
        {ICE_LITE_CONFLICT, ICE_LITE_WHY_ROLE, 487},
        {ICE_LITE_CHECK, ICE_LITE_WHY_NONE, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        take(&a, &ice, &c[i]);
        assert_int_equal(a.verdict, want[i].verdict);
        assert_int_equal(a.in.why, want[i].why);
        if (want[i].error)
            assert_int_equal(error_of(&a), want[i].error);
        /* who knew the password gets an authentic answer, nobody else */
        assert_int_equal(stun_verify_sha1(&a.m, good.pwd), want[i].verdict != ICE_LITE_REFUSE);
        if (want[i].error == 420) {
            struct slice v;
            assert_true(stun_find(&a.m, STUN_ATTR_UNKNOWN_ATTRIBUTES, &v));
            assert_int_equal(v.len, 2);
            assert_memory_equal(v.p, "\x7f\xfe", 2);
        }
    }
}

static void test_other_messages_get_nothing(void **state)
{
    static const uint16_t classes[] = {STUN_INDICATION, STUN_SUCCESS, STUN_ERROR};
    struct ice_lite ice;
    struct ice_lite_in in;
    struct stun_msg m;
    uint8_t buf[64], out[ICE_LITE_ANSWER_MAX];
    const uint8_t tid[STUN_TID_BYTES] = {0};

    (void)state;
    ice_lite_init(&ice);
    for (unsigned i = 0; i < 4; i++) {
        struct wr w = wr_init(buf, sizeof(buf)), a = wr_init(out, sizeof(out));
        stun_begin(&w,
                   i < 3 ? stun_type(STUN_BINDING, (enum stun_class)classes[i])
                         : stun_type(STUN_ALLOCATE, STUN_REQUEST),
                   tid);
        assert_int_equal(stun_decode(&m, wr_done(&w)), 0);
        assert_int_equal(ice_lite_recv(&ice, &m, &from, &in, &a),
                         i == 0 ? ICE_LITE_INDICATION : ICE_LITE_DROP);
        assert_int_equal(a.len, 0);
    }
}

static void test_credentials(void **state)
{
    struct ice_lite a, b;

    (void)state;
    ice_lite_init(&a);
    ice_lite_init(&b);
    assert_memory_not_equal(a.cur.ufrag, b.cur.ufrag, sizeof(a.cur.ufrag));
    assert_memory_not_equal(a.cur.pwd, b.cur.pwd, sizeof(a.cur.pwd));
    for (size_t i = 0; i < sizeof(a.cur.pwd); i++) {
        char ch = a.cur.pwd[i];
        assert_true((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
                    (ch >= '0' && ch <= '9') || ch == '+' || ch == '/');
    }
    assert_true(slice_is(ice_lite_local_ufrag(SLICE_LIT("abcdefgh:x")), "abcdefgh"));
    assert_true(slice_is(ice_lite_local_ufrag(SLICE_LIT("abcdefgh:")), "abcdefgh"));
    assert_int_equal(ice_lite_local_ufrag(SLICE_LIT("abcdefgh")).len, 0);
    assert_int_equal(ice_lite_local_ufrag(SLICE_LIT("abcdefg:h")).len, 0);
    assert_int_equal(ice_lite_local_ufrag(SLICE_LIT("abcdefghi:")).len, 0);
    assert_int_equal(ice_lite_local_ufrag((struct slice){0}).len, 0);
}

static void test_old_credentials_live_until_the_new_ones_are_in_use(void **state)
{
    struct ice_lite ice;
    struct answer a;

    (void)state;
    ice_lite_init(&ice);
    struct ice_credentials first = ice.cur;
    struct ice_check old = check_of(&first);
    ice_lite_restart(&ice);
    struct ice_check new = check_of(&ice.cur);
    take(&a, &ice, &old);
    assert_int_equal(a.verdict, ICE_LITE_CHECK);
    assert_false(a.in.is_new);
    take(&a, &ice, &new);
    assert_int_equal(a.verdict, ICE_LITE_CHECK);
    assert_true(a.in.is_new);
    struct ice_check mixed = {.ufrag = old.ufrag, .pwd = new.pwd};
    take(&a, &ice, &mixed);
    assert_int_equal(a.verdict, ICE_LITE_REFUSE);
    ice_lite_settle(&ice);
    take(&a, &ice, &old);
    assert_int_equal(a.verdict, ICE_LITE_REFUSE);
    take(&a, &ice, &new);
    assert_int_equal(a.verdict, ICE_LITE_CHECK);
}

static void test_the_longest_answer_fits(void **state)
{
    struct ice_lite ice;
    uint8_t buf[512], out[ICE_LITE_ANSWER_MAX];
    const uint8_t tid[STUN_TID_BYTES] = {0};
    struct addr v6 = {.family = ADDR_V6, .port = 1};
    struct ice_lite_in in;
    struct stun_msg m;

    (void)state;
    ice_lite_init(&ice);
    for (unsigned unknown = 0; unknown < 20; unknown += 19) {
        struct wr w = wr_init(buf, sizeof(buf)), a = wr_init(out, sizeof(out));
        uint8_t name[32];
        struct wr n = wr_init(name, sizeof(name));
        wr_bytes(&n, slice_of(ice.cur.ufrag, sizeof(ice.cur.ufrag)));
        wr_str(&n, ":x");
        stun_begin(&w, stun_type(STUN_BINDING, STUN_REQUEST), tid);
        stun_put(&w, STUN_ATTR_USERNAME, wr_done(&n));
        stun_put_u32(&w, (enum stun_attr_type)0x0024, 1);
        for (unsigned i = 0; i < unknown; i++)
            stun_put_u32(&w, (enum stun_attr_type)(0x7000 + i), i);
        stun_put_sha1(&w, slice_of(ice.cur.pwd, sizeof(ice.cur.pwd)));
        assert_int_equal(stun_decode(&m, wr_done(&w)), 0);
        assert_int_equal(ice_lite_recv(&ice, &m, &v6, &in, &a),
                         unknown ? ICE_LITE_CONFLICT : ICE_LITE_CHECK);
        assert_false(a.bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_check_is_answered_with_the_address_it_came_from),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_other_messages_get_nothing),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_old_credentials_live_until_the_new_ones_are_in_use),
        cmocka_unit_test(test_the_longest_answer_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
