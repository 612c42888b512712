/* Files that the report is made from: records of relays, archived days.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_REPORT_SOURCE_H
#define SORI_SERVER_REPORT_SOURCE_H

#include "server/report_view.h"

#define REPORT_SOURCE_WHY_MAX 512

/* Puts the records of a directory's *.ndjson files, of one file, or ("-") of standard input into r.
 * Lines that cannot be used are counted in *in.
 *
 * Returns 0; -ENOSPC, -ENOMEM as of usage_report_relay(); or the -errno of what could not be read,
 * with why (NUL ended) naming it. */
int report_source_relay(struct usage_report *r, struct report_inputs *in, const char *path,
                        char why[REPORT_SOURCE_WHY_MAX]);

/* The same with the days of an archive's directory. One that is damaged is counted, named on
 * standard error and left out. */
int report_source_archive(struct usage_report *r, struct report_inputs *in, const char *dir,
                          char why[REPORT_SOURCE_WHY_MAX]);

#endif
