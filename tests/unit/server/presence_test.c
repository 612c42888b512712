/* Tests of server/presence.c over the memory store: what others see, subscriptions, gathering.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "server/presence.h"
#include "server/presence_store_mem.h"

enum { SUBS_MAX = 3 };

struct fixture {
    struct presence_store *store;
    struct presence *p;
    struct presence_watcher w;
    uint64_t now;
    char text[PRESENCE_WRITE_BYTES];
};

static struct fixture f;

static int setup(void **state)
{
    (void)state;
    f = (struct fixture){.now = 10 * US_PER_S};
    f.store = presence_store_mem_new();
    f.p = presence_new(f.store, SUBS_MAX, f.now);
    assert_true(f.store && f.p);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    presence_unwatch_all(f.p, &f.w);
    assert_int_equal(presence_topics(f.p), 0);
    presence_free(f.p);
    presence_store_free(f.store);
    assert_int_equal(mem_live(), 0);
    return 0;
}

static struct presence_entry entry(const char *user, const char *device, enum sig_presence state)
{
    return (struct presence_entry){.user = slice_str(user),
                                   .device = slice_str(device),
                                   .session = {1},
                                   .generation = 1,
                                   .state = state,
                                   .attached = true};
}

static int put(const char *user, const char *device, enum sig_presence state)
{
    struct presence_entry e = entry(user, device, state);

    return presence_put(f.p, &e, f.now);
}

static void drop(const char *user, const char *device)
{
    struct presence_entry e = entry(user, device, SIG_PRESENCE_ONLINE);

    presence_remove(f.p, e.user, e.device, e.session, e.generation, f.now);
}

/* Subscribes; f.text holds the reply's body. */
static int subscribe(const char *users)
{
    struct wr out = wr_init(f.text, sizeof(f.text) - 1);
    int rc = presence_subscribe(f.p, &f.w, slice_str(users), SLICE_LIT("r"), &out, f.now);

    assert_false(out.bad);
    f.text[out.len] = '\0';
    return rc;
}

/* The next `presence` body that is due now, "" when there is none. */
static const char *told(void)
{
    struct wr out = wr_init(f.text, sizeof(f.text) - 1);
    struct presence_watcher *w = presence_pop(f.p, f.now);

    if (w)
        assert_true(w == &f.w && presence_write(f.p, w, &out));
    assert_false(w && presence_write(f.p, w, &out));
    f.text[out.len] = '\0';
    return f.text;
}

#define CHANGED(list) "\"type\":\"presence\",\"data\":{\"users\":[" list "]}}"
#define REPLY(list)   "\"type\":\"presence.subscribe\",\"re\":\"r\",\"data\":{\"users\":[" list "]}}"
#define USER(u, s)    "{\"user\":\"" u "\",\"state\":\"" s "\"}"

static void test_the_most_reachable_device_wins(void **state)
{
    static const struct {
        enum sig_presence a, b, seen;
    } cases[] = {
        {SIG_PRESENCE_ONLINE, SIG_PRESENCE_BUSY, SIG_PRESENCE_ONLINE},
        {SIG_PRESENCE_AWAY, SIG_PRESENCE_BUSY, SIG_PRESENCE_BUSY},
        {SIG_PRESENCE_AWAY, SIG_PRESENCE_INVISIBLE, SIG_PRESENCE_AWAY},
        {SIG_PRESENCE_INVISIBLE, SIG_PRESENCE_INVISIBLE, SIG_PRESENCE_OFFLINE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct presence_entry e[2] = {entry("bob", "a", cases[i].a), entry("bob", "b", cases[i].b)};
        assert_int_equal(presence_of(e, 2), cases[i].seen);
        e[0].attached = e[1].attached = false;
        assert_int_equal(presence_of(e, 2), SIG_PRESENCE_OFFLINE);
    }
    assert_int_equal(presence_of(NULL, 0), SIG_PRESENCE_OFFLINE);
}

static void test_unknown_offline_and_invisible_look_the_same(void **state)
{
    (void)state;
    put("bob", "phone", SIG_PRESENCE_BUSY);
    put("eve", "phone", SIG_PRESENCE_INVISIBLE);
    assert_int_equal(subscribe("[\"bob\",\"eve\",\"gh\\u006fst\"]"), 0);
    assert_string_equal(
        f.text, REPLY(USER("bob", "busy") "," USER("eve", "offline") "," USER("ghost", "offline")));
    assert_int_equal(presence_topics(f.p), 3);
}

static void test_changes_are_gathered(void **state)
{
    (void)state;
    subscribe("[\"bob\",\"eve\"]");
    assert_true(presence_deadline(f.p) == CLOCK_NEVER);
    put("bob", "phone", SIG_PRESENCE_ONLINE);
    f.now += 300 * US_PER_MS;
    put("eve", "phone", SIG_PRESENCE_ONLINE);
    put("bob", "phone", SIG_PRESENCE_AWAY);
    assert_string_equal(told(), "");
    assert_true(presence_deadline(f.p) <= 10 * US_PER_S + PRESENCE_GATHER_US + US_PER_MS);
    f.now = 10 * US_PER_S + PRESENCE_GATHER_US + US_PER_MS;
    assert_string_equal(told(), CHANGED(USER("bob", "away") "," USER("eve", "online")));
    assert_string_equal(told(), "");
}

static void test_what_changes_back_is_not_told(void **state)
{
    (void)state;
    put("bob", "phone", SIG_PRESENCE_ONLINE);
    subscribe("[\"bob\"]");
    drop("bob", "phone");
    put("bob", "phone", SIG_PRESENCE_ONLINE);
    f.now += US_PER_S;
    assert_string_equal(told(), "");
    put("bob", "pad", SIG_PRESENCE_BUSY); /* changes nothing that others see */
    f.now += US_PER_S;
    assert_string_equal(told(), "");
    drop("bob", "phone");
    drop("bob", "pad");
    f.now += US_PER_S;
    assert_string_equal(told(), CHANGED(USER("bob", "offline")));
}

static void test_subscriptions_add_up_to_the_maximum(void **state)
{
    (void)state;
    assert_int_equal(subscribe("[\"a\",\"b\"]"), 0);
    assert_int_equal(subscribe("[\"b\",\"a\",\"a\"]"), 0); /* no new ones */
    assert_int_equal(f.w.count, 2);
    assert_int_equal(subscribe("[\"c\",\"d\"]"), -ENOSPC);
    assert_string_equal(f.text, "");
    assert_int_equal(f.w.count, 2);
    assert_int_equal(presence_topics(f.p), 2);
    assert_int_equal(subscribe("[\"c\"]"), 0);
    presence_unsubscribe(f.p, &f.w, SLICE_LIT("[\"a\",\"zz\",\"b\"]"));
    assert_int_equal(f.w.count, 1);
    put("a", "phone", SIG_PRESENCE_ONLINE);
    f.now += US_PER_S;
    assert_string_equal(told(), "");
}

static void test_a_refresh_tells_everything_at_once(void **state)
{
    (void)state;
    put("bob", "phone", SIG_PRESENCE_ONLINE);
    subscribe("[\"bob\",\"eve\"]");
    presence_refresh(f.p, &f.w, f.now);
    assert_string_equal(told(), CHANGED(USER("bob", "online") "," USER("eve", "offline")));
}

static void test_dropped_changes_come_with_the_refresh(void **state)
{
    (void)state;
    subscribe("[\"bob\"]");
    put("bob", "phone", SIG_PRESENCE_ONLINE);
    f.now += US_PER_S;
    struct presence_watcher *w = presence_pop(f.p, f.now);
    assert_true(w == &f.w);
    presence_drop(f.p, w);
    assert_string_equal(told(), "");
    presence_refresh(f.p, &f.w, f.now);
    assert_string_equal(told(), CHANGED(USER("bob", "online")));
}

static void test_long_lists_come_in_parts(void **state)
{
    struct presence *p = presence_new(f.store, 500, f.now);
    struct presence_watcher w = {0};
    static char users[16384];
    static uint8_t out_mem[65536];
    struct wr list = wr_init(users, sizeof(users));
    unsigned parts = 0;

    (void)state;
    for (unsigned i = 0; i < 250; i++)
        wr_fmt(&list, "%s\"user-%u\"", i == 0 ? "[" : ",", i);
    wr_str(&list, "]");
    assert_true(presence_reply_size(wr_done(&list)) <= sizeof(out_mem));
    struct wr out = wr_init(out_mem, presence_reply_size(wr_done(&list)));
    assert_int_equal(presence_subscribe(p, &w, wr_done(&list), SLICE_LIT("r"), &out, f.now), 0);
    assert_false(out.bad);
    presence_refresh(p, &w, f.now);
    assert_true(presence_pop(p, f.now) == &w);
    for (out = wr_init(out_mem, PRESENCE_WRITE_BYTES); presence_write(p, &w, &out);
         out = wr_init(out_mem, PRESENCE_WRITE_BYTES)) {
        assert_false(out.bad);
        parts++;
    }
    assert_int_equal(parts, 3);
    presence_unwatch_all(p, &w);
    presence_free(p);
}

/* ---- a store that answers later ---- */

struct late_store {
    struct presence_store store;
    struct presence_lookup *waiting;
    unsigned lookups, cancels;
};

static int late_put(struct presence_store *s, const struct presence_entry *e)
{
    s->changed(s->changed_arg, e->user);
    return 0;
}
static void late_lookup(struct presence_store *s, struct slice user, struct presence_lookup *l)
{
    struct late_store *late = CONTAINER_OF(s, struct late_store, store);

    (void)user;
    late->waiting = l;
    late->lookups++;
}
static void late_cancel(struct presence_store *s, struct presence_lookup *l)
{
    (void)l;
    CONTAINER_OF(s, struct late_store, store)->cancels++;
}
static int late_watch(struct presence_store *s, struct slice user)
{
    (void)s;
    (void)user;
    return 0;
}
static void late_unwatch(struct presence_store *s, struct slice user)
{
    (void)s;
    (void)user;
}

static void test_a_store_may_answer_later(void **state)
{
    static const struct presence_store_ops ops = {.put = late_put,
                                                  .lookup = late_lookup,
                                                  .cancel = late_cancel,
                                                  .watch = late_watch,
                                                  .unwatch = late_unwatch};
    struct late_store late = {.store = {.ops = &ops}};
    struct presence_entry e = entry("bob", "phone", SIG_PRESENCE_ONLINE);
    struct presence *before = f.p;

    (void)state;
    f.p = presence_new(&late.store, SUBS_MAX, f.now);
    assert_int_equal(subscribe("[\"bob\"]"), 0);
    assert_string_equal(f.text, REPLY(USER("bob", "unknown"))); /* not known yet */
    assert_int_equal(put("bob", "phone", SIG_PRESENCE_ONLINE), 0);
    assert_int_equal(late.lookups, 1); /* one at a time */
    late.waiting->fn(late.waiting, 0, &e, 1);
    assert_int_equal(late.lookups, 2); /* it changed meanwhile: asked once more */
    late.waiting->fn(late.waiting, 0, &e, 1);
    f.now += US_PER_S;
    assert_string_equal(told(), CHANGED(USER("bob", "online")));
    put("bob", "phone", SIG_PRESENCE_ONLINE);
    late.waiting->fn(late.waiting, -EIO, NULL, 0); /* cannot tell: that is not offline */
    f.now += US_PER_S;
    assert_string_equal(told(), CHANGED(USER("bob", "unknown")));
    put("bob", "phone", SIG_PRESENCE_ONLINE);
    late.waiting->fn(late.waiting, -EIO, &e, 1); /* a device here is there whatever fails */
    f.now += US_PER_S;
    assert_string_equal(told(), CHANGED(USER("bob", "online")));
    put("bob", "phone", SIG_PRESENCE_ONLINE);
    presence_unwatch_all(f.p, &f.w);
    assert_int_equal(late.cancels, 1);
    presence_free(f.p);
    f.p = before;
}

static void test_oom_subscribes_all_or_nothing(void **state)
{
    uint64_t live = mem_live();
    bool done = false;

    (void)state;
    for (uint64_t n = 0; !done; n++) {
        mem_fail_after(n);
        int rc = subscribe("[\"a\",\"b\",\"c\"]");
        done = !mem_failed();
        mem_fail_never();
        assert_true(rc == 0 || rc == -ENOMEM);
        assert_int_equal(f.w.count, rc == 0 ? 3 : 0);
        presence_unwatch_all(f.p, &f.w);
        assert_int_equal(mem_live(), live);
    }
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_the_most_reachable_device_wins),
        TEST(test_unknown_offline_and_invisible_look_the_same),
        TEST(test_changes_are_gathered),
        TEST(test_what_changes_back_is_not_told),
        TEST(test_subscriptions_add_up_to_the_maximum),
        TEST(test_a_refresh_tells_everything_at_once),
        TEST(test_dropped_changes_come_with_the_refresh),
        TEST(test_long_lists_come_in_parts),
        TEST(test_a_store_may_answer_later),
        TEST(test_oom_subscribes_all_or_nothing),
    };

    return cmocka_run_group_tests_name("presence", tests, NULL, NULL);
}
