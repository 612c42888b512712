/* Tests of server/h2_proxy.c: the request's text, answers whole and in pieces, what is no answer.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "server/h2_proxy.h"
#include "tests/lib/guard.h"

static void expect_request(const char *host, uint16_t port, const char *auth, const char *text)
{
    uint8_t mem[1024];
    struct wr w = wr_init(mem, sizeof(mem));

    h2_proxy_write(&w, slice_str(host), port, slice_str(auth));
    assert_true(slice_is(wr_done(&w), text));
}

static void test_requests(void **state)
{
    static uint8_t long_auth[H2_PROXY_AUTH_MAX + 1];
    uint8_t mem[2048], small[20];
    struct wr w = wr_init(mem, sizeof(mem));

    (void)state;
    expect_request(
        "api.push.apple.com", 443, NULL,
        "CONNECT api.push.apple.com:443 HTTP/1.1\r\nHost: api.push.apple.com:443\r\n\r\n");
    expect_request("::1", 2197, "Aladdin:open sesame", /* RFC 7617 §2 */
                   "CONNECT [::1]:2197 HTTP/1.1\r\nHost: [::1]:2197\r\n"
                   "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n");
    h2_proxy_write(&w, SLICE_LIT("a"), 1, slice_of(long_auth, sizeof(long_auth)));
    assert_true(w.bad);
    w = wr_init(small, sizeof(small));
    h2_proxy_write(&w, SLICE_LIT("a.example"), 1, (struct slice){0});
    assert_true(w.bad);
}

static void test_answers(void **state)
{
    static const struct {
        const char *text;
        int rc;
        unsigned status;
    } cases[] = {
        {"HTTP/1.1 200 Connection established\r\n\r\n", 0, 200},
        {"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n", 0, 200},
        {"HTTP/1.1 299\r\n\r\n", 0, 299},
        {"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 3\r\n\r\nno!", -EACCES,
         407},
        {"HTTP/1.1 403 Forbidden\r\n\r\n", -EACCES, 403},
        {"HTTP/1.1 100 Continue\r\n\r\n", -EACCES, 100},
        {"HTTP/1.1 200 OK\r\n\r\nx", -EBADMSG, 200}, /* the server does not speak first */
        {"HTTP/1.1 2x0 OK\r\n\r\n", -EBADMSG, 0},
        {"HTTP/1.1 999 OK\r\n\r\n", -EBADMSG, 0},
        {"HTTP/1.1-200 OK\r\n\r\n", -EBADMSG, 0},
        {"HTTP/1.1\r\n\r\n", -EBADMSG, 0},
        {"HTTP/2 200\r\n\r\n", -EBADMSG, 0},
        {"SSH-2.0-x", -EBADMSG, 0},
        {"\x15\x03\x01", -EBADMSG, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t n = strlen(cases[i].text);
        unsigned status = 1;
        uint8_t *g = guard_copy(cases[i].text, n);
        int rc = h2_proxy_read(slice_of(g, n), &status);
        guard_free(g, n);
        if (rc != cases[i].rc || status != cases[i].status)
            fail_msg("%s: %d, %u", cases[i].text, rc, status);
    }
}

static void test_every_piece_of_an_answer_asks_for_more(void **state)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n";
    unsigned status;

    (void)state;
    for (size_t n = 0; n + 1 < sizeof(text); n++) {
        uint8_t *g = guard_copy(text, n);
        assert_int_equal(h2_proxy_read(slice_of(g, n), &status), -EAGAIN);
        guard_free(g, n);
    }
}

static void test_a_head_without_end_is_refused(void **state)
{
    static uint8_t mem[H2_PROXY_HEAD_MAX];
    unsigned status;

    (void)state;
    memset(mem, 'x', sizeof(mem));
    memcpy(mem, "HTTP/1.1 200 OK\r\n", 17);
    assert_int_equal(h2_proxy_read(slice_of(mem, sizeof(mem) - 1), &status), -EAGAIN);
    assert_int_equal(h2_proxy_read(slice_of(mem, sizeof(mem)), &status), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_every_piece_of_an_answer_asks_for_more),
        cmocka_unit_test(test_a_head_without_end_is_refused),
    };
    return cmocka_run_group_tests_name("h2_proxy", tests, NULL, NULL);
}
