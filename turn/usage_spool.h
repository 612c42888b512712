/* Names of the files that records of use are written to, and when the next one begins.
 *
 *     usage-20261128-9f3c0a1b2d4e5f60-0001.ndjson     day, process, part
 *
 * A process never goes on in a file of another one, so what a crash has cut stays the last line of
 * its file. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_USAGE_SPOOL_H
#define SORI_TURN_USAGE_SPOOL_H

#include "base/bytes.h"

#define USAGE_SPOOL_NAME_MAX 64 /* a name and its NUL */

struct usage_spool {
    uint64_t boot; /* random, of the process */
    uint64_t day;  /* of the file that is open: days since 1970 */
    uint64_t bytes, most_bytes;
    uint32_t part; /* of that day; 0: no file is open */
};

/* Whether a record of len bytes at wall_us begins another file: there is none, its day is over, or
 * it would become too long (a single record never does). */
bool usage_spool_turns(const struct usage_spool *s, size_t len, uint64_t wall_us);

/* The next file begins: sets day, part and bytes and writes its name, NUL ended. */
void usage_spool_turn(struct usage_spool *s, uint64_t wall_us, char name[USAGE_SPOOL_NAME_MAX]);

/* The day (since 1970) of a file of ours. Returns 0, or -EBADMSG for any other name. */
int usage_spool_day(struct slice name, uint64_t *day);

#endif
