/* One authenticated request on its way through a handler (allocate.c, permit.c).
 *
 * A handler checks everything first, then acts, and adds the attributes of the success answer to w,
 * whose header is already there. It returns 0, or the error code to answer instead; what it wrote
 * is then thrown away. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_REQUEST_H
#define SORI_TURN_REQUEST_H

#include "turn/stun_auth.h"
#include "turn/turn_core.h"

/* A handler's result: nothing is answered now. */
#define REQUEST_LATER   (-1)
#define REQUEST_FORWARD (-2) /* the worker struct turn_core.forward_to has the allocation */

struct request {
    struct turn_core *core;
    const struct stun_msg *msg;
    const struct five_tuple *from;
    void *link;          /* the client's connection, for a new allocation */
    struct alloc *alloc; /* the client's allocation, or NULL */
    unsigned realm;      /* of its user; before the check, the one that it is checked under */
    struct stun_identity id;
    uint64_t now_us;
    bool bound; /* the client's connection becomes a data connection after the answer */
};

/* True when the request is of the user whose allocation a is (441 otherwise). What an access token
 * holds goes to whoever has a token of that realm at the client's address: a kid names a key of the
 * authorization server, not a user, and may change between two tokens. */
static inline bool request_is_owners(const struct request *r, const struct alloc *a)
{
    return a->realm == r->realm &&
           (a->grant ? r->id.by_token : !r->id.by_token && slice_eq(alloc_user(a), r->id.username));
}

/* Who sent the request, and whose allocation a is, as one number to compare over connections and
 * workers: a keyed hash of realm and USERNAME, or of the session key where a token gave it. */
static inline uint64_t request_user(const struct request *r)
{
    return realm_account(r->realm, r->id.by_token
                                       ? slice_of(r->id.token.mac_key, r->id.token.mac_key_len)
                                       : r->id.username);
}
static inline uint64_t request_user_of(const struct alloc *a)
{
    return realm_account(a->realm, a->grant ? slice_of(a->grant->mac_key, a->grant->mac_key_len)
                                            : alloc_user(a));
}

#endif
