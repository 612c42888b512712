/* The description of one PeerConnection (RFC 8829, 9143): what client and we agreed to, section by
 * section, and the state that keeps it stable over later offers.
 *
 *  the client offers (single mode, and the publisher PC of pair mode):
 *      negotiate_offer()         parses and decides; on success the new state is in force
 *      [negotiate_refuse()]      the caller takes a section back, before the answer is written
 *      negotiate_write()         our answer (any number of times: it repeats itself)
 *
 *  we offer (the subscriber PC of pair mode):
 *      negotiate_slot_add(), negotiate_slot_del()
 *      negotiate_make_offer()    our offer; the client's answer is awaited
 *      negotiate_answer()        on success the new state is in force
 *      negotiate_rollback()      forgets the offer; slots added since then stay wanted
 *
 * Mids, the order of the sections, payload types, extension ids and our SSRCs never change for as
 * long as the negotiation lives; a section that is not used stays `inactive` and is used again.
 * Only a data section that is refused is answered with port 0: its channels close, and the client
 * knows. Our answer depends on the offer, the policy and the limits only, never on who is in a
 * room.
 *
 * Pure but for the random numbers of SSRCs; owned by the transport's worker.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_NEGOTIATE_H
#define SORI_SFU_NEGOTIATE_H

#include "base/addr.h"
#include "proto/rtp_params.h"
#include "sfu/codec_policy.h"

enum {
    NEG_SECTIONS_MAX = 128, /* m= lines of one description; struct neg_limits may say less */
    NEG_CODECS_MAX = 24,    /* media formats of one section that we agree to; more are left out */
    NEG_MSID_MAX = 64,      /* bytes of a stream or track id that are kept; longer: left empty */
    NEG_UFRAG_MIN = 4,      /* RFC 8839 §5.4 */
    NEG_UFRAG_MAX = 256,
    NEG_PWD_MIN = 22,
    NEG_PWD_MAX = 256,
    NEG_FINGERPRINTS_MAX = 4,
    NEG_FINGERPRINT_BYTES_MAX = 64, /* sha-512 */
    NEG_CANDIDATES_MAX = 16,        /* of ours */
    NEG_CNAME_MAX = 64,
    NEG_OFFER_BYTES_MAX = 512 * 1024,
};

/* --- Refusals: each has a code and a text for the client. ---------------------------------- */

enum neg_error_code {
    NEG_OK,
    NEG_E_SYNTAX,    /* not SDP: sdp.h's reason is the text */
    NEG_E_TOO_LARGE, /* longer than NEG_OFFER_BYTES_MAX */
    NEG_E_SECTIONS,  /* more m= lines than allowed */
    NEG_E_NO_SECTIONS,
    NEG_E_NO_MID, /* a section without a=mid, or with one that is too long */
    NEG_E_MID_TWICE,
    NEG_E_NOT_BUNDLED, /* a section in use is not in the BUNDLE group */
    NEG_E_NO_RTCP_MUX,
    NEG_E_PLAN_B,   /* several tracks in one section */
    NEG_E_NO_UFRAG, /* no a=ice-ufrag or a=ice-pwd, or of a wrong length */
    NEG_E_ICE_LITE, /* the client is ICE-lite, and so are we */
    NEG_E_NO_FINGERPRINT,
    NEG_E_WEAK_FINGERPRINT, /* only sha-1 and md5 */
    NEG_E_BAD_FINGERPRINT,
    NEG_E_SETUP,        /* a=setup missing, unknown, or not allowed here */
    NEG_E_MID_CHANGED,  /* a known section has another mid, kind or place */
    NEG_E_SECTION_GONE, /* fewer sections than before */
    NEG_E_PT_CLASH,     /* one payload type means two things in one bundle */
    NEG_E_EXT_CLASH,    /* one extension id means two things in one bundle */
    NEG_E_PT_CHANGED,   /* a payload type means something else than before */
    NEG_E_EXT_CHANGED,
    NEG_E_STATE,  /* no offer is awaited, or no answer (glare: roll back first) */
    NEG_E_ANSWER, /* the answer does not match our offer */
    NEG_E_LIMIT,  /* ssrcs, layers or lines beyond a limit that can't be left out */
    NEG_E_MEMORY,
    NEG_E_COUNT,
};

struct neg_error {
    enum neg_error_code code;
    unsigned line;  /* of the offer or answer, from 1; 0: none in particular */
    char text[160]; /* what is wrong and what to do, in English, ends with NUL */
};

/* A stable name for the protocol ("not_bundled"), and a counter's label. */
const char *neg_error_name(enum neg_error_code code);

/* --- What was agreed on. ------------------------------------------------------------------ */

enum neg_h264_profile {
    NEG_H264_BASELINE,
    NEG_H264_CONSTRAINED_BASELINE,
    NEG_H264_MAIN,
    NEG_H264_CONSTRAINED_HIGH,
    NEG_H264_HIGH,
    NEG_H264_OTHER, /* high 4:4:4 and the like: equal to itself only */
};

/* One media format of a section, with its companions. */
struct neg_codec {
    uint8_t codec;         /* enum rtp_codec, never RTX or RED: those are the next two */
    uint8_t pt;            /* the client's number in both directions */
    uint8_t rtx_pt;        /* 0: none */
    uint8_t red_pt;        /* Opus: RED around it; 0: none */
    uint8_t fb;            /* RTP_FB_… agreed to */
    uint8_t channels;      /* audio: 1 or 2 */
    uint8_t profile;       /* H264: enum neg_h264_profile; VP9: profile-id; AV1: profile */
    uint8_t level;         /* H264: level_idc; AV1: level-idx; what the client said */
    uint8_t mode;          /* H264: packetization-mode */
    bool fec, dtx, stereo; /* Opus: what the *client* said about its receiving */
    uint32_t clock;
    uint32_t max_bps;    /* Opus: the client's maxaveragebitrate; 0: not said */
    uint32_t profile_id; /* H264: profile-level-id as a number (0x42e01f) */
};

/* What a payload type is. */
enum neg_pt_role { NEG_PT_NONE, NEG_PT_MEDIA, NEG_PT_RTX, NEG_PT_RED };

/* One stream of the client's: known by rid (SSRCs are then learned from the packets' extensions),
 * by SSRC, or by both. */
struct neg_layer {
    char rid[RTP_MID_MAX + 1];      /* "" : none */
    uint32_t ssrc, rtx_ssrc;        /* 0: not told */
    bool paused;                    /* "~" in the simulcast line */
    uint16_t max_width, max_height; /* a=rid restrictions; 0: none */
    uint32_t max_bps;
};

/* Why a section that the client wants to use is not used, in one direction or both. */
enum neg_refusal {
    NEG_REFUSED_NOT,
    NEG_REFUSED_KIND,   /* neither audio, video nor data, or not RTP/SAVPF or DTLS/SCTP */
    NEG_REFUSED_CODEC,  /* no codec in common */
    NEG_REFUSED_LIMIT,  /* struct neg_limits */
    NEG_REFUSED_CALLER, /* negotiate_refuse() */
    NEG_REFUSED_COUNT,
};

enum {
    NEG_CHANGED_NEW = 1 << 0,  /* first seen, or used anew for something else */
    NEG_CHANGED_RECV = 1 << 1, /* `recv` is another than before */
    NEG_CHANGED_SEND = 1 << 2, /* `send` is another than before */
    NEG_CHANGED_CODECS = 1 << 3,
    NEG_CHANGED_EXTS = 1 << 4,
    NEG_CHANGED_LAYERS = 1 << 5, /* the client's rids or SSRCs */
    NEG_CHANGED_MSID = 1 << 6,
};

/* One m= section. Borrowed from the negotiation: good until its next call that changes it. */
struct neg_section {
    char mid[RTP_MID_MAX + 1];
    uint8_t kind;         /* enum rtp_kind; RTP_KIND_COUNT: of no use to us */
    bool recv;            /* we receive: it is a track of the client's (data: in use) */
    bool send;            /* we send: it is a slot (data: in use) */
    bool rejected;        /* port 0 in the offer: gone; may come back with another mid and kind */
    bool audio_level_vad; /* RFC 6464 §4: the V bit is used */
    bool xr_rtt;          /* RRTR blocks are to be answered with DLRR (RFC 3611 §4.4) */
    bool rsize;           /* reduced-size RTCP is allowed */
    uint8_t refused;      /* enum neg_refusal */
    uint8_t changed;      /* NEG_CHANGED_…, by the last negotiate_offer() or negotiate_answer() */
    uint8_t n_codecs, n_layers;
    const struct neg_codec *codec; /* in the order of our answer; shared by equal sections */
    uint8_t ext[RTP_EXT_COUNT]; /* enum rtp_ext → id that may be written in packets to the client;
                                 * 0: none. Ids over 14 need the two-byte form */
    bool ext_mixed;             /* one- and two-byte forms may be mixed in this connection */

    /* The client's, when recv (else empty). Layers are in the order of the client's simulcast line,
     * or of its SIM group; by convention (docs/SIGNALING.md) the lowest first. Without simulcast: 1
     * layer. */
    struct neg_layer layer[RTP_LAYERS_MAX];
    char stream[NEG_MSID_MAX + 1], track[NEG_MSID_MAX + 1]; /* a=msid; "" : none */
    char cname[NEG_CNAME_MAX + 1];                          /* "" : not told */

    /* Ours, when send (kept while it is not). rtx_ssrc is 0 when no codec has RTX. */
    uint32_t ssrc, rtx_ssrc;

    /* Data (RFC 8841). */
    uint16_t sctp_port;        /* the client's; ours is NEG_SCTP_PORT */
    uint32_t max_message_size; /* that the client takes; 0: any */
};
#define NEG_SCTP_PORT 5000

struct neg_fingerprint {
    uint8_t hash; /* enum neg_hash */
    uint8_t len;
    uint8_t digest[NEG_FINGERPRINT_BYTES_MAX];
};
enum neg_hash { NEG_SHA256, NEG_SHA384, NEG_SHA512 };

/* The client's side of the one transport that all sections share. */
struct neg_remote {
    char ufrag[NEG_UFRAG_MAX + 1], pwd[NEG_PWD_MAX + 1];
    struct neg_fingerprint
        fingerprint[NEG_FINGERPRINTS_MAX]; /* any one may match; the strong ones */
    uint8_t n_fingerprints;
    bool dtls_client;  /* our role: true only when the client insisted on being the server */
    bool trickle;      /* the client said that it trickles */
    bool renomination; /* a=ice-options:renomination */
};

/* What the last description changed beyond the sections' `changed`. */
struct neg_change {
    bool first;               /* nothing was in force before */
    bool ice_restart;         /* new ufrag and pwd: make new local ones for the answer */
    bool fingerprint_changed; /* another certificate or DTLS role: a new DTLS association */
    bool data_started;        /* the data section came into use */
};

/* --- The caller's side. ------------------------------------------------------------------- */

struct neg_limits {
    unsigned sections;                /* of a description, at most NEG_SECTIONS_MAX */
    unsigned publish[RTP_KIND_COUNT]; /* sections that the client may send in at once */
    unsigned slots[RTP_KIND_COUNT];   /* and that it may receive in at once; [DATA] is not used */
    unsigned layers;                  /* simulcast streams of a section: 1 to RTP_LAYERS_MAX */
};

struct neg_candidate {
    struct addr addr; /* as the client shall see it */
    bool tcp;         /* RFC 6544 passive */
};

/* What we say of our end. Borrowed for the call. */
struct neg_local {
    struct slice ufrag, pwd;
    uint8_t sha256[32]; /* of our certificate */
    const struct neg_candidate *candidate;
    unsigned n_candidates;     /* at most NEG_CANDIDATES_MAX, the best first */
    struct slice cname;        /* of our streams: one per transport */
    uint32_t max_message_size; /* of data that we take */
};

struct negotiation;

/* A negotiation in which the client offers (we_offer false) or we do. policy and limits are copied.
 * NULL when memory is out. */
struct negotiation *negotiate_new(const struct codec_policy *policy,
                                  const struct neg_limits *limits, bool we_offer);
void negotiate_free(struct negotiation *n); /* NULL is allowed */

/* Other limits or policy, for descriptions to come (roles change). Formats that were agreed on stay
 * so. */
void negotiate_set_limits(struct negotiation *n, const struct neg_limits *limits);
void negotiate_set_policy(struct negotiation *n, const struct codec_policy *policy);

/* Takes a client's offer.
 *
 * Returns 0: it is in force, *change is written, the sections tell their `changed`; the caller
 * makes credentials when change->first or ->ice_restart, hands neg_remote to the transport, looks
 * at the sections and writes the answer. Returns -EPROTO (the offer can't be taken), -EMSGSIZE, or
 * -ENOMEM: *e says why, nothing has changed, the caller answers its request with the error. */
int negotiate_offer(struct negotiation *n, struct slice sdp, struct neg_change *change,
                    struct neg_error *e);

/* Takes back what section i offers: recv (the client shall not send) or send (no slot), until the
 * next offer. Between negotiate_offer() and negotiate_write(). */
void negotiate_refuse(struct negotiation *n, unsigned i, bool recv, bool send);

/* Writes our description of what is in force: the answer to the last offer. w->bad when it does not
 * fit; NEG_ANSWER_BYTES_MAX(sections) always do. */
void negotiate_write(const struct negotiation *n, const struct neg_local *local, struct wr *w);
#define NEG_ANSWER_BYTES_MAX(sections) (4096 + 10240 * (size_t)(sections))

/* --- We offer. */

/* Wants one more section in which we send: an unused one of that kind, else a new one. stream and
 * track (each at most NEG_MSID_MAX bytes of token characters) become its a=msid: sections of equal
 * stream are played in sync. Returns its number for negotiate_section(), or -ENOSPC, -ENOMEM,
 * -EINVAL. It counts from the next negotiate_make_offer() on. */
int negotiate_slot_add(struct negotiation *n, enum rtp_kind kind, struct slice stream,
                       struct slice track);
/* The section shall be unused from the next offer on. */
void negotiate_slot_del(struct negotiation *n, unsigned i);
/* A data section is wanted (once). Returns as negotiate_slot_add(). */
int negotiate_data_add(struct negotiation *n);
/* True when an offer would tell the client something new. */
bool negotiate_needed(const struct negotiation *n);

/* Writes our offer; its answer is awaited from now on. Again while one is awaited: a newer offer in
 * its place. Returns 0, or -EPROTO when the client is the one who offers. */
int negotiate_make_offer(struct negotiation *n, const struct neg_local *local, struct wr *w);

/* Takes the client's answer to the last offer. Returns as negotiate_offer(); a section that the
 * client refused is `!send`. */
int negotiate_answer(struct negotiation *n, struct slice sdp, struct neg_change *change,
                     struct neg_error *e);

/* The client will not answer: what was in force stays. */
void negotiate_rollback(struct negotiation *n);

/* --- Looking things up. */

/* Another number whenever sections and codecs that were looked up may have moved or changed. */
uint32_t negotiate_edition(const struct negotiation *n);

/* How many sections there are, and the i-th: NULL beyond the last. */
unsigned negotiate_sections(const struct negotiation *n);
const struct neg_section *negotiate_section(const struct negotiation *n, unsigned i);
const struct neg_section *negotiate_by_mid(const struct negotiation *n, struct slice mid);
/* The section with the client's stream of that SSRC (its RTX too), NULL when none is told. *layer
 * and *rtx are written on success. */
const struct neg_section *negotiate_by_ssrc(const struct negotiation *n, uint32_t ssrc,
                                            unsigned *layer, bool *rtx);
const struct neg_remote *
negotiate_remote(const struct negotiation *n); /* zeroed before the first */
/* The data section in use, or NULL. */
const struct neg_section *negotiate_data(const struct negotiation *n);

/* Extension ids of packets *from* the client: id → enum rtp_ext, for rtp_ext_scan(). One map for
 * the whole bundle (RFC 9143 §9: an id means one thing). Good as long as n. */
const uint8_t *negotiate_ext_map(const struct negotiation *n);

/* What payload type pt is in packets of this section; *codec (may be NULL) is its media format.
 * The next is the same for any receiving section of the bundle, the first that has it. */
enum neg_pt_role neg_section_pt(const struct neg_section *s, uint8_t pt,
                                const struct neg_codec **codec);
const struct neg_section *negotiate_by_pt(const struct negotiation *n, uint8_t pt,
                                          enum neg_pt_role *role, const struct neg_codec **codec);

/* The place of rid in s->layer (repaired-rid too), -1 when it is not there. */
int neg_section_rid(const struct neg_section *s, struct slice rid);

/* --- From a publisher's format to a receiver's. */

enum neg_map_verdict {
    NEG_MAP_OK,
    NEG_MAP_NO_CODEC, /* the receiver does not know the codec */
    NEG_MAP_PROFILE,  /* it knows it, in a profile or packetization that this stream is not in */
};

struct neg_map {
    enum neg_map_verdict verdict;
    const struct neg_codec *codec; /* the receiver's; its pt, rtx_pt and red_pt are to be written.
                                    * NULL unless verdict is NEG_MAP_OK */
};

/* Which of the receiver's formats carries what `from` describes (a codec of a publisher's section):
 * the same codec and clock; H.264 in the same packetization mode (or mode 0 where mode 1 is known)
 * and a profile whose decoder takes the stream; VP9 and AV1 in the same profile. RED is no part of
 * it: code that has RED from the publisher strips it when codec->red_pt is 0. */
struct neg_map negotiate_map(const struct neg_section *to, const struct neg_codec *from);

#endif
