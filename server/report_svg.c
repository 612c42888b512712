/* Charts of the report's page.
 *
 * Called by report_html.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/report_svg.h"

#include <math.h>

enum { WIDTH = 720, HEIGHT = 256, LEFT = 74, RIGHT = 6, TOP = 18, BOTTOM = 34, LABELS_MAX = 7 };
#define PLOT_W ((double)(WIDTH - LEFT - RIGHT))
#define PLOT_H ((double)(HEIGHT - TOP - BOTTOM))
#define TICKS  4

void report_html_text(FILE *f, const char *text)
{
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '<')
            fputs("&lt;", f);
        else if (c == '>')
            fputs("&gt;", f);
        else if (c == '&')
            fputs("&amp;", f);
        else if (c == '"')
            fputs("&quot;", f);
        else if (c == '\'')
            fputs("&#39;", f);
        else if (c < 0x20 || c == 0x7f)
            fputs("\xef\xbf\xbd", f); /* U+FFFD */
        else
            fputc(c, f);
    }
}

static double pile(const struct report_chart *c, size_t i)
{
    double sum = 0;

    for (unsigned s = 0; s < c->series; s++)
        sum += c->value(c->arg, i, s);
    return sum;
}

/* A few digits times a power of ten, so that TICKS of them reach most. */
static double step_for(double most)
{
    static const double nice[] = {1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10};
    double raw = most > 0 ? most / TICKS : 1, power = pow(10, floor(log10(raw)));
    size_t i = 0;

    while (i + 1 < ARRAY_LEN(nice) && nice[i] * power < raw)
        i++;
    return nice[i] * power;
}

static void put_grid(FILE *f, double step, double top)
{
    for (unsigned i = 0; i <= TICKS; i++) {
        double v = step * i, y = TOP + PLOT_H * (1 - v / top);
        fprintf(f, "<path class=g d=\"M%d %.1fH%d\"/><text x=%d y=%.1f text-anchor=end>%.5g</text>",
                LEFT, y, WIDTH - RIGHT, LEFT - 8, y + 4, v);
    }
}

static void put_label(FILE *f, const struct report_chart *c, size_t i)
{
    uint8_t buf[32];
    struct wr w = wr_init(buf, sizeof(buf));

    c->label(c->arg, i, &w);
    fprintf(f, "%.*s", SLICE_FMT(wr_done(&w)));
}

static void put_bar(FILE *f, const struct report_chart *c, size_t i, double top)
{
    double slot = PLOT_W / (double)c->n, width = slot > 60 ? 44 : slot * 0.74;
    double x = LEFT + slot * (double)i + (slot - width) / 2, y = TOP + PLOT_H;

    fputs("<g>", f);
    for (unsigned s = 0; s < c->series; s++) {
        double v = c->value(c->arg, i, s), h = PLOT_H * v / top;
        if (h <= 0)
            continue;
        y -= h;
        fprintf(f, "<rect class=c%u x=%.1f y=%.1f width=%.1f height=%.1f><title>", c->classes[s], x,
                y, width, h);
        put_label(f, c, i);
        fprintf(f, " %s: %.4g %s</title></rect>", c->names[s], v, c->unit);
    }
    fputs("</g>", f);
}

static void put_labels(FILE *f, const struct report_chart *c)
{
    size_t every = (c->n + LABELS_MAX - 1) / LABELS_MAX;

    for (size_t i = 0; i < c->n; i += every) {
        double x = LEFT + PLOT_W * ((double)i + 0.5) / (double)c->n;
        fprintf(f, "<text x=%.1f y=%d text-anchor=middle>", x, HEIGHT - 6);
        put_label(f, c, i);
        fputs("</text>", f);
    }
}

static double all_of(const struct report_chart *c, unsigned series)
{
    double sum = 0;

    for (size_t i = 0; i < c->n; i++)
        sum += c->value(c->arg, i, series);
    return sum;
}

static void put_key(FILE *f, const struct report_chart *c)
{
    if (c->series < 2)
        return;
    fputs("<p class=key>", f);
    for (unsigned s = 0; s < c->series; s++)
        if (all_of(c, s) > 0)
            fprintf(f, "<span><i class=c%u></i>%s</span>", c->classes[s], c->names[s]);
    fputs("</p>", f);
}

void report_svg(FILE *f, const struct report_chart *c)
{
    double most = 0;

    for (size_t i = 0; i < c->n; i++)
        most = fmax(most, pile(c, i));
    if (most <= 0) {
        fputs("<p class=none>Nothing in these days.</p>", f);
        return;
    }
    double step = step_for(most), top = step * TICKS;
    fprintf(f, "<svg viewBox=\"0 0 %d %d\" role=img aria-label=\"%s\">", WIDTH, HEIGHT, c->title);
    put_grid(f, step, top);
    for (size_t i = 0; i < c->n; i++)
        put_bar(f, c, i, top);
    put_labels(f, c);
    fputs("</svg>", f);
    put_key(f, c);
}
