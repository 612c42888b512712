/* What the bare forwarders share: the client table, and answers that ask for no credentials.
 *
 * A header of static functions: each forwarder is one program of one file.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BENCH_TURN_BARE_H
#define SORI_BENCH_TURN_BARE_H

#include "turn_client.h"

#include <netinet/in.h>

#define ROWS 16384 /* power of two, more than flows */

struct entry {
    uint64_t key; /* client address and port, 0 = free */
    struct sockaddr_in client;
    int relay;
};

static struct entry entries[ROWS];
static struct entry *by_fd[65536];

static inline struct entry *find(const struct sockaddr_in *a)
{
    uint64_t key = (uint64_t)a->sin_addr.s_addr << 16 | a->sin_port;
    size_t i = (size_t)(key * 0x9e3779b97f4a7c15u >> 50) % ROWS;

    while (entries[i].key != 0 && entries[i].key != key)
        i = (i + 1) % ROWS;
    if (entries[i].key == 0) {
        entries[i] = (struct entry){.key = key, .client = *a, .relay = -1};
    }
    return &entries[i];
}

/* Answers Allocate (opens a relay socket and calls watch for it) and ChannelBind (connects it). */
static inline void answer(struct entry *e, struct slice dgram, int listener, void (*watch)(int fd))
{
    struct stun_msg m;
    struct slice v;
    struct addr peer;
    uint8_t out[256];
    struct wr w = wr_init(out, sizeof(out));

    if (stun_decode(&m, dgram) != 0)
        return;
    stun_begin(&w, stun_type((enum stun_method)stun_method_of(m.type), STUN_SUCCESS), m.tid);
    if (stun_method_of(m.type) == STUN_ALLOCATE) {
        e->relay = open_socket(1);
        by_fd[e->relay] = e;
        watch(e->relay);
        struct addr at = udp_local(e->relay);
        stun_put_xaddr(&w, STUN_ATTR_XOR_RELAYED_ADDRESS, &at, m.tid);
    } else if (stun_find(&m, STUN_ATTR_XOR_PEER_ADDRESS, &v) &&
               stun_xaddr_decode(&peer, v, m.tid) == 0) {
        struct sockaddr_storage ss;
        unsigned len = addr_to_sockaddr(&peer, &ss);
        connect(e->relay, (struct sockaddr *)&ss, len);
    }
    sendto(listener, out, w.len, 0, (struct sockaddr *)&e->client, sizeof(e->client));
}

static inline void put_header(uint8_t *head, size_t len)
{
    struct wr w = wr_init(head, CHANDATA_HEADER_BYTES);

    chandata_put_header(&w, CHANNEL, len);
}

#endif
