/* Tests of server/h2_pool.c over scripted connections: placing, moving, resending, deadlines,
 * draining, back-off. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "server/h2_pool.h"

#define LINKS 64
#define SLOTS 4096
#define MS    US_PER_MS

/* A connection: what was submitted to it and not told of yet. */
struct fake {
    struct h2_conn *conn;
    struct h2_job *jobs[SLOTS];
    const struct h2_request *requests[SLOTS];
    unsigned n, room, forgotten;
    bool open, closed, gone; /* gone: takes no more */
};

static struct fake fakes[LINKS];
static unsigned n_fakes, wakes;
static bool no_open, no_memory;
static uint64_t now;
static struct h2_pool *pool;

static void *fake_open(void *env, struct h2_conn *c)
{
    (void)env;
    if (no_open)
        return NULL;
    assert_in_range(n_fakes, 0, LINKS - 1);
    struct fake *f = &fakes[n_fakes++];
    *f = (struct fake){.conn = c, .room = SLOTS, .open = true};
    return f;
}

static int fake_submit(void *link, const struct h2_request *q, struct h2_job *job, void **stream,
                       uint64_t now_us)
{
    struct fake *f = link;

    assert_true(f->open && now_us == now);
    if (no_memory)
        return -ENOMEM;
    if (f->gone)
        return -EPIPE;
    if (f->n >= f->room)
        return -EAGAIN;
    f->jobs[f->n] = job;
    f->requests[f->n] = q;
    *stream = &f->jobs[f->n++];
    return 0;
}

static void take(struct fake *f, unsigned i)
{
    f->n--;
    for (; i < f->n; i++) {
        f->jobs[i] = f->jobs[i + 1];
        f->requests[i] = f->requests[i + 1];
    }
}

static void fake_forget(void *link, void *stream)
{
    struct fake *f = link;

    f->forgotten++;
    take(f, (unsigned)((struct h2_job **)stream - f->jobs));
}

static void fake_close(void *link)
{
    ((struct fake *)link)->open = false;
    ((struct fake *)link)->closed = true;
}

static void fake_wake(void *env)
{
    (void)env;
    wakes++;
}

static const struct h2_conn_ops OPS = {fake_open, fake_submit, fake_forget, fake_close, fake_wake};

/* What done() heard: "3=answered:200". */
static char heard[8192];
static bool again; /* done() sends one more */
static unsigned dones;

static const char *name_of(enum h2_outcome o)
{
    static const char *const names[] = {"answered", "uncertain", "late", "refused",
                                        "no_connection"};
    return names[o];
}

static struct h2_response last;

static int send_as(uintptr_t id, uint64_t deadline_us, bool resend, unsigned avoid);

static void on_done(void *ctx, const struct h2_response *r)
{
    size_t at = strlen(heard);

    dones++;
    last = *r;
    assert_non_null(r->why);
    if (at < sizeof(heard) - 100)
        snprintf(heard + at, sizeof(heard) - at, "%s%u=%s%s", at ? " " : "",
                 (unsigned)(uintptr_t)ctx, name_of(r->outcome), r->maybe_done ? "?" : "");
    if (again) {
        again = false;
        assert_int_equal(send_as(99, now + US_PER_S, false, 0), 0);
    }
}

static int send_as(uintptr_t id, uint64_t deadline_us, bool resend, unsigned avoid)
{
    char path[32], body[32] = "body";
    struct h2_header h = {SLICE_LIT("apns-id"), SLICE_LIT("x"), H2_INDEX_FIRST};

    snprintf(path, sizeof(path), "/3/device/%u", (unsigned)id);
    const struct h2_request q = {.path = slice_str(path),
                                 .authorization = SLICE_LIT("bearer t"),
                                 .headers = &h,
                                 .n_headers = 1,
                                 .body = slice_str(body),
                                 .deadline_us = deadline_us,
                                 .resend_uncertain = resend};
    int rc = h2_pool_send(pool, &q, on_done, (void *)id, avoid, now);
    memset(path, '!', sizeof(path) - 1); /* everything was copied */
    memset(body, '!', sizeof(body) - 1);
    return rc;
}

static void send_ok(uintptr_t id)
{
    assert_int_equal(send_as(id, now + 10 * US_PER_S, false, 0), 0);
}

static void pump(void)
{
    h2_pool_pump(pool, now);
}

static struct h2_pool_conf conf;

static void start(void)
{
    pool = h2_pool_new(&conf, &OPS, NULL, now);
    assert_non_null(pool);
    pump();
}

static void up(unsigned i)
{
    h2_conn_opened(fakes[i].conn, now);
    h2_conn_limit(fakes[i].conn, fakes[i].room, now);
    pump();
}

static void start_up(void)
{
    start();
    for (unsigned i = 0; i < conf.conns; i++)
        up(i);
}

static const struct h2_response OK = {.status = 200, .why = ""};

static void answer(unsigned f, unsigned i)
{
    struct h2_job *j = fakes[f].jobs[i];

    take(&fakes[f], i);
    h2_job_answered(j, &OK, now);
}

static void refuse(unsigned f, unsigned i, bool goaway)
{
    struct h2_job *j = fakes[f].jobs[i];

    take(&fakes[f], i);
    h2_job_refused(j, goaway, now);
}

static void fail_job(unsigned f, unsigned i)
{
    struct h2_job *j = fakes[f].jobs[i];

    take(&fakes[f], i);
    h2_job_failed(j, "reset", now);
}

static void end(unsigned f, enum h2_end how)
{
    fakes[f].open = false;
    h2_conn_ended(fakes[f].conn, how, "broke", now);
    pump();
}

/* Runs the clock to `to` as a shell would; the deadline must move on. */
static void run_to(uint64_t to)
{
    for (unsigned turns = 0;; turns++) {
        uint64_t at = h2_pool_deadline(pool);
        assert_true(turns < 10000);
        if (at > to)
            break;
        now = at > now ? at : now;
        pump();
    }
    now = to;
    pump();
}

static bool is_path(unsigned f, unsigned i, const char *path)
{
    return slice_is(fakes[f].requests[i]->path, path);
}

static int setup(void **state)
{
    (void)state;
    n_fakes = wakes = dones = 0;
    no_open = no_memory = again = false;
    heard[0] = '\0';
    now = 1000 * US_PER_S;
    conf = H2_POOL_CONF_DEFAULT;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    h2_pool_free(pool, now);
    pool = NULL;
    return mem_live() == 0 ? 0 : -1;
}

static void test_opens_all_connections_and_sends_over_those_that_are_up(void **state)
{
    (void)state;
    start();
    assert_int_equal(n_fakes, 2);
    send_ok(1);
    assert_int_equal(wakes, 1);
    pump();
    assert_int_equal(fakes[0].n + fakes[1].n, 0);
    up(1);
    assert_int_equal(h2_pool_up(pool), 1);
    assert_int_equal(fakes[1].n, 1);
    assert_true(slice_is(fakes[1].requests[0]->body, "body"));
    assert_true(slice_is(fakes[1].requests[0]->headers[0].name, "apns-id"));
    assert_true(is_path(1, 0, "/3/device/1"));
    now += 7 * MS;
    answer(1, 0);
    assert_string_equal(heard, "1=answered?");
    assert_int_equal(last.status, 200);
    assert_int_equal(last.conn, 2);
    assert_int_equal(last.answered_us - last.sent_us, 7 * MS);
}

static void test_fewest_under_way_first_and_no_more_than_the_peer_or_we_allow(void **state)
{
    (void)state;
    conf.streams_max = 3;
    start_up();
    fakes[1].room = 2;
    for (uintptr_t i = 0; i < 7; i++)
        send_ok(i);
    pump();
    assert_int_equal(fakes[0].n, 3);
    assert_int_equal(fakes[1].n, 2);
    assert_int_equal(counter_get(&h2_pool_stats(pool)->waiting), 2);
    assert_int_equal(counter_get(&h2_pool_stats(pool)->inflight), 5);
    fakes[1].room = 3; /* the limit moved */
    h2_conn_limit(fakes[1].conn, 3, now);
    assert_int_equal(h2_pool_streams_limit(pool, 1), 3);
    assert_int_equal(counter_get(&h2_pool_stats(pool)->streams[1]), 3);
    pump();
    assert_int_equal(fakes[1].n, 3);
    assert_true(is_path(1, 2, "/3/device/5")); /* first come, first served */
    answer(0, 0);
    pump();
    assert_int_equal(fakes[0].n, 3);
    assert_int_equal(counter_get(&h2_pool_stats(pool)->waiting), 0);
}

static void test_send_refuses_what_it_can_not_take(void **state)
{
    static uint8_t big[H2_REQUEST_BODY_MAX + 1];
    struct h2_header h[H2_REQUEST_HEADERS_MAX + 1] = {{{0}, {0}, H2_INDEX}};
    struct h2_request q = {.path = SLICE_LIT("/"), .deadline_us = now + 1};

    (void)state;
    conf.queue_max = 2;
    start_up();
    q.body = slice_of(big, sizeof(big));
    assert_int_equal(h2_pool_send(pool, &q, on_done, NULL, 0, now), -EMSGSIZE);
    q.body.len--;
    q.headers = h;
    q.n_headers = H2_REQUEST_HEADERS_MAX + 1;
    assert_int_equal(h2_pool_send(pool, &q, on_done, NULL, 0, now), -EMSGSIZE);
    assert_int_equal(send_as(1, now, false, 0), -ETIME);
    send_ok(1);
    pump(); /* under way counts, too */
    send_ok(2);
    assert_int_equal(send_as(3, now + 1, false, 0), -ENOBUFS);
    answer(0, 0);
    assert_int_equal(send_as(3, now + 1, false, 0), 0);
    assert_string_equal(heard, "1=answered?");
}

static void test_goaway_moves_what_was_not_acted_on_and_the_rest_is_finished(void **state)
{
    (void)state;
    conf.conns = 1;
    start_up();
    fakes[0].room = 4;
    for (uintptr_t i = 0; i < 5; i++)
        send_ok(i);
    pump();
    assert_int_equal(fakes[0].n, 4);
    fakes[0].gone = true;
    h2_conn_goaway(fakes[0].conn, "{\"reason\":\"Shutdown\"}", now);
    refuse(0, 2, true);
    refuse(0, 2, true);
    assert_int_equal(h2_pool_up(pool), 0);
    assert_string_equal(h2_pool_trouble(pool), "GOAWAY: {\"reason\":\"Shutdown\"}");
    run_to(now + conf.retry_min_us); /* it answered nothing: with a pause */
    assert_int_equal(n_fakes, 2);
    up(1);
    assert_int_equal(fakes[1].n, 3);
    assert_true(is_path(1, 0, "/3/device/2")); /* before what came later */
    assert_true(is_path(1, 1, "/3/device/3"));
    assert_true(is_path(1, 2, "/3/device/4"));
    answer(0, 0);
    pump();
    assert_false(fakes[0].closed);
    answer(0, 0);
    pump();
    assert_true(fakes[0].closed);
    for (int i = 0; i < 3; i++)
        answer(1, 0);
    assert_string_equal(heard, "0=answered? 1=answered? 2=answered? 3=answered? 4=answered?");
    assert_int_equal(counter_get(&h2_pool_stats(pool)->moved_goaway), 2);
}

static void test_a_refused_request_comes_again_with_growing_pauses(void **state)
{
    static const unsigned pauses_ms[] = {0, 20, 40, 80, 160, 320, 640, 1000, 1000};

    (void)state;
    start_up();
    assert_int_equal(send_as(1, now + 20 * US_PER_S, false, 0), 0);
    pump();
    for (size_t i = 0; i < ARRAY_LEN(pauses_ms); i++) {
        unsigned f = fakes[0].n ? 0 : 1;
        assert_int_equal(fakes[f].n, 1);
        refuse(f, 0, false);
        pump();
        if (pauses_ms[i] > 0) {
            assert_int_equal(fakes[0].n + fakes[1].n, 0);
            run_to(now + pauses_ms[i] * MS - 1);
            assert_int_equal(fakes[0].n + fakes[1].n, 0);
            run_to(now + MS + 1);
        }
    }
    assert_int_equal(fakes[0].n + fakes[1].n, 1);
    unsigned f = fakes[0].n ? 0 : 1;
    refuse(f, 0, false);
    fakes[0].room = fakes[1].room = 0;
    run_to(now + 30 * US_PER_S);
    assert_string_equal(heard, "1=refused"); /* certainly never done */
}

static void test_an_uncertain_request_is_resent_once_elsewhere_if_it_may_be(void **state)
{
    (void)state;
    start_up();
    assert_int_equal(send_as(1, now + US_PER_S, true, 0), 0);
    assert_int_equal(send_as(2, now + US_PER_S, false, 0), 0);
    pump();
    assert_int_equal(fakes[0].n, 1);
    end(0, H2_END_EOF); /* with 1 */
    assert_int_equal(fakes[1].n, 2);
    fail_job(1, 0); /* 2 */
    assert_string_equal(heard, "2=uncertain?");
    assert_string_equal(last.why, "reset");
    answer(1, 0);
    assert_string_equal(heard, "2=uncertain? 1=answered?");
    assert_int_equal(last.resends, 1);
    assert_int_equal(send_as(3, now + US_PER_S, true, 0), 0);
    pump();
    fail_job(1, 0);
    run_to(now + 600 * MS);
    up(2);
    assert_int_equal(fakes[1].n + fakes[2].n, 1);
    fail_job(fakes[1].n ? 1 : 2, 0);
    assert_string_equal(heard, "2=uncertain? 1=answered? 3=uncertain?");
    assert_int_equal(counter_get(&h2_pool_stats(pool)->resent), 2);
}

static void test_an_avoided_connection_is_used_only_when_no_other_comes(void **state)
{
    (void)state;
    start();
    up(0);
    assert_int_equal(send_as(1, now + 5 * US_PER_S, false, 1), 0);
    send_ok(2);
    pump();
    assert_int_equal(fakes[0].n, 1); /* 2 is not held up */
    assert_true(is_path(0, 0, "/3/device/2"));
    run_to(now + H2_POOL_AVOID_US - 1);
    assert_int_equal(fakes[0].n, 1);
    run_to(now + 2);
    assert_int_equal(fakes[0].n, 2);
    up(1);
    assert_int_equal(send_as(3, now + 5 * US_PER_S, false, 2), 0);
    pump();
    assert_int_equal(fakes[0].n, 3);
    assert_int_equal(send_as(4, now + 5 * US_PER_S, false, 77), 0); /* long gone */
    pump();
    assert_int_equal(fakes[1].n, 1);
}

static void test_one_connection_alone_is_not_avoided(void **state)
{
    (void)state;
    conf.conns = 1;
    start_up();
    assert_int_equal(send_as(1, now + 5 * US_PER_S, false, 1), 0);
    pump();
    assert_int_equal(fakes[0].n, 1);
}

static void test_deadlines_in_every_state(void **state)
{
    (void)state;
    start();
    assert_int_equal(send_as(1, now + 10 * MS, false, 0), 0);
    run_to(now + 12 * MS);
    assert_string_equal(heard, "1=no_connection");
    up(0);
    assert_int_equal(send_as(2, now + 10 * MS, true, 0), 0);
    pump();
    fakes[0].room = 1;
    assert_int_equal(send_as(3, now + 10 * MS, false, 0), 0);
    run_to(now + 12 * MS);
    assert_int_equal(fakes[0].forgotten, 1);
    assert_string_equal(heard, "1=no_connection 2=late? 3=late");
    assert_int_equal(counter_get(&h2_pool_stats(pool)->late), 2);
    assert_int_equal(counter_get(&h2_pool_stats(pool)->inflight), 0);
    assert_int_equal(counter_get(&h2_pool_stats(pool)->waiting), 0);
}

static void test_back_off_doubles_is_jittered_and_starts_over_after_an_answer(void **state)
{
    uint64_t longest = 0;

    (void)state;
    conf.conns = 1;
    conf.retry_max_us = 2 * US_PER_S;
    start();
    for (unsigned i = 0; i < 20; i++) {
        unsigned f = n_fakes - 1;
        end(f, H2_END_CONNECT);
        uint64_t most = conf.retry_min_us << (i < 5 ? i : 5);
        if (most > conf.retry_max_us)
            most = conf.retry_max_us;
        run_to(now + most);
        assert_int_equal(n_fakes, f + 2);
        longest = most > longest ? most : longest;
    }
    assert_int_equal(longest, conf.retry_max_us);
    assert_int_equal(counter_get(&h2_pool_stats(pool)->ended[H2_END_CONNECT]), 20);
    unsigned f = n_fakes - 1;
    up(f);
    send_ok(1);
    pump();
    answer(f, 0);
    end(f, H2_END_EOF); /* at once, but at most one per retry_min_us */
    run_to(now + conf.retry_min_us);
    assert_int_equal(n_fakes, f + 2);
}

static void test_an_idle_connection_that_lived_long_is_replaced_at_once(void **state)
{
    (void)state;
    conf.conns = 1;
    start_up();
    now += 3600 * US_PER_S;
    end(0, H2_END_EOF);
    assert_int_equal(n_fakes, 2);
}

static void test_retire_replaces_in_good_order(void **state)
{
    (void)state;
    conf.drain_us = 5 * US_PER_S;
    start_up();
    send_ok(1);
    send_ok(2);
    pump();
    h2_pool_retire(pool, 1, now);
    h2_pool_retire(pool, 55, now);
    pump();
    assert_int_equal(n_fakes, 3);
    assert_int_equal(h2_pool_up(pool), 1);
    assert_int_equal(h2_pool_streams_limit(pool, 0), 0);
    assert_int_equal(counter_get(&h2_pool_stats(pool)->streams[0]), 0);
    assert_false(fakes[0].closed);
    send_ok(3);
    send_ok(4);
    pump();
    assert_int_equal(fakes[1].n, 3); /* the retired one gets no more */
    answer(1, 1);
    answer(1, 1);
    answer(0, 0);
    pump();
    assert_true(fakes[0].closed);
    up(2);
    h2_pool_retire(pool, 0, now);
    pump();
    assert_true(fakes[2].closed && !fakes[1].closed);
    run_to(now + conf.drain_us + 1); /* 2 is never answered there */
    assert_true(fakes[1].closed);
    assert_string_equal(heard, "3=answered? 4=answered? 1=answered? 2=uncertain?");
    assert_int_equal(counter_get(&h2_pool_stats(pool)->retired), 3);
}

static void test_a_link_that_takes_no_more_is_replaced(void **state)
{
    (void)state;
    conf.conns = 1;
    start_up();
    fakes[0].gone = true; /* stream numbers are used up */
    send_ok(1);
    pump();
    run_to(now + conf.retry_min_us);
    assert_true(fakes[0].closed);
    up(1);
    assert_int_equal(fakes[1].n, 1);
}

static void test_done_may_send_again(void **state)
{
    (void)state;
    start_up();
    send_ok(1);
    pump();
    again = true;
    answer(0, 0);
    assert_int_equal(dones, 1);
    pump();
    assert_int_equal(fakes[0].n + fakes[1].n, 1);
    again = true;
    run_to(now + 20 * US_PER_S);
    assert_int_equal(dones, 3);
}

static void test_free_tells_everyone(void **state)
{
    (void)state;
    conf.conns = 1;
    start_up();
    fakes[0].room = 1;
    assert_int_equal(send_as(1, now + US_PER_S, true, 0), 0);
    send_ok(2);
    pump();
    again = false;
    h2_pool_free(pool, now);
    pool = NULL;
    assert_string_equal(heard, "1=uncertain? 2=no_connection");
    assert_true(fakes[0].closed);
}

static void test_a_goaway_right_after_each_opening_does_not_spin(void **state)
{
    (void)state;
    conf.conns = 1;
    start();
    uint64_t from = now;
    while (n_fakes < 12) {
        unsigned f = n_fakes - 1;
        up(f);
        h2_conn_goaway(fakes[f].conn, "", now);
        pump();
        while (n_fakes == f + 1) {
            now = h2_pool_deadline(pool);
            pump();
        }
    }
    assert_true(now - from > US_PER_S); /* 12 in a row: seconds, not microseconds */
}

static void test_oom_keeps_requests_and_leaks_nothing(void **state)
{
    (void)state;
    for (uint64_t k = 0;; k++) {
        mem_fail_after(k);
        pool = h2_pool_new(&conf, &OPS, NULL, now);
        bool failed = mem_failed();
        mem_fail_never();
        assert_int_equal(failed, !pool);
        if (pool)
            break;
        assert_int_equal(mem_live(), 0);
    }
    mem_fail_after(0);
    pump();
    mem_fail_never();
    no_open = true;
    run_to(now + 300 * MS);
    no_open = false;
    run_to(now + 60 * US_PER_S);
    assert_true(n_fakes >= 2);
    for (unsigned i = 0; i < n_fakes; i++)
        up(i);
    mem_fail_after(0);
    assert_int_equal(send_as(1, now + US_PER_S, false, 0), -ENOMEM);
    mem_fail_never();
    no_memory = true;
    assert_int_equal(send_as(1, now + US_PER_S, false, 0), 0);
    pump();
    no_memory = false;
    run_to(now + 25 * MS);
    assert_int_equal(fakes[0].n + fakes[1].n, 1);
}

static void test_limits_of_the_configuration(void **state)
{
    struct h2_pool_conf bad[] = {conf, conf, conf, conf, conf};

    (void)state;
    bad[0].conns = 0;
    bad[1].conns = H2_POOL_CONNS_MAX + 1;
    bad[2].queue_max = 0;
    bad[3].streams_max = 0;
    bad[4].retry_max_us = bad[4].retry_min_us - 1;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_null(h2_pool_new(&bad[i], &OPS, NULL, now));
    h2_pool_free(NULL, now);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_opens_all_connections_and_sends_over_those_that_are_up),
        T(test_fewest_under_way_first_and_no_more_than_the_peer_or_we_allow),
        T(test_send_refuses_what_it_can_not_take),
        T(test_goaway_moves_what_was_not_acted_on_and_the_rest_is_finished),
        T(test_a_refused_request_comes_again_with_growing_pauses),
        T(test_an_uncertain_request_is_resent_once_elsewhere_if_it_may_be),
        T(test_an_avoided_connection_is_used_only_when_no_other_comes),
        T(test_one_connection_alone_is_not_avoided),
        T(test_deadlines_in_every_state),
        T(test_back_off_doubles_is_jittered_and_starts_over_after_an_answer),
        T(test_an_idle_connection_that_lived_long_is_replaced_at_once),
        T(test_retire_replaces_in_good_order),
        T(test_a_link_that_takes_no_more_is_replaced),
        T(test_done_may_send_again),
        T(test_free_tells_everyone),
        T(test_a_goaway_right_after_each_opening_does_not_spin),
        T(test_oom_keeps_requests_and_leaks_nothing),
        T(test_limits_of_the_configuration),
    };
    return cmocka_run_group_tests_name("h2_pool", tests, NULL, NULL);
}
