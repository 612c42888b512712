/* A ring of buffers that io_uring fills: each goes to the kernel, comes back with a read, is lent
 * until the sends that borrow from it are submitted, and goes to the kernel again.
 *
 * Internal to net/udp_uring.c, one worker's. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_URING_BUFS_H
#define SORI_NET_URING_BUFS_H

#include <liburing.h>

#include "base/bytes.h"

struct uring_bufs {
    struct io_uring_buf_ring *_ring;
    size_t _ring_bytes;
    uint8_t *_mem;         /* n * _stride */
    size_t _room, _stride; /* what the kernel may fill, and with what keeps buffers apart */
    size_t _front;         /* bytes of each that stand before a payload */
    unsigned _n, _lent_n;
    uint16_t *_lent;
    uint32_t *_fronted; /* by buffer: the push in which something was written before its payload */
};

/* Makes n (a power of two) buffers of `front` bytes and a payload of at most payload_bytes, and
 * gives all of them to the ring as its buffer group `group`. Returns 0, -ENOMEM, or what the kernel
 * says; then uring_bufs_fini() it. */
int uring_bufs_init(struct uring_bufs *b, struct io_uring *ring, unsigned group, unsigned n,
                    size_t front, size_t payload_bytes);

/* Frees them; the ring must be gone. A zeroed struct is allowed. */
void uring_bufs_fini(struct uring_bufs *b);

/* The memory of buffer id. */
static inline uint8_t *uring_bufs_at(const struct uring_bufs *b, uint16_t id)
{
    return &b->_mem[id * b->_stride];
}

/* Buffer id, which has come back with a read, is lent from now on. */
static inline void uring_bufs_lend(struct uring_bufs *b, uint16_t id)
{
    b->_lent[b->_lent_n++] = id;
}

/* Nobody borrows from lent buffers any more: they go to the kernel. */
void uring_bufs_give_back(struct uring_bufs *b);

/* Where to write len bytes right before body, if body begins the payload of one of these buffers
 * and this is the first time in this push (push > 0); else NULL. */
uint8_t *uring_bufs_front(struct uring_bufs *b, const void *body, size_t len, uint32_t push);

#endif
