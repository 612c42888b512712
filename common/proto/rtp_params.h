/* The names that RTP, RTCP and SDP share: media kinds, codecs, header extensions, feedback.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_RTP_PARAMS_H
#define SORI_PROTO_RTP_PARAMS_H

#include "base/bytes.h"

enum rtp_kind { RTP_KIND_AUDIO, RTP_KIND_VIDEO, RTP_KIND_DATA, RTP_KIND_COUNT };

/* Codecs that are forwarded, and formats that carry or accompany one. */
enum rtp_codec {
    RTP_CODEC_NONE,
    RTP_CODEC_OPUS, /* RFC 7587 */
    RTP_CODEC_PCMU, /* RFC 3551 */
    RTP_CODEC_PCMA, /* RFC 3551 */
    RTP_CODEC_RED,  /* RFC 2198: audio/red around OPUS */
    RTP_CODEC_DTMF, /* RFC 4733: telephone-event, at 8000 or 48000 Hz */
    RTP_CODEC_CN,   /* RFC 3389 */
    RTP_CODEC_VP8,  /* RFC 7741 */
    RTP_CODEC_VP9,  /* RFC 9628 */
    RTP_CODEC_H264, /* RFC 6184 */
    RTP_CODEC_AV1,  /* AV1 RTP specification */
    RTP_CODEC_RTX,  /* RFC 4588 */
    RTP_CODEC_COUNT,
};

/* Header extensions (RFC 8285) that are understood or passed on. */
enum rtp_ext {
    RTP_EXT_NONE,
    RTP_EXT_MID,              /* urn:ietf:params:rtp-hdrext:sdes:mid (RFC 9143) */
    RTP_EXT_RID,              /* …:sdes:rtp-stream-id (RFC 8852) */
    RTP_EXT_REPAIRED_RID,     /* …:sdes:repaired-rtp-stream-id (RFC 8852) */
    RTP_EXT_AUDIO_LEVEL,      /* …:ssrc-audio-level (RFC 6464) */
    RTP_EXT_CSRC_AUDIO_LEVEL, /* …:csrc-audio-level (RFC 6465) */
    RTP_EXT_TWCC,             /* draft-holmer-rmcat-transport-wide-cc-extensions-01 */
    RTP_EXT_ABS_SEND_TIME,
    RTP_EXT_ABS_CAPTURE_TIME,
    RTP_EXT_PLAYOUT_DELAY,
    RTP_EXT_TOFFSET, /* RFC 5450 */
    RTP_EXT_VIDEO_ORIENTATION,
    RTP_EXT_DEPENDENCY, /* dependency descriptor: AV1 RTP specification, appendix A */
    RTP_EXT_VLA,        /* video-layers-allocation00 */
    RTP_EXT_COUNT,
};

/* Feedback that a codec's description allows (RFC 4585 §4.2), as bits. */
enum {
    RTP_FB_NACK = 1 << 0,
    RTP_FB_PLI = 1 << 1,
    RTP_FB_FIR = 1 << 2,
    RTP_FB_TWCC = 1 << 3,
    RTP_FB_REMB = 1 << 4,
};

/* Limits of one description; more is refused or left out as sdp.h and negotiate.h say. */
#define RTP_MID_MAX    16 /* bytes of a mid or rid that we take */
#define RTP_LAYERS_MAX 3  /* simulcast streams of one video source */
#define RTP_PT_MAX     127

#endif
