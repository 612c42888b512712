/* Writers of the server's messages (docs/SIGNALING.md §3 to §5, §7).
 *
 * Called by session.c and client.c (session messages, errors), presence.c, and call_fx.c (calls).
 * Pure. A body starts behind the opening brace; `member` writes each field with the comma it needs,
 * so the order of optional fields does not matter. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sig_server.h"

#include "proto/sig_write.h"

void sig_server_open(struct wr *w, uint64_t seq, uint64_t ack)
{
    wr_u8(w, '{');
    if (seq > 0) {
        number(w, "seq", seq);
        wr_u8(w, ',');
    }
    if (ack > 0) {
        wr_bytes(w, SLICE_LIT("\"ack\":"));
        wr_u64(w, ack);
        wr_u8(w, ',');
    }
}

void sig_server_raw(struct wr *w, const struct sig_head *h, struct slice data_raw)
{
    head(w, h);
    raw_if(w, "data", data_raw);
    wr_u8(w, '}');
}

/* ---- session ---- */

void sig_server_welcome(struct wr *w, const struct sig_welcome *m)
{
    begin(w, &(struct sig_head){.type = SIG_WELCOME});
    text(w, "sessionId", m->session_id);
    text(w, "resumeToken", m->resume_token);
    number(w, "resumeTtlMs", m->resume_ttl_ms);
    truth(w, "resumed", m->resumed);
    number(w, "lastSeq", m->last_seq);
    text(w, "userId", m->user);
    text_if(w, "name", m->name);
    text(w, "deviceId", m->device);
    text(w, "nodeId", m->node);
    number(w, "serverTime", m->server_time_ms);
    number(w, "pingIntervalMs", m->ping_interval_ms);
    number(w, "pingTimeoutMs", m->ping_timeout_ms);
    key(w, "limits");
    wr_u8(w, '{');
    number(w, "messageBytes", SIG_SMALL_BYTES);
    number(w, "sdpBytes", SIG_LARGE_BYTES);
    wr_u8(w, '}');
    raw(w, "activeCalls", m->active_calls_raw.len > 0 ? m->active_calls_raw : SLICE_LIT("[]"));
    end(w);
}

void sig_server_ack(struct wr *w, uint64_t ack)
{
    wr_bytes(w, SLICE_LIT("{\"type\":\"ack\",\"ack\":"));
    wr_u64(w, ack);
    wr_u8(w, '}');
}

void sig_server_pong(struct wr *w, struct slice re, struct slice t_raw)
{
    begin(w, &(struct sig_head){.type = SIG_PONG, .re = re});
    raw_if(w, "t", t_raw);
    end(w);
}

void sig_server_auth_expiring(struct wr *w, uint64_t expires_in_ms)
{
    begin(w, &(struct sig_head){.type = SIG_AUTH_EXPIRING});
    number(w, "expiresInMs", expires_in_ms);
    end(w);
}

void sig_server_auth_refresh(struct wr *w, struct slice re, uint64_t expires_in_ms)
{
    begin(w, &(struct sig_head){.type = SIG_AUTH_REFRESH, .re = re});
    number(w, "expiresInMs", expires_in_ms);
    end(w);
}

void sig_server_goaway(struct wr *w, uint64_t reconnect_delay_ms, bool resumable,
                       uint64_t deadline_ms)
{
    begin(w, &(struct sig_head){.type = SIG_SERVER_GOAWAY});
    number(w, "reconnectDelayMs", reconnect_delay_ms);
    truth(w, "resumable", resumable);
    number(w, "deadlineMs", deadline_ms);
    end(w);
}

void sig_server_error(struct wr *w, const struct sig_error *e)
{
    begin(w, &(struct sig_head){
                 .type = SIG_ERROR, .re = e->re, .call_id = e->call_id, .room = e->room});
    word(w, "code", sig_err_name(e->code));
    number(w, "status", sig_err_status(e->code));
    if (e->message.len > 0)
        text(w, "message", e->message);
    else
        word(w, "message", e->text ? e->text : sig_err_text(e->code));
    truth(w, "retryable", sig_err_retryable(e->code));
    if (e->retry_after_ms > 0)
        number(w, "retryAfterMs", e->retry_after_ms);
    if (e->has_state || e->winner.len > 0 || e->reason != SIG_REASON_NONE) {
        key(w, "details");
        wr_u8(w, '{');
        text_if(w, "winner", e->winner);
        if (e->has_state)
            word(w, "state", sig_call_state_name(e->state));
        if (e->reason != SIG_REASON_NONE)
            word(w, "reason", sig_reason_name(e->reason));
        wr_u8(w, '}');
    }
    end(w);
}

/* ---- presence ---- */

void sig_server_presence_set(struct wr *w, struct slice re, enum sig_presence state)
{
    begin(w, &(struct sig_head){.type = SIG_PRESENCE_SET, .re = re});
    word(w, "state", sig_presence_name(state));
    end(w);
}

void sig_server_presence_begin(struct wr *w, enum sig_type type, struct slice re)
{
    begin(w, &(struct sig_head){.type = type, .re = re});
    raw(w, "users", SLICE_LIT("["));
}

void sig_server_presence_item(struct wr *w, bool first, struct slice user, enum sig_presence state,
                              struct slice name)
{
    if (!first)
        wr_u8(w, ',');
    wr_u8(w, '{');
    text(w, "user", user);
    word(w, "state", sig_presence_name(state));
    text_if(w, "name", name);
    wr_u8(w, '}');
}

void sig_server_presence_end(struct wr *w)
{
    wr_u8(w, ']');
    end(w);
}

/* ---- calls ---- */

void sig_server_invite_reply(struct wr *w, const struct sig_head *h, enum sig_call_state state,
                             uint64_t expires_in_ms, unsigned online, unsigned pushed,
                             struct slice ice_servers_raw)
{
    begin(w, h);
    word(w, "state", sig_call_state_name(state));
    number(w, "expiresInMs", expires_in_ms);
    key(w, "devices");
    wr_u8(w, '{');
    number(w, "online", online);
    number(w, "pushed", pushed);
    wr_u8(w, '}');
    ice_servers(w, ice_servers_raw);
    end(w);
}

void sig_server_glare_reply(struct wr *w, const struct sig_head *h, const struct sig_glare *g)
{
    begin(w, h);
    word(w, "state", "glare");
    call_id(w, "mergedInto", g->merged_into);
    raw(w, "offer", g->offer_raw);
    text(w, "from", g->from);
    text(w, "fromDevice", g->from_device);
    number(w, "expiresInMs", g->expires_in_ms);
    ice_servers(w, g->ice_servers_raw);
    end(w);
}

void sig_server_incoming(struct wr *w, const struct sig_head *h, const struct sig_incoming *m)
{
    begin(w, h);
    raw_if(w, "offer", m->offer_raw);
    raw_if(w, "room", m->room_raw);
    raw_if(w, "metadata", m->metadata_raw);
    text_if(w, "fromName", m->from_name);
    number(w, "expiresInMs", m->expires_in_ms);
    ice_servers(w, m->ice_servers_raw);
    truth(w, "callWaiting", m->call_waiting);
    end(w);
}

void sig_server_answer_reply(struct wr *w, const struct sig_head *h, enum sig_call_state state,
                             struct slice ice_servers_raw)
{
    begin(w, h);
    word(w, "state", sig_call_state_name(state));
    ice_servers(w, ice_servers_raw);
    end(w);
}

void sig_server_room_answer_reply(struct wr *w, const struct sig_head *h, enum sig_call_state state,
                                  struct slice room, struct slice ice_servers_raw)
{
    begin(w, h);
    word(w, "state", sig_call_state_name(state));
    text(w, "roomId", room);
    ice_servers(w, ice_servers_raw);
    end(w);
}

void sig_server_call_room(struct wr *w, const struct sig_head *h, struct slice room)
{
    begin(w, h);
    text(w, "roomId", room);
    end(w);
}

void sig_server_accepted(struct wr *w, const struct sig_head *h, struct slice answer_raw)
{
    begin(w, h);
    raw(w, "answer", answer_raw);
    end(w);
}

void sig_server_cancel_reply(struct wr *w, const struct sig_head *h, enum sig_call_state state)
{
    begin(w, h);
    word(w, "state", sig_call_state_name(state));
    end(w);
}

void sig_server_hangup_reply(struct wr *w, const struct sig_head *h, uint64_t duration_ms)
{
    begin(w, h);
    number(w, "durationMs", duration_ms);
    end(w);
}

void sig_server_turn_reply(struct wr *w, const struct sig_head *h, struct slice ice_servers_raw,
                           uint64_t ttl_ms)
{
    begin(w, h);
    ice_servers(w, ice_servers_raw);
    number(w, "ttlMs", ttl_ms);
    end(w);
}

void sig_server_ended(struct wr *w, const struct sig_head *h, const struct sig_ended *m)
{
    begin(w, h);
    word(w, "reason", sig_reason_name(m->reason));
    text_if(w, "by", m->by);
    text_if(w, "deviceId", m->by_device);
    number(w, "sipCode", m->sip_code);
    number(w, "durationMs", m->duration_ms);
    truth(w, "missed", m->missed);
    end(w);
}

void sig_server_call_state(struct wr *w, const struct sig_head *h, enum sig_call_state state,
                           enum sig_conn conn)
{
    begin(w, h);
    word(w, "state", sig_call_state_name(state));
    if (conn != SIG_CONN_COUNT)
        word(w, "connectionState", sig_conn_name(conn));
    end(w);
}

void sig_server_view(struct wr *w, const struct sig_view *v)
{
    wr_u8(w, '{');
    call_id(w, "callId", v->call_id);
    word(w, "state", sig_call_state_name(v->state));
    if (v->state == SIG_CALL_OVER)
        word(w, "reason", sig_reason_name(v->reason));
    word(w, "role", v->caller ? "caller" : "callee");
    text(w, "peer", v->peer);
    text_if(w, "peerDevice", v->peer_device);
    truth(w, "isVideo", v->is_video);
    if (v->has_expires)
        number(w, "expiresInMs", v->expires_in_ms);
    truth(w, "selected", v->selected);
    raw_if(w, "answer", v->answer_raw);
    raw_if(w, "offer", v->offer_raw);
    raw_if(w, "room", v->room_raw);
    truth(w, "callWaiting", v->call_waiting);
    wr_u8(w, '}');
}

void sig_server_sync_reply(struct wr *w, const struct sig_head *h, const struct sig_view *v)
{
    head(w, h);
    key(w, "data");
    sig_server_view(w, v);
    wr_u8(w, '}');
}
