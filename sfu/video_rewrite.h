/* Writes what changes in a video packet on its way to one receiver: picture id and TL0PICIDX in the
 * payload descriptor, the dependency descriptor.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_VIDEO_REWRITE_H
#define SORI_SFU_VIDEO_REWRITE_H

#include "sfu/video_source.h"

#define VIDEO_PATCH_MAX 16
#define VIDEO_DD_MAX    255 /* of an extension element */

/* All that is needed to rewrite one packet, and to rewrite it in the same way again. */
struct video_sent {
    uint32_t ts;
    uint16_t pid, frame;
    uint8_t tl0;
    uint8_t template_delta;
    uint8_t target; /* sid << 4 | tid of the decode target; VIDEO_NO_MASK */
    bool marker;
};

_Static_assert(sizeof(struct video_sent) == 12, "kept for each packet sent");

struct video_out {
    uint64_t seq; /* extended, from the start value on; its low 16 bits go into the header */
    uint32_t ts;
    bool marker;
    bool began;        /* a source or layer begins with this packet: packets of it that came before
                          their turn and are stored may be given to video_forward_packet() again */
    uint8_t skip;      /* the first skip bytes of the payload are left out ... */
    uint8_t patch_len; /* ... and these come in their place */
    uint8_t dd_len;    /* > 0: the dependency descriptor to write in place of the packet's */
    uint8_t patch[VIDEO_PATCH_MAX];
    uint8_t dd[VIDEO_DD_MAX];
};

/* Fills out (but seq and began) for packet m of source src. */
void video_rewrite(const struct video_source *src, const struct media_packet *m,
                   const struct video_sent *sent, struct video_out *out);

#endif
