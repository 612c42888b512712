/* Payloads that must wait, in one growing block: length (4 bytes) and bytes, again and again.
 *
 * Called by call_ring.c: a ringing leg's candidates until it wins, the caller's for devices that
 * join late. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_keep.h"

#include <errno.h>

#include "base/mem.h"
#include "server/call_fx.h"

enum { LENGTH_BYTES = 4, FIRST_CAP = 1024 };

int call_keep_add(struct call_keep *k, struct slice payload)
{
    size_t most = CALL_KEPT_BYTES_MAX;

    if (k->n >= CALL_KEPT_MAX || payload.len > most || k->_len > most - payload.len)
        return -ENOSPC;
    size_t need = k->_len + LENGTH_BYTES + payload.len;
    if (need > k->_cap) {
        size_t cap = k->_cap > 0 ? k->_cap : FIRST_CAP;
        while (cap < need)
            cap *= 2;
        uint8_t *base = mem_realloc(k->_base, cap);
        if (!base)
            return -ENOMEM;
        k->_base = base;
        k->_cap = cap;
    }
    struct wr w = {k->_base, k->_len, k->_cap, false};
    wr_be32(&w, (uint32_t)payload.len);
    wr_bytes(&w, payload);
    k->_len = w.len;
    k->n++;
    return 0;
}

bool call_keep_next(const struct call_keep *k, size_t *pos, struct slice *payload)
{
    struct rd r = rd_init(slice_sub(slice_of(k->_base, k->_len), *pos, k->_len));
    size_t left = r.left;

    *payload = rd_take(&r, rd_be32(&r));
    *pos += left - r.left;
    return !r.bad;
}

void call_keep_clear(struct call_keep *k)
{
    mem_free(k->_base);
    *k = (struct call_keep){0};
}
