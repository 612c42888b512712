/* How often a source address gets something: unauthenticated answers over UDP (Binding, 400, 401,
 * 438), where the source may be a lie and the answer hits somebody else, or new connections. A
 * fixed table of token buckets, one entry per IPv4 address or IPv6 /64. SPDX-License-Identifier:
 * BSD-3-Clause */
#ifndef SORI_BASE_SOURCE_LIMIT_H
#define SORI_BASE_SOURCE_LIMIT_H

#include "base/addr.h"
#include "base/tokenbucket.h"

struct source_limit;

/* entries: rounded up to a power of two, 32 bytes each. NULL when memory is out. */
struct source_limit *source_limit_new(unsigned entries, struct bucket_rule rule);
void source_limit_free(struct source_limit *s); /* NULL is allowed */

/* Takes one answer to, or one connection from, this source. False: refuse it silently and count. */
bool source_limit_take(struct source_limit *s, const struct addr *from, uint64_t now_us);

#endif
