/* What a worker sends: encrypted packets in one arena, in the order in which they were made, until
 * the sockets have taken them.
 *
 * Packets are handed on at once and lie in the arena until the next push, so that neighbours to one
 * address with equal lengths become one send (net/udp.h). The caller keeps what goes to one client
 * together. Pure: ops are media_sock.c's, or a test's. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_EGRESS_H
#define SORI_SFU_EGRESS_H

#include "base/metrics.h"
#include "sfu/media_path.h"

#define EGRESS_PACKET_MAX 2048 /* bytes of one packet */

struct egress_ops {
    /* Queues one datagram, which stays where it is until push() returns. */
    void (*udp)(void *arg, uint16_t sock, const struct addr *to, struct slice dgram);
    /* Queues one packet for a connection, which copies and frames it. False: it was not taken. */
    bool (*tcp)(void *arg, struct ice_tcp *tcp, struct slice packet);
    /* Sends what udp() has queued; lent bytes are the arena's again. */
    void (*push)(void *arg);
    /* The arena holds something now and did not before: egress_flush() is wanted at the end of this
     * turn. */
    void (*wake)(void *arg);
};

struct egress {
    const struct egress_ops *ops;
    void *arg;
    uint8_t *_arena;
    size_t _cap, _used;
    struct counter pkts, bytes; /* committed */
    struct counter tcp_full;    /* a connection's queue was full */
};

/* An arena of cap bytes (at least EGRESS_PACKET_MAX). Returns 0 or -ENOMEM. */
int egress_init(struct egress *e, size_t cap, const struct egress_ops *ops, void *arg);
void egress_fini(struct egress *e); /* what was not flushed is lost; zeroed is allowed */

/* Memory for one packet of at most EGRESS_PACKET_MAX bytes, good until the next call. Pushes when
 * the arena is full. Never NULL. */
uint8_t *egress_reserve(struct egress *e);
/* Sends the first len bytes of what was reserved last. */
void egress_commit(struct egress *e, const struct media_path *to, size_t len);

/* The end of a turn: everything is sent, the arena is empty. */
void egress_flush(struct egress *e);

#endif
