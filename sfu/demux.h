/* All transports of one worker: whose is this datagram?
 *
 *   first byte (RFC 7983)   0..3 STUN   20..63 DTLS   128..191 RTP, RTCP
 *   path (address, socket) ──► transport          ufrag of a check ──► transport
 *
 * A check that is authentic makes the path it came by its transport's. DTLS and SRTP from other
 * addresses are dropped after one look into a table; refusals of checks are limited per source.
 * Worker-owned. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_DEMUX_H
#define SORI_SFU_DEMUX_H

#include "base/tokenbucket.h"
#include "sfu/transport.h"

struct demux;

struct demux_conf {
    struct transport_conf transport;
    struct bucket_rule refusals;   /* per source: answers to checks that are not authentic */
    struct bucket_rule dtls;       /* per transport: DTLS datagrams other than data */
    struct bucket_rule handshakes; /* per worker: those beyond it wait */
    unsigned sources;              /* entries of the table for `refusals` */
    unsigned expect;               /* transports, about */
    const struct transport_ops *ops;
    struct egress *egress; /* outlives the demux */
};

/* Fills what is zero in *c with defaults, ops and egress excepted. */
void demux_conf_defaults(struct demux_conf *c);

/* NULL when memory is out. */
struct demux *demux_new(const struct demux_conf *conf, uint64_t now_us);
void demux_free(struct demux *d); /* after its transports; NULL is allowed */

/* Makes a transport with credentials of its own; user is handed to ops. NULL when memory is out. */
struct transport *demux_add(struct demux *d, void *user, uint64_t now_us);
/* Frees it. Not from inside ops. NULL is allowed. */
void demux_del(struct demux *d, struct transport *t);

/* Takes one datagram (or framed packet). dgram is writable and lent for the call, and until
 * transport_open_rtp() or transport_read_data() are done with it. *t is written unless the verdict
 * is TRANSPORT_DROP or TRANSPORT_HANDLED. */
enum transport_verdict demux_recv(struct demux *d, const struct media_path *from, uint8_t *dgram,
                                  size_t len, uint64_t now_us, struct transport **t,
                                  struct transport_in *in);

/* Ahead of demux_recv(), with media_path_hash(): step 0 and 1 have the table's parts brought into
 * the cache, demux_peek() then finds whose path it is; NULL: nobody's. */
void demux_prefetch(const struct demux *d, uint64_t hash, unsigned step);
struct transport *demux_peek(const struct demux *d, const struct media_path *from, uint64_t hash);

/* A connection is gone: the path is nobody's any more. */
void demux_gone(struct demux *d, const struct media_path *path, uint64_t now_us);

/* When to call demux_tick(): the earliest deadline of all transports, or earlier. */
uint64_t demux_deadline(const struct demux *d);
void demux_tick(struct demux *d, uint64_t now_us);

/* Transports there are, and what all of them count together. */
unsigned demux_count(const struct demux *d);
const struct transport_stats *demux_stats(const struct demux *d);

#endif
