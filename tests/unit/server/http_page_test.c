/* Tests of server/http_page.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/http_page.h"

#include "base/clock.h"
#include "server/token.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#define WALL   (UINT64_C(1767225600) * US_PER_S)
#define SECRET "0123456789abcdef0123456789abcdef"

static char *origins[] = {(char *)"http://127.0.0.1:8080", (char *)"https://calls.example"};

static struct server_conf conf_of(bool page, bool dev)
{
    return (struct server_conf){.server = {.origins = {origins, 2}, .page = page},
                                .auth = {.issuer = (char *)"",
                                         .audience = (char *)"",
                                         .hs256_kid = (char *)"",
                                         .hs256_secret = {(uint8_t *)SECRET, sizeof(SECRET) - 1}},
                                .dev = {.enabled = dev, .token_ttl_s = 3600}};
}

static struct http_page get(const struct server_conf *c, const char *target, const char *host,
                            bool tls)
{
    static uint8_t scratch[HTTP_PAGE_SCRATCH];
    static char text[1000];
    static struct http1_request q;
    unsigned status;

    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, host);
    assert_int_equal(http1_decode(&q, slice_str(text), &status), 0);
    return http_page_get(&q, c, tls, NULL, WALL, scratch);
}

static void test_health_is_told_to_anybody(void **state)
{
    const struct server_conf c = conf_of(false, false);
    uint8_t scratch[HTTP_PAGE_SCRATCH];
    struct http1_request q;
    unsigned status;

    (void)state;
    assert_int_equal(get(&c, "/livez", "x", false).head.status, 200);
    assert_int_equal(get(&c, "/readyz", "x", false).head.status, 200);
    assert_int_equal(
        http1_decode(&q, SLICE_LIT("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"), &status), 0);
    struct http_page p = http_page_get(&q, &c, false, "draining\n", WALL, scratch);
    assert_int_equal(p.head.status, 503);
    assert_true(slice_is(p.body, "draining\n"));
}

static void test_the_page_is_served_only_when_switched_on(void **state)
{
    static const char *const paths[] = {"/",
                                        "/style.css",
                                        "/room.css",
                                        "/sori.js",
                                        "/sori_base.js",
                                        "/sori_quality.js",
                                        "/sori_relay.js",
                                        "/sori_report.js",
                                        "/sori_room.js",
                                        "/app.js",
                                        "/page_parts.js",
                                        "/quality_page.js",
                                        "/room_page.js"};
    const struct server_conf off = conf_of(false, false), on = conf_of(true, false);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_int_equal(get(&off, paths[i], "x", false).head.status, 404);
        struct http_page p = get(&on, paths[i], "x", false);
        assert_int_equal(p.head.status, 200);
        assert_true(p.body.len > 100);
        assert_int_equal(p.body.len, p.head.body_bytes);
        assert_non_null(strstr(p.head.extra, "Content-Security-Policy"));
    }
    assert_int_equal(get(&on, "/../etc/passwd", "x", false).head.status, 404);
    assert_int_equal(get(&on, "/index.htm", "x", false).head.status, 404);
}

static void test_development_tokens_need_the_mode_and_a_known_host(void **state)
{
    const struct server_conf off = conf_of(true, false), on = conf_of(true, true);
    static const struct {
        const char *target, *host;
        bool tls;
        unsigned status;
    } cases[] = {
        {"/dev/token?user=alice", "127.0.0.1:8080", false, 200},
        {"/dev/token?user=alice&device=tab-1", "calls.example", true, 200},
        {"/dev/token?user=alice", "calls.example", false, 403},
        {"/dev/token?user=alice", "evil.example:8080", false, 403},
        {"/dev/token?user=alice", "127.0.0.1:8081", false, 403},
        {"/dev/token", "127.0.0.1:8080", false, 400},
        {"/dev/token?user=", "127.0.0.1:8080", false, 400},
        {"/dev/token?user=a%20b", "127.0.0.1:8080", false, 400},
        {"/dev/token?user=a&device=%2f", "127.0.0.1:8080", false, 400},
    };

    (void)state;
    assert_int_equal(get(&off, "/dev/token?user=alice", "127.0.0.1:8080", false).head.status, 404);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned status = get(&on, cases[i].target, cases[i].host, cases[i].tls).head.status;
        if (status != cases[i].status)
            fail_msg("case %zu: %u, not %u", i, status, cases[i].status);
    }
}

static void test_pages_of_other_nodes_are_told_in_development(void **state)
{
    char *pages[] = {(char *)"http://127.0.0.2:8080/", (char *)"http://a\"b/"};
    struct server_conf on = conf_of(true, true), off = conf_of(true, false);

    (void)state;
    assert_int_equal(get(&off, "/dev/pages", "127.0.0.1:8080", false).head.status, 404);
    assert_true(slice_is(get(&on, "/dev/pages", "x", false).body, "{\"pages\":[]}"));
    on.dev.other_pages = (struct conf_list){pages, 2};
    struct http_page p = get(&on, "/dev/pages", "x", false);
    assert_int_equal(p.head.status, 200);
    assert_string_equal(p.head.type, "application/json");
    assert_int_equal(p.head.body_bytes, p.body.len);
    assert_true(slice_is(p.body, "{\"pages\":[\"http://127.0.0.2:8080/\",\"http://a\\\"b/\"]}"));
}

static void test_a_development_token_is_good(void **state)
{
    const struct server_conf on = conf_of(true, true);
    const struct token_rules rules = {0};
    struct token_keys *keys = token_keys_new(TOKEN_ALGS_PRODUCT);
    char err[TOKEN_ERR_MAX];
    struct token t;

    (void)state;
    token_keys_add_secret(keys, (struct slice){0}, CRYPTO_HS256, SLICE_LIT(SECRET), err);
    struct slice body =
        get(&on, "/dev/token?user=alice&device=tab-1", "127.0.0.1:8080", false).body;
    assert_true(slice_starts(body, SLICE_LIT("{\"token\":\"")));
    struct slice jws = slice_sub(body, 10, body.len);
    size_t n = 0;
    while (n < jws.len && jws.p[n] != '"')
        n++;
    assert_int_equal(token_verify(&t, keys, &rules, slice_sub(jws, 0, n), WALL / US_PER_S),
                     TOKEN_OK);
    assert_string_equal(t.user, "alice");
    assert_string_equal(t.device, "tab-1");
    token_keys_free(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_is_told_to_anybody),
        cmocka_unit_test(test_the_page_is_served_only_when_switched_on),
        cmocka_unit_test(test_development_tokens_need_the_mode_and_a_known_host),
        cmocka_unit_test(test_pages_of_other_nodes_are_told_in_development),
        cmocka_unit_test(test_a_development_token_is_good),
    };

    return cmocka_run_group_tests_name("http_page", tests, NULL, NULL);
}
