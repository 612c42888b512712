/* Descriptions: what parses stays inside its text, comes out the same when it is written again, and
 * so does every attribute that decodes. SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "proto/sdp_attr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t again[SDP_BYTES_MAX * 2];

static void check_inside(struct slice s, const uint8_t *data, size_t size)
{
    if (s.len > 0 && (s.p < data || s.p + s.len > data + size))
        abort();
}

static void put_line(struct wr *w, const struct sdp_line *l)
{
    wr_u8(w, (uint8_t)l->type);
    wr_u8(w, '=');
    wr_bytes(w, l->value);
    wr_str(w, "\r\n");
}

static void put_all(struct wr *w, const struct sdp *s)
{
    struct sdp_walk walk = sdp_walk_session(s);
    struct sdp_line l;

    wr_str(w, "v=0\r\no=");
    wr_bytes(w, s->origin);
    wr_str(w, "\r\ns=");
    wr_bytes(w, s->name);
    wr_str(w, "\r\n");
    while (sdp_next(&walk, &l))
        put_line(w, &l);
    for (unsigned i = 0; i < s->n_sections; i++) {
        const struct sdp_section *m = &s->section[i];
        wr_str(w, "m=");
        wr_bytes(w, m->media);
        wr_u8(w, ' ');
        wr_u64(w, m->port);
        wr_u8(w, ' ');
        wr_bytes(w, m->proto);
        wr_u8(w, ' ');
        wr_bytes(w, m->formats);
        wr_str(w, "\r\n");
        walk = sdp_walk_section(m);
        while (sdp_next(&walk, &l))
            put_line(w, &l);
    }
}

/* What was written must decode again and be written the same. */
static void check_line(const struct wr *w, int err, const struct wr *w2)
{
    if (w->bad)
        return;
    if (err != 0 || w2->bad || !slice_eq(wr_done(w), wr_done(w2)))
        abort();
}

static struct slice arg_of(const struct wr *w)
{
    struct slice line = wr_done(w);
    const uint8_t *colon = line.len ? memchr(line.p, ':', line.len) : NULL;

    if (!colon)
        return (struct slice){0};
    size_t at = (size_t)(colon - line.p) + 1;
    return slice_sub(line, at, line.len - at - 2);
}

#define TRY(text, type, fn)                                                          \
    do {                                                                             \
        struct type v, v2;                                                           \
        if (slice_is(l->name, text) && fn##_decode(&v, l->arg) == 0) {               \
            struct wr w = wr_init(one, sizeof(one)), w2 = wr_init(two, sizeof(two)); \
            fn##_put(&w, &v);                                                        \
            int err = fn##_decode(&v2, arg_of(&w));                                  \
            if (err == 0)                                                            \
                fn##_put(&w2, &v2);                                                  \
            check_line(&w, err, &w2);                                                \
        }                                                                            \
    } while (0)

static void check_attribute(const struct sdp_line *l)
{
    static uint8_t one[SDP_LINE_MAX + 64], two[SDP_LINE_MAX + 64];
    struct sdp_candidate c;
    enum sdp_direction d;
    enum sdp_setup setup;

    TRY("rtpmap", sdp_rtpmap, sdp_rtpmap);
    TRY("fmtp", sdp_fmtp, sdp_fmtp);
    TRY("rtcp-fb", sdp_rtcp_fb, sdp_rtcp_fb);
    TRY("extmap", sdp_extmap, sdp_extmap);
    TRY("fingerprint", sdp_fingerprint, sdp_fingerprint);
    TRY("ssrc", sdp_ssrc, sdp_ssrc);
    TRY("ssrc-group", sdp_ssrc_group, sdp_ssrc_group);
    TRY("msid", sdp_msid, sdp_msid);
    TRY("rid", sdp_rid, sdp_rid);
    TRY("simulcast", sdp_simulcast, sdp_simulcast);
    if (slice_is(l->name, "candidate") && sdp_candidate_decode(&c, l->arg) == 0 &&
        c.addr.family != ADDR_NONE)
        TRY("candidate", sdp_candidate, sdp_candidate);
    sdp_direction_decode(&d, l->name);
    sdp_setup_decode(&setup, l->arg);

    struct slice list = l->arg, name, value, rid;
    bool paused;
    while (sdp_param_next(&list, &name, &value))
        ;
    list = l->arg;
    while (sdp_simulcast_next(&list, &rid, &paused))
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sdp s, s2;
    struct sdp_error e;
    struct sdp_line l;

    if (sdp_parse(&s, slice_of(data, size), &e) != 0) {
        if (e.code == SDP_OK || e.code >= SDP_ERRS)
            abort();
        return 0;
    }
    struct sdp_walk walk = sdp_walk_session(&s);
    while (sdp_next(&walk, &l)) {
        check_inside(l.value, data, size);
        check_attribute(&l);
    }
    for (unsigned i = 0; i < s.n_sections; i++) {
        check_inside(s.section[i].formats, data, size);
        walk = sdp_walk_section(&s.section[i]);
        while (sdp_next(&walk, &l)) {
            check_inside(l.value, data, size);
            check_attribute(&l);
        }
    }
    struct wr w = wr_init(again, sizeof(again) / 2);
    put_all(&w, &s);
    if (w.bad)
        return 0; /* bare line feeds became two bytes */
    if (sdp_parse(&s2, wr_done(&w), &e) != 0) {
        /* Only a line that grew (an m= line's spaces did not) can be too long. */
        if (e.code != SDP_E_TOO_LARGE)
            abort();
        return 0;
    }
    struct wr w2 = wr_init(again + sizeof(again) / 2, sizeof(again) / 2);
    put_all(&w2, &s2);
    if (s2.n_sections != s.n_sections || !slice_eq(wr_done(&w), wr_done(&w2)))
        abort();
    return 0;
}
