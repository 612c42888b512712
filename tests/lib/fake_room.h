/* A whole SFU worker in memory: the core with clients that do ICE, DTLS and SRTP, on a clock that
 * the test owns. Packets of the core reach their client at once, unless the test drops them.
 *
 *     struct fake_room *w = fake_room_new("");          configuration text
 *     struct fake_client *a = fake_join(w, "room", "a", &(struct fake_offer){.mic = true, .audio =
 * 2}); fake_talk(a, 20, "hello", 5);                      one Opus packet, level -20 dBov
 *     assert(b->n_got == 1)
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_FAKE_ROOM_H
#define SORI_TESTS_FAKE_ROOM_H

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef FAKE_ROOM_ABORTS /* a fuzz target: what must be true, or the process ends */
#define assert_true(x)               ((x) ? (void)0 : abort())
#define assert_false(x)              assert_true(!(x))
#define assert_non_null(x)           assert_true(x)
#define assert_int_equal(a, b)       assert_true((a) == (b))
#define assert_memory_equal(a, b, n) assert_true(memcmp(a, b, n) == 0)
#define print_error(...)             ((void)0)
#else
#include <cmocka.h>
#endif

#include "base/mem.h"
#include "net/dtls_srtp.h"
#include "proto/rtcp_fb.h"
#include "proto/stun_attr.h"
#include "sfu/room.h"

#ifndef FAKE_CLIENTS_MAX
#define FAKE_CLIENTS_MAX 128
#endif
#ifndef FAKE_GOT_MAX
#define FAKE_GOT_MAX 2048
#endif
#define FAKE_SLOTS_MAX  64
#define FAKE_EVENTS_MAX 512
#define FAKE_TEXT_MAX   65536
#define FAKE_BYTES_MAX  1500

enum { FAKE_PT_OPUS = 111, FAKE_PT_RED = 63, FAKE_PT_PCMU = 0, FAKE_PT_VP8 = 96, FAKE_PT_RTX = 97 };
enum { FAKE_PT_VP9 = 98, FAKE_PT_H264 = 102, FAKE_PT_AV1 = 45 };
enum {
    FAKE_EXT_LEVEL = 1,
    FAKE_EXT_TWCC = 3,
    FAKE_EXT_MID = 4,
    FAKE_EXT_RID = 10,
    FAKE_EXT_RRID = 11,
    FAKE_EXT_DD = 12,
};

/* What a client's offer has. */
struct fake_offer {
    bool mic, cam;
    unsigned audio, video; /* slots */
    bool no_red, no_nack, no_twcc, no_rtx;
    unsigned layers;  /* of the camera: rids l0, l1, …; 0: one stream with an SSRC */
    bool cm;          /* (not negotiable here: for the reader of a failing test) */
    bool codecs;      /* VP9, H264, AV1 beside VP8, and the dependency descriptor */
    bool manual;      /* slots are filled by subscribe only */
    unsigned publish; /* CTL_SOURCE_BITs; 0: all */
    bool data;        /* a data section */
    bool mute, blind; /* not allowed: to send data; to subscribe */
    bool sha512;      /* of the certificate's hash */
};

struct fake_got {
    uint32_t ssrc, ts;
    uint16_t seq;
    uint8_t pt;
    bool marker;
    uint64_t at_us, index;
    size_t len, wire_len;
    uint8_t payload[FAKE_BYTES_MAX], wire[FAKE_BYTES_MAX];
};

struct fake_slot {
    char mid[8];
    bool video;
    uint32_t ssrc, rtx;
};

struct fake_client {
    struct fake_room *w;
    char room[32], id[32], ufrag[16], pwd[32], s_ufrag[64], s_pwd[64];
    struct media_path path;
    struct dtls_srtp *dtls;
    struct srtp_sess *out, *in;
    bool open, deaf; /* deaf: nothing reaches it */
    unsigned drop_every, arrived;
    struct fake_slot slot[FAKE_SLOTS_MAX];
    unsigned n_slots;
    struct fake_got *got;
    unsigned n_got;
    uint8_t rtcp[32][FAKE_BYTES_MAX];
    size_t rtcp_len[32];
    unsigned n_rtcp;
    uint32_t ssrc, cam_ssrc;
    uint64_t seq, cam_seq;
    uint32_t ts;
    uint16_t twcc;
    enum ctl_err refused;
    char why[256];
    /* If set, sees each RTP packet for it; verdict: srtp_sess_unprotect()'s. */
    void (*seen)(struct fake_client *c, int verdict, const struct rtp_header *h, uint64_t index,
                 struct slice dgram);
};

/* A datagram on its way to a client. */
struct fake_mail {
    struct list link;
    struct fake_client *to;
    size_t len;
    uint8_t bytes[];
};

struct fake_room {
    struct list mail;
    struct sfu_conf conf;
    struct egress egress;
    struct sfu_core *core;
    struct dtls_srtp_ctx *ctx;
    struct worker *none;
    uint64_t now_us;
    struct fake_client *client[FAKE_CLIENTS_MAX];
    unsigned n_clients;
    struct {
        enum ctl_type type;
        char participant[65], text[160];
    } event[FAKE_EVENTS_MAX];
    unsigned n_events, rooms_gone;
    uint64_t out_pkts, out_bytes; /* what the core has sent */
    struct ctl_msg req, reply;
    uint64_t id;
};

/* ---- what the core sends ---- */

static void fake_rtp_in(struct fake_client *c, struct slice dgram)
{
    struct rtp_header h;
    struct fake_got *g = &c->got[c->n_got % FAKE_GOT_MAX];
    uint8_t plain[FAKE_BYTES_MAX];
    size_t len;

    if (!c->in || rtp_decode(&h, dgram) != 0)
        return;
    assert_true(dgram.len <= FAKE_BYTES_MAX);
    int e = srtp_sess_unprotect(c->in, dgram, h.header_len, h.ssrc, plain, &len, &g->index);
    if (c->seen)
        c->seen(c, e, &h, g->index, dgram);
    if (e == -EALREADY && c->n_got > 0) { /* a repetition: byte for byte, or the nonce is broken */
        for (unsigned i = 0; i < c->n_got && i < FAKE_GOT_MAX; i++)
            if (c->got[i].ssrc == h.ssrc && c->got[i].seq == h.seq) {
                assert_int_equal(c->got[i].wire_len, dgram.len);
                assert_memory_equal(c->got[i].wire, dgram.p, dgram.len);
            }
        return;
    }
    if (e == -ENOSPC && mem_failed()) /* the client's own memory was out */
        return;
    assert_int_equal(e, 0);
    g->ssrc = h.ssrc;
    g->ts = h.ts;
    g->seq = h.seq;
    g->pt = h.pt;
    g->marker = h.marker;
    g->at_us = c->w->now_us;
    g->len = len - h.header_len;
    memcpy(g->payload, plain + h.header_len, g->len);
    g->wire_len = dgram.len;
    memcpy(g->wire, dgram.p, dgram.len);
    c->n_got++;
}

static void fake_rtcp_in(struct fake_client *c, struct slice dgram)
{
    unsigned i = c->n_rtcp % 32;
    int e = srtp_sess_unprotect_rtcp(c->in, dgram, c->rtcp[i], &c->rtcp_len[i]);

    if (e == -ENOSPC && mem_failed())
        return;
    assert_int_equal(e, 0);
    c->n_rtcp++;
}

static void fake_deliver(struct fake_client *c, struct slice dgram);

static void fake_udp(void *arg, uint16_t sock, const struct addr *to, struct slice dgram)
{
    struct fake_room *w = arg;

    (void)sock;
    w->out_pkts++;
    w->out_bytes += dgram.len;
    for (unsigned i = 0; i < w->n_clients; i++)
        if (w->client[i] && addr_eq(&w->client[i]->path.remote, to)) {
            struct fake_mail *m = mem_zalloc(sizeof(*m) + dgram.len);

            if (!m) /* a test of failing allocations */
                return;
            m->to = w->client[i];
            m->len = dgram.len;
            memcpy(m->bytes, dgram.p, dgram.len);
            list_append(&w->mail, &m->link);
            return;
        }
}

static bool fake_tcp(void *arg, struct ice_tcp *tcp, struct slice packet)
{
    (void)arg;
    (void)tcp;
    (void)packet;
    return false;
}

static void fake_nothing(void *arg)
{
    (void)arg;
}

static const struct egress_ops fake_egress = {fake_udp, fake_tcp, fake_nothing, fake_nothing};

static void fake_event(void *arg, const struct ctl_msg *m)
{
    struct fake_room *w = arg;

    if (w->n_events == FAKE_EVENTS_MAX)
        w->n_events = 0;
    w->event[w->n_events].type = m->type;
    snprintf(w->event[w->n_events].participant, 65, "%.*s", SLICE_FMT(m->participant));
    char *t = w->event[w->n_events].text;
    t[0] = '\0';
    if (m->type == CTL_TRACK)
        snprintf(t, 160, "%d %.*s muted=%d", m->u.track.event, SLICE_FMT(m->u.track.track.track),
                 m->u.track.track.muted);
    else if (m->type == CTL_STATE)
        snprintf(t, 160, "%d", m->u.state.media);
    else if (m->type == CTL_SPEAKERS)
        snprintf(t, 160, "%.*s %zu", SLICE_FMT(m->u.speakers.dominant), m->u.speakers.n);
    else if (m->type == CTL_QUALITY)
        for (size_t i = 0, n = 0; i < m->u.quality.n && n < 140; i++)
            n +=
                (size_t)snprintf(t + n, 160 - n, "%.*s=%u ",
                                 SLICE_FMT(m->u.quality.v[i].participant), m->u.quality.v[i].score);
    else if (m->type == CTL_LAYERS)
        snprintf(t, 160, "%.*s wanted=%u mid=%.*s layer=%d pause=%d", SLICE_FMT(m->u.layers.track),
                 m->u.layers.wanted, SLICE_FMT(m->u.layers.mid), m->u.layers.layer,
                 m->u.layers.pause);
    w->n_events++;
    /* It must be a message that sori-server can read. */
    static uint8_t out[CTL_HEADER_BYTES + CTL_MESSAGE_MAX], scratch[CTL_MESSAGE_MAX];
    static struct ctl_msg again;
    struct wr o = wr_init(out, sizeof(out)), s = wr_init(scratch, sizeof(scratch));
    const char *why;
    ctl_encode(&o, m);
    struct slice text = wr_done(&o);
    assert_true(text.len > 0);
    if (!ctl_type_kept(m->type))
        assert_int_equal(ctl_decode(&again, slice_sub(text, 4, text.len), &s, &why), 0);
}

static void fake_gone(void *arg, struct slice room)
{
    struct fake_room *w = arg;

    (void)room;
    w->rooms_gone++;
}

static const struct core_ops fake_core_ops = {fake_event, fake_gone, fake_nothing};

/* ---- the world ---- */

static inline struct fake_room *fake_room_new(const char *conf)
{
    struct fake_room *w = mem_zalloc(sizeof(*w));
    char err[CONF_ERR_MAX];
    struct neg_candidate cand = {.addr = {.family = ADDR_V4, .ip = {127, 0, 0, 1}, .port = 7882}};

    assert_true(dtls_srtp_cert_ready());
    list_init(&w->mail);
    assert_int_equal(sfu_conf_load_text(&w->conf, slice_str(conf), "test", err), 0);
    w->now_us = 1000 * US_PER_S;
    assert_int_equal(egress_init(&w->egress, 1 << 20, &fake_egress, w), 0);
    struct core_params p = {.conf = &w->conf,
                            .ops = &fake_core_ops,
                            .arg = w,
                            .egress = &w->egress,
                            .candidate = &cand,
                            .n_candidates = 1,
                            .now_us = w->now_us,
                            .unix_us = UINT64_C(1800000000) * US_PER_S};
    struct dtls_fingerprint f = dtls_srtp_fingerprint(CRYPTO_SHA256);
    memcpy(p.fingerprint, f.digest, 32);
    w->core = sfu_core_new(&p);
    w->ctx = dtls_srtp_ctx_new();
    assert_non_null(w->core);
    assert_non_null(w->ctx);
    return w;
}

static inline void fake_client_free(struct fake_client *c)
{
    dtls_srtp_free(c->dtls);
    srtp_sess_free(c->in);
    srtp_sess_free(c->out);
    mem_free(c->got);
    mem_free(c);
}

static inline void fake_room_free(struct fake_room *w)
{
    sfu_core_free(w->core);
    egress_flush(&w->egress);
    LIST_EACH(it, tmp, &w->mail)
    mem_free(CONTAINER_OF(it, struct fake_mail, link));
    for (unsigned i = 0; i < w->n_clients; i++)
        fake_client_free(w->client[i]);
    dtls_srtp_ctx_free(w->ctx);
    egress_fini(&w->egress);
    sfu_conf_free(&w->conf);
    mem_free(w);
}

/* The end of a turn: what was sent arrives, and what is answered to it, too. */
static inline void fake_turn(struct fake_room *w)
{
    struct list *it;

    sfu_core_batch(w->core, w->now_us);
    egress_flush(&w->egress);
    while ((it = list_first(&w->mail))) {
        struct fake_mail *m = CONTAINER_OF(it, struct fake_mail, link);

        list_del(it);
        fake_deliver(m->to, slice_of(m->bytes, m->len));
        mem_free(m);
        sfu_core_batch(w->core, w->now_us);
        egress_flush(&w->egress);
    }
}

/* Lets time pass, with all that is due in it. */
static inline void fake_wait(struct fake_room *w, uint64_t us)
{
    uint64_t end = w->now_us + us;

    while (w->now_us < end) {
        uint64_t next = sfu_core_deadline(w->core);

        next = next <= w->now_us ? w->now_us + 1000 : next;
        w->now_us = next < end ? next : end;
        sfu_core_tick(w->core, w->now_us);
        fake_turn(w);
    }
}

/* ---- a client ---- */

static inline void fake_send(struct fake_client *c, struct slice dgram)
{
    uint8_t buf[2048];

    if (dgram.len)
        memcpy(buf, dgram.p, dgram.len);
    sfu_core_packet(c->w->core, &c->path, buf, dgram.len, c->w->now_us);
}

static void fake_dtls_out(void *arg, struct slice dgram)
{
    fake_send(arg, dgram);
}

static void fake_dtls_done(struct fake_client *c)
{
    struct dtls_srtp_keys k;

    if (c->open || dtls_srtp_state(c->dtls) != DTLS_SRTP_OPEN)
        return;
    assert_int_equal(dtls_srtp_keys(c->dtls, &k), 0);
    c->out = srtp_sess_new(k.profile, slice_of(k.local_key, k.key_len),
                           slice_of(k.local_salt, k.salt_len), SRTP_SESS_EVP, true);
    c->in = srtp_sess_new(k.profile, slice_of(k.remote_key, k.key_len),
                          slice_of(k.remote_salt, k.salt_len), SRTP_SESS_EVP, false);
    assert_non_null(c->out);
    assert_non_null(c->in);
    c->open = true;
}

static void fake_deliver(struct fake_client *c, struct slice dgram)
{
    uint8_t buf[2048];

    if (c->deaf || dgram.len < 2)
        return;
    memcpy(buf, dgram.p, dgram.len);
    if (buf[0] < 4)
        return; /* an answer to a check */
    if (buf[0] < 64) {
        if (!c->dtls)
            return;
        dtls_srtp_recv(c->dtls, buf, dgram.len, c->w->now_us);
        fake_dtls_done(c);
        return;
    }
    if (!c->in)
        return;
    if (rtp_is_rtcp(buf[0], buf[1])) {
        fake_rtcp_in(c, dgram);
        return;
    }
    c->arrived++;
    if (c->drop_every && c->arrived % c->drop_every == 0)
        return;
    fake_rtp_in(c, dgram);
}

static inline void fake_check(struct fake_client *c, bool nominate)
{
    uint8_t buf[256], tid[STUN_TID_BYTES] = {1, 2, 3};
    struct wr w = wr_init(buf, sizeof(buf));
    char name[128];

    snprintf(name, sizeof(name), "%s:%s", c->s_ufrag, c->ufrag);
    stun_begin(&w, stun_type(STUN_BINDING, STUN_REQUEST), tid);
    stun_put(&w, STUN_ATTR_USERNAME, slice_str(name));
    stun_put_u32(&w, (enum stun_attr_type)0x0024, 12345);
    stun_put(&w, (enum stun_attr_type)0x802A, slice_of("12345678", 8));
    if (nominate)
        stun_put(&w, (enum stun_attr_type)0x0025, (struct slice){0});
    stun_put_sha1(&w, slice_str(c->s_pwd));
    stun_put_fingerprint(&w);
    fake_send(c, wr_done(&w));
    fake_turn(c->w);
}

#define FAKE_CODEC(pt, rtx, name)                                                              \
    "a=rtpmap:" pt " " name "/90000\r\na=rtcp-fb:" pt " nack\r\na=rtcp-fb:" pt " nack pli\r\n" \
    "a=rtcp-fb:" pt " transport-cc\r\na=rtpmap:" rtx " rtx/90000\r\na=fmtp:" rtx " apt=" pt "\r\n"

static const char fake_codecs[] =
    FAKE_CODEC("98", "99", "VP9") "a=fmtp:98 profile-id=0\r\n" FAKE_CODEC(
        "102", "103",
        "H264") "a=fmtp:102 "
                "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id="
                "42e01f\r\n" FAKE_CODEC("45", "46",
                                        "AV1") "a=extmap:%d "
                                               "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-"
                                               "stream-id\r\n"
                                               "a=extmap:%d "
                                               "https://aomediacodec.github.io/av1-rtp-spec/"
                                               "#dependency-descriptor-rtp-header-extension\r\n";

static inline void fake_section(struct wr *w, struct fake_client *c, const struct fake_offer *o,
                                unsigned mid, bool video, bool send)
{
    char fp[DTLS_FINGERPRINT_TEXT_MAX];
    struct dtls_fingerprint f = dtls_srtp_fingerprint(o->sha512 ? CRYPTO_SHA512 : CRYPTO_SHA256);

    dtls_fingerprint_print(&f, fp);
    wr_fmt(w, "m=%s 9 UDP/TLS/RTP/SAVPF %s\r\nc=IN IP4 0.0.0.0\r\na=mid:%u\r\n",
           video ? "video" : "audio",
           video ? (o->codecs   ? "96 97 98 99 102 103 45 46"
                    : o->no_rtx ? "96"
                                : "96 97")
                 : (o->no_red ? "111 0" : "111 63 0"),
           mid);
    wr_fmt(w, "a=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:%s\r\na=setup:actpass\r\n", c->ufrag,
           c->pwd, fp);
    wr_fmt(w, "a=rtcp-mux\r\na=rtcp-rsize\r\na=%s\r\n", send ? "sendonly" : "recvonly");
    wr_fmt(w, "a=extmap:%d urn:ietf:params:rtp-hdrext:sdes:mid\r\n", FAKE_EXT_MID);
    if (!o->no_twcc)
        wr_fmt(w,
               "a=extmap:%d "
               "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n",
               FAKE_EXT_TWCC);
    if (!video) {
        wr_fmt(w, "a=extmap:%d urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on\r\n",
               FAKE_EXT_LEVEL);
        wr_str(w, "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n");
        if (!o->no_nack)
            wr_str(w, "a=rtcp-fb:111 nack\r\n");
        if (!o->no_red)
            wr_str(w, "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n");
        wr_str(w, "a=rtpmap:0 PCMU/8000\r\n");
    } else {
        wr_fmt(w, "a=extmap:%d urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n", FAKE_EXT_RID);
        wr_str(w, "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n"
                  "a=rtcp-fb:96 ccm fir\r\n");
        if (!o->no_twcc)
            wr_str(w, "a=rtcp-fb:96 transport-cc\r\n");
        if (!o->no_rtx)
            wr_str(w, "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n");
        if (o->codecs)
            wr_fmt(w, fake_codecs, FAKE_EXT_RRID, FAKE_EXT_DD);
    }
    if (!send)
        return;
    wr_fmt(w, "a=msid:s%s t%u\r\n", c->id, mid);
    if (!video || o->layers == 0) {
        wr_fmt(w, "a=ssrc:%u cname:x\r\n", video ? c->cam_ssrc : c->ssrc);
        return;
    }
    for (unsigned i = 0; i < o->layers; i++)
        wr_fmt(w, "a=rid:l%u send\r\n", i);
    wr_str(w, "a=simulcast:send ");
    for (unsigned i = 0; i < o->layers; i++)
        wr_fmt(w, "%sl%u", i ? ";" : "", i);
    wr_str(w, "\r\n");
}

static inline struct slice fake_sdp(struct fake_client *c, const struct fake_offer *o, char *buf)
{
    struct wr w = wr_init(buf, FAKE_TEXT_MAX);
    unsigned n = o->mic + o->cam + o->audio + o->video + o->data, mid = 0;

    wr_str(&w, "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE");
    for (unsigned i = 0; i < n; i++)
        wr_fmt(&w, " %u", i);
    wr_str(&w, "\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n");
    if (o->mic)
        fake_section(&w, c, o, mid++, false, true);
    if (o->cam)
        fake_section(&w, c, o, mid++, true, true);
    for (unsigned i = 0; i < o->audio; i++)
        fake_section(&w, c, o, mid++, false, false);
    for (unsigned i = 0; i < o->video; i++)
        fake_section(&w, c, o, mid++, true, false);
    if (o->data)
        wr_fmt(&w,
               "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n"
               "a=mid:%u\r\na=sctp-port:5000\r\n",
               mid);
    assert_false(w.bad);
    return wr_done(&w);
}

static inline void fake_line(const char *text, const char *key, char *out, size_t cap)
{
    const char *at = strstr(text, key);

    assert_non_null(at);
    at += strlen(key);
    size_t n = strcspn(at, "\r\n ");
    assert_true(n < cap);
    memcpy(out, at, n);
    out[n] = '\0';
}

/* The slots of an answer: sections that the SFU sends in, with their SSRCs. */
static inline void fake_read_answer(struct fake_client *c, const char *sdp)
{
    c->n_slots = 0;
    for (const char *m = strstr(sdp, "m="); m;) {
        const char *next = strstr(m + 2, "\nm=");
        size_t len = next ? (size_t)(next + 1 - m) : strlen(m);
        char section[8192];

        assert_true(len < sizeof(section));
        memcpy(section, m, len);
        section[len] = '\0';
        if (strstr(section, "a=sendonly")) {
            struct fake_slot *s = &c->slot[c->n_slots++];
            char ssrc[16];

            *s = (struct fake_slot){.video = strncmp(section, "m=video", 7) == 0};
            fake_line(section, "a=mid:", s->mid, sizeof(s->mid));
            fake_line(section, "a=ssrc:", ssrc, sizeof(ssrc));
            s->ssrc = (uint32_t)strtoul(ssrc, NULL, 10);
            static const char group[] = "a=ssrc-group:FID ";
            const char *fid = strstr(section, group);

            if (fid) {
                fid += strlen(group);
                s->ssrc = (uint32_t)strtoul(fid, NULL, 10);
                s->rtx = (uint32_t)strtoul(strchr(fid, ' '), NULL, 10);
            }
        }
        m = next ? next + 1 : NULL;
    }
}

static inline void fake_request(struct fake_room *w, struct fake_client *c, enum ctl_type type)
{
    w->req.type = type;
    w->req.kind = CTL_KIND_REQUEST;
    w->req.id = ++w->id;
    w->req.room = slice_str(c->room);
    w->req.participant = slice_str(c->id);
    sfu_core_request(w->core, &w->req, &w->reply, w->now_us);
    fake_turn(w);
}

/* Sends the offer as a join (or a later offer), takes the answer. False: refused. */
static inline bool fake_offer_it(struct fake_client *c, const struct fake_offer *o, bool join)
{
    static char sdp[FAKE_TEXT_MAX], answer[2 * FAKE_TEXT_MAX];
    struct fake_room *w = c->w;

    memset(&w->req, 0, sizeof(w->req));
    struct slice text = fake_sdp(c, o, sdp);
    if (join) {
        w->req.u.join.offer.text = text;
        w->req.u.join.perms =
            (struct ctl_perms){.publish = o->publish ? o->publish : CTL_SOURCES_ALL,
                               .subscribe = !o->blind,
                               .data = !o->mute};
        w->req.u.join.auto_audio = w->req.u.join.auto_video = !o->manual;
    } else {
        w->req.u.offer.offer.text = text;
    }
    fake_request(w, c, join ? CTL_JOIN : CTL_OFFER);
    if (w->reply.kind == CTL_KIND_ERROR) {
        c->refused = w->reply.u.error.code;
        snprintf(c->why, sizeof(c->why), "%.*s", SLICE_FMT(w->reply.u.error.text));
        return false;
    }
    slice_to_cstr(w->reply.u.joined.answer.text, answer, sizeof(answer));
    fake_line(answer, "a=ice-ufrag:", c->s_ufrag, sizeof(c->s_ufrag));
    fake_line(answer, "a=ice-pwd:", c->s_pwd, sizeof(c->s_pwd));
    fake_read_answer(c, answer);
    return true;
}

static inline void fake_connect(struct fake_client *c)
{
    struct dtls_fingerprint f = dtls_srtp_fingerprint(CRYPTO_SHA256);
    struct dtls_srtp_conf conf = {
        .client = true, .remote = &f, .n_remote = 1, .send = fake_dtls_out, .arg = c};

    dtls_srtp_free(c->dtls);
    srtp_sess_free(c->in);
    srtp_sess_free(c->out);
    c->in = c->out = NULL;
    c->open = false;
    fake_check(c, true);
    c->dtls = dtls_srtp_new(c->w->ctx, &conf, c->w->now_us);
    assert_non_null(c->dtls);
    for (int i = 0; i < 20 && !c->open; i++) {
        fake_turn(c->w);
        fake_wait(c->w, 1000);
    }
    assert_true(c->open);
    fake_wait(c->w, 2000);
}

static inline struct fake_client *fake_client_new(struct fake_room *w, const char *room,
                                                  const char *id)
{
    struct fake_client *c = mem_zalloc(sizeof(*c));
    unsigned n = w->n_clients;

    assert_true(n < FAKE_CLIENTS_MAX);
    c->w = w;
    c->got = mem_calloc(FAKE_GOT_MAX, sizeof(*c->got));
    snprintf(c->room, sizeof(c->room), "%s", room);
    snprintf(c->id, sizeof(c->id), "%s", id);
    snprintf(c->ufrag, sizeof(c->ufrag), "uf%03u", n);
    snprintf(c->pwd, sizeof(c->pwd), "passwordpassword%08u", n);
    c->path.remote = (struct addr){.family = ADDR_V4,
                                   .ip = {10, 0, (uint8_t)(n >> 8), (uint8_t)n},
                                   .port = (uint16_t)(5000 + n)};
    c->ssrc = 1000 + n;
    c->cam_ssrc = 2000 + n;
    c->seq = 100;
    c->cam_seq = 500;
    w->client[w->n_clients++] = c;
    return c;
}

static inline struct fake_client *fake_join(struct fake_room *w, const char *room, const char *id,
                                            const struct fake_offer *o)
{
    struct fake_client *c = fake_client_new(w, room, id);

    if (!fake_offer_it(c, o, true))
        print_error("join refused: %s\n", c->why);
    assert_int_equal(c->refused, CTL_OK);
    fake_connect(c);
    return c;
}

/* ---- media ---- */

struct fake_rtp {
    uint32_t ssrc, ts;
    uint64_t index;
    uint8_t pt;
    bool marker;
    int level; /* -1: none */
    const char *mid, *rid;
    bool numbered; /* with a transport-wide number */
};

/* Protects a packet; gives its bytes on the wire. */
static inline size_t fake_protect(struct fake_client *c, const struct fake_rtp *r,
                                  struct slice payload, uint8_t out[2048])
{
    uint8_t head[128];
    struct wr w = wr_init(head, sizeof(head));
    struct rtp_header h = {
        .marker = r->marker, .pt = r->pt, .seq = (uint16_t)r->index, .ts = r->ts, .ssrc = r->ssrc};
    bool ext = r->level >= 0 || r->mid || r->rid || r->numbered;
    struct rtp_ext_wr x;

    rtp_put_header(&w, &h, ext);
    if (ext) {
        uint8_t level = (uint8_t)(0x80 | r->level),
                number[2] = {(uint8_t)(c->twcc >> 8), (uint8_t)c->twcc};
        rtp_ext_begin(&x, &w, false);
        if (r->level >= 0)
            rtp_ext_put(&x, FAKE_EXT_LEVEL, slice_of(&level, 1));
        if (r->mid)
            rtp_ext_put(&x, FAKE_EXT_MID, slice_str(r->mid));
        if (r->rid)
            rtp_ext_put(&x, FAKE_EXT_RID, slice_str(r->rid));
        if (r->numbered) {
            rtp_ext_put(&x, FAKE_EXT_TWCC, slice_of(number, 2));
            c->twcc++;
        }
        rtp_ext_end(&x);
    }
    return srtp_sess_protect(c->out, r->index, wr_done(&w), payload, (struct slice){0}, out);
}

static inline void fake_rtp_out(struct fake_client *c, const struct fake_rtp *r,
                                struct slice payload)
{
    uint8_t out[2048];
    size_t n = fake_protect(c, r, payload, out);

    fake_send(c, slice_of(out, n));
}

/* One Opus packet of 20 ms; time does not pass. */
static inline void fake_talk(struct fake_client *c, int level, const void *payload, size_t len)
{
    struct fake_rtp r = {
        .ssrc = c->ssrc, .ts = c->ts, .index = c->seq++, .pt = FAKE_PT_OPUS, .level = level};

    c->ts += 960;
    fake_rtp_out(c, &r, slice_of(payload, len));
    fake_turn(c->w);
}

/* A VP8 frame of one packet; key or not. */
static inline void fake_frame(struct fake_client *c, uint32_t ssrc, const char *mid,
                              const char *rid, uint64_t index, uint32_t ts, uint16_t pid, bool key,
                              size_t size)
{
    uint8_t p[1200] = {
        0x90, 0x80, (uint8_t)(0x80 | pid >> 8), (uint8_t)pid, key ? 0x10 : 0x11, 0, 0, 0x9d,
        0x01, 0x2a};
    struct fake_rtp r = {.ssrc = ssrc,
                         .ts = ts,
                         .index = index,
                         .pt = FAKE_PT_VP8,
                         .marker = true,
                         .level = -1,
                         .mid = mid,
                         .rid = rid,
                         .numbered = true};

    fake_rtp_out(c, &r, slice_of(p, size < sizeof(p) ? size : sizeof(p)));
    fake_turn(c->w);
}

static inline void fake_rtcp_out(struct fake_client *c, struct slice compound)
{
    uint8_t out[2048];
    size_t n = srtp_sess_protect_rtcp(c->out, compound, out);

    fake_send(c, slice_of(out, n));
    fake_turn(c->w);
}

static inline void fake_nack(struct fake_client *c, uint32_t media, uint16_t seq)
{
    uint8_t buf[64];
    struct wr w = wr_init(buf, sizeof(buf));

    rtcp_put_nack(&w, c->ssrc, media, &seq, 1);
    fake_rtcp_out(c, wr_done(&w));
}

/* A receiver report with this loss (of 256) about a slot. */
static inline void fake_loss(struct fake_client *c, uint32_t ssrc, uint8_t fraction)
{
    uint8_t buf[128];
    struct wr w = wr_init(buf, sizeof(buf));
    struct rtcp_report r = {.ssrc = c->ssrc, .n = 1};

    r.v[0] = (struct rtcp_block){.ssrc = ssrc, .fraction_lost = fraction};
    rtcp_put_rr(&w, &r);
    fake_rtcp_out(c, wr_done(&w));
}

/* Whether the client was sent an RTCP packet of this type and FMT, and how many. */
static inline unsigned fake_rtcp_count(const struct fake_client *c, uint8_t type, int fmt)
{
    unsigned n = 0;

    for (unsigned i = 0; i < c->n_rtcp && i < 32; i++) {
        struct rd r = rd_init(slice_of(c->rtcp[i], c->rtcp_len[i]));
        struct rtcp_packet p;

        while (rtcp_next(&r, &p) == 1)
            n += p.type == type && (fmt < 0 || p.count == fmt);
    }
    return n;
}

static inline unsigned fake_events(const struct fake_room *w, enum ctl_type type, const char *who,
                                   const char *part)
{
    unsigned n = 0;

    for (unsigned i = 0; i < w->n_events; i++)
        n += w->event[i].type == type && (!who || strcmp(w->event[i].participant, who) == 0) &&
             (!part || strstr(w->event[i].text, part));
    return n;
}

#endif
