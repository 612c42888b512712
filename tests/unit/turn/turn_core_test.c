/* turn_core.c and turn_shared.c: what ends ends once and is told, reloads, translation at a NAT.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/fake_relay.h"

static struct {
    unsigned n;
    const char *why;
} told;

static void on_ended(void *arg, const struct alloc *a, const char *why, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    assert_true(a->user_len > 0);
    told.n++;
    told.why = why;
}

static int setup(void **state)
{
    static struct fake_relay f;
    static const struct relay_ops ops = {.open = fake_open, .close = fake_close, .ended = on_ended};

    *state = &f;
    told.n = 0;
    if (fake_relay_init(&f) != 0)
        return -1;
    f.core.ops = &ops;
    return 0;
}

static int teardown(void **state)
{
    fake_relay_fini(*state);
    return 0;
}

static struct fake_client allocated(struct fake_relay *f, const char *at)
{
    struct fake_client c;

    fake_client_init(&c, at, "ann", "of green gables");
    assert_int_equal(fake_allocate(f, &c), 0);
    return c;
}

static void test_each_end_is_told_once_with_its_reason(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1");

    assert_int_equal(fake_refresh(f, &c, 0), 0);
    assert_int_equal(told.n, 1);
    assert_string_equal(told.why, "released");
    c = allocated(f, "203.0.113.7:2");
    turn_core_client_gone(&f->core, &c.tuple, f->now_us);
    assert_int_equal(told.n, 2);
    assert_string_equal(told.why, "disconnected");
    allocated(f, "203.0.113.7:3");
    fake_pass(f, 601 * US_PER_S);
    assert_int_equal(told.n, 3);
    assert_string_equal(told.why, "expired");
}

static void test_shutdown_ends_every_allocation(void **state)
{
    struct fake_relay *f = *state;

    allocated(f, "203.0.113.7:1");
    allocated(f, "203.0.113.7:2");
    turn_core_fini(&f->core, f->now_us);
    assert_int_equal(told.n, 2);
    assert_string_equal(told.why, "shutdown");
    assert_int_equal(f->opened, 0);
    assert_int_equal(fake_ports(f), 0);
    turn_core_fini(&f->core, f->now_us); /* a zeroed core is fine */
}

static void test_deadline_is_never_late(void **state)
{
    struct fake_relay *f = *state;

    assert_true(turn_core_deadline(&f->core, f->now_us) <= f->now_us + US_PER_S);
    allocated(f, "203.0.113.7:1");
    fake_pass(f, 599 * US_PER_S + US_PER_S / 2);
    assert_true(turn_core_deadline(&f->core, f->now_us) <= f->now_us + US_PER_S / 2 + 1000);
}

static void test_reload_changes_who_is_known(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c = allocated(f, "203.0.113.7:1");
    const struct credentials_spec spec = {.realm = SLICE_LIT(FAKE_REALM),
                                          .users = SLICE_LIT("bob:new\n")};
    char err[CREDENTIALS_ERR_MAX];

    turn_core_reload(&f->core, credentials_new(&spec, err));
    assert_int_equal(fake_refresh(f, &c, 600), 401);
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 401);
    assert_int_equal(fake_bind(f, &c, 0x4000, "8.8.8.8:1"), 401);
    assert_int_equal(f->opened, 1); /* until its time is over */
    fake_client_init(&c, "203.0.113.7:2", "bob", "new");
    assert_int_equal(fake_allocate(f, &c), 0);
}

static void test_rotated_out_secret_is_worth_nothing(void **state)
{
    struct fake_relay *f = *state;
    const struct slice secrets[] = {SLICE_LIT("newest"), SLICE_LIT(FAKE_SECRET)};
    const struct credentials_spec spec = {
        .realm = SLICE_LIT(FAKE_REALM), .secrets = secrets, .n_secrets = ARRAY_LEN(secrets)};
    struct fake_client old, kept;
    char err[CREDENTIALS_ERR_MAX];

    fake_client_rest(&old, "203.0.113.8:1", FAKE_PREVIOUS, FAKE_WALL_S + 900, "", "carl");
    fake_client_rest(&kept, "203.0.113.8:2", FAKE_SECRET, FAKE_WALL_S + 900, "", "carl");
    assert_int_equal(fake_allocate(f, &old), 0);
    assert_int_equal(fake_allocate(f, &kept), 0);
    turn_core_reload(&f->core, credentials_new(&spec, err));
    assert_int_equal(fake_refresh(f, &old, 600), 401);
    assert_int_equal(fake_permit(f, &old, "8.8.8.8"), 401);
    assert_int_equal(fake_bind(f, &old, 0x4000, "8.8.8.8:1"), 401);
    assert_int_equal(fake_refresh(f, &kept, 600), 0);
    assert_int_equal(fake_permit(f, &kept, "8.8.8.8"), 0);
}

static void test_only_live_relayed_addresses_are_translated(void **state)
{
    struct fake_relay *f = *state;
    struct addr inside = fake_addr("10.0.0.5");

    f->relays[0].bound = inside;
    struct fake_client c = allocated(f, "203.0.113.7:1");
    struct addr bound = fake_alloc(f, &c)->relayed;
    struct addr shown = addr_with_port(f->relays[0].shown, bound.port);
    struct addr other = fake_addr("8.8.8.8:1");
    struct addr got = turn_shared_to_wire(&f->shared, shown);
    assert_true(addr_eq(&got, &bound));
    got = turn_shared_from_wire(&f->shared, bound);
    assert_true(addr_eq(&got, &shown));
    got = turn_shared_from_wire(&f->shared, addr_with_port(bound, 53)); /* no allocation's port */
    assert_true(addr_ip_eq(&got, &bound));
    got = turn_shared_to_wire(&f->shared, other);
    assert_true(addr_eq(&got, &other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_each_end_is_told_once_with_its_reason),
        T(test_shutdown_ends_every_allocation),
        T(test_deadline_is_never_late),
        T(test_reload_changes_who_is_known),
        T(test_rotated_out_secret_is_worth_nothing),
        T(test_only_live_relayed_addresses_are_translated),
    };

    return cmocka_run_group_tests_name("turn_core", tests, NULL, NULL);
}
