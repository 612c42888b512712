/* The arena that encrypted packets leave from.
 *
 * Called by transport.c (packets), media_sock.c (end of a turn). Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/egress.h"

#include <errno.h>

#include "base/mem.h"

int egress_init(struct egress *e, size_t cap, const struct egress_ops *ops, void *arg)
{
    *e = (struct egress){.ops = ops, .arg = arg};
    e->_cap = cap < EGRESS_PACKET_MAX ? EGRESS_PACKET_MAX : cap;
    e->_arena = mem_zalloc(e->_cap);
    return e->_arena ? 0 : -ENOMEM;
}

void egress_fini(struct egress *e)
{
    mem_free(e->_arena);
    *e = (struct egress){0};
}

void egress_flush(struct egress *e)
{
    if (e->_used == 0)
        return;
    e->ops->push(e->arg);
    e->_used = 0;
}

uint8_t *egress_reserve(struct egress *e)
{
    if (e->_cap - e->_used < EGRESS_PACKET_MAX)
        egress_flush(e);
    return e->_arena + e->_used;
}

void egress_commit(struct egress *e, const struct media_path *to, size_t len)
{
    struct slice packet = slice_of(e->_arena + e->_used, len);

    if (to->tcp) { /* copied: the arena's bytes are free again */
        if (!e->ops->tcp(e->arg, to->tcp, packet)) {
            counter_inc(&e->tcp_full);
            return;
        }
    } else {
        if (e->_used == 0)
            e->ops->wake(e->arg);
        e->_used += len;
        e->ops->udp(e->arg, to->sock, &to->remote, packet);
    }
    counter_inc(&e->pkts);
    counter_add(&e->bytes, len);
}
