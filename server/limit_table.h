/* Token buckets by key in a fixed table: limits per address or pair that no flood can grow.
 *
 * Four places per set; a new key takes the place of the bucket that has been left alone longest.
 * So memory is bounded, and under a flood of keys a limit may forget but never blocks a stranger to
 * it. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LIMIT_TABLE_H
#define SORI_SERVER_LIMIT_TABLE_H

#include "base/addr.h"
#include "base/tokenbucket.h"

struct limit_table;

/* Room for about `keys` keys (rounded up to a power of two). NULL when memory is out. */
struct limit_table *limit_table_new(const struct bucket_rule *rule, size_t keys);
void limit_table_free(struct limit_table *t); /* NULL is allowed */

/* Takes n tokens of key's bucket; false: over the limit, nothing taken. n = 0 asks whether a token
 * is left. */
bool limit_take(struct limit_table *t, uint64_t key, uint32_t n, uint64_t now_us);

/* Milliseconds until the key has a token again. */
uint32_t limit_wait_ms(const struct limit_table *t, uint64_t key, uint64_t now_us);

/* The key of an address: all of an IPv4 address, the /64 of an IPv6 one. */
uint64_t limit_addr_key(const struct addr *a);

#endif
