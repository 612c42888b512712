/* Which codecs, parameters and header extensions we agree to, and in which order.
 *
 * Called by sfu_options.c (the lists of the configuration), negotiate_*.c (everything else). Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/codec_policy.h"

#include <errno.h>

static const char *const codec_names[RTP_CODEC_COUNT] = {
    [RTP_CODEC_OPUS] = "opus",
    [RTP_CODEC_PCMU] = "PCMU",
    [RTP_CODEC_PCMA] = "PCMA",
    [RTP_CODEC_RED] = "red",
    [RTP_CODEC_DTMF] = "telephone-event",
    [RTP_CODEC_CN] = "CN",
    [RTP_CODEC_VP8] = "VP8",
    [RTP_CODEC_VP9] = "VP9",
    [RTP_CODEC_H264] = "H264",
    [RTP_CODEC_AV1] = "AV1",
    [RTP_CODEC_RTX] = "rtx",
};

#define SDES   "urn:ietf:params:rtp-hdrext:sdes:"
#define HDREXT "urn:ietf:params:rtp-hdrext:"
#define WEBRTC "http://www.webrtc.org/experiments/rtp-hdrext/"

static const char *const ext_uris[RTP_EXT_COUNT] = {
    [RTP_EXT_MID] = SDES "mid",
    [RTP_EXT_RID] = SDES "rtp-stream-id",
    [RTP_EXT_REPAIRED_RID] = SDES "repaired-rtp-stream-id",
    [RTP_EXT_AUDIO_LEVEL] = HDREXT "ssrc-audio-level",
    [RTP_EXT_CSRC_AUDIO_LEVEL] = HDREXT "csrc-audio-level",
    [RTP_EXT_TWCC] = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    [RTP_EXT_ABS_SEND_TIME] = WEBRTC "abs-send-time",
    [RTP_EXT_ABS_CAPTURE_TIME] = WEBRTC "abs-capture-time",
    [RTP_EXT_PLAYOUT_DELAY] = WEBRTC "playout-delay",
    [RTP_EXT_TOFFSET] = HDREXT "toffset",
    [RTP_EXT_VIDEO_ORIENTATION] = "urn:3gpp:video-orientation",
    [RTP_EXT_DEPENDENCY] = "https://aomediacodec.github.io/av1-rtp-spec/"
                           "#dependency-descriptor-rtp-header-extension",
    [RTP_EXT_VLA] = WEBRTC "video-layers-allocation00",
};

/* What a list of the configuration may name. */
static const uint8_t audio_codecs[] = {RTP_CODEC_OPUS, RTP_CODEC_PCMU, RTP_CODEC_PCMA};
static const uint8_t video_codecs[] = {RTP_CODEC_VP8, RTP_CODEC_H264, RTP_CODEC_VP9, RTP_CODEC_AV1};

void codec_policy_default(struct codec_policy *p)
{
    *p = (struct codec_policy){
        .n_audio = ARRAY_LEN(audio_codecs),
        .n_video = ARRAY_LEN(video_codecs),
        .red = CODEC_RED_ACCEPT,
        .dtmf = true,
        .cn = true,
        .rtx = true,
        .audio_nack = true,
        .twcc = true,
        .remb = true,
        .opus_fec = true,
        .opus_dtx = true,
        .minptime_ms = 10,
        .exts = 1u << RTP_EXT_MID | 1u << RTP_EXT_RID | 1u << RTP_EXT_REPAIRED_RID |
                1u << RTP_EXT_AUDIO_LEVEL | 1u << RTP_EXT_TWCC | 1u << RTP_EXT_ABS_SEND_TIME |
                1u << RTP_EXT_ABS_CAPTURE_TIME | 1u << RTP_EXT_PLAYOUT_DELAY |
                1u << RTP_EXT_VIDEO_ORIENTATION | 1u << RTP_EXT_DEPENDENCY | 1u << RTP_EXT_VLA,
    };
    memcpy(p->audio, audio_codecs, sizeof(audio_codecs));
    memcpy(p->video, video_codecs, sizeof(video_codecs));
}

void codec_policy_voice(struct codec_policy *p)
{
    p->opus_fec = p->opus_dtx = true;
    p->opus_stereo = false;
    p->opus_bps = CODEC_VOICE_BPS;
}

const char *codec_name(enum rtp_codec codec)
{
    return codec < RTP_CODEC_COUNT ? codec_names[codec] : NULL;
}

enum rtp_codec codec_by_name(struct slice name)
{
    for (unsigned i = RTP_CODEC_NONE + 1; i < RTP_CODEC_COUNT; i++) {
        if (slice_eq_nocase(name, slice_str(codec_names[i])))
            return (enum rtp_codec)i;
    }
    return RTP_CODEC_NONE;
}

const char *codec_ext_uri(enum rtp_ext ext)
{
    return ext < RTP_EXT_COUNT ? ext_uris[ext] : NULL;
}

enum rtp_ext codec_ext_by_uri(struct slice uri)
{
    for (unsigned i = RTP_EXT_NONE + 1; i < RTP_EXT_COUNT; i++) {
        if (slice_is(uri, ext_uris[i]))
            return (enum rtp_ext)i;
    }
    return RTP_EXT_NONE;
}

/* One name of the audio list that is a switch of its own. */
static bool set_switch(struct codec_policy *p, enum rtp_codec codec)
{
    switch (codec) {
    case RTP_CODEC_RED:
        p->red = memchr(p->audio, RTP_CODEC_OPUS, p->n_audio) ? CODEC_RED_ACCEPT : CODEC_RED_PREFER;
        return true;
    case RTP_CODEC_DTMF:
        p->dtmf = true;
        return true;
    case RTP_CODEC_CN:
        p->cn = true;
        return true;
    default:
        return false;
    }
}

int codec_policy_set(struct codec_policy *p, enum rtp_kind kind, char *const *names, size_t n)
{
    bool audio = kind == RTP_KIND_AUDIO;
    struct slice allowed = audio ? slice_of(audio_codecs, sizeof(audio_codecs))
                                 : slice_of(video_codecs, sizeof(video_codecs));
    struct codec_policy next = *p;
    uint8_t *list = audio ? next.audio : next.video;
    uint8_t *count = audio ? &next.n_audio : &next.n_video;
    uint32_t seen = 0;

    *count = 0;
    if (audio) {
        next.red = CODEC_RED_OFF;
        next.dtmf = next.cn = false;
    }
    for (size_t i = 0; i < n; i++) {
        enum rtp_codec codec = codec_by_name(slice_str(names[i]));
        if (seen & 1u << codec)
            return -EINVAL;
        seen |= 1u << codec;
        if (audio && set_switch(&next, codec))
            continue;
        if (codec == RTP_CODEC_NONE || !memchr(allowed.p, (int)codec, allowed.len))
            return -EINVAL;
        list[(*count)++] = (uint8_t)codec;
    }
    if (*count == 0)
        return -EINVAL;
    *p = next;
    return 0;
}
