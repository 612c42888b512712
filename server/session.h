/* Sessions and the users they belong to (docs/SIGNALING.md §3).
 *
 * A session is one connection's life of one device, over several sockets; a user is known here
 * while it has a session. Pure: sockets are an opaque `struct client`. Worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_SESSION_H
#define SORI_SERVER_SESSION_H

#include "base/htable.h"
#include "base/timerwheel.h"
#include "base/tokenbucket.h"
#include "proto/sig_room.h"
#include "server/presence.h"
#include "server/reliable.h"

#define SESSION_ID_BYTES   16
#define SESSION_ID_TEXT    22 /* base64url, no NUL */
#define SESSION_USER_MAX   128
#define SESSION_DEVICE_MAX 64
#define SESSION_NAME_MAX   128

struct client;

struct user {
    struct hnode by_id;
    struct list sessions; /* struct session.of_user */
    uint16_t sessions_n;
    uint16_t id_len;
    char id[]; /* NUL-terminated */
};

struct session {
    struct hnode by_id;
    struct list of_user;
    struct user *user;
    struct client *client; /* the socket, or NULL */
    struct reliable rel;
    struct timer timer;    /* next thing to do: router.c sets it */
    uint64_t gone_us;      /* since when there is no socket; CLOCK_NEVER while there is one */
    uint64_t expires_us;   /* the token's end with leeway, on the monotonic clock */
    uint64_t incoming_seq; /* number of the last call.incoming not acknowledged yet; 0: none */
    uint64_t generation;   /* grows with each socket: compare-and-delete in the stores */
    struct presence_watcher watcher;
    struct list dirty;               /* router_resume.c: to be saved at the end of the turn */
    struct list soon;                /* the same: it may wait a second */
    uint64_t saved_seq, saved_acked; /* messages up to here are saved; acknowledged ones dropped */
    uint64_t saved_us, soon_us;      /* when all of it was saved; when that second is over */
    struct bucket messages, candidates, subscribes, records, quality, strikes;
    uint8_t id[SESSION_ID_BYTES];
    uint8_t _token[SESSION_ID_BYTES], _token_before[SESSION_ID_BYTES];
    bool _token_before_ok;
    enum sig_presence state; /* as the user set it */
    bool expiry_told, in_call, can_wait, can_rooms, may_call, may_presence;
    bool lost_untold; /* the calls do not know yet that the socket is gone */
    bool shown;       /* others see it attached */
    bool only_call;   /* a ring token: good for `call` and nothing else */
    struct sig_call_id call;
    bool taken_away;                  /* another node has it */
    bool save_whole;                  /* router_resume.c: more than numbers has changed */
    bool ending;                      /* its history is broken: it ends at the next tick */
    struct sig_room_perms room_perms; /* the token's */
    uint8_t device_len, name_len;
    char *name;    /* display name or NULL; mem_free()d with the session */
    char *room;    /* the one room that the token is good for, or NULL; the same */
    char device[]; /* NUL-terminated */
};

struct session_table;

/* An empty table, or NULL when memory is out. */
struct session_table *session_table_new(void);
void session_table_free(struct session_table *t); /* with all sessions; NULL is allowed */
/* Sessions in it. */
size_t session_table_count(const struct session_table *t);

/* Makes a session of user and device with a random id; the user object is made when this is its
 * first. NULL when memory is out. The device must have no session (session_find_device). */
struct session *session_new(struct session_table *t, struct slice user, struct slice device,
                            struct slice name);
/* Takes it off the table and frees it, and its user when it was the last. Its timer must be off. */
void session_free(struct session_table *t, struct session *s);

/* Lookups give NULL when there is none. id_text: as in welcome.sessionId. */
struct session *session_find(const struct session_table *t, struct slice id_text);
struct session *session_by_id(const struct session_table *t, const uint8_t id[SESSION_ID_BYTES]);
struct user *user_find(const struct session_table *t, struct slice user);
struct session *session_find_device(const struct user *u, struct slice device);
/* Visits all: as htable_walk(). */
struct session *session_walk(const struct session_table *t, size_t *pos, struct hnode **saved);

static inline struct slice session_device(const struct session *s)
{
    return slice_of(s->device, s->device_len);
}
static inline struct slice session_name(const struct session *s)
{
    return slice_of(s->name, s->name_len);
}
/* The one room that the token is good for; empty: any. */
static inline struct slice session_room(const struct session *s)
{
    return slice_str(s->room);
}
static inline struct slice user_id(const struct user *u)
{
    return slice_of(u->id, u->id_len);
}

/* Writes the session's id. */
void session_id_text(const struct session *s, char out[SESSION_ID_TEXT]);

/* Makes a new session the one of this id, with the token that its client came with. */
void session_restore(struct session_table *t, struct session *s, const uint8_t id[SESSION_ID_BYTES],
                     const uint8_t token[SESSION_ID_BYTES]);
/* Hashes of the tokens that are good now; the same one twice when it is one. */
void session_tokens(const struct session *s, uint8_t out[2][32],
                    void (*hash)(const uint8_t token[SESSION_ID_BYTES], uint8_t out[32]));

/* Draws a new resume token and writes it. used: the token that the client came with (empty for a
 * new session); it stays good until session_confirm(), because the welcome that carries the new one
 * may never arrive. */
void session_rotate(struct session *s, struct slice used, char out[SESSION_ID_TEXT]);
/* The first message came over the new socket: only the newest token is good now. False: it was so
 * before. */
bool session_confirm(struct session *s);
/* True when text is a good resume token of s. Constant time. */
bool session_token_ok(const struct session *s, struct slice text);

#endif
