/* Redundant audio (RFC 2198).
 *
 *    0                   1                    2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3  4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   |1|   block PT  |  timestamp offset         |   block length    |   redundant
 *   |0|   block PT  |                                                  primary
 *
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/red.h"

#include <errno.h>

enum { FOLLOWS = 0x80, PT = 0x7f, LEN_BITS = 10 };

int red_decode(struct red_block out[RED_BLOCKS_MAX], struct slice payload)
{
    struct red_block v[RED_BLOCKS_MAX];
    size_t len[RED_BLOCKS_MAX];
    struct rd r = rd_init(payload);
    int n = 0;

    for (;; n++) {
        if (n == RED_BLOCKS_MAX)
            return -EBADMSG;
        uint8_t head = rd_u8(&r);
        v[n] = (struct red_block){.pt = head & PT};
        if (!(head & FOLLOWS))
            break;
        uint32_t rest = (uint32_t)rd_u8(&r) << 16;
        rest |= rd_be16(&r);
        v[n].ts_offset = (uint16_t)(rest >> LEN_BITS);
        len[n] = rest & RED_LEN_MAX;
    }
    for (int i = 0; i < n; i++)
        v[i].data = rd_take(&r, len[i]);
    if (r.bad)
        return -EBADMSG;
    v[n++].data = rd_rest(&r);
    memcpy(out, v, (size_t)n * sizeof(*out));
    return n;
}

void red_put_headers(struct wr *w, const struct red_block *v, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        if (v[i].data.len > RED_LEN_MAX || v[i].ts_offset > RED_TS_OFFSET_MAX)
            w->bad = true;
        uint32_t rest = (uint32_t)v[i].ts_offset << LEN_BITS | (uint32_t)v[i].data.len;
        wr_u8(w, FOLLOWS | (v[i].pt & PT));
        wr_u8(w, (uint8_t)(rest >> 16));
        wr_be16(w, (uint16_t)rest);
    }
    if (n == 0)
        w->bad = true;
    else
        wr_u8(w, v[n - 1].pt & PT);
}

void red_encode(struct wr *w, const struct red_block *v, size_t n)
{
    red_put_headers(w, v, n);
    for (size_t i = 0; i < n; i++)
        wr_bytes(w, v[i].data);
}
