/* R of parameter sets, a line each, for an implementation in another language to compare with
 * (tests/e2e/emodel_oracle_test.py).
 *
 *     g SLR RLR … mT       all of struct emodel, in its order
 *     p CODEC BPS LOSS BURST DELAY COPIES
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/emodel.h"

enum { LINE = 1024, NUMBERS = sizeof(struct emodel) / sizeof(double) };

/* The numbers of a line behind its first letter; how many. */
static size_t read_numbers(const char *line, double *v, size_t max)
{
    const char *at = line + 1;
    size_t n = 0;

    for (char *end; n < max; at = end, n++) {
        v[n] = strtod(at, &end);
        if (end == at)
            break;
    }
    return n;
}

int main(void)
{
    char line[LINE];
    double v[NUMBERS];

    while (fgets(line, sizeof(line), stdin)) {
        size_t n = read_numbers(line, v, NUMBERS);
        double r;
        if (line[0] == 'g' && n == NUMBERS) {
            struct emodel m;
            memcpy(&m, v, sizeof(m));
            r = emodel_r(&m);
        } else if (line[0] == 'p' && n == 6) {
            r = emodel_path_r(&(struct emodel_path){.codec = (enum emodel_codec)v[0],
                                                    .bps = (uint32_t)v[1],
                                                    .loss = v[2],
                                                    .burst_ratio = v[3],
                                                    .delay_ms = v[4],
                                                    .copies = (unsigned)v[5]});
        } else {
            fprintf(stderr, "no parameter set: %s", line);
            return 1;
        }
        printf("%.9f %.9f\n", r, emodel_mos(r));
    }
    return 0;
}
