/* UTF-8 (RFC 3629): shortest forms only, no surrogates, nothing above U+10FFFF.
 * Pure; any thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_UTF8_H
#define SORI_PROTO_UTF8_H

#include "base/bytes.h"

/* Where a check of text that comes in parts stands. Zeroed = at the start. */
struct utf8 {
    uint8_t _need;    /* continuation bytes that must follow */
    uint8_t _lo, _hi; /* range of the next one */
    uint8_t _bad;
};

/* Checks the next part. Returns false at the first byte that no valid text can have here, and for
 * ever after. */
bool utf8_feed(struct utf8 *u, struct slice part);

/* True when what was fed so far is valid and does not end inside a character. */
static inline bool utf8_complete(const struct utf8 *u)
{
    return !u->_bad && u->_need == 0;
}

/* True when s as a whole is valid; the empty text is. */
bool utf8_valid(struct slice s);

/* The longest prefix of s, at most max bytes, that does not cut a character in two. s is valid. */
struct slice utf8_prefix(struct slice s, size_t max);

#endif
