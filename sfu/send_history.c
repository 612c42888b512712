/* What was sent under transport-wide sequence numbers: a ring of eight bytes a packet.
 *
 * Called by bwe.c only. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/send_history.h"

#include <errno.h>

#include "base/mem.h"

int send_history_init(struct send_history *h, unsigned n)
{
    *h = (struct send_history){._v = mem_calloc(n, sizeof(*h->_v)), ._mask = n - 1, .next = 1};
    return h->_v ? 0 : -ENOMEM;
}

void send_history_fini(struct send_history *h)
{
    mem_free(h->_v);
    *h = (struct send_history){0};
}

int send_history_grow(struct send_history *h, unsigned n)
{
    if (n <= h->_mask + 1)
        return 0;
    struct sent *v = mem_calloc(n, sizeof(*v));
    if (!v)
        return -ENOMEM;
    for (unsigned i = 1; i <= h->_mask + 1 && i < h->next; i++)
        v[(h->next - i) & (n - 1)] = h->_v[(h->next - i) & h->_mask];
    mem_free(h->_v);
    h->_v = v;
    h->_mask = n - 1;
    return 0;
}

uint64_t send_history_put(struct send_history *h, size_t bytes, unsigned cluster, uint64_t now_us)
{
    h->_v[h->next & h->_mask] = (struct sent){
        .at_us = (uint32_t)now_us,
        .bytes = (uint16_t)(bytes < UINT16_MAX ? bytes : UINT16_MAX),
        .cluster = (uint8_t)cluster,
        .state = SENT_FLYING,
    };
    return h->next++;
}

struct sent *send_history_find(struct send_history *h, uint16_t wire_seq, uint64_t *seq)
{
    uint64_t last = h->next - 1;
    uint16_t back = (uint16_t)((uint16_t)last - wire_seq);

    if (back > h->_mask || back >= last) /* number 0 is never used */
        return NULL;
    *seq = last - back;
    return &h->_v[*seq & h->_mask];
}
