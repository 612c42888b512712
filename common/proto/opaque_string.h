/* Names and passwords that people wrote, made ready for comparison (RFC 8265 §4.2, OpaqueString;
 * asked for by RFC 8489 §9.2.2 and §14.3). SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_OPAQUE_STRING_H
#define SORI_PROTO_OPAQUE_STRING_H

#include "base/bytes.h"

#define OPAQUE_STRING_MAX 1024 /* bytes of text */

/* Prepares in and writes it to out: each space of another kind becomes U+0020, then the text is
 * composed (NFC).
 *
 * Returns 0; -EBADMSG for empty text, text that is not UTF-8 or contains a control character;
 * -ENOSPC when in is over OPAQUE_STRING_MAX or out is too small (3 * in.len bytes are always
 * enough); -ENOMEM. */
int opaque_string(struct wr *out, struct slice in);

#endif
