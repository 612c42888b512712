/* One authenticated request on its way through a handler (allocate.c, permit.c).
 *
 * A handler checks everything first, then acts, and adds the attributes of the success answer to w,
 * whose header is already there. It returns 0, or the error code to answer instead; what it wrote
 * is then thrown away. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_REQUEST_H
#define SORI_TURN_REQUEST_H

#include "turn/stun_auth.h"
#include "turn/turn_core.h"

struct request {
    struct turn_core *core;
    const struct stun_msg *msg;
    const struct five_tuple *from;
    void *link;          /* the client's connection, for a new allocation */
    struct alloc *alloc; /* the client's allocation, or NULL */
    unsigned realm;      /* of its user; before the check, the one that it is checked under */
    struct stun_identity id;
    uint64_t now_us;
};

/* True when the request is of the user whose allocation a is (441 otherwise). What an access token
 * holds goes to whoever has a token of that realm at the client's address: a kid names a key of the
 * authorization server, not a user, and may change between two tokens. */
static inline bool request_is_owners(const struct request *r, const struct alloc *a)
{
    return a->realm == r->realm &&
           (a->grant ? r->id.by_token : slice_eq(alloc_user(a), r->id.username));
}

#endif
