/* The OpaqueString profile (RFC 8265 §4.2.2): spaces, then normalisation by libunistring.
 *
 * Called by turn/credentials.c for the users file and by turn/turn_conf.c for realms. Pure. What
 * arrives in a STUN message has been prepared by the client and is compared byte by byte.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/opaque_string.h"

#include <errno.h>

#include <uninorm.h>

#include "base/crypto.h"
#include "proto/utf8.h"

#define NFC_GROWTH 3 /* no text in UTF-8 gets longer than that by NFC (UAX #15) */

/* Characters of Unicode's category Zs other than U+0020, as UTF-8. */
static const struct slice spaces[] = {
    SLICE_LIT("\xc2\xa0"),     /* U+00A0 no-break space */
    SLICE_LIT("\xe1\x9a\x80"), /* U+1680 ogham space mark */
    SLICE_LIT("\xe2\x80\xaf"), /* U+202F narrow no-break space */
    SLICE_LIT("\xe2\x81\x9f"), /* U+205F medium mathematical space */
    SLICE_LIT("\xe3\x80\x80"), /* U+3000 ideographic space */
};

/* Bytes of the space that s begins with, 0 when it begins with none. */
static size_t space_len(struct slice s)
{
    /* U+2000 to U+200A: en quad to hair space. */
    if (slice_starts(s, SLICE_LIT("\xe2\x80")) && s.len > 2 && s.p[2] >= 0x80 && s.p[2] <= 0x8a)
        return 3;
    for (size_t i = 0; i < ARRAY_LEN(spaces); i++) {
        if (slice_starts(s, spaces[i]))
            return spaces[i].len;
    }
    return 0;
}

/* C0, DEL and C1 (U+0080 to U+009F). */
static bool is_control(struct slice s)
{
    return s.p[0] < 0x20 || s.p[0] == 0x7f ||
           (s.len > 1 && s.p[0] == 0xc2 && s.p[1] >= 0x80 && s.p[1] <= 0x9f);
}

/* Writes s with every space a U+0020. Returns 0, or -EBADMSG for a control character. */
static int map_spaces(struct wr *out, struct slice s)
{
    while (s.len > 0) {
        size_t n = space_len(s);
        if (is_control(s))
            return -EBADMSG;
        wr_u8(out, n > 0 ? ' ' : s.p[0]);
        s = slice_sub(s, n > 0 ? n : 1, SIZE_MAX);
    }
    return 0;
}

/* Composes s into out. The library allocates a result only when the buffer that it is given is too
 * small, which this one never is. */
static int compose(struct wr *out, struct slice s)
{
    uint8_t composed[NFC_GROWTH * OPAQUE_STRING_MAX];
    size_t len = sizeof(composed);
    const uint8_t *p = u8_normalize(UNINORM_NFC, s.p, s.len, composed, &len);

    if (p)
        wr_bytes(out, slice_of(composed, len));
    crypto_wipe(composed, sizeof(composed));
    return !p ? -ENOMEM : out->bad ? -ENOSPC : 0;
}

int opaque_string(struct wr *out, struct slice in)
{
    uint8_t mapped[OPAQUE_STRING_MAX];
    struct wr w = wr_init(mapped, sizeof(mapped));

    if (in.len == 0 || !utf8_valid(in))
        return -EBADMSG;
    if (in.len > sizeof(mapped))
        return -ENOSPC;
    int err = map_spaces(&w, in);
    if (!err)
        err = compose(out, wr_done(&w));
    crypto_wipe(mapped, sizeof(mapped));
    return err;
}
