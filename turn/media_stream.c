/* One RTP stream that passes through a relay.
 *
 * Called by media_quality.c for each packet. Pure; allocates nothing.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/media_stream.h"

#define WINDOW       64
#define JUMP_MAX     3000     /* RFC 3550 §A.1: MAX_DROPOUT */
#define CLOCK_US     US_PER_S /* so long a clock is watched before it is believed */
#define CLOCK_PART   5        /* and believed within a fifth */
#define VIDEO_HZ     90000
#define JITTER_SHIFT 4

static const uint32_t clocks[] = {8000, 16000, 48000, VIDEO_HZ};

void media_stream_begin(struct media_stream *s, uint32_t ssrc, uint16_t seq, uint32_t ts,
                        size_t len, uint64_t now_us)
{
    *s = (struct media_stream){.ssrc = ssrc,
                               ._last_ts = ts,
                               ._highest = (UINT64_C(1) << 16) | seq,
                               ._window = UINT64_MAX,
                               .seen_us = now_us,
                               .packets = 1,
                               .bytes = (uint32_t)len,
                               ._begin_ts = ts,
                               ._begin_us = now_us,
                               ._skip = WINDOW - 1};
    s->_begin_highest = s->_highest;
}

/* ---- numbers ---- */

/* n numbers leave the window, the oldest first: bit n - 1 of left. */
static void judge(struct media_stream *s, unsigned n, uint64_t left)
{
    unsigned skip = n < s->_skip ? n : s->_skip;
    uint64_t mask = n < WINDOW ? (UINT64_C(1) << n) - 1 : UINT64_MAX, lost = ~left & mask;

    s->expected += n - skip;
    s->_skip = (uint8_t)(s->_skip - skip);
    if (lost != 0) {
        uint64_t after_loss = lost >> 1 | (uint64_t)s->_gap << (n - 1);
        s->lost += (uint32_t)__builtin_popcountll(lost);
        s->runs += (uint32_t)__builtin_popcountll(lost & ~after_loss);
    }
    s->_gap = lost & 1;
}

/* The stream goes on by n numbers, of which the last came. */
static void advance(struct media_stream *s, unsigned n)
{
    s->_highest += n;
    if (n < WINDOW) {
        judge(s, n, s->_window >> (WINDOW - n));
        s->_window = s->_window << n | 1;
        return;
    }
    judge(s, WINDOW, s->_window);
    uint32_t more = n - WINDOW; /* those never were in it */
    s->expected += more;
    s->lost += more;
    s->runs += more > 0 && !s->_gap;
    s->_gap = s->_gap || more > 0;
    s->_window = 1;
}

/* False: it began anew, or does not belong to it. */
static bool take_seq(struct media_stream *s, uint16_t seq, bool *again)
{
    int16_t d = (int16_t)(uint16_t)(seq - (uint16_t)s->_highest);

    *again = false;
    if (d > 0 && d <= JUMP_MAX) {
        advance(s, (unsigned)d);
        s->_may_restart = false;
        return true;
    }
    if (d <= 0 && d > -WINDOW) {
        uint64_t bit = UINT64_C(1) << -d;
        *again = (s->_window & bit) != 0; /* a double */
        s->_window |= bit;
        return true;
    }
    bool restarts = s->_may_restart && seq == s->_bad_seq;
    s->_bad_seq = (uint16_t)(seq + 1);
    s->_may_restart = true;
    *again = restarts;
    return false;
}

/* ---- time ---- */

static uint32_t guess_clock(uint32_t ts, uint64_t us)
{
    uint64_t hz = ts * US_PER_S / us;

    for (size_t i = 0; i < ARRAY_LEN(clocks); i++) {
        uint64_t off = hz > clocks[i] ? hz - clocks[i] : clocks[i] - hz;
        if (off * CLOCK_PART < clocks[i])
            return clocks[i];
    }
    return 0;
}

static uint32_t transit_of(const struct media_stream *s, uint32_t ts, uint64_t now_us)
{
    return (uint32_t)(now_us * s->clock / US_PER_S) - ts;
}

static void learn_clock(struct media_stream *s, uint32_t ts, uint64_t now_us)
{
    uint64_t us = now_us - s->_begin_us;
    uint32_t clock = us < CLOCK_US ? 0 : guess_clock(ts - s->_begin_ts, us);

    if (clock == 0 || clock == s->clock)
        return;
    s->clock = clock;
    s->_jitter16 = 0;
    s->_transit = transit_of(s, ts, now_us);
}

static void begin_interval(struct media_stream *s, uint32_t ts, uint64_t now_us)
{
    s->_begin_ts = ts;
    s->_begin_us = now_us;
    s->_begin_highest = s->_highest;
}

/* RFC 3550 §A.8; packets of one frame tell of one time only. */
static void take_time(struct media_stream *s, uint32_t ts, uint64_t now_us)
{
    if (ts == s->_last_ts)
        return;
    s->_last_ts = ts;
    if (s->clock == 0) {
        if (now_us - s->_begin_us >= CLOCK_US) {
            learn_clock(s, ts, now_us);
            begin_interval(s, ts, now_us); /* not at each packet */
        }
        return;
    }
    uint32_t transit = transit_of(s, ts, now_us);
    int32_t d = (int32_t)(transit - s->_transit);
    uint32_t off = d < 0 ? 0 - (uint32_t)d : (uint32_t)d;
    s->_transit = transit;
    if (off < s->clock) /* a second or more is a pause, or another beginning */
        s->_jitter16 += off - ((s->_jitter16 + (1 << (JITTER_SHIFT - 1))) >> JITTER_SHIFT);
}

void media_stream_packet(struct media_stream *s, uint16_t seq, uint32_t ts, size_t len,
                         uint64_t now_us)
{
    uint64_t was = s->_highest;
    bool again;

    if (!take_seq(s, seq, &again)) {
        if (again) {
            struct media_stream before = *s;
            media_stream_begin(s, s->ssrc, seq, ts, len, now_us);
            s->packets += before.packets;
            s->bytes += before.bytes;
            s->expected = before.expected;
            s->lost = before.lost;
            s->runs = before.runs;
            s->clock = before.clock;
            s->_transit = transit_of(s, ts, now_us);
        }
        return;
    }
    s->seen_us = now_us;
    s->packets += !again;
    s->bytes += (uint32_t)len;
    if (s->_highest != was)
        take_time(s, ts, now_us);
}

void media_stream_next(struct media_stream *s)
{
    if (s->packets > 0) {
        learn_clock(s, s->_last_ts, s->seen_us);
        begin_interval(s, s->_last_ts, s->seen_us);
    }
    s->packets = s->bytes = s->expected = s->lost = s->runs = 0;
}

uint32_t media_stream_frame_us(const struct media_stream *s)
{
    uint64_t n = s->_highest - s->_begin_highest;

    return s->clock == 0 || n == 0
               ? 0
               : (uint32_t)((s->_last_ts - s->_begin_ts) * US_PER_S / s->clock / n);
}

uint32_t media_stream_jitter_us(const struct media_stream *s)
{
    return s->clock == 0 ? 0 : (uint32_t)((s->_jitter16 >> JITTER_SHIFT) * US_PER_S / s->clock);
}

bool media_stream_is_voice(const struct media_stream *s)
{
    return s->clock != 0 && s->clock != VIDEO_HZ;
}
