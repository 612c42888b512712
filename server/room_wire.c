/* Bodies of the bus about rooms: a version, a kind, fields in one order for all kinds.
 *
 * Called by router_far.c, router_far_room.c and router_far_seat.c. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/room_wire.h"

#include <errno.h>

#define VERSION 0x81 /* those of calls (far_wire.c) begin with less */

enum { SUBSCRIBE = 1, DATA = 2, ADMIN = 4, HIDDEN = 8, MAY_CALL = 16 };

static void put_text(struct wr *w, struct slice text)
{
    wr_u8(w, (uint8_t)text.len);
    wr_bytes(w, text);
}

static struct slice take_text(struct rd *r)
{
    return rd_take(r, rd_u8(r));
}

bool room_wire_is(struct slice body)
{
    return body.len > 0 && body.p[0] == VERSION;
}

void room_wire_encode(struct wr *w, const struct room_message *m)
{
    const struct sig_room_perms *p = &m->perms;

    wr_u8(w, VERSION);
    wr_u8(w, (uint8_t)m->kind);
    put_text(w, m->room);
    put_text(w, m->user);
    put_text(w, m->device);
    wr_bytes(w, slice_of(m->session, sizeof(m->session)));
    wr_be64(w, m->id_hash);
    wr_u8(w, m->flags);
    wr_u8(w, m->event);
    wr_u8(w, m->tries);
    wr_be16(w, (uint16_t)p->publish);
    wr_u8(w,
          (uint8_t)((p->subscribe ? SUBSCRIBE : 0) | (p->data ? DATA : 0) | (p->admin ? ADMIN : 0) |
                    (p->hidden ? HIDDEN : 0) | (m->may_call ? MAY_CALL : 0)));
    put_text(w, m->name);
    put_text(w, m->bound);
    put_text(w, m->participant);
    wr_bytes(w, m->text);
}

static bool fits(const struct room_message *m)
{
    bool asks =
        m->kind == ROOM_WIRE_ASK || m->kind == ROOM_WIRE_EVENT || m->kind == ROOM_WIRE_AGAIN;

    if (asks && (!sig_user_ok(m->user) || !sig_id_ok(m->device)))
        return false;
    return sig_user_ok(m->room) && m->event < ROOM_WIRE_EVENTS &&
           (m->perms.publish & ~CTL_SOURCES_ALL) == 0 && m->name.len <= SESSION_NAME_MAX &&
           m->bound.len <= SIG_ROOM_MAX && m->participant.len <= CTL_PARTICIPANT_MAX;
}

int room_wire_decode(struct room_message *out, struct slice body)
{
    struct rd r = rd_init(body);
    struct room_message m = {0};

    uint8_t version = rd_u8(&r), kind = rd_u8(&r);
    m.room = take_text(&r);
    m.user = take_text(&r);
    m.device = take_text(&r);
    struct slice session = rd_take(&r, sizeof(m.session));
    m.id_hash = rd_be64(&r);
    m.flags = rd_u8(&r);
    m.event = rd_u8(&r);
    m.tries = rd_u8(&r);
    m.perms.publish = rd_be16(&r);
    uint8_t may = rd_u8(&r);
    m.name = take_text(&r);
    m.bound = take_text(&r);
    m.participant = take_text(&r);
    m.text = rd_rest(&r);
    if (r.bad || version != VERSION || kind >= ROOM_WIRE_KINDS)
        return -EBADMSG;
    m.kind = (enum room_wire_kind)kind;
    memcpy(m.session, session.p, sizeof(m.session));
    m.perms.subscribe = (may & SUBSCRIBE) != 0;
    m.perms.data = (may & DATA) != 0;
    m.perms.admin = (may & ADMIN) != 0;
    m.perms.hidden = (may & HIDDEN) != 0;
    m.may_call = (may & MAY_CALL) != 0;
    if (!fits(&m))
        return -EBADMSG;
    *out = m;
    return 0;
}
