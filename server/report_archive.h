/* Days for ever: the sums of one day as lines of JSON, without anything about a person.
 *
 *     {"schema":"usage-day/1","day":"2026-11-28","detail":1200}
 *     {"kind":"row","path":"turn-udp","region":"kr","codec":"opus","answered":41, …}
 *     {"kind":"push","push":"ring","status":200,"reason":"","count":64}
 *     {"kind":"latency","of":"invite_to_ringing","buckets":[[288,3],[304,7]]}
 *     {"kind":"end","lines":4}
 *
 * The same day gives the same bytes. Pure but for the file. SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef SORI_SERVER_REPORT_ARCHIVE_H
#define SORI_SERVER_REPORT_ARCHIVE_H

#include "server/report_view.h"

#define REPORT_ARCHIVE_BYTES_MAX (16 * 1024 * 1024) /* of a file that is read */

/* Writes the i-th day of the view. Errors show on f (ferror()). */
void report_archive_write(FILE *f, const struct report_view *v, size_t i);

/* Puts a day into the report (usage_report_archived_*). Returns 0; -EBADMSG: it is damaged, cut
 * short, or of another version: nothing was put in; -ENOMEM. */
int report_archive_read(struct usage_report *r, struct slice text);

#endif
