/* UTF-8 validation in one pass, byte ranges straight from the table in RFC 3629 §4.
 *
 * Called by ws.c (every text message, also in parts), and by whoever takes text from strangers.
 * ASCII goes 16 bytes at a time. Pure; any thread. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/utf8.h"

#define HIGH_BITS UINT64_C(0x8080808080808080)

/* How many bytes at the start of s are ASCII, counted in blocks of 16. */
static size_t ascii_run(const uint8_t *p, size_t n)
{
    size_t at = 0;
    while (n - at >= 16) {
        uint64_t a, b;
        memcpy(&a, p + at, 8);
        memcpy(&b, p + at + 8, 8);
        if ((a | b) & HIGH_BITS)
            break;
        at += 16;
    }
    return at;
}

/* Takes the first byte of a character. Returns false when there is no such character. */
static bool lead(struct utf8 *u, uint8_t c)
{
    u->_lo = 0x80;
    u->_hi = 0xBF;
    if (c >= 0xC2 && c <= 0xDF) {
        u->_need = 1;
    } else if (c >= 0xE0 && c <= 0xEF) {
        u->_need = 2;
        if (c == 0xE0)
            u->_lo = 0xA0; /* below: a longer form of two bytes' worth */
        else if (c == 0xED)
            u->_hi = 0x9F; /* above: surrogates */
    } else if (c >= 0xF0 && c <= 0xF4) {
        u->_need = 3;
        if (c == 0xF0)
            u->_lo = 0x90;
        else if (c == 0xF4)
            u->_hi = 0x8F; /* above: beyond U+10FFFF */
    } else {
        return false;
    }
    return true;
}

bool utf8_feed(struct utf8 *u, struct slice part)
{
    if (u->_bad)
        return false;
    for (size_t at = 0; at < part.len; at++) {
        uint8_t c = part.p[at];
        if (u->_need > 0) {
            if (c < u->_lo || c > u->_hi)
                goto bad;
            u->_need--;
            u->_lo = 0x80;
            u->_hi = 0xBF;
        } else if (c < 0x80) {
            size_t run = ascii_run(part.p + at, part.len - at);
            at += run > 0 ? run - 1 : 0;
        } else if (!lead(u, c)) {
            goto bad;
        }
    }
    return true;
bad:
    u->_bad = 1;
    return false;
}

bool utf8_valid(struct slice s)
{
    struct utf8 u = {0};
    return utf8_feed(&u, s) && utf8_complete(&u);
}

struct slice utf8_prefix(struct slice s, size_t max)
{
    if (s.len <= max)
        return s;
    while (max > 0 && (s.p[max] & 0xC0) == 0x80)
        max--;
    return slice_of(s.p, max);
}
