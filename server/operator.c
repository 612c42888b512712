/* The operator's protocol: what a request line asks.
 *
 * Called by operator_listener.c. Pure. Whoever may open the socket is trusted with users' names;
 * sizes are bounded all the same. SPDX-License-Identifier: BSD-3-Clause */
#include "server/operator.h"

#include <errno.h>

#include "proto/json.h"

static const char *const command_name[] = {
    [OPERATOR_STATUS] = "status", [OPERATOR_CALLS] = "calls",   [OPERATOR_END] = "end",
    [OPERATOR_NODES] = "nodes",   [OPERATOR_TOKENS] = "tokens", [OPERATOR_LOG_LEVEL] = "log-level",
    [OPERATOR_DRAIN] = "drain",   [OPERATOR_HOLD] = "hold",     [OPERATOR_UNHOLD] = "unhold",
    [OPERATOR_HOLDS] = "holds",
};

static int refuse(const char **why, const char *what)
{
    *why = what;
    return -EBADMSG;
}

static bool find_command(struct slice name, enum operator_command *out)
{
    for (unsigned i = 0; i < ARRAY_LEN(command_name); i++) {
        if (slice_is(name, command_name[i])) {
            *out = (enum operator_command)i;
            return true;
        }
    }
    return false;
}

int operator_decode(struct operator_request *out, struct slice line, const char **why)
{
    static const struct json_limits limits = {.depth = 1, .values = 8, .bytes = OPERATOR_LINE_MAX};
    enum { COMMAND, USER, CALL, LEVEL, SECONDS, FIELDS };
    struct json_field f[FIELDS] = {{"command", {0}, 0},
                                   {"user", {0}, 0},
                                   {"call", {0}, 0},
                                   {"level", {0}, 0},
                                   {"seconds", {0}, 0}};
    struct operator_request q = {.seconds = OPERATOR_DRAIN_DEFAULT_S};
    uint8_t buf[OPERATOR_LINE_MAX];
    struct wr scratch = wr_init(buf, sizeof(buf)), user = wr_init(q.user, sizeof(q.user));
    struct slice text;

    if (json_scan_object(line, &limits, f, FIELDS) != 0)
        return refuse(why, "not one flat JSON object on a line");
    if (!json_text(f[COMMAND].value, &text, &scratch) || !find_command(text, &q.command))
        return refuse(why, "unknown command");
    if (f[USER].kind != JSON_KIND_NONE) {
        if (!json_text(f[USER].value, &text, &scratch) || text.len > sizeof(q.user))
            return refuse(why, "user: want a text of at most 128 bytes");
        q.has_user = true;
        wr_bytes(&user, text);
        q.user_len = user.len;
    }
    if (q.command == OPERATOR_TOKENS && !q.has_user)
        return refuse(why, "user: whose tokens?");
    bool hold = q.command == OPERATOR_HOLD || q.command == OPERATOR_UNHOLD;
    if (hold && q.user_len == 0)
        return refuse(why, "user: whose records?");
    if (q.command == OPERATOR_END &&
        (!json_text(f[CALL].value, &text, &scratch) || sig_call_id_parse(&q.call, text) != 0))
        return refuse(why, "call: want a call id, as calls shows it");
    if (q.command == OPERATOR_LOG_LEVEL &&
        (!json_text(f[LEVEL].value, &text, &scratch) || log_level_parse(text, &q.level) != 0))
        return refuse(why, "level: want error, warn, info or debug");
    if (f[SECONDS].kind != JSON_KIND_NONE &&
        (!json_text(f[SECONDS].value, &text, &scratch) ||
         slice_to_u64(text, OPERATOR_DRAIN_MAX_S, &q.seconds) != 0))
        return refuse(why, "seconds: want a number from 0 to 86400");
    *out = q;
    return 0;
}

void operator_put_error(struct wr *w, const char *why)
{
    wr_str(w, "{\"ok\":false,\"error\":");
    json_write_text(w, slice_str(why));
    wr_str(w, "}\n");
}
