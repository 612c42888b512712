/* sdp.c: line ends, sections and their lines, every form of a bad line with its number, limits.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sdp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/lib/guard.h"

#define HEAD "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"

static const char offer[] = HEAD "a=group:BUNDLE 0 1\r\n"
                                 "m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\n"
                                 "c=IN IP4 0.0.0.0\r\n"
                                 "a=mid:0\r\n"
                                 "a=sendonly\r\n"
                                 "a=rtpmap:111 opus/48000/2\r\n"
                                 "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"
                                 "a=mid:1\r\n";

static void test_sections_and_their_lines(void **state)
{
    struct sdp s;
    struct sdp_error e;
    struct sdp_line l;

    (void)state;
    assert_int_equal(sdp_parse(&s, slice_str(offer), &e), 0);
    assert_true(slice_is(s.origin, "- 1 2 IN IP4 127.0.0.1"));
    assert_int_equal(s.n_sections, 2);
    assert_int_equal(s.section[0].line, 6);
    assert_int_equal(s.section[0].port, 9);
    assert_true(slice_is(s.section[0].media, "audio"));
    assert_true(slice_is(s.section[0].proto, "UDP/TLS/RTP/SAVPF"));
    assert_true(slice_is(s.section[0].formats, "111 0"));
    assert_int_equal(s.section[1].port, 0);
    assert_true(slice_is(s.section[1].formats, "webrtc-datachannel"));

    assert_true(sdp_find(sdp_walk_session(&s), "group", &l));
    assert_int_equal(l.line, 5);
    assert_true(slice_is(l.arg, "BUNDLE 0 1"));
    assert_false(sdp_find(sdp_walk_session(&s), "mid", &l));

    struct sdp_walk w = sdp_walk_section(&s.section[0]);
    static const char *const names[] = {"", "mid", "sendonly", "rtpmap"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        assert_true(sdp_next(&w, &l));
        assert_int_equal(l.line, 7 + i);
        assert_true(slice_is(l.name, names[i]));
    }
    assert_true(slice_is(l.arg, "111 opus/48000/2"));
    assert_false(sdp_next(&w, &l));
    assert_true(sdp_find(sdp_walk_section(&s.section[1]), "mid", &l));
    assert_int_equal(l.line, 12);
    assert_true(slice_is(l.arg, "1"));
}

static void test_bare_line_feeds_and_a_missing_last_end(void **state)
{
    struct sdp s;
    struct sdp_error e;
    struct sdp_line l;

    (void)state;
    assert_int_equal(
        sdp_parse(&s,
                  slice_str("v=0\no=- 1 1 IN IP4 0\ns=x y\nt=0 0\nm=audio 9 RTP/SAVPF 0\na=mid:z"),
                  &e),
        0);
    assert_true(slice_is(s.name, "x y"));
    assert_true(sdp_find(sdp_walk_section(&s.section[0]), "mid", &l));
    assert_true(slice_is(l.arg, "z"));
    assert_int_equal(sdp_parse(&s, slice_str("v=0\no=- 1 1 IN IP4 0\ns=-\nt=0 0"), &e), 0);
    assert_int_equal(s.n_sections, 0);
}

static void test_bad_lines_are_named(void **state)
{
    static const struct {
        const char *text;
        enum sdp_err code;
        unsigned line;
    } cases[] = {
        {"", SDP_E_EMPTY, 0},
        {"\r\n", SDP_E_LINE_FORM, 1},
        {"v=1\r\n", SDP_E_VERSION, 1},
        {"o=- 1 1 IN IP4 0\r\n", SDP_E_VERSION, 1},
        {"{\"type\":\"offer\"}", SDP_E_LINE_FORM, 1},
        {"v=0\r\n", SDP_E_ORIGIN, 2},
        {"v=0\r\ns=-\r\n", SDP_E_ORIGIN, 2},
        {"v=0\r\no=- 1 1 IN IP4\r\n", SDP_E_ORIGIN, 2},
        {"v=0\r\no=- 1 1 IN IP4 0\r\n", SDP_E_NAME, 3},
        {"v=0\r\no=- 1 1 IN IP4 0\r\nt=0 0\r\n", SDP_E_NAME, 3},
        {"v=0\r\no=- 1 1 IN IP4 0\r\ns=-\r\n", SDP_E_TIME, 0},
        {"v=0\r\no=- 1 1 IN IP4 0\r\ns=-\r\nm=audio 9 x 0\r\n", SDP_E_TIME, 4},
        {HEAD "m=audio\r\n", SDP_E_MEDIA, 5},
        {HEAD "m=audio x RTP/SAVPF 0\r\n", SDP_E_MEDIA, 5},
        {HEAD "m=audio 65536 RTP/SAVPF 0\r\n", SDP_E_MEDIA, 5},
        {HEAD "m=audio 9 RTP/SAVPF\r\n", SDP_E_FORMATS, 5},
        {HEAD "m=audio 9 RTP/SAVPF \r\n", SDP_E_FORMATS, 5},
        {HEAD "a=\r\n", SDP_E_ATTRIBUTE, 5},
        {HEAD "a=:x\r\n", SDP_E_ATTRIBUTE, 5},
        {HEAD "\r\n", SDP_E_LINE_FORM, 5},
        {HEAD "A=x\r\n", SDP_E_LINE_FORM, 5},
        {HEAD " =x\r\n", SDP_E_LINE_FORM, 5},
        {HEAD "a\r\n", SDP_E_LINE_FORM, 5},
        {HEAD "a x\r\n", SDP_E_LINE_FORM, 5},
        {HEAD "a=x\ry\r\n", SDP_E_CHARACTER, 5},
    };
    struct sdp s;
    struct sdp_error e;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(sdp_parse(&s, slice_str(cases[i].text), &e), -EBADMSG);
        assert_int_equal(e.code, cases[i].code);
        assert_int_equal(e.line, cases[i].line);
        assert_true(strlen(sdp_error_text(e.code)) > 10);
    }
    assert_int_equal(sdp_parse(&s, SLICE_LIT(HEAD "a=x\0y\r\n"), &e), -EBADMSG);
    assert_int_equal(e.code, SDP_E_CHARACTER);
}

/* Writes HEAD and n times the line; gives the text in buf. */
static struct slice many(char *buf, size_t cap, unsigned n, const char *line)
{
    struct wr w = wr_init(buf, cap);

    wr_str(&w, HEAD);
    for (unsigned i = 0; i < n; i++)
        wr_str(&w, line);
    assert_false(w.bad);
    return wr_done(&w);
}

static void test_limits_have_their_errors(void **state)
{
    static char buf[SDP_BYTES_MAX + 1024];
    static const char media[] = "m=audio 9 RTP/SAVPF 0\r\n";
    struct sdp s;
    struct sdp_error e;

    (void)state;
    assert_int_equal(sdp_parse(&s, many(buf, sizeof(buf), SDP_SECTIONS_MAX, media), &e), 0);
    assert_int_equal(s.n_sections, SDP_SECTIONS_MAX);
    assert_int_equal(sdp_parse(&s, many(buf, sizeof(buf), SDP_SECTIONS_MAX + 1, media), &e),
                     -EBADMSG);
    assert_int_equal(e.code, SDP_E_SECTIONS);
    assert_int_equal(e.line, 5 + SDP_SECTIONS_MAX);

    assert_int_equal(sdp_parse(&s, many(buf, sizeof(buf), SDP_LINES_MAX - 4, "a=x\n"), &e), 0);
    assert_int_equal(sdp_parse(&s, many(buf, sizeof(buf), SDP_LINES_MAX - 3, "a=x\n"), &e),
                     -EBADMSG);
    assert_int_equal(e.code, SDP_E_LINES);

    struct slice head = many(buf, sizeof(buf), 0, "");
    memset(buf + head.len, 'a', SDP_LINE_MAX + 3);
    buf[head.len + 1] = '=';
    assert_int_equal(sdp_parse(&s, slice_of(buf, head.len + 2 + SDP_LINE_MAX), &e), 0);
    assert_int_equal(sdp_parse(&s, slice_of(buf, head.len + 3 + SDP_LINE_MAX), &e), -EBADMSG);
    assert_int_equal(e.code, SDP_E_LINE_TOO_LONG);

    assert_int_equal(sdp_parse(&s, slice_of(buf, SDP_BYTES_MAX + 1), &e), -EBADMSG);
    assert_int_equal(e.code, SDP_E_TOO_LARGE);

    struct wr w = wr_init(buf, sizeof(buf));
    wr_str(&w, HEAD "m=audio 9 RTP/SAVPF");
    for (unsigned i = 0; i < SDP_FORMATS_MAX; i++)
        wr_str(&w, " 1");
    assert_int_equal(sdp_parse(&s, wr_done(&w), &e), 0);
    wr_str(&w, " 1");
    assert_int_equal(sdp_parse(&s, wr_done(&w), &e), -EBADMSG);
    assert_int_equal(e.code, SDP_E_FORMATS);
}

static void test_every_truncation_ends_inside(void **state)
{
    struct sdp s;
    struct sdp_error e;
    struct sdp_line l;

    (void)state;
    for (size_t n = 0; n < sizeof(offer); n++) {
        uint8_t *copy = guard_copy(offer, n);
        if (sdp_parse(&s, slice_of(copy, n), &e) == 0) {
            struct sdp_walk w = sdp_walk_session(&s);
            while (sdp_next(&w, &l))
                assert_true(l.value.len <= n);
            for (unsigned i = 0; i < s.n_sections; i++) {
                w = sdp_walk_section(&s.section[i]);
                while (sdp_next(&w, &l))
                    assert_true(l.line > s.section[i].line);
            }
        }
        guard_free(copy, n);
    }
}

static void test_what_is_put_is_read(void **state)
{
    char buf[512];
    struct wr w = wr_init(buf, sizeof(buf));
    struct sdp s;
    struct sdp_error e;
    struct sdp_line l;

    (void)state;
    sdp_put_head(&w, 7, 3);
    sdp_put_flag(&w, "ice-lite");
    sdp_put_media(&w, SLICE_LIT("video"), 9, SLICE_LIT("UDP/TLS/RTP/SAVPF"), SLICE_LIT("96 97"));
    sdp_put_attr(&w, "mid", SLICE_LIT("a"));
    assert_int_equal(sdp_parse(&s, wr_done(&w), &e), 0);
    assert_true(slice_is(s.origin, "- 7 3 IN IP4 127.0.0.1"));
    assert_true(sdp_find(sdp_walk_session(&s), "ice-lite", &l));
    assert_true(slice_is(s.section[0].formats, "96 97"));
    assert_true(sdp_find(sdp_walk_section(&s.section[0]), "mid", &l));
    assert_true(slice_is(l.arg, "a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sections_and_their_lines),
        cmocka_unit_test(test_bare_line_feeds_and_a_missing_last_end),
        cmocka_unit_test(test_bad_lines_are_named),
        cmocka_unit_test(test_limits_have_their_errors),
        cmocka_unit_test(test_every_truncation_ends_inside),
        cmocka_unit_test(test_what_is_put_is_read),
    };

    return cmocka_run_group_tests_name("sdp", tests, NULL, NULL);
}
