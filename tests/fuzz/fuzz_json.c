/* proto/json.c: what the scanner accepts, all walkers agree on; what it refuses, they survive.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "proto/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct json_limits limits = {16, 512, 65536};

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* Decoded, written and decoded again it is the same text. */
static void check_text(struct slice value)
{
    static uint8_t a[65536], b[6 * 65536 + 2], c[6 * 65536 + 2];
    struct wr first = wr_init(a, sizeof(a)), again = wr_init(c, sizeof(c));
    struct wr written = wr_init(b, sizeof(b));
    struct slice text, back;

    must(json_text(value, &text, &first));
    json_write_text(&written, text);
    must(json_scan(wr_done(&written), &(struct json_limits){1, 1, sizeof(b)}) == 0);
    must(json_text(wr_done(&written), &back, &again));
    must(slice_eq(text, back));
}

static void check_items(struct slice array, bool valid)
{
    struct json_items it = json_items(array);
    struct slice value;

    while (json_items_next(&it, &value)) {
        if (!valid)
            continue;
        must(json_scan(value, &limits) == 0);
        if (json_kind_of(value) == JSON_KIND_STRING)
            check_text(value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_field f[] = {{.key = "type"}, {.key = "a"}, {.key = "data"}};
    struct json_field g[] = {{.key = "type"}, {.key = "a"}, {.key = "data"}};
    struct slice text = slice_of(data, size);
    bool valid = json_scan(text, &limits) == 0;
    int rc = json_scan_object(text, &limits, f, ARRAY_LEN(f));
    int walked = json_fields(text, g, ARRAY_LEN(g));
    uint8_t buf[256];
    struct wr scratch = wr_init(buf, sizeof(buf));
    struct slice out;

    (void)json_text(text, &out, &scratch); /* survives anything */
    check_items(text, valid);
    if (rc == 0) {
        must(valid && walked == 0);
        for (size_t i = 0; i < ARRAY_LEN(f); i++) {
            must(f[i].kind == g[i].kind && slice_eq(f[i].value, g[i].value));
            must(f[i].kind == JSON_KIND_NONE || json_scan(f[i].value, &limits) == 0);
            check_items(f[i].value, true);
        }
    }
    must(!valid || rc == 0 || rc == -EEXIST || rc == -EBADMSG);
    return 0;
}
