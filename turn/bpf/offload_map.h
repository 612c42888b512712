/* What sori-turn and its program in the kernel tell each other: the contents of the program's maps.
 * Addresses, ports and channel numbers are in network order, for both sides compare bytes only.
 * SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
#ifndef SORI_TURN_OFFLOAD_MAP_H
#define SORI_TURN_OFFLOAD_MAP_H

#include <stdint.h>

#define OFFLOAD_PAYLOAD_MAX 2040 /* bytes; what is longer goes through user space */

/* Map "up": whose ChannelData, on which channel. */
struct offload_up_key {
    uint32_t listener_ip, client_ip;
    uint16_t listener_port, client_port;
    uint16_t channel, zero;
};

/* Map "down": from which peer to which relayed address. */
struct offload_down_key {
    uint32_t relayed_ip, peer_ip;
    uint16_t relayed_port, peer_port;
};

/* Value of both: where it goes. */
struct offload_way {
    uint32_t from_ip, to_ip;
    uint16_t from_port, to_port;
    uint16_t channel, zero;
    uint32_t ifindex; /* of the device that it leaves by */
    uint32_t slot;    /* in "slots" */
};

enum offload_direction { OFFLOAD_UP, OFFLOAD_DOWN };

/* Map "slots", an array that sori-turn has mapped: until when a channel is open, and what has been
 * relayed through it. */
struct offload_slot {
    uint64_t until_ns; /* CLOCK_MONOTONIC */
    uint64_t pkts[2], bytes[2];
};

/* Map "rules", one entry, mapped too. */
struct offload_rules {
    uint64_t beat_until_ns; /* sori-turn lives until then: without it nothing is relayed */
    uint8_t copy;           /* [turn] ip_headers */
    uint8_t ttl;            /* of what leaves, without copy */
    uint8_t zero[6];
};

#endif
