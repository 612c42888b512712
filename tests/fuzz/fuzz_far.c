/* server/node_bus.c, server/far_wire.c and server/room_wire.c under whatever is said in a node's
 * channel, and session_share.c and room_snapshot.c under what stands in Redis: what is read is what
 * would be written. SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "server/call_claims.h"
#include "server/far_wire.h"
#include "server/node_bus.h"
#include "server/room_snapshot.h"
#include "server/room_wire.h"
#include "server/session_share.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void body(struct slice in)
{
    static uint8_t buf[65536];
    struct wr w = wr_init(buf, sizeof(buf));
    struct far_message m, back;

    if (far_wire_decode(&m, in) != 0)
        return;
    far_wire_encode(&w, &m);
    must(!w.bad && far_wire_decode(&back, wr_done(&w)) == 0);
    must(slice_eq(m.user, back.user) && slice_eq(m.text, back.text) && m.flags == back.flags);
}

static void room_body(struct slice in)
{
    static uint8_t buf[65536];
    struct wr w = wr_init(buf, sizeof(buf));
    struct room_message m, back;

    if (room_wire_decode(&m, in) != 0)
        return;
    room_wire_encode(&w, &m);
    must(!w.bad && room_wire_decode(&back, wr_done(&w)) == 0);
    must(slice_eq(m.room, back.room) && slice_eq(m.text, back.text) && m.flags == back.flags);
}

static void tell(void *arg, struct room *r, struct seat *to, const struct room_note *n)
{
    (void)arg, (void)r, (void)to, (void)n;
}

/* A room, and a seat in it. */
static void snapshot(struct slice in)
{
    static const struct room_conf conf = {.rooms = 1, .participants = 1};
    static const struct room_ops ops = {.tell = tell};
    static uint8_t buf[65536];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice sfu, server;
    struct room_table *t = room_table_new(&conf, &ops, NULL, US_PER_S);

    must(t != NULL);
    size_t half = in.len > 0 ? in.p[in.len - 1] : 0;
    struct slice first = slice_sub(in, 0, half);
    struct room *r = room_snapshot_read(t, SLICE_LIT("r"), first, &sfu, &server, US_PER_S);
    if (r) {
        room_snapshot_write(&w, r, sfu, server);
        must(!w.bad && w.len <= first.len);
        w.len = 0;
        struct seat *s = room_snapshot_seat_read(
            t, r, SLICE_LIT("p"), slice_sub(in, half, in.len - 1), US_PER_S, US_PER_S);
        if (s)
            room_snapshot_seat_write(&w, s, US_PER_S, US_PER_S);
        must(!w.bad);
    }
    room_table_free(t);
}

static void record(struct slice in)
{
    static uint8_t buf[65536];
    struct wr w = wr_init(buf, sizeof(buf));
    struct session_record r, back;

    if (session_record_read(&r, in) != 0)
        return;
    session_record_write(&w, &r);
    must(!w.bad && slice_eq(wr_done(&w), in) && session_record_read(&back, wr_done(&w)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buf[65536];
    struct slice in = slice_of(data, size < 32768 ? size : 32768);
    struct wr w = wr_init(buf, sizeof(buf));
    struct node_bus_head h, back;
    struct call_claim c;

    if (call_claim_of_pair(&c, in) == 0)
        must(sig_user_ok(c.caller) && c.node.len > 0);
    if (call_claim_of_user(&c, in) == 0)
        must(c.node.len > 0);
    body(in);
    room_body(in);
    snapshot(in);
    record(in);
    if (node_bus_decode(&h, in) != 0)
        return 0;
    must(h.from.len > 0 && h.from.len <= NODE_BUS_NODE_MAX && h.seq >= (h.bare ? 0 : h.first));
    node_bus_encode(&w, &h);
    must(!w.bad && node_bus_decode(&back, wr_done(&w)) == 0);
    must(back.seq == h.seq && back.ack == h.ack && slice_eq(back.bodies, h.bodies));
    for (struct slice one; node_bus_take(&h.bodies, &one);) {
        body(one);
        room_body(one);
    }
    return 0;
}
