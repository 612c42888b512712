/* Effects into message bodies.
 *
 * Called by the call machine (adding) and by router.c (writing, in order). Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_fx.h"

#include <assert.h>

#include "server/call_reason.h"

/* A text grows to at most six bytes a character when it is escaped. */
enum { ESCAPED = 6 };

struct call_fx *call_fx_add(struct call_effects *out, enum call_fx_kind kind,
                            const struct sig_call_id *id)
{
    assert(out->n < CALL_FX_MAX);
    struct call_fx *fx = &out->fx[out->n++];
    *fx = (struct call_fx){.kind = kind, .call_id = *id, .conn = SIG_CONN_COUNT};
    return fx;
}

static void write_invite_reply(struct wr *w, const struct sig_head *h, const struct call_fx *fx,
                               struct slice ice_raw)
{
    if (!fx->glare) {
        sig_server_invite_reply(w, h, fx->state, fx->expires_in_ms, fx->online, fx->pushed,
                                ice_raw);
        return;
    }
    struct sig_head reply = {.type = h->type, .re = h->re, .call_id = h->call_id};
    sig_server_glare_reply(w, &reply,
                           &(struct sig_glare){.merged_into = &fx->merged_into,
                                               .offer_raw = fx->data_raw,
                                               .from = fx->from,
                                               .from_device = fx->from_device,
                                               .ice_servers_raw = ice_raw,
                                               .expires_in_ms = fx->expires_in_ms});
}

static void write_reply(struct wr *w, struct sig_head *h, const struct call_fx *fx,
                        struct slice ice_raw)
{
    h->type = fx->type;
    switch (fx->type) {
    case SIG_CALL_INVITE:
        write_invite_reply(w, h, fx, ice_raw);
        break;
    case SIG_CALL_UPGRADE:
        sig_server_call_room(w, h, fx->room);
        break;
    case SIG_CALL_ANSWER:
        if (fx->room.len > 0) {
            sig_server_room_answer_reply(w, h, fx->state, fx->room, ice_raw);
            break;
        }
        sig_server_answer_reply(w, h, fx->state, ice_raw);
        break;
    case SIG_CALL_CANCEL:
        sig_server_cancel_reply(w, h, fx->state);
        break;
    case SIG_CALL_HANGUP:
        sig_server_hangup_reply(w, h, fx->duration_ms);
        break;
    case SIG_CALL_SYNC:
        sig_server_sync_reply(w, h, fx->view);
        break;
    default:
        sig_server_raw(w, h, SLICE_LIT("{}"));
        break;
    }
}

static void write_error(struct wr *w, const struct call_fx *fx, struct slice re)
{
    sig_server_error(w, &(struct sig_error){.re = re,
                                            .call_id = &fx->call_id,
                                            .code = fx->err,
                                            .text = fx->err_text,
                                            .has_state = fx->has_state,
                                            .state = fx->state,
                                            .winner = fx->by_device,
                                            .reason = fx->reason});
}

static void write_incoming(struct wr *w, const struct sig_head *h, const struct call_fx *fx,
                           struct slice ice_raw)
{
    sig_server_incoming(w, h,
                        &(struct sig_incoming){.offer_raw = fx->data_raw,
                                               .metadata_raw = fx->metadata_raw,
                                               .room_raw = fx->room_raw,
                                               .from_name = fx->from_name,
                                               .ice_servers_raw = ice_raw,
                                               .expires_in_ms = fx->expires_in_ms,
                                               .call_waiting = fx->call_waiting});
}

static void write_ended(struct wr *w, const struct sig_head *h, const struct call_fx *fx)
{
    sig_server_ended(w, h,
                     &(struct sig_ended){.reason = fx->reason,
                                         .by = fx->by,
                                         .by_device = fx->by_device,
                                         .sip_code = call_reason_sip(fx->reason),
                                         .duration_ms = fx->duration_ms,
                                         .missed = fx->missed});
}

void call_fx_write(struct wr *w, const struct call_fx *fx, struct slice re, struct slice ice_raw,
                   uint64_t ts_ms)
{
    struct sig_head h = {.type = fx->type,
                         .call_id = &fx->call_id,
                         .from = fx->from,
                         .from_device = fx->from_device,
                         .ts_ms = ts_ms};

    switch (fx->kind) {
    case CALL_FX_REPLY:
        h.re = re;
        write_reply(w, &h, fx, ice_raw);
        break;
    case CALL_FX_ERROR:
        write_error(w, fx, re);
        break;
    case CALL_FX_INCOMING:
        h.type = SIG_CALL_INCOMING;
        write_incoming(w, &h, fx, ice_raw);
        break;
    case CALL_FX_RINGING:
        h.type = SIG_CALL_RINGING;
        sig_server_raw(w, &h, (struct slice){0});
        break;
    case CALL_FX_ACCEPTED:
        h.type = SIG_CALL_ACCEPTED;
        if (fx->room.len > 0)
            sig_server_call_room(w, &h, fx->room);
        else
            sig_server_accepted(w, &h, fx->data_raw);
        break;
    case CALL_FX_ENDED:
        h.type = SIG_CALL_ENDED;
        write_ended(w, &h, fx);
        break;
    case CALL_FX_RELAY:
        sig_server_raw(w, &h, fx->data_raw);
        break;
    case CALL_FX_STATE:
        h.type = SIG_CALL_STATE;
        sig_server_call_state(w, &h, fx->state, fx->conn);
        break;
    case CALL_FX_UPGRADE:
        h.type = SIG_CALL_UPGRADE;
        sig_server_call_room(w, &h, fx->room);
        break;
    }
}

size_t call_fx_size(const struct call_fx *fx, struct slice ice_raw)
{
    size_t texts = SIG_ID_MAX + fx->from.len + fx->from_device.len + fx->from_name.len +
                   fx->by.len + fx->by_device.len;
    size_t n = SIG_SERVER_BODY_BASE + fx->data_raw.len + fx->metadata_raw.len + ice_raw.len +
               fx->room_raw.len + fx->room.len;

    if (fx->view) {
        n += fx->view->offer_raw.len + fx->view->answer_raw.len + fx->view->room_raw.len;
        texts += fx->view->peer.len + fx->view->peer_device.len;
    }
    return n + texts * ESCAPED;
}
