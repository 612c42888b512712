/* proto/sig.c, sig_client.c and sig_room_read.c: any text gives a message or a fault with a code
 * and a text; what is accepted keeps the contract's charsets and is passed on as valid JSON.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "proto/json.h"
#include "proto/sig_quality.h"
#include "proto/sig_record.h"
#include "proto/sig_room.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct json_limits limits = {SIG_DEPTH + 1, 2 * SIG_VALUES, 4 * SIG_LARGE_BYTES};

static void must(bool ok)
{
    if (!ok)
        abort();
}

static int read_session(const struct sig_msg *m, struct wr *scratch, struct sig_fault *fault)
{
    enum sig_presence presence;
    struct sig_hello hello;
    struct slice text;
    int rc;

    switch (m->type) {
    case SIG_HELLO:
        rc = sig_client_hello(&hello, m, scratch, fault);
        must(rc != 0 || sig_id_ok(hello.device));
        return rc;
    case SIG_AUTH_REFRESH:
        return sig_client_auth_refresh(&text, m, scratch, fault);
    case SIG_PING:
        return sig_client_ping(&text, m, fault);
    case SIG_PRESENCE_SET:
        return sig_client_presence_set(&presence, m, fault);
    default:
        rc = sig_client_presence_users(&text, m, fault);
        must(rc != 0 || json_items_count(text) <= SIG_USERS_MAX);
        return rc;
    }
}

/* What was taken is in range, and one figure fits the other. */
static int read_quality(const struct sig_msg *m, struct sig_fault *fault)
{
    struct sig_quality q;
    int rc = sig_quality_decode(&q, m, fault);

    if (rc != 0)
        return rc;
    must(q.interval_ms > 0 && q.interval_ms <= SIG_QUALITY_INTERVAL_MAX_MS);
    must(q.rtt_ms <= SIG_QUALITY_DELAY_MAX_MS && q.jitter_ms <= SIG_QUALITY_DELAY_MAX_MS &&
         q.buffer_ms <= SIG_QUALITY_DELAY_MAX_MS && q.frame_ms <= SIG_QUALITY_FRAME_MAX_MS);
    must(q.received <= SIG_QUALITY_PACKETS_MAX && q.lost <= SIG_QUALITY_PACKETS_MAX &&
         q.sent <= SIG_QUALITY_PACKETS_MAX && q.in_bps <= SIG_QUALITY_BPS_MAX &&
         q.out_bps <= SIG_QUALITY_BPS_MAX && q.max_bps <= SIG_QUALITY_BPS_MAX);
    must(q.samples <= SIG_QUALITY_SAMPLES_MAX && q.concealed <= q.samples &&
         q.concealments <= q.concealed && q.silence_ms <= q.interval_ms);
    must(q.samples > 0 || !(q.has & (SIG_QUALITY_CONCEALED | SIG_QUALITY_CONCEALMENTS)));
    must(q.voice < SIG_VOICE_COUNT && q.route < SIG_ROUTE_COUNT && q.network < SIG_NETWORK_COUNT);
    return 0;
}

static int read_call(const struct sig_msg *m, struct wr *scratch, struct sig_fault *fault)
{
    struct sig_negotiate negotiate;
    struct sig_reject reject;
    struct sig_invite invite;
    enum sig_reason reason;
    struct slice answer;
    enum sig_conn conn;
    int rc;

    switch (m->type) {
    case SIG_CALL_INVITE:
        rc = sig_client_invite(&invite, m, fault);
        must(rc != 0 || json_scan(invite.offer, &limits) == 0);
        must(rc != 0 || json_scan(invite.metadata, &limits) == 0);
        return rc;
    case SIG_CALL_ANSWER:
        rc = sig_client_answer(&answer, m, fault);
        must(rc != 0 || answer.len == 0 || json_scan(answer, &limits) == 0);
        return rc;
    case SIG_CALL_REJECT:
        return sig_client_reject(&reject, m, fault);
    case SIG_CALL_HANGUP:
        return sig_client_hangup(&reason, m, fault);
    case SIG_CALL_CANDIDATES:
        return sig_client_candidates(m, fault);
    case SIG_CALL_NEGOTIATE:
        rc = sig_client_negotiate(&negotiate, m, scratch, fault);
        must(rc != 0 || sig_id_ok(negotiate.id));
        return rc;
    case SIG_CALL_INFO:
        return sig_client_info(m, fault);
    case SIG_CALL_STATE:
        return sig_client_state(&conn, m, fault);
    case SIG_CALL_QUALITY:
        return read_quality(m, fault);
    default:
        return 0;
    }
}

static int read_offer(const struct sig_msg *m, struct wr *scratch, struct sig_fault *fault)
{
    static struct sig_room_offer o;
    int rc = m->type == SIG_ROOM_JOIN ? sig_room_join(&o, m, scratch, fault)
                                      : sig_room_offer(&o, m, scratch, fault);

    if (rc != 0)
        return rc;
    must(json_kind_of(o.sdp) == JSON_KIND_STRING && json_scan(o.sdp, &limits) == 0);
    must(o.n <= CTL_TRACKS_MAX && o.metadata.len <= SIG_ROOM_METADATA_MAX);
    must(!o.has_metadata || json_scan(o.metadata, &limits) == 0);
    for (size_t i = 0; i < o.n; i++)
        must(o.v[i].wish.mid.len > 0 && o.v[i].wish.mid.len <= RTP_MID_MAX &&
             o.v[i].name.len <= CTL_TRACK_NAME_MAX && o.v[i].wish.source < CTL_SOURCE_COUNT);
    return 0;
}

static int read_room(const struct sig_msg *m, struct wr *scratch, struct sig_fault *fault)
{
    static struct ctl_subscription subs[SIG_ROOM_SUBSCRIBE_MAX];
    struct sig_room_update update;
    struct sig_room_invite invite;
    struct slice a, b;
    bool flag;
    size_t n;
    int rc;

    must(sig_user_ok(m->room));
    switch (m->type) {
    case SIG_ROOM_JOIN:
    case SIG_ROOM_OFFER:
        return read_offer(m, scratch, fault);
    case SIG_ROOM_ANSWER:
        rc = sig_room_answer(&a, &b, m, scratch, fault);
        must(rc != 0 || json_kind_of(a) == JSON_KIND_STRING);
        return rc;
    case SIG_ROOM_CANDIDATES:
        rc = sig_room_candidates(&a, m, fault);
        must(rc != 0 || json_items_count(a) <= SIG_CANDIDATES_MAX);
        return rc;
    case SIG_ROOM_SUBSCRIBE:
        rc = sig_room_subscribe(subs, &n, m, scratch, fault);
        must(rc != 0 || (n > 0 && n <= SIG_ROOM_SUBSCRIBE_MAX));
        return rc;
    case SIG_ROOM_UNPUBLISH:
    case SIG_ROOM_MUTE:
        rc = sig_room_mute(&a, &flag, m, scratch, fault);
        must(rc != 0 || (a.len > 0 && a.len <= CTL_TRACK_MAX));
        return rc;
    case SIG_ROOM_UPDATE:
        rc = sig_room_update(&update, m, scratch, fault);
        must(rc != 0 || (update.name.len <= SIG_ROOM_NAME_MAX &&
                         update.metadata.len <= SIG_ROOM_METADATA_MAX));
        return rc;
    case SIG_ROOM_KICK:
        return sig_room_kick(&a, &flag, m, scratch, fault);
    case SIG_ROOM_INVITE:
        rc = sig_room_invite(&invite, m, fault);
        must(rc != 0 || json_items_count(invite.users) <= SIG_ROOM_INVITE_MAX);
        return rc;
    default:
        return 0;
    }
}

static int read_record(const struct sig_msg *m, struct wr *scratch, struct sig_fault *fault)
{
    static struct sig_history_pick pick;
    static struct sig_device device;
    struct sig_history_query query;
    struct slice text;
    int rc;

    switch (m->type) {
    case SIG_DEVICE_REGISTER:
        rc = sig_record_device(&device, m, scratch, fault);
        must(rc != 0 || (device.app.len > 0 && device.app.len <= SIG_APP_MAX &&
                         device.tokens_n <= SIG_TOKENS_MAX));
        for (size_t i = 0; rc == 0 && i < device.tokens_n; i++)
            must(device.tokens[i].token.len <= SIG_TOKEN_MAX && device.tokens[i].type.len > 0);
        return rc;
    case SIG_DEVICE_UNREGISTER:
        rc = sig_record_device_id(&text, m, scratch, fault);
        must(rc != 0 || text.len == 0 || sig_id_ok(text));
        return rc;
    case SIG_HISTORY_LIST:
        rc = sig_record_query(&query, m, scratch, fault);
        must(rc != 0 || (query.limit > 0 && query.limit <= SIG_PAGE_MAX));
        return rc;
    case SIG_HISTORY_SEEN:
    case SIG_HISTORY_DELETE:
        rc = sig_record_pick(&pick, m, fault);
        must(rc != 0 || pick.n <= SIG_PICK_MAX);
        must(rc != 0 || (pick.n > 0) == (pick.until_ms == UINT64_MAX));
        return rc;
    case SIG_PRIVACY_STATUS:
        return sig_record_kind(&text, m, scratch, fault);
    default:
        return 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t scratch_mem[SIG_SCRATCH_BYTES], out[2 * SIG_LARGE_BYTES];
    struct wr scratch = wr_init(scratch_mem, sizeof(scratch_mem));
    struct wr w = wr_init(out, sizeof(out));
    struct sig_fault fault = {0};
    struct sig_msg m;

    if (size > SIG_LARGE_BYTES)
        return 0;
    int rc = sig_decode(&m, slice_of(data, size), &scratch, &fault);
    must(!m.has_id || sig_id_ok(m.id));
    if (rc == 0) {
        must(sig_type_from_client(m.type) && size <= sig_type_max_bytes(m.type));
        rc = sig_type_needs_room(m.type)  ? read_room(&m, &scratch, &fault)
             : sig_type_is_record(m.type) ? read_record(&m, &scratch, &fault)
             : m.type >= SIG_CALL_INVITE  ? read_call(&m, &scratch, &fault)
                                          : read_session(&m, &scratch, &fault);
    }
    must(rc == 0 || (fault.code != SIG_OK && fault.text));
    sig_server_open(&w, 1, 0);
    if (rc == 0)
        sig_server_raw(&w,
                       &(struct sig_head){.type = m.type,
                                          .re = m.id,
                                          .room = m.room,
                                          .call_id = m.has_call_id ? &m.call_id : NULL},
                       m.data);
    else
        sig_server_error(&w,
                         &(struct sig_error){.re = m.id, .code = fault.code, .text = fault.text});
    must(json_scan(wr_done(&w), &limits) == 0);
    return 0;
}
