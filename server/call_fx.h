/* Effects: what the call machine wants said, to whom. Values; the router performs them in order.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_FX_H
#define SORI_SERVER_CALL_FX_H

#include "proto/sig_server.h"

/* Devices of a callee that one call rings. */
#define CALL_LEGS_MAX 16
/* Candidate messages kept for one receiver until they may be passed on, and their bytes in all. */
#define CALL_KEPT_MAX       64
#define CALL_KEPT_BYTES_MAX 65536
/* Most effects of one step: a claim (reply, accepted, every other leg, the winner's candidates), or
 * a supersede together with a new call's fan-out. */
#define CALL_FX_MAX 112

enum call_fx_kind {
    CALL_FX_REPLY,    /* to the requester: it worked. type = the request's */
    CALL_FX_ERROR,    /* to the requester; dropped when the message had no id */
    CALL_FX_INCOMING, /* to a device of the callee */
    CALL_FX_RINGING,  /* to the caller */
    CALL_FX_ACCEPTED, /* to the caller */
    CALL_FX_ENDED,    /* to whoever knew of the call */
    CALL_FX_RELAY,    /* data_raw as sent; type candidates, negotiate or info */
    CALL_FX_STATE,    /* to a party: state, and conn as the peer reported it */
    CALL_FX_UPGRADE,  /* to the other party: room */
};

/* One effect. Slices borrow from the event, or from the call until the next step of this call. Only
 * the members of its kind are set, the rest is zero. */
struct call_fx {
    enum call_fx_kind kind;
    enum sig_type type;
    struct sig_call_id call_id;
    struct slice user, device; /* to whom; empty for REPLY and ERROR: the requester */
    struct slice from, from_device;
    struct slice data_raw; /* offer (INCOMING, glare), answer, data as sent (RELAY), or the
                              view (call.sync: see call_view) */
    struct slice metadata_raw, from_name; /* INCOMING */
    struct slice room_raw;                /* INCOMING into a room */
    struct slice
        room; /* UPGRADE and its REPLY; ACCEPTED and REPLY to call.answer of an invitation */
    uint64_t expires_in_ms, duration_ms;
    enum sig_call_state state;
    enum sig_conn conn; /* STATE; SIG_CONN_COUNT = left out */
    enum sig_err err;
    const char *err_text;       /* NULL = the code's own sentence */
    bool has_state;             /* ERROR: details.state */
    enum sig_reason reason;     /* ENDED; ERROR: details.reason */
    struct slice by, by_device; /* ENDED; ERROR: by_device = details.winner */
    bool missed;
    uint16_t online, pushed; /* REPLY to call.invite */
    bool glare;              /* REPLY to call.invite: merged; from, from_device, data_raw are set */
    struct sig_call_id merged_into;
    bool call_waiting;
    const struct sig_view *view; /* REPLY to call.sync: into the same call_effects */
    bool needs_ice;              /* the message carries iceServers for its receiver */
};

struct call_effects {
    size_t n;
    struct sig_view view;
    struct call_fx fx[CALL_FX_MAX];
};

/* Starts over. */
static inline void call_effects_clear(struct call_effects *out)
{
    out->n = 0;
}

/* Adds a zeroed effect of this kind and gives it. Never NULL: the bounds above make room for
 * everything (asserted). */
struct call_fx *call_fx_add(struct call_effects *out, enum call_fx_kind kind,
                            const struct sig_call_id *id);

/* Writes the body (sig_server.h) of an effect.
 *
 * re: the request's id for REPLY and ERROR. ice_raw: a JSON array of RTCIceServer for the receiver,
 * wanted when fx->needs_ice (empty = []). ts_ms: wall clock. w->bad when it does not fit:
 * call_fx_size() bytes always do. */
void call_fx_write(struct wr *w, const struct call_fx *fx, struct slice re, struct slice ice_raw,
                   uint64_t ts_ms);
size_t call_fx_size(const struct call_fx *fx, struct slice ice_raw);

#endif
