/* What an RTP payload of H.264 holds (RFC 6184 §5): enough to find key frames.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_H264_DESC_H
#define SORI_PROTO_H264_DESC_H

#include "base/bytes.h"

#define H264_NALS_MAX 32 /* looked at in one aggregation packet */

struct h264_desc {
    bool sps;       /* a sequence parameter set begins in it */
    bool pps;       /* a picture parameter set */
    bool idr;       /* a slice of an IDR picture begins in it */
    bool slice;     /* a slice of any picture begins in it */
    bool delimiter; /* an access unit delimiter or SEI: a frame begins */
};

/* Looks at a single NAL unit, STAP-A or B, MTAP or FU-A or B. Returns 0, or -EBADMSG when it is cut
 * or of no type that RFC 6184 §5.2 knows. */
int h264_desc_decode(struct h264_desc *out, struct slice payload);

#endif
