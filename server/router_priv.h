/* The router's body, shared by router.c (messages), router_session.c, router_presence.c,
 * router_call.c and login.c (hello, tokens) and by nobody else. SPDX-License-Identifier:
 * BSD-3-Clause */
#ifndef SORI_SERVER_ROUTER_PRIV_H
#define SORI_SERVER_ROUTER_PRIV_H

#include "server/call_table.h"
#include "server/client.h"
#include "server/ice_servers.h"
#include "server/limit_table.h"
#include "server/presence.h"
#include "server/router.h"
#include "server/session.h"

/* Room for one outgoing message: a description, metadata, iceServers and the envelope. */
#define ROUTER_OUT_BYTES (2 * SIG_LARGE_BYTES)

struct router {
    const struct server_conf *conf;
    struct token_keys *const *keys;
    void *owner;
    uint64_t now_us, wall_us;
    struct timerwheel *client_wheel, *session_wheel;
    struct session_table *sessions;
    struct call_table *calls;
    struct presence_store *store;
    struct presence *presence;
    struct limit_table *login_failures;
    struct limit_table *invites_short, *invites_long, *pairs; /* by user; by user and callee */
    struct bucket_rule messages, candidates, frames, subscribes, strikes;
    struct reliable_limits reliable;
    struct router_counters count;
    bool draining;
    struct call_effects fx;
    uint8_t scratch[SIG_SCRATCH_BYTES];
    uint8_t ice[ICE_SERVERS_MAX];
    uint8_t out[1 + ROUTER_OUT_BYTES]; /* out[0] is '{': see router_body() */
};

/* One request under way: who asks, and what. */
struct request {
    struct router *r;
    struct client *c;
    struct session *s;
    const struct sig_msg *m;
    struct wr *scratch;
    uint64_t id_hash; /* 0: the message has no id */
};

/* ---- router.c ---- */

/* A writer over the router's buffer for one body (sig_server.h). */
struct wr router_body(struct router *r);

/* Sends a body to a session, numbered and kept until acknowledged; id_hash marks a reply. A session
 * whose history can no longer be kept is closed with 1013 and ends at the next tick. */
void router_send(struct router *r, struct session *s, struct slice body, uint64_t id_hash);
/* Sends a body over a socket without a number. body must come from router_body(). */
void router_send_plain(struct router *r, struct client *c, const struct wr *body);

/* Answers a request: a body written by the caller, an error by code, or the reader's fault. Errors
 * go out only when the message has an id. */
void request_reply(const struct request *q, const struct wr *body);
void request_error(const struct request *q, const struct sig_error *e);
void request_fail(const struct request *q, enum sig_err code, const char *text);

/* ---- router_session.c ---- */

/* Brings the session's timer forward to what is due next. */
void router_arm(struct router *r, struct session *s);
/* The session has a socket (again): timers, presence, the ping interval. */
void router_attached(struct router *r, struct session *s, struct client *c);
/* Ends a session for good; event is what its calls are told: CLOSED, EXPIRED, or COUNT for nothing
 * (a newer session of the same device takes over). Frees s. */
void router_end(struct router *r, struct session *s, enum call_event_kind event);
/* Stores what others may see of s. */
void router_show(struct router *r, struct session *s);
/* Does what is due for one session; may free it. */
void router_session_tick(struct router *r, struct session *s);

/* ---- router_presence.c ---- */

/* Performs presence.subscribe, presence.unsubscribe or presence.set. */
void router_presence_request(const struct request *q);
/* Sends one watcher the changes that have been gathered; true when there was one. */
bool router_presence_tick(struct router *r);

/* ---- login.c ---- */

/* Performs hello: the socket gets its session, or an error and a close. */
void login_hello(struct router *r, struct client *c, const struct sig_msg *m, struct wr *scratch);
/* Performs auth.refresh. */
void login_refresh(const struct request *q);

/* ---- router_call.c ---- */

/* Performs a request on a call. */
void router_call_request(const struct request *q);
/* Performs turn.credentials. */
void router_turn_request(const struct request *q);
/* Tells the calls of s's device what happened to its session. */
void router_call_session(struct router *r, struct session *s, enum call_event_kind kind);
/* Performs what is due in the call table. */
void router_call_tick(struct router *r);

#endif
