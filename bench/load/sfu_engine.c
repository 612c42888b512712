/* Load for an SFU: many WebRTC clients in one loop. Signalling is somebody else's: an adapter per
 * server writes commands to stdin and reads answers, JSON objects, one a line, from stdout.
 *
 *     sfu_engine [PROFILES]     DTLS-SRTP profiles in order of preference,
 *                               SRTP_AEAD_AES_128_GCM:...
 *
 * The first line tells the fingerprint of all clients. Commands; N is a client's number:
 *
 *     add N                                     {"re":"add","n":N,"ufrag":…,"pwd":…}
 *     go N IP PORT UFRAG PWD client|server [tcp]   checks, then DTLS in that role; when it is done
 *                                               {"event":"up","n":N,…} or {"event":"failed","n":N}
 *     pub N SSRC PT PACKETS_PER_S BYTES BURST [KEY=VALUE…]   sends; bytes of RTP payload
 *         vp8=1  level=ID:DBOV  mid=ID:TEXT  rid=ID:TEXT  twcc=ID  clock=HZ  offset=US  gso=0
 *     play N SSRC PT FPS FILE [KEY=VALUE…]      sends the VP8 frames of an IVF file, for ever;
 *                                               asked for a key frame it begins anew
 *     unpub N                                   stops that; `pub` of the same SSRC goes on with its
 *                                               numbers, in any new way
 *     level N DBOV                              of its streams, from now on (RFC 6464)
 *     open N  |  count N                        decrypt what arrives (latency, authenticity), or
 * not report on|off                             receiver and sender reports each second remb N BPS
 * tells the server that it may send so much move N                                    another local
 * address: a new socket, then a check cut N on|off                              sends nothing,
 * reads nothing del N rtcp N COUNT HEX | rtp N COUNT HEX | raw N COUNT HEX   sends these bytes
 * COUNT times, protected (a compound; a packet with a header of 12 bytes) or as they are quantum US
 * sends by the clock, every so often wire DEVICE MAC                           single packets leave
 * by sfu_wire.h mark                                      counters and latencies begin anew stat
 * [N]  |  joins  |  latency            {"re":…} quit
 *
 * Latency is until the kernel of this side has the packet: what the scheduler adds until we read it
 * is ours, not the server's.
 * Payloads end with the talker's client number and a count, and the time when they were sent, which
 * is what latency comes from. One thread; sleeps until something is due or arrives.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu_wire.h"

#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include "base/crypto.h"

#define PEERS_MAX        16384
#define STREAMS_MAX      32768
#define LINE_MAX_        1024
#define EXT_MAX          64
#define TAIL_BYTES       12
#define RTP_BYTES        12 /* a header without extension */
#define VP8_BYTES        14 /* descriptor, key frame's header of 10 */
#define DESCRIPTOR_BYTES 4
#define NUMBER_BITS      18 /* of a payload's number; above it, who sent it */
#define NUMBER_MASK      ((1u << NUMBER_BITS) - 1)
#define TICK_US          (10 * US_PER_MS)
#define TICK_PARTS       20 /* all clients in one go would make those who wait wait */
#define LATE_US          (20 * US_PER_MS)
#define REPORT_US        US_PER_S
#define LATENCY_BINS     100000 /* of 10 us */
#define LATENCY_US       10

struct stream {
    struct peer *peer;
    uint32_t ssrc, ts, ts_step, number;
    uint64_t index; /* of the next packet: rollovers and sequence number */
    uint64_t next_us, gap_us;
    unsigned pt, bytes, burst, frames;
    unsigned at; /* in the heap, from 1; 0: it sends nothing */
    bool vp8, gso, key;
    uint8_t ext[EXT_MAX];                /* elements of RFC 8285 §4.2, without padding */
    unsigned ext_len, level_at, twcc_at; /* where in ext; 0 = none, else offset + 1 */
    uint64_t sent_pkts, sent_bytes;
    uint8_t *film; /* an IVF file, owned; NULL: made-up packets */
    size_t film_len, film_at;
};

struct engine {
    int epoll;
    struct peer *peer[PEERS_MAX];
    struct stream *stream[STREAMS_MAX];
    struct stream *due[STREAMS_MAX]; /* those that send: a heap by next_us */
    unsigned n_peers, n_streams, n_due, tick_at;
    uint16_t twcc[PEERS_MAX];
    uint64_t next_tick_us, next_report_us, quantum_us;
    bool report;
    uint64_t sent_pkts, sent_bytes, send_failed, late, got_pkts, got_bytes, forged;
    uint32_t latency[LATENCY_BINS];
    uint64_t latency_n, latency_max_us, mark_us;
};

static struct engine en;
static struct wire wire;

static struct peer *find(unsigned n)
{
    return n < PEERS_MAX ? en.peer[n] : NULL;
}

/* --- sending */

static size_t put_header(struct stream *s, uint8_t *p, bool marker)
{
    size_t at = 12;

    p[0] = s->ext_len > 0 ? 0x90 : 0x80;
    p[1] = (uint8_t)(s->pt | (marker ? 0x80 : 0));
    p[2] = (uint8_t)(s->index >> 8);
    p[3] = (uint8_t)s->index;
    put32(p + 4, s->ts);
    put32(p + 8, s->ssrc);
    if (s->ext_len > 0) {
        unsigned words = (s->ext_len + 3) / 4;
        if (s->twcc_at > 0) {
            uint16_t n = en.twcc[s->peer->id]++;
            s->ext[s->twcc_at - 1] = (uint8_t)(n >> 8);
            s->ext[s->twcc_at] = (uint8_t)n;
        }
        put32(p + at, 0xBEDE0000u | words);
        memset(p + at + 4, 0, 4 * (size_t)words);
        memcpy(p + at + 4, s->ext, s->ext_len);
        at += 4 + 4 * (size_t)words;
    }
    return at;
}

/* RFC 7741 §4.2: with a picture id of 15 bits. */
static void put_descriptor(const struct stream *s, uint8_t *p, bool first)
{
    p[0] = first ? 0x90 : 0x80;
    p[1] = 0x80;
    p[2] = (uint8_t)(0x80 | (s->frames >> 8 & 0x7f));
    p[3] = (uint8_t)s->frames;
}

/* RFC 7741 §4.3, RFC 6386 §9.1: a frame's own header. */
static void put_vp8(const struct stream *s, uint8_t *p, bool first)
{
    const uint8_t frame[10] = {
        s->key ? 0x10 : 0x11, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01};

    put_descriptor(s, p, first);
    if (first)
        memcpy(p + DESCRIPTOR_BYTES, frame, sizeof(frame));
}

static size_t make_packet(struct stream *s, uint8_t *p, bool first, bool last, uint64_t now_us)
{
    size_t header = put_header(s, p, s->vp8 && last), len = header + s->bytes;

    memset(p + header, 0, s->bytes);
    if (s->vp8)
        put_vp8(s, p + header, first);
    put32(p + len - TAIL_BYTES, s->peer->id << NUMBER_BITS | (s->number++ & NUMBER_MASK));
    put32(p + len - 8, (uint32_t)(now_us >> 32));
    put32(p + len - 4, (uint32_t)now_us);
    len = bench_srtp_seal(&s->peer->tx, p, header, len, s->index);
    s->index++;
    return len;
}

/* All packets of the burst, equally long, in one send: they arrive together. */
static bool send_burst(int fd, uint8_t *bytes, size_t size, unsigned n)
{
    union {
        struct cmsghdr hdr;
        uint8_t room[CMSG_SPACE(sizeof(uint16_t))];
    } control = {0};
    struct iovec iov = {bytes, size * n};
    struct msghdr h = {NULL, 0, &iov, 1, &control, sizeof(control), 0};
    uint16_t segment = (uint16_t)size;

    control.hdr = (struct cmsghdr){CMSG_LEN(sizeof(segment)), IPPROTO_UDP, UDP_SEGMENT};
    memcpy(CMSG_DATA(&control.hdr), &segment, sizeof(segment));
    return sendmsg(fd, &h, MSG_DONTWAIT) > 0;
}

static void send_frame(struct stream *s, uint64_t now_us)
{
    static uint8_t buf[64 * PEER_BYTES];
    size_t len = 0, size = 0;
    bool plain = !s->peer->tcp && !s->peer->cut, gso = plain && s->gso && s->burst > 1;
    bool raw = plain && !gso && wire.on;

    for (unsigned i = 0; i < s->burst; i++) {
        uint8_t *to = raw ? wire_reserve(&wire) : buf + len;
        size = make_packet(s, to, i == 0, i + 1 == s->burst, now_us);
        if (gso)
            len += size;
        else if (raw)
            en.send_failed +=
                wire_commit(&wire, &s->peer->near,
                            (const struct sockaddr_in *)(const void *)&s->peer->far, size);
        else if (!peer_send(s->peer, buf, size))
            en.send_failed++;
        s->sent_pkts++;
        s->sent_bytes += size;
        en.sent_pkts++;
        en.sent_bytes += size;
    }
    if (gso && !send_burst(s->peer->fd, buf, size, s->burst))
        en.send_failed += s->burst;
    s->ts += s->ts_step;
    s->frames++;
    s->key = false;
}

#define IVF_HEADER     32
#define IVF_FRAME      12
#define FILM_CHUNK_MAX 1150

/* The next frame of the film, in packets of equal size (RFC 7741). */
static void play_frame(struct stream *s)
{
    uint8_t b[PEER_BYTES];

    if (s->key || s->film_at + IVF_FRAME > s->film_len)
        s->film_at = IVF_HEADER;
    const uint8_t *f = s->film + s->film_at;
    size_t left = (size_t)f[0] | (size_t)f[1] << 8 | (size_t)f[2] << 16;
    size_t n = (left + FILM_CHUNK_MAX - 1) / FILM_CHUNK_MAX, chunk = (left + n - 1) / n;
    s->film_at += IVF_FRAME + left;
    if (s->film_at > s->film_len)
        die("play: the file is cut off");
    f += IVF_FRAME;
    for (bool first = true; left > 0; first = false) {
        chunk = chunk < left ? chunk : left;
        size_t header = put_header(s, b, chunk == left);
        put_descriptor(s, b + header, first);
        memcpy(b + header + DESCRIPTOR_BYTES, f, chunk);
        size_t len =
            bench_srtp_seal(&s->peer->tx, b, header, header + DESCRIPTOR_BYTES + chunk, s->index++);
        if (!peer_send(s->peer, b, len))
            en.send_failed++;
        s->sent_pkts++;
        s->sent_bytes += len;
        en.sent_pkts++;
        en.sent_bytes += len;
        f += chunk;
        left -= chunk;
    }
    s->ts += s->ts_step;
    s->frames++;
    s->key = false;
}

/* --- whose turn it is: a heap, the root at 1 */

static void put_at(struct stream *s, unsigned i)
{
    en.due[i - 1] = s;
    s->at = i;
}

static void sift(struct stream *s, unsigned i)
{
    for (; i > 1 && en.due[i / 2 - 1]->next_us > s->next_us; i /= 2)
        put_at(en.due[i / 2 - 1], i);
    for (unsigned k; (k = 2 * i) <= en.n_due; i = k) {
        if (k < en.n_due && en.due[k]->next_us < en.due[k - 1]->next_us)
            k++;
        if (en.due[k - 1]->next_us >= s->next_us)
            break;
        put_at(en.due[k - 1], i);
    }
    put_at(s, i);
}

static void begin(struct stream *s)
{
    sift(s, s->at ? s->at : ++en.n_due);
}

static void stop(struct stream *s)
{
    unsigned i = s->at;

    if (i == 0)
        return;
    struct stream *last = en.due[--en.n_due];
    s->at = 0;
    if (last != s)
        sift(last, i);
}

/* Sends what is due; gives when the next is. */
static uint64_t send_due(uint64_t now_us)
{
    while (en.n_due > 0 && en.due[0]->next_us <= now_us) {
        struct stream *s = en.due[0];
        if (s->peer->state != PEER_UP) {
            s->next_us = now_us;
        } else {
            en.late += now_us > s->next_us + LATE_US;
            if (s->film)
                play_frame(s);
            else
                send_frame(s, now_us);
        }
        s->next_us += s->gap_us;
        sift(s, 1);
    }
    en.send_failed += wire_flush(&wire);
    return en.n_due > 0 ? en.due[0]->next_us : CLOCK_NEVER;
}

/* --- receiving */

static void take_latency(uint64_t us)
{
    uint64_t bin = us / LATENCY_US;

    en.latency[bin < LATENCY_BINS ? bin : LATENCY_BINS - 1]++;
    en.latency_n++;
    if (us > en.latency_max_us)
        en.latency_max_us = us;
}

static struct peer_in *find_in(struct peer *p, uint32_t ssrc, uint16_t seq)
{
    for (unsigned i = 0; i < p->n_streams; i++) {
        if (p->stream[i].ssrc == ssrc)
            return &p->stream[i];
    }
    if (p->n_streams == PEER_RECVS)
        return NULL;
    struct peer_in *in = &p->stream[p->n_streams++];
    *in = (struct peer_in){.ssrc = ssrc, .top = seq, .first = seq};
    return in;
}

static void take_talker(struct peer *p, uint32_t number)
{
    unsigned i = 0;

    while (i < p->n_talkers && p->talker[i].id != number >> NUMBER_BITS)
        i++;
    if (i == PEER_TALKERS)
        return;
    if (i == p->n_talkers)
        p->talker[p->n_talkers++] =
            (struct peer_talker){number >> NUMBER_BITS, number & NUMBER_MASK, 0};
    p->talker[i].pkts++;
}

/* The sequence number as 48 bits: nearest to the highest so far. */
static uint64_t extend(uint64_t top, uint16_t seq)
{
    int16_t ahead = (int16_t)(uint16_t)(seq - (uint16_t)top);

    return ahead < 0 && (uint64_t)-ahead > top ? seq : top + (uint64_t)(int64_t)ahead;
}

static void take_rtp(struct peer *p, uint8_t *b, size_t len, uint64_t now_us)
{
    size_t header = 12 + 4 * (size_t)(b[0] & 0x0f);

    if (len >= header + 4 && (b[0] & 0x10))
        header += 4 + 4 * (size_t)(b[header + 2] << 8 | b[header + 3]);
    if (len < header)
        return;
    uint16_t seq = (uint16_t)(b[2] << 8 | b[3]);
    struct peer_in *in = find_in(p, get32(b + 8), seq);
    uint64_t index = in ? extend(in->top, seq) : seq;
    if (p->first_rtp_us == 0)
        p->first_rtp_us = now_us;
    if (p->recv == RECV_OPEN) {
        len = bench_srtp_open(&p->rx, b, header, len, index);
        if (len < header + TAIL_BYTES) {
            p->lost_auth++;
            en.forged++;
            return;
        }
        if (p->first_open_us == 0)
            p->first_open_us = now_us;
        take_talker(p, get32(b + len - TAIL_BYTES));
        uint64_t sent = (uint64_t)get32(b + len - 8) << 32 | get32(b + len - 4);
        if (sent <= now_us && now_us - sent < 100 * US_PER_S)
            take_latency(now_us - sent);
    }
    p->got_pkts++;
    p->got_bytes += len;
    en.got_pkts++;
    en.got_bytes += len;
    if (!in)
        return;
    if (in->last_us != 0 && now_us - in->last_us > in->gap_us)
        in->gap_us = now_us - in->last_us;
    in->last_us = now_us;
    in->top = index > in->top ? index : in->top;
    in->pkts++;
}

/* Asked for a key frame of this SSRC. */
static void want_key(struct peer *p, uint32_t ssrc)
{
    for (unsigned i = 0; i < en.n_streams; i++) {
        struct stream *s = en.stream[i];
        if (s->peer == p && s->ssrc == ssrc)
            s->key = true;
    }
}

static void take_rtcp(struct peer *p, uint8_t *b, size_t len)
{
    len = bench_srtcp_open(&p->rx, b, len);
    if (len == 0) {
        p->lost_auth++;
        en.forged++;
        return;
    }
    for (size_t at = 0; at + 8 <= len;) {
        unsigned fmt = b[at] & 0x1f, type = b[at + 1];
        size_t n = 4 + 4 * (size_t)(b[at + 2] << 8 | b[at + 3]);
        p->rtcp_pkts++;
        p->sr += type == 200;
        p->rr += type == 201;
        p->nack += type == 205 && fmt == 1;
        p->twcc += type == 205 && fmt == 15;
        p->pli += type == 206 && fmt == 1;
        p->fir += type == 206 && fmt == 4;
        p->remb += type == 206 && fmt == 15;
        if (type == 206 && fmt == 1 && n >= 12 && at + 12 <= len)
            want_key(p, get32(b + at + 8));
        if (type == 206 && fmt == 4 && n >= 20 && at + 16 <= len)
            want_key(p, get32(b + at + 12));
        at += n;
    }
}

static void tell_state(const struct peer *p)
{
    if (p->state == PEER_UP)
        printf("{\"event\":\"up\",\"n\":%u,\"profile\":%u,\"ice_us\":%" PRIu64
               ",\"dtls_us\":%" PRIu64 "}\n",
               p->id, p->profile, p->ice_us - p->began_us, p->dtls_us - p->began_us);
    else
        printf("{\"event\":\"failed\",\"n\":%u}\n", p->id);
    fflush(stdout);
}

/* RFC 7983 §7 */
static void take_datagram(struct peer *p, uint8_t *b, size_t len, uint64_t now_us)
{
    bool news = false;

    if (len < 2)
        return;
    if (b[0] < 4)
        news = peer_stun(p, b, len, now_us);
    else if (b[0] >= 20 && b[0] <= 63)
        news = peer_dtls(p, b, len, now_us);
    else if (b[0] >= 128 && b[0] <= 191 && p->state == PEER_UP && len >= 12) {
        if (b[1] >= 192 && b[1] <= 223)
            take_rtcp(p, b, len);
        else
            take_rtp(p, b, len, now_us);
    }
    if (news)
        tell_state(p);
}

static void take_frames(struct peer *p, uint64_t now_us)
{
    size_t at = 0;

    while (p->tcp_len - at >= 2) {
        size_t n = (size_t)(p->tcp_buf[at] << 8 | p->tcp_buf[at + 1]);
        if (p->tcp_len - at < 2 + n)
            break;
        take_datagram(p, p->tcp_buf + at + 2, n, now_us);
        at += 2 + n;
    }
    p->tcp_len -= at;
    memmove(p->tcp_buf, p->tcp_buf + at, p->tcp_len);
}

/* When the kernel got it, on this process's clock; now, where the kernel has not noted it. */
static uint64_t arrived_us(struct msghdr *h)
{
    struct timespec at, wall;
    uint64_t now_us = clock_now_us();

    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
            continue;
        memcpy(&at, CMSG_DATA(c), sizeof(at));
        clock_gettime(CLOCK_REALTIME, &wall);
        int64_t age_us = (int64_t)(wall.tv_sec - at.tv_sec) * (int64_t)US_PER_S +
                         (wall.tv_nsec - at.tv_nsec) / 1000;
        return age_us > 0 ? now_us - (uint64_t)age_us : now_us;
    }
    return now_us;
}

static ssize_t read_datagram(int fd, uint8_t *buf, size_t cap, uint64_t *at_us)
{
    union {
        struct cmsghdr hdr;
        uint8_t room[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec iov = {buf, cap};
    struct msghdr h = {NULL, 0, &iov, 1, &control, sizeof(control), 0};
    ssize_t n = recvmsg(fd, &h, MSG_DONTWAIT);

    if (n > 0)
        *at_us = arrived_us(&h);
    return n;
}

static void read_peer(struct peer *p)
{
    static uint8_t buf[65536];
    ssize_t n;
    unsigned fd_turns = 64; /* nobody reads for ever */

    while (fd_turns-- > 0 && p->fd >= 0) {
        uint64_t at_us = 0;
        n = p->tcp ? recv(p->fd, p->tcp_buf + p->tcp_len, 2 * 65536 - p->tcp_len, MSG_DONTWAIT)
                   : read_datagram(p->fd, buf, sizeof(buf), &at_us);
        if (n <= 0) {
            if (p->tcp && (n == 0 || errno != EAGAIN)) {
                epoll_ctl(en.epoll, EPOLL_CTL_DEL, p->fd, NULL);
                p->state = PEER_FAILED;
                tell_state(p);
            }
            return;
        }
        if (p->cut)
            continue;
        if (p->tcp) {
            p->tcp_len += (size_t)n;
            take_frames(p, clock_now_us());
        } else {
            take_datagram(p, buf, (size_t)n, at_us);
        }
    }
}

/* --- reports (RFC 3550 §6.4) */

#define NTP_UNIX 2208988800u /* seconds from 1900 to 1970 */

static size_t put_blocks(const struct peer *p, uint8_t *b)
{
    for (unsigned i = 0; i < p->n_streams; i++) {
        const struct peer_in *in = &p->stream[i];
        uint8_t *at = b + (size_t)i * 24;
        memset(at, 0, 24);
        put32(at, in->ssrc);
        put32(at + 8, (uint32_t)in->top);
    }
    return (size_t)p->n_streams * 24;
}

static void send_report(struct peer *p, uint8_t *b, size_t len, unsigned count, unsigned type)
{
    b[0] = (uint8_t)(0x80 | count);
    b[1] = (uint8_t)type;
    b[2] = (uint8_t)((len / 4 - 1) >> 8);
    b[3] = (uint8_t)(len / 4 - 1);
    len = bench_srtcp_seal(&p->tx, b, len);
    peer_send(p, b, len);
}

static void send_reports(void)
{
    uint8_t b[PEER_BYTES];
    uint64_t wall = clock_wall_us();

    for (unsigned i = 0; i < en.n_streams; i++) {
        const struct stream *s = en.stream[i];
        if (s->at == 0 || s->peer->state != PEER_UP)
            continue;
        put32(b + 4, s->ssrc);
        put32(b + 8, (uint32_t)(wall / US_PER_S) + NTP_UNIX);
        put32(b + 12, (uint32_t)((wall % US_PER_S << 32) / US_PER_S));
        put32(b + 16, s->ts);
        put32(b + 20, (uint32_t)s->sent_pkts);
        put32(b + 24, (uint32_t)s->sent_bytes);
        send_report(s->peer, b, 28, 0, 200);
    }
    for (unsigned i = 0; i < en.n_peers; i++) {
        struct peer *p = en.peer[i];
        if (!p || p->state != PEER_UP || p->n_streams == 0)
            continue;
        put32(b + 4, 1);
        send_report(p, b, 8 + put_blocks(p, b + 8), p->n_streams, 201);
    }
}

/* draft-alvestrand-rmcat-remb-03 §2.2 */
static void send_remb(struct peer *p, uint64_t bps)
{
    uint8_t b[PEER_BYTES] = {0};
    unsigned exp = 0;

    for (; bps > 0x3ffff; bps >>= 1)
        exp++;
    put32(b + 4, 1);
    memcpy(b + 12, "REMB", 4);
    put32(b + 16, (uint32_t)1 << 24 | exp << 18 | (uint32_t)bps);
    put32(b + 20, p->n_streams > 0 ? p->stream[0].ssrc : 0);
    if (p->state == PEER_UP)
        send_report(p, b, 24, 15, 206);
}

/* --- commands */

static const char *word(char **rest)
{
    char *w = *rest + strspn(*rest, " ");
    char *end = w + strcspn(w, " ");

    *rest = *end == '\0' ? end : end + 1;
    *end = '\0';
    return w;
}

static uint64_t number(char **rest)
{
    return strtoull(word(rest), NULL, 10);
}

static void watch(struct peer *p)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = p};

    if (epoll_ctl(en.epoll, EPOLL_CTL_ADD, p->fd, &ev) == -1)
        die("epoll");
}

static void do_add(char *rest)
{
    uint64_t n = number(&rest);

    if (n >= PEERS_MAX || en.peer[n]) {
        printf("{\"re\":\"error\",\"why\":\"number in use\"}\n");
        return;
    }
    struct peer *p = mem_zalloc(sizeof(*p));
    if (!p)
        die("memory");
    peer_init(p, (unsigned)n);
    en.peer[n] = p;
    en.n_peers = n >= en.n_peers ? (unsigned)n + 1 : en.n_peers;
    printf("{\"re\":\"add\",\"n\":%u,\"ufrag\":\"%s\",\"pwd\":\"%s\"}\n", p->id, p->ufrag, p->pwd);
}

static void do_go(struct peer *p, char *rest)
{
    struct addr at;

    if (addr_parse(&at, slice_str(word(&rest))) != 0)
        die("go: no such address");
    at.port = (uint16_t)number(&rest);
    p->far_len = addr_to_sockaddr(&at, &p->far);
    snprintf(p->far_ufrag, sizeof(p->far_ufrag), "%s", word(&rest));
    snprintf(p->far_pwd, sizeof(p->far_pwd), "%s", word(&rest));
    p->active = strcmp(word(&rest), "client") == 0;
    p->tcp = strcmp(word(&rest), "tcp") == 0;
    peer_open(p);
    watch(p);
    p->state = PEER_CHECKING;
    p->began_us = clock_now_us();
    peer_check(p, p->began_us);
}

static void put_ext(struct stream *s, unsigned id, const void *bytes, size_t len)
{
    if (s->ext_len + 1 + len > EXT_MAX || len == 0 || len > 16)
        die("pub: too many extensions");
    s->ext[s->ext_len++] = (uint8_t)(id << 4 | (len - 1));
    memcpy(s->ext + s->ext_len, bytes, len);
    s->ext_len += (unsigned)len;
}

static void pub_option(struct stream *s, const char *w, unsigned *clock, uint64_t *offset_us)
{
    const char *value = strchr(w, '='), *colon = value ? strchr(value, ':') : NULL;
    unsigned n = value ? (unsigned)strtoul(value + 1, NULL, 10) : 0;
    uint8_t b[2] = {0};

    if (strncmp(w, "vp8=", 4) == 0) {
        s->vp8 = s->key = n != 0;
    } else if (strncmp(w, "gso=", 4) == 0) {
        s->gso = n != 0;
    } else if (strncmp(w, "clock=", 6) == 0) {
        *clock = n;
    } else if (strncmp(w, "offset=", 7) == 0) {
        *offset_us = n;
    } else if (strncmp(w, "twcc=", 5) == 0) {
        put_ext(s, n, b, 2);
        s->twcc_at = s->ext_len - 2 + 1;
    } else if (strncmp(w, "level=", 6) == 0 && colon) {
        b[0] = (uint8_t)(0x80 | strtoul(colon + 1, NULL, 10)); /* V: it is voice */
        put_ext(s, n, b, 1);
        s->level_at = s->ext_len - 1 + 1;
    } else if ((strncmp(w, "mid=", 4) == 0 || strncmp(w, "rid=", 4) == 0) && colon) {
        put_ext(s, n, colon + 1, strlen(colon + 1));
    } else {
        die("pub: no such option");
    }
}

/* The stream of this SSRC, new or stopped before. */
static struct stream *stream_for(struct peer *p, uint32_t ssrc)
{
    struct stream *s;

    for (unsigned i = 0; i < en.n_streams; i++) {
        s = en.stream[i];
        if (s->peer == p && s->ssrc == ssrc) {
            s->ext_len = s->level_at = s->twcc_at = 0;
            s->vp8 = false;
            return s;
        }
    }
    s = mem_zalloc(sizeof(*s));
    if (!s || en.n_streams == STREAMS_MAX)
        die("memory");
    s->peer = p;
    s->ssrc = ssrc;
    s->index = 1000 + rand_below(1000);
    s->ts = (uint32_t)rand_below(UINT32_MAX);
    en.stream[en.n_streams++] = s;
    return s;
}

static void do_pub(struct peer *p, char *rest)
{
    struct stream *s = stream_for(p, (uint32_t)number(&rest));
    uint64_t pps, offset_us = 0;
    unsigned clock = 48000;

    s->pt = (unsigned)number(&rest);
    pps = number(&rest);
    s->bytes = (unsigned)number(&rest);
    s->burst = (unsigned)number(&rest);
    s->gso = true;
    for (const char *w = word(&rest); *w != '\0'; w = word(&rest))
        pub_option(s, w, &clock, &offset_us);
    if (pps == 0 || s->burst == 0 || s->burst > 40 || s->bytes > 1300 ||
        s->bytes < TAIL_BYTES + (s->vp8 ? VP8_BYTES : 0))
        die("pub: out of range");
    s->gap_us = US_PER_S * s->burst / pps;
    s->ts_step = (uint32_t)(clock * s->burst / pps);
    s->next_us = clock_now_us() + offset_us;
    begin(s);
}

static uint8_t *read_file(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd == -1 ? -1 : lseek(fd, 0, SEEK_END);

    if (size < IVF_HEADER)
        die("play: no such film");
    uint8_t *p = mem_zalloc((size_t)size);
    if (!p || pread(fd, p, (size_t)size, 0) != size)
        die("play");
    close(fd);
    *len = (size_t)size;
    return p;
}

static void do_play(struct peer *p, char *rest)
{
    struct stream *s = stream_for(p, (uint32_t)number(&rest));
    uint64_t fps, offset_us = 0;
    unsigned clock = 90000;

    s->pt = (unsigned)number(&rest);
    fps = number(&rest);
    if (fps == 0)
        die("play: out of range");
    mem_free(s->film);
    s->film = read_file(word(&rest), &s->film_len);
    s->film_at = IVF_HEADER;
    for (const char *w = word(&rest); *w != '\0'; w = word(&rest))
        pub_option(s, w, &clock, &offset_us);
    s->gap_us = US_PER_S / fps;
    s->ts_step = (uint32_t)(clock / fps);
    s->next_us = clock_now_us() + offset_us;
    begin(s);
}

static void do_unpub(const struct peer *p)
{
    for (unsigned i = 0; i < en.n_streams; i++)
        if (en.stream[i]->peer == p)
            stop(en.stream[i]);
}

static void forget_streams(const struct peer *p)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < en.n_streams; i++) {
        if (en.stream[i]->peer == p) {
            stop(en.stream[i]);
            mem_free(en.stream[i]->film);
            mem_free(en.stream[i]);
        } else
            en.stream[kept++] = en.stream[i];
    }
    en.n_streams = kept;
}

/* Gives the number of the first packet that will have it. */
static uint32_t do_level(const struct peer *p, unsigned level)
{
    uint32_t next = 0;

    for (unsigned i = 0; i < en.n_streams; i++) {
        struct stream *s = en.stream[i];
        if (s->peer == p && s->level_at > 0)
            s->ext[s->level_at - 1] = (uint8_t)((level < 127 ? 0x80 : 0) | level);
        if (s->peer == p)
            next = s->number & NUMBER_MASK;
    }
    return next;
}

static void do_mark(void)
{
    memset(en.latency, 0, sizeof(en.latency));
    en.sent_pkts = en.sent_bytes = en.send_failed = en.late = en.got_pkts = en.got_bytes = 0;
    en.forged = en.latency_n = en.latency_max_us = 0;
    en.mark_us = clock_now_us();
    for (unsigned i = 0; i < en.n_peers; i++) {
        struct peer *p = en.peer[i];
        if (!p)
            continue;
        p->got_pkts = p->got_bytes = p->lost_auth = p->rtcp_pkts = p->nack = p->pli = p->fir = 0;
        p->twcc = p->remb = p->sr = p->rr = 0;
        p->first_rtp_us = p->first_open_us = 0;
        p->n_talkers = 0;
        for (unsigned k = 0; k < p->n_streams; k++) {
            struct peer_in *in = &p->stream[k];
            *in = (struct peer_in){in->ssrc, in->top, in->top + 1, 0, in->last_us, 0};
        }
    }
}

static void stat_peer(const struct peer *p)
{
    printf("{\"re\":\"stat\",\"n\":%u,\"state\":%d,\"profile\":%u,\"pkts\":%" PRIu64
           ",\"bytes\":%" PRIu64 ",\"forged\":%" PRIu64 ",\"rtcp\":%" PRIu64 ",\"nack\":%" PRIu64
           ",\"pli\":%" PRIu64 ",\"fir\":%" PRIu64 ",\"twcc\":%" PRIu64 ",\"remb\":%" PRIu64
           ",\"sr\":%" PRIu64 ",\"rr\":%" PRIu64 ",\"streams\":[",
           p->id, p->state, p->profile, p->got_pkts, p->got_bytes, p->lost_auth, p->rtcp_pkts,
           p->nack, p->pli, p->fir, p->twcc, p->remb, p->sr, p->rr);
    for (unsigned i = 0; i < p->n_streams; i++) {
        const struct peer_in *in = &p->stream[i];
        uint64_t want = in->top + 1 > in->first ? in->top + 1 - in->first : 0;
        printf("%s{\"ssrc\":%u,\"pkts\":%" PRIu64 ",\"want\":%" PRIu64 ",\"gap_us\":%" PRIu64 "}",
               i ? "," : "", in->ssrc, in->pkts, want, in->gap_us);
    }
    printf("]}\n");
}

static void stat_heard(const struct peer *p)
{
    printf("{\"re\":\"heard\",\"heard\":[");
    for (unsigned i = 0; i < p->n_talkers; i++)
        printf("%s[%u,%u,%" PRIu64 "]", i ? "," : "", p->talker[i].id, p->talker[i].first,
               p->talker[i].pkts);
    printf("]}\n");
}

static void stat_all(void)
{
    unsigned up = 0, failed = 0;
    uint64_t pli = 0, fir = 0, nack = 0;
    struct rusage r;

    for (unsigned i = 0; i < en.n_peers; i++) {
        const struct peer *p = en.peer[i];
        up += p && p->state == PEER_UP;
        failed += p && p->state == PEER_FAILED;
        pli += p ? p->pli : 0;
        fir += p ? p->fir : 0;
        nack += p ? p->nack : 0;
    }
    getrusage(RUSAGE_SELF, &r);
    printf("{\"re\":\"stat\",\"up\":%u,\"failed\":%u,\"sent\":%" PRIu64 ",\"sent_bytes\":%" PRIu64
           ",\"send_failed\":%" PRIu64 ",\"late\":%" PRIu64 ",\"got\":%" PRIu64
           ",\"got_bytes\":%" PRIu64 ",\"forged\":%" PRIu64 ",\"pli\":%" PRIu64 ",\"fir\":%" PRIu64
           ",\"nack\":%" PRIu64 ",\"us\":%" PRIu64 ",\"cpu_us\":%" PRIu64 "}\n",
           up, failed, en.sent_pkts, en.sent_bytes, en.send_failed, en.late, en.got_pkts,
           en.got_bytes, en.forged, pli, fir, nack, clock_now_us() - en.mark_us,
           (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * US_PER_S +
               (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec));
}

/* From `go` on, in us: first answer to a check, keys, first RTP packet, first authentic one. */
static void stat_joins(void)
{
    const char *comma = "";

    printf("{\"re\":\"joins\",\"joins\":[");
    for (unsigned i = 0; i < en.n_peers; i++) {
        const struct peer *p = en.peer[i];
        if (!p || p->state != PEER_UP)
            continue;
        printf("%s[%u,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]", comma, p->id,
               p->ice_us - p->began_us, p->dtls_us - p->began_us,
               p->first_rtp_us ? p->first_rtp_us - p->began_us : 0,
               p->first_open_us ? p->first_open_us - p->began_us : 0);
        comma = ",";
    }
    printf("]}\n");
}

static uint64_t percentile(double share)
{
    uint64_t want = (uint64_t)(share * (double)en.latency_n), sum = 0;

    for (unsigned i = 0; i < LATENCY_BINS; i++) {
        sum += en.latency[i];
        if (sum > want)
            return (uint64_t)i * LATENCY_US;
    }
    return 0;
}

static void stat_latency(void)
{
    printf("{\"re\":\"latency\",\"n\":%" PRIu64 ",\"p50_us\":%" PRIu64 ",\"p95_us\":%" PRIu64
           ",\"p99_us\":%" PRIu64 ",\"p999_us\":%" PRIu64 ",\"max_us\":%" PRIu64 "}\n",
           en.latency_n, percentile(0.5), percentile(0.95), percentile(0.99), percentile(0.999),
           en.latency_max_us);
}

/* Bytes from the command line, COUNT times: as they are, or protected like the client's own. */
static void do_bytes(const char *what, struct peer *p, char *rest)
{
    uint64_t count = number(&rest);
    struct slice hex = slice_str(word(&rest));
    uint8_t plain[LINE_MAX_ / 2], b[LINE_MAX_];

    if (hex_decode(hex, plain, hex.len / 2) != 0)
        return;
    for (uint64_t i = 0; i < count && p->state == PEER_UP; i++) {
        size_t len = hex.len / 2;
        memcpy(b, plain, len);
        if (strcmp(what, "rtcp") == 0)
            len = bench_srtcp_seal(&p->tx, b, len);
        else if (strcmp(what, "rtp") == 0)
            len = bench_srtp_seal(&p->tx, b, RTP_BYTES, len, (uint64_t)(b[2] << 8 | b[3]));
        peer_send(p, b, len);
    }
}

static void do_del(struct peer *p)
{
    forget_streams(p);
    en.peer[p->id] = NULL;
    peer_close(p);
    mem_free(p);
}

/* Commands that name a client. False: no such command. */
static bool peer_command(const char *what, struct peer *p, char *rest)
{
    if (strcmp(what, "go") == 0) {
        do_go(p, rest);
    } else if (strcmp(what, "pub") == 0) {
        do_pub(p, rest);
    } else if (strcmp(what, "play") == 0) {
        do_play(p, rest);
    } else if (strcmp(what, "unpub") == 0) {
        do_unpub(p);
    } else if (strcmp(what, "level") == 0) {
        printf("{\"re\":\"level\",\"next\":%u}\n", do_level(p, (unsigned)number(&rest)));
        return true;
    } else if (strcmp(what, "heard") == 0) {
        stat_heard(p);
        return true;
    } else if (strcmp(what, "open") == 0) {
        p->recv = RECV_OPEN;
        setsockopt(p->fd, SOL_SOCKET, SO_TIMESTAMPNS, &(int){1}, sizeof(int));
    } else if (strcmp(what, "count") == 0) {
        p->recv = RECV_COUNT;
    } else if (strcmp(what, "remb") == 0) {
        send_remb(p, number(&rest));
    } else if (strcmp(what, "rtcp") == 0 || strcmp(what, "rtp") == 0 || strcmp(what, "raw") == 0) {
        do_bytes(what, p, rest);
    } else if (strcmp(what, "cut") == 0) {
        p->cut = strcmp(word(&rest), "on") == 0;
    } else if (strcmp(what, "move") == 0) {
        peer_open(p);
        watch(p);
        peer_check(p, clock_now_us());
    } else if (strcmp(what, "del") == 0) {
        do_del(p);
    } else {
        return false;
    }
    printf("{\"re\":\"%s\"}\n", what);
    return true;
}

/* False: the end. */
static bool command(char *line)
{
    const char *what = word(&line);

    if (strcmp(what, "quit") == 0)
        return false;
    if (strcmp(what, "add") == 0) {
        do_add(line);
    } else if (strcmp(what, "mark") == 0) {
        do_mark();
        printf("{\"re\":\"mark\"}\n");
    } else if (strcmp(what, "report") == 0) {
        en.report = strcmp(word(&line), "on") == 0;
        printf("{\"re\":\"report\"}\n");
    } else if (strcmp(what, "quantum") == 0) {
        en.quantum_us = number(&line);
        printf("{\"re\":\"quantum\"}\n");
    } else if (strcmp(what, "wire") == 0) {
        const char *device = word(&line);
        wire_open(&wire, device, word(&line));
        printf("{\"re\":\"wire\"}\n");
    } else if (strcmp(what, "bind") == 0) {
        if (addr_parse(&peer_bind, slice_str(word(&line))) != 0)
            die("bind: no such address");
        printf("{\"re\":\"bind\"}\n");
    } else if (strcmp(what, "stat") == 0 && *line == '\0') {
        stat_all();
    } else if (strcmp(what, "joins") == 0) {
        stat_joins();
    } else if (strcmp(what, "latency") == 0) {
        stat_latency();
    } else {
        struct peer *p = find((unsigned)number(&line));
        if (p && strcmp(what, "stat") == 0)
            stat_peer(p);
        else if (!p || !peer_command(what, p, line))
            printf("{\"re\":\"error\",\"why\":\"no such command or client\"}\n");
    }
    fflush(stdout);
    return true;
}

static bool read_commands(void)
{
    static char buf[65536];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, buf + len, sizeof(buf) - 1 - len);

    if (n <= 0)
        return n == -1 && errno == EAGAIN;
    len += (size_t)n;
    buf[len] = '\0';
    char *line = buf, *end;
    for (; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        if (!command(line))
            return false;
    }
    len = strlen(line);
    memmove(buf, line, len + 1);
    return true;
}

/* --- the loop */

static void tick(uint64_t now_us)
{
    if (now_us < en.next_tick_us)
        return;
    en.next_tick_us = now_us + TICK_US / TICK_PARTS;
    en.tick_at = (en.tick_at + 1) % TICK_PARTS;
    for (unsigned i = en.tick_at; i < en.n_peers; i += TICK_PARTS) {
        if (en.peer[i] && peer_tick(en.peer[i], now_us))
            tell_state(en.peer[i]);
    }
    if (en.report && now_us >= en.next_report_us) {
        en.next_report_us = now_us + REPORT_US;
        send_reports();
    }
}

static bool turn(void)
{
    struct epoll_event ev[512];
    uint64_t now_us = clock_now_us(), due = send_due(now_us);

    due = en.next_tick_us < due ? en.next_tick_us : due;
    now_us = clock_now_us();
    uint64_t wait_us = due > now_us ? due - now_us : 0;
    struct timespec wait = {(time_t)(wait_us / US_PER_S), (long)(wait_us % US_PER_S * 1000)};
    if (en.quantum_us) {
        /* By the clock, never on a socket: whoever sends is billed for waking up who waits. */
        wait = (struct timespec){0, (long)en.quantum_us * 1000};
        nanosleep(&wait, NULL);
        wait = (struct timespec){0};
    }
    int n = epoll_pwait2(en.epoll, ev, ARRAY_LEN(ev), &wait, NULL);
    bool commands = false;
    for (int i = 0; i < n; i++) {
        if (ev[i].data.ptr)
            read_peer(ev[i].data.ptr);
        else
            commands = true; /* last: they free clients */
    }
    tick(clock_now_us());
    return !commands || read_commands();
}

int main(int argc, char **argv)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    peer_setup(argc > 1 ? argv[1]
                        : "SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80");
    en.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (en.epoll == -1 || epoll_ctl(en.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &ev) == -1)
        die("epoll");
    en.mark_us = clock_now_us();
    printf("{\"event\":\"ready\",\"fingerprint\":\"%s\"}\n", peer_fingerprint);
    fflush(stdout);
    while (turn())
        ;
    return 0;
}
