/* The router's body, shared by router.c (messages), router_session.c, router_presence.c,
 * router_call.c, router_room.c, router_room_say.c, router_sfu.c, router_operator.c and login.c
 * (hello, tokens) and by nobody else. SPDX-License-Identifier:
 * BSD-3-Clause */
#ifndef SORI_SERVER_ROUTER_PRIV_H
#define SORI_SERVER_ROUTER_PRIV_H

#include "server/call_quality.h"
#include "server/call_table.h"
#include "server/client.h"
#include "server/ice_servers.h"
#include "server/limit_table.h"
#include "server/node.h"
#include "server/presence.h"
#include "server/push.h"
#include "server/ring_token.h"
#include "server/room_table.h"
#include "server/router.h"
#include "server/session.h"

struct sfu_wait;

/* What a client is told to wait before it asks for an SFU again. */
#define ROUTER_SFU_RETRY_MS 2000
/* Of participants in one message. */
#define ROUTER_PEOPLE_BYTES 49152
/* How long after news were dropped it is looked whether there is room for room.state. */
#define ROUTER_STALE_US (500 * US_PER_MS)
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
    struct presence_store *store, *own_store; /* own_store: NULL when the shell has another */
    struct presence *presence;
    struct limit_table *login_failures;
    struct limit_table *invites_short, *invites_long, *pairs; /* by user; by user and callee */
    struct bucket admission;                                  /* of logins */
    struct bucket_rule logins, messages, candidates, frames, subscribes, records, quality, strikes;
    struct limit_table *joins; /* by user */
    struct reliable_limits reliable;
    struct room_table *rooms;
    struct node *nodes[SERVER_SFU_MAX]; /* NULL: that one is gone */
    size_t nodes_n;
    struct node_list *relays; /* those that registered themselves; NULL: none do */
    struct list waits;        /* struct sfu_wait: requests that an SFU has not answered yet */
    uint64_t stale_us;        /* when to look for seats that missed news */
    struct ctl_msg ctl;       /* the request to an SFU that is being made */
    uint8_t ids[CTL_PARTICIPANTS_MAX * (CTL_PARTICIPANT_MAX + 3) + 2];
    struct ledger *ledger;           /* NULL: nothing is kept */
    struct export_link *export_link; /* NULL: exports are not fetched from here */
    void (*enter)(void *arg), (*sweep)(void *arg);
    void *enter_arg;
    struct list record_waits, missed;          /* what waits for the ledger: record_wait, missed */
    struct htable watches_by_id;               /* struct quality_watch: how calls sound */
    struct list watches, watches_over;         /* the same: of live calls, of ended ones */
    struct device_dir *devices;                /* NULL: devices can't register */
    uint64_t expire_us;                        /* when to look for those that are forgotten */
    struct far *far;                           /* NULL: there are no other nodes */
    struct push *push;                         /* NULL: nobody is pushed */
    const struct router_push_service *service; /* its way out */
    struct token_keys *ring_keys;
    struct list bad_tokens; /* on their way to the ledger (router_push.c) */
    uint8_t ring_secret[RING_TOKEN_SECRET];
    struct router_counters count;
    bool draining;
    struct call_effects fx;
    uint8_t scratch[SIG_SCRATCH_BYTES];
    uint8_t ice[ICE_SERVERS_MAX];
    uint8_t out[1 + ROUTER_OUT_BYTES]; /* out[0] is '{': see router_body() */
};

/* A device whose session is on another node, and asks from there. */
struct far_who {
    struct slice node, user, device;
    uint64_t epoch;
    uint8_t session[SESSION_ID_BYTES];
    /* Of room requests: what the node says of its token. */
    struct slice name, bound;
    struct sig_room_perms perms;
    bool may_call;
};

/* One request under way: who asks, and what. */
struct request {
    struct router *r;
    struct client *c;  /* NULL: far, or its socket has gone while it waited */
    struct session *s; /* NULL: far */
    const struct far_who *far;
    const struct sig_msg *m;
    struct slice text; /* the whole message */
    struct wr *scratch;
    uint64_t id_hash; /* 0: the message has no id */
};

static inline struct slice request_user(const struct request *q)
{
    return q->far ? q->far->user : user_id(q->s->user);
}

static inline struct slice request_device(const struct request *q)
{
    return q->far ? q->far->device : session_device(q->s);
}

/* The session that asks, wherever it is. */
static inline const uint8_t *request_session(const struct request *q)
{
    return q->far ? q->far->session : q->s->id;
}

/* What its token says: the display name, whether it may call. */
static inline struct slice request_name(const struct request *q)
{
    return q->far ? q->far->name : session_name(q->s);
}

static inline bool request_may_call(const struct request *q)
{
    return q->far ? q->far->may_call : q->s->may_call;
}

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
/* A presence_replaced_fn of the router: another node has a newer session of this device. */
void router_replaced(void *arg, struct slice user, struct slice device,
                     const uint8_t session[PRESENCE_SESSION_BYTES]);
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
void login_hello(struct router *r, struct client *c, const struct sig_msg *m, struct wr *scratch,
                 struct slice text);
/* The hello that was asked for elsewhere goes on: with the session that was made again, or NULL. */
void login_go_on(struct router *r, struct client *c, const struct sig_msg *m,
                 const struct sig_hello *h, struct session *taken);
/* It cannot be told now whether its session lives. */
void login_try_later(struct router *r, struct client *c, const struct sig_msg *m);
/* Performs auth.refresh. */
void login_refresh(const struct request *q);

/* ---- router_call.c ---- */

/* Performs a request on a call. */
void router_call_request(const struct request *q);
/* Performs turn.credentials. */
void router_turn_request(const struct request *q);
/* Tells the calls of s's device what happened to its session. */
void router_call_session(struct router *r, struct session *s, enum call_event_kind kind);
/* Tells a call how it stands with those who are pushed for it. */
void router_call_pushed(struct router *r, const struct push_news *news);
/* Performs what is due in the call table. */
void router_call_tick(struct router *r);
/* The session of a device, or NULL. */
struct session *router_find_session(const struct router *r, struct slice user, struct slice device);
/* Whether the device is in a call or a room (5 s pings). */
bool router_in_call(const struct router *r, const struct session *s);
/* Sees to it that pings come as often as they should. */
void router_update_in_call(struct router *r, struct session *s);
/* Whether s can take what another user sends it: flooded, it keeps what is its own instead. */
bool router_has_room(const struct router *r, const struct session *s, size_t bytes);
struct router_invite;
/* Rings one user into a room, by a call of this id. more: what is known beyond this node. Returns
 * SIG_OK, or why not. */
enum sig_err router_ring_into(const struct request *q, const struct room *room, struct slice user,
                              const struct sig_room_invite *in, struct slice room_raw,
                              const struct router_invite *more, const struct sig_call_id *call);
/* Draws a random call id. */
void router_new_call_id(struct sig_call_id *id);
/* Ends a call by the server's will. False when there is no such live call. */
bool router_call_end(struct router *r, const struct sig_call_id *id, enum sig_reason reason);

/* What is known of an invite beyond this node. */
struct router_invite {
    const struct call_device *devices; /* on other nodes */
    size_t devices_n;
    size_t busy, calls; /* as in struct call_invite */
    bool crosses;       /* it crosses a call of this node that has this id (CROSS) */
    struct sig_call_id first;
    struct slice name; /* the caller's, when q is far */
};
/* Makes the call. Returns whether there is one of q's id that lives. */
bool router_invite_now(const struct request *q, const struct sig_invite *in,
                       const struct router_invite *more);
/* Performs a request on a call of this node. */
void router_call_perform(const struct request *q);
/* Tells one call what happened to a device's session on another node. */
bool router_call_device(struct router *r, const struct sig_call_id *id, const struct call_event *ev,
                        bool can_wait);

/* ---- router_far.c, router_far_say.c, router_far_ask.c, router_nodes.c, router_away.c ---- */

/* Forgets other nodes; also when router_set_nodes() was never called. */
void router_far_free(struct router *r);
/* A device of a call of ours is on another node. */
void router_far_place(struct router *r, const struct sig_call_id *id, struct slice user,
                      struct slice device, struct slice node, uint64_t epoch);
void router_far_unplace(struct router *r, const struct sig_call_id *id, struct slice user,
                        struct slice device);
/* Says an effect to a device on another node; body: the message. */
void router_far_say(struct router *r, const struct call_fx *fx, struct slice body);
/* A message of so many bytes for the device finds no room: it is away, and much waits for it. */
bool router_far_full(const struct router *r, const struct sig_call_id *id, struct slice user,
                     struct slice device, size_t bytes);
/* The device of a call of ours is on another node, and takes part in rooms. */
bool router_far_can_rooms(const struct router *r, const struct sig_call_id *id, struct slice user,
                          struct slice device);
/* The device has come (back) here with its session: what waited for it is said to it. */
void router_far_arrive(struct router *r, struct session *s);
/* Answers a far request. */
void router_far_reply(const struct request *q, struct slice body);
/* A call of ours has changed from that state. */
void router_far_changed(struct router *r, const struct call *c, enum sig_call_state before);
/* Takes a request to the node that runs the call. False: it is not known elsewhere. */
bool router_far_ask(const struct request *q);
/* Its answer is still under way. */
bool router_far_waits(const struct router *r, const struct session *s, uint64_t id_hash);
/* Tells the calls that other nodes run what happened to s's session; COUNT: it makes way. */
void router_far_session(struct router *r, struct session *s, enum call_event_kind kind);
/* The device has a part in a call that another node runs. */
bool router_far_in_call(const struct router *r, struct slice user, struct slice device);
/* The call in which the device talks with this user, run elsewhere: its node is told that the
 * device dials anew. True: there was one. */
bool router_far_supersede(struct router *r, struct slice user, struct slice device,
                          const struct sig_call_id *id);
uint64_t router_far_deadline(const struct router *r);
void router_far_tick(struct router *r);

/* ---- router_far_invite.c ---- */

/* An invite whose callee may be elsewhere, or busy there: it is made later. False: make it now. */
bool router_far_invite(const struct request *q, const struct sig_invite *in);
/* The request is about a call whose invite, or whose node, is still asked for: it waits. */
bool router_far_hold(const struct request *q);
/* A request of that id waits. */
bool router_far_held(const struct router *r, const struct session *s, uint64_t id_hash);
/* Looks for the node of a call that is not known here; when that cannot be done now, the request is
 * answered so. False: there are no other nodes. */
bool router_far_look(const struct request *q);
/* A session is new: calls elsewhere that ring for its user, or have its device, hear of it. */
void router_far_greet(struct router *r, const struct session *s);
/* The device of the callee whose invite is being made is connected elsewhere. */
bool router_far_connected(const struct router *r, struct slice user, struct slice device);
void router_far_holds_free(struct router *r);
uint64_t router_far_holds_deadline(const struct router *r);
void router_far_holds_tick(struct router *r);

/* The same for calls of its whose node is gone: the next one is looked for. */
void router_far_greet_again(struct router *r, const struct session *s);

/* A session of another node goes on here: the same, but it has heard of its calls. */
void router_far_greet_back(struct router *r, const struct session *s);

/* ---- router_far_room.c: rooms that other nodes run ---- */

/* Takes a room request to the node that runs the room, which may have to be asked for first. False:
 * that is this one, or nobody else is there. */
bool router_far_room(const struct request *q);
/* Its answer is still under way. */
bool router_far_room_waits(const struct router *r, const struct session *s, uint64_t id_hash);
/* Tells the rooms that other nodes run what happened to s's session. */
void router_far_room_session(struct router *r, struct session *s, enum room_session what,
                             enum room_reason reason);
/* The device has a seat in a room that another node runs. */
bool router_far_room_has(const struct router *r, const struct session *s);
/* The end of syncs waits, and comes with a tick. */
bool router_far_sync_waits(struct router *r);
/* Rooms in which the session has a seat, each followed by a space; and a session that comes from
 * another node has them again. */
void router_far_room_list(const struct router *r, const struct session *s, struct wr *w);
void router_far_room_resume(struct router *r, struct session *s, struct slice rooms);

/* ---- router_far_seat.c: seats of our rooms at other nodes ---- */

/* Where the session of whoever asks is. */
void router_seat_place(struct seat *s, const struct request *q);
/* Says a body to a seat that is THERE; flags: ROOM_WIRE_FOREIGN, ROOM_WIRE_OUT or 0. False: it
 * could not be sent. */
bool router_seat_say(struct router *r, const struct seat *s, struct slice body, unsigned flags);
/* Says it to all seats of the room that are THERE, but the one it is about (may be NULL). */
void router_seat_cast(struct router *r, struct room *room, const struct seat *about,
                      struct slice body, bool plain);
/* Answers a request of a session there. */
void router_seat_reply(struct router *r, const struct sfu_wait *w, struct slice body);
void router_far_room_reply(const struct request *q, struct slice body);

/* The session of seats that are here goes on at another node. */
void router_seat_adrift(struct router *r, const struct session *s);

/* ---- router_far_ring.c ---- */

/* room.invite: where the users are is asked first. False: it can be made now. */
bool router_far_ring(const struct request *q, struct slice users);
/* Its answer is still under way; with other nodes only. */
bool router_far_ring_waits(const struct router *r, const struct session *s, uint64_t id_hash);
/* Rings one user into a room. Returns SIG_OK with *call, or why not. */
enum sig_err router_far_ring_one(const struct request *q, const struct room *room,
                                 struct slice user, const struct sig_room_invite *in,
                                 struct slice card, struct sig_call_id *call);

/* ---- router_room_keep.c: rooms in Redis ---- */

/* What is saved of the room (s NULL) or of a seat has changed, or the seat ends. */
void router_room_changed(void *arg, struct room *room, struct seat *s, bool gone);
void router_room_ended(void *arg, struct room *room);

/* ---- router_resume.c ---- */

/* Something of s changed that a resume elsewhere has to know: saved at the end of the turn. */
void router_saves(struct router *r, struct session *s);
/* The same when it is more than numbers and messages: tokens, the socket, whom it watches. */
void router_saves_whole(struct router *r, struct session *s);
/* It may wait a second, or until something else is saved: the client has not been told of it. */
void router_saves_soon(struct router *r, struct session *s);
/* s ends. */
void router_saves_end(struct router *r, struct session *s);
/* With other nodes only: all are saved anew; what is due; whether something is; the next that may
 * wait. */
void router_saves_all(struct router *r);
void router_saves_tick(struct router *r, bool ready);
bool router_saves_wait(const struct router *r);
uint64_t router_saves_deadline(const struct router *r);
/* Looks for the session that hello wants to go on with at other nodes. text: the whole message.
 * False: it is not asked for; go on without. */
bool router_resume_ask(struct router *r, struct client *c, const struct sig_hello *h,
                       struct slice text);
void router_resume_free(struct router *r);

/* ---- router_keep.c ---- */

/* A call of ours may have changed: it is saved at the end of the turn. */
void router_keep(struct router *r, const struct sig_call_id *id);
/* With other nodes only. */
uint64_t router_keep_deadline(const struct router *r);
void router_keep_tick(struct router *r);
void router_keep_free(struct router *r);

/* ---- router_push.c ---- */

/* Makes what a ring token needs. False: memory is out, or there is no randomness. */
bool router_push_init(struct router *r);
void router_push_fini(struct router *r);
/* How many devices of the user would be woken for a call that is made now. */
unsigned router_push_count(struct router *r, struct slice user);
/* A call was made: wakes who sleeps. */
void router_push_begin(struct router *r, const struct sig_call_id *id);
/* It was answered, or has ended: `before` is what it was. */
void router_push_changed(struct router *r, const struct call *c, enum sig_call_state before);
/* A call was not even made (busy, unreachable), or has ended missed: tells the callee. */
void router_push_missed(struct router *r, const struct push_call *call, unsigned badge);
/* A device said call.info with this data: a hold is shown by Live Activities. */
void router_push_info(struct router *r, struct slice user, struct slice device,
                      const struct sig_call_id *id, struct slice data);
/* Something happened to s's device, before (LOST, CLOSED, EXPIRED) or after (the rest) the calls
 * were told. */
void router_push_session(struct router *r, const struct session *s, enum call_event_kind kind);
/* A device spoke of the call. */
void router_push_spoke(struct router *r, struct slice user, struct slice device,
                       const struct sig_call_id *call);
/* The same as router_push_session() for a device on another node. */
void router_push_far(struct router *r, struct slice user, struct slice device,
                     const struct sig_call_id *call, enum call_event_kind kind);
uint64_t router_push_deadline(const struct router *r);
void router_push_tick(struct router *r);

/* ---- router_record.c ---- */

/* Requests that wait for the ledger: none yet; dropped without an answer. */
void router_record_init(struct router *r);
void router_record_fini(struct router *r);
/* An answer of the ledger has come: the shell's clock. */
void router_enter(struct router *r);
/* Performs device.*, history.* and privacy.*. */
void router_record_request(const struct request *q);
/* Its answer is still under way. */
bool router_record_waits(const struct router *r, const struct session *s, uint64_t id_hash);
/* s's device said hello. */
void router_record_hello(struct router *r, const struct session *s);
/* Forgets devices and tokens whose time is over. */
uint64_t router_record_deadline(const struct router *r);
void router_record_tick(struct router *r);

/* ---- router_history.c ---- */

/* Missed calls that wait for the ledger: the same. */
void router_history_init(struct router *r);
void router_history_fini(struct router *r);
/* A call was answered, or has ended: keeps its record, tells the callee that it was missed. */
void router_history_changed(struct router *r, const struct call *c, enum sig_call_state before);
/* An invite was refused: the callee is busy, or can't be reached. */
void router_history_refused(struct router *r, const struct push_call *call, bool into_room,
                            enum sig_err why);
/* The path of a call that has ended, which was written as was, is another one. */
void router_history_again(struct router *r, const struct call *c, enum ledger_path was);
/* Somebody is in a room with media (NONE), or leaves it: the stay becomes a record. */
void router_history_stay(struct router *r, struct seat *s, enum room_reason why);
/* The server stops: the stays of all who are in rooms end. */
void router_history_stop(struct router *r);
static inline bool router_has_stay(const struct seat *s)
{
    return !sig_call_id_eq(&s->stay, &(struct sig_call_id){{0}});
}

/* ---- router_quality.c ---- */

/* False: memory is out. */
bool router_quality_init(struct router *r);
void router_quality_fini(struct router *r);
/* Performs call.quality. */
void router_quality_request(const struct request *q);
/* A call has ended: its summaries are written. */
void router_quality_ended(struct router *r, const struct call *c);
/* How the call's media goes, as far as its ends have told. */
enum ledger_path router_quality_path(const struct router *r, const struct sig_call_id *id);
/* The SFU has judged members of the room. */
void router_quality_room(struct router *r, const struct room *room, const struct ctl_msg *m);
/* s leaves: the summary of its stay. */
void router_quality_left(struct router *r, const struct seat *s);
uint64_t router_quality_deadline(const struct router *r);
void router_quality_tick(struct router *r);

/* ---- router_room.c ---- */

/* Performs a room request; or takes it to the node that runs the room. */
void router_room_request(const struct request *q);
/* Performs it here: the room is run by this node, or by none. */
void router_room_perform(const struct request *q);
/* Performs room.invite: all is known that can be. */
void router_room_invite_now(const struct request *q);
/* Whether the request's user may join now: takes from the limit, and answers if not. */
bool router_room_within_joins(const struct request *q);
/* Tells the rooms of s's device what happened to its session. */
void router_room_session(struct router *r, struct session *s, enum room_session what,
                         enum room_reason reason);
/* Rooms' own time. */
uint64_t router_room_deadline(const struct router *r);
void router_room_tick(struct router *r);

/* ---- router_room_say.c ---- */

extern const struct room_ops router_room_ops;
/* `people` and what follows them: participants as many as fit; from: where to go on, NULL = from
 * the first. Gives where to go on, NULL at the end. */
const struct list *router_room_people(struct wr *w, const struct room *room,
                                      const struct seat *self, const struct list *from);
void router_room_write_tracks(struct wr *w, const struct seat *s);
void router_room_write_slots(struct wr *w, const struct seat *s);
void router_room_write_person(struct wr *w, const char *key, const struct seat *s, bool tracks);
/* Sends what did not fit behind a reply: room.state parts. */
void router_room_rest(struct router *r, struct seat *seat, const struct list *from);
/* room.state, whole; later when it can't be now. */
void router_room_send_state(struct router *r, struct seat *seat);
/* The seat missed news: room.state is due. */
void router_room_missed(struct router *r, struct seat *seat);
/* Writes room.closed. */
void router_room_write_closed(struct wr *w, struct slice room, enum room_reason reason);
/* An event of the SFU that is passed on without being kept: layers, negotiate, speakers, quality.
 */
void router_room_pass(struct router *r, struct room *room, const struct ctl_msg *m);

/* ---- router_sfu.c ---- */

/* What nodes tell. */
extern const struct node_ops router_sfu_ops;
/* Ends a wait without an answer. */
void router_sfu_drop_wait(struct sfu_wait *w);

/* ---- router_sfu_nodes.c ---- */

/* Makes the nodes of the configuration. False: memory is out. */
bool router_sfu_init(struct router *r);
void router_sfu_fini(struct router *r);
/* Gives the room a node if it has none. False: there is no usable one. */
bool router_sfu_place(struct router *r, struct room *room);
/* Some node could take a room now. */
bool router_sfu_usable(const struct router *r);

/* ---- router_sfu.c, the rest ---- */

/* A request of a client that waits for the SFU's answer. */
struct sfu_wait {
    struct list link;
    enum ctl_type type;
    enum sig_type request;
    bool joins; /* a join, or a fresh offer */
    uint8_t session[SESSION_ID_BYTES];
    uint64_t id_hash;
    bool far; /* who asks is at another node */
    uint64_t node_epoch;
    uint8_t node_len;
    uint8_t node[SEAT_NODE_MAX];
    uint8_t id_len, participant_len, room_len, track_len;
    char id[SIG_ID_MAX], participant[CTL_PARTICIPANT_MAX], room[SIG_ROOM_MAX], track[CTL_TRACK_MAX];
};
/* Sends r->ctl about seat for the request; its answer is the client's. joins, track: as in
 * sfu_wait. False: the request was answered with an error. */
bool router_sfu_ask(const struct request *q, struct seat *seat, bool joins, struct slice track);
/* Sends r->ctl, whose answer nobody waits for. */
void router_sfu_tell(struct router *r, const struct room *room);
/* Asks the room's node for the room that another server, which is gone, had on it; or its media
 * starts over. */
void router_sfu_adopt(struct router *r, struct room *room, struct slice from);
/* The answer to this request is still under way. */
bool router_sfu_waits(const struct router *r, const struct session *s, uint64_t id_hash);

#endif
