/* Which clients may talk to the relay at all, and which of them are proxies: lists of CIDR blocks.
 *
 * Called by dispatch.c for STUN messages over UDP and by turn_tcp_listener.c for new connections:
 * never for data, which needs an allocation and so has passed here. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/client_policy.h"

static bool lists(const struct cidr *v, size_t n, const struct addr *a)
{
    for (size_t i = 0; i < n; i++) {
        if (cidr_contains(&v[i], a))
            return true;
    }
    return false;
}

bool client_policy_allows(const struct client_policy *p, const struct addr *client)
{
    if (lists(p->deny, p->n_deny, client))
        return false;
    return p->n_allow == 0 || lists(p->allow, p->n_allow, client);
}

bool client_policy_is_proxy(const struct client_policy *p, const struct addr *sender)
{
    return p->n_proxies > 0 && lists(p->proxies, p->n_proxies, sender);
}
