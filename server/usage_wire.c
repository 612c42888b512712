/* What voice weighs on the wire of a relay.
 *
 * Called by usage_report.c and report_whatif.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/usage_wire.h"

#define PACKET_RTP (USAGE_WIRE_RTP + USAGE_WIRE_SRTP_TAG)
#define PACKET_NET (PACKET_RTP + USAGE_WIRE_UDP + USAGE_WIRE_IPV4 + USAGE_WIRE_CHANNEL)

enum {
    TCP_HEADER = 32,  /* with the timestamps option, which every system of today sends */
    TLS_RECORD = 22,  /* header 5, content type 1, tag 16: RFC 8446 §5.2 */
    DTLS_RECORD = 37, /* header 13, explicit nonce 8, tag 16: RFC 6347, RFC 5288 */
};

uint64_t usage_wire_bps(uint64_t bps, unsigned ptime_ms)
{
    return bps + (uint64_t)PACKET_NET * 8 * 1000 / ptime_ms;
}

unsigned usage_wire_overhead_permille(uint64_t bps, unsigned ptime_ms)
{
    uint64_t wire = usage_wire_bps(bps, ptime_ms);

    return (unsigned)(((wire - bps) * 1000 + wire / 2) / wire);
}

uint64_t usage_wire_bytes_min(uint64_t bps, unsigned ptime_ms)
{
    return usage_wire_bps(bps, ptime_ms) * 2 * 60 / 8;
}

uint64_t usage_wire_minutes(uint64_t bytes, uint64_t bps, unsigned ptime_ms)
{
    uint64_t minute = usage_wire_bytes_min(bps, ptime_ms);

    return minute == 0 ? 0 : bytes / minute;
}

struct usage_wire usage_wire_of(enum relay_transport transport, bool ipv6, uint64_t up_pkts,
                                uint64_t up_bytes, uint64_t down_pkts, uint64_t down_bytes)
{
    static const unsigned carried[RELAY_TRANSPORT_COUNT] = {
        [RELAY_UDP] = USAGE_WIRE_UDP + USAGE_WIRE_CHANNEL,
        [RELAY_TCP] = TCP_HEADER + USAGE_WIRE_CHANNEL,
        [RELAY_TLS] = TCP_HEADER + TLS_RECORD + USAGE_WIRE_CHANNEL,
        [RELAY_DTLS] = USAGE_WIRE_UDP + DTLS_RECORD + USAGE_WIRE_CHANNEL,
    };
    uint64_t ip = ipv6 ? USAGE_WIRE_IPV6 : USAGE_WIRE_IPV4;
    uint64_t client = ip + carried[transport], peer = ip + USAGE_WIRE_UDP;

    return (struct usage_wire){
        .in = up_bytes + up_pkts * client + down_bytes + down_pkts * peer,
        .out = up_bytes + up_pkts * peer + down_bytes + down_pkts * client,
    };
}

/* ---- what if ---- */

/* The codec's share of payload. */
static uint64_t codec_bytes(struct usage_voice v)
{
    uint64_t headers = v.pkts * PACKET_RTP;

    return v.bytes > headers ? v.bytes - headers : 0;
}

/* x * num / den without overflow for the numbers of this file; den is not 0. */
static uint64_t scale(uint64_t x, uint64_t num, uint64_t den)
{
    return (uint64_t)((long double)x * (long double)num / (long double)den + 0.5L);
}

unsigned usage_voice_ptime_ms(struct usage_voice v)
{
    return v.pkts == 0 ? 0 : (unsigned)scale(v.seconds, 1000, v.pkts);
}

struct usage_voice usage_voice_ptime(struct usage_voice v, unsigned ptime_ms)
{
    uint64_t pkts = scale(v.seconds, 1000, ptime_ms), codec = codec_bytes(v);

    if (pkts >= v.pkts)
        return v;
    return (struct usage_voice){v.seconds, pkts, codec + pkts * PACKET_RTP};
}

struct usage_voice usage_voice_dtx(struct usage_voice v, unsigned percent)
{
    return (struct usage_voice){v.seconds, scale(v.pkts, 100 - percent, 100),
                                scale(v.bytes, 100 - percent, 100)};
}

struct usage_voice usage_voice_bitrate(struct usage_voice v, uint64_t bps)
{
    uint64_t codec = codec_bytes(v), most = scale(v.seconds, bps, 8);

    if (codec <= most)
        return v;
    return (struct usage_voice){v.seconds, v.pkts, most + v.pkts * PACKET_RTP};
}
