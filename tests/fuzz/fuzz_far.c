/* server/node_bus.c and server/far_wire.c under whatever is said in a node's channel, and
 * session_share.c under what stands in Redis: what is read is what would be written.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "server/call_claims.h"
#include "server/far_wire.h"
#include "server/node_bus.h"
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
    if (call_claim_of_user(&c, slice_sub(in, 0, 36), slice_sub(in, 36, in.len)) == 0)
        must(c.node.len > 0);
    body(in);
    record(in);
    if (node_bus_decode(&h, in) != 0)
        return 0;
    must(h.from.len > 0 && h.from.len <= NODE_BUS_NODE_MAX && h.seq >= (h.bare ? 0 : h.first));
    node_bus_encode(&w, &h);
    must(!w.bad && node_bus_decode(&back, wr_done(&w)) == 0);
    must(back.seq == h.seq && back.ack == h.ack && slice_eq(back.body, h.body));
    body(h.body);
    return 0;
}
