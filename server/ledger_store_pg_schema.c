/* The tables of the PostgreSQL ledger, and the statements that are its own (others:
 * ledger_sql_text.c).
 *
 * Called by ledger_store_pg.c. A new version of the tables is a new entry of pg_store_schema; old
 * entries never change, and a version can be worked on by the server of the one before (columns
 * are added with a default, never taken away), since servers are upgraded one after the other.
 * Tables, columns and words are those of the SQLite ledger (ledger_store_sqlite_schema.c); the sums
 * are by node, so that servers do not wait for one another's transactions. Texts are ordered by
 * their bytes.
 *
 * Who changes a device or a token tells all servers by triggers, so that nothing is forgotten that
 * is done by hand. A sealed token may change (another key) without news.
 *
 * Locks are advisory ones of the transaction, so that no backup (which locks all tables for hours)
 * stands in their way: who writes shares PG_LOCK_WRITE from the beginning, SQ_ALONE waits until
 * nobody else has it, and what begins afterwards sees what was done meanwhile.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql_text.h"
#include "server/ledger_store_pg_priv.h"

#define TEXT   " TEXT COLLATE \"C\""
#define DAY_OF "to_char(to_timestamp(?1::bigint) AT TIME ZONE 'UTC', 'YYYY-MM-DD')"

const char *const pg_store_schema[PG_STORE_VERSION] = {
    "CREATE TABLE meta(key" TEXT " PRIMARY KEY, value BYTEA);"
    "CREATE TABLE cdr(call_id BYTEA PRIMARY KEY, kind" TEXT " NOT NULL,"
    " media" TEXT " NOT NULL, created_ms BIGINT NOT NULL, ring_ms BIGINT NOT NULL,"
    " answer_ms BIGINT NOT NULL, end_ms BIGINT NOT NULL, state" TEXT " NOT NULL,"
    " end_reason" TEXT " NOT NULL, ended_by" TEXT " NOT NULL, path" TEXT " NOT NULL,"
    " node" TEXT " NOT NULL, region" TEXT " NOT NULL, relayed_bytes BIGINT NOT NULL);"
    "CREATE INDEX cdr_created ON cdr(created_ms);"
    "CREATE INDEX cdr_open ON cdr(call_id) WHERE end_ms=0;"
    "CREATE TABLE cdr_party(user_id" TEXT " NOT NULL, created_ms BIGINT NOT NULL,"
    " call_id BYTEA NOT NULL, role" TEXT " NOT NULL, device_id" TEXT " NOT NULL,"
    " joined_ms BIGINT NOT NULL, left_ms BIGINT NOT NULL, missed SMALLINT NOT NULL,"
    " seen SMALLINT NOT NULL DEFAULT 0, hidden SMALLINT NOT NULL DEFAULT 0,"
    " PRIMARY KEY(user_id, created_ms, call_id));"
    "CREATE UNIQUE INDEX cdr_party_call ON cdr_party(call_id, user_id);"
    "CREATE INDEX cdr_party_missed ON cdr_party(user_id, created_ms, call_id, seen,"
    " hidden) WHERE missed=1;"
    "CREATE TABLE push_log(apns_id" TEXT " PRIMARY KEY, call_id BYTEA NOT NULL,"
    " user_id" TEXT " NOT NULL, device_id" TEXT " NOT NULL, kind" TEXT " NOT NULL,"
    " status BIGINT NOT NULL, reason" TEXT " NOT NULL, sent_ms BIGINT NOT NULL,"
    " answered_ms BIGINT NOT NULL);"
    "CREATE INDEX push_log_user ON push_log(user_id, sent_ms, apns_id);"
    "CREATE INDEX push_log_sent ON push_log(sent_ms);"
    "CREATE TABLE quality_leg(call_id BYTEA NOT NULL, user_id" TEXT " NOT NULL,"
    " leg" TEXT " NOT NULL, at_ms BIGINT NOT NULL, model" TEXT " NOT NULL,"
    " codec" TEXT " NOT NULL, path" TEXT " NOT NULL, samples BIGINT NOT NULL,"
    " mos_avg BIGINT NOT NULL, mos_p10 BIGINT NOT NULL, mos_min BIGINT NOT NULL,"
    " loss BIGINT NOT NULL, rtt_ms BIGINT NOT NULL, jitter_ms BIGINT NOT NULL,"
    " silence_ms BIGINT NOT NULL, worst" TEXT " NOT NULL, PRIMARY KEY(call_id, user_id,"
    " leg));"
    "CREATE INDEX quality_user ON quality_leg(user_id, at_ms);"
    "CREATE INDEX quality_at ON quality_leg(at_ms);"
    "CREATE TABLE usage_day(node" TEXT " NOT NULL, day" TEXT " NOT NULL,"
    " region" TEXT " NOT NULL, path" TEXT " NOT NULL, media" TEXT " NOT NULL,"
    " state" TEXT " NOT NULL, calls BIGINT NOT NULL, seconds BIGINT NOT NULL,"
    " relayed_bytes BIGINT NOT NULL, ice_failed BIGINT NOT NULL, PRIMARY KEY(node, day,"
    " region, path, media, state));"
    "CREATE TABLE device(user_id" TEXT " NOT NULL, device_id" TEXT " NOT NULL,"
    " platform" TEXT " NOT NULL, app_id" TEXT " NOT NULL, version" TEXT " NOT NULL,"
    " locale" TEXT " NOT NULL, env" TEXT " NOT NULL, call_ui" TEXT " NOT NULL,"
    " seen_ms BIGINT NOT NULL, PRIMARY KEY(user_id, device_id));"
    "CREATE INDEX device_seen ON device(seen_ms);"
    "CREATE TABLE push_token(token_hash BYTEA PRIMARY KEY, user_id" TEXT " NOT NULL,"
    " device_id" TEXT " NOT NULL, type" TEXT " NOT NULL, call_id BYTEA NOT NULL,"
    " token BYTEA NOT NULL, registered_ms BIGINT NOT NULL, expires_ms BIGINT NOT NULL);"
    "CREATE UNIQUE INDEX push_token_device ON push_token(user_id, device_id, type, call_id);"
    "CREATE INDEX push_token_expires ON push_token(expires_ms) WHERE expires_ms>0;"
    "CREATE TABLE privacy_request(req_id BYTEA PRIMARY KEY, user_id" TEXT ","
    " subject BYTEA NOT NULL, kind" TEXT " NOT NULL, state" TEXT " NOT NULL,"
    " actor" TEXT " NOT NULL, requested_ms BIGINT NOT NULL, due_ms BIGINT NOT NULL,"
    " done_ms BIGINT NOT NULL DEFAULT 0, expires_ms BIGINT NOT NULL DEFAULT 0,"
    " bytes BIGINT NOT NULL DEFAULT 0, sha256 BYTEA, ndjson SMALLINT NOT NULL DEFAULT 0);"
    "CREATE INDEX privacy_request_subject ON privacy_request(subject, kind, requested_ms);"
    "CREATE INDEX privacy_request_open ON privacy_request(kind, state, due_ms);"
    "CREATE INDEX privacy_request_user ON privacy_request(user_id) WHERE user_id IS NOT NULL;"
    "CREATE TABLE audit(seq BIGINT PRIMARY KEY, at_ms BIGINT NOT NULL,"
    " actor" TEXT " NOT NULL, action" TEXT " NOT NULL, subject BYTEA NOT NULL,"
    " prev BYTEA NOT NULL, hash BYTEA NOT NULL);"
    "CREATE INDEX audit_subject ON audit(subject, seq);"
    "CREATE TABLE erased(subject BYTEA PRIMARY KEY, at_ms BIGINT NOT NULL);"
    "CREATE TABLE quality_sample(call_id BYTEA NOT NULL, user_id" TEXT " NOT NULL,"
    " leg" TEXT " NOT NULL, at_ms BIGINT NOT NULL, interval_ms BIGINT NOT NULL,"
    " rtt_ms BIGINT NOT NULL, jitter_ms BIGINT NOT NULL, buffer_ms BIGINT NOT NULL,"
    " silence_ms BIGINT NOT NULL, loss BIGINT NOT NULL, burst BIGINT NOT NULL,"
    " bps BIGINT NOT NULL, codec" TEXT " NOT NULL, path" TEXT " NOT NULL,"
    " r BIGINT NOT NULL, mos BIGINT NOT NULL, PRIMARY KEY(call_id, user_id, leg, at_ms));"
    "CREATE INDEX quality_sample_user ON quality_sample(user_id, at_ms, call_id, leg);"
    "CREATE INDEX quality_sample_at ON quality_sample(at_ms);"
    "CREATE TABLE usage_push(node" TEXT " NOT NULL, day" TEXT " NOT NULL,"
    " kind" TEXT " NOT NULL, status BIGINT NOT NULL, reason" TEXT " NOT NULL,"
    " pushes BIGINT NOT NULL, PRIMARY KEY(node, day, kind, status, reason));"
    "CREATE FUNCTION sori_device_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " IF TG_OP<>'INSERT' THEN PERFORM pg_notify('" PG_CHANNEL "', OLD.user_id); END IF;"
    " IF TG_OP<>'DELETE' THEN PERFORM pg_notify('" PG_CHANNEL "', NEW.user_id); END IF;"
    " RETURN NULL; END $$;"
    "CREATE TRIGGER device_changed AFTER INSERT OR UPDATE OR DELETE ON device FOR EACH ROW"
    " EXECUTE FUNCTION sori_device_changed();"
    "CREATE TRIGGER push_token_changed AFTER INSERT OR DELETE OR UPDATE OF user_id, device_id,"
    " type, call_id, registered_ms, expires_ms ON push_token FOR EACH ROW"
    " EXECUTE FUNCTION sori_device_changed();",
    "ALTER TABLE quality_leg ADD COLUMN network" TEXT " NOT NULL DEFAULT '';",
    "ALTER TABLE push_token ADD COLUMN sealed_by" TEXT " NOT NULL DEFAULT '';",
    "CREATE TABLE hold(user_id" TEXT " PRIMARY KEY, since_ms BIGINT NOT NULL);",
};

const char *const pg_store_vacuum[] = {
    "cdr",    "cdr_party",  "push_log",        "quality_leg", "quality_sample",
    "device", "push_token", "privacy_request", "hold",        NULL};

#define OPEN_END "GREATEST(created_ms, answer_ms, " HEARD_OF ")"

const char *const pg_store_sql[SQ_COUNT] = {
    [SQ_BEGIN] = "BEGIN READ ONLY",
    [SQ_ALONE] = "SELECT pg_advisory_xact_lock(" PG_LOCK_WRITE ")",
    [SQ_OPEN_SUM] =
        "INSERT INTO usage_day AS u(day, region, path, media, state, calls, seconds,"
        " relayed_bytes, ice_failed, node) SELECT to_char(to_timestamp(created_ms/1000) AT TIME"
        " ZONE 'UTC', 'YYYY-MM-DD'), region, path, media, state, COUNT(*),"
        " SUM(GREATEST(0, " OPEN_END "-answer_ms)/1000), SUM(relayed_bytes), 0, ?1 FROM cdr"
        " WHERE end_ms=0 AND node=?1 GROUP BY 1,2,3,4,5"
        " ON CONFLICT(node, day, region, path, media, state) DO UPDATE SET"
        " calls=u.calls+excluded.calls, seconds=u.seconds+excluded.seconds,"
        " relayed_bytes=u.relayed_bytes+excluded.relayed_bytes",
    [SQ_OPEN_END] = "UPDATE cdr SET end_ms=" OPEN_END ", end_reason='server_error',"
                    " ended_by='system' WHERE end_ms=0 AND node=?1",
    [SQ_USAGE_ADD] =
        "INSERT INTO usage_day AS u(day, region, path, media, state, calls, seconds,"
        " relayed_bytes, ice_failed, node) VALUES(" DAY_OF ",?2,?3,?4,?5,1,?6,?7,?8,?9)"
        " ON CONFLICT(node, day, region, path, media, state) DO UPDATE SET calls=u.calls+1,"
        " seconds=u.seconds+excluded.seconds,"
        " relayed_bytes=u.relayed_bytes+excluded.relayed_bytes,"
        " ice_failed=u.ice_failed+excluded.ice_failed",
    [SQ_USAGE_TAKE] =
        "UPDATE usage_day SET calls=calls-1, seconds=GREATEST(0, seconds-?6),"
        " relayed_bytes=GREATEST(0, relayed_bytes-?7), ice_failed=GREATEST(0, ice_failed-?8)"
        " WHERE node=?9 AND day=" DAY_OF " AND region=?2 AND path=?3 AND media=?4 AND state=?5"
        " AND calls>0",
    [SQ_PUSH_SUM] = "INSERT INTO usage_push AS u(day, kind, status, reason, pushes, node)"
                    " VALUES(" DAY_OF ",?2,?3,?4,1,?5)"
                    " ON CONFLICT(node, day, kind, status, reason) DO UPDATE SET"
                    " pushes=u.pushes+1",
    [SQ_SWEEP_MINE] = "SELECT pg_try_advisory_lock(" PG_LOCK_SWEEP ")::int",
    [SQ_SWEEP_FREE] = "SELECT pg_advisory_unlock(" PG_LOCK_SWEEP ")",
    [SQ_AUDIT_LOCK] = "SELECT pg_advisory_xact_lock(" PG_LOCK_AUDIT ")",
    [SQ_ERASED_PUT] = "INSERT INTO erased(subject, at_ms) VALUES(?1,?2) ON CONFLICT(subject) DO"
                      " UPDATE SET at_ms=GREATEST(erased.at_ms, excluded.at_ms)",
};
