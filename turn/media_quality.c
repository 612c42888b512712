/* How the media of one allocation fares on its way to the relay.
 *
 * Called by relay.c for each packet, by turn_worker.c for each interval. Pure; the packets' path
 * allocates once in an allocation's life: most of those that carry nothing need no more.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/media_quality.h"

#include "base/mem.h"
#include "proto/rtp.h"

#define STALE_US      (10 * US_PER_S) /* a stream that was not heard for so long may go */
#define RTT_MAX_US    (10 * US_PER_S)
#define STUN_HEADER   20
#define STUN_COOKIE   0x2112a442
#define STUN_REQUEST  0x0001 /* Binding: RFC 8489 §14 */
#define STUN_RESPONSE 0x0101
#define STUN_LAST     3 /* RFC 7983 §7: first bytes */
#define RTP_FIRST     128
#define RTP_LAST      191

void media_quality_init(struct media_quality *m, void *owner, uint64_t now_us)
{
    m->owner = owner;
    m->since_us = now_us;
    list_init(&m->due);
}

void media_quality_fini(struct media_quality *m)
{
    if (!m)
        return;
    list_del(&m->due);
    mem_free(m->path_mem);
    m->path_mem = m->path = NULL;
}

/* The i-th of MEDIA_STREAMS. */
static struct media_stream *stream_at(struct media_quality *m, enum media_way way, unsigned i)
{
    return i == 0 ? &m->first[way] : &m->path[way].more[i - 1];
}

/* ---- RTP ---- */

/* A place for a stream that has proven itself, or NULL: all are in use. */
static struct media_stream *place_for(struct media_quality *m, enum media_way way, uint64_t now_us)
{
    struct media_stream *oldest = stream_at(m, way, 0);

    for (unsigned i = 1; i < MEDIA_STREAMS; i++)
        if (stream_at(m, way, i)->seen_us < oldest->seen_us)
            oldest = stream_at(m, way, i);
    return oldest->seen_us == 0 || now_us - oldest->seen_us >= STALE_US ? oldest : NULL;
}

/* An SSRC that is not known: RFC 3550 §A.1, two in sequence. */
static void take_new(struct media_quality *m, enum media_way way, uint32_t ssrc, uint16_t seq,
                     uint32_t ts, size_t len, uint64_t now_us)
{
    struct media_path *p = &m->path[way];
    unsigned i = 0;

    while (i < MEDIA_STREAMS && p->new_ssrc[i] != ssrc)
        i++;
    bool known = i < MEDIA_STREAMS;
    struct media_stream *s = known && p->new_seq[i] == seq ? place_for(m, way, now_us) : NULL;
    if (!known) {
        i = p->new_at;
        p->new_at = (uint8_t)((i + 1) % MEDIA_STREAMS);
        p->new_ssrc[i] = ssrc;
    }
    p->new_seq[i] = (uint16_t)(seq + 1);
    if (s)
        media_stream_begin(s, ssrc, seq, ts, len, now_us);
}

/* Voice alone is one stream: the first. */
static struct media_stream *find(struct media_quality *m, enum media_way way, uint32_t ssrc)
{
    for (unsigned i = 0; i < MEDIA_STREAMS; i++) {
        struct media_stream *s = stream_at(m, way, i);
        if (s->ssrc == ssrc && s->seen_us != 0)
            return s;
    }
    return NULL;
}

static void take_rtp(struct media_quality *m, enum media_way way, struct slice payload,
                     uint64_t now_us)
{
    struct rd r = rd_init(payload);
    uint16_t first = rd_be16(&r), seq = rd_be16(&r);
    uint32_t ts = rd_be32(&r), ssrc = rd_be32(&r);

    if (r.bad || rtp_is_rtcp((uint8_t)(first >> 8), (uint8_t)first))
        return;
    struct media_stream *s = find(m, way, ssrc);
    if (s)
        media_stream_packet(s, seq, ts, payload.len, now_us);
    else
        take_new(m, way, ssrc, seq, ts, payload.len, now_us);
}

/* ---- STUN ---- */

static void take_answer(struct media_path *of_requests, struct media_path *p, uint64_t key,
                        uint64_t now_us)
{
    for (unsigned i = 0; i < MEDIA_CHECKS; i++) {
        struct media_check *c = &of_requests->check[i];
        if (c->at_us == 0 || c->key != key || now_us - c->at_us > RTT_MAX_US)
            continue;
        p->rtt_us = (uint32_t)(now_us - c->at_us);
        p->rtt_sum_us += p->rtt_us;
        p->rtt_n++;
        c->at_us = 0; /* a second answer says nothing */
        return;
    }
}

/* A repeated request has the same id (RFC 8489 §6.2.1): the answer may be to either, so the first
 * one counts: too long rather than impossibly short. */
static void take_request(struct media_path *p, uint64_t key, uint64_t now_us)
{
    for (unsigned i = 0; i < MEDIA_CHECKS; i++)
        if (p->check[i].at_us != 0 && p->check[i].key == key)
            return;
    p->check[p->check_at] = (struct media_check){key, now_us};
    p->check_at = (uint8_t)((p->check_at + 1) % MEDIA_CHECKS);
}

static void take_stun(struct media_quality *m, enum media_way way, struct slice payload,
                      uint64_t now_us)
{
    struct rd r = rd_init(payload);
    uint16_t type = rd_be16(&r);

    rd_be16(&r); /* length */
    if (payload.len < STUN_HEADER || rd_be32(&r) != STUN_COOKIE)
        return;
    uint64_t key = rd_be64(&r) ^ (uint64_t)rd_be32(&r) << 32;
    if (type == STUN_REQUEST)
        take_request(&m->path[way], key, now_us);
    else if (type == STUN_RESPONSE)
        take_answer(&m->path[way == MEDIA_UP ? MEDIA_DOWN : MEDIA_UP], &m->path[way], key, now_us);
}

static bool make_path(struct media_quality *m)
{
    m->path_mem = mem_zalloc(MEDIA_WAYS * sizeof(*m->path) + MEDIA_LINE);
    if (m->path_mem)
        m->path = (struct media_path *)(((uintptr_t)m->path_mem + MEDIA_LINE - 1) &
                                        ~(uintptr_t)(MEDIA_LINE - 1));
    return m->path_mem;
}

void media_quality_packet(struct media_quality *m, enum media_way way, struct slice payload,
                          uint64_t now_us)
{
    uint8_t first = payload.len > 0 ? payload.p[0] : STUN_LAST + 1;
    bool rtp = first >= RTP_FIRST && first <= RTP_LAST;

    if ((!rtp && first > STUN_LAST) ||
        (!m->path && !make_path(m))) /* memory is out: it is not judged */
        return;
    (rtp ? take_rtp : take_stun)(m, way, payload, now_us);
}

/* ---- intervals ---- */

void media_quality_blind(struct media_quality *m)
{
    m->blind = true;
}

/* What went past us must not look lost: streams are found again as if they were new. */
static void forget(struct media_quality *m, enum media_way way)
{
    for (unsigned i = 0; i < MEDIA_STREAMS; i++)
        *stream_at(m, way, i) = (struct media_stream){0};
}

static const struct media_stream *voice_of(struct media_quality *m, enum media_way way,
                                           uint32_t *others)
{
    const struct media_stream *best = NULL;
    uint32_t all = 0;

    for (unsigned i = 0; i < MEDIA_STREAMS; i++) {
        const struct media_stream *s = stream_at(m, way, i);
        all += s->packets;
        if (media_stream_is_voice(s) && s->packets > (best ? best->packets : 0))
            best = s;
    }
    *others = all - (best ? best->packets : 0);
    return best;
}

static void read_leg(struct media_quality *m, enum media_way way, struct media_leg *out)
{
    const struct media_stream *s = voice_of(m, way, &out->others);
    const struct media_path *p = &m->path[way];

    out->rtt_us = p->rtt_n > 0 ? (uint32_t)(p->rtt_sum_us / p->rtt_n) : p->rtt_us;
    if (!s)
        return;
    out->voice = (struct media_count){s->packets, s->bytes, s->expected, s->lost, s->runs};
    out->clock = s->clock;
    out->jitter_us = media_stream_jitter_us(s);
    out->frame_us = media_stream_frame_us(s);
}

static void sum_up(struct media_sums *sum, const struct media_leg *leg, bool heard_rtt)
{
    sum->rtt_us += heard_rtt ? leg->rtt_us : 0;
    sum->rtt_n += heard_rtt;
    if (leg->voice.packets == 0)
        return;
    sum->expected += leg->voice.expected;
    sum->lost += leg->voice.lost;
    sum->runs += leg->voice.runs;
    sum->jitter_us += leg->jitter_us;
    sum->jitter_n++;
}

static void next(struct media_quality *m, enum media_way way)
{
    struct media_path *p = &m->path[way];

    for (unsigned i = 0; i < MEDIA_STREAMS; i++)
        media_stream_next(stream_at(m, way, i));
    p->rtt_sum_us = p->rtt_n = 0;
}

bool media_quality_next(struct media_quality *m, uint64_t now_us, struct media_report *out)
{
    bool heard = false;

    *out = (struct media_report){.us = now_us - m->since_us};
    for (unsigned i = 0; m->path && i < MEDIA_WAYS; i++) {
        enum media_way way = (enum media_way)i;
        if (m->blind) {
            forget(m, way);
        } else {
            read_leg(m, way, &out->leg[i]);
            sum_up(&m->sums[i], &out->leg[i], m->path[i].rtt_n > 0);
            heard = heard || out->leg[i].voice.packets > 0;
        }
        next(m, way);
    }
    m->since_us = now_us;
    m->blind = false;
    return heard;
}

bool media_quality_has_sums(const struct media_quality *m)
{
    return m->sums[MEDIA_UP].jitter_n > 0 || m->sums[MEDIA_DOWN].jitter_n > 0;
}
