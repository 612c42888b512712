/* Which clients may talk to the relay at all. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_CLIENT_POLICY_H
#define SORI_TURN_CLIENT_POLICY_H

#include "base/addr.h"

/* Both lists are the owner's. Zeroed: everybody may. */
struct client_policy {
    const struct cidr *allow, *deny;
    size_t n_allow, n_deny;
};

/* True when a client at this address may be answered: it is on no deny list and, unless the allow
 * list is empty, on that. The port does not matter. */
bool client_policy_allows(const struct client_policy *p, const struct addr *client);

#endif
