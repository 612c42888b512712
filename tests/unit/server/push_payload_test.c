/* Tests of server/push_payload.c: exact payloads and headers, limits, names in any script.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "tests/lib/guard.h"
#include "proto/json.h"
#include "proto/utf8.h"
#include "server/push_payload.h"

#define CALL "6f1e2a34-7b1c-4d0e-9c1f-2b3a4c5d6e7f"
#define NAME "\xea\xb9\x80\xec\xb2\xa0\xec\x88\x98" /* three Hangul syllables, three bytes each */

static uint8_t mem[PUSH_APNS_BYTES];
static struct push_apns p;

static struct push_content content(enum push_kind kind)
{
    return (struct push_content){.kind = kind,
                                 .topic = SLICE_LIT("com.acme.talk"),
                                 .call_id = SLICE_LIT(CALL),
                                 .from = SLICE_LIT("u1"),
                                 .name = SLICE_LIT(NAME),
                                 .now_s = 1795383765,
                                 .ring_until_s = 1795383795,
                                 .ws = SLICE_LIT("wss://sig1.example"),
                                 .ring_token = SLICE_LIT("rt"),
                                 .badge = 3,
                                 .live_type = SLICE_LIT("CallActivityAttributes"),
                                 .status = SLICE_LIT("active"),
                                 .started_s = 1795383770,
                                 .seconds = 312};
}

static int make(const struct push_content *c, bool brief)
{
    struct wr w = wr_init(mem, sizeof(mem));

    return push_payload_apns(&p, &w, c, brief);
}

static void expect(struct slice got, const char *want)
{
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.p, want, got.len);
}

static void test_ring(void **state)
{
    struct push_content c = content(PUSH_RING);

    (void)state;
    assert_int_equal(make(&c, false), 0);
    expect(p.payload,
           "{\"aps\":{},\"v\":1,\"call_id\":\"" CALL "\",\"from\":\"u1\",\"name\":\"" NAME
           "\",\"video\":false,\"ts\":1795383765,\"ring_until\":1795383795,"
           "\"ws\":\"wss://sig1.example\",\"k\":\"rt\"}");
    expect(p.topic, "com.acme.talk.voip");
    assert_string_equal(p.type, "voip");
    expect(p.priority, "10");
    expect(p.expiration, "0"); /* and it is there: absent would mean "store it" */
    assert_int_equal(p.collapse_id.len, 0);
}

static void test_ring_without_callkit(void **state)
{
    struct push_content c = content(PUSH_RING_ALERT);

    (void)state;
    c.video = true;
    assert_int_equal(make(&c, false), 0);
    expect(p.payload,
           "{\"aps\":{\"alert\":{\"loc-key\":\"INCOMING_VIDEO_CALL_FROM\",\"loc-args\":[\"" NAME
           "\"]},\"sound\":\"ring30.caf\",\"interruption-level\":\"time-sensitive\","
           "\"category\":\"INCOMING_CALL\",\"mutable-content\":1},\"v\":1,\"call_id\":\"" CALL
           "\",\"from\":\"u1\",\"name\":\"" NAME "\",\"video\":true,\"ts\":1795383765,"
           "\"ring_until\":1795383795,\"ws\":\"wss://sig1.example\",\"k\":\"rt\"}");
    expect(p.topic, "com.acme.talk");
    assert_string_equal(p.type, "alert");
    expect(p.priority, "10");
    expect(p.expiration, "1795383795");
    expect(p.collapse_id, "call:" CALL);
}

static void test_missed(void **state)
{
    struct push_content c = content(PUSH_MISSED);

    (void)state;
    assert_int_equal(make(&c, false), 0);
    expect(p.payload, "{\"aps\":{\"alert\":{\"loc-key\":\"MISSED_CALL_FROM\",\"loc-args\":[\"" NAME
                      "\"]},\"sound\":\"default\",\"badge\":3,\"category\":\"MISSED_CALL\","
                      "\"thread-id\":\"calls\"},\"v\":1,\"call_id\":\"" CALL
                      "\",\"from\":\"u1\",\"video\":false,\"ts\":1795383765}");
    expect(p.topic, "com.acme.talk");
    assert_string_equal(p.type, "alert");
    expect(p.expiration, "1795470165"); /* a day */
    expect(p.collapse_id, "missed:u1");
    c.badge = 0;
    assert_int_equal(make(&c, false), 0);
    assert_null(memmem(p.payload.p, p.payload.len, "badge", 5));
}

static void test_live_activity(void **state)
{
    struct push_content c = content(PUSH_LIVE_UPDATE);

    (void)state;
    assert_int_equal(make(&c, false), 0);
    expect(p.payload,
           "{\"aps\":{\"timestamp\":1795383765,\"event\":\"update\",\"content-state\":"
           "{\"status\":\"active\",\"startedAt\":1795383770},\"stale-date\":1795412565}}");
    expect(p.topic, "com.acme.talk.push-type.liveactivity");
    assert_string_equal(p.type, "liveactivity");
    expect(p.priority, "10");
    expect(p.expiration, "1795383825");
    c.live_quiet = true;
    assert_int_equal(make(&c, false), 0);
    expect(p.priority, "5");

    c = content(PUSH_LIVE_END);
    c.status = SLICE_LIT("ended");
    assert_int_equal(make(&c, false), 0);
    expect(p.payload, "{\"aps\":{\"timestamp\":1795383765,\"event\":\"end\",\"content-state\":"
                      "{\"status\":\"ended\",\"startedAt\":1795383770,\"seconds\":312},"
                      "\"dismissal-date\":1795383825}}");

    c = content(PUSH_LIVE_START);
    c.started_s = 0;
    assert_int_equal(make(&c, false), 0);
    expect(p.payload, "{\"aps\":{\"timestamp\":1795383765,\"event\":\"start\",\"attributes-type\":"
                      "\"CallActivityAttributes\",\"attributes\":{\"callId\":\"" CALL
                      "\",\"caller\":\"" NAME "\"},\"input-push-token\":1,\"alert\":{\"loc-key\":"
                      "\"CALL_WITH\",\"loc-args\":[\"" NAME "\"]},\"content-state\":{\"status\":"
                      "\"active\"},\"stale-date\":1795412565}}");
}

/* Names are cut between characters, also where they are not UTF-8 at all. */
static void test_long_names_fit(void **state)
{
    static uint8_t name[8192];
    static const struct json_limits limits = {8, 64, PUSH_VOIP_BYTES};
    static const enum push_kind kinds[] = {PUSH_RING, PUSH_RING_ALERT, PUSH_MISSED,
                                           PUSH_LIVE_START};
    static const char *const units[] = {"x",    "\xc3\xa9", "\xea\xb9\x80", "\xf0\x9f\x93\x9e",
                                        "\xff", "\"",       "\x01",         "\xed\xa0\x80"};

    (void)state;
    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        size_t len = strlen(units[u]);
        for (size_t i = 0; i + len <= sizeof(name); i += len)
            memcpy(name + i, units[u], len);
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
            for (size_t n = PUSH_NAME_MAX - 5; n < PUSH_NAME_MAX + 6; n++) {
                struct push_content c = content(kinds[k]);
                uint8_t *copy = guard_copy(name, n);
                c.name = slice_of(copy, n);
                assert_int_equal(make(&c, false), 0);
                assert_int_equal(json_scan(p.payload, &limits), 0);
                assert_true(utf8_valid(p.payload));
                assert_true(p.payload.len <= PUSH_OTHER_BYTES);
                if (utf8_valid(c.name)) /* whole characters only */
                    assert_null(memmem(p.payload.p, p.payload.len, "\xef\xbf\xbd", 3));
                guard_free(copy, n);
            }
        }
        struct push_content c = content(PUSH_RING);
        c.name = slice_of(name, sizeof(name));
        assert_int_equal(make(&c, false), 0);
        assert_int_equal(json_scan(p.payload, &limits), 0);
    }
}

static void test_brief_drops_what_is_optional(void **state)
{
    struct push_content c = content(PUSH_RING);
    uint8_t name[200];

    (void)state;
    memset(name, 'n', sizeof(name));
    c.name = slice_of(name, sizeof(name));
    assert_int_equal(make(&c, false), 0);
    size_t whole = p.payload.len;
    assert_int_equal(make(&c, true), 0);
    assert_true(p.payload.len + 130 < whole);
    assert_null(memmem(p.payload.p, p.payload.len, "\"ws\"", 4));
    assert_non_null(memmem(p.payload.p, p.payload.len, CALL, strlen(CALL)));
    assert_non_null(memmem(p.payload.p, p.payload.len, "\"ring_until\":1795383795", 23));
    assert_non_null(memmem(p.payload.p, p.payload.len, "\"k\":\"rt\"", 8)); /* it can't join else */
}

static void test_the_user_id_stands_for_a_missing_name(void **state)
{
    struct push_content c = content(PUSH_RING);

    (void)state;
    c.name = (struct slice){0};
    assert_int_equal(make(&c, false), 0);
    assert_non_null(memmem(p.payload.p, p.payload.len, "\"name\":\"u1\"", 11));
}

/* apns-collapse-id has 64 bytes; a user id may have 128. */
static void test_long_user_ids_collapse_by_hash(void **state)
{
    struct push_content c = content(PUSH_MISSED);
    uint8_t user[128];
    char first[PUSH_COLLAPSE_MAX];

    (void)state;
    memset(user, 'u', sizeof(user));
    for (size_t n = 1; n <= sizeof(user); n++) {
        c.from = slice_of(user, n);
        assert_int_equal(make(&c, false), 0);
        assert_true(p.collapse_id.len > 7 && p.collapse_id.len <= PUSH_COLLAPSE_MAX);
        assert_memory_equal(p.collapse_id.p, "missed:", 7);
    }
    assert_int_equal(p.collapse_id.len, 7 + 32);
    memcpy(first, p.collapse_id.p, p.collapse_id.len);
    user[127] = 'v';
    assert_int_equal(make(&c, false), 0);
    assert_memory_not_equal(first, p.collapse_id.p, p.collapse_id.len);
    c.from = slice_of(user, 57); /* 7 + 57 = 64: as it is */
    assert_int_equal(make(&c, false), 0);
    assert_int_equal(p.collapse_id.len, PUSH_COLLAPSE_MAX);
    assert_memory_equal(p.collapse_id.p + 7, user, 57);
}

static void test_what_is_not_acceptable(void **state)
{
    static uint8_t big[PUSH_RING_TOKEN_MAX + 1];
    struct push_content c;

    (void)state;
    memset(big, 'a', sizeof(big));
#define REFUSED(kind, member, value)                \
    do {                                            \
        c = content(kind);                          \
        c.member = value;                           \
        assert_int_equal(make(&c, false), -EINVAL); \
    } while (0)
    REFUSED(PUSH_RING, topic, (struct slice){0});
    REFUSED(PUSH_RING, topic, SLICE_LIT("com.acme talk"));
    REFUSED(PUSH_RING, topic, SLICE_LIT("com.acme\r\nx: y"));
    REFUSED(PUSH_RING, topic, slice_of(big, PUSH_TOPIC_MAX + 1));
    REFUSED(PUSH_RING, call_id, (struct slice){0});
    REFUSED(PUSH_RING, call_id, SLICE_LIT("a\nb"));
    REFUSED(PUSH_RING, call_id, slice_of(big, PUSH_CALL_ID_MAX + 1));
    REFUSED(PUSH_RING, from, (struct slice){0});
    REFUSED(PUSH_MISSED, from, SLICE_LIT("a b"));
    REFUSED(PUSH_RING, now_s, 0);
    REFUSED(PUSH_RING, ring_until_s, 0);
    REFUSED(PUSH_RING_ALERT, ring_until_s, 0);
    REFUSED(PUSH_RING, ws, slice_of(big, PUSH_WS_MAX + 1));
    REFUSED(PUSH_RING, ring_token, slice_of(big, PUSH_RING_TOKEN_MAX + 1));
    REFUSED(PUSH_RING, kind, PUSH_KIND_COUNT);
    REFUSED(PUSH_LIVE_UPDATE, status, (struct slice){0});
    REFUSED(PUSH_LIVE_UPDATE, status, slice_of(big, PUSH_WORD_MAX + 1));
    REFUSED(PUSH_LIVE_START, live_type, (struct slice){0});
    REFUSED(PUSH_LIVE_START, from, (struct slice){0});
#undef REFUSED
    c = content(PUSH_LIVE_END);
    c.from = (struct slice){0};
    assert_int_equal(make(&c, false), 0);
}

/* The largest that is acceptable fits; every smaller writer is told so. */
static void test_every_size_of_writer(void **state)
{
    static uint8_t big[PUSH_RING_TOKEN_MAX];
    struct push_content c = content(PUSH_RING);

    (void)state;
    memset(big, 'a', sizeof(big));
    c.topic = slice_of(big, PUSH_TOPIC_MAX);
    c.call_id = slice_of(big, PUSH_CALL_ID_MAX);
    c.from = slice_of(big, 128);
    c.name = slice_of(big, PUSH_NAME_MAX);
    c.ws = slice_of(big, PUSH_WS_MAX);
    c.ring_token = slice_of(big, PUSH_RING_TOKEN_MAX);
    struct wr all = wr_init(mem, sizeof(mem));
    assert_int_equal(push_payload_apns(&p, &all, &c, false), 0);
    for (size_t n = 0; n < all.len; n++) {
        uint8_t *room = guard_copy(NULL, n);
        struct wr w = wr_init(room, n);
        struct push_apns untouched = {.type = "x"};
        assert_int_equal(push_payload_apns(&untouched, &w, &c, false), -ENOSPC);
        assert_string_equal(untouched.type, "x");
        guard_free(room, n);
    }
}

static void test_kinds(void **state)
{
    (void)state;
    assert_string_equal(push_kind_name(PUSH_RING), "ring");
    assert_string_equal(push_kind_name(PUSH_LIVE_END), "live_end");
    assert_string_equal(push_kind_name(PUSH_KIND_COUNT), "");
    assert_true(push_kind_urgent(PUSH_RING));
    assert_true(push_kind_urgent(PUSH_RING_ALERT));
    assert_false(push_kind_urgent(PUSH_MISSED));
    assert_false(push_kind_urgent(PUSH_LIVE_START));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring),
        cmocka_unit_test(test_ring_without_callkit),
        cmocka_unit_test(test_missed),
        cmocka_unit_test(test_live_activity),
        cmocka_unit_test(test_long_names_fit),
        cmocka_unit_test(test_brief_drops_what_is_optional),
        cmocka_unit_test(test_the_user_id_stands_for_a_missing_name),
        cmocka_unit_test(test_long_user_ids_collapse_by_hash),
        cmocka_unit_test(test_what_is_not_acceptable),
        cmocka_unit_test(test_every_size_of_writer),
        cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
