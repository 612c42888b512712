/* control.c: what request lines mean, lists that stay within their room, one allocation ended.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/json.h"
#include "tests/lib/fake_relay.h"

static int setup(void **state)
{
    static struct fake_relay f;

    *state = &f;
    return fake_relay_init(&f);
}

static int teardown(void **state)
{
    fake_relay_fini(*state);
    return 0;
}

static struct fake_client allocated(struct fake_relay *f, const char *at, const char *user,
                                    const char *password)
{
    struct fake_client c;

    fake_client_init(&c, at, user, password);
    assert_int_equal(fake_allocate(f, &c), 0);
    return c;
}

static struct control_request decoded(const char *line)
{
    struct control_request r;
    const char *why = NULL;

    if (control_decode(&r, slice_str(line), &why) != 0)
        fail_msg("%s: %s", line, why);
    return r;
}

static void test_requests_are_decoded(void **state)
{
    (void)state;
    assert_int_equal(decoded("{\"command\":\"status\"}").command, CONTROL_STATUS);
    assert_false(decoded("{\"command\":\"list\"}").has_user);
    struct control_request r = decoded(" {\"user\":\"\\u0061nn\",\"command\":\"list\"} ");
    assert_int_equal(r.command, CONTROL_LIST);
    assert_true(r.has_user);
    assert_true(slice_is(slice_of(r.user, r.user_len), "ann"));
    r = decoded("{\"command\":\"kill\",\"allocation\":\"3.18446744073\"}");
    assert_int_equal(r.id.worker, 3);
    assert_true(r.id.serial == UINT64_C(18446744073));
    assert_int_equal(decoded("{\"command\":\"log-level\",\"level\":\"debug\"}").level, LOG_DEBUG);
    assert_int_equal(decoded("{\"command\":\"quota\",\"user\":\"\"}").command, CONTROL_QUOTA);
    assert_int_equal(decoded("{\"command\":\"drain\"}").command, CONTROL_DRAIN);
}

static void test_anything_else_is_refused_with_a_reason(void **state)
{
    static const char *const cases[] = {
        "",
        "status",
        "[]",
        "{}",
        "{\"command\":1}",
        "{\"command\":\"Status\"}",
        "{\"command\":\"status\",\"command\":\"drain\"}",
        "{\"command\":\"status\",\"x\":{\"y\":1}}",
        "{\"command\":\"list\",\"user\":1}",
        "{\"command\":\"kill\"}",
        "{\"command\":\"kill\",\"allocation\":\"17\"}",
        "{\"command\":\"kill\",\"allocation\":\".\"}",
        "{\"command\":\"kill\",\"allocation\":\"1.\"}",
        "{\"command\":\"kill\",\"allocation\":\"65536.1\"}",
        "{\"command\":\"kill\",\"allocation\":\"0.99999999999999999999\"}",
        "{\"command\":\"kill\",\"allocation\":0.1}",
        "{\"command\":\"log-level\"}",
        "{\"command\":\"log-level\",\"level\":\"loud\"}",
    };
    static const struct control_request untouched;
    char line[CONTROL_USER_MAX + 64], name[CONTROL_USER_MAX + 2];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct control_request r = {0};
        const char *why = NULL;
        if (control_decode(&r, slice_str(cases[i]), &why) != -EBADMSG || !why)
            fail_msg("%s", cases[i]);
        assert_memory_equal(&r, &untouched, sizeof(r));
    }
    for (size_t n = CONTROL_USER_MAX; n <= CONTROL_USER_MAX + 1; n++) {
        struct control_request r;
        const char *why;
        memset(name, 'a', n);
        name[n] = '\0';
        snprintf(line, sizeof(line), "{\"command\":\"list\",\"user\":\"%s\"}", name);
        assert_int_equal(control_decode(&r, slice_str(line), &why),
                         n > CONTROL_USER_MAX ? -EBADMSG : 0);
    }
}

static char text[CONTROL_REPLY_MAX];

static uint64_t list(struct fake_relay *f, const char *request, size_t cap, uint64_t *left)
{
    struct control_request r = decoded(request);
    struct wr w = wr_init(text, cap);
    uint64_t shown = 0;

    *left = 0;
    control_list(&w, &f->core, 2, &r, f->now_us, &shown, left);
    assert_false(w.bad);
    text[w.len] = '\0';
    return shown;
}

static void test_list_shows_each_allocation_on_a_line(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1", "ann", "of green gables");
    struct json_limits limits = {.depth = 1, .values = 32, .bytes = 4096};
    struct json_field user = {.key = "user"};
    uint64_t left;

    f->now_us += 5 * US_PER_S;
    assert_int_equal(fake_bind(f, &c, 0x4000, "8.8.8.8:1"), 0);
    fake_channel(f, &c, 0x4000, SLICE_LIT("hello"));
    assert_int_equal(list(f, "{\"command\":\"list\"}", sizeof(text) - 1, &left), 1);
    assert_int_equal(json_scan_object(slice_str(text), &limits, &user, 1), 0);
    assert_true(slice_is(user.value, "\"ann\""));
    assert_non_null(strstr(text, "\"allocation\":\"2.1\""));
    assert_non_null(strstr(text, "\"client\":\"203.0.113.7:1\",\"relayed\":\"198.41.0.4:5"));
    assert_non_null(
        strstr(text, "\"seconds\":5,\"expires_in\":595,\"up_packets\":1,\"up_bytes\":5,"));

    fake_client_rest(&c, "203.0.113.7:2", FAKE_SECRET, FAKE_WALL_S + 600, "call-7", "eve");
    assert_int_equal(fake_allocate(f, &c), 0);
    assert_int_equal(list(f, "{\"command\":\"list\"}", sizeof(text) - 1, &left), 2);
    assert_int_equal(list(f, "{\"command\":\"list\",\"user\":\"eve\"}", sizeof(text) - 1, &left),
                     1);
    assert_non_null(strstr(text, "\"allocation\":\"2.2\",\"user\":\"eve\",\"call\":\"call-7\""));
    assert_int_equal(list(f, "{\"command\":\"list\",\"user\":\"ev\"}", sizeof(text) - 1, &left), 0);
    assert_int_equal(left, 0);
}

static void test_list_stops_at_whole_lines(void **state)
{
    struct fake_relay *f = *state;
    uint64_t left, all = 5;

    for (unsigned i = 0; i < all; i++) {
        char at[32];
        snprintf(at, sizeof(at), "203.0.113.7:%u", i + 1);
        allocated(f, at, "ann", "of green gables");
    }
    for (size_t room = 0; room < 2000; room += 7) {
        uint64_t shown = list(f, "{\"command\":\"list\"}", CONTROL_LAST_MAX + room, &left);
        size_t len = strlen(text);
        assert_int_equal(shown + left, all);
        assert_true(len <= room);
        assert_true(len == 0 || text[len - 1] == '\n');
    }
    assert_int_equal(list(f, "{\"command\":\"list\"}", 16, &left), 0);
    assert_int_equal(left, all);
}

static void test_kill_ends_one_and_no_later_one(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client ann = allocated(f, "203.0.113.7:1", "ann", "of green gables");
    struct fake_client bob = allocated(f, "203.0.113.7:2", "bob", "builder");

    assert_false(control_kill(&f->core, 0, f->now_us));
    assert_false(control_kill(&f->core, 3, f->now_us));
    assert_true(control_kill(&f->core, 1, f->now_us));
    assert_null(fake_alloc(f, &ann));
    assert_non_null(fake_alloc(f, &bob));
    assert_int_equal(fake_ports(f), 1);
    assert_int_equal(fake_allocate(f, &ann), 0); /* the same client again is another allocation */
    assert_false(control_kill(&f->core, 1, f->now_us));
    assert_int_equal(fake_refresh(f, &ann, 600), 0);
}

static void test_errors_are_json(void **state)
{
    char buf[128];
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    control_put_error(&w, "a \"quoted\" word");
    assert_true(slice_is(wr_done(&w), "{\"ok\":false,\"error\":\"a \\\"quoted\\\" word\"}\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        cmocka_unit_test(test_requests_are_decoded),
        cmocka_unit_test(test_anything_else_is_refused_with_a_reason),
        T(test_list_shows_each_allocation_on_a_line),
        T(test_list_stops_at_whole_lines),
        T(test_kill_ends_one_and_no_later_one),
        cmocka_unit_test(test_errors_are_json),
    };

    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
