/* server/call_snapshot.c under whatever stands in Redis: what is read is a call that can be written
 * again, ended, and freed. SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/call_snapshot.h"

#define NOW  (1000 * US_PER_S)
#define WALL (1700000000 * US_PER_S)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct call_conf conf = {.ring_timeout_us = 30 * US_PER_S,
                                          .ended_keep_us = 60 * US_PER_S};
    static uint8_t a[CALL_SNAPSHOT_MAX], b[CALL_SNAPSHOT_MAX];
    static struct call_effects fx;
    struct call *c = call_snapshot_read(&conf, slice_of(data, size), NOW, WALL);

    if (!c)
        return 0;
    struct wr w = wr_init(a, sizeof(a)), v = wr_init(b, sizeof(b));
    call_snapshot_write(&w, c, NOW, WALL);
    struct call *d = w.bad ? NULL : call_snapshot_read(&conf, wr_done(&w), NOW, WALL);
    if (!d)
        abort();
    call_snapshot_write(&v, d, NOW, WALL);
    if (w.len != v.len || memcmp(a, b, w.len) != 0)
        abort();
    call_free(d);
    call_effects_clear(&fx);
    call_recv(c, &(struct call_event){.kind = CALL_EV_END, .reason = SIG_REASON_ADMIN}, &fx, NOW);
    call_free(c);
    return 0;
}
