/* Tests of server/node.c against a scripted SFU: opening, lost answers, duplicates, reconnects,
 * restarts of both sides, silence. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "server/node.h"

#define SECRET SLICE_LIT("0123456789abcdef0123456789abcdef")

/* What the node said and told, as text: "join#3 ping ack=4", "up", "answered(a) ok". */
static char said[4096], told[4096];
static uint8_t sfu_nonce[CTL_NONCE_BYTES] = {7};
static struct ctl_msg last_hello; /* its numbers and nonce */
static uint64_t now;
static struct node *n;
static void *retry_in_answer; /* answered() makes a request once more with this ctx */

static void note(char *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(char *log, const char *fmt, ...)
{
    size_t len = strlen(log);
    va_list ap;

    va_start(ap, fmt);
    if (len > 0)
        log[len++] = ' ';
    vsnprintf(log + len, 4096 - len, fmt, ap);
    va_end(ap);
}

static void wire_send(void *wire, struct slice bytes)
{
    static uint8_t scratch_mem[CTL_MESSAGE_MAX + CTL_SCRATCH_SPARE];
    static struct ctl_msg m;
    struct wr scratch = wr_init(scratch_mem, sizeof(scratch_mem));
    struct slice text;
    const char *why;
    size_t used;

    (void)wire;
    assert_int_equal(ctl_frame(bytes, &text, &used), 0);
    assert_int_equal(used, bytes.len);
    int rc = ctl_decode(&m, text, &scratch, &why);
    assert_true(rc == 0 || (rc == -EPROTO && m.type == CTL_NONE));
    if (m.type == CTL_HELLO)
        last_hello = m;
    if (m.type == CTL_ACK)
        note(said, "ack=%llu", (unsigned long long)m.u.ack.upto);
    else if (m.kind == CTL_KIND_REQUEST)
        note(said, "%s#%llu", ctl_type_name(m.type), (unsigned long long)m.id);
    else
        note(said, "%s:%llu%s", ctl_type_name(m.type), (unsigned long long)m.id,
             m.kind == CTL_KIND_ERROR ? "!" : "");
}
static const struct node_wire WIRE = {wire_send};

static void on_answered(void *arg, struct node *node, void *ctx, const struct ctl_msg *m)
{
    (void)arg;
    note(told, "%s=%s", (const char *)ctx,
         !m                          ? "unknown"
         : m->kind == CTL_KIND_ERROR ? ctl_err_name(m->u.error.code)
                                     : "ok");
    if (retry_in_answer) {
        void *again = retry_in_answer;
        retry_in_answer = NULL;
        node_request(node,
                     &(struct ctl_msg){
                         .type = CTL_LEAVE, .room = SLICE_LIT("r"), .participant = SLICE_LIT("p")},
                     again, now);
    }
}

static void on_event(void *arg, struct node *node, const struct ctl_msg *m)
{
    (void)arg;
    (void)node;
    note(told, "%s/%llu", ctl_type_name(m->type), (unsigned long long)m->seq);
}

static void on_changed(void *arg, struct node *node, enum node_change what)
{
    static const char *const names[] = {"came", "went", "forgot", "refused", "given_up"};

    (void)arg;
    (void)node;
    note(told, "%s", names[what]);
}
static const struct node_ops OPS = {on_answered, on_event, on_changed};

static const struct node_conf CONF = {
    .name = {(const uint8_t *)"a", 1},
    .region = {(const uint8_t *)"eu", 2},
    .server = {(const uint8_t *)"s1", 2},
    .secret = {(const uint8_t *)"0123456789abcdef0123456789abcdef", 32},
    .epoch = 42,
    .weight = 1,
    .request_us = 10 * US_PER_S,
    .dead_us = 15 * US_PER_S};

#define SAID(text)                         \
    do {                                   \
        assert_string_equal(said, (text)); \
        said[0] = '\0';                    \
    } while (0)
#define TOLD(text)                         \
    do {                                   \
        assert_string_equal(told, (text)); \
        told[0] = '\0';                    \
    } while (0)

static long feed(const struct ctl_msg *m)
{
    static uint8_t mem[CTL_HEADER_BYTES + CTL_MESSAGE_MAX];
    struct wr w = wr_init(mem, sizeof(mem));

    ctl_encode(&w, m);
    assert_false(w.bad);
    long used = node_recv(n, wr_done(&w), now);
    assert_true(used == (long)w.len || used == -EPROTO);
    return used;
}

static void challenge(void)
{
    struct ctl_msg m = {.type = CTL_CHALLENGE, .kind = CTL_KIND_EVENT};

    m.u.challenge.version = CTL_VERSION;
    memcpy(m.u.challenge.nonce, sfu_nonce, sizeof(sfu_nonce));
    assert_true(feed(&m) > 0);
}

/* The SFU's answer to hello; wrong: with another secret. */
static long welcome(uint64_t epoch, bool resumed, bool lost, bool wrong)
{
    struct ctl_msg m = {.type = CTL_HELLO, .kind = CTL_KIND_REPLY, .id = 1};
    const struct ctl_proof p = {.by_sfu = true,
                                .sfu_nonce = sfu_nonce,
                                .server_nonce = last_hello.u.hello.nonce,
                                .server = SLICE_LIT("s1"),
                                .node = SLICE_LIT("sfu"),
                                .server_epoch = 42,
                                .sfu_epoch = epoch};

    m.u.welcome.node = SLICE_LIT("sfu");
    m.u.welcome.epoch = epoch;
    m.u.welcome.resumed = resumed;
    m.u.welcome.lost = lost;
    m.u.welcome.load = 5;
    ctl_mac(wrong ? SLICE_LIT("x") : SECRET, &p, m.u.welcome.mac);
    return feed(&m);
}

static void open_link(uint64_t epoch, bool resumed, bool lost)
{
    node_opened(n, &WIRE, NULL, now);
    challenge();
    assert_true(welcome(epoch, resumed, lost, false) > 0);
}

static int request(enum ctl_type t, const char *ctx)
{
    return node_request(
        n, &(struct ctl_msg){.type = t, .room = SLICE_LIT("r"), .participant = SLICE_LIT("p")},
        (void *)(uintptr_t)ctx, now);
}

static void answer(enum ctl_type t, uint64_t id)
{
    assert_true(feed(&(struct ctl_msg){.type = t, .kind = CTL_KIND_REPLY, .id = id}) > 0);
}

static long event(uint64_t seq)
{
    return feed(&(struct ctl_msg){.type = CTL_STATE,
                                  .kind = CTL_KIND_EVENT,
                                  .seq = seq,
                                  .room = SLICE_LIT("r"),
                                  .participant = SLICE_LIT("p")});
}

static int setup(void **state)
{
    (void)state;
    now = 1000 * US_PER_S;
    said[0] = told[0] = '\0';
    retry_in_answer = NULL;
    n = node_new(&CONF, &OPS, NULL);
    return n ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    node_free(n);
    n = NULL;
    assert_int_equal(mem_live(), 0);
    return 0;
}

static void test_opening_proves_both_sides(void **state)
{
    uint8_t mac[CTL_MAC_BYTES];

    (void)state;
    assert_int_equal(node_deadline(n), CLOCK_NEVER);
    assert_int_equal(request(CTL_LEAVE, "x"), -ENOTCONN);
    open_link(9, false, false);
    SAID("hello#1");
    TOLD("came");
    assert_true(node_up(n) && node_load(n) == 5 && !node_draining(n));
    assert_int_equal(last_hello.u.hello.sfu_epoch, 0);
    assert_int_equal(last_hello.u.hello.epoch, 42);
    const struct ctl_proof p = {.sfu_nonce = sfu_nonce,
                                .server_nonce = last_hello.u.hello.nonce,
                                .server = SLICE_LIT("s1"),
                                .server_epoch = 42};
    ctl_mac(SECRET, &p, mac);
    assert_memory_equal(mac, last_hello.u.hello.mac, sizeof(mac));
    node_sync_end(n, now);
    SAID("sync_end#1");
    assert_true(slice_is(node_name(n), "a") && slice_is(node_region(n), "eu"));
}

static void test_a_wrong_secret_is_refused(void **state)
{
    (void)state;
    node_opened(n, &WIRE, NULL, now);
    challenge();
    assert_int_equal(welcome(9, false, false, true), -EPROTO);
    assert_string_equal(node_why(n), "its proof is wrong: the secrets differ");
    assert_false(node_up(n));
    node_closed(n, now);
    TOLD("");
    assert_int_equal(counter_get(&node_count(n)->refused), 1);
}

static void test_an_opening_out_of_order_is_refused(void **state)
{
    const struct ctl_msg wrong[] = {
        {.type = CTL_LOAD, .kind = CTL_KIND_EVENT},
        {.type = CTL_HELLO, .kind = CTL_KIND_ERROR, .id = 1, .u.error.code = CTL_ERR_UNAUTHORIZED},
        {.type = CTL_JOIN, .kind = CTL_KIND_REQUEST, .id = 1},
        {.type = CTL_LEAVE, .kind = CTL_KIND_REPLY, .id = 1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        node_opened(n, &WIRE, NULL, now);
        assert_int_equal(feed(&wrong[i]), -EPROTO);
        node_closed(n, now);
        node_opened(n, &WIRE, NULL, now);
        challenge();
        assert_int_equal(feed(&wrong[i]), -EPROTO);
        node_closed(n, now);
    }
    node_opened(n, &WIRE, NULL, now);
    assert_int_equal(welcome(9, false, false, false), -EPROTO); /* nobody said hello */
    node_closed(n, now);
    node_opened(n, &WIRE, NULL, now);
    challenge();
    struct ctl_msg again = {.type = CTL_CHALLENGE, .kind = CTL_KIND_EVENT};
    again.u.challenge.version = CTL_VERSION;
    assert_int_equal(feed(&again), -EPROTO);
    node_closed(n, now);
    node_opened(n, &WIRE, NULL, now);
    again.u.challenge.version = CTL_VERSION + 1;
    assert_int_equal(feed(&again), -EPROTO);
    TOLD("");
}

static void test_who_says_no_hello_is_left(void **state)
{
    (void)state;
    node_opened(n, &WIRE, NULL, now);
    assert_int_equal(node_deadline(n), now + NODE_OPEN_US);
    now += NODE_OPEN_US - 1;
    assert_true(node_tick(n, now));
    now += 1;
    assert_false(node_tick(n, now));
    assert_string_equal(node_why(n), "no hello in time");
}

static void test_requests_are_answered_once(void **state)
{
    (void)state;
    open_link(9, false, false);
    assert_int_equal(request(CTL_LEAVE, "a"), 0);
    assert_int_equal(request(CTL_CLOSE_ROOM, "b"), 0);
    assert_int_equal(node_open_requests(n), 2);
    SAID("hello#1 leave#1 close_room#2");
    answer(CTL_CLOSE_ROOM, 2);
    answer(CTL_CLOSE_ROOM, 2);
    answer(CTL_CLOSE_ROOM, 1); /* the id of another request */
    struct ctl_msg no = {.type = CTL_LEAVE, .kind = CTL_KIND_ERROR, .id = 1};
    no.u.error.code = CTL_ERR_NO_ROOM;
    feed(&no);
    answer(CTL_LEAVE, 7); /* nobody asked */
    TOLD("came b=ok a=no_room");
    assert_int_equal(node_open_requests(n), 0);
}

static void test_a_request_without_answer_fails_in_time(void **state)
{
    (void)state;
    open_link(9, false, false);
    request(CTL_LEAVE, "a");
    for (int i = 0; i < 10; i++) {
        now += US_PER_S;
        feed(&(struct ctl_msg){.type = CTL_LOAD, .kind = CTL_KIND_EVENT}); /* it lives */
        assert_true(node_tick(n, now));
    }
    TOLD("came a=unknown");
    answer(CTL_LEAVE, 1); /* too late: nobody is told twice */
    TOLD("");
    assert_int_equal(counter_get(&node_count(n)->timeouts), 1);
}

static void test_lost_answers_are_asked_for_again(void **state)
{
    (void)state;
    open_link(9, false, false);
    request(CTL_LEAVE, "a");
    request(CTL_LEAVE, "b");
    answer(CTL_LEAVE, 1);
    node_closed(n, now);     /* b's answer is lost with the connection */
    request(CTL_LEAVE, "c"); /* waits for the next one */
    TOLD("came a=ok went");
    SAID("hello#1 leave#1 leave#2");
    open_link(9, true, false);
    assert_int_equal(last_hello.u.hello.sfu_epoch, 9);
    SAID("hello#1 leave#2 leave#3"); /* the same id, in order */
    assert_int_equal(counter_get(&node_count(n)->resent), 1);
    answer(CTL_LEAVE, 2);
    answer(CTL_LEAVE, 3);
    TOLD("came b=ok c=ok");
}

static void test_an_sfu_that_forgot_the_server_fails_what_it_may_have_done(void **state)
{
    (void)state;
    open_link(9, false, false);
    request(CTL_LEAVE, "a");
    node_closed(n, now);
    request(CTL_LEAVE, "b");
    said[0] = told[0] = '\0';
    retry_in_answer = (void *)(uintptr_t) "c";
    open_link(9, false, false); /* the same SFU, but our epoch is gone */
    TOLD("a=unknown came");
    SAID("hello#1 leave#2 leave#3"); /* b was never sent; c once */
    answer(CTL_LEAVE, 3);
    answer(CTL_LEAVE, 2);
    TOLD("c=ok b=ok");
}

static void test_a_restarted_sfu_fails_everything(void **state)
{
    (void)state;
    open_link(9, false, false);
    event(1);
    request(CTL_LEAVE, "a");
    node_closed(n, now);
    request(CTL_LEAVE, "b");
    said[0] = told[0] = '\0';
    retry_in_answer = (void *)(uintptr_t) "c";
    open_link(10, false, false);
    TOLD("a=unknown b=unknown forgot");
    SAID("hello#1 leave#3"); /* what an answer asks for goes to the new one */
    assert_int_equal(last_hello.u.hello.last_seq, 1);
    assert_true(event(1) > 0); /* it counts anew */
    TOLD("state/1");
}

static void test_events_come_once_and_in_order(void **state)
{
    (void)state;
    open_link(9, false, false);
    said[0] = '\0';
    event(1);
    event(2);
    event(2);
    event(1);
    TOLD("came state/1 state/2");
    assert_int_equal(counter_get(&node_count(n)->duplicates), 2);
    assert_int_equal(node_deadline(n), now + NODE_ACK_US);
    now += NODE_ACK_US;
    assert_true(node_tick(n, now));
    SAID("ack=2");
    event(1); /* it did not hear the ack */
    now += NODE_ACK_US;
    node_tick(n, now);
    SAID("ack=2");
    for (uint64_t seq = 3; seq < 3 + NODE_ACK_EVERY; seq++)
        event(seq);
    SAID("ack=34");
    assert_int_equal(event(36), -EPROTO);
    assert_string_equal(node_why(n), "an event is missing");
}

static void test_events_go_on_after_a_reconnect(void **state)
{
    (void)state;
    open_link(9, false, false);
    event(1);
    event(2);
    node_closed(n, now);
    open_link(9, true, false);
    assert_int_equal(last_hello.u.hello.last_seq, 2);
    event(2);
    event(3);
    TOLD("came state/1 state/2 went came state/3");
    node_closed(n, now);
    open_link(9, true, true); /* the SFU had to drop some */
    assert_true(event(9) > 0);
    assert_int_equal(event(11), -EPROTO); /* but only once */
    node_closed(n, now);
    open_link(9, false, false);
    assert_true(event(1) > 0); /* it had forgotten us: numbers begin again */
}

static void test_silence_is_broken_and_ends(void **state)
{
    (void)state;
    open_link(9, false, false);
    said[0] = '\0';
    now += NODE_PING_US;
    assert_true(node_tick(n, now));
    SAID("ping#1");
    feed(&(struct ctl_msg){.type = CTL_PING, .kind = CTL_KIND_REPLY, .id = 1});
    feed(&(struct ctl_msg){.type = CTL_PING, .kind = CTL_KIND_REQUEST, .id = 8});
    SAID("ping:8");
    feed(&(struct ctl_msg){.type = CTL_DRAIN, .kind = CTL_KIND_REQUEST, .id = 9});
    SAID("drain:9!"); /* a server does nothing for an SFU */
    now += NODE_DEAD_US - 1;
    assert_true(node_tick(n, now));
    now += 1;
    assert_false(node_tick(n, now));
    assert_string_equal(node_why(n), "nothing heard in time");
}

static void test_a_node_that_is_refused_may_be_given_up_at_once(void **state)
{
    (void)state;
    node_refused(n); /* was never there: nothing is lost */
    assert_false(node_alive(n));
    open_link(9, false, false);
    assert_true(node_alive(n));
    node_give_up(n); /* not while it is up */
    request(CTL_LEAVE, "a");
    node_closed(n, now);
    assert_true(node_alive(n));
    node_refused(n);
    TOLD("came went refused");
    node_give_up(n);
    TOLD("a=unknown given_up");
    assert_false(node_alive(n));
    node_refused(n);
    node_give_up(n);
    TOLD("");
    assert_int_equal(node_deadline(n), CLOCK_NEVER);
}

static void test_silence_is_known(void **state)
{
    (void)state;
    assert_int_equal(node_silence(n, now + 1), 0);
    open_link(9, false, false);
    assert_int_equal(node_silence(n, now + 7), 7);
    event(1);
    assert_int_equal(node_silence(n, now), 0);
    node_closed(n, now);
    assert_int_equal(node_silence(n, now + 7), 0);
}

static void test_a_node_that_stays_away_is_given_up(void **state)
{
    (void)state;
    open_link(9, false, false);
    node_closed(n, now);
    now += 10 * US_PER_S;
    request(CTL_LEAVE, "a");
    assert_int_equal(node_deadline(n), now + 5 * US_PER_S);
    now += 5 * US_PER_S - 1;
    node_opened(n, &WIRE, NULL, now); /* accepts, and says nothing */
    assert_true(node_tick(n, now));
    TOLD("came went");
    now += 1;
    assert_int_equal(node_deadline(n), now);
    assert_true(node_tick(n, now));
    TOLD("a=unknown given_up");
    assert_int_equal(request(CTL_LEAVE, "b"), -ENOTCONN);
    challenge();
    welcome(9, true, false, false); /* it comes back, with what it kept: ours again */
    TOLD("came");
    now += US_PER_S;
    assert_true(node_tick(n, now));
    node_closed(n, now);
    TOLD("went");
}

static void test_load_and_draining_are_kept(void **state)
{
    struct ctl_msg m = {.type = CTL_LOAD, .kind = CTL_KIND_EVENT};

    (void)state;
    open_link(9, false, false);
    m.u.load.load = 800;
    m.u.load.draining = true;
    feed(&m);
    assert_true(node_load(n) == 800 && node_draining(n));
    TOLD("came");
}

static void test_types_of_the_future_do_no_harm(void **state)
{
    static const char *const texts[] = {"{\"t\":\"new\",\"seq\":1}", "{\"t\":\"new\"}",
                                        "{\"t\":\"new\",\"re\":4}", "{\"t\":\"new\",\"id\":4}"};
    uint8_t mem[64];

    (void)state;
    open_link(9, false, false);
    said[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct wr w = wr_init(mem, sizeof(mem));
        wr_be32(&w, (uint32_t)strlen(texts[i]));
        wr_str(&w, texts[i]);
        assert_int_equal(node_recv(n, wr_done(&w), now), (long)w.len);
    }
    event(2);
    TOLD("came state/2");
    SAID(":4!");
}

static void test_bytes_may_come_in_any_pieces(void **state)
{
    uint8_t mem[512];
    struct wr w = wr_init(mem, sizeof(mem));
    size_t at = 0;

    (void)state;
    open_link(9, false, false);
    for (uint64_t seq = 1; seq <= 3; seq++)
        ctl_encode(&w, &(struct ctl_msg){.type = CTL_STATE,
                                         .kind = CTL_KIND_EVENT,
                                         .seq = seq,
                                         .room = SLICE_LIT("r"),
                                         .participant = SLICE_LIT("p")});
    for (size_t end = 1; end <= w.len; end++) {
        long used = node_recv(n, slice_of(mem + at, end - at), now);
        assert_true(used >= 0);
        at += (size_t)used;
    }
    assert_int_equal(at, w.len);
    TOLD("came state/1 state/2 state/3");
    assert_int_equal(node_recv(n, SLICE_LIT("\0\0\0\0"), now), -EPROTO);
    assert_int_equal(node_recv(n, SLICE_LIT("\0\0\0\2[]"), now), -EPROTO);
}

static void test_open_requests_are_bounded(void **state)
{
    struct ctl_msg big = {
        .type = CTL_CANDIDATES, .room = SLICE_LIT("r"), .participant = SLICE_LIT("p")};
    static uint8_t raw[CTL_MESSAGE_MAX];

    (void)state;
    open_link(9, false, false);
    said[0] = '\0';
    big.u.candidates.raw = slice_of(raw, sizeof(raw));
    assert_int_equal(node_request(n, &big, NULL, now), -EMSGSIZE);
    node_closed(n, now);
    for (int i = 0; i < CTL_INFLIGHT_MAX; i++)
        assert_int_equal(request(CTL_LEAVE, "a"), 0);
    assert_int_equal(request(CTL_LEAVE, "a"), -ENOSPC);
}

static void test_oom_sends_nothing(void **state)
{
    (void)state;
    mem_fail_after(0);
    assert_null(node_new(&CONF, &OPS, NULL));
    mem_fail_never();
    open_link(9, false, false);
    said[0] = '\0';
    mem_fail_after(0);
    assert_int_equal(request(CTL_LEAVE, "a"), -ENOMEM);
    mem_fail_never();
    SAID("");
    assert_int_equal(node_open_requests(n), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_opening_proves_both_sides),
        TEST(test_a_wrong_secret_is_refused),
        TEST(test_an_opening_out_of_order_is_refused),
        TEST(test_who_says_no_hello_is_left),
        TEST(test_requests_are_answered_once),
        TEST(test_a_request_without_answer_fails_in_time),
        TEST(test_lost_answers_are_asked_for_again),
        TEST(test_an_sfu_that_forgot_the_server_fails_what_it_may_have_done),
        TEST(test_a_restarted_sfu_fails_everything),
        TEST(test_events_come_once_and_in_order),
        TEST(test_events_go_on_after_a_reconnect),
        TEST(test_silence_is_broken_and_ends),
        TEST(test_a_node_that_is_refused_may_be_given_up_at_once),
        TEST(test_silence_is_known),
        TEST(test_a_node_that_stays_away_is_given_up),
        TEST(test_load_and_draining_are_kept),
        TEST(test_types_of_the_future_do_no_harm),
        TEST(test_bytes_may_come_in_any_pieces),
        TEST(test_open_requests_are_bounded),
        TEST(test_oom_sends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
