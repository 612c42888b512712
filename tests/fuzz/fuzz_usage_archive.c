/* Archived days: what is accepted can be reported, and what is then archived is accepted again.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>

#include "server/report_archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct usage_report *fresh(void)
{
    const struct usage_conf conf = {.to = USAGE_DAY_MAX,
                                    .now_s = UINT64_C(1900000000),
                                    .relayed_bytes_s = 200,
                                    .most = 1000,
                                    .user_key = SLICE_LIT("key")};

    return usage_report_new(&conf);
}

/* Archives the first day of r once more; heap memory of stdio. */
static char *again(const struct usage_report *r, size_t *len)
{
    static struct report_conf conf;
    static const struct report_inputs inputs;
    struct report_view v = {.conf = &conf, .report = r, .inputs = &inputs};
    char *text = NULL;
    FILE *f = open_memstream(&text, len);

    v.rows = usage_report_rows(r, &v.rows_n);
    v.pushes = usage_report_pushes(r, &v.pushes_n);
    v.days = usage_report_days(r, &v.days_n);
    if (!f || v.days_n != 1)
        abort();
    report_archive_write(f, &v, 0);
    fclose(f);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct usage_report *r = fresh(), *second = fresh();
    size_t len = 0;

    if (r && second && report_archive_read(r, slice_of(data, size)) == 0 &&
        usage_report_close(r) == 0 && usage_report_days(r, &len)->archived) {
        char *text = again(r, &len), *last;
        size_t last_len;
        /* Sums of doubled rows may be greater than what is accepted. */
        if (report_archive_read(second, slice_of(text, len)) == 0) {
            if (usage_report_close(second) != 0)
                abort();
            last = again(second, &last_len);
            if (last_len != len || memcmp(last, text, len) != 0)
                abort();
            free(last);
        }
        free(text);
    }
    usage_report_free(r);
    usage_report_free(second);
    return 0;
}
