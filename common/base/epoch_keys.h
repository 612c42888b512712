/* HMAC keys that replace themselves: each epoch has its own, derived from a master, and that of the
 * epoch before stays known. Whoever has the same master has the same keys.
 * Owned by one thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_EPOCH_KEYS_H
#define SORI_BASE_EPOCH_KEYS_H

#include "base/bytes.h"

#define EPOCH_KEYS_MASTER_BYTES 32

struct hmac;

struct epoch_keys {
    struct hmac *_master, *_now, *_before;
    uint64_t _epoch;
};

/* Copies the master. Returns 0 or -ENOMEM. */
int epoch_keys_init(struct epoch_keys *k, const uint8_t master[EPOCH_KEYS_MASTER_BYTES]);
void epoch_keys_fini(struct epoch_keys *k); /* wipes; a zeroed struct is allowed */

/* Moves on to the epoch that it is now and gives the key (HMAC-SHA256) of epoch, which is that one
 * or the one before. Lent until the next call. NULL without memory: ask again later. */
struct hmac *epoch_keys_at(struct epoch_keys *k, uint64_t now, uint64_t epoch);

#endif
