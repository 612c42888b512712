/* RTP header, header extensions, RED, RTX: what is read can be written, and reads the same again.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "proto/red.h"
#include "proto/rtp.h"
#include "proto/rtp_ext.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t buf[1 << 19];

static void expect(bool ok)
{
    if (!ok)
        abort();
}

/* Each extension under its own number as id. */
static void extensions(const struct rtp_header *h)
{
    static struct rtp_ext_map map;
    struct rtp_exts e, again;
    struct rtp_ext_wr x;
    struct rtp_header second = {0};

    for (unsigned i = 0; i < RTP_EXT_COUNT; i++)
        map.of[i] = (uint8_t)i;
    rtp_ext_scan(&e, h, &map);
    struct wr w = wr_init(buf, sizeof(buf));
    rtp_ext_begin(&x, &w, false);
    for (unsigned i = 1; i < RTP_EXT_COUNT; i++) {
        if (e.v[i].p)
            rtp_ext_put(&x, (uint8_t)i, e.v[i]);
    }
    rtp_ext_end(&x);
    expect(!w.bad && w.len % 4 == 0);
    second.ext_profile = (uint16_t)(buf[0] << 8 | buf[1]);
    second.ext = slice_of(buf + RTP_EXT_HEADER_BYTES, w.len - RTP_EXT_HEADER_BYTES);
    rtp_ext_scan(&again, &second, &map);
    for (unsigned i = 0; i < RTP_EXT_COUNT; i++)
        expect(!e.v[i].p == !again.v[i].p && slice_eq(e.v[i], again.v[i]));
}

static void redundancy(struct slice payload)
{
    struct red_block v[RED_BLOCKS_MAX], again[RED_BLOCKS_MAX];
    int n = red_decode(v, payload);

    if (n < 0)
        return;
    struct wr w = wr_init(buf, sizeof(buf));
    red_encode(&w, v, (size_t)n);
    expect(slice_eq(wr_done(&w), payload));
    expect(red_decode(again, wr_done(&w)) == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    struct rtp_header h, again;
    struct slice original;
    uint16_t seq;
    size_t pad;

    if (size > sizeof(buf) / 4)
        return 0;
    redundancy(in);
    if (rtp_decode(&h, in) != 0)
        return 0;
    expect(h.header_len <= size && h.csrc.len == 4u * h.n_csrc);
    struct wr w = wr_init(buf, sizeof(buf));
    rtp_put_header(&w, &h, false);
    expect(rtp_decode(&again, wr_done(&w)) == 0 && again.header_len == w.len);
    expect(again.seq == h.seq && again.ts == h.ts && again.ssrc == h.ssrc && again.pt == h.pt);
    expect(again.marker == h.marker && slice_eq(again.csrc, h.csrc));
    extensions(&h);
    struct slice payload = slice_sub(in, h.header_len, size);
    if (rtp_padding(payload, h.padded, &pad) == 0)
        expect(pad <= payload.len);
    if (rtp_rtx_decode(payload, &seq, &original)) {
        expect(original.len == payload.len - 2);
        redundancy(original);
    }
    redundancy(payload);
    return 0;
}
