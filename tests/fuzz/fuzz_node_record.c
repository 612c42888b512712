/* proto/node_record.c under whatever stands in Redis: what is read is what would be written, and
 * nothing else gets into iceServers or a connect().
 *
 * Input: a byte that says which kind, then the text. SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "proto/node_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t text[2 * NODE_RECORD_TEXT_MAX];
    struct wr w = wr_init(text, sizeof(text));
    struct node_record r, back;

    if (size == 0)
        return 0;
    enum node_kind kind = data[0] & 1 ? NODE_SFU : NODE_RELAY;
    if (node_record_decode(&r, kind, slice_of(data + 1, size - 1)) != 0)
        return 0;
    must(r.epoch != 0 && r.load <= NODE_RECORD_LOAD_MAX && r.weight >= 1 &&
         r.weight <= NODE_RECORD_WEIGHT_MAX && r.at_n >= 1 && r.at_n <= NODE_RECORD_AT_MAX &&
         r.keys_n <= NODE_RECORD_KEYS_MAX);
    must(r.region.len == 0 || node_record_name_ok(r.region));
    for (size_t i = 0; i < r.at_n; i++)
        must(node_record_place_ok(kind, r.at[i]));
    node_record_encode(&w, &r);
    /* Numbers that were not said, and an epoch in small digits, may make it longer. */
    must(!w.bad);
    if (w.len > NODE_RECORD_TEXT_MAX)
        return 0;
    must(node_record_decode(&back, kind, wr_done(&w)) == 0);
    must(back.epoch == r.epoch && back.load == r.load && back.weight == r.weight &&
         back.draining == r.draining && slice_eq(back.region, r.region));
    must(back.at_n == r.at_n && back.keys_n == r.keys_n);
    for (size_t i = 0; i < r.at_n; i++)
        must(slice_eq(back.at[i], r.at[i]));
    for (size_t i = 0; i < r.keys_n; i++)
        must(slice_eq(back.keys[i], r.keys[i]));
    return 0;
}
