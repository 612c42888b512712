/* Values of the attributes that WebRTC's descriptions use.
 *
 * Called by sfu/negotiate_*.c. Decoders take what the grammars of the RFCs allow and a little more
 * (several spaces, fields they do not know behind those they do); they give up on anything they
 * would have to guess. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sdp_attr.h"

#include <errno.h>

#include "proto/rtp_params.h"

enum {
    EXT_ID_LOCAL_MIN = 4096, /* RFC 8285 §7: ids that the answerer maps to real ones */
    EXT_ID_LOCAL_MAX = 4351,
    COMPONENT_MAX = 256,
    CHANNELS_MAX = 255,
};

/* The index of text among names, any case; -1: none of them. */
static int name_index(struct slice text, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (slice_eq_nocase(text, slice_str(names[i])))
            return (int)i;
    }
    return -1;
}

/* Splits text at the first sep; all of it is *head when there is none. False: no sep. */
static bool split(struct slice text, char sep, struct slice *head, struct slice *tail)
{
    const uint8_t *at = text.len ? memchr(text.p, sep, text.len) : NULL;
    size_t len = at ? (size_t)(at - text.p) : text.len;

    *head = slice_of(text.p, len);
    *tail = slice_sub(text, len + 1, SIZE_MAX);
    return at != NULL;
}

/* What is left, without the spaces in front of it. */
static struct slice trimmed(struct slice s)
{
    while (s.len > 0 && s.p[0] == ' ')
        s = slice_sub(s, 1, SIZE_MAX);
    return s;
}

static bool word_u64(struct slice *rest, uint64_t max, uint64_t *out)
{
    struct slice word;
    return sdp_word(rest, &word) && slice_to_u64(word, max, out) == 0;
}

static void begin(struct wr *w, const char *name)
{
    wr_str(w, "a=");
    wr_str(w, name);
    wr_u8(w, ':');
}

static void put_word(struct wr *w, struct slice word)
{
    wr_u8(w, ' ');
    wr_bytes(w, word);
}

static void end(struct wr *w)
{
    wr_str(w, "\r\n");
}

/* --- Directions and roles. */

static const char *const directions[] = {
    [SDP_INACTIVE] = "inactive",
    [SDP_SENDONLY] = "sendonly",
    [SDP_RECVONLY] = "recvonly",
    [SDP_SENDRECV] = "sendrecv",
};
static const char *const setups[] = {
    [SDP_ACTPASS] = "actpass",
    [SDP_ACTIVE] = "active",
    [SDP_PASSIVE] = "passive",
    [SDP_HOLDCONN] = "holdconn",
};

bool sdp_direction_decode(enum sdp_direction *out, struct slice name)
{
    int i = name_index(name, directions, ARRAY_LEN(directions));

    if (i >= 0)
        *out = (enum sdp_direction)i;
    return i >= 0;
}

const char *sdp_direction_name(enum sdp_direction d)
{
    return directions[d];
}

int sdp_setup_decode(enum sdp_setup *out, struct slice arg)
{
    int i = name_index(arg, setups, ARRAY_LEN(setups));

    if (i < 0)
        return -EBADMSG;
    *out = (enum sdp_setup)i;
    return 0;
}

const char *sdp_setup_name(enum sdp_setup s)
{
    return setups[s];
}

/* --- Formats. */

int sdp_rtpmap_decode(struct sdp_rtpmap *out, struct slice arg)
{
    struct slice form, name, rest, clock, channels;
    uint64_t pt, hz, n = 1;

    if (!word_u64(&arg, RTP_PT_MAX, &pt) || !sdp_word(&arg, &form))
        return -EBADMSG;
    if (!split(form, '/', &name, &rest) || name.len == 0)
        return -EBADMSG;
    if (split(rest, '/', &clock, &channels) && slice_to_u64(channels, CHANNELS_MAX, &n) != 0)
        return -EBADMSG;
    if (slice_to_u64(clock, UINT32_MAX, &hz) != 0 || hz == 0 || n == 0)
        return -EBADMSG;
    *out = (struct sdp_rtpmap){(uint8_t)pt, (uint8_t)n, (uint32_t)hz, name};
    return 0;
}

void sdp_rtpmap_put(struct wr *w, const struct sdp_rtpmap *m)
{
    begin(w, "rtpmap");
    wr_u64(w, m->pt);
    put_word(w, m->name);
    wr_u8(w, '/');
    wr_u64(w, m->clock);
    if (m->channels != 1) {
        wr_u8(w, '/');
        wr_u64(w, m->channels);
    }
    end(w);
}

int sdp_fmtp_decode(struct sdp_fmtp *out, struct slice arg)
{
    uint64_t pt;

    if (!word_u64(&arg, RTP_PT_MAX, &pt))
        return -EBADMSG;
    *out = (struct sdp_fmtp){(uint8_t)pt, trimmed(arg)};
    return 0;
}

void sdp_fmtp_put(struct wr *w, const struct sdp_fmtp *f)
{
    begin(w, "fmtp");
    wr_u64(w, f->pt);
    put_word(w, f->params);
    end(w);
}

bool sdp_param_next(struct slice *params, struct slice *name, struct slice *value)
{
    struct slice one;

    do {
        if (params->len == 0)
            return false;
        split(*params, ';', &one, params);
        one = trimmed(one);
    } while (one.len == 0);
    if (!split(one, '=', name, value)) {
        *name = (struct slice){0};
        *value = one;
    }
    return true;
}

bool sdp_param(struct slice params, const char *name, struct slice *value)
{
    struct slice n, v;

    while (sdp_param_next(&params, &n, &v)) {
        if (slice_eq_nocase(n, slice_str(name))) {
            *value = v;
            return true;
        }
    }
    return false;
}

uint64_t sdp_param_u64(struct slice params, const char *name, uint64_t max, uint64_t otherwise)
{
    struct slice value;
    uint64_t v;

    return sdp_param(params, name, &value) && slice_to_u64(value, max, &v) == 0 ? v : otherwise;
}

int sdp_rtcp_fb_decode(struct sdp_rtcp_fb *out, struct slice arg)
{
    struct slice pt, type;
    uint64_t number = SDP_PT_ANY;

    if (!sdp_word(&arg, &pt) || !sdp_word(&arg, &type))
        return -EBADMSG;
    if (!slice_is(pt, "*") && slice_to_u64(pt, RTP_PT_MAX, &number) != 0)
        return -EBADMSG;
    *out = (struct sdp_rtcp_fb){(uint8_t)number, type, trimmed(arg)};
    return 0;
}

void sdp_rtcp_fb_put(struct wr *w, const struct sdp_rtcp_fb *f)
{
    begin(w, "rtcp-fb");
    if (f->pt == SDP_PT_ANY)
        wr_u8(w, '*');
    else
        wr_u64(w, f->pt);
    put_word(w, f->type);
    if (f->param.len > 0)
        put_word(w, f->param);
    end(w);
}

int sdp_extmap_decode(struct sdp_extmap *out, struct slice arg)
{
    struct slice first, number, direction, uri;
    enum sdp_direction d = SDP_SENDRECV;
    uint64_t id;

    if (!sdp_word(&arg, &first) || !sdp_word(&arg, &uri))
        return -EBADMSG;
    if (split(first, '/', &number, &direction) && !sdp_direction_decode(&d, direction))
        return -EBADMSG;
    if (slice_to_u64(number, EXT_ID_LOCAL_MAX, &id) != 0 || id == 0 ||
        (id > SDP_EXT_ID_MAX && id < EXT_ID_LOCAL_MIN))
        return -EBADMSG;
    *out = (struct sdp_extmap){(uint16_t)id, d, uri, trimmed(arg)};
    return 0;
}

void sdp_extmap_put(struct wr *w, const struct sdp_extmap *m)
{
    begin(w, "extmap");
    wr_u64(w, m->id);
    if (m->direction != SDP_SENDRECV) {
        wr_u8(w, '/');
        wr_str(w, directions[m->direction]);
    }
    put_word(w, m->uri);
    if (m->attributes.len > 0)
        put_word(w, m->attributes);
    end(w);
}

/* --- Certificates. */

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int sdp_fingerprint_decode(struct sdp_fingerprint *out, struct slice arg)
{
    struct sdp_fingerprint f = {0};
    struct slice text, pair;
    bool more;

    if (!sdp_word(&arg, &f.hash) || !sdp_word(&arg, &text))
        return -EBADMSG;
    do {
        more = split(text, ':', &pair, &text);
        int hi = pair.len == 2 ? hex_value(pair.p[0]) : -1;
        int lo = pair.len == 2 ? hex_value(pair.p[1]) : -1;
        if (hi < 0 || lo < 0 || f.len == SDP_DIGEST_MAX)
            return -EBADMSG;
        f.digest[f.len++] = (uint8_t)(hi << 4 | lo);
    } while (more);
    *out = f;
    return 0;
}

void sdp_fingerprint_put(struct wr *w, const struct sdp_fingerprint *f)
{
    static const char digits[] = "0123456789ABCDEF";

    begin(w, "fingerprint");
    wr_bytes(w, f->hash);
    for (unsigned i = 0; i < f->len; i++) {
        wr_u8(w, i == 0 ? ' ' : ':');
        wr_u8(w, (uint8_t)digits[f->digest[i] >> 4]);
        wr_u8(w, (uint8_t)digits[f->digest[i] & 15]);
    }
    end(w);
}

/* --- Streams. */

int sdp_ssrc_decode(struct sdp_ssrc *out, struct slice arg)
{
    struct sdp_ssrc s;
    uint64_t ssrc;

    if (!word_u64(&arg, UINT32_MAX, &ssrc))
        return -EBADMSG;
    s.ssrc = (uint32_t)ssrc;
    split(trimmed(arg), ':', &s.name, &s.value);
    if (s.name.len == 0)
        return -EBADMSG;
    *out = s;
    return 0;
}

void sdp_ssrc_put(struct wr *w, const struct sdp_ssrc *s)
{
    begin(w, "ssrc");
    wr_u64(w, s->ssrc);
    put_word(w, s->name);
    if (s->value.len > 0) {
        wr_u8(w, ':');
        wr_bytes(w, s->value);
    }
    end(w);
}

int sdp_ssrc_group_decode(struct sdp_ssrc_group *out, struct slice arg)
{
    struct sdp_ssrc_group g = {0};
    struct slice word;
    uint64_t ssrc;

    if (!sdp_word(&arg, &g.semantics))
        return -EBADMSG;
    while (sdp_word(&arg, &word)) {
        if (g.n == SDP_GROUP_SSRCS_MAX || slice_to_u64(word, UINT32_MAX, &ssrc) != 0)
            return -EBADMSG;
        g.ssrc[g.n++] = (uint32_t)ssrc;
    }
    *out = g;
    return 0;
}

void sdp_ssrc_group_put(struct wr *w, const struct sdp_ssrc_group *g)
{
    begin(w, "ssrc-group");
    wr_bytes(w, g->semantics);
    for (unsigned i = 0; i < g->n; i++) {
        wr_u8(w, ' ');
        wr_u64(w, g->ssrc[i]);
    }
    end(w);
}

int sdp_msid_decode(struct sdp_msid *out, struct slice arg)
{
    struct sdp_msid m = {0};

    if (!sdp_word(&arg, &m.stream))
        return -EBADMSG;
    sdp_word(&arg, &m.track);
    *out = m;
    return 0;
}

void sdp_msid_put(struct wr *w, const struct sdp_msid *m)
{
    begin(w, "msid");
    wr_bytes(w, m->stream);
    if (m->track.len > 0)
        put_word(w, m->track);
    end(w);
}

static bool direction_word(struct slice *rest, bool *send)
{
    struct slice word;

    if (!sdp_word(rest, &word))
        return false;
    *send = slice_is(word, "send");
    return *send || slice_is(word, "recv");
}

int sdp_rid_decode(struct sdp_rid *out, struct slice arg)
{
    struct sdp_rid r;

    if (!sdp_word(&arg, &r.id) || !direction_word(&arg, &r.send))
        return -EBADMSG;
    r.params = trimmed(arg);
    *out = r;
    return 0;
}

void sdp_rid_put(struct wr *w, const struct sdp_rid *r)
{
    begin(w, "rid");
    wr_bytes(w, r->id);
    wr_str(w, r->send ? " send" : " recv");
    if (r->params.len > 0)
        put_word(w, r->params);
    end(w);
}

int sdp_simulcast_decode(struct sdp_simulcast *out, struct slice arg)
{
    struct sdp_simulcast s = {0};
    struct slice list;
    bool send;

    do {
        if (!direction_word(&arg, &send) || !sdp_word(&arg, &list))
            return -EBADMSG;
        struct slice *to = send ? &s.send : &s.recv;
        if (to->len > 0)
            return -EBADMSG; /* a direction twice */
        *to = list;
        arg = trimmed(arg);
    } while (arg.len > 0);
    *out = s;
    return 0;
}

void sdp_simulcast_put(struct wr *w, const struct sdp_simulcast *s)
{
    begin(w, "simulcast");
    if (s->send.len > 0) {
        wr_str(w, "send ");
        wr_bytes(w, s->send);
    }
    if (s->recv.len > 0) {
        wr_str(w, s->send.len > 0 ? " recv " : "recv ");
        wr_bytes(w, s->recv);
    }
    end(w);
}

bool sdp_simulcast_next(struct slice *list, struct slice *rid, bool *paused)
{
    struct slice one, others;

    do {
        if (list->len == 0)
            return false;
        split(*list, ';', &one, list);
        split(one, ',', &one, &others);
        *paused = one.len > 0 && one.p[0] == '~';
        if (*paused)
            one = slice_sub(one, 1, SIZE_MAX);
    } while (one.len == 0);
    *rid = one;
    return true;
}

/* --- Candidates. */

static const char *const candidate_types[] = {
    [SDP_HOST] = "host",
    [SDP_SRFLX] = "srflx",
    [SDP_PRFLX] = "prflx",
    [SDP_RELAY] = "relay",
};
static const char *const tcptypes[] = {
    [SDP_TCP_NONE] = "",
    [SDP_TCP_ACTIVE] = "active",
    [SDP_TCP_PASSIVE] = "passive",
    [SDP_TCP_SO] = "so",
};

/* The name=value pairs behind the type: "raddr", "rport", "tcptype", "generation", … */
static void candidate_pairs(struct sdp_candidate *c, struct slice rest)
{
    struct slice name, value;

    while (sdp_word(&rest, &name) && sdp_word(&rest, &value)) {
        int i = slice_is(name, "tcptype") ? name_index(value, tcptypes, ARRAY_LEN(tcptypes)) : -1;
        if (i > 0)
            c->tcptype = (enum sdp_tcptype)i;
    }
}

int sdp_candidate_decode(struct sdp_candidate *out, struct slice arg)
{
    struct sdp_candidate c = {0};
    struct slice transport, typ, type;
    uint64_t component, priority, port;

    if (!sdp_word(&arg, &c.foundation) || !word_u64(&arg, COMPONENT_MAX, &component) ||
        !sdp_word(&arg, &transport) || !word_u64(&arg, UINT32_MAX, &priority) ||
        !sdp_word(&arg, &c.host) || !word_u64(&arg, UINT16_MAX, &port) || !sdp_word(&arg, &typ) ||
        !sdp_word(&arg, &type))
        return -EBADMSG;
    c.tcp = slice_eq_nocase(transport, SLICE_LIT("tcp"));
    int kind = name_index(type, candidate_types, ARRAY_LEN(candidate_types));
    if (component == 0 || !slice_is(typ, "typ") || kind < 0 ||
        (!c.tcp && !slice_eq_nocase(transport, SLICE_LIT("udp"))))
        return -EBADMSG;
    if (addr_parse(&c.addr, c.host) == 0) {
        if (c.addr.port != 0)
            return -EBADMSG;
        c.addr.port = (uint16_t)port;
    }
    c.component = (uint16_t)component;
    c.priority = (uint32_t)priority;
    c.port = (uint16_t)port;
    c.type = (enum sdp_candidate_type)kind;
    candidate_pairs(&c, arg);
    *out = c;
    return 0;
}

void sdp_candidate_put(struct wr *w, const struct sdp_candidate *c)
{
    char text[ADDR_TEXT_MAX];

    begin(w, "candidate");
    wr_bytes(w, c->foundation);
    wr_u8(w, ' ');
    wr_u64(w, c->component);
    wr_str(w, c->tcp ? " tcp " : " udp ");
    wr_u64(w, c->priority);
    wr_u8(w, ' ');
    wr_str(w, addr_ip_format(&c->addr, text));
    wr_u8(w, ' ');
    wr_u64(w, c->addr.port);
    wr_str(w, " typ ");
    wr_str(w, candidate_types[c->type]);
    if (c->tcptype != SDP_TCP_NONE) {
        wr_str(w, " tcptype ");
        wr_str(w, tcptypes[c->tcptype]);
    }
    end(w);
}
