/* STUN and ChannelData messages on a byte stream (RFC 8489 §6.2.2, RFC 8656 §12.5): where does the
 * first one end? SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_FRAMING_H
#define SORI_TURN_FRAMING_H

#include "base/bytes.h"

#define FRAMING_MAX (4 + 65535 + 1) /* ChannelData of the longest payload, padded */

struct frame {
    size_t msg_len;   /* bytes of the message itself */
    size_t total_len; /* with the padding behind it: what to consume */
};

/* Looks at the first message of data. Returns 0; -EAGAIN when it is not whole yet; -EBADMSG when no
 * message begins like this: framing is lost, the caller closes the stream. */
int framing_next(struct frame *out, struct slice data);

#endif
