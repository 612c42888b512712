/* The report as JSON: docs/usage-report.schema.json.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_REPORT_JSON_H
#define SORI_SERVER_REPORT_JSON_H

#include "server/report_view.h"

/* Writes the whole document. Errors show on f (ferror()). */
void report_json(FILE *f, const struct report_view *v);

#endif
