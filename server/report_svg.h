/* Charts of the report's page, as SVG inside HTML: no script, nothing loaded. Colours are classes
 * (c0 ..) of the page's style. Pure but for the file. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_REPORT_SVG_H
#define SORI_SERVER_REPORT_SVG_H

#include <stdio.h>

#include "base/bytes.h"

enum { REPORT_SVG_SERIES_MAX = 8 };

/* Bars side by side, each a pile of its series. */
struct report_chart {
    const char *title; /* read to those who do not see it; our own text */
    const char *unit;  /* behind the values, in what shows on pointing at a bar */
    size_t n;          /* bars */
    /* Writes the i-th bar's label, which needs no escaping. */
    void (*label)(void *arg, size_t i, struct wr *w);
    double (*value)(void *arg, size_t i, unsigned series);
    void *arg;
    const char *names[REPORT_SVG_SERIES_MAX]; /* of the series; need no escaping */
    unsigned classes[REPORT_SVG_SERIES_MAX];  /* their colours */
    unsigned series;
};
void report_svg(FILE *f, const struct report_chart *c);

/* Text of strangers inside HTML. */
void report_html_text(FILE *f, const char *text);

#endif
