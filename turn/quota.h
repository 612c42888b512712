/* Allocations per account, per realm and in total, over all workers.
 *
 * The one lock of the relay's control path: an account's clients are spread over the workers by the
 * kernel's flow hash, so a count per worker would multiply everybody's quota. It is taken once per
 * allocation made or ended, never per packet. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_QUOTA_H
#define SORI_TURN_QUOTA_H

#include "base/bytes.h"
#include "base/tokenbucket.h"

struct quota;

/* The limits of one realm; 0 = none. */
struct quota_rule {
    uint64_t per_account, total;
    struct bucket_rule bytes; /* of each account, in throttle.h's tokens */
};

/* rules: of n realms, in their order, copied. total: over all of them, 0 = no limit. NULL when
 * memory is out. */
struct quota *quota_new(const struct quota_rule *rules, unsigned n, uint64_t total);
void quota_free(struct quota *q); /* NULL is allowed */

/* Counts n more for an account of this realm, named by realm_account().
 * Returns 0; -EDQUOT over the account's limit (answer 486); -ENOSPC over the realm's or the whole
 * total (508); -ENOMEM. Any thread. */
int quota_take(struct quota *q, unsigned realm, uint64_t account, unsigned n);

/* Gives n back that quota_take() counted. Any thread. */
void quota_give(struct quota *q, uint64_t account, unsigned n);

/* Takes n tokens from the account's bucket, which lives as long as the account holds something (it
 * must). False: there are not so many. Any thread; not once per packet, see throttle.c. */
bool quota_draw(struct quota *q, uint64_t account, const struct bucket_rule *rule, uint32_t n,
                uint64_t now_us);

/* What this account holds now. Any thread. */
uint64_t quota_held(struct quota *q, uint64_t account);

/* The limits of a realm, and the one over all, as quota_new() was given them; lent. Any thread. */
const struct quota_rule *quota_rule_of(const struct quota *q, unsigned realm);
uint64_t quota_total(const struct quota *q);

/* What is counted now, over all accounts, and over those of one realm. Any thread. */
uint64_t quota_in_use(struct quota *q);
uint64_t quota_in_use_of(struct quota *q, unsigned realm);

#endif
