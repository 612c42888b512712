/* A ring of buffers that io_uring fills.
 *
 * Called by udp_uring.c. SPDX-License-Identifier: BSD-3-Clause */
#include "net/uring_bufs.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "net/udp_backend.h"

#define LINE 64 /* of the cache: buffers begin at one */

static void give(struct uring_bufs *b, uint16_t id, unsigned at)
{
    io_uring_buf_ring_add(b->_ring, uring_bufs_at(b, id), (unsigned)b->_room, id, (int)(b->_n - 1),
                          (int)at);
}

static int allocate(struct uring_bufs *b)
{
    b->_mem = mem_calloc(b->_n, b->_stride);
    b->_lent = mem_calloc(b->_n, sizeof(*b->_lent));
    b->_fronted = mem_calloc(b->_n, sizeof(*b->_fronted));
    b->_ring_bytes = b->_n * sizeof(struct io_uring_buf);
    /* The kernel wants it at the beginning of a page. */
    b->_ring =
        mmap(NULL, b->_ring_bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (b->_ring == MAP_FAILED)
        b->_ring = NULL;
    return b->_mem && b->_lent && b->_fronted && b->_ring ? 0 : -ENOMEM;
}

int uring_bufs_init(struct uring_bufs *b, struct io_uring *ring, unsigned group, unsigned n,
                    size_t front, size_t payload_bytes)
{
    *b = (struct uring_bufs){._n = n, ._front = front, ._room = front + payload_bytes};
    b->_stride = ((b->_room + LINE - 1) & ~(size_t)(LINE - 1)) + UDP_SLOT_SKEW;
    int err = allocate(b);
    if (err)
        return err;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)b->_ring,
        .ring_entries = n,
        .bgid = (uint16_t)group,
    };
    err = io_uring_register_buf_ring(ring, &reg, 0);
    if (err)
        return err;
    io_uring_buf_ring_init(b->_ring);
    for (unsigned i = 0; i < n; i++)
        give(b, (uint16_t)i, i);
    io_uring_buf_ring_advance(b->_ring, (int)n);
    return 0;
}

void uring_bufs_fini(struct uring_bufs *b)
{
    if (b->_ring)
        munmap(b->_ring, b->_ring_bytes);
    mem_free(b->_mem);
    mem_free(b->_lent);
    mem_free(b->_fronted);
    *b = (struct uring_bufs){0};
}

void uring_bufs_give_back(struct uring_bufs *b)
{
    for (unsigned i = 0; i < b->_lent_n; i++)
        give(b, b->_lent[i], i);
    io_uring_buf_ring_advance(b->_ring, (int)b->_lent_n);
    b->_lent_n = 0;
}

uint8_t *uring_bufs_front(struct uring_bufs *b, const void *body, size_t len, uint32_t push)
{
    uintptr_t base = (uintptr_t)b->_mem, p = (uintptr_t)body;
    size_t at = p - base;

    if (p < base || at >= b->_n * b->_stride || at % b->_stride != b->_front || len > b->_front ||
        b->_fronted[at / b->_stride] == push)
        return NULL;
    b->_fronted[at / b->_stride] = push;
    return &b->_mem[at - len];
}
