/* negotiate*.c: real offers and their answers, later offers, refusals, our own offers, mapping.
 *
 * Offers of browsers are the files of the fuzz corpus; the others are put together from parts here.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/negotiate.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "proto/sdp_attr.h"

#define FP1                                                                                \
    "a=fingerprint:sha-256 "                                                               \
    "01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:" \
    "1D:1E:1F:"
#define FINGERPRINT FP1 "20\r\n"
#define OTHER_CERT  FP1 "21\r\n"
#define SHA1        "a=fingerprint:sha-1 01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14\r\n"
#define ICE         "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
#define NEW_ICE     "a=ice-ufrag:efgh\r\na=ice-pwd:abcdefghijabcdefghijab\r\n"
#define ACTPASS     "a=setup:actpass\r\n"
#define TRANSPORT   ICE FINGERPRINT ACTPASS
#define TOP         "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
#define BUNDLE(m)   "a=group:BUNDLE " m "\r\n"
#define OPUS                                                                 \
    "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n" \
    "a=rtcp-fb:111 transport-cc\r\na=rtcp-fb:111 nack\r\n"                   \
    "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"
#define MIDEXT "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
#define LEVEL  "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n"
#define TWCC      \
    "a=extmap:3 " \
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n"
#define SECTION(line, mid, dir) "m=" line "\r\nc=IN IP4 0.0.0.0\r\na=mid:" mid "\r\na=" dir "\r\n"
#define AUDIO(mid, dir)                                       \
    SECTION("audio 9 UDP/TLS/RTP/SAVPF 111 63 0 8", mid, dir) \
    "a=rtcp-mux\r\n" TRANSPORT MIDEXT LEVEL TWCC OPUS
#define VP8                                                                           \
    "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n"         \
    "a=rtcp-fb:96 ccm fir\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\n" \
    "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
#define VIDEO(mid, dir)                                  \
    SECTION("video 9 UDP/TLS/RTP/SAVPF 96 97", mid, dir) \
    "a=rtcp-mux\r\na=rtcp-rsize\r\n" TRANSPORT MIDEXT TWCC VP8
#define DATA(mid)                                                                        \
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:" mid \
    "\r\n" TRANSPORT "a=sctp-port:5000\r\na=max-message-size:262144\r\n"

static const struct neg_limits limits = {
    .sections = 32, .publish = {4, 4, 1}, .slots = {8, 8, 0}, .layers = 3};

static struct negotiation *make(bool we_offer)
{
    struct codec_policy p;

    codec_policy_default(&p);
    struct negotiation *n = negotiate_new(&p, &limits, we_offer);
    assert_non_null(n);
    return n;
}

static struct neg_change offer_ok(struct negotiation *n, struct slice text)
{
    struct neg_change c;
    struct neg_error e;

    int err = negotiate_offer(n, text, &c, &e);
    if (err)
        fail_msg("%s, line %u: %s", neg_error_name(e.code), e.line, e.text);
    return c;
}

static char written[NEG_ANSWER_BYTES_MAX(NEG_SECTIONS_MAX)];
static const struct neg_candidate candidates[] = {
    {{{192, 0, 2, 1}, 5000, ADDR_V4, 0}, false},
    {{{192, 0, 2, 1}, 5000, ADDR_V4, 0}, true},
};
static const struct neg_local local = {
    .ufrag = {(const uint8_t *)"lite", 4},
    .pwd = {(const uint8_t *)"abcdefghijklmnopqrstuv", 22},
    .sha256 = {0xab, 0xcd},
    .candidate = candidates,
    .n_candidates = ARRAY_LEN(candidates),
    .cname = {(const uint8_t *)"cn", 2},
    .max_message_size = 65536,
};

static struct slice write_answer(const struct negotiation *n)
{
    struct wr w = wr_init(written, sizeof(written) - 1);

    negotiate_write(n, &local, &w);
    assert_false(w.bad);
    written[w.len] = '\0';
    return wr_done(&w);
}

/* Reads what was written and gives it parsed. */
static void parse(struct sdp *out, struct slice text)
{
    struct sdp_error e;

    assert_int_equal(sdp_parse(out, text, &e), 0);
}

static bool has(const struct sdp_section *m, const char *attribute)
{
    struct sdp_walk w = sdp_walk_section(m);
    struct sdp_line l;

    while (sdp_next(&w, &l)) {
        if (slice_is(l.value, attribute))
            return true;
    }
    return false;
}

static struct slice load(const char *name, char *buf, size_t cap)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "tests/fuzz/corpus/negotiate/%s", name);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s: run from the top of the source", path);
    size_t n = fread(buf, 1, cap, f);
    fclose(f);
    return slice_of(buf, n);
}

/* --- Real offers. */

struct want {
    const char *mid;
    enum rtp_kind kind;
    bool recv, send;
    unsigned codecs, layers;
};

static void check_offer(const char *file, const struct want *want, unsigned n_want)
{
    static char buf[65536];
    struct negotiation *n = make(false);
    struct sdp s;
    struct sdp_line l;

    struct neg_change c = offer_ok(n, load(file, buf, sizeof(buf)));
    assert_true(c.first);
    assert_false(c.ice_restart || c.fingerprint_changed);
    assert_int_equal(negotiate_sections(n), n_want);
    parse(&s, write_answer(n));
    assert_int_equal(s.n_sections, n_want);
    assert_true(sdp_find(sdp_walk_session(&s), "ice-lite", &l));
    for (unsigned i = 0; i < n_want; i++) {
        const struct neg_section *x = negotiate_section(n, i);
        assert_string_equal(x->mid, want[i].mid);
        assert_int_equal(x->kind, want[i].kind);
        assert_int_equal(x->recv, want[i].recv);
        assert_int_equal(x->send, want[i].send);
        assert_int_equal(x->n_codecs, want[i].codecs);
        assert_int_equal(x->n_layers, want[i].layers);
        assert_int_equal(x->refused, NEG_REFUSED_NOT);
        assert_true(x->changed & NEG_CHANGED_NEW);
        assert_int_equal(s.section[i].port, 9);
        assert_true(has(&s.section[i], "setup:passive"));
        assert_true(has(&s.section[i], "ice-ufrag:lite"));
        assert_int_equal(has(&s.section[i], "end-of-candidates"), i == 0);
        if (x->kind == RTP_KIND_DATA)
            continue;
        assert_true(has(&s.section[i], "rtcp-mux"));
        assert_true(has(&s.section[i], x->recv && x->send ? "sendrecv"
                                       : x->recv          ? "recvonly"
                                                          : "sendonly"));
        assert_int_equal(x->ssrc != 0, x->send);
        assert_int_equal(sdp_find(sdp_walk_section(&s.section[i]), "ssrc", &l), x->send);
        assert_true(x->ext[RTP_EXT_MID] != 0);
    }
    negotiate_free(n);
}

#define CHECK(file, ...)                              \
    do {                                              \
        static const struct want w[] = {__VA_ARGS__}; \
        check_offer(file, w, ARRAY_LEN(w));           \
    } while (0)
#define A RTP_KIND_AUDIO
#define V RTP_KIND_VIDEO
#define D RTP_KIND_DATA

static void test_offers_of_real_clients_are_answered(void **state)
{
    (void)state;
    CHECK("chromium_room", {"0", A, true, false, 6, 1}, {"1", V, true, false, 10, 3},
          {"2", A, false, true, 6, 0}, {"3", A, false, true, 6, 0}, {"4", A, false, true, 6, 0},
          {"5", V, false, true, 15, 0}, {"6", V, false, true, 15, 0}, {"7", D, true, true, 0, 0});
    CHECK("chromium_audio_video", {"0", A, true, true, 6, 1}, {"1", V, true, true, 10, 1});
    CHECK("firefox_room", {"0", A, true, false, 4, 1}, {"1", V, true, false, 3, 3},
          {"2", A, false, true, 4, 0}, {"3", A, false, true, 4, 0}, {"4", V, false, true, 3, 0},
          {"5", D, true, true, 0, 0});
    CHECK("libwebrtc_node_room", {"0", A, true, false, 10, 1}, {"1", A, false, true, 10, 0},
          {"2", V, false, true, 6, 0}, {"3", V, true, false, 4, 2}, {"4", D, true, true, 0, 0});
    CHECK("aiortc", {"0", A, true, true, 3, 1}, {"1", V, false, true, 3, 0},
          {"2", D, true, true, 0, 0});
    CHECK("werift", {"0", A, true, true, 1, 1}, {"1", D, true, true, 0, 0});
    CHECK("libdatachannel", {"0", D, true, true, 0, 0});
    CHECK("safari", {"0", A, true, true, 6, 1}, {"1", V, true, true, 5, 1});
}

static void test_chromium_in_detail(void **state)
{
    static char buf[65536];
    struct negotiation *n = make(false);
    const struct neg_codec *c;

    (void)state;
    offer_ok(n, load("chromium_room", buf, sizeof(buf)));
    const struct neg_section *a = negotiate_section(n, 0), *v = negotiate_section(n, 1);
    assert_int_equal(a->codec[0].codec, RTP_CODEC_OPUS);
    assert_int_equal(a->codec[0].pt, 111);
    assert_int_equal(a->codec[0].red_pt, 63);
    assert_int_equal(a->codec[0].fb, RTP_FB_TWCC);
    assert_true(a->codec[0].fec);
    assert_int_equal(neg_section_pt(a, 63, &c), NEG_PT_RED);
    assert_ptr_equal(c, &a->codec[0]);
    assert_int_equal(neg_section_pt(a, 0, &c), NEG_PT_MEDIA);
    assert_int_equal(c->codec, RTP_CODEC_PCMU);
    assert_int_equal(neg_section_pt(a, 9, NULL), NEG_PT_NONE); /* G722 */
    assert_int_equal(a->layer[0].ssrc, 723532861);
    assert_string_equal(a->cname, "qhysM/UNeo96eLHp");
    assert_string_equal(a->track, "d53451d9-7852-4c88-b29f-2a820875244f");
    assert_true(a->audio_level_vad && a->rsize && a->ext_mixed && a->xr_rtt);

    assert_int_equal(v->codec[0].codec, RTP_CODEC_VP8);
    assert_int_equal(v->codec[0].rtx_pt, 97);
    assert_int_equal(v->codec[0].fb, RTP_FB_NACK | RTP_FB_PLI | RTP_FB_FIR | RTP_FB_TWCC);
    assert_int_equal(v->codec[1].codec, RTP_CODEC_H264);
    assert_int_equal(v->codec[1].profile_id, 0x42e01f);
    assert_int_equal(v->codec[1].mode, 1);
    assert_string_equal(v->layer[0].rid, "q");
    assert_string_equal(v->layer[2].rid, "f");
    assert_int_equal(neg_section_rid(v, SLICE_LIT("h")), 1);
    assert_int_equal(neg_section_rid(v, SLICE_LIT("x")), -1);
    assert_int_equal(neg_section_rid(v, SLICE_LIT("")), -1);
    assert_int_equal(v->ext[RTP_EXT_DEPENDENCY], 12);
    assert_int_equal(v->ext[RTP_EXT_ABS_SEND_TIME], 0); /* transport-cc knows as much */
    const uint8_t *map = negotiate_ext_map(n);
    assert_int_equal(map[1], RTP_EXT_AUDIO_LEVEL);
    assert_int_equal(map[3], RTP_EXT_TWCC);
    assert_int_equal(map[4], RTP_EXT_MID);
    assert_int_equal(map[11], RTP_EXT_REPAIRED_RID);
    assert_int_equal(map[2], RTP_EXT_NONE);

    /* Sections of one kind share their list of formats. */
    assert_ptr_equal(negotiate_section(n, 2)->codec, negotiate_section(n, 4)->codec);
    assert_ptr_equal(a->codec, negotiate_section(n, 2)->codec);

    unsigned layer;
    bool rtx;
    assert_ptr_equal(negotiate_by_ssrc(n, 723532861, &layer, &rtx), a);
    assert_int_equal(layer, 0);
    assert_false(rtx);
    assert_null(negotiate_by_ssrc(n, 0, &layer, &rtx));
    assert_null(negotiate_by_ssrc(n, 1, &layer, &rtx));
    enum neg_pt_role role;
    assert_ptr_equal(negotiate_by_pt(n, 97, &role, &c), v);
    assert_int_equal(role, NEG_PT_RTX);
    assert_ptr_equal(negotiate_by_mid(n, SLICE_LIT("1")), v);
    assert_null(negotiate_by_mid(n, SLICE_LIT("")));
    assert_int_equal(negotiate_data(n)->sctp_port, 5000);
    assert_int_equal(negotiate_data(n)->max_message_size, 262144);

    const struct neg_remote *r = negotiate_remote(n);
    assert_string_equal(r->ufrag, "OSD6");
    assert_int_equal(r->n_fingerprints, 1);
    assert_int_equal(r->fingerprint[0].hash, NEG_SHA256);
    assert_int_equal(r->fingerprint[0].digest[0], 0xbf);
    assert_true(r->trickle);
    assert_false(r->dtls_client);

    struct sdp s;
    parse(&s, write_answer(n));
    assert_true(has(&s.section[1], "simulcast:recv q;h;f"));
    assert_true(has(&s.section[1], "rid:h recv"));
    assert_true(has(&s.section[0], "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host"));
    assert_true(
        has(&s.section[0], "candidate:2 1 tcp 1526726399 192.0.2.1 5000 typ host tcptype passive"));
    assert_true(has(&s.section[0], "rtcp-xr:rcvr-rtt=all"));
    negotiate_free(n);
}

static void test_firefox_in_detail(void **state)
{
    static char buf[65536];
    struct negotiation *n = make(false);

    (void)state;
    offer_ok(n, load("firefox_room", buf, sizeof(buf)));
    const struct neg_section *v = negotiate_section(n, 1), *slot = negotiate_section(n, 2);
    /* It sends the dependency descriptor, and does not want it. */
    assert_int_equal(v->ext[RTP_EXT_DEPENDENCY], 0);
    assert_int_equal(negotiate_ext_map(n)[8], RTP_EXT_DEPENDENCY);
    assert_int_equal(v->ext[RTP_EXT_PLAYOUT_DELAY], 6);
    assert_int_equal(negotiate_section(n, 0)->codec[0].red_pt, 0);
    assert_true(slot->send); /* port 0, bundle-only */
    assert_string_equal(v->layer[1].rid, "h");
    assert_int_equal(v->layer[1].ssrc, 0);

    struct sdp s;
    parse(&s, write_answer(n));
    assert_true(has(&s.section[1], "extmap:8/recvonly "
                                   "https://aomediacodec.github.io/av1-rtp-spec/"
                                   "#dependency-descriptor-rtp-header-extension"));
    assert_true(has(&s.section[1], "extmap-allow-mixed"));
    assert_int_equal(s.section[2].port, 9);
    negotiate_free(n);
}

static void test_old_data_sections_are_answered_in_their_form(void **state)
{
    static char buf[65536];
    struct negotiation *n = make(false);
    struct sdp s;

    (void)state;
    offer_ok(n, load("aiortc", buf, sizeof(buf)));
    parse(&s, write_answer(n));
    assert_true(slice_is(s.section[2].proto, "DTLS/SCTP"));
    assert_true(slice_is(s.section[2].formats, "5000"));
    assert_true(has(&s.section[2], "sctpmap:5000 webrtc-datachannel 65535"));
    negotiate_free(n);
}

/* --- Refusals. */

static void test_refused_offers_name_the_reason_and_the_line(void **state)
{
    static const struct {
        const char *text;
        enum neg_error_code code;
        unsigned line;
    } cases[] = {
        {"", NEG_E_SYNTAX, 0},
        {"v=0\r\nx\r\n", NEG_E_SYNTAX, 2},
        {TOP, NEG_E_NO_SECTIONS, 0},
        {TOP AUDIO("0", "sendrecv") VIDEO("1", "sendrecv"), NEG_E_NOT_BUNDLED, 5},
        {TOP BUNDLE("0") AUDIO("0", "sendrecv") DATA("1"), NEG_E_NOT_BUNDLED, 24},
        {TOP BUNDLE("0 1") AUDIO("0", "sendrecv") VIDEO("0", "sendrecv"), NEG_E_MID_TWICE, 24},
        {TOP SECTION("audio 9 UDP/TLS/RTP/SAVPF 0", "0", "sendrecv") TRANSPORT, NEG_E_NO_RTCP_MUX,
         5},
        {TOP "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=rtcp-mux\r\n" TRANSPORT, NEG_E_NO_MID, 5},
        {TOP SECTION("audio 9 UDP/TLS/RTP/SAVPF 0", "12345678901234567", "sendrecv"), NEG_E_NO_MID,
         5},
        {TOP SECTION("audio 9 UDP/TLS/RTP/SAVPF 0", "a b", "sendrecv"), NEG_E_NO_MID, 5},
        {TOP AUDIO("0", "sendrecv") "a=ssrc:1 msid:a b\r\na=ssrc:2 msid:a c\r\n", NEG_E_PLAN_B, 5},
        {TOP SECTION("audio 9 UDP/TLS/RTP/SAVPF 0", "0",
                     "sendrecv") "a=rtcp-mux\r\n" FINGERPRINT ACTPASS,
         NEG_E_NO_UFRAG, 0},
        {TOP SECTION(
             "audio 9 UDP/TLS/RTP/SAVPF 0", "0",
             "sendrecv") "a=rtcp-mux\r\na=ice-ufrag:abc\r\na=ice-pwd:0123456789012345678901\r\n",
         NEG_E_NO_UFRAG, 11},
        {TOP SECTION(
             "audio 9 UDP/TLS/RTP/SAVPF 0", "0",
             "sendrecv") "a=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:012345678901234567890\r\n",
         NEG_E_NO_UFRAG, 11},
        {TOP "a=ice-lite\r\n" AUDIO("0", "sendrecv"), NEG_E_ICE_LITE, 5},
        {TOP SECTION("audio 9 UDP/TLS/RTP/SAVPF 0", "0", "sendrecv") "a=rtcp-mux\r\n" ICE ACTPASS,
         NEG_E_NO_FINGERPRINT, 0},
        {TOP SECTION("audio 9 UDP/TLS/RTP/SAVPF 0", "0",
                     "sendrecv") "a=rtcp-mux\r\n" ICE SHA1 ACTPASS,
         NEG_E_WEAK_FINGERPRINT, 12},
        {TOP SECTION("audio 9 UDP/TLS/RTP/SAVPF 0", "0",
                     "sendrecv") "a=rtcp-mux\r\n" ICE "a=fingerprint:sha-256 00:01\r\n" ACTPASS,
         NEG_E_BAD_FINGERPRINT, 12},
        {TOP SECTION("audio 9 UDP/TLS/RTP/SAVPF 0", "0",
                     "sendrecv") "a=rtcp-mux\r\n" ICE FINGERPRINT "a=setup:holdconn\r\n",
         NEG_E_SETUP, 13},
        {TOP SECTION("audio 9 UDP/TLS/RTP/SAVPF 0", "0",
                     "sendrecv") "a=rtcp-mux\r\n" ICE FINGERPRINT "a=setup:maybe\r\n",
         NEG_E_SETUP, 13},
        {TOP SECTION("audio 9 UDP/TLS/RTP/SAVPF 0", "0",
                     "sendrecv") "a=rtcp-mux\r\n" ICE FINGERPRINT,
         NEG_E_SETUP, 0},
        /* 111 is Opus in one section and VP8 in the other. */
        {TOP BUNDLE("0 1") AUDIO("0", "sendrecv")
             SECTION("video 9 UDP/TLS/RTP/SAVPF 111", "1",
                     "sendrecv") "a=rtcp-mux\r\na=rtpmap:111 VP8/90000\r\n",
         NEG_E_PT_CLASH, 24},
        {TOP BUNDLE("0 1") AUDIO("0", "sendrecv")
             SECTION("video 9 UDP/TLS/RTP/SAVPF 96", "1",
                     "sendrecv") "a=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=extmap:1 "
                                 "urn:3gpp:video-orientation\r\n",
         NEG_E_EXT_CLASH, 24},
        {TOP AUDIO("0", "sendrecv") "a=extmap:1 urn:3gpp:video-orientation\r\n", NEG_E_EXT_CLASH,
         23},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct negotiation *n = make(false);
        struct neg_change c;
        struct neg_error e;
        assert_int_equal(negotiate_offer(n, slice_str(cases[i].text), &c, &e), -EPROTO);
        if (e.code != cases[i].code || e.line != cases[i].line)
            fail_msg("case %u: %s, line %u", i, neg_error_name(e.code), e.line);
        assert_true(strlen(e.text) > 5);
        assert_int_equal(negotiate_sections(n), 0);
        negotiate_free(n);
    }
    for (unsigned i = 0; i < NEG_E_COUNT; i++)
        assert_true(strlen(neg_error_name((enum neg_error_code)i)) > 1);
}

static void test_too_many_or_too_large(void **state)
{
    static char buf[NEG_OFFER_BYTES_MAX + 1];
    struct negotiation *n = make(false);
    struct neg_change c;
    struct neg_error e;
    struct wr w = wr_init(buf, sizeof(buf));

    (void)state;
    wr_str(&w, TOP "a=group:BUNDLE");
    for (unsigned i = 0; i <= limits.sections; i++)
        wr_fmt(&w, " %u", i);
    wr_str(&w, "\r\n");
    for (unsigned i = 0; i < limits.sections; i++)
        wr_fmt(
            &w,
            "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:%u\r\na=rtcp-mux\r\na=inactive\r\n" TRANSPORT,
            i);
    offer_ok(n, wr_done(&w));
    wr_fmt(&w, "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:%u\r\n", limits.sections);
    assert_int_equal(negotiate_offer(n, wr_done(&w), &c, &e), -EPROTO);
    assert_int_equal(e.code, NEG_E_SECTIONS);
    assert_int_equal(negotiate_offer(n, slice_of(buf, sizeof(buf)), &c, &e), -EMSGSIZE);
    assert_int_equal(e.code, NEG_E_TOO_LARGE);
    negotiate_free(n);

    n = make(false);
    w = wr_init(buf, sizeof(buf));
    wr_str(&w, TOP AUDIO("0", "sendrecv"));
    for (unsigned i = 0; i < 16; i++)
        wr_fmt(&w, "a=ssrc:%u cname:x\r\n", i + 1);
    offer_ok(n, wr_done(&w));
    wr_str(&w, "a=ssrc:17 cname:x\r\n");
    assert_int_equal(negotiate_offer(n, wr_done(&w), &c, &e), -EPROTO);
    assert_int_equal(e.code, NEG_E_LIMIT);
    negotiate_free(n);
}

static void test_what_can_t_be_used_is_inactive_never_port_0(void **state)
{
    struct negotiation *n = make(false);
    struct sdp s;

    (void)state;
    offer_ok(n,
             slice_str(
                 TOP BUNDLE("0 1 2 3") SECTION("text 9 UDP/TLS/RTP/SAVPF 98 99", "0", "sendrecv")
                     TRANSPORT SECTION(
                         "audio 9 UDP/TLS/RTP/SAVPF 9", "1",
                         "sendrecv") "a=rtcp-mux\r\na=rtpmap:9 G722/8000\r\n" AUDIO("2", "inactive")
                         SECTION("video 9 RTP/AVP 96", "3", "sendrecv")));
    assert_int_equal(negotiate_section(n, 0)->refused, NEG_REFUSED_KIND);
    assert_int_equal(negotiate_section(n, 1)->refused, NEG_REFUSED_CODEC);
    assert_int_equal(negotiate_section(n, 2)->refused, NEG_REFUSED_NOT);
    assert_int_equal(negotiate_section(n, 3)->refused, NEG_REFUSED_KIND);
    parse(&s, write_answer(n));
    for (unsigned i = 0; i < 4; i++) {
        assert_false(negotiate_section(n, i)->recv || negotiate_section(n, i)->send);
        assert_int_equal(s.section[i].port, 9);
        assert_true(has(&s.section[i], "inactive"));
    }
    assert_true(slice_is(s.section[0].media, "text"));
    assert_true(slice_is(s.section[0].formats, "98"));
    assert_true(slice_is(s.section[3].proto, "RTP/AVP"));
    assert_true(slice_is(s.section[2].formats, "111 63 0 8"));
    negotiate_free(n);
}

/* --- Limits, refusal by the caller. */

static void test_limits_keep_who_has(void **state)
{
    struct negotiation *n = make(false);
    struct neg_limits few = limits;

    (void)state;
    few.publish[RTP_KIND_AUDIO] = 1;
    few.slots[RTP_KIND_AUDIO] = 1;
    few.publish[RTP_KIND_DATA] = 0;
    negotiate_set_limits(n, &few);
    offer_ok(
        n, slice_str(TOP BUNDLE("0 1 2") AUDIO("0", "recvonly") AUDIO("1", "sendrecv") DATA("2")));
    assert_true(negotiate_section(n, 0)->send);
    assert_true(negotiate_section(n, 1)->recv);
    assert_false(negotiate_section(n, 1)->send);
    assert_int_equal(negotiate_section(n, 1)->refused, NEG_REFUSED_LIMIT);
    assert_false(negotiate_section(n, 2)->recv);
    assert_null(negotiate_data(n));
    /* Now 0 wants to send as well: 1 was there first. */
    offer_ok(
        n, slice_str(TOP BUNDLE("0 1 2") AUDIO("0", "sendrecv") AUDIO("1", "sendrecv") DATA("2")));
    assert_false(negotiate_section(n, 0)->recv);
    assert_true(negotiate_section(n, 1)->recv);
    assert_int_equal(negotiate_section(n, 1)->changed, 0);
    negotiate_free(n);
}

static void test_refused_data_is_closed_in_the_answer(void **state)
{
    struct negotiation *n = make(false);
    struct neg_limits none = limits;
    struct neg_change c;
    struct neg_error e;
    struct sdp s;

    (void)state;
    none.publish[RTP_KIND_DATA] = 0;
    negotiate_set_limits(n, &none);
    offer_ok(n, slice_str(TOP BUNDLE("0 1") AUDIO("0", "sendrecv") DATA("1")));
    assert_int_equal(negotiate_section(n, 1)->refused, NEG_REFUSED_LIMIT);
    assert_false(negotiate_section(n, 1)->rejected);
    parse(&s, write_answer(n));
    assert_non_null(strstr(written, "a=group:BUNDLE 0\r\n"));
    assert_non_null(strstr(written, "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    assert_true(has(&s.section[1], "mid:1"));
    assert_true(has(&s.section[1], "ice-ufrag:lite")); /* what aiortc asks of every section */
    assert_false(has(&s.section[1], "sctp-port:5000"));

    /* Firefox closes it with port 0 twice and offers another mid in its place next time, Chromium
     * the same mid; any client may put something else there. */
    offer_ok(n, slice_str(TOP BUNDLE("0") AUDIO("0", "sendrecv")
                              SECTION("application 0 UDP/DTLS/SCTP webrtc-datachannel", "1",
                                      "inactive") "a=sctp-port:0\r\n"));
    offer_ok(n, slice_str(TOP BUNDLE("0 2") AUDIO("0", "sendrecv") DATA("2")));
    offer_ok(n, slice_str(TOP BUNDLE("0 1") AUDIO("0", "sendrecv") DATA("1")));
    offer_ok(n, slice_str(TOP BUNDLE("0 7") AUDIO("0", "sendrecv") VIDEO("7", "recvonly")));
    assert_true(negotiate_section(n, 1)->changed & NEG_CHANGED_NEW);
    negotiate_set_limits(n, &limits);
    c = offer_ok(
        n, slice_str(TOP BUNDLE("0 7 8") AUDIO("0", "sendrecv") VIDEO("7", "recvonly") DATA("8")));
    assert_true(c.data_started);
    parse(&s, write_answer(n));
    assert_true(has(&s.section[2], "sctp-port:5000"));
    assert_non_null(strstr(written, "a=group:BUNDLE 0 7 8\r\n"));
    /* In use it keeps its place. */
    assert_int_equal(negotiate_offer(n,
                                     slice_str(TOP BUNDLE("0 7 9") AUDIO("0", "sendrecv")
                                                   VIDEO("7", "recvonly") AUDIO("9", "recvonly")),
                                     &c, &e),
                     -EPROTO);
    assert_int_equal(e.code, NEG_E_MID_CHANGED);
    negotiate_free(n);

    /* Alone, it describes the transport and cannot be refused so: nothing would be left. */
    n = make(false);
    negotiate_set_limits(n, &none);
    offer_ok(n, slice_str(TOP BUNDLE("0") DATA("0")));
    parse(&s, write_answer(n));
    assert_non_null(strstr(written, "a=group:BUNDLE 0\r\n"));
    assert_true(has(&s.section[0], "sctp-port:5000"));
    negotiate_free(n);
}

static void test_the_caller_may_refuse(void **state)
{
    struct negotiation *n = make(false);
    struct sdp s;

    (void)state;
    offer_ok(n, slice_str(TOP AUDIO("0", "sendrecv")));
    negotiate_refuse(n, 0, true, false);
    negotiate_refuse(n, 1, true, true); /* there is none */
    assert_int_equal(negotiate_section(n, 0)->refused, NEG_REFUSED_CALLER);
    parse(&s, write_answer(n));
    assert_true(has(&s.section[0], "sendonly"));
    negotiate_free(n);
}

static void test_policy_shapes_the_answer(void **state)
{
    struct codec_policy p;
    struct sdp s;

    (void)state;
    codec_policy_default(&p);
    codec_policy_voice(&p);
    p.red = CODEC_RED_PREFER;
    p.ptime_ms = 20;
    p.maxptime_ms = 60;
    p.video_max_bps = 1500000;
    struct negotiation *n = negotiate_new(&p, &limits, false);
    offer_ok(n, slice_str(TOP BUNDLE("0 1") AUDIO("0", "sendonly") VIDEO("1", "sendonly")));
    parse(&s, write_answer(n));
    assert_true(slice_is(s.section[0].formats, "63 111 0 8"));
    assert_true(
        has(&s.section[0], "fmtp:111 minptime=10;useinbandfec=1;usedtx=1;maxaveragebitrate=20000"));
    assert_true(has(&s.section[0], "ptime:20"));
    assert_true(has(&s.section[0], "maxptime:60"));
    assert_true(has(&s.section[0], "rtcp-fb:111 nack"));
    assert_true(has(&s.section[1], "TIAS:1500000"));
    negotiate_free(n);

    p.red = CODEC_RED_OFF;
    p.audio_nack = p.twcc = p.rtx = false;
    p.n_audio = 1;
    p.exts = 1u << RTP_EXT_MID;
    n = negotiate_new(&p, &limits, false);
    offer_ok(n, slice_str(TOP BUNDLE("0 1") AUDIO("0", "sendonly") VIDEO("1", "sendonly")));
    parse(&s, write_answer(n));
    assert_true(slice_is(s.section[0].formats, "111"));
    assert_int_equal(negotiate_section(n, 0)->codec[0].fb, 0);
    assert_int_equal(negotiate_section(n, 1)->codec[0].fb,
                     RTP_FB_NACK | RTP_FB_PLI | RTP_FB_FIR | RTP_FB_REMB);
    assert_int_equal(negotiate_section(n, 1)->codec[0].rtx_pt, 0);
    assert_int_equal(negotiate_ext_map(n)[3], RTP_EXT_NONE);
    negotiate_free(n);
}

/* --- Later offers. */

static void test_later_offers_keep_what_there_is(void **state)
{
    struct negotiation *n = make(false);

    (void)state;
    offer_ok(n, slice_str(TOP BUNDLE("0 1") AUDIO("0", "sendrecv") VIDEO("1", "recvonly")));
    uint32_t a = negotiate_section(n, 0)->ssrc, v = negotiate_section(n, 1)->ssrc,
             rtx = negotiate_section(n, 1)->rtx_ssrc;
    assert_true(a && v && rtx && a != v && v != rtx);
    assert_int_equal(negotiate_section(n, 0)->rtx_ssrc, 0);

    /* The same again: nothing is new. */
    struct neg_change c =
        offer_ok(n, slice_str(TOP BUNDLE("0 1") AUDIO("0", "sendrecv") VIDEO("1", "recvonly")));
    assert_false(c.first || c.ice_restart || c.fingerprint_changed || c.data_started);
    assert_int_equal(negotiate_section(n, 0)->changed, 0);
    assert_int_equal(negotiate_section(n, 1)->changed, 0);

    /* The slot rests, data comes. */
    c = offer_ok(
        n, slice_str(TOP BUNDLE("0 1 2") AUDIO("0", "sendonly") VIDEO("1", "inactive") DATA("2")));
    assert_true(c.data_started);
    assert_int_equal(negotiate_section(n, 0)->changed, NEG_CHANGED_SEND);
    assert_int_equal(negotiate_section(n, 1)->changed, NEG_CHANGED_SEND);
    assert_true(negotiate_section(n, 2)->changed & NEG_CHANGED_NEW);

    /* And is used again, with its SSRCs; the client now sends there, too. */
    offer_ok(n, slice_str(TOP BUNDLE("0 1 2") AUDIO("0", "sendrecv")
                              VIDEO("1", "sendrecv") "a=ssrc:77 cname:x\r\n" DATA("2")));
    assert_int_equal(negotiate_section(n, 0)->ssrc, a);
    assert_int_equal(negotiate_section(n, 1)->ssrc, v);
    assert_int_equal(negotiate_section(n, 1)->rtx_ssrc, rtx);
    assert_int_equal(negotiate_section(n, 1)->changed,
                     NEG_CHANGED_SEND | NEG_CHANGED_RECV | NEG_CHANGED_LAYERS);
    negotiate_free(n);
}

#define WITH(transport) \
    TOP SECTION("audio 9 UDP/TLS/RTP/SAVPF 0", "0", "sendrecv") "a=rtcp-mux\r\n" transport

static void test_restarts_certificates_and_roles_are_told(void **state)
{
    struct negotiation *n = make(false);

    (void)state;
    offer_ok(n, slice_str(WITH(ICE FINGERPRINT ACTPASS)));
    struct neg_change c = offer_ok(n, slice_str(WITH(NEW_ICE FINGERPRINT ACTPASS)));
    assert_true(c.ice_restart);
    assert_false(c.fingerprint_changed);
    assert_string_equal(negotiate_remote(n)->ufrag, "efgh");
    c = offer_ok(n, slice_str(WITH(NEW_ICE OTHER_CERT ACTPASS)));
    assert_false(c.ice_restart);
    assert_true(c.fingerprint_changed);
    c = offer_ok(n, slice_str(WITH(NEW_ICE OTHER_CERT "a=setup:active\r\n")));
    assert_false(c.fingerprint_changed);
    c = offer_ok(n, slice_str(WITH(NEW_ICE OTHER_CERT "a=setup:passive\r\n")));
    assert_true(c.fingerprint_changed);
    assert_true(negotiate_remote(n)->dtls_client);
    /* Roles stay when an offer leaves them open (RFC 8842 §5.3). */
    c = offer_ok(n, slice_str(WITH(NEW_ICE OTHER_CERT ACTPASS)));
    assert_false(c.fingerprint_changed);
    struct sdp s;
    parse(&s, write_answer(n));
    assert_true(has(&s.section[0], "setup:active"));
    negotiate_free(n);
}

static void test_strong_and_weak_fingerprints_together(void **state)
{
    struct negotiation *n = make(false);

    (void)state;
    offer_ok(n, slice_str(WITH(ICE SHA1 FINGERPRINT OTHER_CERT ACTPASS)));
    assert_int_equal(negotiate_remote(n)->n_fingerprints, 2);
    assert_int_equal(negotiate_remote(n)->fingerprint[0].digest[31], 0x20);
    assert_int_equal(negotiate_remote(n)->fingerprint[1].digest[31], 0x21);
    negotiate_free(n);
}

static void test_sections_may_not_move_or_vanish(void **state)
{
    static const struct {
        const char *text;
        enum neg_error_code code;
    } cases[] = {
        {TOP BUNDLE("0") AUDIO("0", "sendrecv"), NEG_E_SECTION_GONE},
        {TOP BUNDLE("0 1") VIDEO("1", "sendrecv") AUDIO("0", "sendrecv"), NEG_E_MID_CHANGED},
        {TOP BUNDLE("0 2") AUDIO("0", "sendrecv") VIDEO("2", "sendrecv"), NEG_E_MID_CHANGED},
        {TOP BUNDLE("0 1") AUDIO("0", "sendrecv") AUDIO("1", "sendrecv"), NEG_E_MID_CHANGED},
        {TOP BUNDLE("0 1") AUDIO("0", "sendrecv")
             SECTION("video 9 UDP/TLS/RTP/SAVPF 96", "1",
                     "sendrecv") "a=rtcp-mux\r\na=rtpmap:96 VP9/90000\r\n",
         NEG_E_PT_CHANGED},
        {TOP BUNDLE("0 1") AUDIO("0", "sendrecv")
             SECTION("video 9 UDP/TLS/RTP/SAVPF 98", "1",
                     "sendrecv") "a=rtcp-mux\r\na=rtpmap:98 VP9/90000\r\na=extmap:5 "
                                 "urn:3gpp:video-orientation\r\n",
         NEG_E_EXT_CHANGED},
    };
    struct negotiation *n = make(false);
    struct neg_change c;
    struct neg_error e;

    (void)state;
    offer_ok(
        n, slice_str(TOP BUNDLE("0 1") AUDIO("0", "sendrecv") VIDEO(
               "1", "sendrecv") "a=extmap:5 "
                                "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay\r\n"));
    char before[8192];
    struct slice answer = write_answer(n);
    assert_true(answer.len < sizeof(before));
    memcpy(before, answer.p, answer.len);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(negotiate_offer(n, slice_str(cases[i].text), &c, &e), -EPROTO);
        if (e.code != cases[i].code)
            fail_msg("case %u: %s, line %u", i, neg_error_name(e.code), e.line);
        /* What was in force stays, to the byte. */
        assert_true(slice_eq(write_answer(n), slice_of(before, answer.len)));
    }
    negotiate_free(n);
}

static void test_stopped_sections_come_back_as_something_else(void **state)
{
    struct negotiation *n = make(false);
    struct sdp s;

    (void)state;
    offer_ok(n, slice_str(TOP BUNDLE("0 1") AUDIO("0", "sendrecv") VIDEO("1", "sendrecv")));
    uint32_t ssrc = negotiate_section(n, 1)->ssrc;
    offer_ok(n, slice_str(TOP BUNDLE("0") AUDIO("0", "sendrecv")
                              SECTION("video 0 UDP/TLS/RTP/SAVPF 96", "1", "inactive")));
    const struct neg_section *v = negotiate_section(n, 1);
    assert_true(v->rejected);
    assert_int_equal(v->changed & (NEG_CHANGED_SEND | NEG_CHANGED_RECV),
                     NEG_CHANGED_SEND | NEG_CHANGED_RECV);
    parse(&s, write_answer(n));
    assert_int_equal(s.section[1].port, 0);
    struct sdp_line l;
    assert_true(sdp_find(sdp_walk_session(&s), "group", &l));
    assert_true(slice_is(l.arg, "BUNDLE 0"));

    offer_ok(n, slice_str(TOP BUNDLE("0 2") AUDIO("0", "sendrecv") AUDIO("2", "recvonly")));
    v = negotiate_section(n, 1);
    assert_string_equal(v->mid, "2");
    assert_int_equal(v->kind, RTP_KIND_AUDIO);
    assert_true(v->changed & NEG_CHANGED_NEW && v->send && v->ssrc != ssrc);
    negotiate_free(n);
}

/* --- The client's streams. */

static void test_layers_by_ssrc_groups(void **state)
{
    struct negotiation *n = make(false);

    (void)state;
    offer_ok(
        n, slice_str(TOP VIDEO(
               "0", "sendonly") "a=ssrc-group:SIM 1 2 3\r\na=ssrc-group:FID 1 11\r\n"
                                "a=ssrc-group:FID 2 12\r\na=ssrc-group:FID 3 13\r\n"
                                "a=ssrc:1 cname:c\r\na=ssrc:11 cname:c\r\na=ssrc:1 msid:s t\r\n"));
    const struct neg_section *v = negotiate_section(n, 0);
    assert_int_equal(v->n_layers, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(v->layer[i].ssrc, i + 1);
        assert_int_equal(v->layer[i].rtx_ssrc, i + 11);
    }
    assert_string_equal(v->stream, "s");
    assert_string_equal(v->track, "t");
    assert_string_equal(v->cname, "c");
    unsigned layer;
    bool rtx;
    assert_ptr_equal(negotiate_by_ssrc(n, 13, &layer, &rtx), v);
    assert_true(rtx && layer == 2);

    /* One stream with FEC and RTX; the FEC line comes first. */
    offer_ok(
        n, slice_str(TOP VIDEO(
               "0", "sendonly") "a=ssrc-group:FEC-FR 5 25\r\na=ssrc-group:FID 5 15\r\n"
                                "a=ssrc:25 cname:c\r\na=ssrc:15 cname:c\r\na=ssrc:5 cname:c\r\n"));
    v = negotiate_section(n, 0);
    assert_int_equal(v->n_layers, 1);
    assert_int_equal(v->layer[0].ssrc, 5);
    assert_int_equal(v->layer[0].rtx_ssrc, 15);
    negotiate_free(n);
}

static void test_layers_by_rid(void **state)
{
    struct negotiation *n = make(false);
    struct neg_limits two = limits;
    struct sdp s;

    (void)state;
    offer_ok(n, slice_str(TOP VIDEO(
                    "0", "sendonly") "a=rid:l send max-width=320;max-height=180;max-br=150000\r\n"
                                     "a=rid:m send\r\na=rid:h send\r\na=rid:x send\r\n"
                                     "a=simulcast:send ~l;m,x;nothing;h;x\r\n"));
    const struct neg_section *v = negotiate_section(n, 0);
    assert_int_equal(v->n_layers, 3);
    assert_string_equal(v->layer[0].rid, "l");
    assert_true(v->layer[0].paused);
    assert_int_equal(v->layer[0].max_width, 320);
    assert_int_equal(v->layer[0].max_height, 180);
    assert_int_equal(v->layer[0].max_bps, 150000);
    assert_string_equal(v->layer[1].rid, "m");
    assert_string_equal(v->layer[2].rid, "h");

    two.layers = 2;
    negotiate_set_limits(n, &two);
    offer_ok(n,
             slice_str(TOP VIDEO("0", "sendonly") "a=rid:l send\r\na=rid:m send\r\na=rid:h send\r\n"
                                                  "a=simulcast:send l;m;h\r\n"));
    assert_int_equal(negotiate_section(n, 0)->n_layers, 2);
    parse(&s, write_answer(n));
    assert_true(has(&s.section[0], "simulcast:recv l;m"));
    assert_false(has(&s.section[0], "rid:h recv"));

    /* One rid and no simulcast. */
    offer_ok(n, slice_str(TOP VIDEO("0", "sendonly") "a=rid:o send\r\n"));
    assert_int_equal(negotiate_section(n, 0)->n_layers, 1);
    assert_string_equal(negotiate_section(n, 0)->layer[0].rid, "o");
    negotiate_free(n);
}

static void test_extension_ids_over_14_need_mixed(void **state)
{
    struct negotiation *n = make(false);
    static const char far[] = "a=extmap:20 urn:3gpp:video-orientation\r\n";
    char buf[4096];

    (void)state;
    (void)snprintf(buf, sizeof(buf), TOP VIDEO("0", "sendonly") "%s", far);
    offer_ok(n, slice_str(buf));
    assert_int_equal(negotiate_section(n, 0)->ext[RTP_EXT_VIDEO_ORIENTATION], 0);
    (void)snprintf(buf, sizeof(buf), TOP VIDEO("0", "sendonly") "%sa=extmap-allow-mixed\r\n", far);
    offer_ok(n, slice_str(buf));
    assert_int_equal(negotiate_section(n, 0)->ext[RTP_EXT_VIDEO_ORIENTATION], 20);
    assert_int_equal(negotiate_ext_map(n)[20], RTP_EXT_VIDEO_ORIENTATION);
    negotiate_free(n);
}

/* --- We offer. */

/* The client's answer to our offer: what another negotiation answers, without its ice-lite. */
static struct slice answer_of(struct negotiation *client, struct slice offer)
{
    static char buf[65536];
    char *at;

    assert_true(offer.len < sizeof(buf));
    memcpy(buf, offer.p, offer.len);
    buf[offer.len] = '\0';
    if ((at = strstr(buf, "a=ice-lite")) != NULL)
        memcpy(at, "a=ice-none", 10);
    offer_ok(client, slice_str(buf));
    struct slice answer = write_answer(client);
    memcpy(buf, answer.p, answer.len);
    buf[answer.len] = '\0';
    at = strstr(buf, "a=ice-lite");
    assert_non_null(at);
    memcpy(at, "a=ice-none", 10);
    return slice_str(buf);
}

static char offered[65536];
static struct slice make_offer(struct negotiation *n)
{
    struct wr w = wr_init(offered, sizeof(offered) - 1);

    assert_int_equal(negotiate_make_offer(n, &local, &w), 0);
    assert_false(w.bad);
    offered[w.len] = '\0';
    return wr_done(&w);
}

static void test_our_offer_and_its_answer(void **state)
{
    struct negotiation *n = make(true), *client = make(false);
    struct neg_change c;
    struct neg_error e;
    struct sdp s;

    (void)state;
    assert_false(negotiate_needed(n));
    assert_int_equal(negotiate_slot_add(n, RTP_KIND_AUDIO, SLICE_LIT("alice"), SLICE_LIT("mic")),
                     0);
    assert_int_equal(negotiate_slot_add(n, RTP_KIND_VIDEO, SLICE_LIT("alice"), SLICE_LIT("cam")),
                     1);
    assert_int_equal(negotiate_data_add(n), 2);
    assert_int_equal(negotiate_data_add(n), 2);
    assert_true(negotiate_needed(n));
    uint32_t ssrc = negotiate_section(n, 1)->ssrc;
    assert_true(ssrc != 0);
    parse(&s, make_offer(n));
    assert_false(negotiate_needed(n));
    assert_int_equal(s.n_sections, 3);
    assert_true(has(&s.section[0], "setup:actpass"));
    assert_true(has(&s.section[0], "sendonly"));
    assert_true(has(&s.section[1], "msid:alice cam"));
    assert_false(negotiate_section(n, 0)->send);

    assert_int_equal(negotiate_answer(n, answer_of(client, slice_str(offered)), &c, &e), 0);
    assert_true(c.first && c.data_started);
    assert_true(negotiate_section(n, 0)->send && !negotiate_section(n, 0)->recv);
    assert_int_equal(negotiate_section(n, 0)->codec[0].pt, 111);
    assert_int_equal(negotiate_section(n, 1)->ssrc, ssrc);
    assert_int_equal(negotiate_section(n, 1)->codec[0].codec, RTP_CODEC_VP8);
    assert_int_equal(negotiate_section(n, 1)->codec[0].rtx_pt, 97);
    assert_int_equal(negotiate_section(n, 1)->ext[RTP_EXT_MID], RTP_EXT_MID);
    assert_non_null(negotiate_data(n));
    assert_false(negotiate_needed(n));
    assert_int_equal(negotiate_answer(n, SLICE_LIT("x"), &c, &e), -EPROTO);
    assert_int_equal(e.code, NEG_E_STATE);
    negotiate_free(n);
    negotiate_free(client);
}

static void test_our_later_offers_reuse_sections(void **state)
{
    struct negotiation *n = make(true), *client = make(false);
    struct neg_change c;
    struct neg_error e;
    struct sdp s;

    (void)state;
    negotiate_slot_add(n, RTP_KIND_AUDIO, SLICE_LIT("alice"), SLICE_LIT("mic"));
    negotiate_slot_add(n, RTP_KIND_AUDIO, SLICE_LIT("bob"), SLICE_LIT("mic"));
    assert_int_equal(negotiate_answer(n, answer_of(client, make_offer(n)), &c, &e), 0);
    uint32_t ssrc = negotiate_section(n, 0)->ssrc;

    negotiate_slot_del(n, 0);
    negotiate_slot_del(n, 9);
    assert_true(negotiate_needed(n));
    parse(&s, make_offer(n));
    assert_true(has(&s.section[0], "inactive"));
    assert_int_equal(s.section[0].port, 9);
    /* Carol takes alice's place while the answer is awaited. */
    assert_int_equal(negotiate_slot_add(n, RTP_KIND_AUDIO, SLICE_LIT("carol"), SLICE_LIT("mic")),
                     0);
    assert_true(negotiate_needed(n));
    assert_int_equal(negotiate_answer(n, answer_of(client, slice_str(offered)), &c, &e), 0);
    assert_false(negotiate_section(n, 0)->send);
    assert_true(negotiate_needed(n));
    parse(&s, make_offer(n));
    assert_true(has(&s.section[0], "sendonly"));
    assert_true(has(&s.section[0], "msid:carol mic"));
    negotiate_rollback(n);
    assert_true(negotiate_needed(n));
    assert_int_equal(negotiate_answer(n, answer_of(client, make_offer(n)), &c, &e), 0);
    assert_true(negotiate_section(n, 0)->send);
    assert_int_equal(negotiate_section(n, 0)->ssrc, ssrc);
    assert_false(negotiate_needed(n));

    /* A new track in the section of one that ended in the same moment. */
    negotiate_slot_del(n, 1);
    assert_int_equal(negotiate_slot_add(n, RTP_KIND_AUDIO, SLICE_LIT("dave"), SLICE_LIT("mic")), 1);
    assert_true(negotiate_needed(n));
    negotiate_free(n);
    negotiate_free(client);
}

static void test_answers_that_do_not_match(void **state)
{
    static const struct {
        const char *text;
        enum neg_error_code code;
    } cases[] = {
        {TOP BUNDLE("0 1") AUDIO("0", "recvonly"), NEG_E_ANSWER},
        {TOP BUNDLE("0 1") AUDIO("1", "recvonly") AUDIO("0", "recvonly"), NEG_E_ANSWER},
        {TOP BUNDLE("0 1") VIDEO("0", "recvonly") AUDIO("1", "recvonly"), NEG_E_ANSWER},
        {TOP BUNDLE("0 1") AUDIO("0", "recvonly") AUDIO("1", "recvonly"),
         NEG_E_SETUP}, /* actpass */
    };
    struct negotiation *n = make(true);
    struct neg_change c;
    struct neg_error e;

    (void)state;
    negotiate_slot_add(n, RTP_KIND_AUDIO, SLICE_LIT("a"), SLICE_LIT("b"));
    negotiate_slot_add(n, RTP_KIND_AUDIO, SLICE_LIT("c"), SLICE_LIT("d"));
    make_offer(n);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(negotiate_answer(n, slice_str(cases[i].text), &c, &e), -EPROTO);
        assert_int_equal(e.code, cases[i].code);
    }
    assert_int_equal(negotiate_offer(n, slice_str(TOP AUDIO("0", "sendrecv")), &c, &e), -EPROTO);
    assert_int_equal(e.code, NEG_E_STATE);
    assert_int_equal(negotiate_slot_add(n, RTP_KIND_AUDIO, SLICE_LIT("a b"), SLICE_LIT("")),
                     -EINVAL);
    assert_int_equal(negotiate_slot_add(n, RTP_KIND_DATA, SLICE_LIT("a"), SLICE_LIT("")), -EINVAL);
    negotiate_free(n);

    struct negotiation *client = make(false);
    struct wr w = wr_init(offered, sizeof(offered));
    assert_int_equal(negotiate_make_offer(client, &local, &w), -EPROTO);
    assert_int_equal(negotiate_slot_add(client, RTP_KIND_AUDIO, SLICE_LIT("a"), SLICE_LIT("")),
                     -EINVAL);
    negotiate_free(client);
}

/* --- Mapping. */

static void test_mapping_of_formats(void **state)
{
    static const struct {
        unsigned to_profile, to_mode, from_profile, from_mode;
        enum neg_map_verdict verdict;
    } h264[] = {
        {NEG_H264_CONSTRAINED_BASELINE, 1, NEG_H264_CONSTRAINED_BASELINE, 1, NEG_MAP_OK},
        {NEG_H264_CONSTRAINED_BASELINE, 1, NEG_H264_CONSTRAINED_BASELINE, 0, NEG_MAP_OK},
        {NEG_H264_CONSTRAINED_BASELINE, 0, NEG_H264_CONSTRAINED_BASELINE, 1, NEG_MAP_PROFILE},
        {NEG_H264_HIGH, 1, NEG_H264_CONSTRAINED_BASELINE, 1, NEG_MAP_OK},
        {NEG_H264_MAIN, 1, NEG_H264_CONSTRAINED_BASELINE, 1, NEG_MAP_OK},
        {NEG_H264_BASELINE, 1, NEG_H264_CONSTRAINED_BASELINE, 1, NEG_MAP_OK},
        {NEG_H264_CONSTRAINED_BASELINE, 1, NEG_H264_BASELINE, 1, NEG_MAP_OK},
        {NEG_H264_MAIN, 1, NEG_H264_BASELINE, 1, NEG_MAP_PROFILE},
        {NEG_H264_CONSTRAINED_BASELINE, 1, NEG_H264_HIGH, 1, NEG_MAP_PROFILE},
        {NEG_H264_HIGH, 1, NEG_H264_MAIN, 1, NEG_MAP_OK},
        {NEG_H264_HIGH, 1, NEG_H264_CONSTRAINED_HIGH, 1, NEG_MAP_OK},
        {NEG_H264_CONSTRAINED_HIGH, 1, NEG_H264_HIGH, 1, NEG_MAP_PROFILE},
        {NEG_H264_OTHER, 1, NEG_H264_CONSTRAINED_BASELINE, 1, NEG_MAP_PROFILE},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(h264); i++) {
        struct neg_codec to = {.codec = RTP_CODEC_H264,
                               .clock = 90000,
                               .profile = (uint8_t)h264[i].to_profile,
                               .mode = (uint8_t)h264[i].to_mode};
        struct neg_codec from = {.codec = RTP_CODEC_H264,
                                 .clock = 90000,
                                 .profile = (uint8_t)h264[i].from_profile,
                                 .mode = (uint8_t)h264[i].from_mode};
        struct neg_section s = {.codec = &to, .n_codecs = 1};
        struct neg_map m = negotiate_map(&s, &from);
        if (m.verdict != h264[i].verdict)
            fail_msg("case %u", i);
        assert_ptr_equal(m.codec, m.verdict == NEG_MAP_OK ? &to : NULL);
    }

    static const struct neg_codec all[] = {
        {.codec = RTP_CODEC_VP9, .clock = 90000, .pt = 1, .profile = 0},
        {.codec = RTP_CODEC_VP9, .clock = 90000, .pt = 2, .profile = 2},
        {.codec = RTP_CODEC_H264, .clock = 90000, .pt = 3, .profile = NEG_H264_HIGH, .mode = 1},
        {.codec = RTP_CODEC_H264,
         .clock = 90000,
         .pt = 4,
         .profile = NEG_H264_CONSTRAINED_BASELINE,
         .mode = 1},
        {.codec = RTP_CODEC_DTMF, .clock = 8000, .pt = 5},
        {.codec = RTP_CODEC_DTMF, .clock = 48000, .pt = 6},
    };
    struct neg_section s = {.codec = all, .n_codecs = ARRAY_LEN(all)};
    struct neg_codec from = {.codec = RTP_CODEC_VP9, .clock = 90000, .profile = 2};
    assert_int_equal(negotiate_map(&s, &from).codec->pt, 2);
    from.profile = 1;
    assert_int_equal(negotiate_map(&s, &from).verdict, NEG_MAP_PROFILE);
    from = all[3]; /* the exact one wins over the first that fits */
    assert_int_equal(negotiate_map(&s, &from).codec->pt, 4);
    from = all[5];
    assert_int_equal(negotiate_map(&s, &from).codec->pt, 6);
    from.codec = RTP_CODEC_VP8;
    assert_int_equal(negotiate_map(&s, &from).verdict, NEG_MAP_NO_CODEC);
    assert_null(negotiate_map(&s, &from).codec);
}

static void test_h264_profiles_are_recognised(void **state)
{
    static const struct {
        const char *id;
        enum neg_h264_profile profile;
    } cases[] = {
        {"42e01f", NEG_H264_CONSTRAINED_BASELINE},
        {"42001f", NEG_H264_BASELINE},
        {"42C02A", NEG_H264_CONSTRAINED_BASELINE},
        {"4d001f", NEG_H264_MAIN},
        {"4d801f", NEG_H264_CONSTRAINED_BASELINE},
        {"58c01f", NEG_H264_CONSTRAINED_BASELINE},
        {"58001f", NEG_H264_OTHER},
        {"640c1f", NEG_H264_CONSTRAINED_HIGH},
        {"64001f", NEG_H264_HIGH},
        {"f4001f", NEG_H264_OTHER},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        char buf[2048];
        struct negotiation *n = make(false);
        (void)snprintf(
            buf, sizeof(buf),
            TOP SECTION("video 9 UDP/TLS/RTP/SAVPF 96 98 99", "0",
                        "sendonly") "a=rtcp-mux\r\n" TRANSPORT "a=rtpmap:96 H264/90000\r\n"
                                    "a=fmtp:96 profile-level-id=%s;packetization-mode=1\r\n"
                                    "a=rtpmap:98 H264/90000\r\na=fmtp:98 profile-level-id=xyz\r\n"
                                    "a=rtpmap:99 H264/90000\r\na=fmtp:99 packetization-mode=2\r\n",
            cases[i].id);
        offer_ok(n, slice_str(buf));
        assert_int_equal(negotiate_section(n, 0)->n_codecs, 1);
        assert_int_equal(negotiate_section(n, 0)->codec[0].profile, cases[i].profile);
        negotiate_free(n);
    }
}

/* --- Memory. */

static void test_oom_leaves_what_was_in_force(void **state)
{
    struct slice first = slice_str(TOP BUNDLE("0") AUDIO("0", "sendrecv"));
    struct slice second =
        slice_str(TOP BUNDLE("0 1 2") AUDIO("0", "sendrecv") VIDEO("1", "sendrecv") DATA("2"));
    uint64_t live = mem_live();

    (void)state;
    for (uint64_t at = 0;; at++) {
        struct neg_change c;
        struct neg_error e;
        struct codec_policy p;
        codec_policy_default(&p);
        mem_fail_after(at);
        struct negotiation *n = negotiate_new(&p, &limits, false);
        int err = n ? negotiate_offer(n, first, &c, &e) : -ENOMEM;
        bool was = !err;
        if (!err)
            err = negotiate_offer(n, second, &c, &e);
        if (n)
            assert_int_equal(negotiate_sections(n), !err ? 3 : was ? 1 : 0);
        if (n && err)
            assert_int_equal(e.code, NEG_E_MEMORY);
        mem_fail_never();
        negotiate_free(n);
        assert_int_equal(mem_live(), live);
        if (!err)
            break;
        assert_int_equal(err, -ENOMEM);
    }
    for (uint64_t at = 0;; at++) {
        struct codec_policy p;
        codec_policy_default(&p);
        mem_fail_after(at);
        struct negotiation *n = negotiate_new(&p, &limits, true);
        int err = n ? 0 : -ENOMEM;
        for (unsigned i = 0; n && i < 6 && err >= 0; i++)
            err = negotiate_slot_add(n, RTP_KIND_AUDIO, SLICE_LIT("s"), SLICE_LIT("t"));
        mem_fail_never();
        negotiate_free(n);
        assert_int_equal(mem_live(), live);
        if (err >= 0)
            break;
        assert_int_equal(err, -ENOMEM);
    }
}

static void test_every_truncation_of_a_real_offer(void **state)
{
    static char buf[65536];
    struct slice whole = load("firefox_room", buf, sizeof(buf));
    struct neg_change c;
    struct neg_error e;

    (void)state;
    for (size_t n = 0; n < whole.len; n += 3) {
        struct negotiation *g = make(false);
        char *copy = malloc(n + 1); /* the sanitizer sees the end */
        assert_non_null(copy);
        memcpy(copy, buf, n);
        if (negotiate_offer(g, slice_of(copy, n), &c, &e) == 0)
            write_answer(g);
        free(copy);
        negotiate_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offers_of_real_clients_are_answered),
        cmocka_unit_test(test_chromium_in_detail),
        cmocka_unit_test(test_firefox_in_detail),
        cmocka_unit_test(test_old_data_sections_are_answered_in_their_form),
        cmocka_unit_test(test_refused_offers_name_the_reason_and_the_line),
        cmocka_unit_test(test_too_many_or_too_large),
        cmocka_unit_test(test_what_can_t_be_used_is_inactive_never_port_0),
        cmocka_unit_test(test_limits_keep_who_has),
        cmocka_unit_test(test_refused_data_is_closed_in_the_answer),
        cmocka_unit_test(test_the_caller_may_refuse),
        cmocka_unit_test(test_policy_shapes_the_answer),
        cmocka_unit_test(test_later_offers_keep_what_there_is),
        cmocka_unit_test(test_restarts_certificates_and_roles_are_told),
        cmocka_unit_test(test_strong_and_weak_fingerprints_together),
        cmocka_unit_test(test_sections_may_not_move_or_vanish),
        cmocka_unit_test(test_stopped_sections_come_back_as_something_else),
        cmocka_unit_test(test_layers_by_ssrc_groups),
        cmocka_unit_test(test_layers_by_rid),
        cmocka_unit_test(test_extension_ids_over_14_need_mixed),
        cmocka_unit_test(test_our_offer_and_its_answer),
        cmocka_unit_test(test_our_later_offers_reuse_sections),
        cmocka_unit_test(test_answers_that_do_not_match),
        cmocka_unit_test(test_mapping_of_formats),
        cmocka_unit_test(test_h264_profiles_are_recognised),
        cmocka_unit_test(test_oom_leaves_what_was_in_force),
        cmocka_unit_test(test_every_truncation_of_a_real_offer),
    };

    return cmocka_run_group_tests_name("negotiate", tests, NULL, NULL);
}
