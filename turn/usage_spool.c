/* Names of the files that records of use are written to, and when the next one begins.
 *
 * Called by usage_writer.c. Pure; owned by its thread. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/usage_spool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"

#define DAY_US   (86400 * US_PER_S)
#define PREFIX   "usage-"
#define SUFFIX   ".ndjson"
#define BOOT_LEN 16 /* hex digits */
#define PART_MIN 4  /* digits, and more when there are more */

bool usage_spool_turns(const struct usage_spool *s, size_t len, uint64_t wall_us)
{
    return s->part == 0 || wall_us / DAY_US != s->day ||
           (s->bytes > 0 && (len > s->most_bytes || s->bytes > s->most_bytes - len));
}

void usage_spool_turn(struct usage_spool *s, uint64_t wall_us, char name[USAGE_SPOOL_NAME_MAX])
{
    time_t seconds = (time_t)(wall_us / US_PER_S);
    struct tm tm = {0};

    s->part++; /* goes on over the days, so that no name comes twice when a clock is set back */
    s->day = wall_us / DAY_US;
    s->bytes = 0;
    gmtime_r(&seconds, &tm);
    snprintf(name, USAGE_SPOOL_NAME_MAX, PREFIX "%04d%02d%02d-%016" PRIx64 "-%04" PRIu32 SUFFIX,
             (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday, s->boot, s->part);
}

/* n decimal digits, leading zeros allowed. */
static int digits(struct rd *r, size_t n, unsigned *out)
{
    struct slice s = rd_take(r, n);

    *out = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -EBADMSG;
        *out = *out * 10 + (s.p[i] - '0');
    }
    return r->bad ? -EBADMSG : 0;
}

static bool is_hex(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return s.len > 0;
}

static bool ends_well(struct slice rest)
{
    size_t suffix = sizeof(SUFFIX) - 1;

    if (rest.len < PART_MIN + suffix ||
        !slice_is(slice_sub(rest, rest.len - suffix, suffix), SUFFIX))
        return false;
    for (size_t i = 0; i < rest.len - suffix; i++)
        if (rest.p[i] < '0' || rest.p[i] > '9')
            return false;
    return true;
}

int usage_spool_day(struct slice name, uint64_t *day)
{
    struct rd r = rd_init(name);
    unsigned year, month, of_month;

    if (!slice_is(rd_take(&r, sizeof(PREFIX) - 1), PREFIX) || digits(&r, 4, &year) != 0 ||
        digits(&r, 2, &month) != 0 || digits(&r, 2, &of_month) != 0 || rd_u8(&r) != '-' ||
        !is_hex(rd_take(&r, BOOT_LEN)) || rd_u8(&r) != '-' || !ends_well(rd_rest(&r)))
        return -EBADMSG;
    struct tm tm = {
        .tm_year = (int)year - 1900, .tm_mon = (int)month - 1, .tm_mday = (int)of_month};
    time_t s = timegm(&tm);
    if (s < 0 || tm.tm_mon != (int)month - 1 || tm.tm_mday != (int)of_month) /* 31 June */
        return -EBADMSG;
    *day = (uint64_t)s / 86400;
    return 0;
}
