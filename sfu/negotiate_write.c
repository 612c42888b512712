/* Prints our answer or offer from what was agreed on.
 *
 * Called by negotiate.c. Every section in use repeats the transport's attributes, although BUNDLE
 * needs them in one only: older readers look for them in their own section. Candidates are in the
 * bundle's first section alone. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/negotiate_priv.h"

#include <stdio.h>

enum {
    PORT_DISCARD = 9,   /* RFC 8829 §5.2.1: the candidates tell */
    PRIORITY_UDP = 126, /* type preferences, RFC 8445 §5.1.2.1 */
    PRIORITY_TCP = 90,
    PRIORITY_LOCAL_MAX = 65535,
    COMPONENT_RTP = 1,
    TIAS_PER_AS = 1000,
};

/* One section on its way out. */
struct view {
    const struct neg_entry *x;
    const struct codec_policy *policy;
    const struct neg_local *local;
    const struct neg_codec *codec;
    unsigned n_codecs;
    const struct neg_ext *ext;
    enum sdp_direction direction; /* ours */
    enum sdp_setup setup;
    bool candidates, offer;
    bool closed; /* neg_data_closed() */
    bool mixed;  /* extmap-allow-mixed is said of the section, not of the session */
};

static void put_number(struct wr *w, const char *name, uint64_t v)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
    sdp_put_attr(w, name, slice_str(text));
}

/* --- The transport. */

static void put_candidates(struct wr *w, const struct neg_local *local)
{
    for (unsigned i = 0; i < local->n_candidates && i < NEG_CANDIDATES_MAX; i++) {
        const struct neg_candidate *from = &local->candidate[i];
        char foundation[8];
        (void)snprintf(foundation, sizeof(foundation), "%u", i + 1);
        struct sdp_candidate c = {
            .foundation = slice_str(foundation),
            .component = COMPONENT_RTP,
            .tcp = from->tcp,
            .priority = (from->tcp ? (uint32_t)PRIORITY_TCP : (uint32_t)PRIORITY_UDP) << 24 |
                        (PRIORITY_LOCAL_MAX - i) << 8 | (256 - COMPONENT_RTP),
            .addr = from->addr,
            .type = SDP_HOST,
            .tcptype = from->tcp ? SDP_TCP_PASSIVE : SDP_TCP_NONE,
        };
        sdp_candidate_put(w, &c);
    }
    sdp_put_flag(w, "end-of-candidates");
}

static void put_transport(struct wr *w, const struct view *v)
{
    struct sdp_fingerprint f = {.hash = SLICE_LIT("sha-256"), .len = sizeof(v->local->sha256)};

    memcpy(f.digest, v->local->sha256, sizeof(v->local->sha256));
    sdp_put_attr(w, "ice-ufrag", v->local->ufrag);
    sdp_put_attr(w, "ice-pwd", v->local->pwd);
    sdp_fingerprint_put(w, &f);
    sdp_put_attr(w, "setup", slice_str(sdp_setup_name(v->setup)));
    if (v->candidates)
        put_candidates(w, v->local);
}

/* --- Formats. */

static void put_pt(struct wr *w, uint8_t pt)
{
    if (w->len > 0)
        wr_u8(w, ' ');
    wr_u64(w, pt);
}

/* The formats of the m= line: browsers send the first, and RED in front means to send RED. */
static void put_formats(struct wr *w, const struct view *v)
{
    bool red_first = v->policy->red == CODEC_RED_PREFER;

    for (unsigned i = 0; i < v->n_codecs; i++) {
        const struct neg_codec *c = &v->codec[i];
        if (c->red_pt && red_first)
            put_pt(w, c->red_pt);
        put_pt(w, c->pt);
        if (c->red_pt && !red_first)
            put_pt(w, c->red_pt);
        if (c->rtx_pt)
            put_pt(w, c->rtx_pt);
    }
}

static void put_rtpmap(struct wr *w, uint8_t pt, enum rtp_codec codec, const struct neg_codec *c)
{
    struct sdp_rtpmap m = {pt, c->channels, c->clock, slice_str(codec_name(codec))};

    sdp_rtpmap_put(w, &m);
}

static void put_feedback(struct wr *w, const struct neg_codec *c)
{
    static const struct {
        uint8_t bit;
        const char *type, *param;
    } all[] = {
        {RTP_FB_REMB, "goog-remb", ""}, {RTP_FB_TWCC, "transport-cc", ""},
        {RTP_FB_FIR, "ccm", "fir"},     {RTP_FB_NACK, "nack", ""},
        {RTP_FB_PLI, "nack", "pli"},
    };

    for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
        struct sdp_rtcp_fb fb = {c->pt, slice_str(all[i].type), slice_str(all[i].param)};
        if (c->fb & all[i].bit)
            sdp_rtcp_fb_put(w, &fb);
    }
}

static void param(struct wr *w, const char *name, uint64_t v)
{
    if (w->len > 0)
        wr_u8(w, ';');
    wr_str(w, name);
    wr_u8(w, '=');
    wr_u64(w, v);
}

/* What we ask of an Opus encoder (RFC 7587 §6.1). */
static void opus_params(struct wr *w, const struct codec_policy *p)
{
    if (p->minptime_ms)
        param(w, "minptime", p->minptime_ms);
    param(w, "useinbandfec", p->opus_fec);
    if (p->opus_dtx)
        param(w, "usedtx", 1);
    if (p->opus_stereo)
        param(w, "stereo", 1);
    if (p->opus_bps)
        param(w, "maxaveragebitrate", p->opus_bps);
}

static void h264_params(struct wr *w, const struct neg_codec *c)
{
    param(w, "level-asymmetry-allowed", 1);
    param(w, "packetization-mode", c->mode);
    wr_fmt(w, ";profile-level-id=%06x", c->profile_id);
}

static void put_fmtp(struct wr *w, const struct neg_codec *c, const struct codec_policy *policy)
{
    char buf[128];
    struct wr params = wr_init(buf, sizeof(buf));

    switch (c->codec) {
    case RTP_CODEC_OPUS:
        opus_params(&params, policy);
        break;
    case RTP_CODEC_H264:
        h264_params(&params, c);
        break;
    case RTP_CODEC_VP9:
        param(&params, "profile-id", c->profile);
        break;
    case RTP_CODEC_AV1:
        param(&params, "level-idx", c->level);
        param(&params, "profile", c->profile);
        param(&params, "tier", 0);
        break;
    default:
        return;
    }
    struct sdp_fmtp f = {c->pt, wr_done(&params)};
    sdp_fmtp_put(w, &f);
}

static void put_red(struct wr *w, const struct neg_codec *c)
{
    char text[16];
    struct sdp_fmtp f = {.pt = c->red_pt};

    (void)snprintf(text, sizeof(text), "%u/%u", c->pt, c->pt);
    f.params = slice_str(text);
    put_rtpmap(w, c->red_pt, RTP_CODEC_RED, c);
    sdp_fmtp_put(w, &f);
}

static void put_rtx(struct wr *w, const struct neg_codec *c)
{
    char text[16];
    struct sdp_fmtp f = {.pt = c->rtx_pt};

    (void)snprintf(text, sizeof(text), "apt=%u", c->pt);
    f.params = slice_str(text);
    put_rtpmap(w, c->rtx_pt, RTP_CODEC_RTX, c);
    sdp_fmtp_put(w, &f);
}

static void put_codecs(struct wr *w, const struct view *v)
{
    for (unsigned i = 0; i < v->n_codecs; i++) {
        const struct neg_codec *c = &v->codec[i];
        put_rtpmap(w, c->pt, (enum rtp_codec)c->codec, c);
        put_feedback(w, c);
        put_fmtp(w, c, v->policy);
        if (c->red_pt)
            put_red(w, c);
        if (c->rtx_pt)
            put_rtx(w, c);
    }
    if (v->x->pub.kind == RTP_KIND_AUDIO && v->policy->ptime_ms)
        put_number(w, "ptime", v->policy->ptime_ms);
    if (v->x->pub.kind == RTP_KIND_AUDIO && v->policy->maxptime_ms)
        put_number(w, "maxptime", v->policy->maxptime_ms);
}

static void put_exts(struct wr *w, const struct view *v)
{
    for (unsigned ext = RTP_EXT_NONE + 1; ext < RTP_EXT_COUNT; ext++) {
        struct sdp_extmap m = {
            .id = v->ext[ext].id,
            .direction = (enum sdp_direction)v->ext[ext].direction,
            .uri = slice_str(codec_ext_uri((enum rtp_ext)ext)),
        };
        if (m.id != 0)
            sdp_extmap_put(w, &m);
    }
}

/* --- Streams. */

/* The client's simulcast streams that we take (RFC 8853 §5.3). */
static void put_layers(struct wr *w, const struct neg_section *s)
{
    char buf[RTP_LAYERS_MAX * (RTP_MID_MAX + 1)];
    struct wr list = wr_init(buf, sizeof(buf));

    for (unsigned i = 0; s->recv && i < s->n_layers && s->layer[i].rid[0]; i++) {
        struct sdp_rid rid = {.id = slice_str(s->layer[i].rid)};
        sdp_rid_put(w, &rid);
        if (i > 0)
            wr_u8(&list, ';');
        wr_str(&list, s->layer[i].rid);
    }
    if (s->n_layers > 1 && list.len > 0) {
        struct sdp_simulcast all = {.recv = wr_done(&list)};
        sdp_simulcast_put(w, &all);
    }
}

/* A slot's stream: its SSRCs and what track it is. In answers each slot is a stream of its own, for
 * what it carries changes; in offers the caller says. */
static void put_stream(struct wr *w, const struct view *v)
{
    const struct neg_section *s = &v->x->pub;
    char stream[8 + RTP_MID_MAX], both[2 * NEG_MSID_MAX + 2];

    (void)snprintf(stream, sizeof(stream), "slot-%s", s->mid);
    struct sdp_msid msid = {slice_str(stream), slice_str(stream)};
    if (v->offer)
        msid = (struct sdp_msid){slice_str(v->x->msid_stream[0] ? v->x->msid_stream : "-"),
                                 slice_str(v->x->msid_track)};
    (void)snprintf(both, sizeof(both), "%.*s %.*s", SLICE_FMT(msid.stream), SLICE_FMT(msid.track));
    sdp_msid_put(w, &msid);
    if (s->rtx_ssrc) {
        struct sdp_ssrc_group fid = {SLICE_LIT("FID"), {s->ssrc, s->rtx_ssrc}, 2};
        sdp_ssrc_group_put(w, &fid);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct sdp_ssrc line = {.ssrc = i == 0 ? s->ssrc : s->rtx_ssrc};
        if (line.ssrc == 0)
            continue;
        line.name = SLICE_LIT("cname");
        line.value = v->local->cname;
        sdp_ssrc_put(w, &line);
        line.name = SLICE_LIT("msid");
        line.value = slice_str(both);
        sdp_ssrc_put(w, &line);
    }
}

/* --- Sections. */

static void put_bandwidth(struct wr *w, const struct view *v)
{
    uint32_t bps = v->policy->video_max_bps;

    if (v->x->pub.kind == RTP_KIND_VIDEO && v->x->pub.recv && bps)
        wr_fmt(w, "b=AS:%u\r\nb=TIAS:%u\r\n", bps / TIAS_PER_AS, bps);
}

static void put_rtp(struct wr *w, const struct view *v)
{
    const struct neg_section *s = &v->x->pub;
    char buf[NEG_CODECS_MAX * 12];
    struct wr formats = wr_init(buf, sizeof(buf));

    put_formats(&formats, v);
    sdp_put_media(w, s->kind == RTP_KIND_AUDIO ? SLICE_LIT("audio") : SLICE_LIT("video"),
                  PORT_DISCARD, SLICE_LIT("UDP/TLS/RTP/SAVPF"), wr_done(&formats));
    put_bandwidth(w, v);
    sdp_put_attr(w, "mid", slice_str(s->mid));
    put_transport(w, v);
    sdp_put_flag(w, sdp_direction_name(v->direction));
    sdp_put_flag(w, "rtcp-mux");
    if (s->rsize || v->offer)
        sdp_put_flag(w, "rtcp-rsize");
    if (s->xr_rtt)
        sdp_put_attr(w, "rtcp-xr", SLICE_LIT("rcvr-rtt=all"));
    if (v->mixed)
        sdp_put_flag(w, "extmap-allow-mixed");
    put_exts(w, v);
    put_codecs(w, v);
    put_layers(w, s);
    if (v->direction & SDP_SENDONLY)
        put_stream(w, v);
}

/* As it was offered: RFC 8841's form, or the one before it with the port as format. */
static void put_data(struct wr *w, const struct view *v)
{
    bool old = !strcmp(v->x->proto, "DTLS/SCTP");
    char port[8], map[48];

    (void)snprintf(port, sizeof(port), "%d", NEG_SCTP_PORT);
    (void)snprintf(map, sizeof(map), "%d webrtc-datachannel 65535", NEG_SCTP_PORT);
    sdp_put_media(w, SLICE_LIT("application"), PORT_DISCARD,
                  old ? SLICE_LIT("DTLS/SCTP") : SLICE_LIT("UDP/DTLS/SCTP"),
                  old ? slice_str(port) : SLICE_LIT("webrtc-datachannel"));
    sdp_put_attr(w, "mid", slice_str(v->x->pub.mid));
    put_transport(w, v);
    sdp_put_attr(w, old ? "sctpmap" : "sctp-port", old ? slice_str(map) : slice_str(port));
    put_number(w, "max-message-size", v->local->max_message_size);
}

/* A section of no use to us, or without a format in common, or that the client or we reject. One
 * that we reject has a transport all the same: some clients look for it before they see the port.
 */
static void put_unusable(struct wr *w, const struct view *v)
{
    const struct neg_entry *x = v->x;
    bool zero = x->pub.rejected || v->closed;
    struct slice media = x->media[0] ? slice_str(x->media) : SLICE_LIT("audio");
    struct slice proto = x->media[0] ? slice_str(x->proto) : SLICE_LIT("UDP/TLS/RTP/SAVPF");
    struct slice formats = x->media[0] ? slice_str(x->formats) : SLICE_LIT("0");

    sdp_put_media(w, media, zero ? 0 : PORT_DISCARD, proto, formats);
    if (x->pub.mid[0])
        sdp_put_attr(w, "mid", slice_str(x->pub.mid));
    if (!x->pub.rejected)
        put_transport(w, v);
    sdp_put_flag(w, "inactive");
    if (!x->pub.rejected && x->pub.kind != RTP_KIND_DATA && x->pub.kind != RTP_KIND_COUNT)
        sdp_put_flag(w, "rtcp-mux");
}

static void put_section(struct wr *w, const struct view *v)
{
    bool rtp = v->x->pub.kind == RTP_KIND_AUDIO || v->x->pub.kind == RTP_KIND_VIDEO;

    if (v->x->pub.rejected || v->closed || (rtp && v->n_codecs == 0) ||
        v->x->pub.kind == RTP_KIND_COUNT)
        put_unusable(w, v);
    else if (rtp)
        put_rtp(w, v);
    else
        put_data(w, v);
}

/* --- The whole. */

static void put_session(struct wr *w, const struct negotiation *n, bool ext_mixed)
{
    sdp_put_head(w, n->session_id, n->version);
    wr_str(w, "a=group:BUNDLE");
    if (n->tag < n->n && !n->entry[n->tag].pub.rejected) {
        wr_u8(w, ' ');
        wr_str(w, n->entry[n->tag].pub.mid);
    }
    for (unsigned i = 0; i < n->n; i++) {
        if (i == n->tag || n->entry[i].pub.rejected || neg_data_closed(n, i))
            continue;
        wr_u8(w, ' ');
        wr_str(w, n->entry[i].pub.mid);
    }
    wr_str(w, "\r\n");
    sdp_put_flag(w, "ice-lite");
    if (ext_mixed)
        sdp_put_flag(w, "extmap-allow-mixed");
    sdp_put_attr(w, "msid-semantic", SLICE_LIT(" WMS *"));
}

void negotiate_write(const struct negotiation *n, const struct neg_local *local, struct wr *w)
{
    put_session(w, n, n->ext_mixed);
    for (unsigned i = 0; i < n->n; i++) {
        const struct neg_entry *x = &n->entry[i];
        struct view v = {
            .x = x,
            .policy = &n->policy,
            .local = local,
            .codec = x->pub.codec,
            .n_codecs = x->pub.n_codecs,
            .ext = x->ext,
            .direction = (enum sdp_direction)((x->pub.send ? SDP_SENDONLY : 0) |
                                              (x->pub.recv ? SDP_RECVONLY : 0)),
            .setup = n->remote.dtls_client ? SDP_ACTIVE : SDP_PASSIVE,
            .candidates = i == n->tag,
            .closed = neg_data_closed(n, i),
            .mixed = x->pub.ext_mixed && !n->ext_mixed,
        };
        put_section(w, &v);
    }
}

/* Our offers number extensions as the enum does: all fit the one-byte form. */
_Static_assert(RTP_EXT_COUNT <= 15, "ids of the one-byte form");

void neg_write_offer(const struct negotiation *n, const struct neg_local *local, struct wr *w)
{
    struct neg_codec codec[NEG_CODECS_MAX];
    struct neg_ext ext[RTP_EXT_COUNT] = {{0}};

    for (unsigned i = RTP_EXT_NONE + 1; i < RTP_EXT_COUNT; i++) {
        bool useless = i == (n->policy.twcc ? RTP_EXT_ABS_SEND_TIME : RTP_EXT_TWCC);
        if (n->policy.exts & 1u << i && !useless)
            ext[i] = (struct neg_ext){(uint8_t)i, SDP_SENDRECV};
    }
    put_session(w, n, true);
    for (unsigned i = 0; i < n->n; i++) {
        const struct neg_entry *x = &n->entry[i];
        struct view v = {
            .x = x,
            .policy = &n->policy,
            .local = local,
            .codec = codec,
            .ext = ext,
            .direction = x->asked ? SDP_SENDONLY : SDP_INACTIVE,
            .setup = SDP_ACTPASS,
            .candidates = i == n->tag,
            .offer = true,
        };
        if (x->pub.kind != RTP_KIND_DATA)
            v.n_codecs = neg_codecs_ours(codec, (enum rtp_kind)x->pub.kind, &n->policy);
        put_section(w, &v);
    }
}
