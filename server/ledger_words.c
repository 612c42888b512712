/* The words of the ledger: enums to text and back. They are in the database, on the socket and in
 * exports, so that they never change.
 *
 * Called by the stores, export_json.c and the router. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger.h"

#include <errno.h>

static const char *const PLATFORM[LEDGER_PLATFORM_COUNT] = {"ios", "macos", "android", "web",
                                                            "other"};
static const char *const ENV[LEDGER_ENV_COUNT] = {"unknown", "production", "sandbox"};
static const char *const CALL_UI[LEDGER_CALL_UI_COUNT] = {"callkit", "lck", "none"};
static const char *const TOKEN_TYPE[LEDGER_TOKEN_TYPE_COUNT] = {"voip",     "alert", "liveactivity",
                                                                "la_start", "fcm",   "webpush"};
static const char *const OUTCOME[LEDGER_OUTCOME_COUNT] = {
    "answered", "missed", "declined", "busy", "cancelled", "failed", "unreachable"};
static const char *const PATH[LEDGER_PATH_COUNT] = {"unknown", "p2p", "turn", "sfu"};
static const char *const ROLE[LEDGER_ROLE_COUNT] = {"caller", "callee", "member"};
static const char *const BY[LEDGER_BY_COUNT] = {"system", "caller", "callee", "member"};
static const char *const PRIVACY_KIND[LEDGER_PRIVACY_KIND_COUNT] = {"deletion", "export"};
static const char *const PRIVACY_STATE[LEDGER_PRIVACY_STATE_COUNT] = {
    "none", "pending", "running", "done", "cancelled", "failed"};
static const char *const HEALTH[LEDGER_HEALTH_COUNT] = {"ok",      "disk_full", "read_only",
                                                        "damaged", "trouble",   "away"};
static const char *const HELP[LEDGER_HEALTH_COUNT] = {
    "nothing to do",
    "the disk of [ledger] file, or of the database server, is full: make room; records wait in "
    "memory meanwhile",
    "[ledger] file or its directory can't be written: mount it read-write, give the server's user "
    "the right to write; or the database of [ledger] postgres is a standby, or its user may not "
    "write: name the primary, give the user the tables",
    "[ledger] file, or a table of [ledger] postgres, is damaged: stop the server, restore a backup "
    "(docs/OPERATIONS.md), start it",
    "[ledger] file or its database can't be used just now (I/O error, locked, too slow): look at "
    "the system's log and the database's; it is tried again all the time",
    "the database of [ledger] postgres can't be reached, or refuses the connection: start it, look "
    "at the network, user and password; calls go on, records wait in memory, it is tried again all "
    "the time",
};

/* The text of index i of a table of n. */
static const char *word(const char *const *table, size_t n, size_t i)
{
    return i < n ? table[i] : "";
}

static int parse(const char *const *table, size_t n, struct slice name, unsigned *out)
{
    for (size_t i = 0; i < n; i++)
        if (slice_is(name, table[i])) {
            *out = (unsigned)i;
            return 0;
        }
    return -EINVAL;
}

#define WORDS(fn, type, table)                           \
    const char *fn(enum type v)                          \
    {                                                    \
        return word(table, ARRAY_LEN(table), (size_t)v); \
    }
#define PARSE(fn, type, table)                             \
    int fn(struct slice name, enum type *out)              \
    {                                                      \
        unsigned i;                                        \
                                                           \
        if (parse(table, ARRAY_LEN(table), name, &i) != 0) \
            return -EINVAL;                                \
        *out = (enum type)i;                               \
        return 0;                                          \
    }

WORDS(ledger_platform_name, ledger_platform, PLATFORM)
WORDS(ledger_env_name, ledger_env, ENV)
WORDS(ledger_call_ui_name, ledger_call_ui, CALL_UI)
WORDS(ledger_token_type_name, ledger_token_type, TOKEN_TYPE)
WORDS(ledger_outcome_name, ledger_outcome, OUTCOME)
WORDS(ledger_path_name, ledger_path, PATH)
WORDS(ledger_role_name, ledger_role, ROLE)
WORDS(ledger_by_name, ledger_by, BY)
WORDS(ledger_privacy_kind_name, ledger_privacy_kind, PRIVACY_KIND)
WORDS(ledger_privacy_state_name, ledger_privacy_state, PRIVACY_STATE)
WORDS(ledger_health_name, ledger_health, HEALTH)
WORDS(ledger_health_help, ledger_health, HELP)
PARSE(ledger_platform_parse, ledger_platform, PLATFORM)
PARSE(ledger_env_parse, ledger_env, ENV)
PARSE(ledger_call_ui_parse, ledger_call_ui, CALL_UI)
PARSE(ledger_token_type_parse, ledger_token_type, TOKEN_TYPE)
PARSE(ledger_outcome_parse, ledger_outcome, OUTCOME)
PARSE(ledger_path_parse, ledger_path, PATH)
PARSE(ledger_role_parse, ledger_role, ROLE)
PARSE(ledger_by_parse, ledger_by, BY)
PARSE(ledger_privacy_kind_parse, ledger_privacy_kind, PRIVACY_KIND)
PARSE(ledger_privacy_state_parse, ledger_privacy_state, PRIVACY_STATE)

int ledger_reason_parse(struct slice name, enum sig_reason *out)
{
    for (unsigned r = SIG_REASON_NONE; r < SIG_REASON_COUNT; r++)
        if (slice_is(name, sig_reason_name((enum sig_reason)r))) {
            *out = (enum sig_reason)r;
            return 0;
        }
    return -EINVAL;
}
