/* One slot: a section in which we send to a client, with its own SSRC, whatever track is behind it.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_CONSUMER_H
#define SORI_SFU_CONSUMER_H

#include "sfu/audio_forward.h"
#include "sfu/producer.h"
#include "sfu/video_rewrite.h"

/* What was sent under one sequence number: enough to make the same bytes again. */
struct sent {
    uint64_t seq;     /* ours; 0: nothing */
    uint64_t src_seq; /* of the source stream */
    uint16_t run;     /* of source assignments */
    uint16_t twcc;    /* audio: the number it went out with */
    uint8_t layer;
    uint8_t red; /* audio: which older payloads went in front of the primary, as bits */
    bool marker;
    bool numbered; /* with a transport-wide number */
    union {
        uint32_t ts; /* audio */
        struct video_sent video;
    };
};
#define SENT_AUDIO 64 /* 1.3 s of 20 ms packets; powers of two */
#define SENT_VIDEO 512

/* What the receiver tells of it (RFC 3550 report blocks). */
struct consumer_report {
    uint8_t fraction;
    int32_t lost;
    uint32_t jitter;
    uint64_t at_us; /* 0: none yet */
    float loss;     /* smoothed, 0..1 */
    /* Since quality.c looked last: fractions and how many, retransmissions, packets before. */
    uint32_t sum, n, resent;
    uint64_t pkts;
    /* RTCP XR VoIP metrics (RFC 3611 §4.7): of 256 packets came too late; jitter buffer. */
    uint8_t discarded;
    uint32_t buffer_us;
};

struct consumer {
    struct peer *peer;
    struct producer *source; /* NULL: empty */
    unsigned section;        /* of peer's negotiation */
    char mid[RTP_MID_MAX + 1];
    uint8_t kind;
    bool enabled; /* the section sends, and the source's codec can be received */
    bool paused;  /* by the receiver's wish */
    bool pinned;  /* its source was asked for by mid */
    bool dirty;   /* sori-server is to be told what is on it */
    uint32_t ssrc, rtx_ssrc;
    uint8_t pt, rtx_pt, red_pt;
    uint8_t pt_dtmf; /* unused kinds are 0 */
    uint8_t ext[RTP_EXT_COUNT];
    bool nack, twcc_on;
    uint32_t clock;

    union {
        struct audio_forward audio;
        struct video_forward *video; /* made with the first source */
    };
    uint16_t run;              /* of source assignments */
    uint64_t rtx_seq, newest;  /* of RTX; the highest number of video */
    uint64_t epoch, rtx_epoch; /* what a number was when these keys came, without its low 16 bits */
    struct sent *sent;         /* ring; NULL until something is sent */
    unsigned sent_mask;

    /* Sender report */
    uint64_t pkts, bytes;
    uint64_t last_us;
    uint32_t last_ts;
    /* Redundancy */
    uint8_t red_depth;
    /* Retransmission budget, bytes */
    int64_t rtx_budget;
    uint64_t rtx_at_us;
    struct consumer_report report;
    /* Wish of the receiver: CTL_LAYER_AUTO or a limit; and what runs */
    int8_t wish_layer, wish_tid;
    uint8_t spatial; /* layers inside one stream; 0: streams are the layers */
    uint8_t priority;
    struct layer_slot alloc;
    int8_t told_layer, told_tid;
    uint8_t told_pause;
    uint64_t started_us; /* of the present source */
};

/* An empty slot for a section that we send in. NULL when memory is out. */
struct consumer *consumer_new(struct peer *p, unsigned section, const struct neg_section *s);
void consumer_free(struct consumer *c, uint64_t now_us);

/* Takes over what a later description says. */
void consumer_describe(struct consumer *c, const struct neg_section *s, uint64_t now_us);

/* Puts a track on it, or takes it off (NULL). The receiver hears a continuous stream. */
void consumer_set_source(struct consumer *c, struct producer *t, uint64_t now_us);

/* Whether the receiver can take this track's codec in this slot. */
bool consumer_can(const struct consumer *c, const struct producer *t);

/* A stream of its source began anew: what comes continues the slot like another source. */
void consumer_restart(struct consumer *c);

/* The receiver has other keys than before: nothing of before can be repeated, and the rollover
 * counter that it expects is zero. */
void consumer_rekeyed(struct consumer *c);

/* Its source has another codec now. */
void consumer_codec(struct consumer *c, uint64_t now_us);

/* Forwards one packet of its source's stream of that layer. The hot path. */
void consumer_packet(struct consumer *c, struct media_packet *m, unsigned layer, uint64_t now_us);

/* Its turn comes soon: has what it needs to send brought into the cache, step by step; each reads
 * what the one before has asked for, the first one the consumer itself. The last step is the keys.
 */
void consumer_prefetch(const struct consumer *c, unsigned step);
#define CONSUMER_PREFETCH_STEPS (2 + TRANSPORT_PREFETCH_STEPS)

/* Comfort silence: ends a run of audio so that the receiver hears no cut (Opus, PCMU, PCMA). */
void consumer_silence(struct consumer *c, uint64_t now_us);

/* The receiver asks for these numbers again. */
void consumer_nack(struct consumer *c, uint16_t seq, uint64_t now_us);
/* The receiver needs a key frame. */
void consumer_key(struct consumer *c, uint64_t now_us);

/* The pacer gives a packet back: it may go now. */
void consumer_paced(struct consumer *c, const struct pacer_item *item, uint64_t now_us);
/* The pacer dropped it. */
void consumer_dropped(struct consumer *c, const struct pacer_item *item, uint64_t now_us);
/* Sends padding of about so many bytes over RTX. Returns what was sent (0: it can't). */
size_t consumer_pad(struct consumer *c, size_t bytes, unsigned cluster, uint64_t now_us);

/* Fills alloc with what the source offers, and sets what layer_alloc chose. */
void consumer_offer_layers(struct consumer *c, uint64_t now_us);
void consumer_take_layers(struct consumer *c, uint64_t now_us);

/* Why nothing is sent although there is a source (which there must be). */
enum ctl_pause consumer_pause(const struct consumer *c);

/* The most that its receiver wants, as bits of layers; 0: nothing. */
unsigned consumer_wants(const struct consumer *c);

#endif
