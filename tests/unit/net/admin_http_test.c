/* The operator's listener: paths, methods, readiness, loopback only.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/admin_http.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const struct addr loopback = {.ip = {127, 0, 0, 1}, .family = ADDR_V4};
static bool is_ready;

static bool ready(void *arg)
{
    return *(bool *)arg;
}

/* One request over a connection of its own; the answer in out. */
static void ask(uint16_t port, const char *request_line, char *out, size_t cap)
{
    struct sockaddr_storage ss;
    struct addr to = addr_with_port(loopback, port);
    unsigned len = addr_to_sockaddr(&to, &ss);
    char req[256];
    size_t n = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    int size = snprintf(req, sizeof req, "%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                        request_line);
    assert_int_equal(send(fd, req, (size_t)size, MSG_NOSIGNAL), size);
    for (ssize_t r; n < cap - 1 && (r = recv(fd, out + n, cap - 1 - n, 0)) > 0;)
        n += (size_t)r;
    out[n] = '\0';
    close(fd);
}

static void test_paths_and_methods(void **state)
{
    static const struct {
        const char *line, *has;
        int status;
    } cases[] = {
        {"GET /livez", "\r\n\r\nok\n", 200},
        {"GET /readyz", "\r\n\r\nready\n", 200},
        {"GET /metrics", "\nsori_tests_total 7\n", 200},
        {"HEAD /metrics", "version=0.0.4", 200},
        {"GET /", "not found", 404},
        {"GET /metrics/", "not found", 404},
        {"GET /../metrics", "not found", 404},
        {"POST /metrics", "Allow: GET, HEAD", 405},
        {"DELETE /livez", "not allowed", 405},
    };
    struct metrics *m = metrics_new();
    struct counter cell = {0};
    char err[ADMIN_HTTP_ERR_MAX], out[4096];
    (void)state;
    counter_add(&cell, 7);
    metrics_add(m, "sori_tests_total", "", "Tests.", METRIC_COUNTER, &cell);
    is_ready = true;
    struct admin_http *a = admin_http_start(&loopback, m, ready, &is_ready, err);
    assert_non_null(a);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char status[32];
        snprintf(status, sizeof status, "HTTP/1.1 %d ", cases[i].status);
        ask(admin_http_port(a), cases[i].line, out, sizeof out);
        if (strncmp(out, status, strlen(status)) != 0 || !strstr(out, cases[i].has))
            fail_msg("%s gave:\n%s", cases[i].line, out);
    }
    is_ready = false;
    ask(admin_http_port(a), "GET /readyz", out, sizeof out);
    assert_non_null(strstr(out, "503"));
    admin_http_stop(a);
    metrics_free(m);
}

static char *make(void *arg, size_t *len)
{
    static const char text[] = "{\"made\":1}";
    *len = sizeof text - 1;
    return *(bool *)arg ? mem_strndup(slice_str(text)) : NULL;
}

static void test_pages_of_the_daemon(void **state)
{
    const struct admin_page pages[] = {
        {.path = "/", .type = "text/html", .body = SLICE_LIT("<p>page")},
        {.path = "/data.json", .type = "application/json", .make = make}};
    struct metrics *m = metrics_new();
    char err[ADMIN_HTTP_ERR_MAX], out[4096];
    (void)state;
    is_ready = true;
    struct admin_http *a = admin_http_start(&loopback, m, ready, &is_ready, err);
    assert_non_null(a);
    admin_http_pages(a, pages, ARRAY_LEN(pages));
    ask(admin_http_port(a), "GET /", out, sizeof out);
    assert_non_null(strstr(out, "Content-Type: text/html\r\n"));
    assert_non_null(strstr(out, "Content-Security-Policy: default-src 'self'"));
    assert_non_null(strstr(out, "\r\n\r\n<p>page"));
    ask(admin_http_port(a), "GET /data.json", out, sizeof out);
    assert_non_null(strstr(out, "Cache-Control: no-store"));
    assert_non_null(strstr(out, "\r\n\r\n{\"made\":1}"));
    ask(admin_http_port(a), "POST /data.json", out, sizeof out);
    assert_non_null(strstr(out, " 405 "));
    is_ready = false; /* make() has nothing */
    ask(admin_http_port(a), "GET /data.json", out, sizeof out);
    assert_non_null(strstr(out, " 503 "));
    ask(admin_http_port(a), "GET /other", out, sizeof out);
    assert_non_null(strstr(out, " 404 "));
    admin_http_stop(a);
    metrics_free(m);
}

static void test_only_loopback_addresses(void **state)
{
    static const struct {
        const char *addr;
        bool ok;
    } cases[] = {
        {"127.0.0.1", true},
        {"127.9.9.9", true},
        {"0.0.0.0", false},
        {"10.0.0.1", false},
        {"[::1]:0", true},
        {"[::]:0", false},
        {"[::ffff:127.0.0.1]:0", false},
    };
    struct metrics *m = metrics_new();
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct addr a;
        char err[ADMIN_HTTP_ERR_MAX] = "";
        assert_int_equal(addr_parse(&a, slice_str(cases[i].addr)), 0);
        struct admin_http *h = admin_http_start(&a, m, ready, &is_ready, err);
        if (!cases[i].ok) {
            assert_null(h);
            assert_non_null(strstr(err, "not a loopback address"));
        } else if (!h) {
            print_message("%s: %s\n", cases[i].addr, err); /* a machine without IPv6 */
            assert_null(strstr(err, "not a loopback address"));
        }
        admin_http_stop(h);
    }
    metrics_free(m);
}

static void test_address_in_use_is_told(void **state)
{
    struct metrics *m = metrics_new();
    char err[ADMIN_HTTP_ERR_MAX] = "";
    (void)state;
    struct admin_http *a = admin_http_start(&loopback, m, ready, &is_ready, err);
    assert_non_null(a);
    struct addr same = addr_with_port(loopback, admin_http_port(a));
    assert_null(admin_http_start(&same, m, ready, &is_ready, err));
    assert_non_null(strstr(err, "cannot listen on 127.0.0.1:"));
    admin_http_stop(a);
    admin_http_stop(NULL);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_and_methods),
        cmocka_unit_test(test_pages_of_the_daemon),
        cmocka_unit_test(test_only_loopback_addresses),
        cmocka_unit_test(test_address_in_use_is_told),
    };
    return cmocka_run_group_tests_name("admin_http", tests, NULL, NULL);
}
