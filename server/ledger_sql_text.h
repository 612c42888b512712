/* Parts of statements, for engines that say the rest in another way (ledger_sql_text.c).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_SQL_TEXT_H
#define SORI_SERVER_LEDGER_SQL_TEXT_H

#define HISTORY_COLUMNS                                                                           \
    "SELECT p.call_id, p.role, c.kind, c.media, p.missed, p.seen, p.hidden, p.device_id,"         \
    " p.created_ms, c.ring_ms, c.answer_ms, c.end_ms, c.state, c.end_reason, c.ended_by, c.path," \
    " c.relayed_bytes, CASE WHEN p.role<>'member' THEN (SELECT o.user_id FROM cdr_party o"        \
    "  WHERE o.call_id=p.call_id AND o.user_id<>p.user_id LIMIT 1) END,"                          \
    " q.samples, q.mos_avg, q.mos_min, q.loss, q.rtt_ms, q.model, q.mos_p10, q.jitter_ms,"        \
    " q.silence_ms, q.path, q.leg, q.codec, q.worst, q.network"
#define HISTORY_JOINS                                                                    \
    " JOIN cdr c ON c.call_id=p.call_id"                                                 \
    " LEFT JOIN quality_leg q ON q.call_id=p.call_id AND q.user_id=p.user_id AND"        \
    "  q.leg=(SELECT leg FROM quality_leg WHERE call_id=p.call_id AND user_id=p.user_id" \
    "  ORDER BY CASE leg WHEN 'relay' THEN 1 ELSE 0 END, samples DESC, leg LIMIT 1)"     \
    " WHERE p.user_id=?1 AND (p.created_ms, p.call_id)<(?2, ?3)"
/* When somebody last told how a call sounds; 0: nobody did. */
#define HEARD_OF      "COALESCE((SELECT MAX(q.at_ms) FROM quality_leg q WHERE q.call_id=cdr.call_id), 0)"
#define HISTORY_ORDER " ORDER BY p.created_ms DESC, p.call_id DESC LIMIT ?4"

#endif
