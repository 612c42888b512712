/* Calls and rooms over several nodes inside of the router: shared by router_far*.c, router_nodes.c,
 * router_away.c, router_keep.c, router_resume.c and router_room*.c. Nobody else includes it.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_ROUTER_FAR_PRIV_H
#define SORI_SERVER_ROUTER_FAR_PRIV_H

#include "base/hash.h"
#include "base/htable.h"
#include "server/call_claims.h"
#include "server/call_snapshot.h"
#include "server/far_wire.h"
#include "server/node_bus.h"
#include "server/room_wire.h"
#include "server/router_priv.h"
#include "server/session_share.h"

/* A device and a call, of which one is here and the other on a node: of a call of ours, a device
 * there (owner's side); of a device of ours, the call there (host's side). */
struct far_leg {
    struct hnode by_call, by_device;
    struct list link; /* far.legs, or far.over in the order of their ends */
    struct sig_call_id call;
    bool host;
    bool confirmed;    /* host: the device has heard of the call here */
    bool orphan;       /* host: its node is gone, the next one is looked for */
    bool over;         /* host: the device was told its end. owner: the host was */
    bool can_rooms;    /* owner: the device takes part in rooms */
    bool away;         /* owner: nobody knows where the device is: what it is said waits in texts */
    struct list texts; /* struct far_held: bodies of SAY (router_away.c) */
    size_t texts_n, bytes;
    uint64_t forget_us;
    uint64_t orphan_us; /* since when it is one */
    uint64_t epoch;     /* of the node's process */
    /* owner: the device's messages that its node has asked to be done, by their numbers in its
     * session: the greatest, and of the 64 up to it those that were (bit 0: the greatest itself).
     */
    uint64_t asked_top, asked, asked_epoch;
    uint8_t asked_session[SESSION_ID_BYTES];
    uint8_t user_len, device_len, node_len;
    uint8_t user[SIG_USER_MAX], device[SIG_DEVICE_MAX], node[NODE_BUS_NODE_MAX];
};

/* Where a call went that was run here, or a device that was connected here (call: zero). */
struct far_trace {
    struct hnode by_key;
    struct list link; /* far.traces, oldest first */
    uint64_t key;
    struct sig_call_id call;
    uint64_t epoch, forget_us;
    uint8_t node_len, node[NODE_BUS_NODE_MAX];
};

/* A request of a session here that another node is to answer. */
struct far_wait {
    struct list link;
    uint8_t session[SESSION_ID_BYTES];
    uint64_t id_hash, epoch;
    struct sig_call_id call;
    uint8_t id_len, node_len, room_len; /* room_len > 0: of a room, not of a call */
    uint8_t id[SIG_ID_MAX], node[NODE_BUS_NODE_MAX], room[SIG_ROOM_MAX];
};

/* A session here and a room that another node runs. */
struct far_seat {
    struct hnode by_room, by_session;
    struct list link; /* far.seats */
    uint8_t session[SESSION_ID_BYTES];
    uint64_t epoch; /* of the node's process */
    bool in;        /* it has a seat there */
    bool orphan;    /* its node is gone, or not known: the next one is looked for */
    bool missed;    /* news were dropped: the node is to know when there is room */
    unsigned joins; /* that are not answered yet */
    uint8_t room_len, node_len, participant_len;
    uint8_t room[SIG_ROOM_MAX], node[NODE_BUS_NODE_MAX], participant[CTL_PARTICIPANT_MAX];
};

static inline struct slice far_seat_room(const struct far_seat *s)
{
    return slice_of(s->room, s->room_len);
}
static inline struct slice far_seat_node(const struct far_seat *s)
{
    return slice_of(s->node, s->node_len);
}

struct far_invite;

#define FAR_ANSWER_US     (5 * US_PER_S)  /* a question to Redis: a failover is over by then */
#define FAR_ORPHAN_US     (15 * US_PER_S) /* somebody goes on with a dead node's call by then */
#define FAR_FOUND_MAX     16              /* calls of one user elsewhere that are looked at */
#define FAR_ADOPT_US      (10 * US_PER_S) /* after a start: others see by then whose place it takes */
#define FAR_ROOM_BODY_MAX 65536           /* of a room that is saved, at once */
#define FAR_RETRY_MS      1000 /* what a client is told to wait when nobody can answer now */

struct far {
    struct router_nodes nodes;
    struct htable by_call, by_device; /* struct far_leg */
    struct list legs, over, waits;
    struct list holds; /* struct far_hold: router_far_invite.c */
    const struct far_invite *making;
    /* router_far_room.c, router_room_keep.c */
    struct htable seats_by_room, seats_by_session; /* struct far_seat */
    struct list seats, looks, dirty_rooms, room_saves;
    struct list rings;         /* struct room_ring: router_far_ring.c */
    struct list rooms_left;    /* struct room_left: router_room_keep.c */
    struct room_ring *ringing; /* the one that is performed */
    bool sync_waits;
    uint64_t sync_end_us;         /* until then rooms of a former process may be taken over */
    uint64_t renew_us, missed_us; /* missed_us: when to look whether there is room again */
    uint8_t room_body[FAR_ROOM_BODY_MAX];
    uint64_t said; /* messages for devices elsewhere: the last one's number */
    /* router_far_trace.c */
    struct htable traces_by_key;
    struct list traces;
    size_t traces_n;
    /* router_resume.c */
    struct list dirty_sessions, soon_sessions, saves, logins;
    uint8_t record[SESSION_SHARE_RECORD_MAX];
    /* router_keep.c */
    struct list steps, sweeps;
    struct sig_call_id dirty[512]; /* calls to be saved at the end of the turn */
    size_t dirty_n;
    bool was_ready, was_ever, saved, nodes_asked; /* saved: with the present connection */
    size_t asking; /* whose our calls and rooms are, after a lapse: answers that have not come */
    bool ask_failed, rooms_ask; /* one of them was none; rooms are saved to ask */
    uint64_t back_us;           /* since when Redis is there again; 0: it was never away */
    uint64_t lapses;            /* at the last time that all was saved */
    uint64_t look_us, join_us;
    struct redis_call nodes_call;
    uint8_t snapshot[CALL_SNAPSHOT_MAX];
    uint8_t body[ROOM_WIRE_HEAD_MAX + 2 * SIG_LARGE_BYTES + ICE_SERVERS_MAX];
};

static inline struct slice far_leg_user(const struct far_leg *l)
{
    return slice_of(l->user, l->user_len);
}
static inline struct slice far_leg_device(const struct far_leg *l)
{
    return slice_of(l->device, l->device_len);
}
static inline struct slice far_leg_node(const struct far_leg *l)
{
    return slice_of(l->node, l->node_len);
}
/* Whether that process has it. */
static inline bool far_leg_at(const struct far_leg *l, struct slice node, uint64_t epoch)
{
    return l->epoch == epoch && slice_eq(far_leg_node(l), node);
}
/* Keys of tables. */
static inline uint64_t far_call_key(const struct sig_call_id *call)
{
    return hash_bytes(slice_of(call->b, sizeof(call->b)));
}
static inline uint64_t far_device_key(struct slice user, struct slice device)
{
    return hash_bytes(user) * 31 + hash_bytes(device);
}
static inline struct slice far_trace_node(const struct far_trace *t)
{
    return slice_of(t->node, t->node_len);
}
static inline bool far_leg_is(const struct far_leg *l, struct slice user, struct slice device)
{
    return slice_eq(far_leg_user(l), user) && slice_eq(far_leg_device(l), device);
}

/* The leg, or NULL. host: which side of it is ours. */
struct far_leg *far_find(const struct far *f, const struct sig_call_id *call, struct slice user,
                         struct slice device, bool host);
/* Finds or makes it, and names the node; of a device of a call of ours it may be empty. NULL:
 * memory is out. */
struct far_leg *far_need(struct far *f, const struct sig_call_id *call, struct slice user,
                         struct slice device, bool host, struct slice node, uint64_t epoch);
/* Sends m to a node. Returns as node_bus_send(). */
int far_send(struct router *r, struct slice node, uint64_t epoch, const struct far_message *m);

/* A message that waits. */
struct far_held {
    struct list link;
    uint64_t id_hash;
    size_t len;
    uint8_t text[];
};

enum far_hold_kind { FAR_HOLD_INVITE, FAR_HOLD_REQUEST, FAR_HOLD_GREETING };

/* A question under way for a session. */
struct far_hold {
    struct list link;
    struct router *r;
    enum far_hold_kind kind;
    uint8_t session[SESSION_ID_BYTES];
    struct sig_call_id call;
    bool only_call; /* GREETING: this call alone */
    bool back;      /* GREETING: it goes on, nothing is said to it again */
    bool orphans;   /* GREETING: only calls whose node is gone; REQUEST: that of its call is */
    uint64_t by_us, settled_us, again_us;
    unsigned open;     /* answers that have not come */
    bool failed;       /* one of them is none */
    struct list texts; /* struct held: the request itself, and what came behind it */
    size_t texts_n, bytes;
    struct redis_call look; /* the user's calls; of an invite the caller's */
    struct {
        struct sig_call_id call;
        uint64_t epoch;
    } told[FAR_FOUND_MAX]; /* GREETING: the nodes that know of it */
    size_t told_n;
    size_t found_n; /* REQUEST, only_call: of that call alone */
    struct call_claim found[FAR_FOUND_MAX];
    uint8_t memory[FAR_FOUND_MAX * CALL_CLAIMS_TEXT_MAX];
    size_t memory_len;
};

/* The device of the callee on another node. */
struct far_there {
    uint64_t epoch;
    bool attached, can_wait, can_rooms;
    uint8_t device_len, node_len;
    uint8_t device[SIG_DEVICE_MAX], node[NODE_BUS_NODE_MAX];
};

struct far_invite {
    struct far_hold hold;
    struct redis_call pair, user;
    struct presence_lookup lookup;
    bool looking, replaced; /* replaced: the pair of a dead call was taken over once */
    bool orphans;           /* the callee's node has died: its devices are about to be elsewhere */
    bool looked_again;      /* nobody was found, and has been looked for once more */
    uint8_t from_len, to_len, pair_len;
    uint8_t from[SIG_USER_MAX], to[SIG_USER_MAX], pair_text[CALL_CLAIMS_TEXT_MAX];
    size_t busy_n, there_n;
    struct call_claim busy[FAR_FOUND_MAX];
    struct far_there there[PRESENCE_DEVICES_MAX];
};

static inline struct far_invite *far_invite_of(struct far_hold *h)
{
    return CONTAINER_OF(h, struct far_invite, hold);
}

static inline struct slice far_invite_callee(const struct far_invite *i)
{
    return slice_of(i->to, i->to_len);
}

/* ---- router_far.c ---- */

/* Tells that node that the call, of which it has that device, is run there. */
void far_elsewhere(struct router *r, struct slice node, uint64_t epoch,
                   const struct sig_call_id *call, struct slice user, struct slice device,
                   const struct far_trace *where);
/* Tells the node of a call what happened to a device here. */
void far_tell(struct router *r, const struct far_leg *l, enum call_event_kind kind, bool can_wait);
/* The device hears that the node of its call is gone, and nobody goes on with it. Drops l. */
void far_orphan_end(struct router *r, struct far_leg *l);
/* Forgets a leg. */
void far_drop(struct far *f, struct far_leg *l);
/* A body has come from another node. */
void far_take(struct router *r, struct slice node, uint64_t epoch, struct slice body);

/* A leg of a call of ours with this device, or NULL. */
struct far_leg *far_next_of(const struct far *f, struct slice user, struct slice device);

/* Of a call of ours: what the message tells of its device, which has spoken from there. */
void far_learn(struct router *r, const struct far_message *m);

/* ---- router_far_say.c ---- */

/* A message for a device of ours. */
void far_take_say(struct router *r, struct slice node, uint64_t epoch, const struct far_message *m);

/* ---- router_far_ask.c ---- */

/* far_need() for a device here: the node runs the call (now). What another has not acknowledged of
 * the device's requests is asked of this one, before anything newer. */
struct far_leg *far_host(struct router *r, const struct sig_call_id *call, struct slice user,
                         struct slice device, struct slice node, uint64_t epoch);
/* Answers that it is not known now where the call is: it may be tried again. */
void far_unavailable(const struct request *q);
/* Sends the request to the node that runs the call; its answer is waited for. */
void far_ask(const struct request *q, struct slice node, uint64_t epoch, enum far_kind kind,
             const struct sig_call_id *call);
/* Forgets that an answer is waited for. */
void far_wait_drop(struct far_wait *w);
/* The wait for the answer to that request, or NULL. */
struct far_wait *far_wait_find(const struct far *f, const uint8_t session[SESSION_ID_BYTES],
                               uint64_t id_hash);
/* A request of a device there on a call of ours, or its invite that crosses one. */
void far_take_ask(struct router *r, struct slice node, uint64_t epoch, const struct far_message *m);

/* ---- router_keep.c ---- */

/* After a lapse it was answered whose a call or room of ours is. */
void far_known(struct router *r, bool failed);
/* Another node says that it has taken the call, as from a dead process: not ours any more. */
void router_keep_taken(struct router *r, const struct sig_call_id *id, struct slice node,
                       uint64_t epoch);

/* ---- router_far_trace.c ---- */

/* Remembers for a minute where it went. Memory out: others have to look for it. */
void far_trace_call(struct router *r, const struct sig_call_id *call, struct slice node,
                    uint64_t epoch);
void far_trace_device(struct router *r, struct slice user, struct slice device, struct slice node,
                      uint64_t epoch);
/* NULL: it is not known. */
const struct far_trace *far_trace_of_call(const struct far *f, const struct sig_call_id *call);
const struct far_trace *far_trace_of_device(const struct far *f, struct slice user,
                                            struct slice device);
/* The call is here again. */
void far_trace_forget(struct far *f, const struct sig_call_id *call);
/* The call is that process's: we were taken for dead. Our devices in it go on as its guests. */
void far_call_lose(struct router *r, const struct sig_call_id *id, struct slice node,
                   uint64_t epoch);
void far_traces_tick(struct router *r);
void far_traces_free(struct far *f);

/* ---- router_resume.c ---- */

/* The session goes on at that process, which has its messages up to a number: it is given the
 * others. */
void router_resume_forward(struct router *r, struct session *s, struct slice node, uint64_t epoch,
                           uint64_t has);

/* ---- router_away.c ---- */

/* Whether a message of so many bytes can wait for the device; keeps one; forgets all. */
bool far_away_fits(const struct far_leg *l, size_t bytes);
bool far_away_push(struct far_leg *l, struct slice body);
void far_away_drop(struct far_leg *l);
/* From now on what the device is said waits, first what its node has not acknowledged. */
void far_away_begin(struct router *r, struct far_leg *l);
/* The device is at the leg's node: that is told what has waited. */
void far_away_end(struct router *r, struct far_leg *l);

/* ---- router_far_hold.c ---- */

/* Begins an empty one, zeroed before, for a session; call: NULL of a greeting. */
void far_hold_init(struct far_hold *h, struct router *r, const struct session *s,
                   enum far_hold_kind kind, const struct sig_call_id *call);
/* Frees it with what embeds it. What waited is lost: far_hold_replay() performs it. */
void far_hold_free(struct far_hold *h);
bool far_hold_push(struct far_hold *h, struct slice text, uint64_t id_hash);
/* Performs what waited for s, from the first or from what came behind it. Frees h. */
void far_hold_replay(struct far_hold *h, struct session *s, bool first_too);
/* Goes on if all is there, or time is up. May free h. */
void far_hold_look_at(struct far_hold *h);
/* A request of a device here that its node, which is gone, has not acknowledged: it waits until the
 * call has a new node, and is asked of that one. Always true: the bus forgets it. */
bool far_hold_take_back(struct router *r, const struct far_message *m);
/* A redis_done_fn for h->look. */
void far_hold_on_look(struct redis_call *call, enum redis_end end, const struct resp *reply,
                      uint64_t now_us);
/* Takes the calls out of the answer of call_claims_look(); of an invite those that were there
 * before its own. */
void far_hold_take(struct far_hold *h, const struct resp *reply, struct call_claim *out, size_t *n);
/* Whether the answer says that there are calls before the invite's own. */
bool far_hold_not_first(enum redis_end end, const struct resp *reply);
/* Whether asking makes sense: Redis is there, or (not in_haste) has not been away for long. */
bool far_hold_may_ask(const struct router *r, bool in_haste);
bool far_claim_is_ours(const struct far *f, const struct call_claim *c);
enum node_alive far_claim_alive(const struct far *f, const struct call_claim *c);

/* ---- router_far_room.c: the host's side of rooms ---- */

/* What other nodes say of rooms that they run; or what comes back to us. */
void far_room_take(struct router *r, struct slice node, uint64_t epoch,
                   const struct room_message *m);
/* The node is gone: what it has not acknowledged (true: it is forgotten there), and the rooms that
 * it ran. */
bool far_room_take_back(struct router *r, struct slice body);
void far_room_gone(struct router *r, struct slice node, uint64_t epoch);
/* Sends m to a node. Returns as node_bus_send(). */
int far_room_send(struct router *r, struct slice node, uint64_t epoch,
                  const struct room_message *m);
/* The session has a seat in a room that the node runs. NULL: memory is out. */
struct far_seat *far_seat_need(struct router *r, struct slice room,
                               const uint8_t session[SESSION_ID_BYTES], struct slice node,
                               uint64_t epoch);
struct far_seat *far_seat_find(const struct far *f, struct slice room,
                               const uint8_t session[SESSION_ID_BYTES]);
/* Tells the node how it stands with the session. */
void far_seat_tell(struct router *r, const struct far_seat *k, const struct session *s,
                   unsigned event);
void far_seat_set_node(struct far_seat *k, struct slice node, uint64_t epoch); /* empty: orphan */
void far_seat_drop(struct router *r, struct far_seat *k);
/* Its session hears that the room is over for it. Drops k. */
void far_seat_closed(struct router *r, struct far_seat *k, enum room_reason reason);
/* The seats of a room, one after another: *n NULL gives the first. */
struct far_seat *far_seat_next_of_room(const struct far *f, struct slice room, struct hnode **n);
/* Who missed news, and has room for room.state now: its node is told. */
void far_seats_look(struct router *r);
/* A seat in the room whose node is known, or NULL. */
const struct far_seat *far_room_runner(const struct far *f, struct slice room);
/* Sends the request to the node that runs the room; its answer is waited for. tries: how often it
 * came back. */
void far_room_ask(const struct request *q, struct slice node, uint64_t epoch, uint8_t tries);
void far_room_unavailable(const struct request *q);
void far_rooms_free(struct router *r);

/* ---- router_room_look.c ---- */

/* Whose the room is, is asked; whether it is. */
void far_look_begin(struct router *r, struct slice room);
bool far_look_is(const struct router *r, struct slice room);
/* The same, and a request of a session here waits for it. False: too many do, or memory is out. */
bool far_look_push(struct router *r, struct slice room, const uint8_t session[SESSION_ID_BYTES],
                   uint64_t id_hash, uint8_t tries, struct slice text);
void far_looks_free(struct router *r);
/* A request or event (as it came) about a room whose node is just asked for: it waits. */
bool far_room_hold(struct router *r, struct slice node, uint64_t epoch,
                   const struct room_message *m);
uint64_t far_rooms_deadline(const struct router *r);
void far_rooms_tick(struct router *r);

/* ---- router_far_seat.c: the runner's side ---- */

/* A request of a session there, or what happened to one. looked: Redis was asked, and the room is
 * ours. */
void far_seat_take_ask(struct router *r, struct slice node, uint64_t epoch,
                       const struct room_message *m, bool looked);
void far_seat_take_event(struct router *r, struct slice node, uint64_t epoch,
                         const struct room_message *m, bool looked);
/* The room is not ours any more: the seat's node is to look whose it is. */
void far_seat_lost(struct router *r, const struct seat *s);
/* The node is gone, or speaks again. */
void far_seats_gone(struct router *r, struct slice node, uint64_t epoch);
void far_seats_back(struct router *r, struct slice node, uint64_t epoch);

/* ---- router_room_keep.c ---- */

/* Makes a room again of what stands in Redis: field and value, from the second item on. *server:
 * whose room it is at its media server; borrows from the reply. */
struct room *far_room_restore(struct router *r, struct slice id, const struct resp *reply,
                              struct slice *server);
/* The room is run by another node: our sessions go on there. */
void far_room_lose(struct router *r, struct room *room, struct slice node, uint64_t epoch);
/* Of room_share.h. */
unsigned far_room_scripts(const struct router *r);
uint64_t far_room_life_us(const struct router *r);
/* At the end of the turn; Redis is there again; whether something waits. */
void far_rooms_save(struct router *r, bool ready);
void far_rooms_save_all(struct router *r);
bool far_rooms_wait(const struct router *r);
void far_rooms_keep_free(struct router *r);

/* ---- router_far_ring.c ---- */

/* When to call far_rings_tick(), which rings with what is known by then. */
uint64_t far_rings_deadline(const struct router *r);
void far_rings_tick(struct router *r);
void far_rings_free(struct router *r); /* nobody is told */

/* ---- router_far_invite.c ---- */

/* Whether it waits for devices of the callee whose node has died, because nothing else can be rung.
 * Then far_invite_look_again() is to be called at hold.again_us. */
bool far_invite_waits(struct far_invite *i);
void far_invite_look_again(struct far_invite *i);
/* The caller's session is gone: nobody is busy with it any more. */
void far_invite_drop(const struct far_invite *i);

/* What the presence entry says of a device elsewhere. False: it is none. */
bool far_there_of(struct far_there *out, const struct presence_entry *e);
/* Everything is known that can be: makes the call, or says why not. Frees i. */
void far_invite_make(struct far_invite *i, struct session *s);
/* Whose the pair is: asks for its first entry, after what a dead node has left was taken out. */
void far_invite_ask_first(struct far_invite *i, const struct call_claim *dead);

#endif
