/* What the server says: one writer per message.
 *
 * A writer gives a *body*: everything after the opening brace, the closing brace included:
 *
 *     "type":"call.ringing","callId":"…","from":"bob"}
 *
 * The session puts `{`, or `{"seq":12,"ack":9,` in front: sig_server_open(). So a body may be kept
 * for replay and sent again with a newer ack. Raw payloads (slices named *_raw) are passed through
 * untouched and must be valid JSON; text is escaped here. When the body does not fit, w->bad is
 * set. Pure; any thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_SIG_SERVER_H
#define SORI_PROTO_SIG_SERVER_H

#include "proto/sig.h"

/* Writes `{"seq":S,"ack":A,`; seq 0 = unnumbered, ack 0 = nothing to acknowledge: left out. */
void sig_server_open(struct wr *w, uint64_t seq, uint64_t ack);
/* Longest that sig_server_open() writes. */
enum { SIG_SERVER_OPEN_MAX = 64 };
/* Everything of a body but its payload slices and texts fits in this. */
enum { SIG_SERVER_BODY_BASE = 1024 };

/* `type` and what stands outside `data`. Empty or zero members are left out. */
struct sig_head {
    enum sig_type type;
    struct slice re; /* the request's id: replies */
    const struct sig_call_id *call_id;
    struct slice room; /* roomId */
    struct slice from, from_device;
    uint64_t ts_ms; /* wall clock; written only together with from */
};

/* A body with data as given (a raw object), or without data when it is empty. Replies with `{}` and
 * everything "as sent" go through here. */
void sig_server_raw(struct wr *w, const struct sig_head *h, struct slice data_raw);

/* ---- session ---- */
struct sig_welcome {
    struct slice session_id, resume_token, user, name, device, node;
    uint64_t resume_ttl_ms, server_time_ms, last_seq, ping_interval_ms, ping_timeout_ms;
    bool resumed;
    struct slice active_calls_raw; /* array of call views; empty = [] */
};
void sig_server_welcome(struct wr *w, const struct sig_welcome *m);
/* A whole pure acknowledgement, brace included: {"type":"ack","ack":n} */
void sig_server_ack(struct wr *w, uint64_t ack);
/* re may be empty; t_raw as the client sent it, may be empty. */
void sig_server_pong(struct wr *w, struct slice re, struct slice t_raw);
void sig_server_auth_expiring(struct wr *w, uint64_t expires_in_ms);
void sig_server_auth_refresh(struct wr *w, struct slice re, uint64_t expires_in_ms);
void sig_server_goaway(struct wr *w, uint64_t reconnect_delay_ms, bool resumable,
                       uint64_t deadline_ms);

/* An error; re and call_id may be missing. text NULL: the code's own sentence. Details by code:
 * already_answered: winner, state; invalid_state: state; ended: reason. */
struct sig_error {
    struct slice re;
    const struct sig_call_id *call_id;
    struct slice room;
    enum sig_err code;
    const char *text;
    struct slice message; /* somebody else's text, in the place of text; empty: none */
    uint32_t retry_after_ms;
    bool has_state;
    enum sig_call_state state;
    struct slice winner;    /* device; empty = left out */
    enum sig_reason reason; /* SIG_REASON_NONE = left out */
};
void sig_server_error(struct wr *w, const struct sig_error *e);

/* ---- presence ---- */
/* presence.set's reply. The lists of presence.subscribe's reply and of `presence` are written by
 * server/presence.c, item by item, between these two: */
void sig_server_presence_set(struct wr *w, struct slice re, enum sig_presence state);
void sig_server_presence_begin(struct wr *w, enum sig_type type, struct slice re);
void sig_server_presence_item(struct wr *w, bool first, struct slice user, enum sig_presence state,
                              struct slice name);
void sig_server_presence_end(struct wr *w);

/* ---- calls ---- */
void sig_server_invite_reply(struct wr *w, const struct sig_head *h, enum sig_call_state state,
                             uint64_t expires_in_ms, unsigned online, unsigned pushed,
                             struct slice ice_servers_raw);

/* Reply to an invite that crossed the other side's: h->call_id is the caller's own (dead) id. */
struct sig_glare {
    const struct sig_call_id *merged_into;
    struct slice offer_raw, from, from_device, ice_servers_raw;
    uint64_t expires_in_ms;
};
void sig_server_glare_reply(struct wr *w, const struct sig_head *h, const struct sig_glare *g);

struct sig_incoming {
    struct slice offer_raw, metadata_raw, from_name, ice_servers_raw;
    struct slice room_raw; /* in the place of an offer: an invitation into a room */
    uint64_t expires_in_ms;
    bool call_waiting;
};
/* To a device of the callee. */
void sig_server_incoming(struct wr *w, const struct sig_head *h, const struct sig_incoming *m);

/* Replies to call.answer, call.cancel, call.hangup, turn.credentials; call.accepted to the caller.
 */
void sig_server_answer_reply(struct wr *w, const struct sig_head *h, enum sig_call_state state,
                             struct slice ice_servers_raw);
void sig_server_accepted(struct wr *w, const struct sig_head *h, struct slice answer_raw);
/* The same for an invitation into a room; and call.upgrade, reply and news. */
void sig_server_room_answer_reply(struct wr *w, const struct sig_head *h, enum sig_call_state state,
                                  struct slice room, struct slice ice_servers_raw);
void sig_server_call_room(struct wr *w, const struct sig_head *h, struct slice room);
void sig_server_cancel_reply(struct wr *w, const struct sig_head *h, enum sig_call_state state);
void sig_server_hangup_reply(struct wr *w, const struct sig_head *h, uint64_t duration_ms);
void sig_server_turn_reply(struct wr *w, const struct sig_head *h, struct slice ice_servers_raw,
                           uint64_t ttl_ms);

struct sig_ended {
    enum sig_reason reason;
    struct slice by, by_device; /* may be empty */
    unsigned sip_code;
    uint64_t duration_ms;
    bool missed;
};
void sig_server_ended(struct wr *w, const struct sig_head *h, const struct sig_ended *m);

/* call.state to a party; conn: SIG_CONN_COUNT = left out. */
void sig_server_call_state(struct wr *w, const struct sig_head *h, enum sig_call_state state,
                           enum sig_conn conn);

/* One call view, as an item of activeCalls and as the reply to call.sync. */
struct sig_view {
    const struct sig_call_id *call_id;
    enum sig_call_state state;
    enum sig_reason reason; /* written when ended */
    bool caller;            /* role */
    struct slice peer, peer_device;
    bool is_video, selected, call_waiting, has_expires;
    uint64_t expires_in_ms;
    struct slice offer_raw, answer_raw, room_raw; /* empty = left out */
};
void sig_server_view(struct wr *w, const struct sig_view *v); /* braces included */
void sig_server_sync_reply(struct wr *w, const struct sig_head *h, const struct sig_view *v);

#endif
