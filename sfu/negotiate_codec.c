/* Formats: which of a client's we agree to, which we offer ourselves, and which of one client's
 * carries what another client sends.
 *
 * Called by negotiate.c and, for each pair of publisher and receiver, the media core. Nothing here
 * decodes media: a profile matters only as far as the receiver's decoder takes the stream.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/negotiate_priv.h"

#include <errno.h>

enum {
    OPUS_CLOCK = 48000,
    OPUS_CHANNELS = 2, /* RFC 7587 §7: always, mono or not */
    NARROW_CLOCK = 8000,
    VIDEO_CLOCK = 90000,
    VP9_PROFILE_MAX = 3,
    AV1_PROFILE_MAX = 2,
    AV1_LEVEL_MAX = 31,
    AV1_LEVEL_DEFAULT = 5,       /* AV1 RTP specification §7.2.1: level 3.1 */
    H264_DEFAULT = 0x420010,     /* RFC 6184 §8.1: baseline, level 1 */
    H264_MODE_MAX = 1,           /* mode 2 interleaves: no browser has it */
    H264_CONSTRAINED = 0x40,     /* constraint_set1_flag */
    H264_CONSTRAINED_HIGH = 0x0c /* constraint_set4 and 5 */
};

/* --- What a format's parameters say. */

static bool hex_u24(struct slice text, uint32_t *out)
{
    uint32_t v = 0;

    if (text.len != 6)
        return false;
    for (size_t i = 0; i < 6; i++) {
        uint8_t c = text.p[i];
        unsigned digit = 16;
        if (c >= '0' && c <= '9')
            digit = c - (unsigned)'0';
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (c | 0x20u) - 'a' + 10;
        if (digit > 15)
            return false;
        v = v << 4 | digit;
    }
    *out = v;
    return true;
}

/* profile_idc and the constraint flags (ITU-T H.264 §7.4.2.1.1, RFC 6184 table 5). */
static enum neg_h264_profile h264_profile(uint32_t profile_id)
{
    unsigned idc = profile_id >> 16, iop = profile_id >> 8 & 0xff;

    switch (idc) {
    case 0x42:
        return iop & H264_CONSTRAINED ? NEG_H264_CONSTRAINED_BASELINE : NEG_H264_BASELINE;
    case 0x4d:
        /* constraint_set0: it obeys baseline's rules as well, without FMO and ASO. */
        return iop & 0x80 ? NEG_H264_CONSTRAINED_BASELINE : NEG_H264_MAIN;
    case 0x58:
        return (iop & 0xc0) == 0xc0 ? NEG_H264_CONSTRAINED_BASELINE : NEG_H264_OTHER;
    case 0x64:
        return (iop & H264_CONSTRAINED_HIGH) == H264_CONSTRAINED_HIGH ? NEG_H264_CONSTRAINED_HIGH
                                                                      : NEG_H264_HIGH;
    default:
        return NEG_H264_OTHER;
    }
}

static bool read_h264(struct neg_codec *c, struct slice fmtp)
{
    struct slice text;

    c->profile_id = H264_DEFAULT;
    if (sdp_param(fmtp, "profile-level-id", &text) && !hex_u24(text, &c->profile_id))
        return false;
    c->profile = (uint8_t)h264_profile(c->profile_id);
    c->level = (uint8_t)c->profile_id;
    uint64_t mode = sdp_param_u64(fmtp, "packetization-mode", UINT8_MAX, 0);
    c->mode = (uint8_t)mode;
    return mode <= H264_MODE_MAX;
}

static bool read_params(struct neg_codec *c, struct slice fmtp)
{
    switch (c->codec) {
    case RTP_CODEC_OPUS:
        c->fec = sdp_param_u64(fmtp, "useinbandfec", 1, 0) == 1;
        c->dtx = sdp_param_u64(fmtp, "usedtx", 1, 0) == 1;
        c->stereo = sdp_param_u64(fmtp, "stereo", 1, 0) == 1;
        c->max_bps = (uint32_t)sdp_param_u64(fmtp, "maxaveragebitrate", UINT32_MAX, 0);
        return c->clock == OPUS_CLOCK && c->channels == OPUS_CHANNELS;
    case RTP_CODEC_PCMU:
    case RTP_CODEC_PCMA:
        return c->clock == NARROW_CLOCK && c->channels == 1;
    case RTP_CODEC_H264:
        return c->clock == VIDEO_CLOCK && read_h264(c, fmtp);
    case RTP_CODEC_VP9:
        c->profile = (uint8_t)sdp_param_u64(fmtp, "profile-id", VP9_PROFILE_MAX, 0);
        return c->clock == VIDEO_CLOCK;
    case RTP_CODEC_AV1:
        c->profile = (uint8_t)sdp_param_u64(fmtp, "profile", AV1_PROFILE_MAX, 0);
        c->level = (uint8_t)sdp_param_u64(fmtp, "level-idx", AV1_LEVEL_MAX, AV1_LEVEL_DEFAULT);
        return c->clock == VIDEO_CLOCK;
    case RTP_CODEC_VP8:
        return c->clock == VIDEO_CLOCK;
    default:
        return c->channels == 1; /* telephone-event, CN: at any clock */
    }
}

/* The first payload type of RED's parameters, "111/111" (RFC 2198 §5). */
static bool red_carries(const struct neg_format *f, uint8_t pt)
{
    size_t digits = 0;
    uint64_t first;

    while (digits < f->fmtp.len && f->fmtp.p[digits] >= '0' && f->fmtp.p[digits] <= '9')
        digits++;
    return slice_to_u64(slice_sub(f->fmtp, 0, digits), RTP_PT_MAX, &first) == 0 && first == pt;
}

/* RTX, RED: the payload type that goes with c; 0: none. Payload type 0 is PCMU's. */
static uint8_t companion(const struct neg_described *d, const struct neg_codec *c,
                         enum rtp_codec what)
{
    for (unsigned i = 0; i < d->n_formats; i++) {
        const struct neg_format *f = &d->format[i];
        if (f->codec != what || f->clock != c->clock)
            continue;
        if (what == RTP_CODEC_RTX ? sdp_param_u64(f->fmtp, "apt", RTP_PT_MAX, UINT64_MAX) == c->pt
                                  : f->channels == c->channels && red_carries(f, c->pt))
            return f->pt;
    }
    return 0;
}

static uint8_t feedback(const struct neg_described *d, const struct neg_format *f,
                        const struct codec_policy *policy)
{
    uint8_t fb = f->fb;

    if (d->kind == RTP_KIND_AUDIO) {
        fb &= RTP_FB_NACK | RTP_FB_TWCC;
        if (!policy->audio_nack)
            fb &= (uint8_t)~RTP_FB_NACK;
    }
    if (!policy->twcc || d->ext[RTP_EXT_TWCC].id == 0 || !(policy->exts & 1u << RTP_EXT_TWCC))
        fb &= (uint8_t)~RTP_FB_TWCC;
    if (!policy->remb || fb & RTP_FB_TWCC)
        fb &= (uint8_t)~RTP_FB_REMB;
    return fb;
}

/* Makes the entry of one format. False: it is not one that we can use. */
static bool describe(struct neg_codec *c, const struct neg_described *d, const struct neg_format *f,
                     const struct codec_policy *policy)
{
    *c = (struct neg_codec){
        .codec = f->codec,
        .pt = f->pt,
        .clock = f->clock,
        .channels = f->channels,
    };
    if (!read_params(c, f->fmtp))
        return false;
    if (c->codec != RTP_CODEC_DTMF && c->codec != RTP_CODEC_CN)
        c->fb = feedback(d, f, policy);
    if (policy->rtx && c->fb & RTP_FB_NACK)
        c->rtx_pt = companion(d, c, RTP_CODEC_RTX);
    if (policy->red != CODEC_RED_OFF && c->codec == RTP_CODEC_OPUS)
        c->red_pt = companion(d, c, RTP_CODEC_RED);
    return true;
}

/* Constrained baseline in packets of any size first: what every H.264 endpoint takes. */
static unsigned rank(const struct neg_codec *c)
{
    if (c->codec != RTP_CODEC_H264)
        return 0;
    return (c->mode == 1 ? 0u : 2u) + (c->profile == NEG_H264_CONSTRAINED_BASELINE ? 0u : 1u);
}

/* A codec's formats among the described, at the end of out in rank order. */
static unsigned add_codec(struct neg_codec *out, unsigned n, const struct neg_described *d,
                          enum rtp_codec codec, const struct codec_policy *policy)
{
    unsigned first = n;
    struct neg_codec c;

    for (unsigned i = 0; i < d->n_formats && n < NEG_CODECS_MAX; i++) {
        if (d->format[i].codec != codec || !describe(&c, d, &d->format[i], policy))
            continue;
        unsigned at = n++;
        for (; at > first && rank(&out[at - 1]) > rank(&c); at--)
            out[at] = out[at - 1];
        out[at] = c;
    }
    return n;
}

static bool allows(const struct codec_policy *policy, uint8_t codec)
{
    for (unsigned i = 0; i < policy->n_video; i++)
        if (policy->video[i] == codec)
            return true;
    return false;
}

/* Video in the client's order (RFC 3264 §6.1): which codec it can make, and at what cost, it knows
 * best, and applications choose by that order. */
static unsigned add_video(struct neg_codec *out, const struct neg_described *d,
                          const struct codec_policy *policy)
{
    unsigned n = 0, done = 0;

    for (unsigned i = 0; i < d->n_formats; i++) {
        uint8_t codec = d->format[i].codec;

        if (!allows(policy, codec) || done & 1u << codec)
            continue;
        done |= 1u << codec;
        n = add_codec(out, n, d, (enum rtp_codec)codec, policy);
    }
    return n;
}

unsigned neg_codecs_choose(struct neg_codec out[NEG_CODECS_MAX], const struct neg_described *d,
                           const struct codec_policy *policy)
{
    unsigned n = 0;

    memset(out, 0, NEG_CODECS_MAX * sizeof(*out));
    if (d->kind != RTP_KIND_AUDIO)
        return add_video(out, d, policy);
    for (unsigned i = 0; i < policy->n_audio; i++)
        n = add_codec(out, n, d, (enum rtp_codec)policy->audio[i], policy);
    if (n == 0)
        return n;
    if (policy->cn)
        n = add_codec(out, n, d, RTP_CODEC_CN, policy);
    if (policy->dtmf)
        n = add_codec(out, n, d, RTP_CODEC_DTMF, policy);
    return n;
}

/* --- Our own offers: numbers that browsers use themselves. */

#define VIDEO_FB (RTP_FB_NACK | RTP_FB_PLI | RTP_FB_FIR | RTP_FB_TWCC | RTP_FB_REMB)
#define AUDIO_FB (RTP_FB_NACK | RTP_FB_TWCC)
#define VIDEO(name, number, rtx)                                                      \
    .codec = RTP_CODEC_##name, .pt = (number), .rtx_pt = (rtx), .clock = VIDEO_CLOCK, \
    .channels = 1, .fb = VIDEO_FB
#define H264(number, rtx, id, prof, m)                                                \
    {                                                                                 \
        VIDEO(H264, number, rtx), .profile_id = (id), .profile = (prof), .mode = (m), \
                                  .level = (id)&0xff                                  \
    }

static const struct neg_codec ours[] = {
    {.codec = RTP_CODEC_OPUS,
     .pt = 111,
     .red_pt = 63,
     .clock = OPUS_CLOCK,
     .channels = OPUS_CHANNELS,
     .fb = AUDIO_FB},
    {.codec = RTP_CODEC_PCMU, .pt = 0, .clock = NARROW_CLOCK, .channels = 1, .fb = AUDIO_FB},
    {.codec = RTP_CODEC_PCMA, .pt = 8, .clock = NARROW_CLOCK, .channels = 1, .fb = AUDIO_FB},
    {.codec = RTP_CODEC_CN, .pt = 13, .clock = NARROW_CLOCK, .channels = 1},
    {.codec = RTP_CODEC_DTMF, .pt = 110, .clock = OPUS_CLOCK, .channels = 1},
    {.codec = RTP_CODEC_DTMF, .pt = 126, .clock = NARROW_CLOCK, .channels = 1},
    {VIDEO(VP8, 96, 97)},
    {VIDEO(VP9, 98, 99)},
    {VIDEO(VP9, 100, 101), .profile = 2},
    H264(102, 103, 0x42e01f, NEG_H264_CONSTRAINED_BASELINE, 1),
    H264(104, 105, 0x42001f, NEG_H264_BASELINE, 1),
    H264(106, 107, 0x4d001f, NEG_H264_MAIN, 1),
    H264(108, 109, 0x64001f, NEG_H264_HIGH, 1),
    H264(114, 115, 0x42e01f, NEG_H264_CONSTRAINED_BASELINE, 0),
    {VIDEO(AV1, 45, 46), .level = AV1_LEVEL_DEFAULT},
};

static unsigned add_ours(struct neg_codec *out, unsigned n, enum rtp_codec codec,
                         const struct codec_policy *policy)
{
    for (unsigned i = 0; i < ARRAY_LEN(ours) && n < NEG_CODECS_MAX; i++) {
        if (ours[i].codec != codec)
            continue;
        struct neg_codec *c = &out[n++];
        *c = ours[i];
        if (!policy->rtx)
            c->rtx_pt = 0;
        if (policy->red == CODEC_RED_OFF)
            c->red_pt = 0;
        if (!policy->twcc || !(policy->exts & 1u << RTP_EXT_TWCC))
            c->fb &= (uint8_t)~RTP_FB_TWCC;
        if (!policy->remb || c->fb & RTP_FB_TWCC)
            c->fb &= (uint8_t)~RTP_FB_REMB;
        if (c->clock != VIDEO_CLOCK && !policy->audio_nack)
            c->fb &= (uint8_t)~RTP_FB_NACK;
    }
    return n;
}

unsigned neg_codecs_ours(struct neg_codec out[NEG_CODECS_MAX], enum rtp_kind kind,
                         const struct codec_policy *policy)
{
    bool audio = kind == RTP_KIND_AUDIO;
    const uint8_t *list = audio ? policy->audio : policy->video;
    unsigned n_list = audio ? policy->n_audio : policy->n_video, n = 0;

    memset(out, 0, NEG_CODECS_MAX * sizeof(*out));
    for (unsigned i = 0; i < n_list; i++)
        n = add_ours(out, n, (enum rtp_codec)list[i], policy);
    if (audio && policy->cn)
        n = add_ours(out, n, RTP_CODEC_CN, policy);
    if (audio && policy->dtmf)
        n = add_ours(out, n, RTP_CODEC_DTMF, policy);
    return n;
}

/* --- One payload type, one meaning. */

static enum neg_error_code use(struct neg_pt_table *t, uint8_t pt, const struct neg_pt_use *u)
{
    struct neg_pt_use *was = &t->v[pt];

    if (was->codec == RTP_CODEC_NONE) {
        *was = *u;
        return NEG_OK;
    }
    if (was->codec == u->codec && was->clock == u->clock && was->channels == u->channels &&
        was->profile == u->profile && was->mode == u->mode && was->of == u->of)
        return NEG_OK;
    return was->old ? NEG_E_PT_CHANGED : NEG_E_PT_CLASH;
}

enum neg_error_code neg_pt_table_add(struct neg_pt_table *t, const struct neg_codec *codec,
                                     unsigned n, bool old)
{
    enum neg_error_code err = NEG_OK;

    for (unsigned i = 0; i < n && !err; i++) {
        const struct neg_codec *c = &codec[i];
        struct neg_pt_use u = {c->codec, c->channels, c->profile, c->mode, 0, old, c->clock};
        err = use(t, c->pt, &u);
        if (!err && c->rtx_pt != 0) {
            u = (struct neg_pt_use){.codec = RTP_CODEC_RTX, .of = c->pt, .old = old};
            err = use(t, c->rtx_pt, &u);
        }
        if (!err && c->red_pt != 0) {
            u = (struct neg_pt_use){.codec = RTP_CODEC_RED, .of = c->pt, .old = old};
            err = use(t, c->red_pt, &u);
        }
    }
    return err;
}

/* --- Looking up and mapping. */

enum neg_pt_role neg_section_pt(const struct neg_section *s, uint8_t pt,
                                const struct neg_codec **codec)
{
    for (unsigned i = 0; i < s->n_codecs; i++) {
        const struct neg_codec *c = &s->codec[i];
        enum neg_pt_role role = c->pt == pt                  ? NEG_PT_MEDIA
                                : pt != 0 && c->rtx_pt == pt ? NEG_PT_RTX
                                : pt != 0 && c->red_pt == pt ? NEG_PT_RED
                                                             : NEG_PT_NONE;
        if (role != NEG_PT_NONE) {
            if (codec)
                *codec = c;
            return role;
        }
    }
    return NEG_PT_NONE;
}

/* What a decoder for `to` makes of a stream in profile `from`. Constrained baseline is inside all
 * of baseline, main and high; main and constrained high are inside high (ITU-T H.264 §A.2). */
static bool h264_takes(unsigned to, unsigned from)
{
    if (to == from)
        return true;
    switch (from) {
    case NEG_H264_CONSTRAINED_BASELINE:
        return to != NEG_H264_OTHER;
    case NEG_H264_BASELINE:
        /* Browsers say "baseline" (42001f) and send what is constrained baseline in fact. */
        return to == NEG_H264_CONSTRAINED_BASELINE;
    case NEG_H264_MAIN:
    case NEG_H264_CONSTRAINED_HIGH:
        return to == NEG_H264_HIGH;
    default:
        return false;
    }
}

static bool profile_fits(const struct neg_codec *to, const struct neg_codec *from)
{
    if (to->codec != RTP_CODEC_H264)
        return to->profile == from->profile;
    return to->mode >= from->mode && h264_takes(to->profile, from->profile);
}

struct neg_map negotiate_map(const struct neg_section *to, const struct neg_codec *from)
{
    struct neg_map map = {.verdict = NEG_MAP_NO_CODEC};

    for (unsigned i = 0; i < to->n_codecs; i++) {
        const struct neg_codec *c = &to->codec[i];
        if (c->codec != from->codec || c->clock != from->clock)
            continue;
        if (!profile_fits(c, from)) {
            if (map.verdict != NEG_MAP_OK)
                map.verdict = NEG_MAP_PROFILE;
            continue;
        }
        bool exact = c->profile == from->profile && c->mode == from->mode;
        if (map.verdict != NEG_MAP_OK || exact)
            map = (struct neg_map){NEG_MAP_OK, c};
        if (exact)
            break;
    }
    return map;
}
