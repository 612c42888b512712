/* One decrypted RTP packet, parsed once, read by everyone who forwards it.
 *
 * It lives in the packet_store of its source stream and is gone when the store has gone round.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_MEDIA_PACKET_H
#define SORI_SFU_MEDIA_PACKET_H

#include "base/bytes.h"
#include "sfu/video_packet.h"

/* Bytes of the packet (offset from its start) that are passed on as they are; len 0: not there. */
struct media_part {
    uint16_t at;
    uint8_t len;
};

struct media_packet {
    uint64_t seq; /* extended: rollover count << 16 | sequence number */
    uint64_t arrival_us;
    uint8_t *p;          /* header, extensions, payload; no padding; owned by the store */
    uint16_t len;        /* of all of it */
    uint16_t payload_at; /* where the payload begins */
    uint32_t ts;
    uint8_t pt;
    bool marker;
    bool voice;    /* RFC 6464: the sender takes it for speech */
    uint8_t level; /* RFC 6464: 0 (loud) .. 127 (silence); 255 unknown */
    struct media_part capture_time, playout_delay, orientation, dependency, csrc_levels;
    struct video_packet video;
};

/* The payload. */
static inline struct slice media_payload(const struct media_packet *m)
{
    return slice_of(m->p + m->payload_at, (size_t)(m->len - m->payload_at));
}

static inline struct slice media_part(const struct media_packet *m, struct media_part part)
{
    return slice_of(m->p + part.at, part.len);
}

#endif
