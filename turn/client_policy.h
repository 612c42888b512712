/* Which clients may talk to the relay at all, and which of them are proxies.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_CLIENT_POLICY_H
#define SORI_TURN_CLIENT_POLICY_H

#include "base/addr.h"

/* The lists are the owner's. Zeroed: everybody may, nobody is a proxy. */
struct client_policy {
    const struct cidr *allow, *deny, *proxies;
    size_t n_allow, n_deny, n_proxies;
};

/* True when a client at this address may be answered: it is on no deny list and, unless the allow
 * list is empty, on that. The port does not matter. */
bool client_policy_allows(const struct client_policy *p, const struct addr *client);

/* True when who sends from this address is a proxy, which begins with a PROXY protocol header: the
 * client is whom that names. */
bool client_policy_is_proxy(const struct client_policy *p, const struct addr *sender);

#endif
