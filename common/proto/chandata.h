/* ChannelData messages (RFC 8656 §12.4 to §12.6): channel number, length, payload.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_CHANDATA_H
#define SORI_PROTO_CHANDATA_H

#include "base/bytes.h"

#define CHANDATA_HEADER_BYTES 4
/* RFC 5766 §11 had 0x4000-0x7FFF, RFC 8656 §12 keeps 0x4000-0x4FFF. Clients of both are in use, so
 * the codec takes the wider one; turn/chan.c may insist on the narrower. */
#define CHANDATA_CHANNEL_MIN        0x4000
#define CHANDATA_CHANNEL_MAX        0x7FFF
#define CHANDATA_CHANNEL_STRICT_MAX 0x4FFF

struct chandata {
    uint16_t channel;
    struct slice payload;
};

/* True when a message that begins with this byte is ChannelData (RFC 8656 §12.4: 64..127; STUN
 * begins with 0..3). */
static inline bool chandata_is(uint8_t first)
{
    return first >= 0x40 && first <= 0x7f;
}

/* Decodes one ChannelData message that fills a UDP datagram (RFC 8656 §12.6).
 *
 * dgram: the whole datagram; padding after the payload is allowed and ignored.
 * out:   written only on success; out->payload borrows from dgram.
 *
 * Returns 0, or -EBADMSG when the datagram is shorter than its length field claims or when the
 * channel number is outside CHANDATA_CHANNEL_MIN..MAX. Never allocates. */
int chandata_decode(struct chandata *out, struct slice dgram);

/* Writes the header of a message whose len bytes of payload (at most 65535, else w->bad) the caller
 * sends right behind it. */
void chandata_put_header(struct wr *w, uint16_t channel, size_t len);

/* Zero bytes (0..3) that must follow len bytes of payload on a stream (RFC 8656 §12.5). */
static inline unsigned chandata_pad(size_t len)
{
    return (unsigned)((4 - (len & 3)) & 3);
}

#endif
