/* A bounded queue of byte records from one thread to another, without a lock.
 *
 * Called by turn/handover.c. Positions grow for ever and are masked where they are used: `head` is
 * the producer's, `tail` the consumer's, each published by a release store and read by the other
 * with acquire. A record never wraps round the end: what is left there is skipped by a mark.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/ring.h"

#include <stdatomic.h>

#include "base/mem.h"

#define RING_MIN_BYTES 64
#define RING_HEAD      8 /* bytes in front of a record: its length; records are aligned so */
#define RING_SKIP      UINT32_MAX /* instead of a length: go on at the beginning */
#define RING_LINE      64         /* bytes of a cache line: the two ends do not share one */

struct ring {
    uint8_t *bytes;
    size_t cap;
    uint8_t _apart[RING_LINE];
    _Atomic uint64_t head; /* written so far */
    uint64_t seen_tail;    /* the producer's last look at tail */
    uint8_t _apart2[RING_LINE];
    _Atomic uint64_t tail; /* released so far */
    uint64_t read;         /* the consumer's position */
    uint8_t _apart3[RING_LINE];
    atomic_bool awake; /* the consumer knows, or is about to */
};

struct ring *ring_new(size_t bytes)
{
    struct ring *r = mem_zalloc(sizeof(*r));

    if (!r)
        return NULL;
    r->cap = RING_MIN_BYTES;
    while (r->cap < bytes)
        r->cap *= 2;
    r->bytes = mem_zalloc(r->cap);
    if (r->bytes)
        return r;
    mem_free(r);
    return NULL;
}

void ring_free(struct ring *r)
{
    if (!r)
        return;
    mem_free(r->bytes);
    mem_free(r);
}

static void put_length(struct ring *r, uint64_t at, uint32_t length)
{
    memcpy(r->bytes + (at & (r->cap - 1)), &length, sizeof(length));
}

static uint32_t length_at(const struct ring *r, uint64_t at)
{
    uint32_t length;

    memcpy(&length, r->bytes + (at & (r->cap - 1)), sizeof(length));
    return length;
}

/* Bytes that a record takes with what is in front of it. */
static size_t taken(size_t len)
{
    return RING_HEAD + ((len + RING_HEAD - 1) & ~(size_t)(RING_HEAD - 1));
}

/* True when n bytes from head on are free. */
static bool has_room(struct ring *r, uint64_t head, size_t n)
{
    if (n <= r->cap - (head - r->seen_tail))
        return true;
    r->seen_tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    return n <= r->cap - (head - r->seen_tail);
}

bool ring_push(struct ring *r, const struct slice *parts, size_t n)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    size_t to_end = r->cap - (head & (r->cap - 1)), len = 0;

    for (size_t i = 0; i < n; i++) {
        if (parts[i].len > r->cap - len)
            return false;
        len += parts[i].len;
    }
    size_t need = taken(len), skipped = need <= to_end ? 0 : to_end;
    if (!has_room(r, head, skipped + need))
        return false;
    if (skipped > 0)
        put_length(r, head, RING_SKIP);
    put_length(r, head + skipped, (uint32_t)len);
    uint8_t *to = r->bytes + ((head + skipped) & (r->cap - 1)) + RING_HEAD;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len > 0)
            memcpy(to, parts[i].p, parts[i].len);
        to += parts[i].len;
    }
    atomic_store_explicit(&r->head, head + skipped + need, memory_order_release);
    return true;
}

bool ring_must_wake(struct ring *r)
{
    return !atomic_exchange(&r->awake, true);
}

void ring_woken(struct ring *r)
{
    atomic_store(&r->awake, false);
}

bool ring_next(struct ring *r, struct slice *record)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);

    if (r->read == head)
        return false;
    if (length_at(r, r->read) == RING_SKIP)
        r->read += r->cap - (r->read & (r->cap - 1));
    uint32_t len = length_at(r, r->read);
    *record = slice_of(r->bytes + (r->read & (r->cap - 1)) + RING_HEAD, len);
    r->read += taken(len);
    return true;
}

void ring_release(struct ring *r)
{
    atomic_store_explicit(&r->tail, r->read, memory_order_release);
}
