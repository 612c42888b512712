/* ChannelData messages (RFC 8656 §12.4 to §12.6): channel number, length, payload.
 *
 * Called by turn/dispatch.c on every relayed packet. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/chandata.h"

#include <errno.h>

int chandata_decode(struct chandata *out, struct slice dgram)
{
    struct rd r = rd_init(dgram);
    uint16_t channel = rd_be16(&r);
    uint16_t length = rd_be16(&r);
    struct slice payload = rd_take(&r, length);

    if (r.bad || channel < CHANDATA_CHANNEL_MIN || channel > CHANDATA_CHANNEL_MAX)
        return -EBADMSG;
    *out = (struct chandata){channel, payload};
    return 0;
}

void chandata_put_header(struct wr *w, uint16_t channel, size_t len)
{
    if (len > UINT16_MAX)
        w->bad = true;
    wr_be16(w, channel);
    wr_be16(w, (uint16_t)len);
}
