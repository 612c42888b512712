/* The AV1 aggregation header and the OBU headers behind it (AV1 RTP specification §4.4).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_AV1_DESC_H
#define SORI_PROTO_AV1_DESC_H

#include "base/bytes.h"

#define AV1_OBUS_MAX 32 /* looked at in one packet */

struct av1_desc {
    bool continues;       /* Z: the first OBU element goes on from the packet before */
    bool to_continue;     /* Y: the last one goes on in the next packet */
    bool new_sequence;    /* N: the first packet of a coded video sequence */
    bool sequence_header; /* an OBU of this type begins in it */
    bool has_layer;       /* an OBU with an extension header begins in it: */
    uint8_t tid, sid;
};

/* Reads the aggregation header; with obus the headers of the OBUs that begin in this packet too
 * (false: they are encrypted). Returns 0, or -EBADMSG. */
int av1_desc_decode(struct av1_desc *out, struct slice payload, bool obus);

#endif
