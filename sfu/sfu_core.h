/* All rooms of one worker, without sockets: packets and requests in, packets (egress.h) and events
 * out.
 *
 *   sfu_core_packet() ... sfu_core_batch()   what came in together is forwarded together
 *   sfu_core_request()                       one message of sori-server, answered at once
 *   sfu_core_tick()                          at sfu_core_deadline()
 *
 * Nothing here allocates per packet. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_CORE_H
#define SORI_SFU_CORE_H

#include <stdatomic.h>

#include "base/htable.h"
#include "base/metrics.h"
#include "base/timerwheel.h"
#include "proto/ctl.h"
#include "sfu/codec_policy.h"
#include "sfu/data_link.h"
#include "sfu/demux.h"
#include "sfu/negotiate.h"
#include "sfu/sfu_conf.h"

struct consumer;
struct media_packet;
struct participant;
struct peer;
struct producer;
struct room;

/* Why a packet of a client was not used, or was not forwarded; one counter each. */
enum core_drop {
    CORE_DROP_SSRC_UNKNOWN, /* no section of the client's has such a stream */
    CORE_DROP_SSRC_LIMIT,   /* [limits] ssrcs_per_participant */
    CORE_DROP_PT_UNKNOWN,   /* not negotiated in its section */
    CORE_DROP_PADDING,      /* malformed padding */
    CORE_DROP_DUPLICATE,    /* already here, or too old to be kept */
    CORE_DROP_RTX_BAD,      /* a retransmission of nothing */
    CORE_DROP_RED_BAD,      /* malformed RED */
    CORE_DROP_SIZE,         /* longer than any we keep */
    CORE_DROP_NOT_ALLOWED,  /* its sender may not publish that, or somebody has muted it */
    CORE_DROP_BITRATE,      /* [limits] publish_bitrate */
    CORE_DROP_RTCP_LIMIT,   /* [limits] rtcp_per_s */
    CORE_DROP_RTCP_BAD,
    CORE_DROP_NACK_LIMIT, /* [limits] nacks_per_s, or the retransmission budget */
    CORE_DROP_NACK_GONE,  /* asked for what is no longer there */
    CORE_DROP_KEY_LIMIT,  /* [limits] key_requests_per_s */
    CORE_DROP_PACER,      /* the receiver's queue is full */
    CORE_DROP_DATA,       /* data messages: not allowed, malformed, too many */
    CORE_DROP_COUNT,
};
const char *core_drop_name(enum core_drop d);

struct core_counters {
    struct counter rooms, participants, tracks, consumers; /* gauges */
    struct counter joins, leaves, refused[CTL_ERR_COUNT], restarts;
    struct counter in_pkts, in_bytes, forwarded_pkts, forwarded_bytes;
    struct counter lost_pkts, repaired_rtx, repaired_red; /* on the way to us */
    struct counter rtx_pkts, red_pkts, padding_bytes, silence_pkts;
    struct counter nacks_in, nacks_out, keys_in, keys_out, feedback_in, feedback_out;
    struct counter layer_switches, speaker_switches, slot_switches, replays;
    struct counter data_msgs, data_bytes;
    struct counter drop[CORE_DROP_COUNT];
};

/* A room's key is its server's name, this, and the room's id: servers never see each other's. */
#define SFU_ROOM_SEPARATOR '\n'
#define SFU_ROOM_KEY_MAX   (CTL_NAME_MAX + 4 + CTL_ROOM_MAX)

/* What the core wants of its shell. */
struct core_ops {
    /* Something happened that sori-server shall know. m and all it points to are borrowed. */
    void (*event)(void *arg, const struct ctl_msg *m);
    /* The room has ended: nothing of it is left. */
    void (*room_gone)(void *arg, struct slice room);
    /* sfu_core_deadline() may be earlier than it was. */
    void (*wake)(void *arg);
};

#define CORE_NEWS_MAX  128 /* packets that wait for the end of a batch */
#define CORE_SCRATCH   2048
#define CORE_SDP_BYTES CTL_SDP_MAX * 2 /* of a description of ours */

/* A packet that is stored and not yet forwarded. */
struct core_news {
    struct media_packet *m;
    uint8_t layer;
    uint8_t next; /* of the same producer; CORE_NEWS_MAX: the last */
};

/* What all workers of a node have together, for the node's limits. Any thread. */
struct core_census {
    atomic_uint rooms, participants;
};

/* Counts one more of them, unless there are that many. */
static inline bool core_census_take(atomic_uint *n, uint64_t most)
{
    if (atomic_fetch_add_explicit(n, 1, memory_order_relaxed) < most)
        return true;
    atomic_fetch_sub_explicit(n, 1, memory_order_relaxed);
    return false;
}

static inline void core_census_leave(atomic_uint *n)
{
    atomic_fetch_sub_explicit(n, 1, memory_order_relaxed);
}

struct sfu_core {
    const struct sfu_conf *conf;
    const struct core_ops *ops;
    void *arg;
    uint64_t now_us, ntp_offset_us; /* NTP time in us = now_us + ntp_offset_us */
    struct demux *demux;
    struct egress *egress;                 /* lent */
    struct timerwheel *wheel, *room_wheel; /* of peers, of rooms */
    struct data_port *data;                /* lent; NULL: no data channels */
    struct htable rooms;
    struct codec_policy policy;
    struct neg_candidate candidate[NEG_CANDIDATES_MAX];
    unsigned n_candidates;
    struct core_census *census, own_census; /* the node's; that of a core by itself */
    uint8_t fingerprint[32];                /* sha-256 of our certificate */
    bool draining;

    struct core_news news[CORE_NEWS_MAX];
    unsigned n_news;
    struct producer *dirty[CORE_NEWS_MAX]; /* who has news */
    unsigned n_dirty;

    uint8_t scratch[CORE_SCRATCH]; /* one packet that has no store yet */
    uint8_t red[CORE_SCRATCH];     /* headers and older blocks of one RED payload */
    uint8_t rtcp[CORE_SCRATCH];
    char answer[CORE_SDP_BYTES], sub_offer[CORE_SDP_BYTES];
    struct ctl_msg event;       /* being built */
    struct neg_error neg_error; /* of the last description that was refused */
    struct core_counters count;
};

struct core_params {
    const struct sfu_conf *conf;
    const struct core_ops *ops;
    void *arg;
    struct egress *egress;
    const struct neg_candidate *candidate; /* as clients shall see them, the best first */
    unsigned n_candidates;
    uint8_t fingerprint[32];
    uint64_t now_us, unix_us;
    struct core_census *census; /* shared by the node's cores; NULL: this is the only one */
};

/* Everything is borrowed for the core's life. NULL when memory is out. */
struct sfu_core *sfu_core_new(const struct core_params *p);
/* Ends all rooms without a word to anybody, then frees. NULL is allowed. */
void sfu_core_free(struct sfu_core *c);

/* One packet from a socket; it is used, or kept, until the next sfu_core_batch(). False: dropped.
 */
bool sfu_core_packet(struct sfu_core *c, const struct media_path *from, uint8_t *p, size_t len,
                     uint64_t now_us);
/* Forwards what came since the last call. */
void sfu_core_batch(struct sfu_core *c, uint64_t now_us);
/* A connection has ended. */
void sfu_core_gone(struct sfu_core *c, const struct media_path *path, uint64_t now_us);

/* Answers one request about a room (CTL_JOIN .. CTL_SYNC, CTL_STATS), whose room is the key.
 * reply's slices borrow from the core and from req until the next call. */
void sfu_core_request(struct sfu_core *c, const struct ctl_msg *req, struct ctl_msg *reply,
                      uint64_t now_us);

/* New rooms are refused from now on (or again accepted). */
void sfu_core_drain(struct sfu_core *c, bool on);

/* Ends a room: its participants get BYE, sori-server hears of it when reason is not empty. */
void sfu_core_close_room(struct sfu_core *c, struct slice room, struct slice reason,
                         uint64_t now_us);

/* When sfu_core_tick() has something to do, at the earliest. */
uint64_t sfu_core_deadline(const struct sfu_core *c);
void sfu_core_tick(struct sfu_core *c, uint64_t now_us);

/* ---- for the files around it ---- */

/* A participant has left r: who is on whose slot changes, or the room ends with its last. */
void sfu_core_room_left(struct sfu_core *c, struct room *r, uint64_t now_us);

/* NTP time (RFC 3550 §4) of a monotonic time. */
uint64_t sfu_core_ntp(const struct sfu_core *c, uint64_t now_us);

/* An event to fill: zeroed envelope of this type about a room (and participant, may be NULL). */
struct ctl_msg *core_event(struct sfu_core *c, enum ctl_type type, const struct room *room,
                           const struct participant *p);
/* Hands it over. */
void core_emit(struct sfu_core *c);

static inline void core_drop(struct sfu_core *c, enum core_drop why)
{
    counter_inc(&c->count.drop[why]);
}

#endif
