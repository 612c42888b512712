/* Requests that wait until the keys of their user are known. Only of streams: over UDP the client
 * sends again by itself. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_HELD_H
#define SORI_TURN_HELD_H

#include "base/list.h"
#include "turn/five_tuple.h"

#define HELD_BYTES_MAX  2048 /* of one request; requests with credentials are shorter */
#define HELD_PER_CLIENT 4    /* a client waits for an answer before it asks on */

/* One of them. */
struct held {
    struct list _link;
    void *link; /* the shell's: the client's connection */
    struct five_tuple from;
    unsigned realm;
    uint64_t until_us;
    size_t name_len, len;
    uint8_t bytes[]; /* the user's name, then the request */
};

/* All of a worker. Zeroed and with max set it is empty. */
struct held_list {
    struct list _all;
    unsigned n, max;
};

/* Keeps a copy. Returns 0; -ENOSPC with max of them, HELD_PER_CLIENT of this client, or when msg is
 * too long; -ENOMEM. */
int held_add(struct held_list *l, const struct five_tuple *from, void *link, unsigned realm,
             struct slice name, struct slice msg, uint64_t until_us);

/* Takes off one of this user (oldest first), or one that is over at now_us; NULL when there is
 * none. The caller frees it by held_free(). */
struct held *held_take(struct held_list *l, unsigned realm, struct slice name);
struct held *held_take_expired(struct held_list *l, uint64_t now_us);
void held_free(struct held *h); /* NULL is allowed */

/* The request; lent by h. */
struct slice held_message(const struct held *h);

/* Forgets what came from this client: its connection is gone. */
void held_drop(struct held_list *l, const struct five_tuple *from);

/* Forgets everything. */
void held_fini(struct held_list *l);

#endif
