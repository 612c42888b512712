/* Reads a client's description: the session's part, one section at a time, the tracks in it.
 *
 * Called by negotiate.c. Attributes may come in any order (Firefox writes a=fmtp before a=rtpmap),
 * so each section is walked twice: once for its formats, once for what is said about them. What is
 * not known is skipped; what is known and wrong refuses the description, with the line, because a
 * guess would show up as silence later. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/negotiate_priv.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

enum {
    MESSAGE_SIZE_DEFAULT = 65536, /* RFC 8841 §6.1 */
};

static const struct {
    const char *name, *text;
} errors[NEG_E_COUNT] = {
    [NEG_OK] = {"ok", "no error"},
    [NEG_E_SYNTAX] = {"syntax", ""},
    [NEG_E_TOO_LARGE] = {"too_large", "the description is too large: offer fewer sections"},
    [NEG_E_SECTIONS] = {"sections", "more m= lines than allowed: reuse inactive transceivers"},
    [NEG_E_NO_SECTIONS] = {"no_sections", "no m= line: add a transceiver or a data channel first"},
    [NEG_E_NO_MID] = {"no_mid", "every m= section needs a=mid of at most 16 token characters"},
    [NEG_E_MID_TWICE] = {"mid_twice", "two m= sections have the same a=mid"},
    [NEG_E_NOT_BUNDLED] = {"not_bundled",
                           "the section is not in a=group:BUNDLE: use bundlePolicy max-bundle"},
    [NEG_E_NO_RTCP_MUX] = {"no_rtcp_mux",
                           "the section has no a=rtcp-mux: use rtcpMuxPolicy require"},
    [NEG_E_PLAN_B] = {"plan_b", "several tracks in one section: use unified-plan"},
    [NEG_E_NO_UFRAG] = {"no_ufrag",
                        "a=ice-ufrag (4 to 256 characters) or a=ice-pwd (22 to 256) is missing"},
    [NEG_E_ICE_LITE] = {"ice_lite", "a=ice-lite: the server is lite itself; use full ICE"},
    [NEG_E_NO_FINGERPRINT] = {"no_fingerprint", "a=fingerprint is missing: media needs DTLS"},
    [NEG_E_WEAK_FINGERPRINT] = {"weak_fingerprint",
                                "a=fingerprint needs sha-256, sha-384 or sha-512"},
    [NEG_E_BAD_FINGERPRINT] = {"bad_fingerprint",
                               "a=fingerprint is not hex bytes of the hash's length"},
    [NEG_E_SETUP] = {"setup", "a=setup must be actpass, active or passive in an offer, active or "
                              "passive in an answer"},
    [NEG_E_MID_CHANGED] = {"mid_changed", "the section was another before: keep a=mid, kind and "
                                          "order of sections in later offers"},
    [NEG_E_SECTION_GONE] = {"section_gone",
                            "fewer m= sections than before: keep them, with port 0 when stopped"},
    [NEG_E_PT_CLASH] = {"pt_clash", "one payload type means two things in the bundle"},
    [NEG_E_EXT_CLASH] = {"ext_clash", "one header extension id means two things in the bundle"},
    [NEG_E_PT_CHANGED] = {"pt_changed", "a payload type means something else than before"},
    [NEG_E_EXT_CHANGED] = {"ext_changed", "a header extension id means something else than before"},
    [NEG_E_STATE] = {"state", "no such description is awaited now"},
    [NEG_E_ANSWER] = {"answer", "the answer does not match the last offer: same sections, same "
                                "a=mid, same order"},
    [NEG_E_LIMIT] = {"limit", "too many a=ssrc, a=ssrc-group or a=fingerprint lines"},
    [NEG_E_MEMORY] = {"memory", "the server is out of memory: try again later"},
};

const char *neg_error_name(enum neg_error_code code)
{
    return errors[code < NEG_E_COUNT ? code : NEG_OK].name;
}

int neg_fail(struct neg_error *e, enum neg_error_code code, unsigned line)
{
    e->code = code;
    e->line = line;
    (void)snprintf(e->text, sizeof(e->text), "%s", errors[code].text);
    return -EPROTO;
}

static const struct {
    const char *name;
    uint8_t len;
} hashes[] = {
    [NEG_SHA256] = {"sha-256", 32},
    [NEG_SHA384] = {"sha-384", 48},
    [NEG_SHA512] = {"sha-512", 64},
};

static void read_fingerprint(struct neg_transport *t, const struct sdp_line *l)
{
    struct sdp_fingerprint f;

    t->fingerprint_line = l->line;
    if (sdp_fingerprint_decode(&f, l->arg) != 0) {
        t->bad = true;
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(hashes); i++) {
        if (!slice_eq_nocase(f.hash, slice_str(hashes[i].name)))
            continue;
        if (f.len != hashes[i].len || t->n_fingerprints == NEG_FINGERPRINTS_MAX) {
            t->bad = true;
            return;
        }
        struct neg_fingerprint *to = &t->fingerprint[t->n_fingerprints++];
        *to = (struct neg_fingerprint){.hash = (uint8_t)i, .len = f.len};
        memcpy(to->digest, f.digest, f.len);
        return;
    }
    t->weak = true;
}

static void read_ice_options(struct neg_transport *t, struct slice rest)
{
    struct slice word;

    while (sdp_word(&rest, &word)) {
        t->trickle |= slice_is(word, "trickle");
        t->renomination |= slice_is(word, "renomination");
    }
}

/* An attribute of the transport? Then it is read. */
static bool read_transport(struct neg_transport *t, const struct sdp_line *l)
{
    if (slice_is(l->name, "ice-ufrag")) {
        t->ufrag = l->arg;
        t->ice_line = l->line;
    } else if (slice_is(l->name, "ice-pwd")) {
        t->pwd = l->arg;
        t->ice_line = l->line;
    } else if (slice_is(l->name, "fingerprint")) {
        read_fingerprint(t, l);
    } else if (slice_is(l->name, "setup")) {
        t->has_setup = sdp_setup_decode(&t->setup, l->arg) == 0;
        t->bad_setup = !t->has_setup;
        t->setup_line = l->line;
    } else if (slice_is(l->name, "ice-options")) {
        read_ice_options(t, l->arg);
    } else {
        return false;
    }
    return true;
}

int neg_read_session(struct neg_session *out, struct sdp *sdp, struct slice text,
                     struct neg_error *e)
{
    struct sdp_error bad;
    struct sdp_line l;

    *out = (struct neg_session){.direction = SDP_SENDRECV};
    if (text.len > NEG_OFFER_BYTES_MAX) {
        (void)neg_fail(e, NEG_E_TOO_LARGE, 0);
        return -EMSGSIZE;
    }
    if (sdp_parse(sdp, text, &bad) != 0) {
        (void)neg_fail(e, NEG_E_SYNTAX, bad.line);
        (void)snprintf(e->text, sizeof(e->text), "%s", sdp_error_text(bad.code));
        return -EPROTO;
    }
    struct sdp_walk w = sdp_walk_session(sdp);
    while (sdp_next(&w, &l)) {
        struct slice rest = l.arg, word;
        if (l.type != 'a' || read_transport(&out->transport, &l) ||
            sdp_direction_decode(&out->direction, l.name))
            continue;
        if (slice_is(l.name, "group") && sdp_word(&rest, &word) && slice_is(word, "BUNDLE") &&
            !out->has_bundle) {
            out->bundle = rest;
            out->has_bundle = true;
        } else if (slice_is(l.name, "extmap-allow-mixed")) {
            out->ext_mixed = true;
        } else if (slice_is(l.name, "ice-lite")) {
            out->ice_lite = true;
            out->ice_lite_line = l.line;
        }
    }
    return 0;
}

static unsigned place_of(struct slice bundle, struct slice mid)
{
    struct slice word;

    for (unsigned i = 0; sdp_word(&bundle, &word); i++) {
        if (slice_eq(word, mid))
            return i;
    }
    return UINT_MAX;
}

/* token of RFC 4566 §9, as far as we pass such names on. */
static bool is_token(struct slice s, size_t max)
{
    if (s.len == 0 || s.len > max)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (c <= ' ' || c >= 0x7f || memchr("\"(),/:;<=>?@[\\]", c, 15))
            return false;
    }
    return true;
}

static enum rtp_kind kind_of(const struct sdp_section *m)
{
    bool rtp = slice_is(m->proto, "UDP/TLS/RTP/SAVPF") || slice_is(m->proto, "RTP/SAVPF") ||
               slice_is(m->proto, "TCP/TLS/RTP/SAVPF") || slice_is(m->proto, "UDP/TLS/RTP/SAVP");
    bool data = slice_is(m->proto, "UDP/DTLS/SCTP") || slice_is(m->proto, "TCP/DTLS/SCTP");
    uint64_t port;

    if (rtp && slice_is(m->media, "audio"))
        return RTP_KIND_AUDIO;
    if (rtp && slice_is(m->media, "video"))
        return RTP_KIND_VIDEO;
    if (!slice_is(m->media, "application"))
        return RTP_KIND_COUNT;
    if (data && slice_is(m->formats, "webrtc-datachannel"))
        return RTP_KIND_DATA;
    if (slice_is(m->proto, "DTLS/SCTP") && slice_to_u64(m->formats, UINT16_MAX, &port) == 0)
        return RTP_KIND_DATA; /* the form before RFC 8841, which aiortc offers: the port is a format
                               */
    return RTP_KIND_COUNT;
}

/* --- Formats. */

static struct neg_format *format_of(struct neg_described *d, uint8_t pt)
{
    for (unsigned i = 0; i < d->n_formats; i++) {
        if (d->format[i].pt == pt)
            return &d->format[i];
    }
    return NULL;
}

/* Payload types that need no a=rtpmap (RFC 3551 §6). */
static void set_static(struct neg_format *f)
{
    enum rtp_codec codec = f->pt == 0    ? RTP_CODEC_PCMU
                           : f->pt == 8  ? RTP_CODEC_PCMA
                           : f->pt == 13 ? RTP_CODEC_CN
                                         : RTP_CODEC_NONE;
    if (codec != RTP_CODEC_NONE) {
        f->codec = (uint8_t)codec;
        f->clock = 8000;
        f->channels = 1;
    }
}

/* The payload types of the m= line, in its order, and their names. */
static void read_formats(struct neg_described *d, const struct sdp_section *m)
{
    struct slice rest = m->formats, word;
    struct sdp_walk w = sdp_walk_section(m);
    struct sdp_rtpmap map;
    struct sdp_line l;
    uint64_t pt;

    while (d->n_formats < NEG_FORMATS_MAX && sdp_word(&rest, &word)) {
        if (slice_to_u64(word, RTP_PT_MAX, &pt) != 0 || format_of(d, (uint8_t)pt))
            continue;
        struct neg_format *f = &d->format[d->n_formats++];
        *f = (struct neg_format){.pt = (uint8_t)pt};
        if (d->kind == RTP_KIND_AUDIO)
            set_static(f);
    }
    while (sdp_next(&w, &l)) {
        if (l.type != 'a' || !slice_is(l.name, "rtpmap") || sdp_rtpmap_decode(&map, l.arg) != 0)
            continue;
        struct neg_format *f = format_of(d, map.pt);
        if (f) {
            f->codec = (uint8_t)codec_by_name(map.name);
            f->clock = map.clock;
            f->channels = map.channels;
            f->name = map.name;
        }
    }
}

static uint8_t feedback_bit(const struct sdp_rtcp_fb *fb)
{
    if (slice_is(fb->type, "nack"))
        return fb->param.len == 0 ? RTP_FB_NACK : slice_is(fb->param, "pli") ? RTP_FB_PLI : 0;
    if (slice_is(fb->type, "ccm"))
        return slice_is(fb->param, "fir") ? RTP_FB_FIR : 0;
    if (slice_is(fb->type, "transport-cc"))
        return RTP_FB_TWCC;
    return slice_is(fb->type, "goog-remb") ? RTP_FB_REMB : 0;
}

static void read_feedback(struct neg_described *d, struct slice arg)
{
    struct sdp_rtcp_fb fb;

    if (sdp_rtcp_fb_decode(&fb, arg) != 0)
        return;
    for (unsigned i = 0; i < d->n_formats; i++) {
        if (fb.pt == SDP_PT_ANY || fb.pt == d->format[i].pt)
            d->format[i].fb |= feedback_bit(&fb);
    }
}

static void read_fmtp(struct neg_described *d, struct slice arg)
{
    struct sdp_fmtp fmtp;
    struct neg_format *f = sdp_fmtp_decode(&fmtp, arg) == 0 ? format_of(d, fmtp.pt) : NULL;

    if (f)
        f->fmtp = fmtp.params;
}

/* "vad=off" among an extension's attributes (RFC 6464 §4; on is the default). */
static bool says_vad_off(struct slice attributes)
{
    struct slice word;

    while (sdp_word(&attributes, &word)) {
        if (slice_is(word, "vad=off"))
            return true;
    }
    return false;
}

/* One a=extmap. An id that two extensions have is the caller's to find. */
static int read_extmap(struct neg_described *d, const struct sdp_line *l, struct neg_error *e)
{
    struct sdp_extmap map;

    if (sdp_extmap_decode(&map, l->arg) != 0 || map.id > SDP_EXT_ID_MAX)
        return 0;
    enum rtp_ext ext = codec_ext_by_uri(map.uri);
    if (ext == RTP_EXT_NONE || d->ext[ext].id != 0)
        return 0;
    for (unsigned i = 0; i < RTP_EXT_COUNT; i++) {
        if (d->ext[i].id == map.id)
            return neg_fail(e, NEG_E_EXT_CLASH, l->line);
    }
    d->ext[ext] = (struct neg_ext){(uint8_t)map.id, (uint8_t)map.direction};
    if (ext == RTP_EXT_AUDIO_LEVEL)
        d->vad = !says_vad_off(map.attributes);
    return 0;
}

/* --- Streams. */

static int read_ssrc(struct neg_described *d, const struct sdp_line *l, struct neg_error *e)
{
    struct sdp_ssrc s;
    unsigned i = 0;

    if (sdp_ssrc_decode(&s, l->arg) != 0 || s.ssrc == 0)
        return 0;
    while (i < d->n_ssrcs && d->ssrc[i].ssrc != s.ssrc)
        i++;
    if (i == NEG_SSRCS_MAX)
        return neg_fail(e, NEG_E_LIMIT, l->line);
    if (i == d->n_ssrcs)
        d->ssrc[d->n_ssrcs++] = (struct neg_ssrc){.ssrc = s.ssrc};
    if (slice_is(s.name, "cname"))
        d->ssrc[i].cname = s.value;
    else if (slice_is(s.name, "msid"))
        d->ssrc[i].msid = s.value;
    return 0;
}

static int read_group(struct neg_described *d, const struct sdp_line *l, struct neg_error *e)
{
    struct sdp_ssrc_group g;

    if (sdp_ssrc_group_decode(&g, l->arg) != 0 || g.n == 0)
        return 0;
    if (d->n_groups == NEG_GROUPS_MAX)
        return neg_fail(e, NEG_E_LIMIT, l->line);
    d->group[d->n_groups++] = g;
    return 0;
}

static int read_attribute(struct neg_described *d, const struct sdp_line *l, struct neg_error *e)
{
    uint64_t number;

    if (read_transport(&d->transport, l) || sdp_direction_decode(&d->direction, l->name))
        return 0;
    if (slice_is(l->name, "rtcp-fb"))
        read_feedback(d, l->arg);
    else if (slice_is(l->name, "fmtp"))
        read_fmtp(d, l->arg);
    else if (slice_is(l->name, "extmap"))
        return read_extmap(d, l, e);
    else if (slice_is(l->name, "ssrc"))
        return read_ssrc(d, l, e);
    else if (slice_is(l->name, "ssrc-group"))
        return read_group(d, l, e);
    else if (slice_is(l->name, "simulcast"))
        (void)sdp_simulcast_decode(&d->simulcast, l->arg);
    else if (slice_is(l->name, "msid") && d->msid.stream.len == 0)
        (void)sdp_msid_decode(&d->msid, l->arg);
    else if (slice_is(l->name, "rtcp-mux"))
        d->rtcp_mux = true;
    else if (slice_is(l->name, "rtcp-rsize"))
        d->rsize = true;
    else if (slice_is(l->name, "rtcp-xr"))
        d->xr_rtt = slice_starts(l->arg, SLICE_LIT("rcvr-rtt"));
    else if (slice_is(l->name, "extmap-allow-mixed"))
        d->ext_mixed = true;
    else if (slice_is(l->name, "bundle-only"))
        d->rejected = false;
    else if (slice_is(l->name, "mid"))
        d->mid = l->arg;
    else if (slice_is(l->name, "sctp-port") && slice_to_u64(l->arg, UINT16_MAX, &number) == 0)
        d->sctp_port = (uint16_t)number;
    else if (slice_is(l->name, "max-message-size") &&
             slice_to_u64(l->arg, UINT32_MAX, &number) == 0)
        d->max_message_size = (uint32_t)number;
    return 0;
}

int neg_read_section(struct neg_described *out, const struct neg_session *session,
                     const struct sdp *sdp, unsigned i, struct neg_error *e)
{
    const struct sdp_section *m = &sdp->section[i];
    struct sdp_walk w = sdp_walk_section(m);
    struct sdp_line l;

    memset(out, 0, sizeof(*out));
    out->line = m->line;
    out->media = m->media;
    out->proto = m->proto;
    out->formats = m->formats;
    out->section = m;
    out->kind = kind_of(m);
    out->rejected = m->port == 0;
    out->direction = session->direction;
    out->ext_mixed = session->ext_mixed;
    out->sctp_port = NEG_SCTP_PORT;
    out->max_message_size = MESSAGE_SIZE_DEFAULT;
    if (out->kind == RTP_KIND_AUDIO || out->kind == RTP_KIND_VIDEO)
        read_formats(out, m);
    uint64_t port;
    if (out->kind == RTP_KIND_DATA && slice_to_u64(m->formats, UINT16_MAX, &port) == 0)
        out->sctp_port = (uint16_t)port;
    while (sdp_next(&w, &l)) {
        int err = l.type == 'a' ? read_attribute(out, &l, e) : 0;
        if (err)
            return err;
    }
    if (out->rejected && out->mid.len == 0)
        return 0;
    if (!is_token(out->mid, RTP_MID_MAX))
        return neg_fail(e, NEG_E_NO_MID, m->line);
    out->bundle_place = place_of(session->bundle, out->mid);
    if (!out->rejected && sdp->n_sections > 1 && out->bundle_place == UINT_MAX)
        return neg_fail(e, NEG_E_NOT_BUNDLED, m->line);
    if (!out->rejected && !out->rtcp_mux &&
        (out->kind == RTP_KIND_AUDIO || out->kind == RTP_KIND_VIDEO))
        return neg_fail(e, NEG_E_NO_RTCP_MUX, m->line);
    return 0;
}

/* --- The client's tracks. */

/* Copies when it fits; "" otherwise, and for "-" (RFC 8830: no stream). */
static void keep(struct slice from, char *to, size_t max)
{
    to[0] = '\0';
    if (from.len <= max && !slice_is(from, "-"))
        (void)slice_to_cstr(from, to, max + 1);
}

/* All the a=ssrc…msid lines of one section must speak of one track; more is plan B. */
static bool is_plan_b(const struct neg_described *d)
{
    struct slice first = {0};

    for (unsigned i = 0; i < d->n_ssrcs; i++) {
        struct slice msid = d->ssrc[i].msid;
        if (msid.len > 0 && first.len > 0 && !slice_eq(msid, first))
            return true;
        if (msid.len > 0)
            first = msid;
    }
    return false;
}

/* The SSRC that repairs ssrc by RTX; 0: none. */
static uint32_t rtx_of(const struct neg_described *d, uint32_t ssrc)
{
    for (unsigned i = 0; i < d->n_groups; i++) {
        const struct sdp_ssrc_group *g = &d->group[i];
        if (g->n == 2 && g->ssrc[0] == ssrc && slice_is(g->semantics, "FID"))
            return g->ssrc[1];
    }
    return 0;
}

/* RTX and FEC have the second place of their group. */
static bool is_repair(const struct neg_described *d, uint32_t ssrc)
{
    for (unsigned i = 0; i < d->n_groups; i++) {
        const struct sdp_ssrc_group *g = &d->group[i];
        if (g->n == 2 && g->ssrc[1] == ssrc && !slice_is(g->semantics, "SIM"))
            return true;
    }
    return false;
}

static void add_ssrc_layer(struct neg_section *s, const struct neg_described *d, uint32_t ssrc)
{
    s->layer[s->n_layers++] = (struct neg_layer){.ssrc = ssrc, .rtx_ssrc = rtx_of(d, ssrc)};
}

static void layers_by_ssrc(struct neg_section *s, const struct neg_described *d, unsigned max)
{
    for (unsigned i = 0; i < d->n_groups; i++) {
        const struct sdp_ssrc_group *g = &d->group[i];
        if (!slice_is(g->semantics, "SIM"))
            continue;
        for (unsigned k = 0; k < g->n && s->n_layers < max; k++)
            add_ssrc_layer(s, d, g->ssrc[k]);
        return;
    }
    for (unsigned i = 0; i < d->n_ssrcs; i++) {
        if (!is_repair(d, d->ssrc[i].ssrc)) {
            add_ssrc_layer(s, d, d->ssrc[i].ssrc);
            return;
        }
    }
}

static bool find_rid(const struct neg_described *d, struct slice id, struct sdp_rid *out)
{
    struct sdp_walk w = sdp_walk_section(d->section);
    struct sdp_line l;

    while (sdp_next(&w, &l)) {
        if (l.type == 'a' && slice_is(l.name, "rid") && sdp_rid_decode(out, l.arg) == 0 &&
            out->send && (id.len == 0 || slice_eq(out->id, id)))
            return true;
    }
    return false;
}

static void add_rid_layer(struct neg_section *s, const struct sdp_rid *rid, bool paused)
{
    struct neg_layer *l = &s->layer[s->n_layers];

    if (!is_token(rid->id, RTP_MID_MAX) || neg_section_rid(s, rid->id) >= 0)
        return;
    *l = (struct neg_layer){
        .paused = paused,
        .max_width = (uint16_t)sdp_param_u64(rid->params, "max-width", UINT16_MAX, 0),
        .max_height = (uint16_t)sdp_param_u64(rid->params, "max-height", UINT16_MAX, 0),
        .max_bps = (uint32_t)sdp_param_u64(rid->params, "max-br", UINT32_MAX, 0),
    };
    (void)slice_to_cstr(rid->id, l->rid, sizeof(l->rid));
    s->n_layers++;
}

static void layers_by_rid(struct neg_section *s, const struct neg_described *d, unsigned max)
{
    struct slice list = d->simulcast.send, id;
    struct sdp_rid rid;
    bool paused;

    if (list.len == 0 && find_rid(d, (struct slice){0}, &rid))
        add_rid_layer(s, &rid, false);
    for (unsigned i = 0; i < NEG_RIDS_MAX && s->n_layers < max; i++) {
        if (!sdp_simulcast_next(&list, &id, &paused))
            break;
        if (find_rid(d, id, &rid))
            add_rid_layer(s, &rid, paused);
    }
}

int neg_read_streams(struct neg_section *out, const struct neg_described *d, unsigned layers_max,
                     struct neg_error *e)
{
    if (is_plan_b(d))
        return neg_fail(e, NEG_E_PLAN_B, d->line);
    out->n_layers = 0;
    memset(out->layer, 0, sizeof(out->layer));
    if (d->kind == RTP_KIND_VIDEO)
        layers_by_rid(out, d, layers_max);
    if (out->n_layers == 0)
        layers_by_ssrc(out, d, d->kind == RTP_KIND_VIDEO ? layers_max : 1);
    if (out->n_layers == 0)
        out->n_layers = 1; /* nothing is told: known by its mid extension or payload type */
    struct sdp_msid msid = d->msid;
    if (msid.stream.len == 0 && d->n_ssrcs > 0)
        (void)sdp_msid_decode(&msid, d->ssrc[0].msid);
    keep(msid.stream, out->stream, NEG_MSID_MAX);
    keep(msid.track, out->track, NEG_MSID_MAX);
    keep(d->n_ssrcs > 0 ? d->ssrc[0].cname : (struct slice){0}, out->cname, NEG_CNAME_MAX);
    return 0;
}
