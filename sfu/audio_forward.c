/* Numbers of one receiver's audio slot.
 *
 * Called by consumer.c. A new run begins one after the highest number sent; its first timestamp is
 * the last one plus the time that has passed (RFC 3550 §5.1: silence advances timestamps), at least
 * one step, so that the receiver's jitter buffer sees a pause like any other. Its first packet
 * carries the marker, the start of a talkspurt (RFC 3551 §4.1).
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/audio_forward.h"

#include "base/clock.h"

#define STEP_MIN_MS 20 /* a run's first packet comes at least so much after the one before */
/* A wider gap of the source ends the run. A receiver that misses numbers of 2^15 in a row loses
 * count of the roll-overs and decrypts nothing of the slot ever again (RFC 3711 §3.3.1): neither a
 * long pause nor a publisher that leaps may take it there. */
#define GAP_MAX 64

void audio_forward_init(struct audio_forward *f, uint16_t first_seq, uint32_t first_ts)
{
    *f = (struct audio_forward){.seq = (uint64_t)(first_seq & 0x7FFF), .ts = first_ts};
}

void audio_forward_stop(struct audio_forward *f)
{
    f->running = false;
}

static void begin_run(struct audio_forward *f, uint64_t src_seq, uint32_t src_ts, uint32_t clock,
                      uint64_t now_us)
{
    uint64_t passed_ms = f->sent_us == 0 ? 0 : (now_us - f->sent_us) / US_PER_MS;

    if (passed_ms < STEP_MIN_MS)
        passed_ms = STEP_MIN_MS;
    f->ts_delta = f->ts + (uint32_t)(passed_ms * clock / 1000) - src_ts;
    f->seq_delta = (int64_t)(f->seq + 1) - (int64_t)src_seq;
    f->run_from = src_seq;
    f->run++;
    f->running = true;
}

bool audio_forward_packet(struct audio_forward *f, uint64_t src_seq, uint32_t src_ts, bool marker,
                          uint32_t clock, uint64_t now_us, struct audio_out *out)
{
    bool first = !f->running || (int64_t)src_seq + f->seq_delta > (int64_t)(f->seq + GAP_MAX);

    if (first)
        begin_run(f, src_seq, src_ts, clock, now_us);
    if (src_seq < f->run_from)
        return false;
    *out = (struct audio_out){(uint64_t)((int64_t)src_seq + f->seq_delta), src_ts + f->ts_delta,
                              marker || first};
    if (out->seq > f->seq || first) {
        f->seq = out->seq;
        f->ts = out->ts;
        f->sent_us = now_us;
    }
    return true;
}

void audio_forward_insert(struct audio_forward *f, uint32_t ts_step, uint64_t now_us,
                          struct audio_out *out)
{
    f->seq++;
    f->ts += ts_step;
    f->sent_us = now_us;
    *out = (struct audio_out){f->seq, f->ts, false};
}
