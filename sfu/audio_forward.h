/* How one receiver's audio slot numbers what it sends: sequence numbers and timestamps that go on
 * without a gap while the talker behind the slot changes, pauses and comes back.
 *
 * A *run* is a stretch of packets of one source that are forwarded one after the other; within it
 * the distance between source and receiver is constant. Pure values; worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_AUDIO_FORWARD_H
#define SORI_SFU_AUDIO_FORWARD_H

#include "base/bytes.h"

struct audio_forward {
    uint64_t seq;      /* highest sent: rollover count << 16 | sequence number */
    uint64_t sent_us;  /* when it was sent; 0: nothing has been */
    uint64_t run_from; /* lowest source number of this run */
    int64_t seq_delta; /* receiver's number = source's + this */
    uint32_t ts;       /* highest timestamp sent */
    uint32_t ts_delta;
    uint16_t run; /* number of the run, so that a kept entry can be told from an older one's */
    bool running;
};

struct audio_out {
    uint64_t seq;
    uint32_t ts;
    bool marker;
};

/* Begins with this number (its rollover count must be 0: RFC 3711 §3.3.1 wants room below 2^15). */
void audio_forward_init(struct audio_forward *f, uint16_t first_seq, uint32_t first_ts);

/* Ends the run: what comes next, of whatever source, begins a new one. */
void audio_forward_stop(struct audio_forward *f);

/* Numbers one packet of the source (its extended sequence number, timestamp, marker). clock: of the
 * timestamps, Hz. Gives false when it must not be sent: older than the run. */
bool audio_forward_packet(struct audio_forward *f, uint64_t src_seq, uint32_t src_ts, bool marker,
                          uint32_t clock, uint64_t now_us, struct audio_out *out);

/* Numbers a packet of our own (comfort silence) that follows the highest, ts_step later. Only
 * between runs. */
void audio_forward_insert(struct audio_forward *f, uint32_t ts_step, uint64_t now_us,
                          struct audio_out *out);

/* The receiver's timestamp for the source's, within this run. */
static inline uint32_t audio_forward_ts(const struct audio_forward *f, uint32_t src_ts)
{
    return src_ts + f->ts_delta;
}

#endif
