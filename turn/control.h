/* The control protocol: one JSON object a line, asked by sori-turnctl, answered by the daemon.
 *
 *     {"command":"status"}
 *     {"command":"list"}                {"command":"list","user":"ann","realm":"sori"}
 *     {"command":"kill","allocation":"0.17"}
 *     {"command":"quota"}               {"command":"quota","user":"ann","realm":"sori"}
 *     {"command":"log-level","level":"debug"}
 *     {"command":"drain"}
 *
 * The answer is zero or more lines, one per allocation, and a last one that has "ok": true, or
 * false with "error". Without a realm, list is about all of them and quota about the default one.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_CONTROL_H
#define SORI_TURN_CONTROL_H

#include "base/log.h"
#include "turn/turn_core.h"

#define CONTROL_LINE_MAX  4096      /* bytes of a request, newline included */
#define CONTROL_REPLY_MAX (1 << 20) /* bytes of all lines of an answer */
#define CONTROL_LAST_MAX  8192      /* bytes kept for the last one */
#define CONTROL_USER_MAX  STUN_USERNAME_MAX

enum control_command {
    CONTROL_STATUS,
    CONTROL_LIST,
    CONTROL_KILL,
    CONTROL_QUOTA,
    CONTROL_LOG_LEVEL,
    CONTROL_DRAIN,
};

/* An allocation's name: unique as long as the process lives. "WORKER.SERIAL" as text. */
struct control_id {
    unsigned worker;
    uint64_t serial;
};

struct control_request {
    enum control_command command;
    struct control_id id; /* kill */
    enum log_level level; /* log-level */
    bool has_user;        /* list, quota */
    bool has_realm;       /* the same */
    size_t user_len, realm_len;
    uint8_t user[CONTROL_USER_MAX];
    uint8_t realm[REALM_NAME_MAX];
};

/* Decodes a request line. Returns 0, or -EBADMSG with *why saying what is wrong with it: answer
 * that by control_put_error(). */
int control_decode(struct control_request *out, struct slice line, const char **why);

/* Writes {"ok":false,"error":why}. */
void control_put_error(struct wr *w, const char *why);

/* Writes the lines of a worker's allocations that r asks for until w is full but for
 * CONTROL_LAST_MAX; adds to *shown, and to *left what had no room. Thread of the core. */
void control_list(struct wr *w, const struct turn_core *c, unsigned worker,
                  const struct control_request *r, uint64_t now_us, uint64_t *shown,
                  uint64_t *left);

/* Ends the allocation. False when there is none of that serial. Thread of the core. */
bool control_kill(struct turn_core *c, uint64_t serial, uint64_t now_us);

#endif
