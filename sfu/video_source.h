/* What a stream of video tells about itself: reads payload descriptors and dependency descriptors
 * of one incoming stream (one SSRC, one simulcast layer), for all who forward it.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_VIDEO_SOURCE_H
#define SORI_SFU_VIDEO_SOURCE_H

#include "proto/dependency.h"
#include "proto/rtp_params.h"
#include "sfu/media_packet.h"

/* The little of a template structure that consumers need. A packet names it by its generation; the
 * last VIDEO_STRUCTURES_KEPT are there. */
#define VIDEO_STRUCTURES_KEPT 4

struct video_targets {
    uint8_t generation;
    uint8_t n, n_chains; /* 0: none */
    uint8_t offset;      /* of its template ids */
    uint8_t n_templates;
    uint8_t sid[DEPENDENCY_TARGETS_MAX], tid[DEPENDENCY_TARGETS_MAX];
    uint8_t chain[DEPENDENCY_TARGETS_MAX]; /* that protects it */
};

struct video_source {
    uint8_t codec; /* enum rtp_codec */
    bool opaque;
    bool has_sr;
    bool _sps_seen, _any;
    uint8_t _max_sid, _max_tid; /* seen without a dependency descriptor */
    uint32_t sr_ts;
    uint64_t sr_ntp;
    uint32_t _last_ts;
    uint32_t _active;
    uint8_t _generation;
    uint16_t _structure_frame;               /* the frame that brought it */
    struct dependency_structure *_structure; /* NULL until the first one comes */
    struct video_targets _targets[VIDEO_STRUCTURES_KEPT];
};

/* Begins a stream. opaque: payloads are encrypted end to end, what is behind the payload descriptor
 * means nothing (without a dependency descriptor key frames of VP8, H.264 and AV1 can't be told
 * then). */
void video_source_init(struct video_source *s, enum rtp_codec codec, bool opaque);

/* Frees what it holds and leaves it zeroed. */
void video_source_fini(struct video_source *s);

/* Fills m->video (but layer) from ts, marker, payload and dependency of m. For each packet, in the
 * order of arrival; once, but for packets with VIDEO_DD_UNKNOWN, which may be understood later. Out
 * of memory (at a stream's first template structure) is a broken packet. */
void video_describe(struct video_source *s, struct media_packet *m);

/* Takes the sender report's pair of times: layers of one sender are aligned by it. */
void video_source_sr(struct video_source *s, uint32_t rtp_ts, uint64_t ntp);

/* The targets of a packet that has VIDEO_DD; NULL when they are gone (drop it). */
const struct video_targets *video_source_targets(const struct video_source *s, uint8_t generation);

/* The largest spatial and temporal layer that the stream is known to have had; 0, 0 when it has
 * none or nothing is known. */
void video_source_layers(const struct video_source *s, unsigned *max_sid, unsigned *max_tid);

#endif
