/* One RTCPeerConnection of a participant: transport, description, the streams that come over it and
 * the slots that leave over it, its congestion control and its RTCP.
 *
 * In single mode a participant has one, for both directions; in pair mode the first is the
 * publisher's, the second the subscriber's. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_PEER_H
#define SORI_SFU_PEER_H

#include "base/tokenbucket.h"
#include "proto/rtp_ext.h"
#include "sfu/bwe.h"
#include "sfu/layer_alloc.h"
#include "sfu/pacer.h"
#include "sfu/sfu_core.h"
#include "sfu/twcc_recv.h"

struct stream;

/* One SSRC that the client sends. */
struct peer_ssrc {
    uint32_t ssrc;
    bool rtx;
    struct stream *stream;
};

/* Whose an SSRC was before its track ended. */
struct peer_past {
    uint32_t ssrc;
    bool rtx;
    uint8_t layer;
    uint8_t section;
};

/* An RTCP block that the next compound shall carry. */
struct peer_dlrr {
    uint32_t ssrc, lrr;
    uint64_t at_us; /* 0: none */
};

struct peer {
    struct participant *owner;
    struct transport *transport;
    struct negotiation *neg;
    bool publisher, subscriber;
    bool closing;
    uint8_t state; /* enum transport_state, as it was told last */
    bool state_changed;

    /* In */
    struct peer_ssrc *ssrc;
    unsigned n_ssrc, cap_ssrc;
    unsigned last_ssrc; /* where the last look-up ended */
    struct peer_past *past;
    unsigned n_past;
    struct twcc_recv *twcc;
    struct rtp_ext_map ext_map;
    uint64_t rate_bytes, rate_from_us, in_bps; /* what the client sends, by the second */
    int64_t clock_offset_us; /* our NTP time minus the client's, smallest transit seen */
    bool has_clock;

    /* Out */
    struct consumer **slot;
    unsigned n_slots;
    struct bwe *bwe;
    struct pacer *pacer;
    unsigned n_video;  /* slots with a source */
    uint64_t alloc_us; /* when layers are chosen again */
    struct layer_out chosen;
    uint64_t tried_bps;        /* to pace by: layers beyond the estimate are being tried; 0: none */
    uint64_t overuses, cut_us; /* of the estimator, as seen last; when they grew */
    uint64_t audio_bytes, extra_bytes, measured_us, audio_bps, extra_bps;
    bool red_room; /* RED copies fit */
    uint64_t told_bps;
    uint32_t probe_turn; /* which slot pads next */

    /* RTCP */
    uint32_t ssrc_self; /* of reports when no slot sends */
    uint64_t report_us; /* when the next is due; CLOCK_NEVER: not connected */
    uint64_t rtt_us;    /* smoothed; 0: not known */
    struct peer_dlrr dlrr;
    struct bucket nack_bucket, key_bucket, rtcp_bucket;
    char cname[24];

    struct timer timer;
    uint32_t data_id; /* of data_port_open(); 0: none */
    bool data_open[DATA_CLASSES];
};

/* Makes one with its transport. NULL when memory is out. */
struct peer *peer_new(struct participant *owner, bool publisher, bool subscriber, uint64_t now_us);
/* Ends it: sources, slots, transport, data. NULL is allowed. */
void peer_free(struct peer *p, uint64_t now_us);

/* Takes the client's offer and writes our answer into w. Returns CTL_OK, or an error with why
 * (NEG's text, lent by the peer until the next call). */
enum ctl_err peer_offer(struct peer *p, struct slice sdp, struct wr *w, const char **why,
                        uint64_t now_us);
/* Pair mode's subscriber: writes an offer with at least so many slots; takes the answer. */
enum ctl_err peer_make_offer(struct peer *p, unsigned audio, unsigned video, struct wr *w,
                             uint64_t now_us);
enum ctl_err peer_answer(struct peer *p, struct slice sdp, const char **why, uint64_t now_us);

/* Its owner's permissions are others now: for descriptions to come. */
void peer_permissions(struct peer *p);

/* Its transport has other keys than before: what it sends and gets begins anew. */
void peer_rekeyed(struct peer *p);

/* Packets from its transport. */
void peer_rtp(struct peer *p, const struct transport_in *in, uint64_t now_us);
void peer_rtcp(struct peer *p, struct slice compound, uint64_t now_us);
void peer_data(struct peer *p, struct slice sctp_packet, uint64_t now_us);

/* Asks the client for a key frame of a stream (PLI, or FIR), and for what its NACK list wants. */
void peer_send_key_request(struct peer *p, struct stream *s);
void peer_send_nack(struct peer *p, struct stream *s, uint64_t now_us);

/* Brings its timer forward to at_us. */
void peer_arm(struct peer *p, uint64_t at_us);
/* Does what is due. */
void peer_tick(struct peer *p, uint64_t now_us);

/* A track of the client comes over it: its SSRCs, as far as they are known. Returns 0 or -ENOMEM.
 */
int peer_add_track(struct peer *p, struct producer *t);
void peer_forget_track(struct peer *p, struct producer *t);
/* The data section came into use, or went out of it. */
void peer_data_changed(struct peer *p);

/* The slot that sends with this SSRC (its RTX's too), or NULL. */
struct consumer *peer_slot_by_ssrc(struct peer *p, uint32_t ssrc);
struct consumer *peer_slot_by_mid(struct peer *p, struct slice mid);

/* Video began or ended to flow to it: congestion control is made or rests. */
void peer_video_changed(struct peer *p, uint64_t now_us);

/* The estimate may be another now: the pacer and the choice of layers follow it. */
void peer_target(struct peer *p, uint64_t now_us);

/* Chooses layers anew, now or soon. */
void peer_allocate(struct peer *p, uint64_t now_us);
void peer_realloc(struct peer *p, uint64_t now_us);

#endif
