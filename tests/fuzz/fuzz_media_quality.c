/* turn/media_quality.c under packets of strangers: whatever passes, figures stay within what came.
 *
 * Input: records of a byte (bit 0: the way; bits 1..5: length; bit 6: an interval ends; bit 7: the
 * kernel took over), a byte of time (units of 5 ms) and so many bytes of packet.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "turn/media_quality.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEP_US = 5000, LENGTH = 0x1f };

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void look(struct media_quality *m, uint64_t now_us, uint64_t fed[MEDIA_WAYS])
{
    struct media_report r;
    bool heard = media_quality_next(m, now_us, &r);

    for (unsigned i = 0; i < MEDIA_WAYS; i++) {
        const struct media_leg *leg = &r.leg[i];
        must(leg->voice.packets + (uint64_t)leg->others <= fed[i]);
        must(leg->voice.lost <= leg->voice.expected && leg->voice.runs <= leg->voice.lost);
        must(leg->voice.packets == 0 || (heard && leg->clock >= 8000 && leg->clock <= 48000));
        must(m->sums[i].lost <= m->sums[i].expected && m->sums[i].runs <= m->sums[i].lost);
        fed[i] = 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_init(slice_of(data, size));
    static struct media_quality it;
    struct media_quality *m = &it;
    uint64_t now_us = US_PER_S, fed[MEDIA_WAYS] = {0};

    it = (struct media_quality){.since_us = 0};
    media_quality_init(m, NULL, US_PER_S);
    while (r.left > 1) {
        uint8_t what = rd_u8(&r);
        now_us += rd_u8(&r) * (uint64_t)STEP_US;
        size_t len = (what >> 1) & LENGTH;
        enum media_way way = what & 1 ? MEDIA_DOWN : MEDIA_UP;
        media_quality_packet(m, way, rd_take(&r, len < r.left ? len : r.left), now_us);
        fed[way]++;
        if (what & 0x80)
            media_quality_blind(m);
        if (what & 0x40)
            look(m, now_us, fed);
    }
    look(m, now_us, fed);
    media_quality_fini(m);
    return 0;
}
