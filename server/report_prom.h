/* The report's sums for Prometheus: a file for node_exporter's textfile collector.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_REPORT_PROM_H
#define SORI_SERVER_REPORT_PROM_H

#include "server/report_view.h"

/* Writes gauges of the report's days in text format 0.0.4. Errors show on f (ferror()). */
void report_prom(FILE *f, const struct report_view *v);

#endif
