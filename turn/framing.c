/* STUN and ChannelData messages on a byte stream: where does the first one end?
 *
 * Called by turn_tcp_listener.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/framing.h"

#include <errno.h>

#include "proto/chandata.h"
#include "proto/stun.h"

int framing_next(struct frame *out, struct slice data)
{
    struct rd r = rd_init(data);
    uint8_t first = data.len > 0 ? data.p[0] : 0;
    struct frame f;

    rd_be16(&r);
    uint16_t length = rd_be16(&r);
    if (data.len > 0 && first > 3 && !chandata_is(first))
        return -EBADMSG;
    if (r.bad)
        return -EAGAIN;
    if (chandata_is(first)) {
        f.msg_len = CHANDATA_HEADER_BYTES + (size_t)length;
        f.total_len = f.msg_len + chandata_pad(f.msg_len);
    } else {
        if (length % 4 != 0)
            return -EBADMSG;
        f.msg_len = f.total_len = STUN_HEADER_BYTES + (size_t)length;
    }
    if (f.total_len > data.len)
        return -EAGAIN;
    *out = f;
    return 0;
}
