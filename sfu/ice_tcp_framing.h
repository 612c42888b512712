/* Packets on a byte stream, each with its length before it (RFC 4571 §2, RFC 6544 §3). Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_ICE_TCP_FRAMING_H
#define SORI_SFU_ICE_TCP_FRAMING_H

#include "base/bytes.h"

#define ICE_TCP_HEADER_BYTES 2
#define ICE_TCP_PACKET_MAX                                                \
    8192 /* no client of ours sends longer ones; more ends the connection \
          */

/* Looks at the first frame of data. Returns the bytes to consume (the frame, header included) with
 * *packet, which may be empty (RFC 4571 §2: a null packet, ignored); -EAGAIN when it is not whole
 * yet; -EMSGSIZE when it is longer than ICE_TCP_PACKET_MAX: end the connection. */
int ice_tcp_framing_next(struct slice *packet, struct slice data);

/* Writes the header of a packet of len bytes, at most 65535. */
void ice_tcp_framing_head(uint8_t out[ICE_TCP_HEADER_BYTES], size_t len);

#endif
