/* What an RTP payload of H.264 holds (RFC 6184 §5).
 *
 * Only NAL unit headers are read, which end-to-end encryption leaves in the clear. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/h264_desc.h"

#include <errno.h>

enum { /* RFC 6184 §5.2, table 1; below 24 H.264's own, table 7-1 */
       NAL_SLICE = 1,
       NAL_IDR = 5,
       NAL_SEI = 6,
       NAL_SPS = 7,
       NAL_PPS = 8,
       NAL_DELIMITER = 9,
       NAL_SINGLE_MAX = 23,
       STAP_A = 24,
       STAP_B = 25,
       MTAP16 = 26,
       MTAP24 = 27,
       FU_A = 28,
       FU_B = 29,
       TYPE = 0x1f,
       FU_START = 0x80,
       DON_BYTES = 2,
};

static void see(struct h264_desc *d, unsigned type)
{
    d->sps |= type == NAL_SPS;
    d->pps |= type == NAL_PPS;
    d->idr |= type == NAL_IDR;
    d->slice |= type >= NAL_SLICE && type <= NAL_IDR;
    d->delimiter |= type == NAL_DELIMITER || type == NAL_SEI;
}

/* Aggregation: each unit behind a length, and skip more bytes (MTAP: DOND and timestamp offset). */
static int see_all(struct h264_desc *d, struct rd r, size_t skip)
{
    for (unsigned n = 0; r.left > 0 && n < H264_NALS_MAX; n++) {
        size_t len = rd_be16(&r);
        (void)rd_take(&r, skip);
        struct slice nal = rd_take(&r, len);
        if (r.bad)
            return -EBADMSG;
        if (nal.len > 0)
            see(d, nal.p[0] & TYPE);
    }
    return 0;
}

int h264_desc_decode(struct h264_desc *out, struct slice payload)
{
    struct rd r = rd_init(payload);
    unsigned type = rd_u8(&r) & TYPE;
    struct h264_desc d = {0};
    int err = 0;

    if (r.bad || type == 0 || type > FU_B)
        return -EBADMSG;
    if (type <= NAL_SINGLE_MAX) {
        see(&d, type);
    } else if (type == FU_A || type == FU_B) {
        uint8_t fu = rd_u8(&r);
        if (r.bad)
            return -EBADMSG;
        if (fu & FU_START)
            see(&d, fu & TYPE);
    } else {
        if (type != STAP_A)
            (void)rd_take(&r, DON_BYTES);
        if (r.bad)
            return -EBADMSG;
        err = see_all(&d, r, type == MTAP16 ? 3 : type == MTAP24 ? 4 : 0);
    }
    if (err == 0)
        *out = d;
    return err;
}
