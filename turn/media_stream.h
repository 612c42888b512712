/* One RTP stream that passes through a relay: what came of it, what did not, and how evenly.
 *
 * The header of SRTP is clear (RFC 3711 §3.1), so numbers, timestamps and arrival say all that
 * RFC 3550 wants to know; nothing is decrypted. A number counts as lost when 64 later ones have
 * come. Pure values; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_MEDIA_STREAM_H
#define SORI_TURN_MEDIA_STREAM_H

#include "base/bytes.h"
#include "base/clock.h"

#define MEDIA_LINE 64 /* bytes of the cache */

/* What a packet in its turn touches comes first, and is one line of the cache: with many streams
 * each line is a miss. Counts are of the interval; bytes are those of whole packets. */
struct media_stream {
    uint32_t ssrc; /* 0 with seen_us 0: this place is free */
    uint32_t _last_ts;
    uint64_t _highest;  /* extended sequence number */
    uint64_t _window;   /* bit i: _highest - i came */
    uint64_t seen_us;   /* its last packet */
    uint32_t _transit;  /* of the packet before, timestamp units */
    uint32_t _jitter16; /* RFC 3550 §A.8: sixteenths of a timestamp unit */
    uint32_t clock;     /* of its timestamps, Hz; 0: not known yet */
    uint32_t packets, bytes;
    uint32_t expected;  /* numbers that were judged */
    uint16_t _bad_seq;  /* RFC 3550 §A.1: where it goes on if it began anew */
    uint8_t _skip;      /* numbers in the window of before its first packet */
    bool _gap;          /* the last number that was judged was lost */
    bool _may_restart;  /* _bad_seq is set */
    uint32_t lost;      /* of those expected */
    uint32_t runs;      /* of lost ones that follow one another */
    uint32_t _begin_ts; /* of the interval, as the next two */
    uint64_t _begin_us, _begin_highest;
} __attribute__((aligned(MEDIA_LINE)));
_Static_assert(offsetof(struct media_stream, lost) <= MEDIA_LINE, "one line");

/* It begins with this packet. */
void media_stream_begin(struct media_stream *s, uint32_t ssrc, uint16_t seq, uint32_t ts,
                        size_t len, uint64_t now_us);

/* Another packet of it. */
void media_stream_packet(struct media_stream *s, uint16_t seq, uint32_t ts, size_t len,
                         uint64_t now_us);

/* Ends the interval: the next one begins. */
void media_stream_next(struct media_stream *s);

/* Interarrival jitter now, 0 while the clock is not known; and the time that one packet stands for
 * in this interval, 0 when too few came. */
uint32_t media_stream_jitter_us(const struct media_stream *s);
uint32_t media_stream_frame_us(const struct media_stream *s);

/* True when its clock is one of sound (8, 16, 48 kHz). */
bool media_stream_is_voice(const struct media_stream *s);

#endif
