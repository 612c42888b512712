/* call.quality: what a client's getStats() says of some seconds of a call (docs/SIGNALING.md §5),
 * and the answer: what the server makes of it.
 *
 * Everything in a report is the client's word. Decoding it checks form and range, not truth: what
 * is larger than anything real is cut to the largest that is, and counted. Pure; any thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_SIG_QUALITY_H
#define SORI_PROTO_SIG_QUALITY_H

#include "proto/sig.h"

enum {
    SIG_QUALITY_BYTES = 1024, /* of data, raw */
    SIG_QUALITY_INTERVAL_MAX_MS = 60000,
    SIG_QUALITY_DELAY_MAX_MS = 10000, /* round trip, jitter, jitter buffer */
    SIG_QUALITY_PACKETS_MAX = 120000,
    SIG_QUALITY_SAMPLES_MAX = 6000000, /* 60 s of two channels at 48 kHz, and a little */
    SIG_QUALITY_BPS_MAX = 2000000,
    SIG_QUALITY_FRAME_MAX_MS = 120,
};

enum sig_voice {
    SIG_VOICE_OTHER, /* also: not told */
    SIG_VOICE_OPUS,
    SIG_VOICE_RED, /* Opus with copies of earlier packets (RFC 2198) */
    SIG_VOICE_PCMU,
    SIG_VOICE_PCMA,
    SIG_VOICE_G722,
    SIG_VOICE_COUNT
};
const char *sig_voice_name(enum sig_voice v); /* "other", "opus" … */

/* Which way the media goes. */
enum sig_route { SIG_ROUTE_UNKNOWN, SIG_ROUTE_P2P, SIG_ROUTE_TURN, SIG_ROUTE_SFU, SIG_ROUTE_COUNT };
const char *sig_route_name(enum sig_route r); /* "unknown", "p2p" … */

enum sig_network {
    SIG_NETWORK_UNKNOWN,
    SIG_NETWORK_WIFI,
    SIG_NETWORK_CELLULAR,
    SIG_NETWORK_ETHERNET,
    SIG_NETWORK_VPN,
    SIG_NETWORK_OTHER,
    SIG_NETWORK_COUNT
};
const char *sig_network_name(enum sig_network v); /* "unknown", "wifi" … */

/* Bits of sig_quality.has: the field was there. */
enum {
    SIG_QUALITY_RTT = 1,
    SIG_QUALITY_JITTER = 2,
    SIG_QUALITY_BUFFER = 4,
    SIG_QUALITY_RECEIVED = 8,
    SIG_QUALITY_LOST = 16,
    SIG_QUALITY_SENT = 32,
    SIG_QUALITY_CONCEALED = 64, /* and samples, which is not zero */
    SIG_QUALITY_CONCEALMENTS = 128,
    SIG_QUALITY_SILENCE = 256,
};

/* All counts are of this interval, not since the beginning. */
struct sig_quality {
    bool final;           /* the last one of this call */
    uint32_t interval_ms; /* 1 .. SIG_QUALITY_INTERVAL_MAX_MS */
    unsigned has;
    uint32_t rtt_ms, jitter_ms, buffer_ms; /* buffer: mean time in the jitter buffer */
    uint32_t received, lost, sent;         /* packets of voice */
    uint32_t concealed, samples;           /* concealed <= samples */
    uint32_t concealments;                 /* runs of concealed ones, <= concealed */
    uint32_t silence_ms;                   /* <= interval_ms */
    uint32_t in_bps, out_bps, max_bps;     /* voice: payload in, out; agreed on; 0: not told */
    uint32_t frame_ms;                     /* 0: not told */
    enum sig_voice voice;
    bool fec, dtx;
    enum sig_route route;
    enum sig_network network;
    unsigned clamped; /* so many fields were cut */
};

/* Reads the report. Returns 0, or -EBADMSG with *fault: too_large for more than SIG_QUALITY_BYTES,
 * bad_request for a number that is negative, broken or no number, a word that does not exist, or a
 * missing intervalMs. null is as if the field were not there (what NaN becomes in JSON). */
int sig_quality_decode(struct sig_quality *out, const struct sig_msg *m, struct sig_fault *fault);

/* The answer: this report, and the call so far. */
struct sig_quality_view {
    bool judged; /* this report could be: r, mos */
    unsigned r_milli, mos_milli;
    unsigned samples; /* 0: none of the call could be judged yet */
    unsigned avg_milli, p10_milli, min_milli, loss_permille, rtt_ms, silence_ms;
    enum sig_route route;
    unsigned clamped;
};
void sig_quality_reply(struct wr *w, struct slice re, const struct sig_call_id *call,
                       const struct sig_quality_view *v);

#endif
