/* The loop turn: order of its phases, timers, mail from other threads, flush hooks.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/worker.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <event2/event.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

struct bench {
    struct worker *w;
    struct wtimer timer[4], stop;
    struct wflush flush;
    uint64_t seen_us[4], deadline_us[4];
    unsigned fired, flushed, posted, wanted;
    char order[32];
};

static void note(struct bench *b, char c)
{
    size_t n = strlen(b->order);
    if (n + 1 < sizeof b->order)
        b->order[n] = c;
}

static int setup(void **state)
{
    struct bench *b = mem_zalloc(sizeof *b);
    b->w = worker_new(3);
    *state = b;
    return b->w ? 0 : -1;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    worker_free(b->w);
    mem_free(b);
    return 0;
}

static void on_stop(void *arg, uint64_t now_us)
{
    (void)now_us;
    worker_stop(arg);
}

static void on_timer_0(void *arg, uint64_t now_us)
{
    struct bench *b = arg;
    b->seen_us[0] = now_us;
    note(b, 't');
    b->fired++;
}

static void on_timer_1(void *arg, uint64_t now_us)
{
    struct bench *b = arg;
    b->seen_us[1] = now_us;
    b->fired++;
    worker_stop(b->w);
}

static void test_timers_fire_in_order_and_never_early(void **state)
{
    struct bench *b = *state;
    uint64_t now = worker_now(b->w);
    b->timer[0] = (struct wtimer){.fn = on_timer_0, .arg = b};
    b->timer[1] = (struct wtimer){.fn = on_timer_1, .arg = b};
    b->timer[2] = (struct wtimer){.fn = on_timer_0, .arg = b};
    worker_timer(b->w, &b->timer[0], now + 2000);
    worker_timer(b->w, &b->timer[1], now + 8000);
    worker_timer(b->w, &b->timer[2], now + 4000);
    worker_timer_cancel(b->w, &b->timer[2]);
    worker_run(b->w);
    assert_int_equal(b->fired, 2);
    assert_true(b->seen_us[0] >= now + 2000);
    assert_true(b->seen_us[1] >= now + 8000);
    assert_true(b->seen_us[0] < b->seen_us[1]);
}

static void on_again(void *arg, uint64_t now_us)
{
    struct bench *b = arg;
    b->fired++;
    worker_timer(b->w, &b->timer[0], now_us); /* always due */
}

static void test_timer_that_is_always_due_does_not_stop_the_loop(void **state)
{
    struct bench *b = *state;
    b->timer[0] = (struct wtimer){.fn = on_again, .arg = b};
    worker_timer(b->w, &b->timer[0], 0);
    worker_post(b->w, on_stop, b->w);
    worker_run(b->w);
    assert_true(b->fired >= 1);
    worker_timer_cancel(b->w, &b->timer[0]);
}

static void on_flush(void *arg, uint64_t now_us)
{
    struct bench *b = arg;
    (void)now_us;
    b->flushed++;
    note(b, 'f');
    if (b->wanted > 0) {
        b->wanted--;
        worker_want_flush(b->w, &b->flush);
    }
}

static void on_mail(void *arg, uint64_t now_us)
{
    struct bench *b = arg;
    (void)now_us;
    note(b, 'm');
    worker_want_flush(b->w, &b->flush);
    worker_want_flush(b->w, &b->flush);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    struct bench *b = arg;
    (void)fd;
    (void)what;
    note(b, 's');
}

static void test_turn_runs_sockets_timers_mail_flush(void **state)
{
    struct bench *b = *state;
    int p[2];
    assert_int_equal(pipe(p), 0);
    assert_int_equal(write(p[1], "x", 1), 1);
    struct event *ev = event_new(worker_base(b->w), p[0], EV_READ, on_socket, b);
    event_add(ev, NULL);
    b->flush = (struct wflush){.fn = on_flush, .arg = b};
    b->timer[0] = (struct wtimer){.fn = on_timer_0, .arg = b};
    worker_timer(b->w, &b->timer[0], 0);
    worker_post(b->w, on_mail, b);
    worker_post(b->w, on_stop, b->w);
    worker_run(b->w);
    assert_string_equal(b->order, "stmf");
    event_free(ev);
    close(p[0]);
    close(p[1]);
}

static void on_mail_late_stop(void *arg, uint64_t now_us)
{
    struct bench *b = arg;
    worker_want_flush(b->w, &b->flush);
    worker_timer(b->w, &b->stop, now_us + 20000);
}

static void test_flush_runs_once_per_request(void **state)
{
    struct bench *b = *state;
    b->flush = (struct wflush){.fn = on_flush, .arg = b};
    b->stop = (struct wtimer){.fn = on_stop, .arg = b->w};
    b->wanted = 5;
    worker_post(b->w, on_mail_late_stop, b);
    worker_run(b->w);
    assert_int_equal(b->flushed, 6);
}

static void test_cancelled_flush_does_not_run(void **state)
{
    struct bench *b = *state;
    b->flush = (struct wflush){.fn = on_flush, .arg = b};
    worker_want_flush(b->w, &b->flush);
    worker_cancel_flush(&b->flush);
    worker_cancel_flush(&b->flush);
    worker_post(b->w, on_stop, b->w);
    worker_run(b->w);
    assert_int_equal(b->flushed, 0);
}

enum { POSTERS = 4, POSTS = 20000 };

struct poster {
    struct bench *b;
    pthread_t thread;
    uint32_t next; /* worker thread: the number that must come next from this poster */
    uint32_t wrong;
    struct letter {
        struct poster *from;
        uint32_t n;
    } letters[POSTS];
};

static void on_letter(void *arg, uint64_t now_us)
{
    struct letter *l = arg;
    (void)now_us;
    if (l->from->next++ != l->n)
        l->from->wrong++;
    if (++l->from->b->posted == POSTERS * POSTS)
        worker_stop(l->from->b->w);
}

static void *poster_main(void *arg)
{
    struct poster *p = arg;
    for (uint32_t i = 0; i < POSTS; i++) {
        p->letters[i] = (struct letter){p, i};
        worker_post(p->b->w, on_letter, &p->letters[i]);
    }
    return NULL;
}

static void test_mail_of_four_threads_arrives_whole_and_in_order(void **state)
{
    struct bench *b = *state;
    struct poster *p = mem_calloc(POSTERS, sizeof *p);
    assert_int_equal(worker_start(b->w, "test"), 0);
    for (int i = 0; i < POSTERS; i++) {
        p[i].b = b;
        pthread_create(&p[i].thread, NULL, poster_main, &p[i]);
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(p[i].thread, NULL);
    worker_join(b->w);
    for (int i = 0; i < POSTERS; i++) {
        assert_int_equal(p[i].next, POSTS);
        assert_int_equal(p[i].wrong, 0);
    }
    mem_free(p);
}

static void test_worker_knows_its_index_and_a_fixed_time(void **state)
{
    struct bench *b = *state;
    assert_int_equal(worker_index(b->w), 3);
    uint64_t t = worker_now(b->w);
    usleep(1500);
    assert_true(worker_now(b->w) == t);
}

static void test_oom_new_leaves_nothing(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        uint64_t before = mem_live();
        mem_fail_after(n);
        struct worker *w = worker_new(0);
        int rc = w ? worker_post(w, on_stop, w) : -1;
        bool failed = mem_failed();
        mem_fail_never();
        assert_true(failed || rc == 0);
        worker_free(w); /* with the letter still in its box */
        assert_true(mem_live() == before);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_timers_fire_in_order_and_never_early, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timer_that_is_always_due_does_not_stop_the_loop, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_turn_runs_sockets_timers_mail_flush, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flush_runs_once_per_request, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled_flush_does_not_run, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mail_of_four_threads_arrives_whole_and_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_worker_knows_its_index_and_a_fixed_time, setup,
                                        teardown),
        cmocka_unit_test(test_oom_new_leaves_nothing),
    };
    return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
