/* The statements of an SQL ledger in the words that all engines understand: parameters are ?1, ?2 …
 * Those that an engine has to say in another way, or need not say, are in its own table
 * (ledger_store_{sqlite,pg}_schema.c), which counts before this one.
 *
 * Called by ledger_sql.c. Where the type of a parameter can't be told from where it stands it is
 * CAST. SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql_text.h"
#include "server/ledger_sql.h"

/* Whose records no purge and no retention takes. */
#define NOT_HELD " user_id NOT IN (SELECT user_id FROM hold)"

#define DEVICE_COLUMNS                                                                          \
    "SELECT user_id, device_id, platform, app_id, version, locale, env, call_ui, seen_ms FROM " \
    "device"
#define REQUEST_COLUMNS                                                                    \
    "SELECT req_id, kind, state, requested_ms, due_ms, expires_ms, bytes, sha256, ndjson," \
    " user_id, subject, done_ms FROM privacy_request"

const char *const sq_common_sql[SQ_COUNT] = {
    [SQ_COMMIT] = "COMMIT",
    [SQ_ROLLBACK] = "ROLLBACK",
    [SQ_SAVE] = "SAVEPOINT one",
    [SQ_RELEASE] = "RELEASE one",
    [SQ_UNDO] = "ROLLBACK TO one",

    [SQ_META_GET] = "SELECT value FROM meta WHERE key=?1",
    [SQ_META_PUT] = "INSERT INTO meta(key, value) VALUES(?1,?2) ON CONFLICT(key) DO NOTHING",

    [SQ_CALL_END] = "SELECT end_ms, created_ms FROM cdr WHERE call_id=?1",
    [SQ_CALL_PUT] =
        "INSERT INTO cdr(call_id, kind, media, created_ms, ring_ms, answer_ms, end_ms, state,"
        " end_reason, ended_by, path, node, region, relayed_bytes)"
        " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)"
        " ON CONFLICT(call_id) DO UPDATE SET media=excluded.media, ring_ms=excluded.ring_ms,"
        " answer_ms=excluded.answer_ms, end_ms=excluded.end_ms, state=excluded.state,"
        " end_reason=excluded.end_reason, ended_by=excluded.ended_by, path=excluded.path,"
        " node=excluded.node, region=excluded.region, relayed_bytes=excluded.relayed_bytes",
    [SQ_CALL_PATH_OF] = "SELECT created_ms, region, media, state, path, relayed_bytes, answer_ms,"
                        " end_ms, end_reason FROM cdr WHERE call_id=?1 AND abs(end_ms-?2)<?3",
    [SQ_CALL_PATH] = "UPDATE cdr SET path=?2 WHERE call_id=?1 AND path=?3",
    [SQ_CALL_DEL] = "DELETE FROM cdr WHERE call_id=?1",
    [SQ_CALL_OLD] =
        "SELECT call_id FROM cdr WHERE created_ms<?1 AND NOT EXISTS(SELECT 1 FROM hold h"
        " JOIN cdr_party p ON p.user_id=h.user_id WHERE p.call_id=cdr.call_id) LIMIT ?2",
    [SQ_PARTY_PUT] =
        "INSERT INTO cdr_party(user_id, created_ms, call_id, role, device_id, joined_ms, left_ms,"
        " missed) VALUES(?1,?2,?3,?4,?5,?6,?7,CAST(?8 AS BIGINT))"
        " ON CONFLICT(call_id, user_id) DO UPDATE SET role=excluded.role,"
        " device_id=CASE WHEN excluded.device_id='' THEN cdr_party.device_id ELSE "
        "excluded.device_id END,"
        " joined_ms=excluded.joined_ms, left_ms=excluded.left_ms, missed=excluded.missed",
    [SQ_PARTY_DEL] = "DELETE FROM cdr_party WHERE call_id=?1 AND user_id=?2",
    [SQ_PARTIES_DEL] = "DELETE FROM cdr_party WHERE call_id=?1",
    [SQ_PARTY_SHOWN] = "SELECT 1 FROM cdr_party WHERE call_id=?1 AND (hidden=0 OR user_id"
                       " IN (SELECT user_id FROM hold)) LIMIT 1",
    [SQ_PARTY_OF_USER] =
        "SELECT call_id FROM cdr_party WHERE user_id=?1 AND created_ms<=?2 LIMIT ?3",
    [SQ_HISTORY] = HISTORY_COLUMNS " FROM cdr_party p" HISTORY_JOINS
                                   " AND (p.hidden=0 OR CAST(?5 AS BIGINT)<>0)" HISTORY_ORDER,
    [SQ_HISTORY_MISSED] = HISTORY_COLUMNS " FROM cdr_party p" HISTORY_JOINS
                                          " AND p.missed=1 AND p.hidden=0" HISTORY_ORDER,
    [SQ_COUNT_CALLS] = "SELECT COUNT(*) FROM (SELECT 1 FROM cdr_party WHERE user_id=?1 LIMIT ?2) q",
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
        " AND NOT EXISTS(SELECT 1 FROM cdr_party o WHERE o.call_id=p.call_id AND (o.hidden=0 OR"
        " o.user_id IN (SELECT user_id FROM hold)))"
        " LIMIT ?3",
    [SQ_PUSH_PUT] =
        "INSERT INTO push_log(apns_id, call_id, user_id, device_id, kind, status, reason, sent_ms,"
        " answered_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)"
        " ON CONFLICT(apns_id) DO UPDATE SET status=excluded.status, reason=excluded.reason,"
        " answered_ms=excluded.answered_ms",
    [SQ_PUSH_IS] = "SELECT 1 FROM push_log WHERE apns_id=?1",
    [SQ_PUSH_LIST] = "SELECT apns_id, call_id, user_id, device_id, kind, status, reason, sent_ms,"
                     " answered_ms FROM push_log WHERE user_id=?1 AND (sent_ms, apns_id)>(?2, ?3)"
                     " AND sent_ms<=?4 ORDER BY sent_ms, apns_id LIMIT ?5",
    [SQ_PUSH_DEL_USER] = "DELETE FROM push_log WHERE apns_id IN (SELECT apns_id FROM push_log"
                         " WHERE user_id=?1 AND sent_ms<=?2 LIMIT ?3)",
    [SQ_PUSH_OLD] = "DELETE FROM push_log WHERE apns_id IN (SELECT apns_id FROM push_log"
                    " WHERE sent_ms<?1 AND" NOT_HELD " LIMIT ?2)",
    [SQ_QUALITY_PUT] =
        "INSERT INTO quality_leg(call_id, user_id, leg, at_ms, model, codec, path,"
        " samples, mos_avg, mos_p10, mos_min, loss, rtt_ms, jitter_ms, silence_ms, worst,"
        " network) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17)"
        " ON CONFLICT(call_id, user_id, leg) DO UPDATE SET at_ms=excluded.at_ms,"
        " model=excluded.model, codec=excluded.codec, path=excluded.path,"
        " samples=excluded.samples, mos_avg=excluded.mos_avg, mos_p10=excluded.mos_p10,"
        " mos_min=excluded.mos_min, loss=excluded.loss, rtt_ms=excluded.rtt_ms,"
        " jitter_ms=excluded.jitter_ms, silence_ms=excluded.silence_ms,"
        " worst=excluded.worst, network=excluded.network",
    [SQ_QUALITY_OF_CALL_DEL] = "DELETE FROM quality_leg WHERE call_id=?1",
    [SQ_QUALITY_DEL_USER] =
        "DELETE FROM quality_leg WHERE (call_id, user_id, leg) IN (SELECT call_id, user_id, leg"
        " FROM quality_leg WHERE user_id=?1 AND at_ms<=?2 LIMIT ?3)",
    [SQ_QUALITY_OLD] =
        "DELETE FROM quality_leg WHERE (call_id, user_id, leg) IN (SELECT call_id, user_id, leg"
        " FROM quality_leg WHERE at_ms<?1 AND" NOT_HELD " LIMIT ?2)",
    [SQ_SAMPLE_PUT] =
        "INSERT INTO quality_sample(call_id, user_id, leg, at_ms, interval_ms, rtt_ms,"
        " jitter_ms, buffer_ms, silence_ms, loss, burst, bps, codec, path, r, mos)"
        " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)"
        " ON CONFLICT(call_id, user_id, leg, at_ms) DO UPDATE SET"
        " interval_ms=excluded.interval_ms, rtt_ms=excluded.rtt_ms,"
        " jitter_ms=excluded.jitter_ms, buffer_ms=excluded.buffer_ms,"
        " silence_ms=excluded.silence_ms, loss=excluded.loss, burst=excluded.burst,"
        " bps=excluded.bps, codec=excluded.codec, path=excluded.path, r=excluded.r,"
        " mos=excluded.mos",
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
        " user_id, leg, at_ms FROM quality_sample WHERE at_ms<?1 AND" NOT_HELD " LIMIT ?2)",

    [SQ_DEVICE_IS] = "SELECT 1 FROM device WHERE user_id=?1 AND device_id=?2",
    [SQ_DEVICE_COUNT] = "SELECT COUNT(*) FROM device WHERE user_id=?1",
    [SQ_DEVICE_PUT] =
        "INSERT INTO device(user_id, device_id, platform, app_id, version, locale, env,"
        " call_ui, seen_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)"
        " ON CONFLICT(user_id, device_id) DO UPDATE SET platform=excluded.platform,"
        " app_id=excluded.app_id, version=excluded.version, locale=excluded.locale,"
        " env=excluded.env, call_ui=excluded.call_ui, seen_ms=excluded.seen_ms",
    [SQ_DEVICE_DEL] = "DELETE FROM device WHERE user_id=?1 AND device_id=?2",
    [SQ_DEVICE_DEL_USER] = "DELETE FROM device WHERE user_id=?1 AND seen_ms<=?2",
    [SQ_DEVICE_OLD] =
        "SELECT user_id, device_id FROM device WHERE seen_ms<?1 AND" NOT_HELD " LIMIT 1",
    [SQ_DEVICE_ENV] = "UPDATE device SET env=?3 WHERE user_id=?1 AND device_id=?2",
    [SQ_DEVICE_TOUCH] =
        "UPDATE device SET seen_ms=?3 WHERE user_id=?1 AND device_id=?2 AND seen_ms<?3",
    [SQ_DEVICES] = DEVICE_COLUMNS " WHERE (user_id, device_id)>(?1, ?2)"
                                  " ORDER BY user_id, device_id LIMIT ?3",
    [SQ_DEVICES_OF] = DEVICE_COLUMNS " WHERE user_id=?1 AND device_id>?2"
                                     " ORDER BY device_id LIMIT ?3",
    [SQ_TOKEN_PUT] = "INSERT INTO push_token(token_hash, user_id, device_id, type, call_id, token,"
                     " registered_ms, expires_ms, sealed_by) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)"
                     " ON CONFLICT(token_hash) DO UPDATE SET user_id=excluded.user_id,"
                     " device_id=excluded.device_id, type=excluded.type, call_id=excluded.call_id,"
                     " token=excluded.token, registered_ms=excluded.registered_ms,"
                     " expires_ms=excluded.expires_ms, sealed_by=excluded.sealed_by",
    [SQ_TOKEN_DEL_HASH] = "DELETE FROM push_token WHERE token_hash=?1",
    [SQ_TOKEN_DEL_KIND] =
        "DELETE FROM push_token WHERE user_id=?1 AND device_id=?2 AND type=?3 AND call_id=?4",
    [SQ_TOKEN_DEL_DEVICE] = "DELETE FROM push_token WHERE user_id=?1 AND device_id=?2",
    [SQ_TOKEN_DEL_USER] =
        "DELETE FROM push_token WHERE user_id=?1 AND NOT EXISTS(SELECT 1 FROM device d WHERE"
        " d.user_id=push_token.user_id AND d.device_id=push_token.device_id)",
    [SQ_TOKEN_BAD] =
        "DELETE FROM push_token WHERE token_hash=?1 AND (CAST(?2 AS BIGINT)=0 OR registered_ms<?2)",
    [SQ_TOKEN_OLD] = "DELETE FROM push_token WHERE token_hash IN (SELECT token_hash FROM"
                     " push_token WHERE expires_ms>0 AND expires_ms<=?1 AND" NOT_HELD " LIMIT ?2)",
    [SQ_TOKEN_COUNT] = "SELECT COUNT(*) FROM push_token WHERE user_id=?1 AND device_id=?2",
    [SQ_TOKEN_OTHER] = "SELECT token_hash, user_id, device_id, token FROM push_token WHERE"
                       " sealed_by<>?1 AND token_hash>?2 ORDER BY token_hash LIMIT ?3",
    /* Another server may have given the token to another device meanwhile. */
    [SQ_TOKEN_RESEAL] = "UPDATE push_token SET token=?2, sealed_by=?3 WHERE token_hash=?1 AND"
                        " user_id=?4 AND device_id=?5",
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
        " sha256=?6, ndjson=CAST(?7 AS BIGINT) WHERE req_id=?1",
    [SQ_REQUEST_DUE] = REQUEST_COLUMNS
    " WHERE kind='deletion' AND (state='running' OR (state='pending' AND due_ms<=?1)) AND" NOT_HELD
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
    [SQ_HOLD_IS] = "SELECT 1 FROM hold WHERE user_id=?1",
    [SQ_HOLD_COUNT] = "SELECT COUNT(*) FROM hold",
    [SQ_HOLD_PUT] = "INSERT INTO hold(user_id, since_ms) VALUES(?1,?2) ON CONFLICT(user_id) DO"
                    " NOTHING",
    [SQ_HOLD_DEL] = "DELETE FROM hold WHERE user_id=?1",
    [SQ_HOLD_LIST] = "SELECT user_id, since_ms FROM hold ORDER BY user_id LIMIT ?1",
    [SQ_ERASED_IS] = "SELECT at_ms FROM erased WHERE subject=?1",
    [SQ_USERS] = "SELECT user_id FROM cdr_party UNION SELECT user_id FROM push_log UNION"
                 " SELECT user_id FROM quality_leg UNION SELECT user_id FROM quality_sample UNION"
                 " SELECT user_id FROM device UNION"
                 " SELECT user_id FROM push_token UNION"
                 " SELECT user_id FROM hold UNION"
                 " SELECT user_id FROM privacy_request WHERE user_id IS NOT NULL",
};
