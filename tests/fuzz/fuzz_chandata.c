/* ChannelData decoder and stream framing: both agree where a message ends, and it comes out the
 * same when it is written again. SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "proto/chandata.h"
#include "turn/framing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buf[65536 + 8];
    struct slice in = slice_of(data, size);
    struct chandata d, e;
    struct frame f;
    bool framed = framing_next(&f, in) == 0;

    if (framed && (f.msg_len > f.total_len || f.total_len > size || f.total_len == 0))
        abort();
    if (chandata_decode(&d, in) != 0)
        return 0;
    if (framed && f.msg_len != CHANDATA_HEADER_BYTES + d.payload.len)
        abort();
    struct wr w = wr_init(buf, sizeof(buf));
    chandata_put_header(&w, d.channel, d.payload.len);
    wr_bytes(&w, d.payload);
    if (chandata_decode(&e, wr_done(&w)) != 0 || e.channel != d.channel ||
        !slice_eq(e.payload, d.payload))
        abort();
    return 0;
}
