/* The report as CSV (RFC 4180): one line for each day, path, region and codec.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_REPORT_CSV_H
#define SORI_SERVER_REPORT_CSV_H

#include "server/report_view.h"

/* Writes it with a line of names. Errors show on f (ferror()). */
void report_csv(FILE *f, const struct report_view *v);

/* Writes one field: quoted where it must be, and a text that a spreadsheet would take for a formula
 * (= + - @, tab or return in front) behind an apostrophe. */
void report_csv_text(FILE *f, const char *text);

#endif
