/* discovery.c: where RFC 5780 answers leave from, where they go, and that all of it is off by
 * default. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/discovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/fake_relay.h"

#define A1P1 "198.51.100.1:3478"
#define A2P2 "198.51.100.2:3479"

static int setup(void **state)
{
    static struct fake_relay f;
    static struct addr listen[6];
    static const char *const text[] = {A1P1, "198.51.100.1:3479",  "198.51.100.2:3478",
                                       A2P2, "[2001:db8::1]:3478", "[2001:db8::2]:3479"};

    *state = &f;
    if (fake_relay_init(&f) != 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(listen); i++)
        listen[i] = fake_addr(text[i]);
    f.shared.discovery = listen;
    f.shared.n_discovery = ARRAY_LEN(listen);
    return 0;
}

static int teardown(void **state)
{
    fake_relay_fini(*state);
    return 0;
}

static struct fake_client at_listener(uint16_t listener)
{
    struct fake_client c;

    fake_client_init(&c, "203.0.113.7:4711", "", "");
    c.tuple.listener = listener;
    return c;
}

/* A Binding request with one attribute. The answer is in f->answer for either kind of sending. */
static enum dispatch_verdict binding(struct fake_relay *f, struct fake_client *c,
                                     enum stun_attr_type type, struct slice value)
{
    static uint8_t buf[4096];
    struct wr w = wr_init(buf, sizeof(buf)), answer = wr_init(f->buf, sizeof(f->buf));

    fake_begin(c, &w, STUN_BINDING);
    stun_put(&w, type, value);
    enum dispatch_verdict v =
        dispatch_client(&f->core, &c->tuple, NULL, wr_done(&w), f->now_us, &answer, &f->out);
    f->answer = wr_done(&answer);
    return v;
}

static struct addr plain_addr(const struct fake_relay *f, enum stun_attr_type type)
{
    struct slice v;
    struct addr a = {0};

    assert_true(fake_find(f, type, &v) && v.len == 8 && v.p[1] == 1);
    a.family = ADDR_V4;
    a.port = (uint16_t)(v.p[2] << 8 | v.p[3]);
    memcpy(a.ip, &v.p[4], 4);
    return a;
}

static void test_change_request_chooses_the_listener(void **state)
{
    static const struct {
        uint16_t at;
        struct slice change;
        uint16_t want;
    } cases[] = {
        {0, SLICE_LIT("\0\0\0\0"), 0}, {0, SLICE_LIT("\0\0\0\2"), 1}, {0, SLICE_LIT("\0\0\0\4"), 2},
        {0, SLICE_LIT("\0\0\0\6"), 3}, {3, SLICE_LIT("\0\0\0\6"), 0}, {2, SLICE_LIT("\0\0\0\2"), 3},
        {1, SLICE_LIT("\0\0\0\4"), 3},
    };
    struct fake_relay *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_client c = at_listener(cases[i].at);
        assert_int_equal(binding(f, &c, STUN_ATTR_CHANGE_REQUEST, cases[i].change),
                         DISPATCH_ANSWER_ELSEWHERE);
        assert_int_equal(f->core.elsewhere_from, cases[i].want);
        assert_true(addr_eq(&f->core.elsewhere_to, &c.tuple.client));
        struct addr origin = plain_addr(f, STUN_ATTR_RESPONSE_ORIGIN);
        assert_true(addr_eq(&origin, &f->shared.discovery[cases[i].want]));
        struct addr mapped = plain_addr(f, STUN_ATTR_MAPPED_ADDRESS);
        assert_true(addr_eq(&mapped, &c.tuple.client));
        struct addr other = plain_addr(f, STUN_ATTR_OTHER_ADDRESS);
        assert_true(addr_eq(&other, &f->shared.discovery[3 - cases[i].at]));
    }
}

static void test_response_port_is_of_the_same_host(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = at_listener(0);

    assert_int_equal(binding(f, &c, STUN_ATTR_RESPONSE_PORT, SLICE_LIT("\x30\x39\0\0")),
                     DISPATCH_ANSWER_ELSEWHERE);
    assert_int_equal(f->core.elsewhere_to.port, 12345);
    assert_true(addr_ip_eq(&f->core.elsewhere_to, &c.tuple.client));
    assert_int_equal(f->core.elsewhere_from, 0);
    static const struct slice bad[] = {SLICE_LIT("\0\0\0\0"), SLICE_LIT("\1"), SLICE_LIT("\1\1\1"),
                                       SLICE_LIT("")};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        binding(f, &c, STUN_ATTR_RESPONSE_PORT, bad[i]);
        assert_int_equal(fake_code(f, &c), 400);
    }
    assert_int_equal(binding(f, &c, STUN_ATTR_CHANGE_REQUEST, SLICE_LIT("\6")), DISPATCH_ANSWER);
    assert_int_equal(fake_code(f, &c), 400);
}

static void test_padding_comes_back_as_far_as_it_fits(void **state)
{
    static const uint8_t zeros[3000];
    static const size_t lens[] = {0, 4, 1500, 3000};
    struct fake_relay *f = *state;
    struct fake_client c = at_listener(0);

    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct slice v;
        assert_int_equal(binding(f, &c, STUN_ATTR_PADDING, slice_of(zeros, lens[i])),
                         DISPATCH_ANSWER_ELSEWHERE);
        assert_true(fake_find(f, STUN_ATTR_PADDING, &v));
        assert_true(lens[i] > 1500 ? v.len > 1500 && f->answer.len <= DISPATCH_ANSWER_MAX
                                   : v.len == lens[i]);
    }
    /* Not together with another port to answer to: that would be a cannon. */
    uint8_t buf[64];
    struct wr w = wr_init(buf, sizeof(buf));
    fake_begin(&c, &w, STUN_BINDING);
    stun_put(&w, STUN_ATTR_PADDING, SLICE_LIT("abcd"));
    stun_put(&w, STUN_ATTR_RESPONSE_PORT, SLICE_LIT("\1\1\0\0"));
    fake_send(f, &c, wr_done(&w));
    assert_int_equal(fake_code(f, &c), 400);
}

static void test_it_is_off_without_partners_or_configuration(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = at_listener(4); /* IPv6 has no full set */

    binding(f, &c, STUN_ATTR_CHANGE_REQUEST, SLICE_LIT("\0\0\0\2"));
    assert_int_equal(fake_code(f, &c), 420);
    c = at_listener(7); /* a TCP listener's number */
    c.tuple.transport = FIVE_TUPLE_TCP;
    binding(f, &c, STUN_ATTR_CHANGE_REQUEST, SLICE_LIT("\0\0\0\2"));
    assert_int_equal(fake_code(f, &c), 420);
    c = at_listener(0); /* over DTLS another address cannot answer, */
    c.tuple.transport = FIVE_TUPLE_DTLS;
    binding(f, &c, STUN_ATTR_CHANGE_REQUEST, SLICE_LIT("\0\0\0\2"));
    assert_int_equal(fake_code(f, &c), 420);
    c = at_listener(0); /* nor through a proxy */
    f->core.via = fake_addr("10.0.0.1:1");
    binding(f, &c, STUN_ATTR_CHANGE_REQUEST, SLICE_LIT("\0\0\0\2"));
    assert_int_equal(fake_code(f, &c), 420);
    f->core.via = (struct addr){0};
    f->shared.n_discovery = 0;
    binding(f, &c, STUN_ATTR_CHANGE_REQUEST, SLICE_LIT("\0\0\0\2"));
    assert_int_equal(fake_code(f, &c), 420);
    binding(f, &c, STUN_ATTR_PADDING, SLICE_LIT("abcd"));
    assert_int_equal(fake_code(f, &c), 420);
}

static void test_answers_are_limited_per_source(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = at_listener(0);
    unsigned answers = 0;

    for (unsigned i = 0; i < 100; i++)
        answers += binding(f, &c, STUN_ATTR_CHANGE_REQUEST, SLICE_LIT("\0\0\0\6")) != DISPATCH_DROP;
    assert_int_equal(answers, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_change_request_chooses_the_listener),
        T(test_response_port_is_of_the_same_host),
        T(test_padding_comes_back_as_far_as_it_fits),
        T(test_it_is_off_without_partners_or_configuration),
        T(test_answers_are_limited_per_source),
    };

    return cmocka_run_group_tests_name("discovery", tests, NULL, NULL);
}
