/* Names of sori-sfu's metrics. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_METRICS_H
#define SORI_SFU_METRICS_H

#include "base/metrics.h"

struct sfu_worker;

/* Registers a worker's counters; those of several workers are summed. One that fails for want of
 * memory is left out. */
void sfu_metrics_worker(struct metrics *m, const struct sfu_worker *w);

#endif
