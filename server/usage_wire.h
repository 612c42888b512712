/* What voice weighs on the wire of a relay, from bytes of payload or from a codec's rate.
 *
 * Payload is what the relay counts: between the TURN and UDP headers, so RTP header and SRTP tag
 * are in it. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_USAGE_WIRE_H
#define SORI_SERVER_USAGE_WIRE_H

#include "server/relay_record.h"

enum {
    USAGE_WIRE_RTP = 12,      /* RFC 3550 §5.1 */
    USAGE_WIRE_SRTP_TAG = 10, /* HMAC-SHA1-80, RFC 3711 §5.2 */
    USAGE_WIRE_UDP = 8,
    USAGE_WIRE_IPV4 = 20,
    USAGE_WIRE_IPV6 = 40,
    USAGE_WIRE_CHANNEL = 4, /* ChannelData, RFC 8656 §12.4 */
};

/* One direction of an Opus call over a relay, in bits a second, with all headers (IPv4, SRTP,
 * ChannelData): bps is the codec's rate, ptime_ms (1 or more) the length of a packet. */
uint64_t usage_wire_bps(uint64_t bps, unsigned ptime_ms);
/* Of those, what is not the codec's, in thousandths. */
unsigned usage_wire_overhead_permille(uint64_t bps, unsigned ptime_ms);
/* What the relay sends for a minute of a call, both directions. */
uint64_t usage_wire_bytes_min(uint64_t bps, unsigned ptime_ms);
/* How many such minutes are in so many bytes. */
uint64_t usage_wire_minutes(uint64_t bytes, uint64_t bps, unsigned ptime_ms);

/* Bytes on the network: what comes in and goes out of a relay for an allocation's payload, headers
 * estimated from the number of packets. On the client's side these are ChannelData over UDP, TCP,
 * TLS 1.3 or DTLS 1.2; retransmissions, acknowledgements and STUN are not in it. */
struct usage_wire {
    uint64_t in, out;
};
struct usage_wire usage_wire_of(enum relay_transport transport, bool ipv6, uint64_t up_pkts,
                                uint64_t up_bytes, uint64_t down_pkts, uint64_t down_bytes);

/* What voice would weigh if it were sent otherwise. */
struct usage_voice {
    uint64_t seconds;     /* of one direction, both added */
    uint64_t pkts, bytes; /* payload of them */
};
/* The same talk in packets of ptime_ms; packets that are longer already stay. */
struct usage_voice usage_voice_ptime(struct usage_voice v, unsigned ptime_ms);
/* Without percent of the packets, which are silence. */
struct usage_voice usage_voice_dtx(struct usage_voice v, unsigned percent);
/* At a codec's rate of bps, if that is less. */
struct usage_voice usage_voice_bitrate(struct usage_voice v, uint64_t bps);
/* Length of a packet in milliseconds; 0: there are none. */
unsigned usage_voice_ptime_ms(struct usage_voice v);

#endif
