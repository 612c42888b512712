/* A worker's media sockets: UDP on its addresses, passive ICE-TCP beside them, and the egress that
 * leaves by both. A shell: what a packet means is demux.c's business.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_MEDIA_SOCK_H
#define SORI_SFU_MEDIA_SOCK_H

#include "net/udp.h"
#include "sfu/egress.h"

struct media_sock;
struct worker;

#define MEDIA_SOCK_ADDRS_MAX 8

#define MEDIA_SOCK_AHEAD 16

struct media_sock_ops {
    /* The next n packets (at most MEDIA_SOCK_AHEAD) will come from there. */
    void (*ahead)(void *arg, const struct media_path *from, unsigned n);
    /* One packet. p is writable, and valid until the matching batch() returns. False: it was of no
     * use; a connection that brings nothing else is ended. */
    bool (*packet)(void *arg, const struct media_path *from, uint8_t *p, size_t len,
                   uint64_t now_us);
    /* Those were all that came together: forward now. Called once after one or more packet(). */
    void (*batch)(void *arg, uint64_t now_us);
    /* A TCP connection is gone (tell demux_gone()). */
    void (*gone)(void *arg, const struct media_path *path, uint64_t now_us);
};

struct media_sock_conf {
    const struct addr *listen; /* with ports; socket number = place in this list */
    size_t n_listen;           /* 1 .. MEDIA_SOCK_ADDRS_MAX */
    bool tcp;                  /* listen for ICE-TCP on the same addresses and ports */
    unsigned tcp_streams;      /* connections at most */
    size_t tcp_queue_bytes;    /* unsent bytes of one connection, more is dropped; 0: 256 kB */
    unsigned buffer_bytes;     /* SO_RCVBUF and SO_SNDBUF of each UDP socket */
    size_t egress_bytes;       /* the arena */
    const struct media_sock_ops *ops;
    void *arg;
};

/* Opens everything and watches it from now on; in w's thread, or before that runs. Returns 0 and
 * *out, or -errno with err_at the place in listen that could not be opened. */
int media_sock_new(struct media_sock **out, struct worker *w, struct udp_io *io,
                   const struct media_sock_conf *conf, size_t *err_at);
void media_sock_free(struct media_sock *m); /* NULL is allowed */

/* Where transports send to. */
struct egress *media_sock_egress(struct media_sock *m);

/* The address that socket number i is bound to (with the port that was chosen for port 0). */
struct addr media_sock_addr(const struct media_sock *m, size_t i);

/* TCP connections now. */
unsigned media_sock_streams(const struct media_sock *m);

#endif
