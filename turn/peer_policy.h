/* Which peers the relay may talk to: nothing special, nothing of our own, unless a switch says so.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_PEER_POLICY_H
#define SORI_TURN_PEER_POLICY_H

#include "base/addr.h"

enum peer_verdict {
    PEER_DENIED,
    PEER_ALLOWED,
    /* One of our relayed addresses: only towards a port that is a live allocation of ours. The
     * caller asks the port pool. Two clients that both need a relay meet this way. */
    PEER_RELAY,
};

/* The rules. The arrays are lent by the owner and outlive the policy. */
struct peer_policy {
    const struct addr *own; /* every address of this machine; ports are ignored */
    size_t n_own;
    const struct addr *relay; /* relayed addresses as clients see them, and as they are bound */
    size_t n_relay;
    const struct cidr *allow, *deny;
    size_t n_allow, n_deny;
    bool allow_relay_to_relay;
    bool allow_private;  /* RFC 1918, 100.64/10, fc00::/7 */
    bool allow_own;      /* this machine's own addresses: development */
    bool allow_loopback; /* 127/8, ::1: development */
};

/* True for an address of a tunnel between the families: Teredo, 6to4. Neither peers nor clients may
 * have one (RFC 8656 §21.4). */
bool peer_policy_is_tunnel(const struct addr *a);

/* Tells whether peer's address (the port plays no part) may be talked to.
 *
 * An IPv4 address inside an IPv6 one (mapped, translated, compatible, NAT64, ISATAP)
 * is judged as that IPv4 address. Order, first match decides: never (unspecified, multicast,
 * broadcast, tunnels); deny list; loopback, relayed and own addresses (their switches, else
 * PEER_RELAY where it applies); allow list; private ranges; the other special-purpose ranges;
 * everything else is allowed. */
enum peer_verdict peer_policy_check(const struct peer_policy *p, const struct addr *peer);

#endif
