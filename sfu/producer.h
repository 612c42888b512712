/* One published track: its streams (simulcast layers), what is kept of them, who receives them.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_PRODUCER_H
#define SORI_SFU_PRODUCER_H

#include "sfu/keyframe_req.h"
#include "sfu/layer_alloc.h"
#include "sfu/link_quality.h"
#include "sfu/nack_gen.h"
#include "sfu/packet_store.h"
#include "sfu/peer.h"
#include "sfu/rx_stats.h"
#include "sfu/speaker.h"
#include "sfu/unpadded.h"
#include "sfu/video_forward.h"

/* What the payload type of its last packet means, in the description of that edition. */
struct stream_pt {
    const struct neg_codec *codec; /* NULL: not looked up yet */
    uint32_t edition;
    uint8_t pt;
    uint8_t role; /* enum neg_pt_role */
};

/* One SSRC: an audio track, or one simulcast layer of a video track. */
struct stream {
    struct producer *track;
    uint8_t layer;
    bool live;               /* packets have come lately */
    uint32_t ssrc, rtx_ssrc; /* 0: not known yet */
    uint32_t clock;
    struct packet_store *store;
    struct nack_gen *nack; /* NULL: not negotiated */
    struct rx_stats rx;
    struct video_source *video; /* NULL: audio */
    struct keyframe_req key;
    uint64_t last_us;
    uint64_t key_seq, key_us; /* the last key frame's first packet; 0: none yet */
    /* The last sender report: NTP (theirs; also in us since 1970), RTP timestamp, when it came. */
    uint64_t sr_ntp, sr_at_us;
    int64_t sr_unix_us;
    uint32_t sr_ts;
    /* Bytes by spatial and temporal layer in the running interval, and the rates that came of it.
     */
    uint32_t bytes[RTP_LAYERS_MAX][LAYER_TIDS_MAX], bps[RTP_LAYERS_MAX][LAYER_TIDS_MAX];
    uint64_t measured_us;
    uint8_t fir_seq;
    struct link_runs runs; /* losses in a row */
    struct unpadded gaps;  /* audio: what is stored is numbered without padding */
    struct stream_pt pt;
};

struct producer {
    struct peer *peer;
    struct room *room;
    char id[CTL_TRACK_MAX + 1], mid[RTP_MID_MAX + 1];
    uint8_t kind;    /* enum rtp_kind */
    uint8_t source;  /* enum ctl_source */
    bool muted;      /* by its owner */
    bool forced;     /* by somebody with the right to */
    bool allowed;    /* by its owner's permissions */
    bool told;       /* sori-server knows it */
    bool on_air;     /* audio: among the loudest, see room_audio.c */
    bool opaque;     /* frames are encrypted end to end: RED can't be opened, and goes on whole */
    uint8_t bad_red; /* packets in a row whose RED made no sense */
    uint8_t n_layers;
    uint8_t wanted; /* layers that anybody wants, as told to the owner */
    struct stream layer[RTP_LAYERS_MAX];
    struct neg_codec codec; /* of the last packet */
    struct speaker speaker;
    struct consumer **consumer;
    unsigned n_consumers, cap_consumers;
    uint8_t first_news, last_news, n_news; /* in core->news; CORE_NEWS_MAX: none */
    uint32_t news_bytes;
};

/* Makes the track of a section that the client sends in. NULL when memory is out. */
struct producer *producer_new(struct peer *p, const struct neg_section *s);
/* Its receivers' slots become empty. */
void producer_free(struct producer *t, uint64_t now_us);

/* Takes over what a later description says (SSRCs, layers, codecs). Returns 0 or -ENOMEM. */
int producer_describe(struct producer *t, const struct neg_section *s);

/* One decrypted packet, without padding, that lies in the stream's store reservation. */
struct stream_packet {
    const struct rtp_header *header;
    const struct rtp_exts *exts; /* point into p */
    const struct neg_codec *codec;
    enum neg_pt_role role; /* MEDIA or RED */
    uint8_t *p;
    size_t len;
    uint64_t index; /* extended sequence number */
    bool repaired;  /* by retransmission */
};
void producer_packet(struct stream *s, const struct stream_packet *in, uint64_t now_us);
/* A packet of nothing but padding: it fills a number. */
void producer_padding(struct stream *s, uint64_t index, uint64_t now_us);

/* The client began the stream anew under another SSRC: what is kept of the old one is dropped. */
void stream_restart(struct stream *s);

/* Adds and removes a receiver. Add returns 0 or -ENOMEM. */
int producer_attach(struct producer *t, struct consumer *c);
void producer_detach(struct producer *t, struct consumer *c);

/* Bytes of ring that a video layer's store has. The lower of simulcast's layers send less: each
 * keeps about the same time as the one above with half of its bytes. */
size_t producer_store_bytes(const struct producer *t, unsigned layer);

/* True when it may have receivers: nobody but its owner has muted it. */
bool producer_open(const struct producer *t);
/* Mutes it or not, by its owner and by others. While it is muted nothing of it is kept or
 * forwarded, whatever arrives. */
void producer_mute(struct producer *t, bool muted, bool forced, uint64_t now_us);

/* Asks its owner for a key frame of a layer, at most as often as keyframe_req.h lets. */
void producer_want_key(struct producer *t, unsigned layer, uint64_t now_us);

/* Which layers arrive now, as bits. */
unsigned producer_live_layers(const struct producer *t, uint64_t now_us);

/* Recomputes which layers anybody wants; tells the owner when that changed. */
void producer_wanted(struct producer *t, uint64_t now_us);

/* Closes the measuring interval of s when it is over. */
void stream_measure(struct stream *s, uint64_t now_us);

/* When something of its streams is due (NACK, key frame request, silence); does it. */
uint64_t producer_deadline(const struct producer *t);
void producer_tick(struct producer *t, uint64_t now_us);

#endif
