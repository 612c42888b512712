/* The data path between a client and its peers: ChannelData, Send and Data (RFC 8656 §11, §12).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_RELAY_H
#define SORI_TURN_RELAY_H

#include "net/icmp_queue.h"
#include "net/udp.h"
#include "turn/turn_core.h"

/* One datagram to send from alloc's relay socket. payload borrows from the client's message. */
struct relay_to_peer {
    struct alloc *alloc;
    struct addr peer;
    struct slice payload;
    bool dont_fragment;
    struct udp_mark mark;
    bool copy; /* the shell's: payload must be copied to wait, and can be */
};

/* One message to send to alloc's client: head, payload (borrowed), pad zero bytes. */
struct relay_to_client {
    uint8_t head[UDP_HEAD_MAX];
    size_t head_len;
    struct slice payload;
    unsigned pad;
    struct udp_mark mark;
    bool copy; /* as above */
};

/* Counts what has been relayed for a: up = to peers, else to its client. */
void relay_count(struct turn_core *c, struct alloc *a, bool up, uint64_t pkts, uint64_t bytes);

/* Gives what a datagram that came with mark `in` goes on with: DSCP and ECN as they were, one hop
 * less (RFC 8656 §14); the system's defaults when `in` is not known. The functions below leave it
 * at those: call it when they have said true. False: it has no hop left, dropped and counted. */
bool relay_hop(struct turn_core *c, struct udp_mark in, struct udp_mark *out);

/* Takes a ChannelData message of this client. True: send *out. False: dropped and counted. */
bool relay_channel(struct turn_core *c, const struct five_tuple *from, struct slice msg,
                   uint64_t now_us, struct relay_to_peer *out);

/* Takes a Send indication of this client. The same. */
bool relay_send(struct turn_core *c, const struct five_tuple *from, const struct stun_msg *m,
                uint64_t now_us, struct relay_to_peer *out);

/* Takes a datagram that arrived at a's relay socket: ChannelData when the peer has a channel, a
 * Data indication when it has a permission. The same. */
bool relay_from_peer(struct turn_core *c, struct alloc *a, const struct addr *peer,
                     struct slice payload, uint64_t now_us, struct relay_to_client *out);

/* Takes an ICMP error about a datagram that a's relay socket has sent: a Data indication that
 * carries ICMP and no DATA (RFC 8656 §11.5). The same. */
bool relay_icmp(struct turn_core *c, struct alloc *a, const struct icmp_error *error,
                uint64_t now_us, struct relay_to_client *out);

#endif
