/* Frames of ICE-TCP.
 *
 * Called by ice_tcp_listener.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/ice_tcp_framing.h"

#include <errno.h>

int ice_tcp_framing_next(struct slice *packet, struct slice data)
{
    struct rd r = rd_init(data);
    size_t len = rd_be16(&r);

    if (r.bad)
        return -EAGAIN;
    if (len > ICE_TCP_PACKET_MAX)
        return -EMSGSIZE;
    struct slice p = rd_take(&r, len);
    if (r.bad)
        return -EAGAIN;
    *packet = p;
    return (int)(ICE_TCP_HEADER_BYTES + len);
}

void ice_tcp_framing_head(uint8_t out[ICE_TCP_HEADER_BYTES], size_t len)
{
    struct wr w = wr_init(out, ICE_TCP_HEADER_BYTES);
    wr_be16(&w, (uint16_t)len);
}
