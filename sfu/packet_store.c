/* The last packets of one source stream: a ring of bytes, an index by sequence number.
 *
 * Called by producer.c (new packets), consumer.c (forwarding, retransmission), red_adapt.c. Pure;
 * owned by the room's worker.
 *
 * Positions in the ring are counted without end (`head`, `limit`, `pos`): what lies at pos is whole
 * as long as no more than the ring's length has been reserved since it began. So overwriting costs
 * nothing: no list of what is freed, one subtraction per look-up.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/packet_store.h"

#include "base/mem.h"
#include "sfu/media_packet.h"

#define USUAL_BYTES 128        /* of a packet of voice */
#define SEQ_NONE    UINT64_MAX /* no packet was ever in that slot */

struct packet_store {
    struct media_packet *pkt; /* slot seq & mask */
    uint64_t *pos;            /* where the packet in that slot begins */
    uint8_t *ring;
    size_t cap;
    uint64_t head;  /* where the next packet begins */
    uint64_t limit; /* up to where bytes may have been written */
    size_t at;      /* head's place in the ring */
    size_t reserved;
    uint64_t newest;
    unsigned mask;
};

static unsigned pow2_from(unsigned n)
{
    unsigned p = 1;

    while (p < n)
        p *= 2;
    return p;
}

struct packet_store *packet_store_new(unsigned pkts, size_t bytes)
{
    unsigned n = pow2_from(pkts < PACKET_STORE_PKTS_MAX ? pkts : PACKET_STORE_PKTS_MAX);
    struct packet_store *ps = mem_zalloc(sizeof(*ps));

    if (!ps)
        return NULL;
    ps->cap = bytes > PACKET_STORE_BYTES_MIN ? bytes : PACKET_STORE_BYTES_MIN;
    ps->mask = n - 1;
    ps->pkt = mem_calloc(n, sizeof(*ps->pkt));
    ps->pos = mem_calloc(n, sizeof(*ps->pos));
    ps->ring = mem_zalloc(ps->cap);
    if (!ps->pkt || !ps->pos || !ps->ring) {
        packet_store_free(ps);
        return NULL;
    }
    packet_store_reset(ps);
    return ps;
}

void packet_store_free(struct packet_store *ps)
{
    if (!ps)
        return;
    mem_free(ps->pkt);
    mem_free(ps->pos);
    mem_free(ps->ring);
    mem_free(ps);
}

size_t packet_store_bytes_for(uint64_t bps, unsigned seconds)
{
    uint64_t bytes = bps > PACKET_STORE_BPS_MAX ? PACKET_STORE_BPS_MAX / 8 : bps / 8;

    return (size_t)(bytes * (seconds < PACKET_STORE_S_MAX ? seconds : PACKET_STORE_S_MAX));
}

void packet_store_reset(struct packet_store *ps)
{
    for (unsigned i = 0; i <= ps->mask; i++)
        ps->pkt[i].seq = SEQ_NONE;
    ps->head = ps->limit = 0;
    ps->at = ps->reserved = 0;
    ps->newest = SEQ_NONE;
}

uint8_t *packet_store_reserve(struct packet_store *ps, size_t len)
{
    if (len == 0 || len > PACKET_STORE_LEN_MAX) {
        ps->reserved = 0;
        return NULL;
    }
    if (len > ps->cap - ps->at) { /* a packet is never split: the rest of this round is left out */
        ps->head += ps->cap - ps->at;
        ps->at = 0;
    }
    ps->reserved = len;
    if (ps->limit < ps->head + len)
        ps->limit = ps->head + len;
    return ps->ring + ps->at;
}

struct media_packet *packet_store_commit(struct packet_store *ps, uint64_t seq, size_t len)
{
    bool newest = ps->newest == SEQ_NONE || seq > ps->newest;
    struct media_packet *m = &ps->pkt[seq & ps->mask];

    if (len == 0 || len > ps->reserved || seq == SEQ_NONE)
        return NULL;
    if (m->seq == seq || (!newest && ps->newest - seq > ps->mask))
        return NULL;
    *m = (struct media_packet){.seq = seq, .p = ps->ring + ps->at, .len = (uint16_t)len};
    ps->pos[seq & ps->mask] = ps->head;
    ps->head += len;
    ps->at += len;
    ps->reserved = 0;
    if (newest)
        ps->newest = seq;
    return m;
}

struct media_packet *packet_store_find(struct packet_store *ps, uint64_t seq)
{
    struct media_packet *m = &ps->pkt[seq & ps->mask];

    if (m->seq != seq || seq == SEQ_NONE || ps->limit - ps->pos[seq & ps->mask] > ps->cap)
        return NULL;
    return m;
}

void packet_store_prefetch(const struct packet_store *ps, unsigned step)
{
    if (step == 0) {
        bytes_prefetch(ps, sizeof(*ps));
        return;
    }
    unsigned next = (unsigned)(ps->newest + 1) & ps->mask;

    bytes_prefetch(&ps->pkt[next], sizeof(*ps->pkt));
    __builtin_prefetch(&ps->pos[next]);
    bytes_prefetch(ps->ring + ps->at, USUAL_BYTES);
}

bool packet_store_newest(const struct packet_store *ps, uint64_t *seq)
{
    if (ps->newest == SEQ_NONE)
        return false;
    *seq = ps->newest;
    return true;
}

size_t packet_store_footprint(const struct packet_store *ps)
{
    return sizeof(*ps) + ps->cap + (ps->mask + (size_t)1) * (sizeof(*ps->pkt) + sizeof(*ps->pos));
}
