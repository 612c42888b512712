/* codec_policy.c: lists of the configuration, names and URIs there and back.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/codec_policy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int set(struct codec_policy *p, enum rtp_kind kind, const char *a, const char *b,
               const char *c)
{
    const char *in[] = {a, b, c};
    char text[3][32], *names[3];
    size_t n = 0;

    for (; n < 3 && in[n]; n++) {
        assert_int_equal(slice_to_cstr(slice_str(in[n]), text[n], sizeof(text[n])), 0);
        names[n] = text[n];
    }
    return codec_policy_set(p, kind, names, n);
}

static void test_lists_set_order_and_switches(void **state)
{
    struct codec_policy p;

    (void)state;
    codec_policy_default(&p);
    assert_int_equal(set(&p, RTP_KIND_AUDIO, "PCMA", "opus", "red"), 0);
    assert_int_equal(p.n_audio, 2);
    assert_int_equal(p.audio[0], RTP_CODEC_PCMA);
    assert_int_equal(p.audio[1], RTP_CODEC_OPUS);
    assert_int_equal(p.red, CODEC_RED_ACCEPT);
    assert_false(p.dtmf || p.cn);
    assert_int_equal(set(&p, RTP_KIND_AUDIO, "red", "opus", "telephone-event"), 0);
    assert_int_equal(p.red, CODEC_RED_PREFER);
    assert_true(p.dtmf);
    assert_int_equal(set(&p, RTP_KIND_AUDIO, "opus", "cn", NULL), 0);
    assert_int_equal(p.red, CODEC_RED_OFF);
    assert_true(p.cn);
    assert_int_equal(set(&p, RTP_KIND_VIDEO, "h264", "VP8", NULL), 0);
    assert_int_equal(p.n_video, 2);
    assert_int_equal(p.video[0], RTP_CODEC_H264);
    assert_true(p.cn); /* video leaves audio alone */
}

static void test_wrong_lists_change_nothing(void **state)
{
    static const struct {
        enum rtp_kind kind;
        const char *v[3];
    } bad[] = {
        {RTP_KIND_AUDIO, {NULL}},
        {RTP_KIND_AUDIO, {"g722"}},
        {RTP_KIND_AUDIO, {"opus", "OPUS"}},
        {RTP_KIND_AUDIO, {"opus", "vp8"}},
        {RTP_KIND_AUDIO, {"red"}}, /* around nothing */
        {RTP_KIND_AUDIO, {"opus", "red", "red"}},
        {RTP_KIND_VIDEO, {"opus"}},
        {RTP_KIND_VIDEO, {"vp8", "rtx"}},
        {RTP_KIND_VIDEO, {""}},
    };
    struct codec_policy p, before;

    (void)state;
    codec_policy_default(&before);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        p = before;
        assert_int_equal(set(&p, bad[i].kind, bad[i].v[0], bad[i].v[1], bad[i].v[2]), -EINVAL);
        assert_memory_equal(&p, &before, sizeof(p));
    }
}

static void test_names_there_and_back(void **state)
{
    (void)state;
    assert_null(codec_name(RTP_CODEC_NONE));
    for (unsigned i = RTP_CODEC_NONE + 1; i < RTP_CODEC_COUNT; i++)
        assert_int_equal(codec_by_name(slice_str(codec_name((enum rtp_codec)i))), i);
    for (unsigned i = RTP_EXT_NONE + 1; i < RTP_EXT_COUNT; i++)
        assert_int_equal(codec_ext_by_uri(slice_str(codec_ext_uri((enum rtp_ext)i))), i);
    assert_int_equal(codec_by_name(slice_str("")), RTP_CODEC_NONE);
    assert_int_equal(codec_ext_by_uri(slice_str("urn:x")), RTP_EXT_NONE);
}

static void test_voice_profile(void **state)
{
    struct codec_policy p;

    (void)state;
    codec_policy_default(&p);
    p.opus_stereo = true;
    p.opus_fec = false;
    codec_policy_voice(&p);
    assert_true(p.opus_fec && p.opus_dtx && !p.opus_stereo);
    assert_int_equal(p.opus_bps, 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_set_order_and_switches),
        cmocka_unit_test(test_wrong_lists_change_nothing),
        cmocka_unit_test(test_names_there_and_back),
        cmocka_unit_test(test_voice_profile),
    };

    return cmocka_run_group_tests_name("codec_policy", tests, NULL, NULL);
}
