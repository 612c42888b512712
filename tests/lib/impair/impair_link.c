/* One direction of an impaired link.
 *
 * A packet is in a slot of the pool from push to pop: first in the queue (a FIFO ring of slot
 * numbers), then in a heap by release time. The head of the queue leaves the bottleneck at
 * depart_us. SPDX-License-Identifier: BSD-3-Clause */
#include "impair_link.h"

#include "base/mem.h"
#include "base/rand.h"

#define PROTO_TCP    6
#define PROTO_UDP    17
#define PROTO_ICMPV6 58
#define BITS_US      (8 * US_PER_S)

struct packet {
    uint64_t release_us, order;
    uint64_t queued_us;
    uint16_t len;
    bool spared; /* ICMPv6 */
    uint8_t bytes[IMPAIR_PACKET_MAX];
};

struct impair_link {
    struct impair_conf conf;
    struct impair_stats stats;
    struct rand_src rand;
    bool losing; /* Gilbert-Elliott: in the bad state */
    uint64_t start_us, last_release_us, order;
    uint64_t depart_us; /* of the queue's head */
    uint64_t queue_bytes;
    unsigned queue_at, n_queue, n_heap, n_free;
    uint16_t queue[IMPAIR_PKTS_MAX], heap[IMPAIR_PKTS_MAX], free[IMPAIR_PKTS_MAX];
    struct impair_bucket bucket[IMPAIR_BUCKETS];
    uint64_t last_bucket;
    struct packet pool[IMPAIR_PKTS_MAX];
};

struct impair_link *impair_link_new(uint64_t seed, uint64_t now_us)
{
    struct impair_link *l = mem_zalloc(sizeof(*l));

    if (!l)
        return NULL;
    rand_src_init(&l->rand, seed);
    l->start_us = now_us;
    while (l->n_free < IMPAIR_PKTS_MAX) {
        l->free[l->n_free] = (uint16_t)(IMPAIR_PKTS_MAX - 1 - l->n_free);
        l->n_free++;
    }
    return l;
}

void impair_link_free(struct impair_link *l)
{
    mem_free(l);
}

const struct impair_conf *impair_link_conf(const struct impair_link *l)
{
    return &l->conf;
}

struct impair_stats *impair_link_stats(struct impair_link *l)
{
    return &l->stats;
}

const struct impair_bucket *impair_link_bucket(const struct impair_link *l, uint64_t i)
{
    if (i > l->last_bucket || l->last_bucket - i >= IMPAIR_BUCKETS)
        return NULL;
    return &l->bucket[i % IMPAIR_BUCKETS];
}

/* The bucket of this moment; those that were skipped are empty. */
static struct impair_bucket *bucket_now(struct impair_link *l, uint64_t now_us)
{
    uint64_t i = now_us > l->start_us ? (now_us - l->start_us) / IMPAIR_BUCKET_US : 0;

    if (i < l->last_bucket)
        i = l->last_bucket;
    for (unsigned n = 0; l->last_bucket < i; n++) {
        l->last_bucket = n < IMPAIR_BUCKETS ? l->last_bucket + 1 : i;
        l->bucket[l->last_bucket % IMPAIR_BUCKETS] = (struct impair_bucket){0};
    }
    return &l->bucket[i % IMPAIR_BUCKETS];
}

/* --- the heap */

static bool earlier(const struct impair_link *l, unsigned a, unsigned b)
{
    const struct packet *x = &l->pool[l->heap[a]], *y = &l->pool[l->heap[b]];

    return x->release_us != y->release_us ? x->release_us < y->release_us : x->order < y->order;
}

static void swap(struct impair_link *l, unsigned a, unsigned b)
{
    uint16_t slot = l->heap[a];

    l->heap[a] = l->heap[b];
    l->heap[b] = slot;
}

static void heap_add(struct impair_link *l, uint16_t slot, uint64_t release_us)
{
    unsigned i = l->n_heap++;

    l->pool[slot].release_us = release_us;
    l->pool[slot].order = l->order++;
    for (l->heap[i] = slot; i > 0 && earlier(l, i, (i - 1) / 2); i = (i - 1) / 2)
        swap(l, i, (i - 1) / 2);
}

static uint16_t heap_take(struct impair_link *l)
{
    uint16_t top = l->heap[0];
    unsigned i = 0;

    l->heap[0] = l->heap[--l->n_heap];
    for (;;) {
        unsigned least = 2 * i + 1;
        if (least >= l->n_heap)
            return top;
        if (least + 1 < l->n_heap && earlier(l, least + 1, least))
            least++;
        if (!earlier(l, least, i))
            return top;
        swap(l, i, least);
        i = least;
    }
}

/* --- what is behind the bottleneck */

static bool chance(struct impair_link *l, uint32_t ppm)
{
    return ppm > 0 && rand_src_below(&l->rand, IMPAIR_PPM) < ppm;
}

/* Loses in runs of mean length `burst`, in the end loss_ppm of all (Gilbert 1960, all is lost in
 * the bad state): out of it by 1/burst, into it so that the share of the bad state is the loss. */
static bool is_lost(struct impair_link *l)
{
    const struct impair_conf *c = &l->conf;

    if (c->loss_ppm == 0)
        return false;
    if (c->burst <= 1 || c->loss_ppm >= IMPAIR_PPM)
        return chance(l, c->loss_ppm);
    double out = 1 / c->burst, share = (double)c->loss_ppm / IMPAIR_PPM;
    double change = l->losing ? out : out * share / (1 - share);
    if (chance(l, (uint32_t)(change * IMPAIR_PPM)))
        l->losing = !l->losing;
    return l->losing;
}

/* When a packet that leaves the bottleneck at now_us arrives. */
static uint64_t release_us(struct impair_link *l, uint64_t now_us)
{
    const struct impair_conf *c = &l->conf;
    uint64_t at = now_us + c->delay_us;

    if (c->jitter_us > 0)
        at += rand_src_below(&l->rand, c->jitter_us + 1);
    if (!c->reorder && at < l->last_release_us)
        at = l->last_release_us;
    l->last_release_us = at;
    if (chance(l, c->held_ppm)) {
        l->stats.held++;
        at += c->held_us;
    }
    return at;
}

static void drop(struct impair_link *l, uint64_t *why, uint64_t now_us)
{
    ++*why;
    bucket_now(l, now_us)->drops++;
}

static void depart(struct impair_link *l, uint16_t slot, uint64_t now_us)
{
    struct packet *p = &l->pool[slot];

    if (p->spared) {
        heap_add(l, slot, now_us + l->conf.delay_us);
        return;
    }
    if (is_lost(l)) {
        l->free[l->n_free++] = slot;
        drop(l, &l->stats.lost, now_us);
        return;
    }
    if (chance(l, l->conf.dup_ppm) && l->n_free > 0) {
        uint16_t twin = l->free[--l->n_free];
        l->pool[twin].len = p->len;
        memcpy(l->pool[twin].bytes, p->bytes, p->len);
        l->stats.dup++;
        heap_add(l, twin, release_us(l, now_us));
    }
    heap_add(l, slot, release_us(l, now_us));
}

/* --- the bottleneck */

static uint64_t airtime_us(const struct impair_link *l, uint64_t bytes)
{
    return l->conf.rate_bps == 0 ? 0 : bytes * BITS_US / l->conf.rate_bps;
}

/* Lets everything leave the bottleneck that has left it by now. */
static void serve(struct impair_link *l, uint64_t now_us)
{
    while (l->n_queue > 0 && l->depart_us <= now_us) {
        uint16_t slot = l->queue[l->queue_at];
        struct packet *p = &l->pool[slot];
        uint64_t left_us = l->depart_us, waited = left_us - p->queued_us;

        l->queue_at = (l->queue_at + 1) % IMPAIR_PKTS_MAX;
        l->queue_bytes -= p->len;
        if (--l->n_queue > 0)
            l->depart_us += airtime_us(l, l->pool[l->queue[l->queue_at]].len);
        if (waited > l->stats.queue_us_max)
            l->stats.queue_us_max = waited;
        struct impair_bucket *b = bucket_now(l, now_us);
        if (waited > b->queue_us_max)
            b->queue_us_max = (uint32_t)waited;
        depart(l, slot, left_us);
    }
}

void impair_link_set(struct impair_link *l, const struct impair_conf *conf, uint64_t now_us)
{
    serve(l, now_us);
    uint64_t old_bps = l->conf.rate_bps;
    l->conf = *conf;
    if (l->n_queue == 0 || old_bps == conf->rate_bps)
        return;
    /* The rest of the packet that is on its way goes at the new rate. */
    l->depart_us =
        now_us + (conf->rate_bps == 0 ? 0 : (l->depart_us - now_us) * old_bps / conf->rate_bps);
}

/* Protocol and ports of an IP packet; fragments and extension headers have neither. */
static void classify(struct slice packet, uint8_t *protocol, uint16_t port[2])
{
    struct rd r = rd_init(packet);
    uint8_t first = rd_u8(&r);
    size_t header =
        first >> 4 == 6 ? 40 : (size_t)(first & 0x0f) * 4; /* RFC 8200 §3, RFC 791 §3.1 */
    size_t at = first >> 4 == 6 ? 6 : 9;
    struct slice next = slice_sub(packet, at, 1);

    *protocol = next.len == 1 ? next.p[0] : 0;
    r = rd_init(slice_sub(packet, header, packet.len));
    port[0] = rd_be16(&r);
    port[1] = rd_be16(&r);
}

static bool is_blocked(const struct impair_conf *c, uint8_t protocol, const uint16_t port[2])
{
    for (unsigned i = 0; i < c->n_block; i++) {
        const struct impair_rule *b = &c->block[i];
        if (b->protocol == protocol && (b->port == 0 || b->port == port[0] || b->port == port[1]))
            return true;
    }
    return false;
}

static bool queue_has_room(const struct impair_link *l, size_t len, uint64_t now_us)
{
    const struct impair_conf *c = &l->conf;

    if (c->rate_bps == 0 || l->n_queue == 0)
        return true;
    if (c->queue_bytes > 0 && l->queue_bytes + len > c->queue_bytes)
        return false;
    uint64_t wait_us = (l->depart_us > now_us ? l->depart_us - now_us : 0) +
                       airtime_us(l, l->queue_bytes - l->pool[l->queue[l->queue_at]].len);
    return c->queue_us == 0 || wait_us <= c->queue_us;
}

void impair_link_push(struct impair_link *l, struct slice packet, uint64_t now_us)
{
    uint8_t protocol;
    uint16_t port[2];

    serve(l, now_us);
    classify(packet, &protocol, port);
    l->stats.in_pkts++;
    l->stats.in_bytes += packet.len;
    bucket_now(l, now_us)->in_bytes += (uint32_t)packet.len;
    if (packet.len > IMPAIR_PACKET_MAX) {
        drop(l, &l->stats.too_long, now_us);
    } else if (l->conf.cut) {
        drop(l, &l->stats.cut, now_us);
    } else if (is_blocked(&l->conf, protocol, port)) {
        drop(l, &l->stats.blocked, now_us);
    } else if (!queue_has_room(l, packet.len, now_us)) {
        drop(l, &l->stats.queue_full, now_us);
    } else if (l->n_free == 0) {
        drop(l, &l->stats.pool_full, now_us);
    } else {
        uint16_t slot = l->free[--l->n_free];
        struct packet *p = &l->pool[slot];
        p->len = (uint16_t)packet.len;
        p->queued_us = now_us;
        p->spared = protocol == PROTO_ICMPV6;
        memcpy(p->bytes, packet.p, packet.len);
        if (l->n_queue == 0)
            l->depart_us = now_us + airtime_us(l, packet.len);
        l->queue[(l->queue_at + l->n_queue++) % IMPAIR_PKTS_MAX] = slot;
        l->queue_bytes += packet.len;
        serve(l, now_us);
    }
}

bool impair_link_pop(struct impair_link *l, uint64_t now_us, struct slice *out)
{
    serve(l, now_us);
    if (l->n_heap == 0 || l->pool[l->heap[0]].release_us > now_us)
        return false;
    uint16_t slot = heap_take(l);
    *out = slice_of(l->pool[slot].bytes, l->pool[slot].len);
    l->free[l->n_free++] = slot; /* nothing takes it before the next push */
    l->stats.out_pkts++;
    l->stats.out_bytes += out->len;
    bucket_now(l, now_us)->out_bytes += (uint32_t)out->len;
    return true;
}

uint64_t impair_link_deadline(const struct impair_link *l)
{
    uint64_t at = l->n_heap > 0 ? l->pool[l->heap[0]].release_us : CLOCK_NEVER;

    return l->n_queue > 0 && l->depart_us < at ? l->depart_us : at;
}
