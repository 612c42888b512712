/* What traffic costs: tiers by the month's amount, free gigabytes, fixed monthly costs.
 *
 * Money is a whole number of nano units of the currency (10^-9), so that sums are exact. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_TARIFF_H
#define SORI_SERVER_TARIFF_H

#include "base/bytes.h"

enum {
    TARIFF_TIERS_MAX = 8,
    TARIFF_FIXED_MAX = 32,
    TARIFF_NAME_MAX = 64,
};
#define TARIFF_UNIT       UINT64_C(1000000000)    /* nanos of one unit of the currency */
#define TARIFF_AMOUNT_MAX UINT64_C(1000000000)    /* units: of a price, of a monthly cost */
#define TARIFF_GB_MAX     UINT64_C(1000000000000) /* where a tier may begin */

/* From so many gigabytes in a month on, one costs so much. */
struct tariff_tier {
    uint64_t from_gb, nanos;
};

/* Of one region. Zeroed: everything is free. */
struct tariff {
    uint64_t gb_bytes;                         /* 10^9 or 2^30; 0 as 10^9 */
    uint64_t free_gb;                          /* a month, of what goes out */
    uint64_t in_nanos;                         /* a gigabyte of what comes in */
    struct tariff_tier tier[TARIFF_TIERS_MAX]; /* in rising order */
    size_t tiers;
};

struct tariff_fixed {
    char name[TARIFF_NAME_MAX + 1];
    uint64_t nanos; /* a month */
};

/* "12", "0.09", "1000.123456789": units with up to nine digits behind the point. Returns 0;
 * -EBADMSG; -ERANGE over TARIFF_AMOUNT_MAX. */
int tariff_amount(struct slice text, uint64_t *nanos);

/* Adds "FROM:PRICE" (gigabytes, units of the currency per gigabyte) to the tiers. Returns 0;
 * -EBADMSG: it is not that; -EINVAL: it does not begin above the one before, or the first one not
 * at 0; -ENOSPC. */
int tariff_add_tier(struct tariff *t, struct slice text);

/* Reads "NAME=COST". Returns 0 or -EBADMSG. */
int tariff_fixed_read(struct tariff_fixed *out, struct slice text);

/* What a month costs in which so many bytes went out and came in; saturates. */
uint64_t tariff_price(const struct tariff *t, uint64_t out_bytes, uint64_t in_bytes);

/* A number of nanos as "12.345678901" without zeros at the end but with at least two digits. */
void tariff_write(struct wr *w, uint64_t nanos);

#endif
