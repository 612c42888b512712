/* The tables of the SQLite ledger, and the statements that are its own (others: ledger_sql_text.c).
 *
 * Called by ledger_store_sqlite.c. A new version of the tables is a new entry of
 * sqlite_store_schema; old entries never change. Words are stored as text (ledger_words.c), so that
 * the file can be read with any tool; times are milliseconds; 0 is "not".
 *
 * A user's calls are one piece of cdr_party in the order of time, so that a page of history and the
 * purge of a user are short scans. SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql_text.h"
#include "server/ledger_store_sqlite_priv.h"

const char *const sqlite_store_schema[SQLITE_STORE_VERSION] = {
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;"
    "CREATE TABLE cdr(call_id BLOB PRIMARY KEY, kind TEXT NOT NULL, media TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL, ring_ms INTEGER NOT NULL, answer_ms INTEGER NOT NULL,"
    " end_ms INTEGER NOT NULL, state TEXT NOT NULL, end_reason TEXT NOT NULL,"
    " ended_by TEXT NOT NULL, path TEXT NOT NULL, node TEXT NOT NULL, region TEXT NOT NULL,"
    " relayed_bytes INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX cdr_created ON cdr(created_ms);"
    "CREATE INDEX cdr_open ON cdr(call_id) WHERE end_ms=0;"
    "CREATE TABLE cdr_party(user_id TEXT NOT NULL, created_ms INTEGER NOT NULL,"
    " call_id BLOB NOT NULL, role TEXT NOT NULL, device_id TEXT NOT NULL,"
    " joined_ms INTEGER NOT NULL, left_ms INTEGER NOT NULL, missed INTEGER NOT NULL,"
    " seen INTEGER NOT NULL DEFAULT 0, hidden INTEGER NOT NULL DEFAULT 0,"
    " PRIMARY KEY(user_id, created_ms, call_id)) WITHOUT ROWID;"
    "CREATE UNIQUE INDEX cdr_party_call ON cdr_party(call_id, user_id);"
    "CREATE INDEX cdr_party_missed ON cdr_party(user_id, created_ms, call_id, seen, hidden)"
    " WHERE missed=1;"
    "CREATE TABLE push_log(apns_id TEXT PRIMARY KEY, call_id BLOB NOT NULL, user_id TEXT NOT NULL,"
    " device_id TEXT NOT NULL, kind TEXT NOT NULL, status INTEGER NOT NULL, reason TEXT NOT NULL,"
    " sent_ms INTEGER NOT NULL, answered_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX push_log_user ON push_log(user_id, sent_ms, apns_id);"
    "CREATE INDEX push_log_sent ON push_log(sent_ms);"
    "CREATE TABLE quality_leg(call_id BLOB NOT NULL, user_id TEXT NOT NULL, leg TEXT NOT NULL,"
    " at_ms INTEGER NOT NULL, model TEXT NOT NULL, codec TEXT NOT NULL, path TEXT NOT NULL,"
    " samples INTEGER NOT NULL, mos_avg INTEGER NOT NULL, mos_p10 INTEGER NOT NULL,"
    " mos_min INTEGER NOT NULL, loss INTEGER NOT NULL, rtt_ms INTEGER NOT NULL,"
    " jitter_ms INTEGER NOT NULL, PRIMARY KEY(call_id, user_id, leg)) WITHOUT ROWID;"
    "CREATE INDEX quality_user ON quality_leg(user_id, at_ms);"
    "CREATE INDEX quality_at ON quality_leg(at_ms);"
    "CREATE TABLE usage_day(day TEXT NOT NULL, region TEXT NOT NULL, path TEXT NOT NULL,"
    " media TEXT NOT NULL, state TEXT NOT NULL, calls INTEGER NOT NULL,"
    " seconds INTEGER NOT NULL, relayed_bytes INTEGER NOT NULL,"
    " PRIMARY KEY(day, region, path, media, state)) WITHOUT ROWID;"
    "CREATE TABLE device(user_id TEXT NOT NULL, device_id TEXT NOT NULL, platform TEXT NOT NULL,"
    " app_id TEXT NOT NULL, version TEXT NOT NULL, locale TEXT NOT NULL, env TEXT NOT NULL,"
    " call_ui TEXT NOT NULL, seen_ms INTEGER NOT NULL,"
    " PRIMARY KEY(user_id, device_id)) WITHOUT ROWID;"
    "CREATE INDEX device_seen ON device(seen_ms);"
    "CREATE TABLE push_token(token_hash BLOB PRIMARY KEY, user_id TEXT NOT NULL,"
    " device_id TEXT NOT NULL, type TEXT NOT NULL, call_id BLOB NOT NULL, token BLOB NOT NULL,"
    " registered_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE UNIQUE INDEX push_token_device ON push_token(user_id, device_id, type, call_id);"
    "CREATE INDEX push_token_expires ON push_token(expires_ms) WHERE expires_ms>0;"
    "CREATE TABLE privacy_request(req_id BLOB PRIMARY KEY, user_id TEXT, subject BLOB NOT NULL,"
    " kind TEXT NOT NULL, state TEXT NOT NULL, actor TEXT NOT NULL, requested_ms INTEGER NOT NULL,"
    " due_ms INTEGER NOT NULL, done_ms INTEGER NOT NULL DEFAULT 0,"
    " expires_ms INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, sha256 BLOB,"
    " ndjson INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "CREATE INDEX privacy_request_subject ON privacy_request(subject, kind, requested_ms);"
    "CREATE INDEX privacy_request_open ON privacy_request(kind, state, due_ms);"
    "CREATE INDEX privacy_request_user ON privacy_request(user_id) WHERE user_id IS NOT NULL;"
    "CREATE TABLE audit(seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, actor TEXT NOT NULL,"
    " action TEXT NOT NULL, subject BLOB NOT NULL, prev BLOB NOT NULL, hash BLOB NOT NULL);"
    "CREATE INDEX audit_subject ON audit(subject, seq);"
    "CREATE TABLE erased(subject BLOB PRIMARY KEY, at_ms INTEGER NOT NULL) WITHOUT ROWID;",

    "ALTER TABLE quality_leg ADD COLUMN silence_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE quality_leg ADD COLUMN worst TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE quality_sample(call_id BLOB NOT NULL, user_id TEXT NOT NULL, leg TEXT NOT NULL,"
    " at_ms INTEGER NOT NULL, interval_ms INTEGER NOT NULL, rtt_ms INTEGER NOT NULL,"
    " jitter_ms INTEGER NOT NULL, buffer_ms INTEGER NOT NULL, silence_ms INTEGER NOT NULL,"
    " loss INTEGER NOT NULL, burst INTEGER NOT NULL, bps INTEGER NOT NULL, codec TEXT NOT NULL,"
    " path TEXT NOT NULL, r INTEGER NOT NULL, mos INTEGER NOT NULL,"
    " PRIMARY KEY(call_id, user_id, leg, at_ms)) WITHOUT ROWID;"
    "CREATE INDEX quality_sample_user ON quality_sample(user_id, at_ms, call_id, leg);"
    "CREATE INDEX quality_sample_at ON quality_sample(at_ms);",
    /* Sums that name nobody, for the daily report: kept when calls and pushes are gone. */
    "ALTER TABLE usage_day ADD COLUMN ice_failed INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE usage_push(day TEXT NOT NULL, kind TEXT NOT NULL, status INTEGER NOT NULL,"
    " reason TEXT NOT NULL, pushes INTEGER NOT NULL,"
    " PRIMARY KEY(day, kind, status, reason)) WITHOUT ROWID;",
    "ALTER TABLE quality_leg ADD COLUMN network TEXT NOT NULL DEFAULT '';",
    "ALTER TABLE push_token ADD COLUMN sealed_by TEXT NOT NULL DEFAULT '';",
    "CREATE TABLE hold(user_id TEXT PRIMARY KEY, since_ms INTEGER NOT NULL) WITHOUT ROWID;",
};

#define OPEN_END "max(created_ms, answer_ms, " HEARD_OF ")"

const char *const sqlite_store_sql[SQ_COUNT] = {
    [SQ_BEGIN] = "BEGIN",
    [SQ_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [SQ_OPEN_SUM] =
        "INSERT INTO usage_day(day, region, path, media, state, calls, seconds, relayed_bytes,"
        " ice_failed) SELECT strftime('%Y-%m-%d', created_ms/1000, 'unixepoch'), region, path,"
        " media, state, COUNT(*), SUM(max(0, " OPEN_END "-answer_ms)/1000), SUM(relayed_bytes), 0"
        " FROM cdr WHERE end_ms=0 GROUP BY 1,2,3,4,5"
        " ON CONFLICT(day, region, path, media, state) DO UPDATE SET calls=calls+excluded.calls,"
        " seconds=seconds+excluded.seconds, relayed_bytes=relayed_bytes+excluded.relayed_bytes",
    [SQ_OPEN_END] = "UPDATE cdr SET end_ms=" OPEN_END ", end_reason='server_error',"
                    " ended_by='system' WHERE end_ms=0",
    /* Its planner takes the user's whole history otherwise. */
    [SQ_HISTORY_MISSED] =
        HISTORY_COLUMNS " FROM cdr_party p INDEXED BY cdr_party_missed" HISTORY_JOINS
                        " AND p.missed=1 AND p.hidden=0" HISTORY_ORDER,
    [SQ_ERASED_ANY] = "SELECT 1 FROM erased LIMIT 1",
    [SQ_USAGE_ADD] =
        "INSERT INTO usage_day(day, region, path, media, state, calls, seconds, relayed_bytes,"
        " ice_failed) VALUES(strftime('%Y-%m-%d', ?1, 'unixepoch'),?2,?3,?4,?5,1,?6,?7,?8)"
        " ON CONFLICT(day, region, path, media, state) DO UPDATE SET calls=calls+1,"
        " seconds=seconds+excluded.seconds, relayed_bytes=relayed_bytes+excluded.relayed_bytes,"
        " ice_failed=ice_failed+excluded.ice_failed",
    [SQ_USAGE_TAKE] =
        "UPDATE usage_day SET calls=calls-1, seconds=max(0, seconds-?6),"
        " relayed_bytes=max(0, relayed_bytes-?7), ice_failed=max(0, ice_failed-?8)"
        " WHERE day=strftime('%Y-%m-%d', ?1, 'unixepoch') AND region=?2 AND path=?3 AND media=?4"
        " AND state=?5 AND calls>0",
    [SQ_PUSH_SUM] = "INSERT INTO usage_push(day, kind, status, reason, pushes)"
                    " VALUES(strftime('%Y-%m-%d', ?1, 'unixepoch'),?2,?3,?4,1)"
                    " ON CONFLICT(day, kind, status, reason) DO UPDATE SET pushes=pushes+1",
    [SQ_ERASED_PUT] = "INSERT INTO erased(subject, at_ms) VALUES(?1,?2) ON CONFLICT(subject) DO"
                      " UPDATE SET at_ms=max(at_ms, excluded.at_ms)",
};
