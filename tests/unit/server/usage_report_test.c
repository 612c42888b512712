/* The daily report's core: each byte once, calls joined with their relays, whatever the order.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/usage_report.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"

#define DAY   UINT32_C(20785) /* 2026-11-28 */
#define DAY_S ((uint64_t)DAY * 86400)
#define MS(s) ((s)*UINT64_C(1000))

static struct usage_conf conf(void)
{
    return (struct usage_conf){.from = 0,
                               .to = USAGE_DAY_MAX,
                               .now_s = DAY_S + 2 * 86400,
                               .relayed_bytes_s = 200,
                               .most = 100000,
                               .user_key = SLICE_LIT("key")};
}

static struct usage_report *fresh(void)
{
    const struct usage_conf c = conf();
    struct usage_report *r = usage_report_new(&c);

    assert_non_null(r);
    return r;
}

static const char *id_text(unsigned n)
{
    static char text[4][40];
    static unsigned at;

    at = (at + 1) % 4;
    snprintf(text[at], sizeof(text[at]), "6f1e2a34-0000-4000-8000-%012x", n);
    return text[at];
}

static struct sig_call_id id_of(unsigned n)
{
    struct sig_call_id id;

    assert_int_equal(sig_call_id_parse(&id, slice_str(id_text(n))), 0);
    return id;
}

/* Record of allocation `serial` of call n: 50 packets of 72 bytes a second and direction. */
static struct relay_record rec(uint64_t serial, unsigned n, uint64_t at_s, uint64_t seconds)
{
    return (struct relay_record){.boot = 1,
                                 .serial = serial,
                                 .at_s = at_s,
                                 .seconds = seconds,
                                 .transport = RELAY_UDP,
                                 .region = SLICE_LIT("kr"),
                                 .user = SLICE_LIT("ann"),
                                 .call = slice_str(id_text(n)),
                                 .up_pkts = seconds * 50,
                                 .up_bytes = seconds * 3600,
                                 .down_pkts = seconds * 50,
                                 .down_bytes = seconds * 3600};
}

static void relay(struct usage_report *r, struct relay_record v)
{
    assert_int_equal(usage_report_relay(r, &v), 0);
}

/* Call n, answered after 5 s, that talked for so long. */
static struct usage_call call_of(unsigned n, uint64_t seconds)
{
    return (struct usage_call){.id = id_of(n),
                               .created_ms = MS(DAY_S + 100),
                               .ring_ms = MS(DAY_S + 100) + 300,
                               .answer_ms = MS(DAY_S + 105),
                               .end_ms = MS(DAY_S + 105 + seconds),
                               .outcome = LEDGER_ANSWERED,
                               .reason = SIG_REASON_HANGUP};
}

static void call(struct usage_report *r, struct usage_call v)
{
    assert_int_equal(usage_report_call(r, &v), 0);
}

static void close_it(struct usage_report *r)
{
    assert_int_equal(usage_report_close(r), 0);
}

/* The only row of a path of a day. */
static struct usage_row row_of(const struct usage_report *r, uint32_t day, enum usage_path path)
{
    struct usage_row found = {0};
    size_t n;
    const struct usage_row *v = usage_report_rows(r, &n);

    for (size_t i = 0; i < n; i++) {
        if (v[i].day != day || v[i].path != path)
            continue;
        if (!found.region)
            found = v[i];
        else
            usage_row_add(&found, &v[i]);
    }
    return found;
}

/* ---- relays ---- */

static void test_an_allocation_counts_once_however_many_records_tell_of_it(void **state)
{
    struct usage_report *r = fresh();

    (void)state;
    relay(r, rec(1, 1, DAY_S + 160, 60));
    relay(r, rec(1, 1, DAY_S + 220, 120));
    relay(r, rec(1, 1, DAY_S + 220, 120)); /* doubled */
    relay(r, rec(2, 1, DAY_S + 220, 10));  /* another one of the same call */
    relay(r, rec(1, 1, DAY_S + 190, 90));  /* late */
    close_it(r);
    struct usage_row row = row_of(r, DAY, USAGE_TURN_UDP);
    assert_int_equal(row.allocations, 2);
    assert_int_equal(row.alloc_seconds, 130);
    assert_int_equal(row.traffic.up_bytes, 130 * 3600);
    assert_int_equal(row.traffic.down_pkts, 130 * 50);
    assert_int_equal(row.traffic.wire_out, 2 * 130 * 3600 + 130 * 50 * (28 + 32));
    assert_string_equal(row.region, "kr");
    usage_report_free(r);
}

static void test_bytes_belong_to_the_day_of_the_record_that_told_them(void **state)
{
    struct usage_report *r = fresh();

    (void)state;
    relay(r, rec(1, 1, DAY_S + 86400 + 60, 300)); /* the end, after midnight, comes first */
    relay(r, rec(1, 1, DAY_S + 86400 - 10, 230));
    relay(r, rec(1, 1, DAY_S + 86400 - 70, 170));
    close_it(r);
    assert_int_equal(row_of(r, DAY, USAGE_TURN_UDP).traffic.up_bytes, 230 * 3600);
    assert_int_equal(row_of(r, DAY + 1, USAGE_TURN_UDP).traffic.up_bytes, 70 * 3600);
    assert_int_equal(row_of(r, DAY, USAGE_TURN_UDP).allocations +
                         row_of(r, DAY + 1, USAGE_TURN_UDP).allocations,
                     1);
    usage_report_free(r);
}

/* Amounts that fall (a damaged record, or two processes of one name) never make a sum negative. */
static void test_amounts_never_fall(void **state)
{
    struct usage_report *r = fresh();

    (void)state;
    relay(r, rec(1, 1, DAY_S + 100, 300));
    relay(r, rec(1, 1, DAY_S + 86400 + 100, 10));
    close_it(r);
    assert_int_equal(row_of(r, DAY, USAGE_TURN_UDP).traffic.up_bytes, 300 * 3600);
    assert_int_equal(row_of(r, DAY + 1, USAGE_TURN_UDP).traffic.up_bytes, 0);
    usage_report_free(r);
}

static void test_what_is_ahead_of_the_clock_is_skipped(void **state)
{
    struct usage_report *r = fresh();
    struct usage_call c = call_of(1, 60);
    const struct usage_sum ahead = {.day = DAY + 4, .calls = 1};
    size_t n;

    (void)state;
    relay(r, rec(1, 1, DAY_S + 3 * 86400 + 1, 60)); /* now is two days on, one more is allowed */
    relay(r, rec(2, 1, DAY_S + 3 * 86400 - 1, 60));
    c.created_ms = MS(DAY_S + 4 * 86400);
    c.answer_ms = c.ring_ms = 0;
    c.end_ms = c.created_ms + 1;
    call(r, c);
    c = call_of(2, 60);
    c.end_ms = c.answer_ms - 1; /* ends before it was answered */
    call(r, c);
    assert_int_equal(usage_report_sum(r, &ahead), 0);
    close_it(r);
    assert_int_equal(usage_report_skipped(r)->future, 3);
    assert_int_equal(usage_report_skipped(r)->outside, 1);
    usage_report_rows(r, &n);
    assert_true(n >= 1 && row_of(r, DAY + 2, USAGE_TURN_UDP).allocations == 1);
    usage_report_free(r);
}

static void test_users_are_hashed_and_the_greatest_comes_first(void **state)
{
    struct usage_report *r = fresh();
    struct relay_record v;
    size_t n;

    (void)state;
    v = rec(1, 1, DAY_S + 100, 10);
    relay(r, v);
    v = rec(2, 2, DAY_S + 100, 20);
    v.user = SLICE_LIT("bob");
    relay(r, v);
    v = rec(3, 3, DAY_S + 100, 500);
    v.user = SLICE_LIT("-"); /* not told */
    relay(r, v);
    v = rec(4, 4, DAY_S + 100, 15);
    relay(r, v);
    close_it(r);
    const struct usage_user *u = usage_report_users(r, &n);
    assert_int_equal(n, 2);
    assert_int_equal(u[0].bytes, 2 * 25 * 3600); /* ann's two */
    assert_int_equal(u[0].allocations, 2);
    assert_int_equal(u[1].bytes, 2 * 20 * 3600);
    assert_true(memcmp(u[0].hash, "ann", 3) != 0);
    usage_report_free(r);
}

/* ---- calls ---- */

static void test_a_call_goes_where_its_media_went(void **state)
{
    struct usage_report *r = fresh();
    struct relay_record v;
    struct usage_call c;

    (void)state;
    call(r, call_of(1, 60));
    relay(r, rec(1, 1, DAY_S + 200, 60)); /* carried by the relay */
    call(r, call_of(2, 60));
    v = rec(2, 2, DAY_S + 200, 60); /* connectivity checks only */
    v.up_bytes = v.down_bytes = 60 * 90;
    v.up_pkts = v.down_pkts = 60;
    relay(r, v);
    call(r, call_of(3, 30)); /* the relay never heard of it */
    call(r, call_of(4, 60)); /* both sides relayed, one over TLS with more */
    v = rec(4, 4, DAY_S + 200, 60);
    relay(r, v);
    v = rec(5, 4, DAY_S + 200, 61);
    v.transport = RELAY_TLS;
    relay(r, v);
    c = call_of(5, 10); /* no media could flow */
    c.reason = SIG_REASON_MEDIA_FAILED;
    call(r, c);
    c = call_of(6, 40);
    c.path = LEDGER_SFU;
    call(r, c);
    c = call_of(7, 0);
    c.outcome = LEDGER_MISSED;
    c.answer_ms = 0;
    call(r, c);
    close_it(r);
    assert_int_equal(row_of(r, DAY, USAGE_TURN_UDP).calls[LEDGER_ANSWERED], 1);
    assert_int_equal(row_of(r, DAY, USAGE_TURN_UDP).seconds, 60);
    struct usage_row p2p = row_of(r, DAY, USAGE_P2P);
    assert_int_equal(p2p.calls[LEDGER_ANSWERED], 2);
    assert_int_equal(p2p.inferred, 2);
    assert_int_equal(p2p.seconds, 90);
    assert_int_equal(row_of(r, DAY, USAGE_TURN_TLS).calls[LEDGER_ANSWERED], 1);
    assert_int_equal(row_of(r, DAY, USAGE_SFU).seconds, 40);
    struct usage_row unknown = row_of(r, DAY, USAGE_PATH_UNKNOWN);
    assert_int_equal(unknown.calls[LEDGER_ANSWERED], 1);
    assert_int_equal(unknown.ice_failed, 1);
    assert_int_equal(unknown.calls[LEDGER_MISSED], 1);
    /* Voice is of what carried: 60 s of both directions in 20 ms packets. */
    assert_int_equal(usage_voice_ptime_ms(row_of(r, DAY, USAGE_TURN_UDP).voice), 20);
    assert_int_equal(row_of(r, DAY, USAGE_TURN_UDP).voice.seconds, 120 + 120);
    usage_report_free(r);
}

static void test_without_relays_nothing_is_said_about_the_path(void **state)
{
    struct usage_report *r = fresh();

    (void)state;
    call(r, call_of(1, 60));
    close_it(r);
    assert_int_equal(row_of(r, DAY, USAGE_PATH_UNKNOWN).calls[LEDGER_ANSWERED], 1);
    assert_int_equal(row_of(r, DAY, USAGE_P2P).inferred, 0);
    usage_report_free(r);
}

static void test_without_a_ledger_relayed_calls_are_all_calls(void **state)
{
    struct usage_report *r = fresh();

    (void)state;
    relay(r, rec(1, 1, DAY_S + 200, 60));
    relay(r, rec(2, 1, DAY_S + 200, 50)); /* the other side of the same */
    relay(r, rec(3, 2, DAY_S + 200, 0));
    struct relay_record video = rec(4, 3, DAY_S + 86500, 60);
    video.down_pkts *= 5;
    relay(r, video);
    close_it(r);
    assert_int_equal(row_of(r, DAY + 1, USAGE_TURN_UDP).voice.pkts, 0);
    struct usage_row row = row_of(r, DAY, USAGE_TURN_UDP);
    assert_int_equal(row.calls[LEDGER_ANSWERED], 1);
    assert_int_equal(row.seconds, 60);
    assert_int_equal(row.allocations, 3);
    assert_int_equal(row.voice.seconds, 2 * (60 + 50)); /* by its packets */
    usage_report_free(r);
}

static void test_quality_and_codec(void **state)
{
    struct usage_report *r = fresh();
    struct usage_leg l = {.id = id_of(1),
                          .codec = SLICE_LIT("opus-wb"),
                          .at_ms = MS(DAY_S + 150),
                          .path = LEDGER_TURN,
                          .samples = 10,
                          .mos_milli = 4100,
                          .network = SLICE_LIT("wifi")};

    (void)state;
    assert_int_equal(usage_report_leg(r, &l), 0);
    l.mos_milli = 3700;
    assert_int_equal(usage_report_leg(r, &l), 0);
    l.network = SLICE_LIT("pigeon");
    assert_int_equal(usage_report_leg(r, &l), 0);
    l.codec = SLICE_LIT("pcmu"); /* few samples: not the call's codec */
    l.samples = 1;
    l.mos_milli = 99999; /* absurd: counted nowhere */
    l.network = SLICE_LIT("cellular");
    assert_int_equal(usage_report_leg(r, &l), 0);
    struct usage_call c = call_of(1, 60);
    c.reason = SIG_REASON_MEDIA_FAILED;
    call(r, c);
    l.leg = SLICE_LIT("relay"); /* others have told */
    l.mos_milli = 1000;
    l.samples = 1000;
    assert_int_equal(usage_report_leg(r, &l), 0);
    relay(r, rec(1, 1, DAY_S + 200, 60));
    close_it(r);
    size_t n;
    const struct usage_row *v = usage_report_rows(r, &n);
    assert_int_equal(n, 2);
    assert_string_equal(v[0].codec, "opus-wb");
    assert_int_equal(v[0].calls[LEDGER_ANSWERED], 1);
    assert_int_equal(v[0].traffic.up_bytes, 60 * 3600);
    assert_int_equal(usage_row_mos(&v[0]), (4100 + 3700 + 3700) / 3);
    assert_int_equal(usage_row_mos_quantile(&v[0], 100), 3750);
    assert_int_equal(v[1].mos_n, 0);
    assert_int_equal(v[0].net[USAGE_WIFI].legs, 2);
    assert_int_equal(v[0].net[USAGE_WIFI].ice_failed, 2);
    assert_int_equal(usage_net_mos(&v[0].net[USAGE_WIFI]), 3900);
    assert_int_equal(v[0].net[USAGE_OTHER_NETWORK].legs, 0);
    assert_int_equal(v[1].net[USAGE_CELLULAR].legs, 1);
    assert_int_equal(usage_net_mos(&v[1].net[USAGE_CELLULAR]), 0);
    usage_report_free(r);
}

static void test_pushes(void **state)
{
    struct usage_report *r = fresh();
    struct usage_push p = {.id = id_of(1),
                           .kind = SLICE_LIT("ring"),
                           .status = 200,
                           .sent_ms = MS(DAY_S + 100) + 50,
                           .answered_ms = MS(DAY_S + 100) + 90};
    size_t n;

    (void)state;
    call(r, call_of(1, 60)); /* rings 300 ms after its invite */
    assert_int_equal(usage_report_push(r, &p), 0);
    p.sent_ms += 20; /* of another device */
    p.status = 410;
    p.reason = SLICE_LIT("Unregistered");
    assert_int_equal(usage_report_push(r, &p), 0);
    p.kind = SLICE_LIT("missed");
    assert_int_equal(usage_report_push(r, &p), 0);
    close_it(r);
    const struct usage_push_row *v = usage_report_pushes(r, &n);
    assert_int_equal(n, 3);
    assert_string_equal(v[0].kind, "missed");
    assert_true(v[1].status == 200 && v[1].reason[0] == '\0' && v[1].count == 1);
    assert_true(v[2].status == 410);
    assert_string_equal(v[2].reason, "Unregistered");
    const struct usage_day *d = usage_report_days(r, &n);
    assert_int_equal(n, 1);
    assert_int_equal(d->wake.count, 1);
    assert_in_range(usage_hist_quantile(&d->wake, 500), 240, 260); /* 300 - 50 */
    assert_int_equal(d->pdd.count, 1);
    assert_int_equal(d->answer.count, 3);
    usage_report_free(r);
}

/* ---- sums of the ledger ---- */

static void sum(struct usage_report *r, enum ledger_outcome o, uint64_t calls, uint64_t seconds)
{
    const struct usage_sum s = {
        .day = DAY, .region = SLICE_LIT("kr"), .outcome = o, .calls = calls, .seconds = seconds};

    assert_int_equal(usage_report_sum(r, &s), 0);
}

static void test_purged_pushes_and_failures_still_count(void **state)
{
    struct usage_report *r = fresh();
    const struct usage_push p = {
        .id = id_of(1), .kind = SLICE_LIT("ring"), .status = 200, .sent_ms = MS(DAY_S + 100)};
    struct usage_push_sum ps = {.day = DAY, .kind = SLICE_LIT("ring"), .status = 200, .count = 5};
    const struct usage_sum s = {
        .day = DAY, .outcome = LEDGER_ANSWERED, .calls = 3, .seconds = 100, .ice_failed = 2};
    struct usage_call c = call_of(1, 10);
    size_t n;

    (void)state;
    c.reason = SIG_REASON_MEDIA_FAILED;
    call(r, c); /* one of the two is still there */
    assert_int_equal(usage_report_sum(r, &s), 0);
    assert_int_equal(usage_report_push(r, &p), 0); /* and one push of the five */
    assert_int_equal(usage_report_push_sum(r, &ps), 0);
    ps.status = 410; /* of these, none */
    ps.day = DAY + 1;
    assert_int_equal(usage_report_push_sum(r, &ps), 0);
    close_it(r);
    assert_int_equal(row_of(r, DAY, USAGE_PATH_UNKNOWN).calls[LEDGER_ANSWERED], 3);
    assert_int_equal(row_of(r, DAY, USAGE_PATH_UNKNOWN).ice_failed, 2);
    const struct usage_push_row *v = usage_report_pushes(r, &n);
    assert_int_equal(n, 2);
    assert_true(v[0].count == 5 && v[1].count == 5 && v[1].status == 410);
    usage_report_free(r);
}

/* Which sums the calls that are still there are in is told by their paths, and what only a relay
 * knows was no direct call. */
static void test_purged_calls_keep_their_paths(void **state)
{
    struct usage_report *r = fresh();
    static const struct {
        enum ledger_path path;
        unsigned calls, seconds;
    } sums[] = {{LEDGER_P2P, 5, 500}, {LEDGER_TURN, 3, 90}, {LEDGER_SFU, 2, 20}};
    size_t n;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sums); i++) {
        const struct usage_sum s = {.day = DAY,
                                    .region = SLICE_LIT("kr"),
                                    .path = sums[i].path,
                                    .outcome = LEDGER_ANSWERED,
                                    .calls = sums[i].calls,
                                    .seconds = sums[i].seconds};
        assert_int_equal(usage_report_sum(r, &s), 0);
    }
    struct usage_call c = call_of(1, 10);
    c.path = LEDGER_SFU; /* one of its two */
    c.group = true;
    call(r, c);
    relay(r, rec(1, 2, DAY_S + 200, 60)); /* one of the three over relays */
    close_it(r);
    usage_report_rows(r, &n);
    assert_int_equal(row_of(r, DAY, USAGE_P2P).calls[LEDGER_ANSWERED], 5);
    assert_int_equal(row_of(r, DAY, USAGE_P2P).seconds, 500);
    assert_int_equal(row_of(r, DAY, USAGE_TURN_UDP).calls[LEDGER_ANSWERED], 1);
    assert_int_equal(row_of(r, DAY, USAGE_PATH_UNKNOWN).calls[LEDGER_ANSWERED], 2);
    usage_report_free(r);
}

static void test_purged_calls_still_count_and_others_not_twice(void **state)
{
    struct usage_report *r = fresh();
    uint64_t calls = 0, seconds = 0;
    size_t n;

    (void)state;
    sum(r, LEDGER_ANSWERED, 5, 400);
    sum(r, LEDGER_MISSED, 2, 0);
    call(r, call_of(1, 100)); /* of the five, two are still there */
    call(r, call_of(2, 60));
    relay(r, rec(1, 2, DAY_S + 200, 60));
    relay(r, rec(2, 9, DAY_S + 200, 70)); /* of one that is not */
    close_it(r);
    const struct usage_row *v = usage_report_rows(r, &n);
    for (size_t i = 0; i < n; i++) {
        calls += usage_row_calls(&v[i]);
        seconds += v[i].seconds;
    }
    assert_int_equal(calls, 7);
    assert_int_equal(seconds, 400);
    assert_int_equal(row_of(r, DAY, USAGE_TURN_UDP).calls[LEDGER_ANSWERED], 2);
    assert_int_equal(row_of(r, DAY, USAGE_TURN_UDP).seconds, 130);
    assert_int_equal(row_of(r, DAY, USAGE_P2P).calls[LEDGER_ANSWERED], 1);
    assert_int_equal(row_of(r, DAY, USAGE_PATH_UNKNOWN).calls[LEDGER_ANSWERED], 2);
    assert_int_equal(row_of(r, DAY, USAGE_PATH_UNKNOWN).calls[LEDGER_MISSED], 2);
    usage_report_free(r);
}

/* ---- archived days ---- */

static void archive(struct usage_report *r, uint64_t detail)
{
    const struct usage_day d = {.day = DAY, .detail = detail};
    const struct usage_row row = {.day = DAY,
                                  .path = USAGE_TURN_TCP,
                                  .region = "us",
                                  .codec = "",
                                  .seconds = 7,
                                  .calls = {[LEDGER_ANSWERED] = 1}};
    const struct usage_push_row push = {
        .day = DAY, .status = 200, .kind = "ring", .reason = "", .count = 4};

    assert_int_equal(usage_report_archived_day(r, &d), 0);
    assert_int_equal(usage_report_archived_row(r, &row), 0);
    assert_int_equal(usage_report_archived_push(r, &push), 0);
}

static void test_a_day_comes_from_where_more_is_known_of_it(void **state)
{
    (void)state;
    for (unsigned detail = 0; detail < 4; detail++) {
        struct usage_report *r = fresh();
        size_t n, pushes;

        archive(r, detail);
        call(r, call_of(1, 60));
        relay(r, rec(1, 1, DAY_S + 200, 60)); /* two things are known of the day */
        close_it(r);
        const struct usage_row *v = usage_report_rows(r, &n);
        usage_report_pushes(r, &pushes);
        assert_int_equal(n, 1);
        assert_int_equal(v[0].path, detail > 2 ? USAGE_TURN_TCP : USAGE_TURN_UDP);
        assert_int_equal(pushes, detail > 2);
        assert_int_equal(usage_report_days(r, &n)->archived, detail > 2);
        usage_report_free(r);
    }
}

/* ---- order, limits, memory ---- */

enum { INPUTS = 400 };

static int put(struct usage_report *r, unsigned i)
{
    unsigned n = i / 5;
    struct relay_record v = rec(n % 40, n % 40, DAY_S + 86000 + i % 1000, i % 90);
    struct usage_call c = call_of(n, 10 + n % 50);
    const struct usage_leg l = {.id = id_of(n),
                                .codec = n % 3 ? SLICE_LIT("opus") : SLICE_LIT("pcmu"),
                                .at_ms = MS(DAY_S + 100),
                                .samples = n % 4,
                                .mos_milli = 3000 + n};
    const struct usage_sum s = {.day = DAY,
                                .region = n % 2 ? SLICE_LIT("kr") : SLICE_LIT(""),
                                .outcome = n % LEDGER_OUTCOME_COUNT,
                                .calls = n,
                                .seconds = 10 * n};

    v.transport = (enum relay_transport)(n % 40 % RELAY_TRANSPORT_COUNT);
    v.boot = 1;
    switch (i % 5) {
    case 0:
        return n % 3 ? usage_report_call(r, &c) : 0;
    case 1:
        return usage_report_leg(r, &l);
    case 2:
        return usage_report_sum(r, &s);
    default:
        return usage_report_relay(r, &v);
    }
}

/* Texts of all rows, one after the other. */
static char *picture(const struct usage_report *r)
{
    size_t n, len = 0, cap = 1 << 20;
    char *out = malloc(cap);
    const struct usage_row *v = usage_report_rows(r, &n);

    assert_non_null(out);
    out[0] = '\0';
    for (size_t i = 0; i < n && len < cap; i++)
        len += (size_t)snprintf(
            out + len, cap - len, "%u %s %s %s %ju %ju %ju %ju %ju %ju %ju %ju\n", v[i].day,
            usage_path_name(v[i].path), v[i].region, v[i].codec, (uintmax_t)usage_row_calls(&v[i]),
            (uintmax_t)v[i].seconds, (uintmax_t)v[i].allocations, (uintmax_t)v[i].alloc_seconds,
            (uintmax_t)v[i].traffic.up_bytes, (uintmax_t)v[i].traffic.wire_out,
            (uintmax_t)v[i].voice.pkts, (uintmax_t)v[i].mos_milli);
    return out;
}

static void test_order_and_doubles_do_not_matter(void **state)
{
    char *first = NULL;

    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        struct usage_report *r = fresh();
        unsigned step = round % 2 ? 3 : 7; /* both without a divisor in common with INPUTS */

        for (unsigned i = 0; i < INPUTS; i++) {
            unsigned at = (i * step + round * 37) % INPUTS;
            assert_int_equal(put(r, at), 0);
            if (round > 2 && at % 5 > 2) /* a record of a relay, again */
                assert_int_equal(put(r, at), 0);
        }
        close_it(r);
        char *now = picture(r);
        usage_report_free(r);
        if (!first) {
            first = now;
            continue;
        }
        assert_string_equal(now, first);
        free(now);
    }
    free(first);
}

static void test_more_than_allowed_is_told(void **state)
{
    struct usage_conf c = conf();
    int rc = 0;

    (void)state;
    c.most = 10;
    struct usage_report *r = usage_report_new(&c);
    for (unsigned i = 0; i < 20 && rc == 0; i++) {
        struct relay_record v = rec(i, i, DAY_S + 100, 10);
        rc = usage_report_relay(r, &v);
    }
    assert_int_equal(rc, -ENOSPC);
    usage_report_free(r);
}

static void test_many_names_become_other(void **state)
{
    struct usage_report *r = fresh();
    char name[200];
    size_t n;

    (void)state;
    for (unsigned i = 0; i < USAGE_NAMES_MAX + 50; i++) {
        struct relay_record v = rec(i, 1, DAY_S + 100, 10);
        snprintf(name, sizeof(name), "region-%u", i);
        v.region = slice_str(name);
        relay(r, v);
    }
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    struct usage_leg l = {.id = id_of(1), .codec = slice_str(name), .at_ms = MS(DAY_S)};
    assert_int_equal(usage_report_leg(r, &l), 0); /* too long */
    close_it(r);
    usage_report_rows(r, &n);
    assert_true(n <= USAGE_NAMES_MAX + 2);
    usage_report_free(r);
}

static void test_days_are_written_and_read(void **state)
{
    static const char *const bad[] = {"",           "2026-11-31", "2026-13-01", "2026-1-001",
                                      "26-11-28",   "2026/11/28", "1969-12-31", "2100-01-01",
                                      "2026-11-2x", "+026-11-28", "2026-11-280"};
    uint8_t buf[USAGE_DAY_TEXT];
    uint32_t day;

    (void)state;
    for (uint32_t d = 0; d <= USAGE_DAY_MAX; d += 13) {
        struct wr w = wr_init(buf, sizeof(buf));
        usage_day_write(&w, d);
        assert_int_equal(usage_day_parse(wr_done(&w), &day), 0);
        assert_int_equal(day, d);
    }
    assert_int_equal(usage_day_parse(SLICE_LIT("2026-11-28"), &day), 0);
    assert_int_equal(day, DAY);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(usage_day_parse(slice_str(bad[i]), &day), -EBADMSG);
}

static int all(struct usage_report *r)
{
    int rc = 0;

    for (unsigned i = 0; i < 60 && rc == 0; i++)
        rc = put(r, i);
    return rc == 0 ? usage_report_close(r) : rc;
}

static void test_oom(void **state)
{
    const struct usage_conf c = conf();
    uint64_t live = mem_live();

    (void)state;
    for (uint64_t n = 0;; n++) {
        mem_fail_after(n);
        struct usage_report *r = usage_report_new(&c);
        int rc = r ? all(r) : -ENOMEM;
        bool failed = mem_failed();
        mem_fail_never();
        usage_report_free(r);
        assert_int_equal(mem_live(), live);
        if (!failed)
            break;
        assert_true(rc == -ENOMEM || rc == 0); /* a table that could not grow is only slower */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_allocation_counts_once_however_many_records_tell_of_it),
        cmocka_unit_test(test_bytes_belong_to_the_day_of_the_record_that_told_them),
        cmocka_unit_test(test_amounts_never_fall),
        cmocka_unit_test(test_what_is_ahead_of_the_clock_is_skipped),
        cmocka_unit_test(test_users_are_hashed_and_the_greatest_comes_first),
        cmocka_unit_test(test_a_call_goes_where_its_media_went),
        cmocka_unit_test(test_without_relays_nothing_is_said_about_the_path),
        cmocka_unit_test(test_without_a_ledger_relayed_calls_are_all_calls),
        cmocka_unit_test(test_quality_and_codec),
        cmocka_unit_test(test_pushes),
        cmocka_unit_test(test_purged_calls_keep_their_paths),
        cmocka_unit_test(test_purged_calls_still_count_and_others_not_twice),
        cmocka_unit_test(test_purged_pushes_and_failures_still_count),
        cmocka_unit_test(test_a_day_comes_from_where_more_is_known_of_it),
        cmocka_unit_test(test_order_and_doubles_do_not_matter),
        cmocka_unit_test(test_more_than_allowed_is_told),
        cmocka_unit_test(test_many_names_become_other),
        cmocka_unit_test(test_days_are_written_and_read),
        cmocka_unit_test(test_oom),
    };

    return cmocka_run_group_tests_name("usage_report", tests, NULL, NULL);
}
