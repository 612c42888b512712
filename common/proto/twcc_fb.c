/* Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01
 * §3.1).
 *
 *    base sequence number (16)  | packet status count (16)
 *    reference time (24)        | feedback packet count (8)
 *    packet chunks (16 each): run length 0 ss lllllllllllll, vector 1 0 14×s or 1 1 7×ss
 *    receive deltas (8 or 16 each)
 *
 * Read by bwe.c, written by twcc_recv.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/twcc_fb.h"

#include <errno.h>

enum {
    NOT_ARRIVED,
    SMALL_DELTA,
    LARGE_DELTA,
    VECTOR = 0x8000,
    VECTOR_TWO_BITS = 0x4000,
    VECTOR_BITS = 14,
    VECTOR_TWO = VECTOR_BITS / 2, /* symbols of two bits */
    RUN_MAX = 0x1fff,
    CHUNK_BYTES = 2,
    HEAD_BYTES = RTCP_HEADER_BYTES + 16,
    TICKS_PER_BASE = TWCC_BASE_US / TWCC_TICK_US,
};

/* Begins the next chunk. */
static void chunk_next(struct twcc_fb *fb)
{
    uint16_t chunk = rd_be16(&fb->_chunks);

    if (!(chunk & VECTOR)) {
        fb->_bits = 0;
        fb->_symbol = chunk >> 13 & 3;
        fb->_run = chunk & RUN_MAX;
    } else {
        fb->_bits = chunk & VECTOR_TWO_BITS ? 2 : 1;
        fb->_run = (uint16_t)(VECTOR_BITS / fb->_bits);
        fb->_symbols = (uint16_t)(chunk << 2);
    }
}

/* The next status symbol; the caller has checked that there is one. */
static unsigned symbol_next(struct twcc_fb *fb)
{
    unsigned symbol = fb->_symbol;

    fb->_run--;
    if (fb->_bits > 0) {
        symbol = (unsigned)fb->_symbols >> (16 - fb->_bits);
        fb->_symbols = (uint16_t)(fb->_symbols << fb->_bits);
    }
    return symbol;
}

/* Walks over all statuses: how many bytes of chunks and deltas do they take? */
static int measure(struct twcc_fb walk, size_t *chunk_bytes)
{
    size_t all = walk._chunks.left, delta_bytes = 0;

    for (unsigned left = walk.n; left > 0;) {
        chunk_next(&walk);
        if (walk._chunks.bad || walk._run == 0)
            return -EBADMSG;
        if (walk._bits == 0) {
            unsigned run = walk._run < left ? walk._run : left;
            if (walk._symbol > LARGE_DELTA)
                return -EBADMSG;
            delta_bytes += (size_t)run * walk._symbol;
            left -= run;
            continue;
        }
        while (walk._run > 0 && left > 0) {
            unsigned symbol = symbol_next(&walk);
            if (symbol > LARGE_DELTA)
                return -EBADMSG;
            delta_bytes += symbol;
            left--;
        }
    }
    *chunk_bytes = all - walk._chunks.left;
    return delta_bytes > walk._chunks.left ? -EBADMSG : 0;
}

int twcc_fb_decode(struct twcc_fb *out, struct slice fci)
{
    struct rd r = rd_init(fci);
    struct twcc_fb fb = {.base_seq = rd_be16(&r)};
    size_t chunk_bytes;

    fb.n = rd_be16(&r);
    uint32_t word = rd_be32(&r);
    if (r.bad)
        return -EBADMSG;
    fb.reference = word >> 8;
    fb.fb_seq = (uint8_t)word;
    fb._chunks = r;
    if (measure(fb, &chunk_bytes) != 0)
        return -EBADMSG;
    fb._deltas = r;
    (void)rd_take(&fb._deltas, chunk_bytes);
    fb._at_us = (int64_t)fb.reference * TWCC_BASE_US;
    *out = fb;
    return 0;
}

bool twcc_fb_next(struct twcc_fb *fb, struct twcc_status *out)
{
    if (fb->_next == fb->n)
        return false;
    if (fb->_run == 0)
        chunk_next(fb);
    unsigned symbol = symbol_next(fb);
    int32_t ticks = 0;
    if (symbol == SMALL_DELTA)
        ticks = rd_u8(&fb->_deltas);
    else if (symbol == LARGE_DELTA)
        ticks = (int16_t)rd_be16(&fb->_deltas);
    out->seq = (uint16_t)(fb->base_seq + fb->_next++);
    out->arrived = symbol != NOT_ARRIVED;
    out->delta_us = ticks * TWCC_TICK_US;
    fb->_at_us += out->delta_us;
    out->at_us = fb->_at_us;
    return true;
}

/* Statuses on their way into chunks: at most RUN_MAX equal ones, or as many as a vector takes. */
struct chunker {
    struct wr *w;
    unsigned n;
    bool same;  /* all are sym[0] */
    bool large; /* one of them is LARGE_DELTA */
    uint8_t sym[VECTOR_BITS];
};

static bool chunker_takes(const struct chunker *c, unsigned symbol)
{
    if (c->n < VECTOR_TWO)
        return true;
    if (c->n < VECTOR_BITS && !c->large && symbol != LARGE_DELTA)
        return true;
    return c->n < RUN_MAX && c->same && c->sym[0] == symbol;
}

static void chunker_put_vector(struct chunker *c, unsigned bits)
{
    unsigned room = VECTOR_BITS / bits;
    unsigned take = c->n < room ? c->n : room;
    unsigned chunk = VECTOR | (bits == 2 ? VECTOR_TWO_BITS : 0);

    for (unsigned i = 0; i < take; i++)
        chunk |= (unsigned)c->sym[i] << (VECTOR_BITS - bits * (i + 1));
    wr_be16(c->w, (uint16_t)chunk);
    /* What is left begins the next chunk. */
    c->n -= take;
    c->same = true;
    c->large = false;
    for (unsigned i = 0; i < c->n; i++) {
        c->sym[i] = c->sym[take + i];
        c->same = c->same && c->sym[i] == c->sym[0];
        c->large = c->large || c->sym[i] == LARGE_DELTA;
    }
}

/* Writes one chunk of what waits. Only the last one may have room left in its vector. */
static void chunker_put(struct chunker *c, bool last)
{
    if (c->same) {
        wr_be16(c->w, (uint16_t)((unsigned)c->sym[0] << 13 | c->n));
        c->n = 0;
        c->large = false;
        return;
    }
    bool one_bit = !c->large && c->n > VECTOR_TWO && (last || c->n == VECTOR_BITS);
    chunker_put_vector(c, one_bit ? 1 : 2);
}

static void chunker_add(struct chunker *c, unsigned symbol, size_t times)
{
    while (times > 0) {
        if (!chunker_takes(c, symbol)) {
            chunker_put(c, false);
            continue;
        }
        if (c->n >= VECTOR_BITS) { /* a long run: many at once */
            size_t room = RUN_MAX - c->n;
            size_t take = times < room ? times : room;
            c->n += (unsigned)take;
            times -= take;
            continue;
        }
        c->same = c->n == 0 || (c->same && c->sym[0] == symbol);
        c->large = c->large || symbol == LARGE_DELTA;
        c->sym[c->n++] = (uint8_t)symbol;
        times--;
    }
}

/* The symbol that tells of a delta, or NOT_ARRIVED when none can. */
static unsigned delta_symbol(int64_t ticks)
{
    if (ticks >= 0 && ticks <= UINT8_MAX)
        return SMALL_DELTA;
    return ticks >= INT16_MIN && ticks <= INT16_MAX ? LARGE_DELTA : NOT_ARRIVED;
}

/* Writes the chunks of as many arrivals as fit; *end is the status behind the last. */
static size_t put_chunks(struct wr *w, uint64_t base_seq, const struct twcc_arrival *v, size_t n,
                         uint64_t *end)
{
    struct chunker c = {.w = w, .same = true};
    int64_t last = (int64_t)(v[0].at_us / TWCC_BASE_US * TICKS_PER_BASE);
    size_t delta_bytes = 0, i;

    *end = base_seq;
    for (i = 0; i < n; i++) {
        int64_t tick = (int64_t)(v[i].at_us / TWCC_TICK_US);
        unsigned symbol = delta_symbol(tick - last);
        if (symbol == NOT_ARRIVED || v[i].seq < *end || v[i].seq - base_seq >= TWCC_STATUS_MAX)
            break;
        struct chunker before = c;
        size_t before_len = w->len;
        chunker_add(&c, NOT_ARRIVED, v[i].seq - *end);
        chunker_add(&c, symbol, 1);
        /* One more chunk for what waits, and up to three bytes of padding. */
        size_t more = CHUNK_BYTES + delta_bytes + symbol + 3;
        if (w->bad || w->cap - w->len < more) {
            c = before;
            w->len = before_len;
            w->bad = false;
            break;
        }
        delta_bytes += symbol;
        last = tick;
        *end = v[i].seq + 1;
    }
    if (c.n > 0)
        chunker_put(&c, true);
    return i;
}

static void put_deltas(struct wr *w, const struct twcc_arrival *v, size_t n)
{
    int64_t last = (int64_t)(v[0].at_us / TWCC_BASE_US * TICKS_PER_BASE);

    for (size_t i = 0; i < n; i++) {
        int64_t tick = (int64_t)(v[i].at_us / TWCC_TICK_US);
        if (delta_symbol(tick - last) == SMALL_DELTA)
            wr_u8(w, (uint8_t)(tick - last));
        else
            wr_be16(w, (uint16_t)(tick - last));
        last = tick;
    }
}

size_t twcc_fb_encode(struct wr *w, uint32_t sender, uint32_t media, uint8_t fb_seq,
                      uint64_t base_seq, const struct twcc_arrival *v, size_t n)
{
    size_t at = w->len;
    uint64_t end;

    if (w->bad || w->cap - w->len < HEAD_BYTES || n == 0)
        return 0;
    (void)rtcp_begin(w);
    wr_be32(w, sender);
    wr_be32(w, media);
    size_t count_at = w->len + 2;
    wr_be16(w, (uint16_t)base_seq);
    wr_be16(w, 0);
    wr_be32(w, (uint32_t)(v[0].at_us / TWCC_BASE_US) << 8 | fb_seq);
    size_t taken = put_chunks(w, base_seq, v, n, &end);
    if (taken == 0) {
        w->len = at;
        return 0;
    }
    put_deltas(w, v, taken);
    wr_patch_be16(w, count_at, (uint16_t)(end - base_seq));
    size_t pad = (4 - (w->len - at) % 4) % 4;
    if (pad > 0) {
        wr_zero(w, pad - 1);
        wr_u8(w, (uint8_t)pad);
    }
    rtcp_end(w, at, RTCP_RTPFB, RTCP_FB_TWCC);
    if (pad > 0)
        w->base[at] |= RTCP_PADDED;
    return taken;
}
