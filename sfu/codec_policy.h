/* Which codecs, parameters and header extensions we agree to, and in which order (configuration).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_CODEC_POLICY_H
#define SORI_SFU_CODEC_POLICY_H

#include "proto/rtp_params.h"

/* Whether a publisher wraps Opus in RED (RFC 2198). Browsers send the first codec of our answer. */
enum codec_red {
    CODEC_RED_OFF,    /* not agreed to in any section */
    CODEC_RED_ACCEPT, /* agreed to behind Opus: browsers then receive RED, but send plain Opus */
    CODEC_RED_PREFER, /* agreed to in front of Opus: browsers send RED */
};

#define CODEC_POLICY_CODECS_MAX 8
#define CODEC_VOICE_BPS         20000 /* maxaveragebitrate of the voice profile */

/* A policy is a plain value; one may serve many rooms. All fields have a default
 * (codec_policy_default()); the caller may change them before the first use. */
struct codec_policy {
    /* Media codecs in order of preference: OPUS, PCMU, PCMA | VP8, VP9, H264, AV1. RED, RTX,
     * telephone-event and CN have switches of their own. */
    uint8_t audio[CODEC_POLICY_CODECS_MAX], video[CODEC_POLICY_CODECS_MAX]; /* enum rtp_codec */
    uint8_t n_audio, n_video;

    enum codec_red red;
    bool dtmf, cn, rtx;
    bool audio_nack; /* generic NACK for audio, where the client offers it */
    bool twcc, remb; /* transport-wide congestion control; REMB */

    /* What we ask of a client that sends Opus (RFC 7587 §6.1); 0 leaves the parameter out. */
    bool opus_fec, opus_dtx, opus_stereo;
    uint32_t opus_bps; /* maxaveragebitrate, 6000 to 510000 */
    uint16_t ptime_ms, minptime_ms, maxptime_ms;

    uint32_t video_max_bps; /* b= of sections in which a client sends video; 0: none */

    uint32_t exts; /* bits 1 << enum rtp_ext: extensions that we agree to */
};

/* Everything this SFU can do, in its order: Opus, PCMU, PCMA; VP8, H264, VP9, AV1; RED accepted;
 * FEC and DTX asked for, mono, no bit rate named. */
void codec_policy_default(struct codec_policy *p);

/* The voice profile on top of a policy: mono, FEC, DTX, CODEC_VOICE_BPS. */
void codec_policy_voice(struct codec_policy *p);

/* Sets p's audio or video codecs from names of rtpmap (any case), the preferred first. Those of
 * audio may name "red" (in front of "opus": CODEC_RED_PREFER, behind it: CODEC_RED_ACCEPT), "cn"
 * and "telephone-event"; what is not named is off.
 *
 * Returns 0, or -EINVAL for an unknown name, one of the other kind, one given twice, or no codec at
 * all; p is then as it was and the caller refuses the configuration. */
int codec_policy_set(struct codec_policy *p, enum rtp_kind kind, char *const *names, size_t n);

/* The name in an rtpmap ("opus", "VP8", …), NULL for RTP_CODEC_NONE; and back, any case,
 * RTP_CODEC_NONE when it is not known. */
const char *codec_name(enum rtp_codec codec);
enum rtp_codec codec_by_name(struct slice name);

/* The URI of a header extension; and back, RTP_EXT_NONE when it is not known. */
const char *codec_ext_uri(enum rtp_ext ext);
enum rtp_ext codec_ext_by_uri(struct slice uri);

#endif
