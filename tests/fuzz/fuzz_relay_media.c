/* server/relay_media.c under whatever is published in Redis: what is read is within bounds, and
 * gives figures of quality that are numbers. SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "server/call_quality.h"
#include "server/relay_media.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void hear(const struct relay_media *m, const struct relay_media_leg *leg)
{
    struct call_leg call = {0};
    struct call_leg_sum sum;
    struct call_sample s;
    struct sig_quality q;

    must(leg->lost <= leg->expected && leg->runs <= leg->lost);
    if (!relay_media_heard(m, leg, &q))
        return;
    must(q.concealed <= q.samples && q.concealments <= q.lost);
    call_leg_add(&call, &q, 20, 60 * US_PER_S, &s);
    must(!s.judged || (s.mos >= 1 && s.mos <= 4.5 && s.loss >= 0 && s.loss <= 1));
    call_leg_sum(&call, &sum);
    must(sum.samples <= 1 && sum.loss_permille <= 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct relay_media m;

    if (relay_media_decode(&m, slice_of(data, size)) != 0)
        return 0;
    must(m.user.len > 0 && m.user.len <= SIG_USER_MAX && m.ms > 0);
    hear(&m, &m.up);
    hear(&m, &m.down);
    return 0;
}
