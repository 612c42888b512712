/* The impairer's commands: one a line, from a script or as they come.
 *
 *     [at TIME] up|down|both WORD [VALUE] [WORD [VALUE]]...
 *     stats | series | reset
 *
 *     delay TIME          every packet takes this long
 *     jitter TIME         and 0..TIME more, by chance
 *     reorder on|off      jitter may change the order (off)
 *     loss PERCENT        this share of packets is lost
 *     burst N             in runs of N on average (1: independently)
 *     dup PERCENT         so many come twice
 *     hold PERCENT TIME   so many take TIME longer than the rest
 *     rate RATE           bottleneck; `rate none` takes it away
 *     queue BYTES|TIME    what may wait for it: both limits may be given
 *     block udp|tcp[:PORT]   drops that; several add up; `block none` ends all
 *     cut on|off          nothing passes
 *     clear               a perfect link again
 *
 * TIME: 40ms, 1.5s, 200us. RATE: 500kbit, 2.5mbit. BYTES: 64kb, 1500b. PERCENT: 5%.
 * `at` counts from the start. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_IMPAIR_SCRIPT_H
#define SORI_TESTS_IMPAIR_SCRIPT_H

#include "impair_link.h"

#define IMPAIR_LINE_MAX 256

enum impair_do { IMPAIR_SET, IMPAIR_STATS, IMPAIR_SERIES, IMPAIR_RESET };

struct impair_step {
    enum impair_do what;
    uint64_t at_us;             /* since the start; 0: now */
    bool up, down;              /* whom it is for */
    char line[IMPAIR_LINE_MAX]; /* IMPAIR_SET: the words behind the direction */
};

/* Reads one line without its newline. Returns 0, 1 for an empty line or a comment (#), or -EBADMSG
 * with *why saying what is wrong. The words of IMPAIR_SET have been checked. */
int impair_step_parse(struct impair_step *out, const char *line, const char **why);

/* Applies an IMPAIR_SET step to a configuration. Returns 0 or -EBADMSG as above. */
int impair_step_apply(const struct impair_step *s, struct impair_conf *conf, const char **why);

#endif
