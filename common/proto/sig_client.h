/* The `data` of what clients send: one reader per type, each checking every field that the contract
 * names. Payloads (descriptions, candidates, metadata) stay raw slices of the text.
 *
 * All take a message that sig_decode() accepted, and the same scratch. They return 0, or -EBADMSG
 * with *fault naming the field (then *out is undefined). Types without a function here have no data
 * (ack, session.close, call.ringing, call.cancel, call.sync, turn.credentials).
 * Pure; any thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_SIG_CLIENT_H
#define SORI_PROTO_SIG_CLIENT_H

#include "proto/sig.h"

enum sig_platform {
    SIG_PLATFORM_OTHER,
    SIG_PLATFORM_IOS,
    SIG_PLATFORM_ANDROID,
    SIG_PLATFORM_WEB,
};

enum {
    SIG_CAP_CALL_WAITING = 1,
    SIG_CAP_VIDEO = 2,
    SIG_CAP_ROOMS = 4
}; /* bits of sig_hello.caps */

struct sig_hello {
    struct slice token;
    struct slice device; /* deviceId */
    enum sig_platform platform;
    unsigned caps;                         /* SIG_CAP_*; unknown ones are ignored */
    bool background;                       /* appState */
    bool resume;                           /* the rest is there */
    struct slice session_id, resume_token; /* 1..128 bytes each */
    uint64_t last_seq;
    uint64_t next_seq; /* of the first message that is not acknowledged to it; 0: it does not say */
};
int sig_client_hello(struct sig_hello *out, const struct sig_msg *m, struct wr *scratch,
                     struct sig_fault *fault);

/* auth.refresh: the token. */
int sig_client_auth_refresh(struct slice *token, const struct sig_msg *m, struct wr *scratch,
                            struct sig_fault *fault);

/* ping: `t` as sent, a raw number; empty when not there. */
int sig_client_ping(struct slice *t, const struct sig_msg *m, struct sig_fault *fault);

/* presence.subscribe, presence.unsubscribe: a raw array of 1 to SIG_USERS_MAX valid user ids; walk
 * it with json_items() and json_text() (each id fits SIG_USER_MAX bytes of scratch). */
int sig_client_presence_users(struct slice *users, const struct sig_msg *m,
                              struct sig_fault *fault);
/* presence.set: any but SIG_PRESENCE_OFFLINE. */
int sig_client_presence_set(enum sig_presence *state, const struct sig_msg *m,
                            struct sig_fault *fault);

struct sig_invite {
    struct slice offer;    /* raw RTCSessionDescriptionInit of type offer */
    struct slice metadata; /* raw object, at most SIG_METADATA_MAX */
    bool is_video;
    uint32_t ring_timeout_ms; /* 5,000 or more; 0 when not there. The upper limit is call's */
};
int sig_client_invite(struct sig_invite *out, const struct sig_msg *m, struct sig_fault *fault);

/* call.answer: the raw RTCSessionDescriptionInit of type answer; empty when it is not there (an
 * invitation into a room is answered without). */
int sig_client_answer(struct slice *answer, const struct sig_msg *m, struct sig_fault *fault);

struct sig_reject {
    bool device_only;       /* scope */
    enum sig_reason reason; /* declined, busy, need_permission, media_failed */
};
int sig_client_reject(struct sig_reject *out, const struct sig_msg *m, struct sig_fault *fault);

/* call.hangup: hangup or media_failed. */
int sig_client_hangup(enum sig_reason *reason, const struct sig_msg *m, struct sig_fault *fault);

/* call.candidates: checks that `candidates` has 1 to SIG_CANDIDATES_MAX objects with a string
 * `candidate`. What is passed on is m->data. */
int sig_client_candidates(const struct sig_msg *m, struct sig_fault *fault);

enum sig_sdp { SIG_SDP_OFFER, SIG_SDP_ANSWER, SIG_SDP_ROLLBACK };

/* call.negotiate; what is passed on is m->data. */
struct sig_negotiate {
    enum sig_sdp sdp;
    struct slice id; /* negotiationId */
    bool ice_restart, fresh;
};
int sig_client_negotiate(struct sig_negotiate *out, const struct sig_msg *m, struct wr *scratch,
                         struct sig_fault *fault);

/* call.info: checks the known fields. What is passed on is m->data. */
int sig_client_info(const struct sig_msg *m, struct sig_fault *fault);

/* call.state: what the client's RTCPeerConnection says. */
int sig_client_state(enum sig_conn *out, const struct sig_msg *m, struct sig_fault *fault);

#endif
