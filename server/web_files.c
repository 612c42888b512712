/* The demonstration page and the client library, compiled in from server/web.
 *
 * Called by http_page.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/web_files.h"

/* Puts a file of the source tree between two symbols (paths are relative to where make runs). */
#define EMBED(name, file)                                                      \
    __asm__(".section .rodata\n"                                               \
            ".balign 16\n" #name "_begin:\n"                                   \
            ".incbin \"server/web/" file "\"\n" #name "_end:\n"                \
            ".byte 0\n"                                                        \
            ".previous\n");                                                    \
    extern const uint8_t name##_begin[] __attribute__((visibility("hidden"))); \
    extern const uint8_t name##_end[] __attribute__((visibility("hidden")))

EMBED(web_index_html, "index.html");
EMBED(web_style_css, "style.css");
EMBED(web_room_css, "room.css");
EMBED(web_sori_js, "sori.js");
EMBED(web_sori_base_js, "sori_base.js");
EMBED(web_sori_quality_js, "sori_quality.js");
EMBED(web_sori_relay_js, "sori_relay.js");
EMBED(web_sori_report_js, "sori_report.js");
EMBED(web_sori_room_js, "sori_room.js");
EMBED(web_app_js, "app.js");
EMBED(web_page_parts_js, "page_parts.js");
EMBED(web_quality_page_js, "quality_page.js");
EMBED(web_room_page_js, "room_page.js");
EMBED(web_status_html, "status.html");
EMBED(web_status_css, "status.css");
EMBED(web_status_js, "status.js");

struct embedded {
    const char *path, *type;
    const uint8_t *begin, *end;
};

static const char HTML[] = "text/html; charset=utf-8", JS[] = "text/javascript; charset=utf-8",
                  CSS[] = "text/css; charset=utf-8";

static const struct web_file *find(const struct embedded *files, size_t n, struct web_file *found,
                                   struct slice path)
{
    for (size_t i = 0; i < n; i++) {
        if (!slice_is(path, files[i].path))
            continue;
        found[i] =
            (struct web_file){files[i].path, files[i].type,
                              slice_of(files[i].begin, (size_t)(files[i].end - files[i].begin))};
        return &found[i];
    }
    return NULL;
}

const struct web_file *web_file_find(struct slice path)
{
    static const struct embedded files[] = {
        {"/", HTML, web_index_html_begin, web_index_html_end},
        {"/style.css", CSS, web_style_css_begin, web_style_css_end},
        {"/room.css", CSS, web_room_css_begin, web_room_css_end},
        {"/sori.js", JS, web_sori_js_begin, web_sori_js_end},
        {"/sori_base.js", JS, web_sori_base_js_begin, web_sori_base_js_end},
        {"/sori_quality.js", JS, web_sori_quality_js_begin, web_sori_quality_js_end},
        {"/sori_relay.js", JS, web_sori_relay_js_begin, web_sori_relay_js_end},
        {"/sori_report.js", JS, web_sori_report_js_begin, web_sori_report_js_end},
        {"/sori_room.js", JS, web_sori_room_js_begin, web_sori_room_js_end},
        {"/app.js", JS, web_app_js_begin, web_app_js_end},
        {"/page_parts.js", JS, web_page_parts_js_begin, web_page_parts_js_end},
        {"/quality_page.js", JS, web_quality_page_js_begin, web_quality_page_js_end},
        {"/room_page.js", JS, web_room_page_js_begin, web_room_page_js_end},
    };
    static struct web_file found[ARRAY_LEN(files)];

    return find(files, ARRAY_LEN(files), found, path);
}

const struct web_file *web_file_status(struct slice path)
{
    static const struct embedded files[] = {
        {"/", HTML, web_status_html_begin, web_status_html_end},
        {"/status.css", CSS, web_status_css_begin, web_status_css_end},
        {"/status.js", JS, web_status_js_begin, web_status_js_end},
    };
    static struct web_file found[ARRAY_LEN(files)];

    return find(files, ARRAY_LEN(files), found, path);
}
