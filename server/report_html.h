/* The report as one HTML page that loads nothing. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_REPORT_HTML_H
#define SORI_SERVER_REPORT_HTML_H

#include "server/report_view.h"

/* Writes the whole page. Errors show on f (ferror()). */
void report_html(FILE *f, const struct report_view *v);

#endif
