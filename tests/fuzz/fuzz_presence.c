/* server/presence_wire.c under whatever stands in Redis or is said in a channel: what is read is
 * what would be written.
 *
 * Input: a byte that says what it is, then the text. SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "server/presence_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void entry(struct slice text)
{
    struct presence_wire v = {{.user = {0}}, 0, {0}}, back = v;
    uint8_t buf[PRESENCE_WIRE_ENTRY_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    if (presence_wire_decode(&v, text) != 0)
        return;
    must(v.e.node.len > 0 && v.e.node.len <= PRESENCE_WIRE_NODE_MAX);
    must(v.e.state < SIG_PRESENCE_COUNT && v.e.generation <= PRESENCE_WIRE_GENERATION_MAX);
    wr_str(&w, "1 ");
    presence_wire_session(&w, v.e.session);
    wr_u8(&w, ' ');
    wr_u64(&w, v.e.generation);
    wr_u8(&w, ' ');
    wr_bytes(&w, v.stamp);
    wr_u8(&w, ' ');
    presence_wire_rest(&w, &v.e, v.epoch, v.e.node);
    must(!w.bad && presence_wire_decode(&back, wr_done(&w)) == 0);
    must(back.epoch == v.epoch && slice_eq(back.e.node, v.e.node));
}

static void said(struct slice text)
{
    struct presence_said s, back;
    uint8_t buf[PRESENCE_WIRE_SAY_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    if (presence_wire_said(&s, text) != 0)
        return;
    presence_wire_say(&w, &s);
    must(!w.bad && presence_wire_said(&back, wr_done(&w)) == 0);
    must(back.kind == s.kind && slice_eq(back.user, s.user) && slice_eq(back.device, s.device));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);

    if (size == 0)
        return 0;
    if (data[0] & 1)
        said(slice_sub(text, 1, size));
    else
        entry(slice_sub(text, 1, size));
    return 0;
}
