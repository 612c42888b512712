/* One client RTCPeerConnection's transport: ICE-lite, DTLS, SRTP over one selected path.
 *
 *   NEW ── authentic check ──► CHECKING ── DTLS done ──► CONNECTED ◄──── heard again ────┐
 *                                 │                          │ nothing heard: quiet_us   │
 *                                 │ connect_us, DTLS failed  └──────────────────► DISCONNECTED
 *                                 ▼                                                      │ lost_us
 *                               FAILED ◄────────────────────────────────────────────────┘
 *   CONNECTED ── another certificate: transport_set_remote() ──► CHECKING
 *   any ── transport_close(), the peer's close_notify ──► CLOSED
 *
 * A path is an address that sent a check with our password; DTLS and SRTP are taken from paths
 * only. Selected is the one that the client nominated last; before any nomination, the first; and
 * when the client's media comes by another path while the selected one is silent, that one.
 *
 * Made and found by demux.h, whose worker owns it. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_TRANSPORT_H
#define SORI_SFU_TRANSPORT_H

#include "net/dtls_srtp.h"
#include "sfu/egress.h"
#include "sfu/ice_lite.h"
#include "sfu/media_path.h"
#include "sfu/srtp_sess.h"

struct transport;

enum transport_state {
    TRANSPORT_NEW,
    TRANSPORT_CHECKING,
    TRANSPORT_CONNECTED,    /* keys are there and a path is selected */
    TRANSPORT_DISCONNECTED, /* nothing authentic was heard for quiet_us: nothing is sent meanwhile
                             */
    TRANSPORT_FAILED,       /* will not come back; transport_why() */
    TRANSPORT_CLOSED,
};

enum transport_verdict {
    TRANSPORT_DROP,    /* counted */
    TRANSPORT_HANDLED, /* STUN, DTLS */
    TRANSPORT_RTP,     /* *in: call transport_open_rtp() */
    TRANSPORT_RTCP,    /* in->plain is the compound packet, where the datagram was */
    TRANSPORT_DATA,    /* call transport_read_data() until it gives no more */
};

/* Why a packet was dropped: one counter each. */
enum transport_drop {
    TRANSPORT_DROP_EMPTY,
    TRANSPORT_DROP_FIRST_BYTE,     /* of no protocol (RFC 7983 §7) */
    TRANSPORT_DROP_STRANGER,       /* DTLS or SRTP from where no check came */
    TRANSPORT_DROP_STUN_BAD,       /* malformed */
    TRANSPORT_DROP_STUN_KIND,      /* not a Binding request or indication */
    TRANSPORT_DROP_STUN_USERNAME,  /* of no transport here */
    TRANSPORT_DROP_STUN_INTEGRITY, /* wrong password, or none */
    TRANSPORT_DROP_STUN_REFUSED,   /* authentic, but 400, 420 or 487 */
    TRANSPORT_DROP_STUN_LIMIT,     /* source_limit: not answered */
    TRANSPORT_DROP_PATH_TAKEN,     /* the address is another live transport's */
    TRANSPORT_DROP_DTLS_LIMIT,     /* too many from this client */
    TRANSPORT_DROP_DTLS_EARLY,     /* before the description, and more than is kept */
    TRANSPORT_DROP_DTLS_STATE,     /* after the end, or of no use */
    TRANSPORT_DROP_RTP_BAD,        /* malformed header */
    TRANSPORT_DROP_RTP_EARLY,      /* before there are keys */
    TRANSPORT_DROP_RTP_FORGED,
    TRANSPORT_DROP_RTP_REPLAYED, /* or older than the window */
    TRANSPORT_DROP_RTP_SSRCS,    /* too many SSRCs */
    TRANSPORT_DROP_RTCP_BAD,
    TRANSPORT_DROP_RTCP_FORGED,
    TRANSPORT_DROP_RTCP_REPLAYED,
    TRANSPORT_DROP_SEND_STATE, /* not connected */
    TRANSPORT_DROP_SEND_SIZE,  /* longer than EGRESS_PACKET_MAX */
    TRANSPORT_DROP_COUNT,
};

/* A counter's label ("rtp_forged"). */
const char *transport_drop_name(enum transport_drop d);

enum transport_why {
    TRANSPORT_WHY_NONE,
    TRANSPORT_WHY_NO_CHECK,    /* no check within connect_us */
    TRANSPORT_WHY_NO_DTLS,     /* no handshake within connect_us */
    TRANSPORT_WHY_FINGERPRINT, /* the certificate is not the description's */
    TRANSPORT_WHY_DTLS,        /* alert, or nothing in common */
    TRANSPORT_WHY_SILENT,      /* lost_us */
    TRANSPORT_WHY_MEMORY,
};

struct transport_conf {
    uint64_t connect_us; /* from the remote description to connected */
    uint64_t quiet_us;   /* nothing authentic heard: disconnected */
    uint64_t lost_us;    /* failed (RFC 7675 §5.1: consent lasts 30 s at most) */
    enum srtp_sess_backend srtp;
};
#define TRANSPORT_CONNECT_US (30 * US_PER_S)
#define TRANSPORT_QUIET_US   (15 * US_PER_S)
#define TRANSPORT_LOST_US    (30 * US_PER_S)

struct transport_ops {
    /* The state is another one now. Called from inside recv, tick, set_remote and close; must not
     * free the transport, nor call those. */
    void (*state)(void *user, struct transport *t, enum transport_state s);
    /* There are other keys than before (RFC 8842 §5.1: another association): every stream's
     * rollover counter begins at zero again, both ways, from the next packet on. Called before it,
     * from inside recv or tick, and before state(); may send, under the same limits as that. May be
     * NULL. */
    void (*rekeyed)(void *user, struct transport *t);
    /* Another path is selected. May be NULL. */
    void (*path)(void *user, struct transport *t, const struct media_path *p);
};

struct transport_stats {
    struct counter drop[TRANSPORT_DROP_COUNT];
    struct counter checks, nominations, moves; /* moves: another path was selected */
    struct counter handshakes, handshake_failures;
    struct counter rtp_in_pkts, rtp_in_bytes, rtp_out_pkts, rtp_out_bytes;
    struct counter rtcp_in_pkts, rtcp_out_pkts, data_in_pkts, data_out_pkts;
};

/* What a client's description says of its end of the transport. Borrowed for the call. */
struct transport_remote {
    const struct dtls_fingerprint *fingerprint;
    size_t n_fingerprints; /* 1 .. DTLS_SRTP_FINGERPRINTS_MAX */
    bool dtls_client;      /* the client insists on being the DTLS server: we begin */
    bool data;             /* a data section is in use */
};

/* Takes the description, the first or a later one. Until the first, DTLS is kept, not answered.
 * Other fingerprints or another role than before begin a new DTLS association (RFC 8842 §5.1).
 * Returns 0, -EINVAL (no or too many fingerprints), -ENOMEM: the caller closes the transport. */
int transport_set_remote(struct transport *t, const struct transport_remote *r, uint64_t now_us);

/* Whether a data section can still come into use: not when the association's part that would carry
 * it has been freed (net/dtls_srtp.h: it is kept for a while when no data is wanted). */
bool transport_can_data(const struct transport *t);

/* ICE restart: new local credentials, those of before stay valid until a path is nominated with the
 * new ones. For the answer to an offer that restarts, or before an offer of ours. A transport that
 * is disconnected or whose consent ran out gets connect_us to come back. */
void transport_restart(struct transport *t, uint64_t now_us);

/* Our credentials for the description. Good until the next restart. */
struct slice transport_ufrag(const struct transport *t);
struct slice transport_pwd(const struct transport *t);

/* One packet that came in. */
struct transport_in {
    /* RTP: the wire packet, still encrypted, and what of its header is not. */
    struct slice packet;
    size_t header_len; /* with CSRCs and extensions; checked to lie within the packet */
    uint32_t ssrc, ts;
    uint16_t seq;
    uint8_t pt;
    bool marker;
    /* RTCP */
    struct slice plain;
};

/* Decrypts the packet that in tells of (after TRANSPORT_RTP, before the next packet of any
 * transport). out: room for in->packet.len bytes, may be where the packet is; gets header and
 * payload, padding included. Returns 0 with *len and *index (48 bits); else the packet is dropped
 * and counted, and out may hold anything. */
int transport_open_rtp(struct transport *t, const struct transport_in *in, uint8_t *out,
                       size_t *len, uint64_t *index);

/* The next SCTP packet (after TRANSPORT_DATA). Gives its bytes where the datagram was; empty: no
 * more. */
struct slice transport_read_data(struct transport *t);

/* Protects and queues one packet for the selected path (egress.h). What can't be sent is dropped
 * and counted. index, head, a, b: see srtp_sess_protect(). The three together may have
 * TRANSPORT_SEND_MAX bytes. */
void transport_send_rtp(struct transport *t, uint64_t index, struct slice head, struct slice a,
                        struct slice b);

/* It gets or sends RTP soon: has what that touches brought into the cache, step by step; each reads
 * what the one before has asked for. The last step is the keys. */
enum transport_way { TRANSPORT_IN, TRANSPORT_OUT };
void transport_prefetch(const struct transport *t, enum transport_way way, unsigned step);
#define TRANSPORT_PREFETCH_STEPS 4
void transport_send_rtcp(struct transport *t, struct slice compound);
void transport_send_data(struct transport *t, struct slice sctp_packet);
#define TRANSPORT_SEND_MAX (EGRESS_PACKET_MAX - SRTP_SESS_RTCP_TAIL_MAX)

/* Says goodbye and ends: CLOSED. */
void transport_close(struct transport *t, uint64_t now_us);

/* Where it stands, why it failed, and demux_add()'s user. */
enum transport_state transport_state(const struct transport *t);
enum transport_why transport_why(const struct transport *t);
void *transport_user(const struct transport *t);
bool transport_can_send(const struct transport *t); /* connected */
/* The selected path, NULL when there is none yet. */
const struct media_path *transport_path(const struct transport *t);
enum srtp_sess_profile transport_profile(const struct transport *t);
/* When something authentic was heard last (0: never). */
uint64_t transport_heard_us(const struct transport *t);

#endif
