/* The operator's protocol: one JSON object a line, asked by sorictl over [admin] control.
 *
 *     {"command":"status"}
 *     {"command":"calls"}                    {"command":"calls","user":"ann"}
 *     {"command":"end","call":"0b35…"}
 *     {"command":"nodes"}
 *     {"command":"tokens","user":"ann"}
 *     {"command":"hold","user":"ann"}        {"command":"unhold","user":"ann"}
 *     {"command":"holds"}
 *     {"command":"log-level","level":"debug"}
 *     {"command":"drain"}                    {"command":"drain","seconds":"60"}
 *
 * The answer is zero or more lines, one per call, node or device, and a last one that has "ok":
 * true, or false with "error". The status is also what the status page shows.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_OPERATOR_H
#define SORI_SERVER_OPERATOR_H

#include "base/log.h"
#include "proto/sig.h"
#include "server/ledger.h"
#include "server/session.h"

struct router;

#define OPERATOR_LINE_MAX        4096       /* bytes of a request, newline included */
#define OPERATOR_REPLY_MAX       (1 << 20)  /* bytes of all lines of an answer */
#define OPERATOR_LAST_MAX        (32 << 10) /* bytes kept for the last one */
#define OPERATOR_STATUS_CALLS    10000      /* calls that a status looks at for their paths */
#define OPERATOR_DRAIN_DEFAULT_S 30
#define OPERATOR_DRAIN_MAX_S     86400

enum operator_command {
    OPERATOR_STATUS,
    OPERATOR_CALLS,
    OPERATOR_END,
    OPERATOR_NODES,
    OPERATOR_TOKENS,
    OPERATOR_LOG_LEVEL,
    OPERATOR_DRAIN,
    OPERATOR_HOLD, /* these three are answered when the ledger has */
    OPERATOR_UNHOLD,
    OPERATOR_HOLDS,
};

struct operator_request {
    enum operator_command command;
    enum log_level level;    /* log-level */
    uint64_t seconds;        /* drain */
    struct sig_call_id call; /* end */
    bool has_user;           /* calls, tokens */
    size_t user_len;
    uint8_t user[SESSION_USER_MAX];
};

/* Decodes a request line. Returns 0, or -EBADMSG with *why saying what is wrong with it: answer
 * that by operator_put_error(). */
int operator_decode(struct operator_request *out, struct slice line, const char **why);

/* Writes {"ok":false,"error":why}. */
void operator_put_error(struct wr *w, const char *why);

/* What only the daemon knows. */
struct operator_facts {
    uint64_t seconds;     /* since its start */
    bool ready;           /* /readyz says so */
    const char *degraded; /* what does not work, or NULL */
};

/* Writes one line: the daemon, its counts, paths of calls, SFU nodes, quality. Worker thread, like
 * everything below. */
void operator_put_status(struct wr *w, struct router *r, const struct operator_facts *f);

/* Asks the router's ledger: HOLD, UNHOLD, HOLDS. done runs once, with ctx, and
 * operator_put_ledger() writes the answer then. Returns 0, or a negative errno: answer now, by
 * operator_put_ledger() with NULL. */
int operator_ask_ledger(struct router *r, const struct operator_request *q, ledger_done_fn *done,
                        void *ctx);
void operator_put_ledger(struct wr *w, int rc, const struct ledger_result *res);

/* Performs calls, end, nodes or tokens and writes the whole answer. Lists stop
 * OPERATOR_LAST_MAX bytes before the end of w and say how many were left out. */
void operator_answer(struct wr *w, struct router *r, const struct operator_request *q);

#endif
