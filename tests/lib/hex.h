/* Test inputs written as hex with spaces. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_HEX_H
#define SORI_TESTS_LIB_HEX_H

#include <stdlib.h>

#include "base/bytes.h"

/* Turns hex digits (spaces ignored) into bytes in buf; ends the process on anything else. */
static inline struct slice hex_bytes(const char *hex, uint8_t *buf, size_t cap)
{
    size_t digits = 0;

    for (; *hex; hex++) {
        const char *all = "0123456789abcdef", *at = strchr(all, *hex);
        if (*hex == ' ')
            continue;
        if (!at || digits / 2 == cap)
            abort();
        uint8_t v = (uint8_t)(at - all);
        buf[digits / 2] = (uint8_t)(digits % 2 ? buf[digits / 2] << 4 | v : v);
        digits++;
    }
    if (digits % 2)
        abort();
    return slice_of(buf, digits / 2);
}

#endif
