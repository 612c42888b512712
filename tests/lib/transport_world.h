/* Transports of one worker and their clients, without a network: what is sent lies in an outbox,
 * time is a variable (OpenSSL asks for it here, too: include this in one file of a program).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_TRANSPORT_WORLD_H
#define SORI_TESTS_LIB_TRANSPORT_WORLD_H

#include <sys/time.h>

#include "sfu/demux.h"
#include "tests/lib/dtls_peer.h"
#include "tests/lib/ice_check.h"

#define WORLD_START_US UINT64_C(1700000000000000)
#define WORLD_SRTP     "SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM"

enum { WORLD_OUT = 256, WORLD_STATES = 16 };

static uint64_t world_now_us = WORLD_START_US;

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
    (void)tz;
    tv->tv_sec = (time_t)(world_now_us / US_PER_S);
    tv->tv_usec = (suseconds_t)(world_now_us % US_PER_S);
    return 0;
}

struct world_packet {
    struct media_path to;
    size_t len;
    uint8_t p[EGRESS_PACKET_MAX];
};

struct world {
    struct egress egress;
    struct demux *d;
    struct world_packet out[WORLD_OUT];
    unsigned n_out;
};

struct client {
    struct world *w;
    struct transport *t;
    struct dtls_peer peer;
    bool peer_is_server, data;
    struct media_path at; /* where it sends from */
    struct srtp_sess *in, *out;
    enum transport_state states[WORLD_STATES]; /* as told */
    unsigned n_states, paths_told;
    uint8_t tid;
};

static void world_put(struct world *w, const struct media_path *to, struct slice p)
{
    if (w->n_out == WORLD_OUT)
        abort();
    struct world_packet *o = &w->out[w->n_out++];
    o->to = *to;
    o->len = p.len;
    memcpy(o->p, p.p, p.len);
}

static void world_udp(void *arg, uint16_t sock, const struct addr *to, struct slice dgram)
{
    world_put(arg, &(struct media_path){.remote = *to, .sock = sock}, dgram);
}

static bool world_tcp(void *arg, struct ice_tcp *tcp, struct slice packet)
{
    world_put(arg, &(struct media_path){.tcp = tcp}, packet);
    return true;
}

static void world_nothing(void *arg)
{
    (void)arg;
}

static void world_state(void *user, struct transport *t, enum transport_state s)
{
    struct client *c = user;

    (void)t;
    if (c->n_states == WORLD_STATES)
        abort();
    c->states[c->n_states++] = s;
}

static void world_path(void *user, struct transport *t, const struct media_path *p)
{
    struct client *c = user;

    (void)t, (void)p;
    c->paths_told++;
}

static const struct egress_ops world_egress = {world_udp, world_tcp, world_nothing, world_nothing};
static const struct transport_ops world_ops = {world_state, NULL, world_path};

/* Returns false without memory. */
static inline bool world_open(struct world *w, const struct demux_conf *conf)
{
    struct demux_conf c = conf ? *conf : (struct demux_conf){0};

    *w = (struct world){0};
    c.ops = &world_ops;
    c.egress = &w->egress;
    if (egress_init(&w->egress, 64 * 1024, &world_egress, w) != 0)
        return false;
    w->d = demux_new(&c, world_now_us);
    if (!w->d)
        egress_fini(&w->egress);
    return w->d != NULL;
}

static inline void world_close(struct world *w)
{
    demux_free(w->d);
    egress_fini(&w->egress);
}

static inline struct media_path world_at(uint8_t host, uint16_t port)
{
    return (struct media_path){.remote = {.ip = {10, 0, 0, host}, .port = port, .family = ADDR_V4}};
}

static inline int client_describe(struct client *c)
{
    struct dtls_fingerprint f = dtls_peer_fingerprint(&c->peer, CRYPTO_SHA256);
    const struct transport_remote r = {
        .fingerprint = &f, .n_fingerprints = 1, .dtls_client = c->peer_is_server, .data = c->data};
    return transport_set_remote(c->t, &r, world_now_us);
}

/* A client that has not described itself yet. Returns false without memory. */
static inline bool client_open(struct client *c, struct world *w, struct media_path at,
                               const struct dtls_peer_conf *pc, bool data)
{
    const struct dtls_peer_conf usual = {.profiles = WORLD_SRTP};

    *c = (struct client){.w = w, .at = at, .peer_is_server = pc && pc->server, .data = data};
    dtls_peer_open(&c->peer, pc ? pc : &usual);
    c->t = demux_add(w->d, c, world_now_us);
    return c->t != NULL;
}

static inline void client_close(struct client *c)
{
    demux_del(c->w->d, c->t);
    dtls_peer_close(&c->peer);
    srtp_sess_free(c->in);
    srtp_sess_free(c->out);
    *c = (struct client){0};
}

static inline enum transport_verdict world_recv(struct world *w, struct media_path from,
                                                const void *p, size_t len, struct transport **t,
                                                struct transport_in *in)
{
    static uint8_t buf[65536];

    if (len > 0)
        memcpy(buf, p, len);
    return demux_recv(w->d, &from, buf, len, world_now_us, t, in);
}

static inline enum transport_verdict client_check_from(struct client *c, struct media_path from,
                                                       const struct ice_check *how)
{
    uint8_t buf[256];
    struct ice_check check = how ? *how : (struct ice_check){0};
    struct transport *t;
    struct transport_in in;

    if (check.ufrag.len == 0) {
        check.ufrag = transport_ufrag(c->t);
        check.pwd = transport_pwd(c->t);
    }
    check.tid = ++c->tid;
    struct slice m = ice_check_make(&check, buf, sizeof(buf));
    return world_recv(c->w, from, m.p, m.len, &t, &in);
}

static inline enum transport_verdict client_check(struct client *c, bool nominate)
{
    return client_check_from(c, c->at, &(struct ice_check){.nominate = nominate});
}

/* Carries DTLS both ways until nothing more is under way. */
static inline void client_pump(struct client *c)
{
    struct transport *t;
    struct transport_in in;

    for (unsigned round = 0; round < 16; round++) {
        bool moved = false;
        for (unsigned i = 0; i < c->peer.n_out; i++, moved = true)
            world_recv(c->w, c->at, c->peer.out[i].p, c->peer.out[i].len, &t, &in);
        c->peer.n_out = 0;
        for (unsigned i = 0; i < c->w->n_out; i++) {
            struct world_packet *o = &c->w->out[i];
            if (o->p[0] >= 20 && o->p[0] <= 63 && media_path_eq(&o->to, &c->at)) {
                dtls_peer_take(&c->peer, slice_of(o->p, o->len));
                moved = true;
            }
        }
        c->w->n_out = 0;
        if (!moved)
            break;
    }
}

/* Makes the client's SRTP of the keys that its DTLS gave. */
static inline void client_keys(struct client *c)
{
    struct dtls_srtp_keys k = dtls_peer_keys(&c->peer);

    if (k.profile == 0)
        return;
    c->out = srtp_sess_new((enum srtp_sess_profile)k.profile, slice_of(k.local_key, k.key_len),
                           slice_of(k.local_salt, k.salt_len), SRTP_SESS_EVP, true);
    c->in = srtp_sess_new((enum srtp_sess_profile)k.profile, slice_of(k.remote_key, k.key_len),
                          slice_of(k.remote_salt, k.salt_len), SRTP_SESS_EVP, false);
}

/* Description, one check, handshake. True when connected. */
static inline bool client_connect(struct client *c)
{
    if (client_describe(c) != 0 || client_check(c, true) != TRANSPORT_HANDLED)
        return false;
    if (!c->peer_is_server)
        dtls_peer_take(&c->peer, (struct slice){0});
    client_pump(c);
    if (!c->peer.done)
        return false;
    client_keys(c);
    return transport_state(c->t) == TRANSPORT_CONNECTED;
}

/* Writes one RTP packet of the client with this sequence number, protected. Returns its length. */
static inline size_t client_rtp(struct client *c, uint16_t seq, uint8_t *out)
{
    uint8_t head[12];
    struct wr w = wr_init(head, sizeof(head));

    wr_be16(&w, 0x806f);
    wr_be16(&w, seq);
    wr_be32(&w, seq * 960u);
    wr_be32(&w, 0xabcd0001);
    return srtp_sess_protect(c->out, seq, wr_done(&w), SLICE_LIT("some"), SLICE_LIT("voice"), out);
}

/* Sends it from `from`. Returns 0, the error of transport_open_rtp(), or 1: dropped before. */
static inline int client_send_rtp(struct client *c, struct media_path from, uint16_t seq)
{
    uint8_t buf[256], plain[256];
    struct transport *t;
    struct transport_in in;
    size_t n = client_rtp(c, seq, buf), len;
    uint64_t index;

    if (world_recv(c->w, from, buf, n, &t, &in) != TRANSPORT_RTP || t != c->t)
        return 1;
    int err = transport_open_rtp(t, &in, plain, &len, &index);
    return err ? err : len == 21 && index == seq && memcmp(plain + 12, "somevoice", 9) == 0 ? 0 : 2;
}

/* The last packet in the outbox, NULL when it is empty. */
static inline struct world_packet *world_last(struct world *w)
{
    return w->n_out ? &w->out[w->n_out - 1] : NULL;
}

static inline uint64_t world_drops(const struct world *w, enum transport_drop why)
{
    return counter_get(&demux_stats(w->d)->drop[why]);
}

/* Lets time pass, ticking whenever something is due. */
static inline void world_pass(struct world *w, uint64_t us)
{
    uint64_t end = world_now_us + us;

    while (demux_deadline(w->d) <= end) {
        uint64_t at = demux_deadline(w->d);
        world_now_us = at > world_now_us ? at : world_now_us;
        demux_tick(w->d, world_now_us);
        if (at <= world_now_us && demux_deadline(w->d) <= world_now_us)
            world_now_us += US_PER_MS; /* the wheel's resolution */
    }
    world_now_us = end > world_now_us ? end : world_now_us;
    demux_tick(w->d, world_now_us);
}

#endif
