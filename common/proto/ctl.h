/* The control protocol between sori-server and sori-sfu (docs/CONTROL.md): one connection per pair,
 * JSON objects behind a 4-byte big-endian length.
 *
 * One struct serves both sides: what is encoded here is decoded there. A message is a request
 * (`id`), the reply or error to one (`re`), or an event (neither; `seq` when it is kept until it is
 * acknowledged). The SFU greets, the server says hello, and nothing else is allowed before the
 * SFU's reply to it: ctl_mac() proves to both that the other one has the secret.
 *
 * Payloads of clients travel as they came: an SDP is the raw JSON string that the client wrote, and
 * only the side that needs its text unescapes it (struct ctl_sdp).
 * Pure; any thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_CTL_H
#define SORI_PROTO_CTL_H

#include "base/crypto.h"
#include "proto/rtp_params.h"

enum {
    CTL_VERSION = 1,
    CTL_HEADER_BYTES = 4,
    CTL_MESSAGE_MAX = 262144, /* bytes behind the header */
    CTL_DEPTH = 8,
    CTL_VALUES = 8192,
    CTL_NAME_MAX = 64,           /* of a server or SFU node */
    CTL_ROOM_MAX = 128,          /* room id */
    CTL_PARTICIPANT_MAX = 64,    /* participant id; the server makes UUIDs */
    CTL_TRACK_MAX = 96,          /* track id: participant ":" mid */
    CTL_TRACK_NAME_MAX = 64,     /* a client's name for a track */
    CTL_SDP_MAX = 65536,         /* an SDP, raw or decoded */
    CTL_NEGOTIATION_MAX = 64,    /* negotiation id */
    CTL_CANDIDATES_MAX = 32,     /* in one `candidates` */
    CTL_TRACKS_MAX = 32,         /* published by one participant */
    CTL_SLOTS_MAX = 64,          /* receive sections of one participant */
    CTL_SUBSCRIBE_MAX = 64,      /* wishes in one `subscribe` */
    CTL_SPEAKERS_MAX = 16,       /* in one `speakers` */
    CTL_QUALITY_MAX = 64,        /* in one `quality`; a bigger room takes several */
    CTL_PARTICIPANTS_MAX = 1024, /* of one room */
    CTL_TEMPORAL_MAX = 3,        /* biggest temporal layer */
    CTL_LEVEL_MAX = 127,         /* RFC 6464 */
    CTL_SCORE_MAX = 5,
    CTL_MOS_MAX = 500, /* hundredths */
    CTL_LOAD_MAX = 1000,
    CTL_TEXT_MAX = 512, /* an error's message, a reason */
    CTL_NONCE_BYTES = 32,
    CTL_MAC_BYTES = CRYPTO_SHA256_BYTES,
    CTL_INFLIGHT_MAX = 512, /* requests without an answer that a server may have open */
    CTL_ANSWERS_MAX = 1024, /* last answers that the SFU keeps for repeats, per server epoch */
};

/* ---- words ---- */

enum ctl_type {
    CTL_NONE,
    /* opening */
    CTL_CHALLENGE, /* sfu → server, first on every connection; no answer but hello */
    CTL_HELLO,     /* request and reply */
    /* either way, neither counted nor kept */
    CTL_PING, /* request and empty reply */
    CTL_ACK,  /* server → sfu: events up to `upto` were handled */
    /* requests server → sfu */
    CTL_JOIN,
    CTL_OFFER,
    CTL_ANSWER,
    CTL_CANDIDATES,
    CTL_SUBSCRIBE,
    CTL_UNPUBLISH,
    CTL_MUTE,
    CTL_PERMISSIONS,
    CTL_LEAVE,
    CTL_CLOSE_ROOM,
    CTL_ADOPT,
    CTL_SYNC,
    CTL_SYNC_END,
    CTL_STATS,
    CTL_DRAIN,
    /* events sfu → server with a seq */
    CTL_STATE,
    CTL_TRACK,
    CTL_SLOTS,
    CTL_LAYERS,
    CTL_NEGOTIATE,
    CTL_ROOM_CLOSED,
    /* events sfu → server without: the next one replaces a lost one */
    CTL_SPEAKERS,
    CTL_QUALITY,
    CTL_LOAD,
    CTL_TYPE_COUNT
};
const char *ctl_type_name(enum ctl_type t); /* "join"; "" for CTL_NONE */
/* An event that carries a `seq` and is kept by the SFU until `ack`. */
bool ctl_type_kept(enum ctl_type t);

enum ctl_kind { CTL_KIND_REQUEST, CTL_KIND_REPLY, CTL_KIND_ERROR, CTL_KIND_EVENT };

/* Why the SFU refused. What the server tells the client: docs/CONTROL.md. */
enum ctl_err {
    CTL_OK,
    CTL_ERR_BAD_MESSAGE,    /* malformed, or a field out of range: a bug of the server */
    CTL_ERR_UNSUPPORTED,    /* unknown request */
    CTL_ERR_VERSION,        /* hello: no common version */
    CTL_ERR_UNAUTHORIZED,   /* hello: wrong mac */
    CTL_ERR_NO_ROOM,        /* no such room */
    CTL_ERR_NO_PARTICIPANT, /* no such participant: join again */
    CTL_ERR_NO_TRACK,
    CTL_ERR_FORBIDDEN, /* the participant's permissions do not allow it */
    CTL_ERR_REJECTED, /* the description is not acceptable; message is for the client's developer */
    CTL_ERR_CONFLICT, /* not now: an offer of the SFU is open, an answer fits none */
    CTL_ERR_FULL,     /* a limit of the participant, room or node */
    CTL_ERR_DRAINING, /* no new rooms */
    CTL_ERR_STALE,    /* this id is older than the answers kept: its outcome is unknown */
    CTL_ERR_INTERNAL, /* out of memory, or a bug */
    CTL_ERR_COUNT
};
const char *ctl_err_name(enum ctl_err e); /* "rejected"; "" for CTL_OK */

enum ctl_source {
    CTL_SOURCE_MICROPHONE,
    CTL_SOURCE_CAMERA,
    CTL_SOURCE_SCREEN,
    CTL_SOURCE_SCREEN_AUDIO,
    CTL_SOURCE_OTHER,
    CTL_SOURCE_COUNT
};
const char *ctl_source_name(enum ctl_source s); /* "screen_audio" */
bool ctl_source_parse(struct slice name, enum ctl_source *out);
#define CTL_SOURCE_BIT(s) (1u << (s))
#define CTL_SOURCES_ALL   (CTL_SOURCE_BIT(CTL_SOURCE_COUNT) - 1)

enum ctl_mode { CTL_MODE_SINGLE, CTL_MODE_PAIR, CTL_MODE_COUNT };

/* A participant's media, as the SFU sees it. */
enum ctl_media {
    CTL_MEDIA_CONNECTING,
    CTL_MEDIA_CONNECTED,
    CTL_MEDIA_DISCONNECTED, /* consent lost; may come back */
    CTL_MEDIA_FAILED,       /* will not come back without an ICE restart */
    CTL_MEDIA_CLOSED,       /* the SFU has removed the participant: reason */
    CTL_MEDIA_COUNT
};

enum ctl_track_event {
    CTL_TRACK_PUBLISHED, /* packets of it arrived, or it was described: it may be wanted */
    CTL_TRACK_ENDED,
    CTL_TRACK_UPDATED, /* layers, muted, codec */
    CTL_TRACK_EVENT_COUNT
};

enum ctl_pause {
    CTL_PAUSE_NONE,
    CTL_PAUSE_BANDWIDTH,
    CTL_PAUSE_SUBSCRIBER,
    CTL_PAUSE_SOURCE, /* muted, or nothing arrives */
    CTL_PAUSE_COUNT
};

enum ctl_negotiate {
    CTL_NEGOTIATE_NEED_SLOTS, /* the room has more to show than the participant has sections */
    CTL_NEGOTIATE_OFFER,      /* pair mode: offer, negotiation */
    CTL_NEGOTIATE_ICE_RESTART,
    CTL_NEGOTIATE_COUNT
};

/* ---- parts ---- */

#define CTL_LAYER_AUTO (-1)

/* A description. raw: the JSON string, quotes included, as it is passed on. text: decoded, filled
 * by ctl_decode() for requests only (of replies and events it is empty). ctl_encode() writes raw,
 * or text when raw is empty. Both empty: not there. */
struct ctl_sdp {
    struct slice raw, text;
};

struct ctl_perms {
    unsigned publish; /* CTL_SOURCE_BIT()s */
    bool subscribe, data;
};

/* 0 = the SFU's own. */
struct ctl_limits {
    unsigned tracks, slots;    /* up to CTL_TRACKS_MAX, CTL_SLOTS_MAX */
    uint64_t up_bps, down_bps; /* of the participant */
};

/* What the client says of a section that it sends. */
struct ctl_wish {
    struct slice mid;
    enum ctl_source source;
    bool muted;
};

/* A published track, as the SFU has it. */
struct ctl_track {
    struct slice track, mid;
    enum rtp_kind kind; /* audio, video */
    enum ctl_source source;
    bool muted;
    unsigned layers; /* simulcast streams or spatial layers: 1 .. RTP_LAYERS_MAX */
};

/* A receive section and what is on it now; track and participant empty = nothing. With a picture on
 * it also what is forwarded of that, so that a list of slots is whole by itself: CTL_LAYERS tells
 * of changes only. */
struct ctl_slot {
    struct slice mid, track, participant;
    bool picture;
    int layer, temporal; /* of a picture: forwarded now; -1 = none */
    enum ctl_pause pause;
};

struct ctl_subscription {
    struct slice track, mid; /* mid empty: any free slot */
    bool wanted, paused;
    int layer, temporal; /* most that is wanted; CTL_LAYER_AUTO */
    unsigned priority;   /* 0 .. CTL_PRIORITY_MAX, bigger is served first */
};
#define CTL_PRIORITY_MAX 255

struct ctl_speaker {
    struct slice participant;
    unsigned level; /* -dBov, 0 (loud) .. 127, RFC 6464 */
};

struct ctl_quality {
    struct slice participant;
    unsigned score; /* 1 .. 5 */
    unsigned mos;   /* hundredths, 100 .. 500 */
};

/* ---- the message: envelope, and one member of u by type and kind ---- */

struct ctl_msg {
    enum ctl_type type;
    enum ctl_kind kind;
    uint64_t id;  /* request, reply, error: 1.. (hello, ping too) */
    uint64_t seq; /* kept events: 1..; else 0 */

    /* In every request and event about them (empty where the type has none). */
    struct slice room, participant;

    union {
        struct { /* any error */
            enum ctl_err code;
            struct slice text; /* up to CTL_TEXT_MAX bytes */
        } error;

        struct { /* CTL_CHALLENGE */
            uint64_t version;
            uint8_t nonce[CTL_NONCE_BYTES];
        } challenge;
        struct { /* CTL_HELLO, request */
            uint64_t version;
            struct slice server;
            uint64_t epoch;     /* random at the server's start, not 0 */
            uint64_t sfu_epoch; /* of the SFU when it was last seen; 0 = never */
            uint64_t last_seq;  /* highest event of it that was handled */
            uint8_t nonce[CTL_NONCE_BYTES];
            uint8_t mac[CTL_MAC_BYTES];
        } hello;
        struct { /* CTL_HELLO, reply */
            struct slice node;
            uint64_t epoch; /* random at the SFU's start, not 0 */
            bool resumed;   /* it knows the server's epoch: answers and events were kept */
            bool lost;      /* some events after last_seq were dropped: sync tells the state */
            bool draining;
            uint64_t workers, participants_max, load; /* load: 0 .. 1000 */
            uint8_t mac[CTL_MAC_BYTES];
        } welcome;

        struct { /* CTL_ACK */
            uint64_t upto;
        } ack;

        struct { /* CTL_JOIN, request. An id that is there already starts over (old media ends). */
            enum ctl_mode mode;
            struct ctl_perms perms;
            struct ctl_limits limits;
            bool auto_audio, auto_video; /* slots are filled by the room; false: by subscribe */
            struct ctl_sdp offer;
            size_t wishes_n;
            struct ctl_wish wishes[CTL_TRACKS_MAX];
        } join;
        struct { /* CTL_OFFER, request */
            struct ctl_sdp offer;
            size_t wishes_n;
            struct ctl_wish wishes[CTL_TRACKS_MAX];
        } offer;
        struct { /* CTL_JOIN and CTL_OFFER, reply */
            struct ctl_sdp answer;
            struct ctl_sdp sub_offer; /* pair mode, or empty */
            struct slice negotiation; /* of sub_offer */
            size_t tracks_n, slots_n; /* all of the participant's, not only what is new */
            struct ctl_track tracks[CTL_TRACKS_MAX];
            struct ctl_slot slots[CTL_SLOTS_MAX];
        } joined;
        struct { /* CTL_ANSWER, request */
            struct slice negotiation;
            struct ctl_sdp answer;
        } answer;
        struct { /* CTL_CANDIDATES, request: raw array of RTCIceCandidateInit */
            struct slice raw;
        } candidates;
        struct { /* CTL_SUBSCRIBE, request */
            size_t n;
            struct ctl_subscription v[CTL_SUBSCRIBE_MAX];
        } subscribe;
        struct { /* CTL_UNPUBLISH (track), CTL_MUTE (both), requests */
            struct slice track;
            bool muted;
            bool forced; /* by somebody else: nothing of it is forwarded until its owner unmutes */
        } mute;
        struct { /* CTL_PERMISSIONS, request: what is no longer allowed ends now */
            struct ctl_perms perms;
        } permissions;
        struct { /* CTL_ADOPT, request: the server whose room it was */
            struct slice from;
        } adopt;
        struct { /* CTL_SYNC, request: everybody who should be in the room. Raw array of ids, walked
                    by ctl_ids(); who is not in it is removed. */
            struct slice participants;
        } sync;
        struct { /* CTL_SYNC, reply: who was there and stays, raw array of {id, state}, walked by
                    ctl_states(). For each of them `state`, `track` and `slots` events follow. */
            struct slice states;
        } synced;
        struct { /* CTL_SYNC_END, reply: rooms of this server that no sync named, now closed */
            uint64_t closed;
        } sync_end;
        struct { /* CTL_STATS, reply: a raw object, passed on */
            struct slice raw;
        } stats;
        struct { /* CTL_DRAIN, request */
            bool on;
        } drain;

        struct { /* CTL_STATE, event */
            enum ctl_media media;
            struct slice reason;
        } state;
        struct { /* CTL_TRACK, event */
            enum ctl_track_event event;
            struct ctl_track track;
        } track;
        struct { /* CTL_SLOTS, event (all of them), and CTL_SUBSCRIBE, reply */
            size_t n;
            struct ctl_slot v[CTL_SLOTS_MAX];
        } slots;
        struct { /* CTL_LAYERS, event: to a publisher (track set) or to a receiver (mid set) */
            struct slice track;
            unsigned wanted; /* bit per layer; 0 = nobody wants it */
            struct slice mid;
            int layer, temporal; /* forwarded now; -1 = none */
            enum ctl_pause pause;
        } layers;
        struct { /* CTL_NEGOTIATE, event */
            enum ctl_negotiate why;
            struct slice negotiation;
            struct ctl_sdp offer;
            unsigned need_audio, need_video; /* sections that it lacks */
        } negotiate;
        struct { /* CTL_ROOM_CLOSED, event: the SFU had to give the room up */
            struct slice reason;
        } room_closed;
        struct { /* CTL_SPEAKERS, event; dominant may be empty */
            struct slice dominant;
            size_t n;
            struct ctl_speaker v[CTL_SPEAKERS_MAX];
        } speakers;
        struct { /* CTL_QUALITY, event */
            size_t n;
            struct ctl_quality v[CTL_QUALITY_MAX];
        } quality;
        struct {           /* CTL_LOAD, event */
            uint64_t load; /* 0 .. 1000 of what the node can do */
            uint64_t rooms, participants;
            bool draining;
        } load;
    } u;
};

/* ---- codec ---- */

/* Reads one message.
 *
 * text:    without the length header. Every slice of *out borrows from it or from scratch.
 * scratch: for strings written with escapes; text.len + CTL_SCRATCH_SPARE bytes always do.
 * why:     on failure a literal that names what is wrong.
 *
 * Checks: JSON and its limits, known type, that the type may be of this kind, every field's shape
 * and range. An unknown field is ignored.
 *
 * Returns 0; -EBADMSG: not JSON, no known shape (end the connection); -EPROTO: a request that can
 * be answered: type (CTL_NONE: unknown), id and kind are set (answer CTL_ERR_BAD_MESSAGE or
 * CTL_ERR_UNSUPPORTED), or a reply, error or event of a type that is not known (ignore it; kind,
 * id and seq are set). */
int ctl_decode(struct ctl_msg *out, struct slice text, struct wr *scratch, const char **why);
#define CTL_SCRATCH_SPARE 64

/* Writes one message with its length header. Texts are escaped; raw slices are trusted to be valid
 * JSON. w->bad when it does not fit; CTL_HEADER_BYTES + CTL_MESSAGE_MAX always do, unless texts
 * break their limits. Only the members that the type has are read. */
void ctl_encode(struct wr *w, const struct ctl_msg *m);

/* The next whole message at the front of in. Returns 0 (*text borrows from in; *used bytes were
 * taken); -EAGAIN: more bytes are needed; -EMSGSIZE: longer than CTL_MESSAGE_MAX or empty (end the
 * connection). */
int ctl_frame(struct slice in, struct slice *text, size_t *used);

/* Walk the raw arrays of sync: zero *it first. Item slices borrow from the array (ids have no
 * escapes: ctl_decode() saw to it). False at the end. */
struct ctl_walk {
    size_t _at;
};
bool ctl_ids(struct ctl_walk *it, struct slice participants, struct slice *id);
bool ctl_states(struct ctl_walk *it, struct slice states, struct slice *id, enum ctl_media *media);
/* Write them: `first` for the first item; the brackets are the caller's. */
void ctl_ids_add(struct wr *w, bool first, struct slice id);
void ctl_states_add(struct wr *w, bool first, struct slice id, enum ctl_media media);

/* The proof of one side for this connection: HMAC-SHA256 over the side, both nonces, names and
 * epochs. The server's is made before it knows the
 * SFU's name and epoch: node empty, sfu_epoch 0. Returns 0 or -EIO. Compare
 * with crypto_equal(). */
struct ctl_proof {
    bool by_sfu;
    const uint8_t *sfu_nonce, *server_nonce; /* CTL_NONCE_BYTES each */
    struct slice server, node;
    uint64_t server_epoch, sfu_epoch;
};
int ctl_mac(struct slice secret, const struct ctl_proof *p, uint8_t mac[CTL_MAC_BYTES]);

#endif
