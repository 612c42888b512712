/* What consumer.c, consumer_repair.c and consumer_layers.c share.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_CONSUMER_PRIV_H
#define SORI_SFU_CONSUMER_PRIV_H

#include "sfu/consumer.h"
#include "sfu/participant.h"
#include "sfu/room.h"

#define CONSUMER_HEAD_MAX  160 /* header and extensions of one packet: 12 + 4 + what we put */
#define CONSUMER_SRTP_TAIL 16

static inline bool consumer_is_audio(const struct consumer *c)
{
    return c->kind == RTP_KIND_AUDIO;
}

/* Of a datagram with an RTP packet of that length, IP header included. */
static inline size_t consumer_datagram_bytes(size_t packet)
{
    return packet + CONSUMER_SRTP_TAIL + BWE_OVERHEAD_V4;
}

/* An RTP header of the slot's own SSRC. */
struct rtp_header consumer_header(const struct consumer *c, uint8_t pt, uint64_t seq, uint32_t ts,
                                  bool marker);

/* Header and extensions of a video packet. */
void consumer_video_head(struct consumer *c, struct wr *w, const struct rtp_header *h,
                         const struct media_packet *m, const struct video_out *o, bool with_twcc,
                         uint16_t twcc, uint64_t now_us);

/* Writes RED headers and the older payloads that go in front of m (copies: bit i for the packet
 * i + 1 before it) into core->red. Gives those that could be had; 0: none, and nothing is written.
 */
unsigned consumer_gather_red(struct consumer *c, const struct media_packet *m, unsigned copies,
                             struct slice *out);

/* Encrypts and queues one audio packet as the entry says, with this in front of its payload; the
 * same entry gives the same bytes. Returns the bytes of the datagram. */
size_t consumer_emit_audio(struct consumer *c, const struct sent *e, const struct media_packet *m,
                           struct slice red);

/* Encrypts and queues one video packet: as new (rtx false: its own number, once) or inside RTX.
 * Returns the bytes of the datagram, 0 when it could not be made. */
size_t consumer_emit_video(struct consumer *c, const struct media_packet *m,
                           const struct video_out *o, bool rtx, unsigned cluster, uint64_t now_us);

/* The packet behind an entry, and how it was rewritten; NULL when either is gone. */
const struct media_packet *consumer_recall(struct consumer *c, const struct sent *e,
                                           struct video_out *o);

/* Decides about one packet of video and sends it. True when it begins a source or layer. */
bool consumer_video_one(struct consumer *c, const struct media_packet *m, unsigned layer,
                        uint64_t now_us);

/* The track is of the participant who speaks. */
bool consumer_is_dominant(const struct producer *t);

#endif
