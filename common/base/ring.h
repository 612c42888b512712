/* A bounded queue of byte records from one thread to another, without a lock.
 *
 *     producer                               consumer
 *     ring_push(r, parts, n)  ──records──►   while (ring_next(r, &record)) use(record);
 *     ring_must_wake(r) ? wake the consumer  ring_release(r);
 *
 * A record is read where it lies: it is good until ring_release(), so that a whole batch can be
 * sent on without a copy. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_RING_H
#define SORI_BASE_RING_H

#include "base/bytes.h"

struct ring;

/* A ring of at least `bytes` (rounded up to a power of two), each record with its 8 bytes of
 * overhead at most; RING_RECORD_MAX(bytes) is the longest that always fits into an empty one. The
 * memory is touched as it is used. NULL when memory is out. */
#define RING_RECORD_MAX(bytes) ((bytes) / 2 - 8)
struct ring *ring_new(size_t bytes);

/* After both threads are done with it. NULL is allowed. */
void ring_free(struct ring *r);

/* Adds one record, the concatenation of n parts. False: there is no room, nothing was added.
 * Producer only. */
bool ring_push(struct ring *r, const struct slice *parts, size_t n);

/* Producer, after pushing: true when the consumer does not know yet that there is something, once
 * until ring_woken(). */
bool ring_must_wake(struct ring *r);

/* Consumer, before the first ring_next() after it was woken; producer, when it could not wake the
 * consumer after all. */
void ring_woken(struct ring *r);

/* The next record, good until ring_release(). False: there is none now. Consumer only. */
bool ring_next(struct ring *r, struct slice *record);

/* Gives the room of all records read back to the producer. Consumer only. */
void ring_release(struct ring *r);

#endif
