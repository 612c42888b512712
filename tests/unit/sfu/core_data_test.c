/* core_data.c, and who has a data section at all. What goes over SCTP: data_link_test.c.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/core_data.h"

#include "tests/lib/fake_room.h"

#define MS US_PER_MS

static const struct fake_offer talker = {.mic = true, .audio = 3};

/* The answer of the last join or offer. */
static bool answered(const struct fake_room *w, const char *part)
{
    static char text[2 * FAKE_TEXT_MAX];

    slice_to_cstr(w->reply.u.joined.answer.text, text, sizeof(text));
    return strstr(text, part) != NULL;
}

static void test_data_that_is_not_allowed_is_closed_by_the_answer(void **state)
{
    struct fake_room *w = fake_room_new("");
    struct fake_offer o = {.mic = true, .audio = 1, .data = true, .mute = true, .blind = true};
    struct fake_client *a = fake_client_new(w, "r", "a"), *b = fake_client_new(w, "r", "b");

    (void)state;
    assert_true(fake_offer_it(a, &o, true));
    assert_true(answered(w, "m=application 0 "));
    o.blind = false; /* may hear what others send */
    assert_true(fake_offer_it(b, &o, true));
    assert_true(answered(w, "m=application 9 "));
    /* Permissions that come later count from the next offer on. */
    memset(&w->req.u, 0, sizeof(w->req.u));
    w->req.u.permissions.perms = (struct ctl_perms){CTL_SOURCES_ALL, .subscribe = true};
    fake_request(w, a, CTL_PERMISSIONS);
    assert_true(fake_offer_it(a, &o, false));
    assert_true(answered(w, "m=application 9 "));
    fake_room_free(w);

    w = fake_room_new("[data]\nenabled = no\n");
    a = fake_client_new(w, "r", "a");
    o.mute = false;
    assert_true(fake_offer_it(a, &o, true));
    assert_true(answered(w, "m=application 0 "));
    fake_room_free(w);
}

static void test_data_is_held_to_its_rates(void **state)
{
    static const char words[] = "{\"payload\":\"0123456789012345678901234567890123456789\"}";
    struct fake_room *w = fake_room_new("[data]\nmessages_per_s = 1000\nbytes_per_s = 640\n"
                                        "message_bytes = 64\n");
    struct fake_client *a = fake_join(w, "r", "a", &talker);
    const struct core_counters *n = &w->core->count;
    void *owner = room_member(room_find(w->core, slice_str("r")), slice_str("a"))->peer[0];

    (void)state;
    for (int i = 0; i < 30; i++)
        core_data_ops.message(owner, DATA_RELIABLE, true, slice_str(words));
    assert_int_equal(counter_get(&n->data_msgs), 10);
    assert_int_equal(counter_get(&n->drop[CORE_DROP_DATA]), 20);
    fake_wait(w, 500 * MS);
    for (int i = 0; i < 30; i++)
        core_data_ops.message(owner, DATA_RELIABLE, true, slice_str(words));
    assert_in_range(counter_get(&n->data_msgs), 14, 15);
    memset(&w->req.u, 0, sizeof(w->req.u));
    fake_request(w, a, CTL_PERMISSIONS); /* none are left */
    fake_wait(w, 500 * MS);
    core_data_ops.message(owner, DATA_RELIABLE, true, slice_str(words));
    assert_in_range(counter_get(&n->data_msgs), 14, 15);
    fake_room_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_that_is_not_allowed_is_closed_by_the_answer),
        cmocka_unit_test(test_data_is_held_to_its_rates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
