/* Tests of server/router_away.c: what a call says to a device that nobody knows the place of waits,
 * in order and bounded, and goes where the device comes. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "server/router_far_priv.h"

enum { HEARD = 300 };

static struct far far;
static struct router router;
static struct far_leg leg;
static struct node_bus *there; /* of node b */
static size_t heard_n;
static char heard[HEARD][64];
static bool deaf;

static const struct sig_call_id call = {{1}}, other = {{2}};

/* To us nothing is said. */
static void say(void *arg, struct slice node, struct slice text)
{
    (void)arg;
    if (slice_is(node, "b") && !deaf)
        node_bus_heard(there, text, 0);
}

static bool dead(void *arg, struct slice node, uint64_t epoch, uint64_t since_us)
{
    (void)arg, (void)node, (void)epoch, (void)since_us;
    return false;
}

static bool lives(void *arg, struct slice node, uint64_t epoch)
{
    (void)arg, (void)node, (void)epoch;
    return true;
}

static void on_message(void *arg, struct slice node, uint64_t epoch, struct slice body)
{
    struct far_message m;

    (void)arg, (void)node, (void)epoch;
    assert_int_equal(far_wire_decode(&m, body), 0);
    assert_true(heard_n < HEARD);
    assert_int_equal(slice_to_cstr(m.text, heard[heard_n++], sizeof(heard[0])), 0);
}

static void on_end(void *arg, struct slice node, uint64_t epoch)
{
    (void)arg, (void)node, (void)epoch;
}

static const struct node_bus_ops ops = {say, dead, lives, NULL, NULL};
static const struct node_bus_ears ears = {on_message, on_end, on_end};

static int setup(void **state)
{
    (void)state;
    memset(&far, 0, sizeof(far));
    memset(&router, 0, sizeof(router));
    far.nodes.bus = node_bus_new(SLICE_LIT("a"), 0xa1, 1 << 20, &ops, NULL);
    router.far = &far;
    there = node_bus_new(SLICE_LIT("b"), 0xb1, 1 << 20, &ops, NULL);
    assert_true(far.nodes.bus && there);
    node_bus_hear(there, &ears, NULL);
    leg = (struct far_leg){.call = call,
                           .epoch = 0xb1,
                           .user_len = 3,
                           .device_len = 5,
                           .node_len = 1,
                           .user = "bob",
                           .device = "phone",
                           .node = "b"};
    list_init(&leg.texts);
    heard_n = 0;
    deaf = false;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    far_away_drop(&leg);
    node_bus_free(far.nodes.bus);
    node_bus_free(there);
    return 0;
}

/* A SAY of the call to the device. */
static struct slice body(enum far_kind kind, const struct sig_call_id *id, const char *device,
                         const char *text)
{
    static uint8_t buf[FAR_WIRE_HEAD_MAX + 65536];
    struct wr w = wr_init(buf, sizeof(buf));

    far_wire_encode(&w, &(struct far_message){.kind = kind,
                                              .call = *id,
                                              .user = SLICE_LIT("bob"),
                                              .device = slice_str(device),
                                              .text = slice_str(text)});
    assert_false(w.bad);
    return wr_done(&w);
}

static void send_there(struct slice text)
{
    assert_int_equal(node_bus_send(far.nodes.bus, SLICE_LIT("b"), 0xb1, text, 0), 0);
    node_bus_flush(far.nodes.bus);
}

static void test_what_waits_goes_on_in_its_order(void **state)
{
    (void)state;
    leg.away = true;
    assert_true(far_away_push(&leg, body(FAR_SAY, &call, "phone", "one")));
    assert_true(far_away_push(&leg, body(FAR_SAY, &call, "phone", "two")));
    far_away_end(&router, &leg);
    node_bus_flush(far.nodes.bus);
    assert_int_equal(heard_n, 2);
    assert_string_equal(heard[0], "one");
    assert_string_equal(heard[1], "two");
    assert_true(!leg.away && leg.texts_n == 0 && leg.bytes == 0 && list_empty(&leg.texts));
}

static void test_first_comes_what_the_node_has_not_acknowledged(void **state)
{
    (void)state;
    deaf = true;
    send_there(body(FAR_SAY, &call, "phone", "one"));
    send_there(body(FAR_SAY, &other, "phone", "of another call"));
    send_there(body(FAR_SAY, &call, "tablet", "for another device"));
    send_there(body(FAR_ASK, &call, "phone", "a question"));
    send_there(body(FAR_SAY, &call, "phone", "two"));
    far_away_begin(&router, &leg);
    assert_true(leg.away && leg.texts_n == 2);
    far_away_begin(&router, &leg); /* once */
    assert_int_equal(leg.texts_n, 2);
    assert_true(far_away_push(&leg, body(FAR_SAY, &call, "phone", "three")));
    deaf = false;
    node_bus_up(far.nodes.bus, 0); /* the others are still the bus's */
    node_bus_flush(far.nodes.bus);
    assert_int_equal(heard_n, 3);
    assert_string_equal(heard[0], "of another call");
    far_away_end(&router, &leg);
    node_bus_flush(far.nodes.bus);
    assert_int_equal(heard_n, 6);
    assert_string_equal(heard[3], "one");
    assert_string_equal(heard[4], "two");
    assert_string_equal(heard[5], "three");
}

static void test_no_more_waits_than_is_allowed(void **state)
{
    static char big[30000];
    size_t n = 0;

    (void)state;
    while (far_away_push(&leg, body(FAR_SAY, &call, "phone", "x")))
        n++;
    assert_true(n == 256 && !far_away_fits(&leg, 1));
    far_away_drop(&leg);
    assert_true(leg.texts_n == 0 && leg.bytes == 0 && far_away_fits(&leg, 65536));
    assert_false(far_away_fits(&leg, 65537));
    memset(big, 'x', sizeof(big) - 1);
    for (n = 0; far_away_push(&leg, body(FAR_SAY, &call, "phone", big)); n++)
        ;
    assert_int_equal(n, 2);
    assert_true(far_away_push(&leg, body(FAR_SAY, &call, "phone", "small")));
    uint64_t live = mem_live();
    mem_fail_after(0);
    assert_false(far_away_push(&leg, body(FAR_SAY, &call, "phone", "no memory")));
    mem_fail_never();
    assert_true(mem_live() == live && leg.texts_n == 3);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_what_waits_goes_on_in_its_order),
        TEST(test_first_comes_what_the_node_has_not_acknowledged),
        TEST(test_no_more_waits_than_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
