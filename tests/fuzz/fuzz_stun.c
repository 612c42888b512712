/* STUN decoder: whatever decodes can be walked, has its attributes inside the message, and comes
 * out the same when it is written again. SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "base/crypto.h"
#include "proto/stun_attr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes m's readable attributes anew and compares: all but padding bytes must be equal. */
static void check_again(const struct stun_msg *m)
{
    static uint8_t buf[65536 + 64];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice at = m->attrs, again;
    struct stun_attr a, b;
    struct stun_msg n;

    stun_begin(&w, m->type, m->tid);
    while (stun_next(&at, &a)) {
        /* A FINGERPRINT was over other bytes. */
        if (a.type != STUN_ATTR_FINGERPRINT)
            stun_put(&w, (enum stun_attr_type)a.type, a.value);
    }
    if (stun_decode(&n, wr_done(&w)) != 0 || n.type != m->type)
        abort();
    at = m->attrs;
    again = n.attrs;
    while (stun_next(&at, &a)) {
        if (a.type == STUN_ATTR_FINGERPRINT)
            continue;
        if (!stun_next(&again, &b) || a.type != b.type || !slice_eq(a.value, b.value))
            abort();
    }
    stun_put_sha1(&w, SLICE_LIT("key"));
    stun_put_sha256(&w, SLICE_LIT("key"));
    stun_put_fingerprint(&w);
    if (w.bad)
        return; /* the message was nearly as long as one can be, or had nearly all attributes */
    if (stun_decode(&n, wr_done(&w)) == 0 &&
        (!stun_verify_sha1(&n, SLICE_LIT("key")) || !stun_verify_sha256(&n, SLICE_LIT("key"))))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stun_msg m;
    struct slice v;
    struct addr addr;
    uint32_t number;

    if (stun_decode(&m, slice_of(data, size)) != 0)
        return 0;
    for (unsigned type = 0; type < 0x40; type++) {
        if (!stun_find(&m, (enum stun_attr_type)type, &v))
            continue;
        if (v.len > size || v.p < data || v.p + v.len > data + size)
            abort();
        stun_xaddr_decode(&addr, v, m.tid);
        stun_u32_decode(&number, v);
        stun_error_decode(v);
    }
    stun_verify_sha1(&m, SLICE_LIT("key"));
    stun_verify_sha256(&m, SLICE_LIT("key"));
    check_again(&m);
    return 0;
}
