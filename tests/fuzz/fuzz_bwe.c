/* The bandwidth estimator under a script: packets sent, feedback as a receiver would write it and
 * feedback of any bytes, reports, REMB, other paths, time. Whatever comes, it stays within its
 * bounds and its numbers are the ones it gave.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "proto/twcc_fb.h"
#include "sfu/bwe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 1500, GOT_MAX = 512, FCI_AT = 12 };

static const struct bwe_conf conf = {300000, 30000, 5000000};
static struct twcc_arrival got[GOT_MAX];

static void expect(bool ok)
{
    if (!ok)
        abort();
}

static void check(const struct bwe *b, uint64_t now_us)
{
    struct bwe_stats s;

    bwe_stats(b, &s);
    expect(s.target_bps >= conf.min_bps && s.target_bps <= conf.max_bps);
    expect(bwe_steady_bps(b) >= conf.min_bps && bwe_steady_bps(b) <= conf.max_bps);
    expect(bwe_pacing_bps(b) >= s.target_bps && bwe_pacing_bps(b) <= 3 * conf.max_bps);
    expect(s.loss >= 0 && s.loss <= 1);
    expect(bwe_deadline(b) > 0 && s.rtt_us <= now_us);
}

/* Tells of the first n arrivals that are kept. */
static void feed_back(struct bwe *b, uint64_t *base, size_t *n, uint8_t fb_seq, bool arrives,
                      uint64_t now_us)
{
    uint8_t bytes[1500];
    struct wr w = wr_init(bytes, sizeof(bytes));

    if (*n == 0)
        return;
    size_t k = twcc_fb_encode(&w, 1, 2, fb_seq, *base, got, *n);
    if (k == 0) {
        *base = got[0].seq;
        return;
    }
    *base = got[k - 1].seq + 1;
    memmove(got, got + k, (*n - k) * sizeof(*got));
    *n -= k;
    struct slice all = wr_done(&w);
    if (arrives)
        bwe_twcc(b, slice_sub(all, FCI_AT, all.len), now_us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_init(slice_of(data, size));
    uint64_t now_us = 1000 * US_PER_S, seq = 0, base = 1, delay_us = 10000;
    uint8_t first = rd_u8(&r), fb_seq = 0;
    struct bwe *b = bwe_new(&conf, now_us);
    struct bwe_probe probe = {0};
    size_t n = 0;

    if (!b)
        return 0;
    if (first & 1)
        (void)bwe_widen(b);
    for (unsigned step = 0; r.left > 0 && step < STEPS_MAX; step++) {
        uint8_t op = rd_u8(&r), arg = rd_u8(&r);
        switch (op % 10) {
        case 0: /* packets that arrive */
        case 1: /* … some of them */
        case 2:
            for (unsigned i = 0; i <= op / 10u; i++) {
                uint16_t wire = bwe_sent(b, arg * 6u, probe.cluster, now_us);
                expect(wire == (uint16_t)++seq);
                if (n < GOT_MAX && (op % 10 == 0 || i % (1 + arg % 5u)))
                    got[n++] = (struct twcc_arrival){seq, now_us + delay_us};
                now_us += 100u * (arg % 16);
            }
            break;
        case 3:
            feed_back(b, &base, &n, fb_seq++, true, now_us);
            break;
        case 4: /* feedback that is lost */
            feed_back(b, &base, &n, fb_seq++, arg & 1, now_us);
            break;
        case 5: /* any bytes, at first like feedback of what is out */
            if (arg & 1) {
                uint8_t bytes[256];
                struct wr w = wr_init(bytes, sizeof(bytes));
                wr_be16(&w, (uint16_t)(seq - arg % 64));
                wr_bytes(&w, rd_take(&r, r.left < arg ? r.left : arg));
                bwe_twcc(b, wr_done(&w), now_us);
            } else {
                bwe_twcc(b, rd_take(&r, r.left < arg ? r.left : arg), now_us);
            }
            break;
        case 6:
            if (op & 16)
                bwe_remb(b, (uint64_t)arg << (op / 10u), now_us);
            else
                bwe_report(b, arg, (uint64_t)(op / 10u) * 10000, now_us);
            break;
        case 7:
            bwe_want(b, (uint64_t)arg * 30000);
            if (arg == 255)
                bwe_path_changed(b, now_us);
            break;
        case 8: /* the path's delay */
            delay_us = (uint64_t)arg * (1 + op / 10u) * 100;
            break;
        default:
            now_us += (uint64_t)arg * arg * (1 + op / 10u);
            bwe_tick(b, now_us);
            if (bwe_probe(b, &probe, now_us))
                expect(probe.cluster > 0 && probe.cluster < 256 && probe.bytes > 0 &&
                       probe.bps <= 2 * conf.max_bps);
        }
        check(b, now_us);
    }
    bwe_free(b);
    return 0;
}
