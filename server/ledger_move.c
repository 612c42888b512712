/* Tables and rows of a ledger that moves from SQLite to PostgreSQL.
 *
 * Called by ledger_store_{sqlite,pg}_move.c. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_move.h"

#include "proto/utf8.h"

#include <errno.h>
#include <string.h>

const struct ledger_move_table ledger_move_tables[LEDGER_MOVE_TABLES] = {
    {"meta", "key, value", "tb", "key", NULL, " WHERE key='key_check'"},
    {"cdr",
     "call_id, kind, media, created_ms, ring_ms, answer_ms, end_ms, state, end_reason, ended_by,"
     " path, node, region, relayed_bytes",
     "bttnnnnttttttn", "call_id", NULL, ""},
    {"cdr_party",
     "user_id, created_ms, call_id, role, device_id, joined_ms, left_ms, missed, seen, hidden",
     "tnbttnnyyy", "user_id, created_ms, call_id", NULL, ""},
    {"push_log", "apns_id, call_id, user_id, device_id, kind, status, reason, sent_ms, answered_ms",
     "tbtttntnn", "apns_id", NULL, ""},
    {"quality_leg",
     "call_id, user_id, leg, at_ms, model, codec, path, samples, mos_avg, mos_p10, mos_min, loss,"
     " rtt_ms, jitter_ms, silence_ms, worst, network",
     "bttntttnnnnnnnntt", "call_id, user_id, leg", NULL, ""},
    {"quality_sample",
     "call_id, user_id, leg, at_ms, interval_ms, rtt_ms, jitter_ms, buffer_ms, silence_ms, loss,"
     " burst, bps, codec, path, r, mos",
     "bttnnnnnnnnnttnn", "call_id, user_id, leg, at_ms", NULL, ""},
    {"usage_day",
     "node, day, region, path, media, state, calls, seconds, relayed_bytes, ice_failed",
     "ttttttnnnn", "day, region, path, media, state",
     "'', day, region, path, media, state, calls, seconds, relayed_bytes, ice_failed", ""},
    {"usage_push", "node, day, kind, status, reason, pushes", "tttntn", "day, kind, status, reason",
     "'', day, kind, status, reason, pushes", ""},
    {"device", "user_id, device_id, platform, app_id, version, locale, env, call_ui, seen_ms",
     "ttttttttn", "user_id, device_id", NULL, ""},
    {"push_token",
     "token_hash, user_id, device_id, type, call_id, token, registered_ms, expires_ms,"
     " sealed_by",
     "btttbbnnt", "token_hash", NULL, ""},
    {"hold", "user_id, since_ms", "tn", "user_id", NULL, ""},
    {"privacy_request",
     "req_id, user_id, subject, kind, state, actor, requested_ms, due_ms, done_ms, expires_ms,"
     " bytes, sha256, ndjson",
     "btbtttnnnnnby", "req_id", NULL, ""},
    {"audit", "seq, at_ms, actor, action, subject, prev, hash", "nnttbbb", "seq", NULL, ""},
    {"erased", "subject, at_ms", "bn", "subject", NULL, ""},
};

void ledger_move_head(struct wr *w)
{
    static const uint8_t signature[] = {'P', 'G', 'C', 'O', 'P', 'Y', '\n', 0xff, '\r', '\n', 0};

    wr_bytes(w, slice_of(signature, sizeof(signature)));
    wr_be32(w, 0); /* flags */
    wr_be32(w, 0); /* extension */
}

void ledger_move_tail(struct wr *w)
{
    wr_be16(w, UINT16_MAX);
}

static bool text_ok(struct slice v)
{
    return v.len == 0 || (!memchr(v.p, 0, v.len) && utf8_valid(v));
}

int ledger_move_row(struct wr *w, const struct ledger_move_table *t,
                    const struct ledger_move_field *f)
{
    size_t n = strlen(t->types);

    for (size_t i = 0; i < n; i++)
        if (t->types[i] == 't' && !f[i].null && !text_ok(f[i].bytes))
            return -EINVAL;
    wr_be16(w, (uint16_t)n);
    for (size_t i = 0; i < n; i++) {
        if (f[i].null) {
            wr_be32(w, UINT32_MAX);
        } else if (t->types[i] == 'n') {
            wr_be32(w, 8);
            wr_be64(w, (uint64_t)f[i].number);
        } else if (t->types[i] == 'y') {
            wr_be32(w, 2);
            wr_be16(w, f[i].number != 0);
        } else {
            wr_be32(w, (uint32_t)f[i].bytes.len);
            wr_bytes(w, f[i].bytes);
        }
    }
    return 0;
}
