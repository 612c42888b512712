/* The way between a client and us: its address, and the socket or connection of ours.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_MEDIA_PATH_H
#define SORI_SFU_MEDIA_PATH_H

#include "base/addr.h"

struct ice_tcp; /* one connection (ice_tcp_listener.h); for this layer a name only */

struct media_path {
    struct addr remote;
    struct ice_tcp *tcp; /* NULL: UDP. Good until demux_gone() is told of its end */
    uint16_t sock;       /* number of the local socket or listener */
};

static inline bool media_path_eq(const struct media_path *a, const struct media_path *b)
{
    return a->sock == b->sock && a->tcp == b->tcp && addr_eq(&a->remote, &b->remote);
}

static inline uint64_t media_path_hash(const struct media_path *p)
{
    return addr_hash(&p->remote) + p->sock + (p->tcp ? UINT16_MAX : 0);
}

#endif
