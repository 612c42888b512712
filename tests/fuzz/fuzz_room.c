/* A whole room under a script: three clients that published what they may, and whatever they send.
 *
 * a: microphone, and a camera with three simulcast layers; b: microphone, one camera stream, muted;
 * c: listens. The script's bytes are plaintext that the clients protect with their sessions (RTP of
 * any header, extensions and payload; RTCP compounds), datagrams as they are, changed or repeated
 * ones, requests of sori-server, time. What must be true:
 *
 *   - nothing crashes, nothing is leaked
 *   - what was not authentic is never forwarded
 *   - each client can open each packet, and no (SSRC, index) carries two different packets
 *   - one packet in brings about receivers packets out; repeats have budgets
 *   - tracks, slots, gauges agree
 *
 * A first byte with bit 1 makes a's handshake a real one; else keys are given, which is faster.
 * SPDX-License-Identifier: BSD-3-Clause */
#define FAKE_ROOM_ABORTS
#define FAKE_GOT_MAX 32
#include "tests/lib/fake_room.h"

#include "base/hash.h"
#include "sfu/transport_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    CLIENTS = 3,
    STEPS_MAX = 96,
    SEEN = 1 << 14, /* packets of one input that are remembered */
    FILL_MAX = 1100,
    BURST_MAX = 40,     /* packets that one may cause beside its receivers: reports, RED, pacer */
    TIME_PKTS = 40000,  /* a second's worth of packets that time may bring: padding, reports */
    REQUEST_PKTS = 400, /* what one request may cause */
};

static const struct fake_offer offers[CLIENTS] = {
    {.mic = true, .cam = true, .audio = 2, .video = 2, .layers = 3, .codecs = true},
    {.mic = true, .cam = true, .audio = 3, .video = 1, .codecs = true, .no_red = true},
    {.audio = 2, .video = 2, .codecs = true},
};
static const uint8_t video_pt[] = {FAKE_PT_VP8, FAKE_PT_VP9, FAKE_PT_H264, FAKE_PT_AV1};

static struct fake_room *w;
static struct fake_client *client[CLIENTS];
static uint8_t last[2048]; /* the datagram that was sent last, by whom */
static size_t last_len;
static bool lazy; /* packets gather before they are forwarded */

/* Which bytes went out under a number. */
static struct seen {
    uint64_t key, hash;
} seen[SEEN];

static void turn(void)
{
    if (!lazy || w->core->n_news > CORE_NEWS_MAX / 2)
        fake_turn(w);
}

/* ---- what must be true ---- */

static void on_rtp(struct fake_client *c, int verdict, const struct rtp_header *h, uint64_t index,
                   struct slice dgram)
{
    const uint64_t id[] = {(uint64_t)(uintptr_t)c->in, h->ssrc, index};
    uint64_t key = hash_bytes(slice_of(id, sizeof(id))) | 1, hash = hash_bytes(dgram);

    if (verdict == -EALREADY)
        return; /* fake_rtp_in() compares those */
    if (verdict != 0)
        abort();
    for (unsigned i = 0; i < 8; i++) {
        struct seen *s = &seen[(key + i) % SEEN];

        if (s->key == 0)
            *s = (struct seen){key, hash};
        if (s->key != key)
            continue;
        if (s->hash != hash)
            abort();
        break;
    }
}

static bool has(const struct producer *t, const struct consumer *c)
{
    for (unsigned i = 0; i < t->n_consumers; i++)
        if (t->consumer[i] == c)
            return true;
    return false;
}

static unsigned check_peer(const struct room *r, const struct peer *p)
{
    for (unsigned i = 0; i < p->n_slots; i++) {
        const struct consumer *c = p->slot[i];

        if (c->peer != p)
            abort();
        if (c->source && (c->source->room != r || !has(c->source, c)))
            abort();
    }
    for (unsigned i = 0; i < p->n_ssrc; i++)
        if (p->ssrc[i].stream->track->peer != p)
            abort();
    return p->n_slots;
}

static void check_track(const struct room *r, const struct producer *t)
{
    if (t->room != r)
        abort();
    for (unsigned i = 0; i < t->n_consumers; i++)
        if (t->consumer[i]->source != t)
            abort();
}

static void check_rooms(void)
{
    const struct core_counters *n = &w->core->count;
    unsigned rooms = 0, members = 0, tracks = 0;
    size_t pos = 0;
    struct hnode *saved = NULL, *it;

    while ((it = htable_walk(&w->core->rooms, &pos, &saved))) {
        const struct room *r = CONTAINER_OF(it, struct room, node);
        unsigned of_members = 0;

        if (r->n_members == 0)
            abort();
        for (unsigned i = 0; i < r->n_members; i++) {
            const struct participant *p = r->member[i];

            if (p->room != r || p->place != i)
                abort();
            of_members += p->n_tracks;
            for (unsigned k = 0; k < PEER_MAX; k++)
                if (p->peer[k])
                    (void)check_peer(r, p->peer[k]);
        }
        for (unsigned i = 0; i < r->n_tracks; i++)
            check_track(r, r->track[i]);
        if (of_members != r->n_tracks)
            abort();
        rooms++;
        members += r->n_members;
        tracks += r->n_tracks;
    }
    if (rooms != w->core->census->rooms || members != w->core->census->participants ||
        counter_get(&n->rooms) != rooms || counter_get(&n->participants) != members ||
        counter_get(&n->tracks) != tracks)
        abort();
}

/* ---- clients ---- */

static struct transport *transport_of(const struct fake_client *c)
{
    struct room *r = room_find(w->core, slice_str(c->room));
    struct participant *p = r ? room_member(r, slice_str(c->id)) : NULL;

    return p && p->peer[0] ? p->peer[0]->transport : NULL;
}

/* Sessions with keys that no handshake agreed on. */
static void give_keys(struct fake_client *c)
{
    static uint32_t generation;
    struct transport *t = transport_of(c);
    uint8_t to[16] = {1}, from[16] = {2}, salt[12] = {3};

    if (!t || !t->selected || t->state != TRANSPORT_CHECKING)
        return;
    generation++;
    memcpy(to + 4, &generation, sizeof(generation));
    memcpy(from + 4, &generation, sizeof(generation));
    const struct slice k = slice_of(to, 16), l = slice_of(from, 16), s = slice_of(salt, 12);
    t->in = srtp_sess_new(SRTP_SESS_GCM_128, l, s, SRTP_SESS_EVP, false);
    t->out = srtp_sess_new(SRTP_SESS_GCM_128, k, s, SRTP_SESS_EVP, true);
    t->profile = SRTP_SESS_GCM_128;
    c->in = srtp_sess_new(SRTP_SESS_GCM_128, k, s, SRTP_SESS_EVP, false);
    c->out = srtp_sess_new(SRTP_SESS_GCM_128, l, s, SRTP_SESS_EVP, true);
    t->heard_us = w->now_us;
    t->state = TRANSPORT_CONNECTED;
    t->d->conf.ops->state(t->user, t, TRANSPORT_CONNECTED);
    c->open = true;
}

static void forget(struct fake_client *c)
{
    dtls_srtp_free(c->dtls);
    srtp_sess_free(c->in);
    srtp_sess_free(c->out);
    c->dtls = NULL;
    c->in = c->out = NULL;
    c->open = false;
    c->n_got = c->n_rtcp = 0;
}

static void join(struct fake_client *c, const struct fake_offer *o, bool real)
{
    forget(c);
    if (!fake_offer_it(c, o, true))
        return;
    if (real) {
        fake_connect(c);
        return;
    }
    fake_check(c, true);
    give_keys(c);
    fake_wait(w, 2000);
}

/* ---- media ---- */

static void send(struct fake_client *c, struct slice dgram)
{
    memcpy(last, dgram.p, dgram.len);
    last_len = dgram.len;
    fake_send(c, dgram);
    turn();
}

static uint32_t stream_ssrc(const struct fake_client *c, uint8_t which)
{
    switch (which % 8) {
    case 0:
    case 1:
        return c->ssrc;
    case 2:
        return c->cam_ssrc;
    case 3:
    case 4:
    case 5:
        return 3000 + which % 8 + 10 * c->cam_ssrc; /* simulcast layers: found by their rids */
    case 6:
        return 4000 + c->cam_ssrc; /* retransmissions */
    default:
        return client[(which >> 3) % CLIENTS]->ssrc; /* somebody else's, or a stranger's */
    }
}

static uint64_t *stream_index(uint8_t who, uint8_t which)
{
    static uint64_t index[CLIENTS][8];

    return &index[who % CLIENTS][which % 8];
}

/* A packet of any header and extension: pt, flags, step of the number, of the time; extension,
 * payload, filling. */
static void raw_rtp(uint8_t who, struct rd *in)
{
    struct fake_client *c = client[who % CLIENTS];
    uint8_t which = rd_u8(in), pt = rd_u8(in), flags = rd_u8(in);
    int8_t step = (int8_t)rd_u8(in);
    uint8_t ts = rd_u8(in);
    struct slice ext = rd_take(in, rd_u8(in) & 0x3f), payload = rd_take(in, rd_u8(in));
    uint64_t *index = stream_index(who, which);
    uint8_t head[128], body[256 + FILL_MAX] = {0}, out[2048];
    struct wr h = wr_init(head, sizeof(head));

    if (!c->out || in->bad)
        return;
    if (flags & 1)
        *index += (uint64_t)(int64_t)(step * 256);
    else
        *index += (uint64_t)(int64_t)(step / 16 + 1);
    *index &= UINT64_C(0xffffffffffff);
    wr_u8(&h, (uint8_t)(0x80 | (flags & 2 ? 0x20 : 0) | (ext.len ? 0x10 : 0) | (flags >> 6)));
    wr_u8(&h, (uint8_t)((flags & 4 ? 0x80 : 0) | (pt & 0x7f)));
    wr_be16(&h, (uint16_t)*index);
    wr_be32(&h, (uint32_t)(*index * 960) + ts * 480u);
    wr_be32(&h, stream_ssrc(c, which));
    for (unsigned i = 0; i < flags >> 6; i++)
        wr_be32(&h, i);
    if (ext.len) {
        wr_be16(&h, flags & 8 ? 0x1000 : 0xBEDE);
        wr_be16(&h, (uint16_t)((ext.len + 3) / 4));
        wr_bytes(&h, ext);
        while ((h.len & 3) != 0)
            wr_u8(&h, 0);
    }
    if (payload.len)
        memcpy(body, payload.p, payload.len);
    size_t len = payload.len + (flags & 16 ? FILL_MAX : 0);
    send(c, slice_of(out, srtp_sess_protect(c->out, *index, wr_done(&h), slice_of(body, len),
                                            (struct slice){0}, out)));
}

/* Something that a client would send: it brings a script far. */
static void nice_rtp(uint8_t who, struct rd *in)
{
    static const char *const rids[] = {"l0", "l1", "l2"};
    struct fake_client *c = client[who % CLIENTS];
    uint8_t which = rd_u8(in), arg = rd_u8(in);
    struct slice payload = rd_take(in, rd_u8(in) & 0x3f);
    bool video = which % 8 >= 2 && which % 8 < 6;
    uint64_t *index = stream_index(who, which);
    uint8_t body[64 + FILL_MAX] = {0x90, 0x80, 0x80, (uint8_t)*index, arg & 1 ? 0x10 : 0x11, 0, 0,
                                   0x9d, 0x01, 0x2a};
    struct fake_rtp r = {.ssrc = stream_ssrc(c, which),
                         .ts = (uint32_t)*index * (video ? 3000 : 960),
                         .index = *index,
                         .pt = video        ? video_pt[arg >> 6]
                               : arg & 0x40 ? FAKE_PT_RED
                                            : FAKE_PT_OPUS,
                         .marker = video,
                         .level = video ? -1 : arg & 0x3f,
                         .mid = video ? "1" : NULL,
                         .rid = video && which % 8 > 2 ? rids[which % 8 - 3] : NULL,
                         .numbered = true};

    if (!c->out)
        return;
    *index = (*index + 1) & UINT64_C(0xffffffffffff);
    size_t at = video && r.pt == FAKE_PT_VP8 ? 10 : 0;
    if (payload.len)
        memcpy(body + at, payload.p, payload.len);
    uint8_t out[2048];
    size_t n = fake_protect(c, &r, slice_of(body, at + payload.len + (arg & 2 ? 900 : 0)), out);
    send(c, slice_of(out, n));
}

static void rtcp(uint8_t who, struct rd *in)
{
    struct fake_client *c = client[who % CLIENTS];
    struct slice body = rd_take(in, rd_u8(in));
    uint8_t out[512];

    if (c->out && body.len >= 8)
        send(c, slice_of(out, srtp_sess_protect_rtcp(c->out, body, out)));
}

/* Feedback about what the client really got. */
static void feedback(uint8_t who, struct rd *in)
{
    struct fake_client *c = client[who % CLIENTS];
    uint8_t how = rd_u8(in), arg = rd_u8(in), buf[512], out[600];
    struct wr f = wr_init(buf, sizeof(buf));
    const struct fake_got *g = c->n_got ? &c->got[(c->n_got - 1) % FAKE_GOT_MAX] : NULL;
    uint32_t ssrc = c->n_slots ? c->slot[arg % c->n_slots].ssrc : 0;
    uint16_t seq[64];

    if (!c->out)
        return;
    for (unsigned i = 0; i < 64; i++)
        seq[i] = (uint16_t)((g ? g->seq : 0u) - arg + i);
    if (g && how & 0x80)
        ssrc = g->ssrc;
    switch (how % 6) {
    case 0:
        rtcp_put_nack(&f, c->ssrc, ssrc, seq, 1 + arg % 64);
        break;
    case 1:
        rtcp_put_pli(&f, c->ssrc, ssrc);
        break;
    case 2: {
        struct rtcp_report r = {.ssrc = c->ssrc, .n = 1};
        r.v[0] = (struct rtcp_block){.ssrc = ssrc, .fraction_lost = arg, .lsr = arg, .dlsr = arg};
        rtcp_put_rr(&f, &r);
        break;
    }
    case 3: { /* transport-wide: head, then the script's chunks and deltas */
        struct slice body = rd_take(in, (rd_u8(in) & 0x3cu));
        wr_u8(&f, 0x80 | 15);
        wr_u8(&f, 205);
        wr_be16(&f, (uint16_t)(4 + body.len / 4));
        wr_be32(&f, c->ssrc);
        wr_be32(&f, ssrc);
        wr_be16(&f, (uint16_t)(how >> 3));
        wr_be16(&f, arg);
        wr_be32(&f, (uint32_t)(w->now_us / 64000) << 8 | how);
        wr_bytes(&f, body);
        break;
    }
    case 4: {
        struct rtcp_report r = {
            .ssrc = stream_ssrc(c, arg), .ntp = sfu_core_ntp(w->core, w->now_us), .rtp_ts = arg};
        rtcp_put_sr(&f, &r);
        break;
    }
    default:
        wr_u8(&f, 0x80 | 15);
        wr_u8(&f, 206);
        wr_be16(&f, 5);
        wr_be32(&f, c->ssrc);
        wr_be32(&f, 0);
        wr_str(&f, "REMB");
        wr_be32(&f, UINT32_C(0x01000000) | (uint32_t)arg << 18 | how);
        wr_be32(&f, ssrc);
        break;
    }
    struct slice compound = wr_done(&f);
    if (compound.len)
        send(c, slice_of(out, srtp_sess_protect_rtcp(c->out, compound, out)));
}

/* ---- what is not authentic ---- */

static void not_forwarded(struct fake_client *from, struct slice dgram, uint64_t in_before)
{
    fake_send(from, dgram);
    fake_turn(w);
    if (counter_get(&w->core->count.in_pkts) != in_before)
        abort();
}

static void datagram(uint8_t who, struct rd *in)
{
    struct fake_client *c = client[who % CLIENTS];
    struct slice bytes = rd_take(in, rd_u8(in));

    fake_turn(w);
    not_forwarded(c, bytes, counter_get(&w->core->count.in_pkts));
}

static void changed(uint8_t who, uint8_t bit)
{
    fake_turn(w);
    if (last_len == 0)
        return;
    uint64_t before = counter_get(&w->core->count.in_pkts);
    struct fake_client *c = client[who % CLIENTS];
    size_t at = (size_t)bit * 7 % last_len;

    not_forwarded(c, slice_of(last, last_len), before); /* once more */
    last[at] ^= (uint8_t)(1 << bit % 8);
    not_forwarded(c, slice_of(last, last_len), before);
    last[at] ^= (uint8_t)(1 << bit % 8);
    not_forwarded(c, slice_of(last, bit % last_len), before); /* cut */
}

/* ---- requests ---- */

static void subscribe(struct fake_client *c, uint8_t arg, struct rd *in)
{
    static const char *const tracks[] = {"a:0", "a:1", "b:0", "b:1", "c:0", "x"};

    w->req.u.subscribe.n = 1 + arg % 3;
    for (unsigned i = 0; i < w->req.u.subscribe.n; i++) {
        uint8_t v = rd_u8(in), l = rd_u8(in);
        w->req.u.subscribe.v[i] = (struct ctl_subscription){
            .track = slice_str(tracks[v % 6]),
            .mid =
                v & 0x40 && c->n_slots ? slice_str(c->slot[l % c->n_slots].mid) : (struct slice){0},
            .wanted = v & 0x80,
            .paused = v & 0x20,
            .layer = l % 4 - 1,
            .temporal = (l >> 2) % 4 - 1,
            .priority = l >> 4};
    }
    fake_request(w, c, CTL_SUBSCRIBE);
}

static void other_offer(struct fake_client *c, uint8_t arg, bool first)
{
    struct fake_offer o = offers[arg % CLIENTS];

    o.mic = arg & 4;
    o.cam = arg & 8;
    o.audio = (arg >> 4) % 4;
    o.video = arg >> 6;
    if (o.mic + o.cam + o.audio + o.video == 0)
        o.audio = 1;
    if (first)
        join(c, &o, false);
    else
        fake_offer_it(c, &o, false);
}

static void request(uint8_t who, struct rd *in)
{
    struct fake_client *c = client[who % CLIENTS];
    uint8_t what = rd_u8(in), arg = rd_u8(in);
    static const char *const tracks[] = {"a:0", "a:1", "b:0", "b:1"};

    fake_turn(w);
    memset(&w->req, 0, sizeof(w->req));
    switch (what % 14) {
    case 0:
        fake_request(w, c, CTL_LEAVE);
        break;
    case 1:
        join(c, &offers[who % CLIENTS], false);
        break;
    case 2:
        other_offer(c, arg, true);
        break;
    case 3:
        other_offer(c, arg, false);
        break;
    case 4:
    case 5:
        subscribe(c, arg, in);
        break;
    case 6:
        w->req.u.mute.track = slice_str(tracks[arg % 4]);
        fake_request(w, c, CTL_UNPUBLISH);
        break;
    case 7:
        w->req.u.mute.track = slice_str(tracks[arg % 4]);
        w->req.u.mute.muted = arg & 4;
        w->req.u.mute.forced = arg & 8;
        fake_request(w, c, CTL_MUTE);
        break;
    case 8:
        w->req.u.permissions.perms = (struct ctl_perms){
            .publish = arg & CTL_SOURCES_ALL, .subscribe = arg & 0x40, .data = arg & 0x80};
        fake_request(w, c, CTL_PERMISSIONS);
        break;
    case 9: /* any text as description */
        w->req.u.offer.offer.text = rd_take(in, rd_u8(in));
        fake_request(w, c, CTL_OFFER);
        break;
    case 10:
        w->req.u.answer.answer.text = rd_take(in, rd_u8(in));
        w->req.u.answer.negotiation = slice_str("1");
        fake_request(w, c, CTL_ANSWER);
        break;
    case 11:
        fake_request(w, c, CTL_STATS);
        break;
    case 12:
        w->req.u.sync.participants = slice_str(arg & 1 ? "[\"a\",\"b\",\"c\"]" : "[\"a\"]");
        fake_request(w, c, CTL_SYNC);
        break;
    default:
        if (arg % 4 == 0)
            fake_request(w, c, CTL_CLOSE_ROOM);
        break;
    }
    w->n_events = 0;
}

/* ---- the script ---- */

static uint64_t allowed(uint8_t op, uint64_t elapsed_us)
{
    uint64_t by_time = BURST_MAX + elapsed_us * TIME_PKTS / US_PER_S;

    return op == 7 || op == 8
               ? by_time + REQUEST_PKTS
               : by_time + (lazy ? CORE_NEWS_MAX * CLIENTS : 0) + w->conf.limits.requests_per_s;
}

static void step(struct rd *in)
{
    uint8_t op = rd_u8(in), who = rd_u8(in);
    struct fake_client *c = client[who % CLIENTS];
    uint64_t sent = w->out_pkts, at = w->now_us;
    bool was_lazy = lazy;

    op %= 13;
    switch (op) {
    case 0:
    case 1:
        raw_rtp(who, in);
        break;
    case 2:
    case 3:
        nice_rtp(who, in);
        break;
    case 4:
        rtcp(who, in);
        break;
    case 5:
    case 6:
        feedback(who, in);
        break;
    case 7: { /* 1 ms … 33 s */
        uint8_t arg = rd_u8(in);
        fake_turn(w);
        fake_wait(w, (uint64_t)(1 + arg % 16) << (arg / 16) << 10);
        break;
    }
    case 8:
        request(who, in);
        break;
    case 9:
        datagram(who, in);
        break;
    case 10:
        changed(who, rd_u8(in));
        break;
    case 11: /* a check, from here or from another network */
        c->path.remote.port = (uint16_t)(5000 + who % CLIENTS + (who & 0x40 ? 100 : 0));
        if (c->s_ufrag[0])
            fake_check(c, who & 0x80);
        break;
    default:
        if (who & 0x80)
            sfu_core_gone(w->core, &c->path, w->now_us);
        else
            lazy = who & 0x40;
        fake_turn(w);
        break;
    }
    if (lazy && w->core->n_news == 0 && was_lazy)
        fake_turn(w);
    if (w->out_pkts - sent > allowed(op, w->now_us - at))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd in = rd_init(slice_of(data, size));
    uint8_t flags = rd_u8(&in);
    static const char *const ids[CLIENTS] = {"a", "b", "c"};

    if (size < 3)
        return 0;
    memset(seen, 0, sizeof(seen));
    last_len = 0;
    lazy = false;
    char conf[256];
    snprintf(conf, sizeof(conf), "[video]\nhistory_bytes = 16384\n%s",
             flags & 2   ? "[audio]\nlast_n = 1\nred = always\n"
             : flags & 4 ? "[limits]\nnacks_per_s = 10\npublish_bitrate = 100000\n"
                         : "");
    w = fake_room_new(conf);
    for (unsigned i = 0; i < CLIENTS; i++) {
        client[i] = fake_client_new(w, "r", ids[i]);
        client[i]->seen = on_rtp;
        for (uint8_t k = 0; k < 8; k++)
            *stream_index((uint8_t)i, k) = flags & 8 ? 65500 : 100;
        join(client[i], &offers[i], i == 0 && flags & 1);
    }
    memset(&w->req, 0, sizeof(w->req));
    w->req.u.mute.track = slice_str("b:0");
    w->req.u.mute.muted = true;
    fake_request(w, client[1], CTL_MUTE);
    for (unsigned n = 0; n < STEPS_MAX && in.left > 0 && !in.bad; n++) {
        step(&in);
        check_rooms();
    }
    fake_turn(w);
    fake_room_free(w);
    return 0;
}
