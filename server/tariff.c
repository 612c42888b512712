/* What traffic costs.
 *
 * Called by report_conf.c and usage_price.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/tariff.h"

#include <errno.h>
#include <inttypes.h>

#define DIGITS   9 /* behind the point */
#define GB_BYTES UINT64_C(1000000000)

static size_t find(struct slice s, char c)
{
    size_t i = 0;

    while (i < s.len && s.p[i] != (uint8_t)c)
        i++;
    return i;
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && s.p[0] == ' ')
        s = slice_sub(s, 1, s.len);
    while (s.len > 0 && s.p[s.len - 1] == ' ')
        s.len--;
    return s;
}

int tariff_amount(struct slice text, uint64_t *nanos)
{
    size_t point = find(text, '.');
    struct slice after = slice_sub(text, point + 1, text.len);
    uint64_t units, part = 0;

    if (slice_to_u64(slice_sub(text, 0, point), UINT64_MAX / TARIFF_UNIT, &units) != 0 ||
        after.len > DIGITS || (point < text.len && after.len == 0))
        return -EBADMSG;
    for (size_t i = 0; i < DIGITS; i++) {
        if (i < after.len && (after.p[i] < '0' || after.p[i] > '9'))
            return -EBADMSG;
        part = part * 10 + (i < after.len ? after.p[i] - (uint64_t)'0' : 0);
    }
    if (units > TARIFF_AMOUNT_MAX || (units == TARIFF_AMOUNT_MAX && part > 0))
        return -ERANGE;
    *nanos = units * TARIFF_UNIT + part;
    return 0;
}

int tariff_add_tier(struct tariff *t, struct slice text)
{
    size_t colon = find(text, ':');
    struct tariff_tier tier;

    if (slice_to_u64(trim(slice_sub(text, 0, colon)), TARIFF_GB_MAX, &tier.from_gb) != 0 ||
        tariff_amount(trim(slice_sub(text, colon + 1, text.len)), &tier.nanos) != 0)
        return -EBADMSG;
    if (t->tiers == TARIFF_TIERS_MAX)
        return -ENOSPC;
    if (t->tiers == 0 ? tier.from_gb != 0 : tier.from_gb <= t->tier[t->tiers - 1].from_gb)
        return -EINVAL;
    t->tier[t->tiers++] = tier;
    return 0;
}

int tariff_fixed_read(struct tariff_fixed *out, struct slice text)
{
    size_t sign = find(text, '=');
    struct tariff_fixed f = {.name = ""};

    if (slice_to_cstr(trim(slice_sub(text, 0, sign)), f.name, sizeof(f.name)) != 0 ||
        f.name[0] == '\0' ||
        tariff_amount(trim(slice_sub(text, sign + 1, text.len)), &f.nanos) != 0)
        return -EBADMSG;
    *out = f;
    return 0;
}

/* ---- prices ---- */

static uint64_t add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t mul(uint64_t a, uint64_t b)
{
    return a != 0 && b > UINT64_MAX / a ? UINT64_MAX : a * b;
}

/* Bytes at nanos a gigabyte, rounded to the nearest nano. */
static uint64_t cost(uint64_t bytes, uint64_t gb_bytes, uint64_t nanos)
{
    unsigned __int128 sum = ((unsigned __int128)bytes * nanos + gb_bytes / 2) / gb_bytes;

    return sum > UINT64_MAX ? UINT64_MAX : (uint64_t)sum;
}

uint64_t tariff_price(const struct tariff *t, uint64_t out_bytes, uint64_t in_bytes)
{
    uint64_t gb = t->gb_bytes > 0 ? t->gb_bytes : GB_BYTES, sum = cost(in_bytes, gb, t->in_nanos);
    uint64_t at = mul(t->free_gb, gb);

    for (size_t i = 0; i < t->tiers && at < out_bytes; i++) {
        uint64_t end = i + 1 < t->tiers ? mul(t->tier[i + 1].from_gb, gb) : UINT64_MAX;
        uint64_t upto = end < out_bytes ? end : out_bytes;
        if (upto <= at) /* all of it is free */
            continue;
        sum = add(sum, cost(upto - at, gb, t->tier[i].nanos));
        at = upto;
    }
    return sum;
}

void tariff_write(struct wr *w, uint64_t nanos)
{
    uint64_t part = nanos % TARIFF_UNIT;
    unsigned digits = DIGITS;

    while (digits > 2 && part % 10 == 0) {
        part /= 10;
        digits--;
    }
    wr_fmt(w, "%" PRIu64 ".%0*" PRIu64, nanos / TARIFF_UNIT, (int)digits, part);
}
