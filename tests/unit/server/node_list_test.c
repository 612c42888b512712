/* Tests of server/node_list.c. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "proto/turncred.h"
#include "server/node_list.h"

#define EPOCH  "1 epoch=00000000000000ff "
#define GRANTS 20000
#define NODES  24

static struct node_list *list;
static uint64_t now;

/* An answer as Redis gives it, of texts. */
static struct {
    struct resp array, text[2 * (NODE_LIST_MAX + 1)], *item[2 * (NODE_LIST_MAX + 1)];
    char bytes[2 * (NODE_LIST_MAX + 1)][256];
} reply;

static void reply_begin(void)
{
    reply.array = (struct resp){.kind = RESP_ARRAY, .item = reply.item};
}

static void reply_text(const char *text)
{
    size_t i = reply.array.n++;

    snprintf(reply.bytes[i], sizeof(reply.bytes[i]), "%s", text);
    reply.text[i] = (struct resp){.kind = RESP_STRING, .text = slice_str(reply.bytes[i])};
    reply.item[i] = &reply.text[i];
}

static void reply_node(const char *name, const char *record)
{
    char text[256];

    snprintf(text, sizeof(text), EPOCH "%s", record);
    reply_text(name);
    reply_text(text);
}

static int take(enum node_kind kind)
{
    return node_list_take(list, kind, &reply.array, now);
}

static int set_up(void **state)
{
    const struct node_list_conf conf = {
        .secret = SLICE_LIT("hush"), .region = SLICE_LIT("eu"), .seed = 1};

    (void)state;
    now = 100 * US_PER_S;
    list = node_list_new(&conf);
    assert_non_null(list);
    reply_begin();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    node_list_free(list);
    return 0;
}

static size_t grant(size_t want, const struct node_record **out)
{
    return node_list_relays(list, want, out);
}

static bool grants(const char *place)
{
    const struct node_record *out[NODE_LIST_GRANT];
    size_t n = grant(NODE_LIST_GRANT, out);

    for (size_t i = 0; i < n; i++)
        if (slice_is(out[i]->at[0], place))
            return true;
    return false;
}

static void test_nobody_is_nobody(void **state)
{
    const struct node_record *out[NODE_LIST_GRANT];

    (void)state;
    assert_int_equal(grant(2, out), 0);
    assert_null(node_list_at(list, NODE_SFU, 0));
    assert_int_equal(take(NODE_RELAY), 0);
    assert_int_equal(grant(2, out), 0);
}

static void test_what_is_told_is_known_and_what_is_not_is_forgotten(void **state)
{
    (void)state;
    reply_node("r1", "at=turn:a");
    reply_node("r2", "at=turn:b");
    assert_int_equal(take(NODE_RELAY), 0);
    assert_true(slice_is(node_list_at(list, NODE_RELAY, 0)->name, "r1"));
    assert_true(grants("turn:a") && grants("turn:b"));
    reply_begin();
    reply_node("r2", "at=turn:b2");
    assert_int_equal(take(NODE_RELAY), 0);
    assert_false(grants("turn:a") || grants("turn:b"));
    assert_true(grants("turn:b2"));
    assert_null(node_list_at(list, NODE_RELAY, 1));
    assert_int_equal(counter_get(&node_list_count(list)->nodes[NODE_RELAY]), 1);
}

static void test_kinds_are_apart(void **state)
{
    (void)state;
    reply_node("s1", "at=127.0.0.1:7000");
    assert_int_equal(take(NODE_SFU), 0);
    assert_int_equal(take(NODE_RELAY), 0); /* none of them is a relay's */
    assert_int_equal(counter_get(&node_list_count(list)->bad), 1);
    assert_non_null(node_list_at(list, NODE_SFU, 0));
    assert_null(node_list_at(list, NODE_RELAY, 0));
}

static void test_what_cannot_be_read_is_passed_over(void **state)
{
    const struct resp error = {.kind = RESP_ERROR, .text = SLICE_LIT("NOPERM")};

    (void)state;
    reply_node("r1", "at=turn:a");
    reply_node("r 2", "at=turn:b");
    reply_node("r3", "nothing");
    reply_text("r4");
    assert_int_equal(take(NODE_RELAY), 0);
    assert_int_equal(counter_get(&node_list_count(list)->bad), 2);
    assert_non_null(node_list_at(list, NODE_RELAY, 0));
    assert_null(node_list_at(list, NODE_RELAY, 1));
    assert_int_equal(node_list_take(list, NODE_RELAY, &error, now), -EBADMSG);
    assert_true(grants("turn:a")); /* what is known stays */
}

static void test_after_redis_came_back_nodes_have_time_to_do_so(void **state)
{
    (void)state;
    reply_node("r1", "at=turn:a");
    assert_int_equal(take(NODE_RELAY), 0);
    node_list_up(list, now);
    reply_begin();
    now += NODE_LIST_GRACE_US - 1;
    reply_node("r2", "at=turn:b");
    assert_int_equal(take(NODE_RELAY), 0);
    assert_true(grants("turn:a") && grants("turn:b"));
    assert_false(node_list_at(list, NODE_RELAY, 1)->listed);
    now++;
    assert_int_equal(take(NODE_RELAY), 0);
    assert_false(grants("turn:a"));
}

static void test_draining_ones_are_left_out(void **state)
{
    (void)state;
    reply_node("r1", "drain=1 at=turn:a");
    reply_node("r2", "at=turn:b");
    assert_int_equal(take(NODE_RELAY), 0);
    assert_false(grants("turn:a"));
    assert_true(grants("turn:b"));
    assert_int_equal(counter_get(&node_list_count(list)->usable[NODE_RELAY]), 1);
    assert_int_equal(counter_get(&node_list_count(list)->nodes[NODE_RELAY]), 2);
}

static void test_who_does_not_know_the_secret_is_left_out(void **state)
{
    uint8_t mark[TURNCRED_MARK_BYTES], other[TURNCRED_MARK_BYTES];
    char text[200];

    (void)state;
    assert_int_equal(turncred_mark(mark, SLICE_LIT("hush")), 0);
    assert_int_equal(turncred_mark(other, SLICE_LIT("old")), 0);
    snprintf(text, sizeof(text), "key=%.16s at=turn:a", (const char *)other);
    reply_node("r1", text);
    snprintf(text, sizeof(text), "key=%.16s key=%.16s at=turn:b", (const char *)other,
             (const char *)mark);
    reply_node("r2", text);
    reply_node("r3", "at=turn:c"); /* does not say */
    assert_int_equal(take(NODE_RELAY), 0);
    assert_false(grants("turn:a"));
    assert_true(grants("turn:b") && grants("turn:c"));
    node_list_secret(list, SLICE_LIT("old"));
    assert_true(grants("turn:a") && grants("turn:b") && grants("turn:c"));
    node_list_secret(list, SLICE_LIT("new"));
    assert_false(grants("turn:a") || grants("turn:b"));
    assert_int_equal(counter_get(&node_list_count(list)->usable[NODE_RELAY]), 1);
}

static void test_without_a_secret_there_is_no_relay(void **state)
{
    const struct node_list_conf conf = {.seed = 1};

    (void)state;
    node_list_free(list);
    list = node_list_new(&conf);
    reply_node("r1", "at=turn:a");
    assert_int_equal(take(NODE_RELAY), 0);
    assert_false(grants("turn:a"));
}

static void test_the_own_region_goes_first_and_others_fill_up(void **state)
{
    const struct node_record *out[NODE_LIST_GRANT];

    (void)state;
    reply_node("u1", "region=us at=turn:u");
    reply_node("e1", "region=eu load=700 at=turn:e");
    reply_node("e2", "region=eu load=800 at=turn:f");
    assert_int_equal(take(NODE_RELAY), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(grant(2, out), 2);
        assert_true(slice_is(out[0]->region, "eu") && slice_is(out[1]->region, "eu"));
        assert_int_equal(grant(3, out), 3);
        assert_true(slice_is(out[2]->region, "us"));
    }
    reply_begin();
    reply_node("u1", "region=us at=turn:u");
    reply_node("e1", "region=eu load=950 at=turn:e"); /* full: only when there is no other */
    assert_int_equal(take(NODE_RELAY), 0);
    assert_int_equal(grant(1, out), 1);
    assert_true(slice_is(out[0]->at[0], "turn:u"));
    assert_int_equal(grant(2, out), 2);
}

static void test_nobody_is_given_twice(void **state)
{
    const struct node_record *out[NODE_LIST_GRANT];

    (void)state;
    for (int i = 0; i < 3; i++) {
        char name[8], text[32];
        snprintf(name, sizeof(name), "r%d", i);
        snprintf(text, sizeof(text), "at=turn:%d", i);
        reply_node(name, text);
    }
    assert_int_equal(take(NODE_RELAY), 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(grant(2, out), 2);
        assert_ptr_not_equal(out[0], out[1]);
    }
    assert_int_equal(grant(NODE_LIST_GRANT, out), 3);
    assert_int_equal(counter_get(&node_list_count(list)->granted), 2003);
}

/* Writes the list of NODES relays with these loads, and takes it. */
static void tell_loads(const unsigned load[NODES])
{
    reply_begin();
    for (int i = 0; i < NODES; i++) {
        char name[8], text[64];
        snprintf(name, sizeof(name), "r%d", i);
        snprintf(text, sizeof(text), "load=%u weight=%d at=turn:%d", load[i], i < NODES / 2 ? 1 : 2,
                 i);
        reply_node(name, text);
    }
    assert_int_equal(take(NODE_RELAY), 0);
}

/* Loads are told every 100 grants only, so that each choice is made by old news; a relay of weight
 * 2 fills half as fast. */
static void test_load_is_spread_although_news_of_it_are_old(void **state)
{
    const struct node_record *out[NODE_LIST_GRANT];
    unsigned granted[NODES] = {0}, load[NODES] = {0}, most = 0, least = UINT32_MAX;

    (void)state;
    for (int i = 0; i < GRANTS; i++) {
        if (i % 100 == 0)
            tell_loads(load);
        assert_int_equal(grant(2, out), 2);
        for (int k = 0; k < 2; k++) {
            uint64_t at = 0;
            assert_int_equal(slice_to_u64(slice_sub(out[k]->at[0], 5, 9), NODES, &at), 0);
            granted[at]++;
            unsigned room = at < NODES / 2 ? 4 : 8; /* grants for a thousandth of its load */
            load[at] = granted[at] / room;
        }
    }
    for (int i = 0; i < NODES; i++) {
        most = load[i] > most ? load[i] : most;
        least = load[i] < least ? load[i] : least;
    }
    /* All grants over all room: 40000 / (12 * 4 + 12 * 8) = 277 each. */
    if (least < 270 || most > 285)
        fail_msg("loads from %u to %u", least, most);
}

static void test_oom_leaves_the_list_as_it_was(void **state)
{
    (void)state;
    reply_node("r1", "at=turn:a");
    assert_int_equal(take(NODE_RELAY), 0);
    reply_node("r2", "at=turn:b");
    for (uint64_t i = 0;; i++) {
        mem_fail_after(i);
        int e = take(NODE_RELAY);
        bool failed = mem_failed();
        mem_fail_never();
        if (!failed) {
            assert_int_equal(e, 0);
            break;
        }
        assert_int_equal(e, -ENOMEM);
        assert_true(grants("turn:a"));
        assert_false(grants("turn:b"));
    }
    assert_true(grants("turn:b"));
    const struct node_list_conf conf = {.seed = 1};
    mem_fail_after(0);
    assert_null(node_list_new(&conf));
    mem_fail_never();
}

static void test_no_more_than_the_bound_are_known(void **state)
{
    (void)state;
    for (int i = 0; i <= NODE_LIST_MAX; i++) {
        char name[8];
        snprintf(name, sizeof(name), "r%d", i);
        reply_node(name, "at=turn:a");
    }
    assert_int_equal(take(NODE_RELAY), 0);
    assert_non_null(node_list_at(list, NODE_RELAY, NODE_LIST_MAX - 1));
    assert_null(node_list_at(list, NODE_RELAY, NODE_LIST_MAX));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nobody_is_nobody),
        TEST(test_what_is_told_is_known_and_what_is_not_is_forgotten),
        TEST(test_kinds_are_apart),
        TEST(test_what_cannot_be_read_is_passed_over),
        TEST(test_after_redis_came_back_nodes_have_time_to_do_so),
        TEST(test_draining_ones_are_left_out),
        TEST(test_who_does_not_know_the_secret_is_left_out),
        TEST(test_without_a_secret_there_is_no_relay),
        TEST(test_the_own_region_goes_first_and_others_fill_up),
        TEST(test_nobody_is_given_twice),
        TEST(test_load_is_spread_although_news_of_it_are_old),
        TEST(test_oom_leaves_the_list_as_it_was),
        TEST(test_no_more_than_the_bound_are_known),
    };

    return cmocka_run_group_tests_name("node_list", tests, NULL, NULL);
}
