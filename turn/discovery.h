/* NAT behaviour discovery (RFC 5780): Binding answers that leave from another address or port than
 * the request came to, or go to another port. Off unless configured: it answers with more bytes
 * than it got. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_DISCOVERY_H
#define SORI_TURN_DISCOVERY_H

#include "turn/request.h"

/* Where an answer leaves from and goes to. */
struct discovery_route {
    uint16_t listener; /* UDP, by number */
    struct addr to;
};

/* True when the request came over UDP to an address that has its three partners: the same port of
 * another address, another port of the same address, both other. Only then are CHANGE-REQUEST,
 * RESPONSE-PORT and PADDING known. */
bool discovery_applies(const struct request *r);

/* Reads where the answer to a Binding request goes; only when discovery_applies(). Returns 0, or
 * STUN_ERR_BAD_REQUEST. */
int discovery_route(const struct request *r, struct discovery_route *out);

/* Adds MAPPED-ADDRESS, RESPONSE-ORIGIN, OTHER-ADDRESS and as much PADDING as the request brought
 * and w holds. */
void discovery_put(const struct request *r, const struct discovery_route *route, struct wr *w);

#endif
