/* The tables of the SQLite ledger, and every statement that is made on them.
 *
 * Called by ledger_store_sqlite.c. A new version of the tables is a new entry of
 * sqlite_store_schema; old entries never change. Words are stored as text (ledger_words.c), so that
 * the file can be read with any tool; times are milliseconds; 0 is "not".
 *
 * A user's calls are one piece of cdr_party in the order of time, so that a page of history and the
 * purge of a user are short scans. SPDX-License-Identifier: BSD-3-Clause */
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
};

#define HISTORY_COLUMNS                                                                           \
    "SELECT p.call_id, p.role, c.kind, c.media, p.missed, p.seen, p.hidden, p.device_id,"         \
    " p.created_ms, c.ring_ms, c.answer_ms, c.end_ms, c.state, c.end_reason, c.ended_by, c.path," \
    " c.relayed_bytes, CASE WHEN p.role<>'member' THEN (SELECT o.user_id FROM cdr_party o"        \
    "  WHERE o.call_id=p.call_id AND o.user_id<>p.user_id LIMIT 1) END,"                          \
    " q.samples, q.mos_avg, q.mos_min, q.loss, q.rtt_ms, q.model, q.mos_p10, q.jitter_ms,"        \
    " q.silence_ms, q.path, q.leg, q.codec, q.worst"
#define HISTORY_JOINS                                                                    \
    " JOIN cdr c ON c.call_id=p.call_id"                                                 \
    " LEFT JOIN quality_leg q ON q.call_id=p.call_id AND q.user_id=p.user_id AND"        \
    "  q.leg=(SELECT leg FROM quality_leg WHERE call_id=p.call_id AND user_id=p.user_id" \
    "  ORDER BY samples DESC, leg LIMIT 1)"                                              \
    " WHERE p.user_id=?1 AND (p.created_ms, p.call_id)<(?2, ?3)"
#define HISTORY_ORDER " ORDER BY p.created_ms DESC, p.call_id DESC LIMIT ?4"
#define DEVICE_COLUMNS                                                                          \
    "SELECT user_id, device_id, platform, app_id, version, locale, env, call_ui, seen_ms FROM " \
    "device"
#define REQUEST_COLUMNS                                                                    \
    "SELECT req_id, kind, state, requested_ms, due_ms, expires_ms, bytes, sha256, ndjson," \
    " user_id, subject, done_ms FROM privacy_request"

const char *const sqlite_store_sql[SQ_COUNT] = {
    [SQ_BEGIN] = "BEGIN",
    [SQ_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [SQ_COMMIT] = "COMMIT",
    [SQ_ROLLBACK] = "ROLLBACK",
    [SQ_SAVE] = "SAVEPOINT one",
    [SQ_RELEASE] = "RELEASE one",
    [SQ_UNDO] = "ROLLBACK TO one",

    [SQ_CALL_END] = "SELECT end_ms FROM cdr WHERE call_id=?1",
    [SQ_CALL_PUT] =
        "INSERT INTO cdr(call_id, kind, media, created_ms, ring_ms, answer_ms, end_ms, state,"
        " end_reason, ended_by, path, node, region, relayed_bytes)"
        " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)"
        " ON CONFLICT(call_id) DO UPDATE SET media=excluded.media, ring_ms=excluded.ring_ms,"
        " answer_ms=excluded.answer_ms, end_ms=excluded.end_ms, state=excluded.state,"
        " end_reason=excluded.end_reason, ended_by=excluded.ended_by, path=excluded.path,"
        " node=excluded.node, region=excluded.region, relayed_bytes=excluded.relayed_bytes",
    [SQ_CALL_PATH] = "UPDATE cdr SET path=?2 WHERE call_id=?1 AND abs(end_ms-?3)<?4 AND"
                     " ?2<>'unknown' AND (path='unknown' OR ?2='turn')",
    [SQ_CALL_DEL] = "DELETE FROM cdr WHERE call_id=?1",
    [SQ_CALL_OLD] = "SELECT call_id FROM cdr WHERE created_ms<?1 LIMIT ?2",
    [SQ_PARTY_PUT] =
        "INSERT INTO cdr_party(user_id, created_ms, call_id, role, device_id, joined_ms, left_ms,"
        " missed) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)"
        " ON CONFLICT(call_id, user_id) DO UPDATE SET role=excluded.role,"
        " device_id=CASE WHEN excluded.device_id='' THEN device_id ELSE excluded.device_id END,"
        " joined_ms=excluded.joined_ms, left_ms=excluded.left_ms, missed=excluded.missed",
    [SQ_PARTY_DEL] = "DELETE FROM cdr_party WHERE call_id=?1 AND user_id=?2",
    [SQ_PARTIES_DEL] = "DELETE FROM cdr_party WHERE call_id=?1",
    [SQ_PARTY_SHOWN] = "SELECT 1 FROM cdr_party WHERE call_id=?1 AND hidden=0 LIMIT 1",
    [SQ_PARTY_OF_USER] =
        "SELECT call_id FROM cdr_party WHERE user_id=?1 AND created_ms<=?2 LIMIT ?3",
    [SQ_USAGE_ADD] =
        "INSERT INTO usage_day(day, region, path, media, state, calls, seconds, relayed_bytes,"
        " ice_failed) VALUES(strftime('%Y-%m-%d', ?1, 'unixepoch'),?2,?3,?4,?5,1,?6,?7,?8)"
        " ON CONFLICT(day, region, path, media, state) DO UPDATE SET calls=calls+1,"
        " seconds=seconds+excluded.seconds, relayed_bytes=relayed_bytes+excluded.relayed_bytes,"
        " ice_failed=ice_failed+excluded.ice_failed",
    [SQ_HISTORY] =
        HISTORY_COLUMNS " FROM cdr_party p" HISTORY_JOINS " AND (p.hidden=0 OR ?5)" HISTORY_ORDER,
    [SQ_HISTORY_MISSED] =
        HISTORY_COLUMNS " FROM cdr_party p INDEXED BY cdr_party_missed" HISTORY_JOINS
                        " AND p.missed=1 AND p.hidden=0" HISTORY_ORDER,
    [SQ_COUNT_CALLS] = "SELECT COUNT(*) FROM (SELECT 1 FROM cdr_party WHERE user_id=?1 LIMIT ?2)",
    [SQ_BADGE] = "SELECT COUNT(*) FROM cdr_party WHERE user_id=?1 AND missed=1 AND seen=0 AND"
                 " hidden=0",
    [SQ_SEEN_ONE] = "UPDATE cdr_party SET seen=1 WHERE call_id=?1 AND user_id=?2 AND missed=1",
    [SQ_SEEN_UNTIL] = "UPDATE cdr_party SET seen=1 WHERE user_id=?1 AND missed=1 AND seen=0 AND"
                      " created_ms<=?2",
    [SQ_HIDE_ONE] = "UPDATE cdr_party SET hidden=1, seen=1 WHERE call_id=?1 AND user_id=?2",
    [SQ_HIDE_UNTIL] = "UPDATE cdr_party SET hidden=1, seen=1 WHERE user_id=?1 AND hidden=0 AND"
                      " created_ms<=?2",
    [SQ_HIDDEN_BY_ALL] =
        "SELECT p.call_id FROM cdr_party p WHERE p.user_id=?1 AND p.created_ms<=?2 AND p.hidden=1"
        " AND NOT EXISTS(SELECT 1 FROM cdr_party o WHERE o.call_id=p.call_id AND o.hidden=0)"
        " LIMIT ?3",
    [SQ_PUSH_PUT] =
        "INSERT INTO push_log(apns_id, call_id, user_id, device_id, kind, status, reason, sent_ms,"
        " answered_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)"
        " ON CONFLICT(apns_id) DO UPDATE SET status=excluded.status, reason=excluded.reason,"
        " answered_ms=excluded.answered_ms",
    [SQ_PUSH_IS] = "SELECT 1 FROM push_log WHERE apns_id=?1",
    [SQ_PUSH_SUM] = "INSERT INTO usage_push(day, kind, status, reason, pushes)"
                    " VALUES(strftime('%Y-%m-%d', ?1, 'unixepoch'),?2,?3,?4,1)"
                    " ON CONFLICT(day, kind, status, reason) DO UPDATE SET pushes=pushes+1",
    [SQ_PUSH_LIST] = "SELECT apns_id, call_id, user_id, device_id, kind, status, reason, sent_ms,"
                     " answered_ms FROM push_log WHERE user_id=?1 AND (sent_ms, apns_id)>(?2, ?3)"
                     " AND sent_ms<=?4 ORDER BY sent_ms, apns_id LIMIT ?5",
    [SQ_PUSH_DEL_USER] = "DELETE FROM push_log WHERE apns_id IN (SELECT apns_id FROM push_log"
                         " WHERE user_id=?1 AND sent_ms<=?2 LIMIT ?3)",
    [SQ_PUSH_OLD] = "DELETE FROM push_log WHERE apns_id IN (SELECT apns_id FROM push_log"
                    " WHERE sent_ms<?1 LIMIT ?2)",
    [SQ_QUALITY_PUT] =
        "INSERT OR REPLACE INTO quality_leg(call_id, user_id, leg, at_ms, model, codec, path,"
        " samples, mos_avg, mos_p10, mos_min, loss, rtt_ms, jitter_ms, silence_ms, worst)"
        " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)",
    [SQ_QUALITY_OF_CALL_DEL] = "DELETE FROM quality_leg WHERE call_id=?1",
    [SQ_QUALITY_DEL_USER] =
        "DELETE FROM quality_leg WHERE (call_id, user_id, leg) IN (SELECT call_id, user_id, leg"
        " FROM quality_leg WHERE user_id=?1 AND at_ms<=?2 LIMIT ?3)",
    [SQ_QUALITY_OLD] =
        "DELETE FROM quality_leg WHERE (call_id, user_id, leg) IN (SELECT call_id, user_id, leg"
        " FROM quality_leg WHERE at_ms<?1 LIMIT ?2)",
    [SQ_SAMPLE_PUT] =
        "INSERT OR REPLACE INTO quality_sample(call_id, user_id, leg, at_ms, interval_ms, rtt_ms,"
        " jitter_ms, buffer_ms, silence_ms, loss, burst, bps, codec, path, r, mos)"
        " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)",
    [SQ_SAMPLE_LIST] =
        "SELECT call_id, leg, at_ms, interval_ms, rtt_ms, jitter_ms, buffer_ms, silence_ms, loss,"
        " burst, bps, codec, path, r, mos FROM quality_sample WHERE user_id=?1 AND"
        " (at_ms, call_id, leg)>(?2, ?3, ?4) AND at_ms<=?5 ORDER BY at_ms, call_id, leg LIMIT ?6",
    [SQ_SAMPLES_OF_CALL_DEL] = "DELETE FROM quality_sample WHERE call_id=?1",
    [SQ_SAMPLES_DEL_USER] =
        "DELETE FROM quality_sample WHERE (call_id, user_id, leg, at_ms) IN (SELECT call_id,"
        " user_id, leg, at_ms FROM quality_sample WHERE user_id=?1 AND at_ms<=?2 LIMIT ?3)",
    [SQ_SAMPLES_OLD] =
        "DELETE FROM quality_sample WHERE (call_id, user_id, leg, at_ms) IN (SELECT call_id,"
        " user_id, leg, at_ms FROM quality_sample WHERE at_ms<?1 LIMIT ?2)",

    [SQ_DEVICE_IS] = "SELECT 1 FROM device WHERE user_id=?1 AND device_id=?2",
    [SQ_DEVICE_COUNT] = "SELECT COUNT(*) FROM device WHERE user_id=?1",
    [SQ_DEVICE_PUT] =
        "INSERT OR REPLACE INTO device(user_id, device_id, platform, app_id, version, locale, env,"
        " call_ui, seen_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)",
    [SQ_DEVICE_DEL] = "DELETE FROM device WHERE user_id=?1 AND device_id=?2",
    [SQ_DEVICE_DEL_USER] = "DELETE FROM device WHERE user_id=?1 AND seen_ms<=?2",
    [SQ_DEVICE_OLD] = "SELECT user_id, device_id FROM device WHERE seen_ms<?1 LIMIT 1",
    [SQ_DEVICE_ENV] = "UPDATE device SET env=?3 WHERE user_id=?1 AND device_id=?2",
    [SQ_DEVICE_TOUCH] =
        "UPDATE device SET seen_ms=?3 WHERE user_id=?1 AND device_id=?2 AND seen_ms<?3",
    [SQ_DEVICES] = DEVICE_COLUMNS " WHERE (user_id, device_id)>(?1, ?2)"
                                  " ORDER BY user_id, device_id LIMIT ?3",
    [SQ_DEVICES_OF] = DEVICE_COLUMNS " WHERE user_id=?1 AND device_id>?2"
                                     " ORDER BY device_id LIMIT ?3",
    [SQ_TOKEN_PUT] = "INSERT INTO push_token(token_hash, user_id, device_id, type, call_id, token,"
                     " registered_ms, expires_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)",
    [SQ_TOKEN_DEL_HASH] = "DELETE FROM push_token WHERE token_hash=?1",
    [SQ_TOKEN_DEL_KIND] =
        "DELETE FROM push_token WHERE user_id=?1 AND device_id=?2 AND type=?3 AND call_id=?4",
    [SQ_TOKEN_DEL_DEVICE] = "DELETE FROM push_token WHERE user_id=?1 AND device_id=?2",
    [SQ_TOKEN_DEL_USER] =
        "DELETE FROM push_token WHERE user_id=?1 AND NOT EXISTS(SELECT 1 FROM device d WHERE"
        " d.user_id=push_token.user_id AND d.device_id=push_token.device_id)",
    [SQ_TOKEN_BAD] = "DELETE FROM push_token WHERE token_hash=?1 AND (?2=0 OR registered_ms<?2)",
    [SQ_TOKEN_OLD] = "DELETE FROM push_token WHERE token_hash IN (SELECT token_hash FROM"
                     " push_token WHERE expires_ms>0 AND expires_ms<=?1 LIMIT ?2)",
    [SQ_TOKEN_COUNT] = "SELECT COUNT(*) FROM push_token WHERE user_id=?1 AND device_id=?2",
    [SQ_TOKENS] = "SELECT type, call_id, token, registered_ms, expires_ms FROM push_token WHERE"
                  " user_id=?1 AND device_id=?2 ORDER BY type, call_id LIMIT ?3",

    [SQ_REQUEST_LAST] = REQUEST_COLUMNS
    " WHERE subject=?1 AND kind=?2 ORDER BY"
    " state IN ('pending','running') DESC, requested_ms DESC, done_ms DESC LIMIT 1",
    [SQ_REQUEST_OPEN] = "SELECT 1 FROM privacy_request WHERE user_id=?1 AND kind='deletion' AND"
                        " state IN ('pending','running') LIMIT 1",
    [SQ_REQUEST_PUT] =
        "INSERT INTO privacy_request(req_id, user_id, subject, kind, state, actor, requested_ms,"
        " due_ms) VALUES(?1,?2,?3,?4,'pending',?5,?6,?7)",
    [SQ_REQUEST_STATE] = "UPDATE privacy_request SET state=?2 WHERE req_id=?1",
    [SQ_REQUEST_DONE] =
        "UPDATE privacy_request SET state=?2, user_id=NULL, done_ms=?3, expires_ms=?4, bytes=?5,"
        " sha256=?6, ndjson=?7 WHERE req_id=?1",
    [SQ_REQUEST_DUE] = REQUEST_COLUMNS
    " WHERE kind='deletion' AND (state='running' OR (state='pending' AND due_ms<=?1))"
    " ORDER BY due_ms LIMIT 1",
    [SQ_REQUEST_EXPORT] =
        REQUEST_COLUMNS " WHERE kind='export' AND state='pending' ORDER BY due_ms LIMIT 1",
    [SQ_REQUEST_OLD] =
        "DELETE FROM privacy_request WHERE req_id IN (SELECT req_id FROM privacy_request WHERE"
        " done_ms>0 AND done_ms<?1 AND expires_ms<?1 LIMIT ?2)",
    [SQ_EXPORT_FILES] = "SELECT req_id FROM privacy_request WHERE subject=?1 AND kind='export' AND"
                        " state IN ('pending','done') LIMIT 1",
    [SQ_EXPORT_EXPIRED] = "SELECT req_id FROM privacy_request WHERE kind='export' AND"
                          " state='done' AND expires_ms<=?1 LIMIT 1",
    [SQ_EXPORT_GONE] = "UPDATE privacy_request SET state='none', user_id=NULL WHERE req_id=?1",
    [SQ_AUDIT_LAST] = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1",
    [SQ_AUDIT_ADD] = "INSERT INTO audit(seq, at_ms, actor, action, subject, prev, hash)"
                     " VALUES(?1,?2,?3,?4,?5,?6,?7)",
    [SQ_AUDIT_OF] = "SELECT seq, at_ms, actor, action FROM audit WHERE subject=?1 AND seq>?2"
                    " ORDER BY seq LIMIT ?3",
    [SQ_AUDIT_OLD] = "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at_ms<?1 AND"
                     " seq<(SELECT MAX(seq) FROM audit) ORDER BY seq LIMIT ?2)",
    [SQ_AUDIT_ALL] = "SELECT seq, at_ms, actor, action, subject, prev, hash FROM audit"
                     " ORDER BY seq",
    [SQ_ERASED_IS] = "SELECT at_ms FROM erased WHERE subject=?1",
    [SQ_ERASED_PUT] = "INSERT INTO erased(subject, at_ms) VALUES(?1,?2) ON CONFLICT(subject) DO"
                      " UPDATE SET at_ms=max(at_ms, excluded.at_ms)",
    [SQ_USERS] = "SELECT user_id FROM cdr_party UNION SELECT user_id FROM push_log UNION"
                 " SELECT user_id FROM quality_leg UNION SELECT user_id FROM quality_sample UNION"
                 " SELECT user_id FROM device UNION"
                 " SELECT user_id FROM push_token UNION"
                 " SELECT user_id FROM privacy_request WHERE user_id IS NOT NULL",
};
