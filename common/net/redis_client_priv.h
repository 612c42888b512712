/* Inside of a client of Redis, shared by redis_client.c (calls, replies, ends) and redis_setup.c
 * (what a new connection is asked first). Nobody else includes it. SPDX-License-Identifier:
 * BSD-3-Clause */
#ifndef SORI_NET_REDIS_CLIENT_PRIV_H
#define SORI_NET_REDIS_CLIENT_PRIV_H

#include "base/list.h"
#include "base/timerwheel.h"
#include "net/redis_client.h"

#define REDIS_SHA1_TEXT 40 /* what SCRIPT LOAD answers with */

enum redis_state { REDIS_REST, REDIS_OPENING, REDIS_SETTING_UP, REDIS_READY, REDIS_DOOMED };
enum redis_slot_kind {
    REDIS_SLOT_CALL,
    REDIS_SLOT_AUTH,
    REDIS_SLOT_PLAIN,
    REDIS_SLOT_ROLE,
    REDIS_SLOT_SCRIPT,
    REDIS_SLOT_MASTER,
    REDIS_SLOT_PING
};

struct redis_slot {
    struct list link;
    struct timer timer;      /* of a call */
    struct redis_call *call; /* NULL: nobody wants to know (any more) */
    enum redis_slot_kind kind;
    bool again;
    bool maybe;      /* it was sent over a connection that broke: it may have been done */
    unsigned script; /* of SLOT_SCRIPT, and of a call with sha_at */
    size_t sha_at;   /* where in bytes the script's SHA1 goes; 0: nowhere */
    size_t taken, len;
    uint8_t bytes[];
};

struct redis_client {
    struct redis_client_conf conf;
    const struct redis_client_ops *ops;
    void *arg;
    struct redis_seek seek;
    enum redis_state state;
    bool at_sentinel;
    struct list setup, waiting, open; /* struct redis_slot */
    struct redis_slot *partial;       /* the first of setup or waiting, of which a part was taken */
    struct timerwheel *wheel;
    struct resp_reader *reader;
    size_t calls, bytes; /* of slots that are calls */
    size_t setup_left;   /* steps without an answer */
    uint64_t open_by_us; /* OPENING, SETTING_UP */
    uint64_t heard_us;   /* the last word, or when we began to wait for one */
    struct redis_client_stats stats;
    char why[REDIS_WHY_MAX];
    char sha[REDIS_SCRIPTS_MAX][REDIS_SHA1_TEXT];
};

/* A command that is in no list yet; NULL: memory is out. */
struct redis_slot *redis_slot_new(struct redis_client *c, enum redis_slot_kind kind,
                                  const struct slice *words, size_t n);
/* The connection is of no use: the shell is to close it. why: what, and more behind a colon. */
void redis_client_doom(struct redis_client *c, const char *what, struct slice more,
                       uint64_t now_us);
/* What was sent and may be sent again goes back to the front, in its order; the rest ends. */
void redis_client_take_back(struct redis_client *c, uint64_t now_us);

/* Asks what is to be known before a connection is used. */
void redis_setup_begin(struct redis_client *c, uint64_t now_us);
/* The answer to a step of it, or to PING. */
void redis_setup_step(struct redis_client *c, enum redis_slot_kind kind, unsigned script,
                      const struct resp *v, uint64_t now_us);

#endif
