/* Bodies of the bus about calls: a version, a kind, fields in one order for all kinds.
 *
 * Called by router_far.c and router_far_invite.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/far_wire.h"

#include <errno.h>

#include "server/call.h"

#define VERSION 2

static void put_text(struct wr *w, struct slice text)
{
    wr_u8(w, (uint8_t)text.len);
    wr_bytes(w, text);
}

void far_wire_encode(struct wr *w, const struct far_message *m)
{
    wr_u8(w, VERSION);
    wr_u8(w, (uint8_t)m->kind);
    wr_bytes(w, slice_of(m->call.b, sizeof(m->call.b)));
    put_text(w, m->user);
    put_text(w, m->device);
    wr_bytes(w, slice_of(m->session, sizeof(m->session)));
    wr_be64(w, m->id_hash);
    wr_u8(w, m->flags);
    wr_u8(w, m->event);
    wr_u8(w, m->can_wait);
    put_text(w, m->name);
    wr_bytes(w, m->text);
}

static void take_bytes(struct rd *r, uint8_t *out, size_t n)
{
    struct slice s = rd_take(r, n);

    if (s.len == n)
        memcpy(out, s.p, n);
}

int far_wire_decode(struct far_message *out, struct slice body)
{
    struct rd r = rd_init(body);
    struct far_message m = {0};

    uint8_t version = rd_u8(&r), kind = rd_u8(&r);
    take_bytes(&r, m.call.b, sizeof(m.call.b));
    m.user = rd_take(&r, rd_u8(&r));
    m.device = rd_take(&r, rd_u8(&r));
    take_bytes(&r, m.session, sizeof(m.session));
    m.id_hash = rd_be64(&r);
    m.flags = rd_u8(&r);
    m.event = rd_u8(&r);
    m.can_wait = rd_u8(&r) != 0;
    m.name = rd_take(&r, rd_u8(&r));
    if (r.bad || version != VERSION || kind >= FAR_KINDS || m.event >= CALL_EV_COUNT ||
        (kind != FAR_TAKEN && !sig_user_ok(m.user)) ||
        (kind != FAR_TAKEN && kind != FAR_CHECK && !sig_id_ok(m.device)) ||
        m.name.len > SESSION_NAME_MAX)
        return -EBADMSG;
    m.kind = (enum far_kind)kind;
    m.text = rd_rest(&r);
    *out = m;
    return 0;
}
