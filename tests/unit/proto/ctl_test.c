/* Tests of proto/ctl.c, ctl_decode.c and ctl_encode.c: every message both ways, limits, framing,
 * the proof. SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/guard.h"
#include "proto/ctl.h"

#define NONCE "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define MAC   "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"
#define AT    "\"room\":\"r1\",\"participant\":\"p1\""

/* Every message there is, as ctl_encode() writes it. */
static const char *const samples[] = {
    "{\"t\":\"challenge\",\"version\":1,\"nonce\":\"" NONCE "\"}",
    "{\"t\":\"hello\",\"id\":1,\"version\":1,\"server\":\"s1\",\"epoch\":18446744073709551615,"
    "\"sfuEpoch\":3,\"lastSeq\":9,\"nonce\":\"" NONCE "\",\"mac\":\"" MAC "\"}",
    "{\"t\":\"hello\",\"re\":1,\"node\":\"sfu-1\",\"epoch\":7,\"resumed\":true,\"lost\":false,"
    "\"draining\":false,\"workers\":4,\"participantsMax\":1000,\"load\":12,\"mac\":\"" MAC "\"}",
    "{\"t\":\"hello\",\"re\":1,\"error\":{\"code\":\"unauthorized\"}}",
    "{\"t\":\"ping\",\"id\":2}",
    "{\"t\":\"ping\",\"re\":2}",
    "{\"t\":\"ack\",\"upto\":77}",
    "{\"t\":\"join\",\"id\":3," AT
    ",\"mode\":\"pair\",\"perms\":{\"subscribe\":true,\"data\":false,"
    "\"publish\":[\"microphone\",\"screen_audio\"]},\"limits\":{\"tracks\":8,\"slots\":32,"
    "\"upBps\":0,\"downBps\":5000000},\"autoAudio\":true,\"autoVideo\":false,"
    "\"offer\":\"v=0\\r\\no=- 1 2 IN IP4 0.0.0.0\\r\\n\",\"tracks\":[{\"mid\":\"0\",\"source\":"
    "\"microphone\",\"muted\":false},{\"mid\":\"1\",\"source\":\"screen\",\"muted\":true}]}",
    "{\"t\":\"join\",\"re\":3,\"answer\":\"v=0\\r\\n\",\"subOffer\":\"v=1\",\"negotiation\":\"n1\","
    "\"tracks\":[{\"track\":\"p1:0\",\"mid\":\"0\",\"kind\":\"audio\",\"source\":\"microphone\","
    "\"muted\":false,\"layers\":1},{\"track\":\"p1:1\",\"mid\":\"1\",\"kind\":\"video\","
    "\"source\":\"camera\",\"muted\":true,\"layers\":3}],\"slots\":[{\"mid\":\"2\"},{\"mid\":\"3\","
    "\"track\":\"p2:0\",\"participant\":\"p2\"}]}",
    "{\"t\":\"join\",\"re\":3,\"error\":{\"code\":\"rejected\",\"message\":\"line 3: no codec\"}}",
    "{\"t\":\"offer\",\"id\":4," AT ",\"offer\":\"v=0\",\"tracks\":[]}",
    "{\"t\":\"offer\",\"re\":4,\"answer\":\"v=0\",\"tracks\":[],\"slots\":[]}",
    "{\"t\":\"answer\",\"id\":5," AT ",\"negotiation\":\"n1\",\"answer\":\"v=0\"}",
    "{\"t\":\"answer\",\"re\":5}",
    "{\"t\":\"candidates\",\"id\":6," AT ",\"candidates\":[{\"candidate\":\"\"}]}",
    "{\"t\":\"subscribe\",\"id\":7," AT ",\"tracks\":[{\"track\":\"p2:1\",\"mid\":\"3\","
    "\"wanted\":true,\"paused\":false,\"layer\":2,\"temporal\":1,\"priority\":255},{\"track\":"
    "\"p3:1\",\"wanted\":false,\"paused\":true,\"priority\":0}]}",
    "{\"t\":\"subscribe\",\"re\":7,\"slots\":[{\"mid\":\"3\"}]}",
    "{\"t\":\"unpublish\",\"id\":8," AT ",\"track\":\"p1:1\"}",
    "{\"t\":\"mute\",\"id\":9," AT ",\"muted\":true,\"forced\":true,\"track\":\"p1:1\"}",
    "{\"t\":\"permissions\",\"id\":10," AT ",\"perms\":{\"subscribe\":false,\"data\":true,"
    "\"publish\":[]}}",
    "{\"t\":\"leave\",\"id\":11," AT "}",
    "{\"t\":\"close_room\",\"id\":12,\"room\":\"r1\"}",
    "{\"t\":\"sync\",\"id\":13,\"room\":\"r1\",\"participants\":[\"p1\",\"p2\"]}",
    "{\"t\":\"sync\",\"re\":13,\"participants\":[{\"id\":\"p1\",\"state\":\"connected\"},{\"id\":"
    "\"p2\",\"state\":\"failed\"}]}",
    "{\"t\":\"sync_end\",\"id\":14}",
    "{\"t\":\"sync_end\",\"re\":14,\"closed\":2}",
    "{\"t\":\"stats\",\"id\":15}",
    "{\"t\":\"stats\",\"id\":15,\"room\":\"r1\"}",
    "{\"t\":\"stats\",\"re\":15,\"stats\":{\"rooms\":1}}",
    "{\"t\":\"drain\",\"id\":16,\"on\":true}",
    "{\"t\":\"state\",\"seq\":1," AT ",\"state\":\"closed\",\"reason\":\"consent\"}",
    "{\"t\":\"track\",\"seq\":2," AT ",\"event\":\"updated\",\"track\":{\"track\":\"p1:0\","
    "\"mid\":\"0\",\"kind\":\"audio\",\"source\":\"other\",\"muted\":false,\"layers\":1}}",
    "{\"t\":\"slots\",\"seq\":3," AT ",\"slots\":[{\"mid\":\"3\",\"track\":\"p2:1\","
    "\"participant\":\"p2\"}]}",
    "{\"t\":\"slots\",\"seq\":3," AT ",\"slots\":[{\"mid\":\"3\",\"track\":\"p2:1\","
    "\"participant\":\"p2\",\"layer\":2,\"temporal\":1,\"pause\":\"none\"},{\"mid\":\"4\","
    "\"track\":\"p2:2\",\"participant\":\"p2\",\"pause\":\"source\"}]}",
    "{\"t\":\"layers\",\"seq\":4," AT ",\"track\":\"p1:1\",\"wanted\":[0,2]}",
    "{\"t\":\"layers\",\"seq\":5," AT
    ",\"mid\":\"3\",\"layer\":1,\"temporal\":2,\"pause\":\"none\"}",
    "{\"t\":\"layers\",\"seq\":6," AT ",\"mid\":\"3\",\"pause\":\"bandwidth\"}",
    "{\"t\":\"negotiate\",\"seq\":7," AT ",\"reason\":\"need_slots\",\"needAudio\":1,"
    "\"needVideo\":2}",
    "{\"t\":\"negotiate\",\"seq\":8," AT ",\"reason\":\"offer\",\"negotiation\":\"n2\","
    "\"offer\":\"v=0\",\"needAudio\":0,\"needVideo\":0}",
    "{\"t\":\"room_closed\",\"seq\":9,\"room\":\"r1\",\"reason\":\"worker\"}",
    "{\"t\":\"speakers\",\"room\":\"r1\",\"dominant\":\"p1\",\"speakers\":[{\"participant\":\"p1\","
    "\"level\":12},{\"participant\":\"p2\",\"level\":127}]}",
    "{\"t\":\"quality\",\"room\":\"r1\",\"participants\":[{\"participant\":\"p1\",\"score\":5,"
    "\"mos\":441}]}",
    "{\"t\":\"load\",\"load\":1000,\"rooms\":3,\"participants\":40,\"draining\":true}",
};

static uint8_t scratch_mem[CTL_MESSAGE_MAX + CTL_SCRATCH_SPARE];
static uint8_t out_mem[CTL_HEADER_BYTES + CTL_MESSAGE_MAX];
static struct ctl_msg m;
static const char *why;

static int decode(struct slice text)
{
    struct wr scratch = wr_init(scratch_mem, sizeof(scratch_mem));

    why = NULL;
    return ctl_decode(&m, text, &scratch, &why);
}

static struct slice encode(void)
{
    struct wr w = wr_init(out_mem, sizeof(out_mem));
    struct slice text;
    size_t used;

    ctl_encode(&w, &m);
    assert_false(w.bad);
    assert_int_equal(ctl_frame(wr_done(&w), &text, &used), 0);
    assert_int_equal(used, w.len);
    return text;
}

static void test_every_message_survives_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        if (decode(slice_str(samples[i])) != 0)
            fail_msg("%s: %s", samples[i], why);
        struct slice again = encode();
        if (!slice_is(again, samples[i]))
            fail_msg("%s\nbecame\n%.*s", samples[i], SLICE_FMT(again));
    }
}

static void test_every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        size_t full = strlen(samples[i]);
        for (size_t n = 0; n < full; n++) {
            uint8_t *copy = guard_copy(samples[i], n);
            assert_int_equal(decode(slice_of(copy, n)), -EBADMSG);
            assert_non_null(why);
            guard_free(copy, n);
        }
    }
}

/* Each sample with one member taken out either still makes sense or is refused with a reason. */
static void test_required_members_are_missed(void **state)
{
    static const struct {
        const char *text;
        int rc;
    } rows[] = {
        {"", -EBADMSG},
        {"[]", -EBADMSG},
        {"{}", -EBADMSG},
        {"{\"t\":1}", -EBADMSG},
        {"{\"t\":\"join\",\"id\":0}", -EBADMSG},
        {"{\"t\":\"join\",\"id\":-1}", -EBADMSG},
        {"{\"t\":\"ping\",\"id\":1,\"id\":2}", -EBADMSG},
        {"{\"t\":\"dance\",\"id\":1}", -EPROTO},
        {"{\"t\":\"dance\",\"re\":1}", -EPROTO},
        {"{\"t\":\"dance\",\"seq\":1}", -EPROTO},
        {"{\"t\":\"state\",\"id\":1}", -EPROTO},                /* an event as a request */
        {"{\"t\":\"join\"}", -EBADMSG},                         /* a request as an event */
        {"{\"t\":\"leave\",\"id\":1,\"room\":\"r\"}", -EPROTO}, /* who? */
        {"{\"t\":\"leave\",\"id\":1,\"participant\":\"p\"}", -EPROTO},
        {"{\"t\":\"leave\",\"id\":1,\"room\":\"\",\"participant\":\"p\"}", -EPROTO},
        {"{\"t\":\"state\"," AT ",\"state\":\"connected\"}", -EBADMSG},       /* no seq */
        {"{\"t\":\"load\",\"seq\":1,\"load\":1}", -EBADMSG},                  /* seq */
        {"{\"t\":\"load\",\"load\":1001}", -EBADMSG},                         /* > max */
        {"{\"t\":\"state\",\"seq\":1," AT ",\"state\":\"happy\"}", -EBADMSG}, /* word */
        {"{\"t\":\"offer\",\"id\":1," AT "}", -EPROTO},                       /* no sdp */
        {"{\"t\":\"offer\",\"id\":1," AT ",\"offer\":\"\"}", -EPROTO},        /* empty */
        {"{\"t\":\"offer\",\"id\":1," AT ",\"offer\":{}}", -EPROTO},          /* object */
        {"{\"t\":\"offer\",\"id\":1," AT ",\"offer\":\"v\",\"tracks\":[1]}", -EPROTO},
        {"{\"t\":\"offer\",\"id\":1," AT ",\"offer\":\"v\",\"tracks\":[{}]}", -EPROTO},
        {"{\"t\":\"offer\",\"id\":1," AT ",\"offer\":\"v\",\"tracks\":[{\"mid\":\"12345678901234567"
         "\"}]}",
         -EPROTO},
        {"{\"t\":\"offer\",\"id\":1," AT ",\"offer\":\"v\",\"tracks\":[{\"mid\":\"1\",\"source\":"
         "\"nose\"}]}",
         -EPROTO},
        {"{\"t\":\"mute\",\"id\":1," AT ",\"track\":\"x\"}", -EPROTO},
        {"{\"t\":\"subscribe\",\"id\":1," AT ",\"tracks\":[{\"track\":\"x\"}]}", -EPROTO},
        {"{\"t\":\"subscribe\",\"id\":1," AT ",\"tracks\":[{\"track\":\"x\",\"wanted\":true,"
         "\"layer\":3}]}",
         -EPROTO},
        {"{\"t\":\"sync\",\"id\":1,\"room\":\"r\",\"participants\":[1]}", -EPROTO},
        {"{\"t\":\"sync\",\"id\":1,\"room\":\"r\",\"participants\":[\"a\\u0062\"]}", -EPROTO},
        {"{\"t\":\"sync\",\"id\":1,\"room\":\"r\",\"participants\":[\"\\\\4\"]}", -EPROTO},
        {"{\"t\":\"sync\",\"re\":1,\"participants\":[{\"id\":\"a\",\"state\":\"gone\"}]}",
         -EBADMSG},
        {"{\"t\":\"layers\",\"seq\":1," AT "}", -EBADMSG},
        {"{\"t\":\"layers\",\"seq\":1," AT ",\"track\":\"a\",\"wanted\":[3]}", -EBADMSG},
        {"{\"t\":\"track\",\"seq\":1," AT ",\"event\":\"published\"}", -EBADMSG},
        {"{\"t\":\"track\",\"seq\":1," AT ",\"event\":\"published\",\"track\":{\"track\":\"a\","
         "\"mid\":\"0\",\"layers\":0}}",
         -EBADMSG},
        {"{\"t\":\"negotiate\",\"seq\":1," AT ",\"reason\":\"offer\"}", -EBADMSG},
        {"{\"t\":\"stats\",\"re\":1,\"stats\":[]}", -EBADMSG},
        {"{\"t\":\"join\",\"re\":1}", -EBADMSG},
        {"{\"t\":\"join\",\"re\":1,\"error\":{}}", -EBADMSG},
        {"{\"t\":\"hello\",\"id\":1,\"version\":1,\"server\":\"s\",\"epoch\":0,\"nonce\":\"" NONCE
         "\",\"mac\":\"" MAC "\"}",
         -EPROTO},
        {"{\"t\":\"hello\",\"id\":1,\"version\":1,\"server\":\"s\",\"epoch\":1,\"nonce\":\"00\","
         "\"mac\":\"" MAC "\"}",
         -EPROTO},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int rc = decode(slice_str(rows[i].text));
        if (rc != rows[i].rc || !why)
            fail_msg("%s: %d, %s", rows[i].text, rc, why ? why : "no reason");
    }
}

static void test_a_bad_request_can_be_answered(void **state)
{
    (void)state;
    assert_int_equal(decode(SLICE_LIT("{\"t\":\"leave\",\"id\":31,\"room\":\"r\"}")), -EPROTO);
    assert_int_equal(m.type, CTL_LEAVE);
    assert_int_equal(m.kind, CTL_KIND_REQUEST);
    assert_int_equal(m.id, 31);
    assert_string_equal(why, "participant");
    assert_int_equal(decode(SLICE_LIT("{\"t\":\"later\",\"id\":32}")), -EPROTO);
    assert_true(m.type == CTL_NONE && m.id == 32 && m.kind == CTL_KIND_REQUEST);
    assert_int_equal(decode(SLICE_LIT("{\"t\":\"later\",\"seq\":5}")), -EPROTO);
    assert_true(m.type == CTL_NONE && m.seq == 5 && m.kind == CTL_KIND_EVENT);
}

static void test_an_unknown_error_code_is_internal(void **state)
{
    (void)state;
    assert_int_equal(decode(SLICE_LIT("{\"t\":\"join\",\"re\":1,\"error\":{\"code\":\"new\"}}")),
                     0);
    assert_int_equal(m.u.error.code, CTL_ERR_INTERNAL);
    for (unsigned e = 1; e < CTL_ERR_COUNT; e++) {
        m = (struct ctl_msg){.type = CTL_JOIN, .kind = CTL_KIND_ERROR, .id = 1};
        m.u.error.code = (enum ctl_err)e;
        assert_int_equal(decode(encode()), 0);
        assert_int_equal(m.u.error.code, e);
    }
}

static void test_sdp_is_decoded_for_the_sfu_and_raw_for_the_server(void **state)
{
    (void)state;
    assert_int_equal(
        decode(SLICE_LIT("{\"t\":\"offer\",\"id\":1," AT ",\"offer\":\"v=0\\r\\na=\\u0041\"}")), 0);
    assert_true(slice_is(m.u.offer.offer.text, "v=0\r\na=A"));
    assert_true(slice_is(m.u.offer.offer.raw, "\"v=0\\r\\na=\\u0041\""));
    assert_int_equal(
        decode(SLICE_LIT("{\"t\":\"offer\",\"re\":1,\"answer\":\"v=0\\r\\n\",\"tracks\":[],"
                         "\"slots\":[]}")),
        0);
    assert_int_equal(m.u.joined.answer.text.len, 0);
    assert_true(slice_is(m.u.joined.answer.raw, "\"v=0\\r\\n\""));
    m.u.joined.answer = (struct ctl_sdp){.text = SLICE_LIT("a\"\r\n")};
    struct slice text = encode();
    assert_int_equal(decode(text), 0);
    assert_true(slice_is(m.u.joined.answer.raw, "\"a\\\"\\u000d\\u000a\""));
}

/* A list of n copies of item, in the place of %s. */
static int decode_list(const char *before, const char *item, size_t n, const char *after)
{
    static char text[2 * CTL_MESSAGE_MAX];
    struct wr w = wr_init(text, sizeof(text));

    wr_str(&w, before);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            wr_u8(&w, ',');
        wr_str(&w, item);
    }
    wr_str(&w, after);
    assert_false(w.bad);
    return decode(wr_done(&w));
}

static void test_lists_end_at_their_limits(void **state)
{
    static const struct {
        const char *before, *item;
        size_t max;
        int refused;
    } rows[] = {
        {"{\"t\":\"offer\",\"id\":1," AT ",\"offer\":\"v\",\"tracks\":[", "{\"mid\":\"1\"}",
         CTL_TRACKS_MAX, -EPROTO},
        {"{\"t\":\"offer\",\"re\":1,\"answer\":\"v\",\"slots\":[],\"tracks\":[",
         "{\"track\":\"a:1\",\"mid\":\"1\"}", CTL_TRACKS_MAX, -EBADMSG},
        {"{\"t\":\"slots\",\"seq\":1," AT ",\"slots\":[", "{\"mid\":\"1\"}", CTL_SLOTS_MAX,
         -EBADMSG},
        {"{\"t\":\"subscribe\",\"id\":1," AT ",\"tracks\":[", "{\"track\":\"a:1\",\"wanted\":true}",
         CTL_SUBSCRIBE_MAX, -EPROTO},
        {"{\"t\":\"speakers\",\"room\":\"r\",\"speakers\":[", "{\"participant\":\"p\"}",
         CTL_SPEAKERS_MAX, -EBADMSG},
        {"{\"t\":\"quality\",\"room\":\"r\",\"participants\":[", "{\"participant\":\"p\"}",
         CTL_QUALITY_MAX, -EBADMSG},
        {"{\"t\":\"candidates\",\"id\":1," AT ",\"candidates\":[", "{}", CTL_CANDIDATES_MAX,
         -EPROTO},
        {"{\"t\":\"sync\",\"id\":1,\"room\":\"r\",\"participants\":[", "\"p\"",
         CTL_PARTICIPANTS_MAX, -EPROTO},
        {"{\"t\":\"sync\",\"re\":1,\"participants\":[", "{\"id\":\"p\",\"state\":\"failed\"}",
         CTL_PARTICIPANTS_MAX, -EBADMSG},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(decode_list(rows[i].before, rows[i].item, 0, "]}"), 0);
        assert_int_equal(decode_list(rows[i].before, rows[i].item, rows[i].max, "]}"), 0);
        assert_int_equal(decode_list(rows[i].before, rows[i].item, rows[i].max + 1, "]}"),
                         rows[i].refused);
    }
}

static void test_a_full_sync_is_walked(void **state)
{
    struct ctl_walk it = {0};
    enum ctl_media media;
    struct slice id;
    size_t n = 0;

    (void)state;
    assert_int_equal(decode_list("{\"t\":\"sync\",\"id\":1,\"room\":\"r\",\"participants\":[",
                                 "\"0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f\"", CTL_PARTICIPANTS_MAX,
                                 "]}"),
                     0);
    for (; ctl_ids(&it, m.u.sync.participants, &id); n++)
        assert_int_equal(id.len, 36);
    assert_int_equal(n, CTL_PARTICIPANTS_MAX);
    assert_false(ctl_ids(&it, (struct slice){0}, &id));

    uint8_t buf[256];
    struct wr w = wr_init(buf, sizeof(buf));
    wr_u8(&w, '[');
    ctl_states_add(&w, true, SLICE_LIT("a"), CTL_MEDIA_CONNECTED);
    ctl_states_add(&w, false, SLICE_LIT("b"), CTL_MEDIA_CLOSED);
    wr_u8(&w, ']');
    it = (struct ctl_walk){0};
    assert_true(ctl_states(&it, wr_done(&w), &id, &media) && media == CTL_MEDIA_CONNECTED);
    assert_true(slice_is(id, "a"));
    assert_true(ctl_states(&it, wr_done(&w), &id, &media) && media == CTL_MEDIA_CLOSED);
    assert_false(ctl_states(&it, wr_done(&w), &id, &media));
    w = wr_init(buf, sizeof(buf));
    wr_u8(&w, '[');
    ctl_ids_add(&w, true, SLICE_LIT("a"));
    ctl_ids_add(&w, false, SLICE_LIT("b"));
    wr_u8(&w, ']');
    assert_true(slice_is(wr_done(&w), "[\"a\",\"b\"]"));
}

static void test_frames_are_cut(void **state)
{
    static const uint8_t two[] = {0, 0, 0, 2, '{', '}', 0, 0, 0, 1, 'x', 0};
    struct slice text;
    size_t used;

    (void)state;
    for (size_t n = 0; n < 6; n++) {
        uint8_t *copy = guard_copy(two, n);
        assert_int_equal(ctl_frame(slice_of(copy, n), &text, &used), -EAGAIN);
        guard_free(copy, n);
    }
    assert_int_equal(ctl_frame(slice_of(two, sizeof(two)), &text, &used), 0);
    assert_true(slice_is(text, "{}") && used == 6);
    assert_int_equal(ctl_frame(slice_of(two + 6, 6), &text, &used), 0);
    assert_true(slice_is(text, "x") && used == 5);
    assert_int_equal(ctl_frame(SLICE_LIT("\0\0\0\0"), &text, &used), -EMSGSIZE);
    assert_int_equal(ctl_frame(SLICE_LIT("\0\4\0\0"), &text, &used), -EAGAIN);
    assert_int_equal(ctl_frame(SLICE_LIT("\0\4\0\1"), &text, &used), -EMSGSIZE);
    assert_int_equal(ctl_frame(SLICE_LIT("\x80\0\0\1"), &text, &used), -EMSGSIZE);
}

static void test_a_message_that_does_not_fit_says_so(void **state)
{
    (void)state;
    assert_int_equal(decode(slice_str(samples[8])), 0);
    struct slice full = encode();
    for (size_t cap = 0; cap < full.len + CTL_HEADER_BYTES; cap++) {
        uint8_t *copy = guard_copy(NULL, cap);
        struct wr w = wr_init(copy, cap);
        ctl_encode(&w, &m);
        assert_true(w.bad);
        guard_free(copy, cap);
    }
    m = (struct ctl_msg){.type = CTL_STATS, .kind = CTL_KIND_REPLY, .id = 1};
    m.u.stats.raw = slice_of(scratch_mem, CTL_MESSAGE_MAX);
    struct wr w = wr_init(out_mem, sizeof(out_mem));
    ctl_encode(&w, &m);
    assert_true(w.bad);
}

static void test_the_proof_covers_every_part(void **state)
{
    uint8_t a[CTL_NONCE_BYTES] = {1}, b[CTL_NONCE_BYTES] = {2}, macs[9][CTL_MAC_BYTES];
    const struct slice secret = SLICE_LIT("0123456789abcdef0123456789abcdef");
    const struct ctl_proof base = {.sfu_nonce = a,
                                   .server_nonce = b,
                                   .server = SLICE_LIT("s1"),
                                   .node = SLICE_LIT("sfu"),
                                   .server_epoch = 1,
                                   .sfu_epoch = 2};
    struct ctl_proof v[9];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        v[i] = base;
    v[1].by_sfu = true;
    v[2].sfu_nonce = b;
    v[3].server_nonce = a;
    v[4].server = SLICE_LIT("s");
    v[5].server = SLICE_LIT("s1s"); /* what moves from one field to the next is not the same */
    v[5].node = SLICE_LIT("fu");
    v[6].server_epoch = 3;
    v[7].sfu_epoch = 3;
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        assert_int_equal(ctl_mac(i == 8 ? SLICE_LIT("x") : secret, &v[i], macs[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        for (size_t k = i + 1; k < ARRAY_LEN(v); k++)
            assert_memory_not_equal(macs[i], macs[k], CTL_MAC_BYTES);
}

static void test_words_have_names_and_come_back(void **state)
{
    enum ctl_source s;

    (void)state;
    for (unsigned i = 0; i < CTL_SOURCE_COUNT; i++) {
        assert_true(ctl_source_parse(slice_str(ctl_source_name((enum ctl_source)i)), &s));
        assert_int_equal(s, i);
    }
    assert_false(ctl_source_parse(SLICE_LIT(""), &s));
    assert_string_equal(ctl_source_name(CTL_SOURCE_COUNT), "");
    for (unsigned t = 1; t < CTL_TYPE_COUNT; t++)
        assert_true(*ctl_type_name((enum ctl_type)t));
    assert_string_equal(ctl_type_name(CTL_NONE), "");
    assert_string_equal(ctl_type_name(CTL_TYPE_COUNT), "");
    for (unsigned e = 1; e < CTL_ERR_COUNT; e++)
        assert_true(*ctl_err_name((enum ctl_err)e));
    assert_true(ctl_type_kept(CTL_STATE) && !ctl_type_kept(CTL_LOAD) && !ctl_type_kept(CTL_JOIN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_survives_both_ways),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_required_members_are_missed),
        cmocka_unit_test(test_a_bad_request_can_be_answered),
        cmocka_unit_test(test_an_unknown_error_code_is_internal),
        cmocka_unit_test(test_sdp_is_decoded_for_the_sfu_and_raw_for_the_server),
        cmocka_unit_test(test_lists_end_at_their_limits),
        cmocka_unit_test(test_a_full_sync_is_walked),
        cmocka_unit_test(test_frames_are_cut),
        cmocka_unit_test(test_a_message_that_does_not_fit_says_so),
        cmocka_unit_test(test_the_proof_covers_every_part),
        cmocka_unit_test(test_words_have_names_and_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
