/* ICMP errors about datagrams that a UDP socket sent, from the kernel's error queue.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_ICMP_QUEUE_H
#define SORI_NET_ICMP_QUEUE_H

#include "base/addr.h"

/* One error. A datagram that was too long for this machine's own link is told as the ICMP message
 * that a router would have sent; of its destination the kernel keeps only the address then: port 0.
 */
struct icmp_error {
    struct addr peer; /* where the datagram went to; its family says which ICMP this is */
    uint8_t type, code;
    uint32_t info; /* next hop's MTU for "too big" and "fragmentation needed", else not defined */
};

/* Asks the kernel to keep fd's errors. From then on an error is also reported once by the next call
 * that sends or receives, and makes fd readable until it is taken. Returns 0 or -errno. */
int icmp_queue_open(int fd);

/* Takes the next error off fd's queue. False when there is none left. */
bool icmp_queue_next(int fd, struct icmp_error *out);

#endif
