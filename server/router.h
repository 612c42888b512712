/* The middle of sori-server: who is connected, which message goes where, what the call machine
 * wants.
 *
 * Pure: time and bytes come in as arguments; what goes out goes through client_ops. The same object
 * runs behind real sockets (ws_listener.c) and in the simulator (tests/sim).
 *
 *     router_clock(r, now, wall);        once per loop turn, before anything else
 *     client_new / client_recv / client_free
 *     router_tick(r);                    when router_deadline(r) has come
 *
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_ROUTER_H
#define SORI_SERVER_ROUTER_H

#include "base/metrics.h"
#include "base/timerwheel.h"
#include "base/tokenbucket.h"
#include "proto/sig_quality.h"
#include "server/node_lease.h"
#include "server/server_conf.h"

struct call_claims;
struct client;
struct device_dir;
struct far_login;
struct ledger;
struct node;
struct node_bus;
struct node_list;
struct presence_store;
struct push;
struct push_job;
struct push_out;
struct relay_media;
struct router;
struct session;
struct token_keys;

/* Classes of codecs and kinds of bad samples in the metrics of quality. */
enum { ROUTER_VOICE_OPUS, ROUTER_VOICE_G711, ROUTER_VOICE_OTHER, ROUTER_VOICES };
enum { ROUTER_BAD_MOS, ROUTER_BAD_LOSS, ROUTER_BAD_RTT, ROUTER_BAD_JITTER, ROUTER_BADS };

/* What the operator sees; one writer. */
struct router_counters {
    struct counter connections, sessions, calls; /* gauges */
    struct counter messages_in[SIG_TYPE_COUNT], messages_out, errors[SIG_ERR_COUNT];
    struct counter closes_protocol, closes_overload, closes_auth, closes_timeout, closes_replaced,
        closes_rate, closes_other;
    struct counter logins_ok, logins_refused, resumes_ok, resumes_lost;
    struct counter rate_limited, duplicates, ended[SIG_REASON_COUNT];
    struct counter rooms, participants;       /* gauges */
    struct counter rooms_hosted, room_guests; /* the same, of rooms that other nodes run */
    struct counter rooms_taken;               /* those of dead nodes that go on here */
    struct counter joins_ok, joins_failed, room_restarts;
    struct counter quality_accepted, quality_clamped, quality_refused; /* reports */
    struct counter quality_bad[ROUTER_BADS], quality_silence_ms;
    struct tally mos[SIG_ROUTE_COUNT][ROUTER_VOICES]; /* by path and codec */
    struct tally relay_mos;
    struct counter relay_media, relay_media_stray; /* relays' words of calls here, and of others */
};

/* keys: where the present token keys are found (they may be replaced between two turns); borrowed,
 * like conf. store: where users are, of many nodes (lent; whoever runs it calls router_clock()
 * before it tells anything); NULL: this node alone, in memory. NULL when memory is out. */
struct router *router_new(const struct server_conf *conf, struct token_keys *const *keys,
                          struct presence_store *store, uint64_t now_us, uint64_t wall_us);
/* All clients must be gone. NULL is allowed. */
void router_free(struct router *r);

/* Other nodes, as router_set_nodes() takes them. All borrowed. */
struct router_nodes {
    struct node_bus *bus;
    const struct call_claims *claims;
    /* Whether Redis is there, and what others say can be trusted; since when not (never yet: since
     * the start). */
    bool (*ready)(void *arg, uint64_t *away_us);
    /* Whether Redis is there: what happens here can be saved, also by a process that may have been
     * taken for dead (what is another's by now is told by the answer). */
    bool (*saves)(void *arg);
    enum node_alive (*alive)(void *arg, struct slice node, uint64_t epoch);
    /* For how long, at least, a process that is dead has been. */
    uint64_t (*dead_us)(void *arg, struct slice node, uint64_t epoch);
    /* How often others may have taken this process for dead, and what it had. */
    uint64_t (*lapses)(void *arg);
    /* What was lost in so many lapses is known: what others say may be heard again. */
    void (*known)(void *arg, uint64_t lapses);
    /* Sends what was asked of Redis before clients are sent anything: what they hear is saved. */
    void (*push)(void *arg);
    void *arg;
};
/* Lets calls go to users of other nodes. Before any client is there; the bus outlives the router,
 * or is quiet. False: memory is out. */
bool router_set_nodes(struct router *r, const struct router_nodes *nodes);

/* A service that pushes (apns_service.c): send and cancel as in push.h. */
struct router_push_service {
    int (*send)(void *arg, const struct push_job *job, struct push_out *out, char *id);
    void (*cancel)(void *arg, struct slice id);
    void *arg;
};
/* Lets devices register (in dir, lent) and rings who is not connected through service (lent; NULL:
 * nobody is pushed). Before any client is there. False: memory is out. */
bool router_set_push(struct router *r, struct device_dir *dir,
                     const struct router_push_service *service);
/* enter(arg) is called whenever an answer comes from Redis, before anything else: the shell sets
 * the clock, and sees to what is due at the end of the turn. */
void router_set_enter(struct router *r, void (*enter)(void *arg), void *arg);
/* Keeps records, devices and privacy requests in l (lent). enter(arg) is called whenever an answer
 * comes from it, before anything else: the shell sets the clock; sweep(arg) when there is something
 * for ledger_sweep() to do soon. Each may be NULL. Before any client is there, and before
 * router_set_push(). */
void router_set_ledger(struct router *r, struct ledger *l, void (*enter)(void *arg),
                       void (*sweep)(void *arg), void *arg);
/* The ring machine, for push_doubt(); NULL without router_set_push(). */
struct push *router_push(const struct router *r);

/* Sets the time of this turn. */
void router_clock(struct router *r, uint64_t now_us, uint64_t wall_us);
/* Next time that router_tick() is needed; CLOCK_NEVER: none. */
uint64_t router_deadline(const struct router *r);
void router_tick(struct router *r);

/* Tells every session to come back after a random part of spread_ms (server.goaway), and refuses
 * new ones from now on. */
void router_drain(struct router *r, uint64_t spread_ms);
bool router_draining(const struct router *r);
/* Whether nothing is under way that another node waits for: saves are answered, and sessions that
 * another has taken are told what it does not have. */
bool router_settled(const struct router *r);

/* Closes every client's socket with this code; sessions are kept for a resume. */
void router_close_all(struct router *r, enum sig_close code);

/* A pointer for the shell that runs the router. */
void router_set_owner(struct router *r, void *owner);
void *router_owner(const struct router *r);

/* The SFU nodes of [sfu] nodes, in their order, for their links (node_link.c), then those that were
 * added; NULL behind the last, and where one was dropped. */
struct node *router_node(const struct router *r, size_t i);
/* Adds one that has registered itself, and gives its index; SIZE_MAX: there are SERVER_SFU_MAX, or
 * memory is out. */
size_t router_node_add(struct router *r, const struct server_sfu *sfu);
/* Forgets it: its rooms start over on another one. Its link is gone before. */
void router_node_drop(struct router *r, size_t i);
/* Whether a node could take a room now that is not the one of this index. */
bool router_has_other_node(const struct router *r, size_t than);
/* A relay tells how media of a call fared: its ends' legs "relay", if the call is ours. */
void router_relay_media(struct router *r, const struct relay_media *m);
/* Relays to give to clients besides [turn] urls; lent, NULL: none. */
void router_set_relays(struct router *r, struct node_list *relays);

/* ---- for client.c ---- */

/* One whole text message. */
void router_message(struct router *r, struct client *c, struct slice text);
/* The client goes while its hello is asked for elsewhere. */
void router_resume_cancel(struct far_login *k);
/* s has lost its socket. */
void router_detached(struct router *r, struct session *s);
/* This turn's time, the wheel of the clients' timers, the counters. */
uint64_t router_now(const struct router *r);
struct timerwheel *router_wheel(struct router *r);
struct router_counters *router_count(struct router *r);
/* Counts a close by its code. */
void router_count_close(struct router *r, enum sig_close code);
/* Silence before a ping; time for hello. */
uint64_t router_ping_us(const struct router *r, bool in_call);
uint64_t router_hello_us(const struct router *r);
/* How many frames of any kind one socket may send. */
const struct bucket_rule *router_frames(const struct router *r);

#endif
