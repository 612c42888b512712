/* sdp_attr.c: what is decoded comes out the same when it is written; wrong values are refused.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sdp_attr.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char out[1024];

/* The whole lines that decoding and writing each of these gives: themselves. */
static const char *const lines[] = {
    "a=rtpmap:111 opus/48000/2",
    "a=rtpmap:0 PCMU/8000",
    "a=fmtp:111 minptime=10;useinbandfec=1",
    "a=fmtp:63 111/111",
    "a=rtcp-fb:96 nack",
    "a=rtcp-fb:96 nack pli",
    "a=rtcp-fb:* transport-cc",
    "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on",
    "a=extmap:255/recvonly urn:ietf:params:rtp-hdrext:csrc-audio-level",
    "a=extmap:4096/inactive urn:3gpp:video-orientation",
    "a=fingerprint:sha-256 "
    "4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:"
    "DF",
    "a=fingerprint:sha-1 00:FF",
    "a=ssrc:4294967295 cname:{x y}",
    "a=ssrc:1 msid:- 2aa61452",
    "a=ssrc:1 flag",
    "a=ssrc-group:FID 1 2",
    "a=ssrc-group:SIM 1 2 3 4 5 6 7 8",
    "a=msid:stream track",
    "a=msid:-",
    "a=rid:q send",
    "a=rid:1 recv pt=97;max-width=1280;max-height=720",
    "a=simulcast:send q;h;f",
    "a=simulcast:recv q,r;~h",
    "a=simulcast:send 1 recv 2;3",
    "a=candidate:1 1 udp 2113937151 192.0.2.1 52344 typ host",
    "a=candidate:1 256 tcp 0 2001:db8::1 9 typ srflx tcptype active",
    "a=candidate:x 1 tcp 4294967295 192.0.2.1 65535 typ relay tcptype passive",
};

/* Decodes the line's value by its name and writes it again. */
static int again(struct slice line, struct wr *w)
{
    size_t colon = (size_t)((const uint8_t *)memchr(line.p, ':', line.len) - line.p);
    struct slice name = slice_sub(line, 2, colon - 2), arg = slice_sub(line, colon + 1, SIZE_MAX);
    union {
        struct sdp_rtpmap rtpmap;
        struct sdp_fmtp fmtp;
        struct sdp_rtcp_fb fb;
        struct sdp_extmap extmap;
        struct sdp_fingerprint fingerprint;
        struct sdp_ssrc ssrc;
        struct sdp_ssrc_group group;
        struct sdp_msid msid;
        struct sdp_rid rid;
        struct sdp_simulcast simulcast;
        struct sdp_candidate candidate;
    } v;
#define TRY(text, field, fn)                 \
    if (slice_is(name, text)) {              \
        if (fn##_decode(&v.field, arg) != 0) \
            return -EBADMSG;                 \
        fn##_put(w, &v.field);               \
        return 0;                            \
    }
    TRY("rtpmap", rtpmap, sdp_rtpmap)
    TRY("fmtp", fmtp, sdp_fmtp)
    TRY("rtcp-fb", fb, sdp_rtcp_fb)
    TRY("extmap", extmap, sdp_extmap)
    TRY("fingerprint", fingerprint, sdp_fingerprint)
    TRY("ssrc", ssrc, sdp_ssrc)
    TRY("ssrc-group", group, sdp_ssrc_group)
    TRY("msid", msid, sdp_msid)
    TRY("rid", rid, sdp_rid)
    TRY("simulcast", simulcast, sdp_simulcast)
    TRY("candidate", candidate, sdp_candidate)
#undef TRY
    fail();
    return 0;
}

static void test_values_survive_a_round_trip(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(lines); i++) {
        struct wr w = wr_init(out, sizeof(out));
        assert_int_equal(again(slice_str(lines[i]), &w), 0);
        wr_u8(&w, 0);
        out[w.len - 3] = '\0'; /* the line's end */
        assert_string_equal(out, lines[i]);
    }
}

static void test_wrong_values_are_refused(void **state)
{
    static const char *const bad[] = {
        "a=rtpmap:",
        "a=rtpmap:128 opus/48000/2",
        "a=rtpmap:111",
        "a=rtpmap:111 opus",
        "a=rtpmap:111 /48000",
        "a=rtpmap:111 opus/0",
        "a=rtpmap:111 opus/48000/0",
        "a=rtpmap:111 opus/48000/256",
        "a=rtpmap:111 opus/4294967296",
        "a=rtpmap:-1 opus/48000",
        "a=fmtp:",
        "a=fmtp:x apt=1",
        "a=rtcp-fb:96",
        "a=rtcp-fb:128 nack",
        "a=extmap:0 urn:x",
        "a=extmap:256 urn:x",
        "a=extmap:4095 urn:x",
        "a=extmap:4352 urn:x",
        "a=extmap:1",
        "a=extmap:1/both urn:x",
        "a=fingerprint:sha-256",
        "a=fingerprint:sha-256 4",
        "a=fingerprint:sha-256 4A:",
        "a=fingerprint:sha-256 4A:B",
        "a=fingerprint:sha-256 4A:GG",
        "a=fingerprint:sha-256 4A4A",
        "a=ssrc:4294967296 cname:x",
        "a=ssrc:1",
        "a=ssrc:1 :x",
        "a=ssrc-group:",
        "a=ssrc-group:FID 1 x",
        "a=ssrc-group:SIM 1 2 3 4 5 6 7 8 9",
        "a=msid:",
        "a=rid:q",
        "a=rid:q both",
        "a=simulcast:",
        "a=simulcast:send",
        "a=simulcast:send 1 send 2",
        "a=simulcast:both 1",
        "a=candidate:1 1 udp 1 192.0.2.1 9 typ",
        "a=candidate:1 0 udp 1 192.0.2.1 9 typ host",
        "a=candidate:1 257 udp 1 192.0.2.1 9 typ host",
        "a=candidate:1 1 sctp 1 192.0.2.1 9 typ host",
        "a=candidate:1 1 udp 4294967296 192.0.2.1 9 typ host",
        "a=candidate:1 1 udp 1 192.0.2.1 65536 typ host",
        "a=candidate:1 1 udp 1 192.0.2.1 9 type host",
        "a=candidate:1 1 udp 1 192.0.2.1 9 typ best",
        "a=candidate:1 1 udp 1 192.0.2.1:9 9 typ host",
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct wr w = wr_init(out, sizeof(out));
        assert_int_equal(again(slice_str(bad[i]), &w), -EBADMSG);
    }
    struct sdp_fingerprint f;
    struct wr w = wr_init(out, sizeof(out));
    wr_str(&w, "sha-512 00");
    for (unsigned i = 1; i < SDP_DIGEST_MAX; i++)
        wr_str(&w, ":00");
    assert_int_equal(sdp_fingerprint_decode(&f, wr_done(&w)), 0);
    assert_int_equal(f.len, SDP_DIGEST_MAX);
    wr_str(&w, ":00");
    assert_int_equal(sdp_fingerprint_decode(&f, wr_done(&w)), -EBADMSG);
}

static void test_names_and_old_forms_of_candidates(void **state)
{
    struct sdp_candidate c;

    (void)state;
    assert_int_equal(
        sdp_candidate_decode(&c, slice_str("0 1 UDP 2122187007 3cd7d061.local 35118 typ host")), 0);
    assert_int_equal(c.addr.family, ADDR_NONE);
    assert_true(slice_is(c.host, "3cd7d061.local"));
    assert_int_equal(c.port, 35118);
    assert_int_equal(sdp_candidate_decode(&c, slice_str("1 1 TCP 2105524479 192.0.2.1 9 typ srflx "
                                                        "raddr 10.0.0.1 rport 9 tcptype active "
                                                        "generation 0 ufrag x network-cost")),
                     0);
    assert_true(c.tcp);
    assert_int_equal(c.tcptype, SDP_TCP_ACTIVE);
    assert_int_equal(c.type, SDP_SRFLX);
}

static void test_parameters(void **state)
{
    struct slice params = slice_str(" minptime=10; USEDTX=1;;0-15; x="), name, value;

    (void)state;
    assert_int_equal(sdp_param_u64(params, "minptime", 100, 7), 10);
    assert_int_equal(sdp_param_u64(params, "minptime", 9, 7), 7); /* above the maximum */
    assert_int_equal(sdp_param_u64(params, "usedtx", 1, 0), 1);
    assert_int_equal(sdp_param_u64(params, "absent", 1, 5), 5);
    assert_true(sdp_param(params, "x", &value));
    assert_int_equal(value.len, 0);
    unsigned n = 0;
    while (sdp_param_next(&params, &name, &value)) {
        if (name.len == 0)
            assert_true(slice_is(value, "0-15"));
        n++;
    }
    assert_int_equal(n, 4);
}

static void test_simulcast_lists(void **state)
{
    struct slice list = slice_str("~q,r;;h;,x;~;f"), rid;
    static const struct {
        const char *rid;
        bool paused;
    } want[] = {{"q", true}, {"h", false}, {"f", false}};
    bool paused;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(want); i++) {
        assert_true(sdp_simulcast_next(&list, &rid, &paused));
        assert_true(slice_is(rid, want[i].rid));
        assert_int_equal(paused, want[i].paused);
    }
    assert_false(sdp_simulcast_next(&list, &rid, &paused));
}

static void test_directions_and_roles(void **state)
{
    enum sdp_direction d;
    enum sdp_setup s;

    (void)state;
    for (unsigned i = SDP_INACTIVE; i <= SDP_SENDRECV; i++) {
        assert_true(sdp_direction_decode(&d, slice_str(sdp_direction_name((enum sdp_direction)i))));
        assert_int_equal(d, i);
    }
    assert_false(sdp_direction_decode(&d, slice_str("send")));
    for (unsigned i = SDP_ACTPASS; i <= SDP_HOLDCONN; i++) {
        assert_int_equal(sdp_setup_decode(&s, slice_str(sdp_setup_name((enum sdp_setup)i))), 0);
        assert_int_equal(s, i);
    }
    assert_int_equal(sdp_setup_decode(&s, slice_str("")), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_survive_a_round_trip),
        cmocka_unit_test(test_wrong_values_are_refused),
        cmocka_unit_test(test_names_and_old_forms_of_candidates),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_simulcast_lists),
        cmocka_unit_test(test_directions_and_roles),
    };

    return cmocka_run_group_tests_name("sdp_attr", tests, NULL, NULL);
}
