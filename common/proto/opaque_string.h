/* Names and passwords that people wrote, made ready for comparison (RFC 8265 §4.2, OpaqueString;
 * asked for by RFC 8489 §9.2.2 and §14.3). SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_OPAQUE_STRING_H
#define SORI_PROTO_OPAQUE_STRING_H

#include "base/bytes.h"

/* Prepares in and writes it to out: each space of another kind becomes U+0020.
 *
 * Normalisation (NFC) is the writer's: text that is not composed stays as it is and then differs
 * from what a client sends that composes it.
 *
 * Returns 0; -EBADMSG for empty text, text that is not UTF-8 or contains a control character; or
 * -ENOSPC when out is too small (in.len bytes are always enough). */
int opaque_string(struct wr *out, struct slice in);

#endif
