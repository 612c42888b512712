/* Who a client is to the relay: its transport address, the listener it came to, the transport
 * (the "5-tuple" of RFC 8656 §2). SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_FIVE_TUPLE_H
#define SORI_TURN_FIVE_TUPLE_H

#include "base/addr.h"
#include "base/hash.h"

enum five_tuple_transport {
    FIVE_TUPLE_UDP,
    FIVE_TUPLE_TCP,
    FIVE_TUPLE_TLS,
    FIVE_TUPLE_DTLS,
    FIVE_TUPLE_TRANSPORTS
};

/* listener numbers the local addresses in the order of the configuration: the same in all workers.
 * host is the number of the name that the client gave in TLS (realm_host()), 0 for none of ours:
 * part of where it came to, and nothing that it could change later. The whole struct is its own
 * key. */
struct five_tuple {
    struct addr client;
    uint16_t listener;
    uint8_t transport;
    uint8_t host;
};

static inline struct slice five_tuple_bytes(const struct five_tuple *t)
{
    return slice_of(t, sizeof(*t));
}

static inline uint64_t five_tuple_hash(const struct five_tuple *t)
{
    return hash_bytes(five_tuple_bytes(t));
}

static inline bool five_tuple_eq(const struct five_tuple *a, const struct five_tuple *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* TCP and TLS: messages need framing and padding. */
static inline bool five_tuple_is_stream(const struct five_tuple *t)
{
    return t->transport == FIVE_TUPLE_TCP || t->transport == FIVE_TUPLE_TLS;
}

/* All but UDP: the client has shown that it receives at its address. */
static inline bool five_tuple_is_proven(const struct five_tuple *t)
{
    return t->transport != FIVE_TUPLE_UDP;
}

#endif
