/* The parts of slices and writers that are too long to be inline.
 *
 * Called by everything that parses or prints. Pure; any thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/bytes.h"

#include <errno.h>
#include <stdio.h>

enum { WR_FMT_SCRATCH = 1024 };

static uint8_t ascii_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

bool slice_eq_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    return true;
}

int slice_to_cstr(struct slice s, char *out, size_t cap)
{
    if (cap == 0)
        return -ENOSPC;
    out[0] = '\0';
    if (s.len == 0)
        return 0;
    if (s.len >= cap || memchr(s.p, '\0', s.len))
        return -ENOSPC;
    memcpy(out, s.p, s.len);
    out[s.len] = '\0';
    return 0;
}

int slice_to_u64(struct slice s, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;

    if (s.len == 0 || (s.len > 1 && s.p[0] == '0'))
        return -EBADMSG;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -EBADMSG;
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (digit > max || v > (max - digit) / 10)
            return -EBADMSG;
        v = v * 10 + digit;
    }
    *out = v;
    return 0;
}

void wr_u64(struct wr *w, uint64_t v)
{
    uint8_t digits[20]; /* UINT64_MAX has 20 */
    size_t at = sizeof(digits);

    do {
        digits[--at] = (uint8_t)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    wr_bytes(w, slice_of(digits + at, sizeof(digits) - at));
}

void wr_fmt(struct wr *w, const char *fmt, ...)
{
    char scratch[WR_FMT_SCRATCH];
    size_t room = w->cap - w->len;
    bool direct = room >= sizeof(scratch);
    va_list ap;

    if (w->bad)
        return;
    /* vsnprintf wants a byte for its NUL. With much room it prints in place; close to the end it
     * prints to scratch, so that text that fits exactly does fit. */
    va_start(ap, fmt);
    int n = direct ? vsnprintf((char *)w->base + w->len, room, fmt, ap)
                   : vsnprintf(scratch, sizeof(scratch), fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= (direct ? room : sizeof(scratch)))
        w->bad = true;
    else if (direct)
        w->len += (size_t)n;
    else
        wr_bytes(w, slice_of(scratch, (size_t)n));
}
