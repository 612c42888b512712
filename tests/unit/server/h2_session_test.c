/* Tests of server/h2_session.c against frames written and read by hand: settings, answers,
 * refusals, GOAWAY, PING, limits, hostile peers. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/h2_session.h"

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };
#define PREFACE 24 /* "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" */

static struct h2_session *s;
static uint64_t now;
static char told[4096];
static uint8_t out[1 << 18]; /* all that the session sent, without the preface */
static size_t out_len, out_all;
static struct h2_session_conf conf;

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *fmt, ...)
{
    size_t at = strlen(told);
    va_list ap;

    if (at > 0 && at < sizeof(told) - 2)
        told[at++] = ' ';
    va_start(ap, fmt);
    vsnprintf(told + at, sizeof(told) - at, fmt, ap);
    va_end(ap);
}

static void on_answered(void *user, void *req, const struct h2_response *r)
{
    struct slice id = h2_field(r, "apns-id");

    (void)user;
    note("%s=%u", (const char *)req, r->status);
    if (id.len > 0 && id.len < 100)
        note("id:%.*s", SLICE_FMT(id));
    if (r->body.len > 0 && r->body.len < 100)
        note("body:%.*s", SLICE_FMT(r->body));
    if (r->cut)
        note("cut:%zu,%zu", r->n_fields, r->body.len);
}
static void on_refused(void *user, void *req, bool goaway)
{
    (void)user;
    note("%s:refused%s", (const char *)req, goaway ? ":goaway" : "");
}
static void on_failed(void *user, void *req, const char *why)
{
    (void)user;
    note("%s:failed(%s)", (const char *)req, why);
}
static void on_limit(void *user, unsigned streams)
{
    (void)user;
    note("limit=%u", streams);
}
static void on_goaway(void *user, const char *why)
{
    (void)user;
    note("goaway(%s)", why);
}
static const struct h2_session_ops OPS = {on_answered, on_refused, on_failed, on_limit, on_goaway};

static const char *heard(void)
{
    static char copy[sizeof(told)];

    memcpy(copy, told, sizeof(told));
    told[0] = '\0';
    return copy;
}

/* Takes what the session has to send. */
static void pull(void)
{
    struct slice b;

    while ((b = h2_session_send(s)).len > 0) {
        if (out_all == 0) {
            assert_true(b.len >= PREFACE && memcmp(b.p, "PRI * HTTP/2.0", 14) == 0);
            out_all = PREFACE;
            b = slice_sub(b, PREFACE, b.len);
        }
        assert_true(b.len <= sizeof(out) - out_len);
        if (b.len > 0)
            memcpy(out + out_len, b.p, b.len);
        out_len += b.len;
        out_all += b.len;
    }
}

/* Frames of that type among what was pulled; the last one's payload in *last. */
static unsigned count(int type, struct slice *last)
{
    struct rd r = rd_init(slice_of(out, out_len));
    unsigned n = 0;

    while (r.left > 0) {
        size_t len = (size_t)rd_be16(&r) << 8;
        len |= rd_u8(&r);
        int t = rd_u8(&r);
        rd_take(&r, 5);
        struct slice payload = rd_take(&r, len);
        assert_false(r.bad);
        if (t != type)
            continue;
        n++;
        if (last)
            *last = payload;
    }
    return n;
}

static void frame(struct wr *w, int type, int flags, uint32_t stream, struct slice payload)
{
    wr_u8(w, (uint8_t)(payload.len >> 16));
    wr_be16(w, (uint16_t)payload.len);
    wr_u8(w, (uint8_t)type);
    wr_u8(w, (uint8_t)flags);
    wr_be32(w, stream);
    wr_bytes(w, payload);
}

/* Gives the session one frame, byte by byte, each run ending where its bytes do. */
static int give(int type, int flags, uint32_t stream, struct slice payload)
{
    static uint8_t mem[70000];
    struct wr w = wr_init(mem, sizeof(mem));
    int rc = 0;

    frame(&w, type, flags, stream, payload);
    for (size_t i = 0; i < w.len && rc == 0; i++)
        rc = h2_session_recv(s, slice_of(mem + i, 1), now);
    return rc;
}

static void give_settings(int id, uint32_t value)
{
    uint8_t mem[6];
    struct wr w = wr_init(mem, sizeof(mem));

    wr_be16(&w, (uint16_t)id);
    wr_be32(&w, value);
    assert_int_equal(give(SETTINGS, 0, 0, wr_done(&w)), 0);
}

/* Literal header field without indexing, new name (RFC 7541 §6.2.2); lengths below 127. */
static void field(struct wr *w, const char *name, const char *value)
{
    wr_u8(w, 0);
    wr_u8(w, (uint8_t)strlen(name));
    wr_str(w, name);
    wr_u8(w, (uint8_t)strlen(value));
    wr_str(w, value);
}

static void give_head(uint32_t stream, const char *status, const char *id, bool last)
{
    uint8_t mem[300];
    struct wr w = wr_init(mem, sizeof(mem));

    field(&w, ":status", status);
    if (id)
        field(&w, "apns-id", id);
    assert_int_equal(give(HEADERS, END_HEADERS | (last ? END_STREAM : 0), stream, wr_done(&w)), 0);
}

static void give_rst(uint32_t stream, uint32_t code)
{
    uint8_t mem[4];
    struct wr w = wr_init(mem, sizeof(mem));

    wr_be32(&w, code);
    assert_int_equal(give(RST_STREAM, 0, stream, wr_done(&w)), 0);
}

static void give_goaway(uint32_t last, uint32_t code, const char *debug)
{
    uint8_t mem[300];
    struct wr w = wr_init(mem, sizeof(mem));

    wr_be32(&w, last);
    wr_be32(&w, code);
    wr_str(&w, debug);
    give(GOAWAY, 0, 0, wr_done(&w));
}

static const struct h2_header HEADERS_OF_ALL[] = {
    {SLICE_LIT("apns-topic"), SLICE_LIT("com.example"), H2_INDEX},
    {SLICE_LIT("apns-id"), SLICE_LIT("one"), H2_INDEX_FIRST},
};
static struct h2_request request = {.path = SLICE_LIT("/3/device/x"),
                                    .authorization = SLICE_LIT("bearer y"),
                                    .headers = HEADERS_OF_ALL,
                                    .n_headers = 2,
                                    .body = SLICE_LIT("{}")};

static struct h2_stream *submit(const char *req)
{
    struct h2_stream *t = NULL;
    union {
        const char *in;
        void *out;
    } as = {req};

    assert_int_equal(h2_session_submit(s, &request, as.out, &t, now), 0);
    assert_non_null(t);
    return t;
}

static int setup(void **state)
{
    (void)state;
    now = 50 * US_PER_S;
    told[0] = '\0';
    out_len = out_all = 0;
    request.body = SLICE_LIT("{}");
    conf = (struct h2_session_conf){"api.example", 1000, US_PER_S, 60 * US_PER_S, US_PER_S};
    s = h2_session_new(&conf, &OPS, NULL, now);
    return s ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    h2_session_free(s);
    return mem_live() == 0 ? 0 : -1;
}

static void begin(uint32_t streams)
{
    give_settings(3, streams);
    give(SETTINGS, ACK, 0, (struct slice){0});
    pull();
    heard();
    out_len = 0;
}

static void test_preface_and_settings_then_wait_for_the_peers(void **state)
{
    struct slice p;
    struct h2_stream *t;
    int req;

    (void)state;
    pull();
    assert_int_equal(count(SETTINGS, &p), 1);
    assert_int_equal(p.len, 12); /* no push; header list */
    assert_int_equal(h2_session_room(s), 0);
    assert_int_equal(h2_session_submit(s, &request, &req, &t, now), -EPIPE);
    give_settings(3, 1);
    assert_string_equal(heard(), "limit=1");
    assert_int_equal(h2_session_room(s), 1);
    submit("a");
    assert_int_equal(h2_session_submit(s, &request, &req, &t, now), -EAGAIN);
    give_settings(3, 1000000);
    assert_string_equal(heard(), "limit=1000"); /* ours */
    assert_int_equal(h2_session_room(s), 999);
    give_settings(3, 0);
    assert_int_equal(h2_session_room(s), 0);
    pull();
    assert_int_equal(count(SETTINGS, NULL), 4); /* 3 acknowledgements */
}

static void test_answers_without_a_reset(void **state)
{
    (void)state;
    begin(100);
    submit("a");
    submit("b");
    submit("c");
    pull();
    assert_int_equal(count(HEADERS, NULL), 3);
    assert_int_equal(count(DATA, NULL), 3);
    give_head(3, "200", "u-u-i-d", true); /* out of order, no body */
    give_head(1, "410", NULL, false);
    give(DATA, END_STREAM, 1, SLICE_LIT("{\"reason\":\"Unregistered\"}"));
    give_head(5, "200", NULL, false);
    give(DATA, END_STREAM, 5, (struct slice){0});
    assert_string_equal(heard(), "b=200 id:u-u-i-d a=410 body:{\"reason\":\"Unregistered\"} c=200");
    pull();
    assert_int_equal(count(RST_STREAM, NULL), 0);
    assert_int_equal(h2_session_inflight(s), 0);
}

static void test_interim_answers_and_trailers(void **state)
{
    uint8_t mem[100];
    struct wr w = wr_init(mem, sizeof(mem));

    (void)state;
    begin(100);
    submit("a");
    pull();
    give_head(1, "103", "early", false);
    give_head(1, "200", NULL, false);
    give(DATA, 0, 1, SLICE_LIT("x"));
    field(&w, "apns-id", "late");
    give(HEADERS, END_HEADERS | END_STREAM, 1, wr_done(&w));
    assert_string_equal(heard(), "a=200 id:late body:x");
}

static void test_resets_are_refusals_or_failures(void **state)
{
    (void)state;
    begin(100);
    submit("a");
    submit("b");
    submit("c");
    submit("d");
    pull();
    give_rst(1, 7);
    give_rst(3, 2);
    give_head(5, "200", NULL, false);
    give_rst(5, 0);
    assert_string_equal(heard(), "a:refused b:failed(the peer ended the request: INTERNAL_ERROR) "
                                 "c:failed(the peer ended the request: NO_ERROR)");
    pull();
    assert_int_equal(count(RST_STREAM, NULL), 0);
    assert_int_equal(h2_session_inflight(s), 1);
}

static void test_goaway_parts_the_requests(void **state)
{
    (void)state;
    begin(100);
    submit("a");
    submit("b");
    submit("c");
    pull();
    submit("unsent");
    give_goaway(0x7fffffff, 0, ""); /* the first of two: a warning */
    assert_string_equal(heard(), "goaway(NO_ERROR )");
    assert_int_equal(h2_session_room(s), 0);
    give_goaway(3, 0, "{\"reason\":\"Shutdown\"}");
    pull();
    assert_string_equal(
        heard(),
        "goaway(NO_ERROR {\"reason\":\"Shutdown\"}) c:refused:goaway unsent:refused:goaway");
    assert_false(h2_session_over(s));
    give_head(1, "200", NULL, true);
    give_rst(3, 2); /* the last one that may have been acted on */
    assert_string_equal(heard(), "a=200 b:failed(the peer ended the request: INTERNAL_ERROR)");
    pull();
    assert_true(h2_session_over(s));
    assert_string_equal(h2_session_why(s), "");
}

static void test_the_end_tells_sent_from_unsent(void **state)
{
    (void)state;
    begin(100);
    submit("a");
    pull();
    uint64_t taken = out_all;
    submit("b");
    pull(); /* serialized, not taken by the socket */
    submit("c");
    h2_session_end(s, taken, "eof");
    assert_string_equal(heard(), "a:failed(eof) b:refused:goaway c:refused:goaway");
}

static void test_one_byte_of_a_request_that_was_taken_makes_it_uncertain(void **state)
{
    (void)state;
    begin(100);
    pull();
    uint64_t taken = out_all;
    submit("a");
    pull();
    h2_session_end(s, taken + 1, "eof");
    assert_string_equal(heard(), "a:failed(eof)");
}

static void test_forgotten_requests_are_reset_and_not_told(void **state)
{
    struct slice p;

    (void)state;
    begin(100);
    struct h2_stream *t = submit("a");
    pull();
    h2_session_forget(s, t);
    pull();
    assert_int_equal(count(RST_STREAM, &p), 1);
    assert_memory_equal(p.p, "\0\0\0\10", 4); /* CANCEL */
    give_head(1, "200", NULL, true);
    t = submit("b");
    h2_session_forget(s, t); /* never sent */
    pull();
    assert_string_equal(heard(), "");
    assert_int_equal(h2_session_inflight(s), 0);
}

static void test_long_answers_are_cut(void **state)
{
    static uint8_t big[10000];

    (void)state;
    begin(100);
    submit("a");
    pull();
    give_head(1, "400", NULL, false);
    give(DATA, 0, 1, slice_of(big, H2_RESPONSE_BODY_MAX));
    assert_string_equal(heard(), "");
    give(DATA, 0, 1, slice_of(big, 1));
    assert_string_equal(heard(), "a=400 cut:0,4096");
    pull();
    assert_int_equal(count(RST_STREAM, NULL), 1);
    give(DATA, END_STREAM, 1, slice_of(big, 100));
    assert_string_equal(heard(), "");
}

static void test_too_many_fields_are_cut(void **state)
{
    uint8_t mem[4000];
    struct wr w = wr_init(mem, sizeof(mem));

    (void)state;
    begin(100);
    submit("a");
    pull();
    field(&w, ":status", "200");
    for (int i = 0; i < H2_RESPONSE_FIELDS_MAX + 5; i++)
        field(&w, "x-a", "b");
    give(HEADERS, END_HEADERS | END_STREAM, 1, wr_done(&w));
    assert_string_equal(heard(), "a=200 cut:32,0");
}

static void test_ping_when_a_request_waits_and_when_idle(void **state)
{
    struct slice p;

    (void)state;
    begin(100);
    assert_int_equal(h2_session_deadline(s), now + 60 * US_PER_S);
    now += 10 * US_PER_S;
    submit("a");
    pull();
    assert_int_equal(h2_session_deadline(s), now + US_PER_S);
    now += US_PER_S - 1;
    assert_true(h2_session_tick(s, now));
    pull();
    assert_int_equal(count(PING, NULL), 0);
    now += 1;
    assert_true(h2_session_tick(s, now));
    pull();
    assert_int_equal(count(PING, &p), 1);
    assert_int_equal(h2_session_deadline(s), now + US_PER_S);
    now += US_PER_S - 1; /* answered in time: the next one a second later */
    give(PING, ACK, 0, p);
    assert_int_equal(h2_session_deadline(s), now + US_PER_S);
    assert_true(h2_session_tick(s, now));
    give_head(1, "200", NULL, true);
    assert_int_equal(h2_session_deadline(s), now + 60 * US_PER_S);
    now += 60 * US_PER_S;
    assert_true(h2_session_tick(s, now));
    now += US_PER_S;
    assert_false(h2_session_tick(s, now));
    assert_string_equal(h2_session_why(s), "no answer to a PING: the connection is dead");
}

static void test_constant_requests_do_not_put_the_ping_off(void **state)
{
    (void)state;
    begin(100);
    for (int i = 0; i < 20; i++) {
        if (now >= h2_session_deadline(s) && !h2_session_tick(s, now)) {
            assert_int_equal(i, 20);
            break;
        }
        submit("a");
        pull();
        now += 100 * US_PER_MS;
    }
    assert_false(h2_session_tick(s, now)); /* 2 s after the first */
}

static void test_the_peers_pings_are_answered_but_not_without_end(void **state)
{
    int rc = 0;

    (void)state;
    begin(100);
    give(PING, 0, 0, SLICE_LIT("12345678"));
    pull();
    assert_int_equal(count(PING, NULL), 1);
    for (int i = 0; i < 1000 && rc == 0; i++)
        rc = give(PING, 0, 0, SLICE_LIT("12345678"));
    assert_int_equal(rc, -EPROTO); /* none was taken by the socket */
}

static void test_breaches_end_the_connection_with_a_reason(void **state)
{
    static const struct {
        int type, flags;
        uint32_t stream;
        struct slice payload;
    } bad[] = {
        {DATA, 0, 0, SLICE_LIT("x")},                 /* stream 0 */
        {HEADERS, END_HEADERS, 2, SLICE_LIT("\x88")}, /* the server opens a stream */
        {HEADERS, END_HEADERS, 1, SLICE_LIT("\xff\xff\xff\xff\xff")}, /* HPACK */
        {SETTINGS, 0, 0, SLICE_LIT("\0\4\xff\xff\xff\xff")},          /* window over 2^31-1 */
        {WINDOW_UPDATE, 0, 0, SLICE_LIT("\x7f\xff\xff\xff")},         /* overflow */
        {PUSH_PROMISE, END_HEADERS, 1, SLICE_LIT("\0\0\0\2\x82")},    /* push is off */
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        begin(100);
        submit("a");
        pull();
        int rc = give(bad[i].type, bad[i].flags, bad[i].stream, bad[i].payload);
        pull();
        if (rc == 0 && (!h2_session_over(s) || count(GOAWAY, NULL) != 1))
            fail_msg("case %zu goes on", i);
        if (h2_session_why(s)[0] == '\0')
            fail_msg("case %zu has no reason", i);
        h2_session_end(s, UINT64_MAX, h2_session_why(s));
        assert_true(strncmp(heard(), "a:", 2) == 0);
        teardown(state);
        setup(state);
    }
}

static void test_malformed_answers_fail_only_their_request(void **state)
{
    static const char *const statuses[] = {"99", "2000", "abc", "", "-20"};

    (void)state;
    begin(100);
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        submit("a");
        pull();
        give_head((uint32_t)(2 * i + 1), statuses[i], NULL, true);
        pull();
        if (strncmp(heard(), "a:failed(", 9) != 0)
            fail_msg("status \"%s\"", statuses[i]);
        assert_false(h2_session_over(s));
    }
}

static void test_a_large_body_waits_for_the_window(void **state)
{
    static uint8_t big[H2_REQUEST_BODY_MAX];

    (void)state;
    begin(100);
    request.body = slice_of(big, sizeof(big));
    submit("a");
    submit("b");
    pull();
    unsigned sent = count(DATA, NULL);
    assert_int_equal(sent, 4); /* 65,535 bytes */
    give(WINDOW_UPDATE, 0, 0, SLICE_LIT("\0\1\0\0"));
    pull();
    assert_true(count(DATA, NULL) > sent);
    out_len = 0;
    give_head(3, "413", NULL, true); /* before all of b was sent */
    assert_string_equal(heard(), "b=413");
    pull();
    assert_int_equal(count(RST_STREAM, NULL), 1);
}

static void test_goodbye(void **state)
{
    struct slice p;

    (void)state;
    begin(100);
    h2_session_goodbye(s);
    h2_session_goodbye(s);
    assert_int_equal(h2_session_room(s), 0);
    pull();
    assert_int_equal(count(GOAWAY, &p), 1);
    assert_memory_equal(p.p + 4, "\0\0\0\0", 4);
    assert_true(h2_session_over(s));
}

static void test_oom_at_every_step(void **state)
{
    struct h2_stream *t;
    bool failed = true;

    (void)state;
    for (uint64_t k = 0; failed; k++) {
        h2_session_free(s);
        assert_int_equal(mem_live(), 0);
        out_len = out_all = 0;
        mem_fail_after(k);
        s = h2_session_new(&conf, &OPS, NULL, now);
        if (s) {
            struct slice b;
            uint8_t mem[200], head[100];
            struct wr w = wr_init(mem, sizeof(mem)), h = wr_init(head, sizeof(head));
            frame(&w, SETTINGS, 0, 0, (struct slice){0});
            h2_session_recv(s, wr_done(&w), now);
            if (h2_session_room(s) > 0)
                h2_session_submit(s, &request, &now, &t, now);
            while ((b = h2_session_send(s)).len > 0)
                ;
            w.len = 0;
            field(&h, ":status", "200");
            field(&h, "apns-id", "x");
            frame(&w, HEADERS, END_HEADERS, 1, wr_done(&h));
            frame(&w, DATA, END_STREAM, 1, SLICE_LIT("body"));
            h2_session_recv(s, wr_done(&w), now);
            h2_session_tick(s, now + 100 * US_PER_S);
            while ((b = h2_session_send(s)).len > 0)
                ;
            h2_session_end(s, 0, "end");
        }
        failed = mem_failed();
        mem_fail_never();
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_preface_and_settings_then_wait_for_the_peers),
        T(test_answers_without_a_reset),
        T(test_interim_answers_and_trailers),
        T(test_resets_are_refusals_or_failures),
        T(test_goaway_parts_the_requests),
        T(test_the_end_tells_sent_from_unsent),
        T(test_one_byte_of_a_request_that_was_taken_makes_it_uncertain),
        T(test_forgotten_requests_are_reset_and_not_told),
        T(test_long_answers_are_cut),
        T(test_too_many_fields_are_cut),
        T(test_ping_when_a_request_waits_and_when_idle),
        T(test_constant_requests_do_not_put_the_ping_off),
        T(test_the_peers_pings_are_answered_but_not_without_end),
        T(test_breaches_end_the_connection_with_a_reason),
        T(test_malformed_answers_fail_only_their_request),
        T(test_a_large_body_waits_for_the_window),
        T(test_goodbye),
        T(test_oom_at_every_step),
    };
    return cmocka_run_group_tests_name("h2_session", tests, NULL, NULL);
}
