/* HTTP/1.1 request heads, the WebSocket opening handshake, response heads, the Origin check.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/http1.h"

#include "base/mem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define HOST "Host: a.example\r\n"

/* What RFC 6455 §1.3 shows, with our subprotocol. */
static const char upgrade[] = "GET /chat?x=1 HTTP/1.1\r\n"
                              "Host: server.example.com\r\n"
                              "Upgrade: websocket\r\n"
                              "Connection: keep-alive, Upgrade\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                              "Origin: http://example.com\r\n"
                              "Sec-WebSocket-Protocol: chat, sori.v1\r\n"
                              "Sec-WebSocket-Version: 13\r\n"
                              "\r\n";

static void test_head_is_taken_apart(void **state)
{
    struct http1_request r;
    unsigned status;
    (void)state;
    assert_int_equal(http1_decode(&r, slice_str(upgrade), &status), 0);
    assert_true(slice_is(r.path, "/chat"));
    assert_true(slice_is(r.query, "x=1"));
    assert_true(slice_is(r.host, "server.example.com"));
    assert_true(slice_is(http1_header(&r, "ORIGIN"), "http://example.com"));
    assert_null(http1_header(&r, "origi").p);
    assert_int_equal(r.len, sizeof upgrade - 1);
    assert_int_equal(r.n_headers, 7);
    assert_true(r.keep_alive);
    assert_false(r.head);
    assert_true(http1_has_token(&r, "connection", "upgrade"));
    assert_true(http1_has_token(&r, "connection", "KEEP-ALIVE"));
    assert_false(http1_has_token(&r, "connection", "keep"));
}

static void test_bytes_after_the_head_are_left_alone(void **state)
{
    struct http1_request r;
    unsigned status;
    (void)state;
    struct slice in = SLICE_LIT("HEAD /a HTTP/1.0\r\n" HOST "\r\n\x81\x85\n\n");
    assert_int_equal(http1_decode(&r, in, &status), 0);
    assert_int_equal(r.len, in.len - 4);
    assert_true(r.head);
    assert_false(r.keep_alive);
}

static void test_every_truncation_waits_for_more(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof upgrade - 1; n++) {
        struct http1_request r;
        unsigned status;
        char *exact = mem_zalloc(n);
        memcpy(exact, upgrade, n);
        assert_int_equal(http1_decode(&r, slice_of(exact, n), &status), -EAGAIN);
        mem_free(exact);
    }
}

static void test_bad_heads_get_their_status(void **state)
{
    static const struct {
        unsigned status;
        const char *head;
    } cases[] = {
        {405, "POST / HTTP/1.1\r\n" HOST "\r\n"},
        {405, "PRI * HTTP/1.1\r\n\r\n"},
        {505, "GET / HTTP/2.0\r\n" HOST "\r\n"},
        {400, "GET / HTTP/1.2\r\n" HOST "\r\n"},
        {400, "GET / http/1.1\r\n" HOST "\r\n"},
        {400, "GET  / HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET / HTTP/1.1 \r\n" HOST "\r\n"},
        {400, "GET /a b HTTP/1.1\r\n" HOST "\r\n"},
        {400, " GET / HTTP/1.1\r\n" HOST "\r\n"},
        {400, "\r\nGET / HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /\r\n"},
        {400, "GET a HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET * HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET http://a/ HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /\x01 HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /\xc3\x9f HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /#a HTTP/1.1\r\n" HOST "\r\n"},
        /* Line ends: a bare LF, a bare CR, a CR inside. */
        {400, "GET / HTTP/1.1\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\rb"},
        {400, "GET / HTTP/1.1\r\r\n"},
        /* Header grammar. */
        {400, "GET / HTTP/1.1\r\n" HOST " folded: x\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "\tfolded\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "A : b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "A\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "A(: b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "A: b\x01\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "A: b\x7f\r\n\r\n"},
        /* Host: exactly one, and one that can be. */
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST HOST "\r\n"},
        {400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"},
        /* Bodies. */
        {400, "GET / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "content-length: 0\r\n\r\n"},
        {501, "GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http1_request r = {.n_headers = 99};
        unsigned status = 0;
        if (http1_decode(&r, slice_str(cases[i].head), &status) != -EBADMSG ||
            status != cases[i].status)
            fail_msg("status %u for:\n%s", status, cases[i].head);
        assert_int_equal(r.n_headers, 99);
    }
}

static void test_nul_bytes_are_refused_everywhere(void **state)
{
    static const struct slice heads[] = {
        SLICE_LIT("GET /\0 HTTP/1.1\r\n"),
        SLICE_LIT("G\0T / HTTP/1.1\r\n"),
        SLICE_LIT("GET / HTTP/1.1\r\nHost: a\0b\r\n"),
        SLICE_LIT("GET / HTTP/1.1\r\nHo\0st: ab\r\n"),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        struct http1_request r;
        unsigned status = 0;
        assert_int_equal(http1_decode(&r, heads[i], &status), -EBADMSG);
        assert_int_equal(status, 400);
    }
}

/* A head of exactly n bytes by one long header. */
static size_t head_of(char *out, size_t n)
{
    struct wr w = wr_init(out, n);
    wr_str(&w, "GET / HTTP/1.1\r\n" HOST "A: ");
    while (w.len < n - 4)
        wr_u8(&w, 'x');
    wr_str(&w, "\r\n\r\n");
    return w.len;
}

static void test_head_may_have_8192_bytes_and_no_more(void **state)
{
    static char buf[HTTP1_HEAD_MAX + 1];
    struct http1_request r;
    unsigned status = 0;
    (void)state;
    assert_int_equal(http1_decode(&r, slice_of(buf, head_of(buf, HTTP1_HEAD_MAX)), &status), 0);
    size_t n = head_of(buf, HTTP1_HEAD_MAX + 1);
    assert_int_equal(http1_decode(&r, slice_of(buf, n - 1), &status), -EBADMSG);
    assert_int_equal(status, 431);
    assert_int_equal(http1_decode(&r, slice_of(buf, n), &status), -EBADMSG);
    memset(buf, 'x', sizeof buf);
    memcpy(buf, "GET /", 5);
    assert_int_equal(http1_decode(&r, slice_of(buf, HTTP1_HEAD_MAX - 1), &status), -EAGAIN);
    assert_int_equal(http1_decode(&r, slice_of(buf, HTTP1_HEAD_MAX), &status), -EBADMSG);
    assert_int_equal(status, 414);
}

static void test_64_headers_and_no_more(void **state)
{
    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        char buf[2048];
        struct wr w = wr_init(buf, sizeof buf);
        struct http1_request r;
        unsigned status = 0;
        wr_str(&w, "GET / HTTP/1.1\r\n" HOST);
        for (int i = 1; i < HTTP1_HEADERS_MAX + extra; i++)
            wr_str(&w, "A: b\r\n");
        wr_str(&w, "\r\n");
        assert_int_equal(http1_decode(&r, wr_done(&w), &status), extra ? -EBADMSG : 0);
        assert_int_equal(status, extra ? 431 : 0);
    }
}

static void test_percent_decoding(void **state)
{
    static const struct {
        const char *in, *out;
        int rc;
    } cases[] = {
        {"", "", 0},
        {"/a%20b", "/a b", 0},
        {"%41%6a%6A", "Ajj", 0},
        {"%c3%9f+", "\xc3\x9f+", 0},
        {"%", NULL, -EBADMSG},
        {"%4", NULL, -EBADMSG},
        {"%4g", NULL, -EBADMSG},
        {"%g4", NULL, -EBADMSG},
        {"%00", NULL, -EBADMSG},
        {"123456789", NULL, -ENOSPC},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[8];
        struct wr w = wr_init(buf, sizeof buf);
        assert_int_equal(http1_percent_decode(slice_str(cases[i].in), &w), cases[i].rc);
        if (cases[i].out)
            assert_true(slice_is(wr_done(&w), cases[i].out));
    }
}

static void test_query_values(void **state)
{
    struct slice q = SLICE_LIT("a=1&bb=%20x=y&c&=e&bb=2");
    static const struct {
        const char *name, *value;
    } cases[] = {{"a", "1"}, {"bb", " x=y"}, {"c", ""}, {"", "e"}, {"b", NULL}, {"d", NULL}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[16];
        struct wr w = wr_init(buf, sizeof buf);
        int rc = http1_query_get(q, cases[i].name, &w);
        assert_int_equal(rc, cases[i].value ? 0 : -ENOENT);
        if (cases[i].value)
            assert_true(slice_eq(slice_of(w.base, w.len), slice_str(cases[i].value)));
    }
}

static void test_rfc6455_accept_key(void **state)
{
    struct http1_request r;
    unsigned status;
    char accept[HTTP1_ACCEPT_BYTES];
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof buf);
    (void)state;
    assert_int_equal(http1_decode(&r, slice_str(upgrade), &status), 0);
    assert_true(http1_wants_websocket(&r));
    assert_int_equal(http1_websocket_check(&r, "sori.v1", accept, &status), 0);
    assert_memory_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", HTTP1_ACCEPT_BYTES);
    http1_write_switch(&w, accept, "sori.v1");
    assert_true(slice_is(wr_done(&w), "HTTP/1.1 101 Switching Protocols\r\n"
                                      "Upgrade: websocket\r\n"
                                      "Connection: Upgrade\r\n"
                                      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                                      "Sec-WebSocket-Protocol: sori.v1\r\n\r\n"));
}

static void test_handshake_defects_are_refused(void **state)
{
#define KEY   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define UP    "Upgrade: websocket\r\n"
#define CONN  "Connection: Upgrade\r\n"
#define PROTO "Sec-WebSocket-Protocol: sori.v1\r\n"
#define V13   "Sec-WebSocket-Version: 13\r\n"
    static const struct {
        unsigned status; /* 0: fine */
        const char *headers;
    } cases[] = {
        {0, UP CONN KEY PROTO V13},
        {0, "upgrade: WebSocket\r\nconnection: a,upgrade\r\n" KEY PROTO V13},
        {0, UP CONN KEY "Sec-WebSocket-Protocol: a\r\n" PROTO V13},
        {400, CONN KEY PROTO V13},
        {400, "Upgrade: h2c\r\n" CONN KEY PROTO V13},
        {400, UP KEY PROTO V13},
        {400, UP "Connection: keep-alive\r\n" KEY PROTO V13},
        {400, UP CONN PROTO V13},
        {400, UP CONN KEY KEY PROTO V13},
        {400, UP CONN "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n" PROTO V13},
        {400, UP CONN "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==x\r\n" PROTO V13},
        {400, UP CONN "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n" PROTO V13},
        {400, UP CONN "Sec-WebSocket-Key: dGhl_HNhbXBsZSBub25jZQ==\r\n" PROTO V13},
        {400, UP CONN KEY V13},
        {400, UP CONN KEY "Sec-WebSocket-Protocol: sori.v2\r\n" V13},
        {400, UP CONN KEY "Sec-WebSocket-Protocol: \r\n" V13},
        {426, UP CONN KEY PROTO},
        {426, UP CONN KEY PROTO "Sec-WebSocket-Version: 8\r\n"},
        {426, UP CONN KEY PROTO "Sec-WebSocket-Version: 013\r\n"},
        {426, UP CONN KEY PROTO V13 V13},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http1_request r;
        unsigned status = 0;
        char head[1024], accept[HTTP1_ACCEPT_BYTES];
        snprintf(head, sizeof head, "GET /ws HTTP/1.1\r\n" HOST "%s\r\n", cases[i].headers);
        assert_int_equal(http1_decode(&r, slice_str(head), &status), 0);
        int rc = http1_websocket_check(&r, "sori.v1", accept, &status);
        if (rc != (cases[i].status ? -EBADMSG : 0) || (rc && status != cases[i].status))
            fail_msg("%d, status %u for:\n%s", rc, status, head);
    }
}

static void test_responses(void **state)
{
    static const struct {
        struct http1_response r;
        const char *has[3], *hasnt;
    } cases[] = {
        {{.status = 200, .type = "text/html", .body_bytes = 12, .keep_alive = true},
         {"HTTP/1.1 200 OK\r\n", "Content-Length: 12\r\n", "Connection: keep-alive\r\n"},
         "close"},
        {{.status = 404},
         {"HTTP/1.1 404 Not Found\r\n", "Content-Length: 0\r\n", "Connection: close\r\n"},
         "Content-Type:"},
        {{.status = 426},
         {"Sec-WebSocket-Version: 13\r\n", "Upgrade: websocket\r\n", "close"},
         "Allow"},
        {{.status = 405}, {"Allow: GET, HEAD\r\n", "nosniff\r\n", "no-store\r\n"}, "Upgrade"},
        {{.status = 599, .extra = "Retry-After: 5\r\n"},
         {"599 Error\r\n", "\r\nRetry-After: 5\r\n\r\n"},
         "Allow"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char buf[512] = {0};
        struct wr w = wr_init(buf, sizeof buf - 1);
        http1_write_response(&w, &cases[i].r);
        assert_false(w.bad);
        for (size_t n = 0; n < 3 && cases[i].has[n]; n++)
            assert_non_null(strstr(buf, cases[i].has[n]));
        assert_null(strstr(buf, cases[i].hasnt));
        assert_memory_equal(buf + w.len - 4, "\r\n\r\n", 4);
    }
}

static void test_origin_must_match_exactly(void **state)
{
    static char *const allowed[] = {"https://app.example.com", "http://localhost:8080",
                                    "https://[2001:db8::1]:8443", "custom://host"};
    static const struct {
        const char *origin;
        bool ok;
    } cases[] = {
        {"https://app.example.com", true},
        {"https://app.example.com:443", true},
        {"HTTPS://App.Example.COM", true},
        {"http://localhost:8080", true},
        {"https://[2001:DB8::1]:8443", true},
        {"custom://host", true},
        {"http://app.example.com", false},
        {"https://app.example.com:8443", false},
        {"https://app.example.com:0443", false},
        {"https://app.example.com:", false},
        {"https://app.example.com.evil.com", false},
        {"https://evilapp.example.com", false},
        {"https://evil.com/https://app.example.com", false},
        {"https://app.example.com/", false},
        {"https://app.example.com@evil.com", false},
        {"https://app.example.com https://evil.com", false},
        {"https://app.example.com,https://evil.com", false},
        {"https://example.com", false},
        {"http://localhost", false},
        {"http://localhost:8081", false},
        {"http://localhost:80800", false},
        {"https://[2001:db8::1", false},
        {"null", false},
        {"", false},
        {"https://", false},
        {"://", false},
        {"app.example.com", false},
        {"*", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (http1_origin_allowed(slice_str(cases[i].origin), true, allowed, ARRAY_LEN(allowed)) !=
            cases[i].ok)
            fail_msg("origin %s", cases[i].origin);
}

static void test_missing_origin_and_star(void **state)
{
    static char *const star[] = {"https://a", "*"};
    (void)state;
    assert_true(http1_origin_allowed((struct slice){0}, true, NULL, 0));
    assert_false(http1_origin_allowed((struct slice){0}, false, star, 1));
    assert_false(http1_origin_allowed(SLICE_LIT("https://b"), true, star, 1));
    assert_true(http1_origin_allowed(SLICE_LIT("https://b"), false, star, 2));
    assert_true(http1_origin_allowed(SLICE_LIT("null"), false, star, 2));
    assert_false(http1_origin_allowed(SLICE_LIT("https://a"), true, NULL, 0));
}

static void test_a_range_is_one_piece_or_nothing(void **state)
{
    static const struct {
        const char *value;
        uint64_t size;
        int rc;
        uint64_t from, len;
    } c[] = {
        {NULL, 100, 0, 0, 0},
        {"", 100, 0, 0, 0},
        {"bytes=0-0", 100, 1, 0, 1},
        {"Bytes=0-99", 100, 1, 0, 100},
        {"bytes=10-", 100, 1, 10, 90},
        {"bytes=99-", 100, 1, 99, 1},
        {"bytes=50-1000", 100, 1, 50, 50}, /* the end is cut */
        {"bytes=-1", 100, 1, 99, 1},
        {"bytes=-1000", 100, 1, 0, 100},
        {"bytes=100-", 100, -ERANGE, 0, 0},
        {"bytes=-0", 100, -ERANGE, 0, 0},
        {"bytes=0-", 0, -ERANGE, 0, 0},
        {"bytes=-5", 0, -ERANGE, 0, 0},
        {"bytes=5-4", 100, 0, 0, 0},
        {"bytes=0-0,2-3", 100, 0, 0, 0}, /* several: the whole */
        {"bytes= 0-1", 100, 0, 0, 0},
        {"bytes=", 100, 0, 0, 0},
        {"bytes=-", 100, 0, 0, 0},
        {"bytes=a-b", 100, 0, 0, 0},
        {"lines=0-1", 100, 0, 0, 0},
        {"bytes=0-18446744073709551616", 100, 0, 0, 0}, /* beyond 64 bits */
        {"bytes=18446744073709551605-", 100, -ERANGE, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        uint64_t from = 0, len = 0;
        struct slice v = c[i].value ? slice_str(c[i].value) : (struct slice){0};
        assert_int_equal(http1_range(v, c[i].size, &from, &len), c[i].rc);
        assert_true(from == c[i].from && len == c[i].len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_is_taken_apart),
        cmocka_unit_test(test_bytes_after_the_head_are_left_alone),
        cmocka_unit_test(test_every_truncation_waits_for_more),
        cmocka_unit_test(test_bad_heads_get_their_status),
        cmocka_unit_test(test_nul_bytes_are_refused_everywhere),
        cmocka_unit_test(test_head_may_have_8192_bytes_and_no_more),
        cmocka_unit_test(test_64_headers_and_no_more),
        cmocka_unit_test(test_percent_decoding),
        cmocka_unit_test(test_query_values),
        cmocka_unit_test(test_rfc6455_accept_key),
        cmocka_unit_test(test_handshake_defects_are_refused),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_origin_must_match_exactly),
        cmocka_unit_test(test_missing_origin_and_star),
        cmocka_unit_test(test_a_range_is_one_piece_or_nothing),
    };
    return cmocka_run_group_tests_name("http1", tests, NULL, NULL);
}
