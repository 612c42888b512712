/* Reception statistics of one stream, after RFC 3550 appendices A.3 and A.8.
 * Called by producer.c and rtcp_report.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/rx_stats.h"

#include "base/clock.h"

#define LOST_MAX 0x7FFFFF /* 24 bits, signed (§6.4.1) */
#define LOST_MIN (-0x800000)

static void count(struct rx_stats *s, uint64_t seq, size_t len)
{
    if (s->packets == 0)
        s->first = s->highest = seq;
    if (seq > s->highest)
        s->highest = seq;
    if (seq < s->first)
        s->first = seq;
    s->packets++;
    s->bytes += len;
}

void rx_stats_packet(struct rx_stats *s, uint64_t seq, uint32_t ts, size_t len, uint32_t clock,
                     uint64_t now_us)
{
    bool begun = s->packets != 0;
    uint64_t before = s->highest;

    count(s, seq, len);
    /* Packets of one frame have one timestamp: only the first says something of the network. */
    if (begun && (seq < before || ts == s->last_ts))
        return;
    uint32_t arrival = (uint32_t)(now_us * clock / US_PER_S);
    uint32_t transit = arrival - ts;
    if (begun) {
        int32_t d = (int32_t)(transit - s->transit);
        uint32_t step = d < 0 ? 0u - (uint32_t)d : (uint32_t)d;

        if (step < 10 * clock) /* a timestamp jump of the sender is no jitter */
            s->jitter16 += step - ((s->jitter16 + 8) >> 4);
    }
    s->transit = transit;
    s->last_ts = ts;
}

void rx_stats_repaired(struct rx_stats *s, uint64_t seq, size_t len)
{
    count(s, seq, len);
}

uint64_t rx_stats_expected(const struct rx_stats *s)
{
    return s->packets == 0 ? 0 : s->highest - s->first + 1;
}

void rx_stats_report(struct rx_stats *s, struct rx_report *out)
{
    uint64_t expected = rx_stats_expected(s);
    uint64_t expected_now = expected - s->told_expected, got_now = s->packets - s->told_packets;
    int64_t lost = (int64_t)expected - (int64_t)s->packets;

    out->fraction = 0;
    if (expected_now > got_now) {
        uint64_t f = (expected_now - got_now) * 256 / expected_now;
        out->fraction = (uint8_t)(f > 255 ? 255 : f);
    }
    out->lost = (int32_t)(lost > LOST_MAX ? LOST_MAX : lost < LOST_MIN ? LOST_MIN : lost);
    out->highest = (uint32_t)s->highest;
    out->jitter = s->jitter16 >> 4;
    s->told_expected = expected;
    s->told_packets = s->packets;
}
