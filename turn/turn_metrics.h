/* What a worker of the relay counts. Exported names (all summed over the workers):
 *
 *   sori_turn_requests_total{method=}              requests and Send indications by method
 *   sori_turn_errors_total{code=}                  error answers by code
 *   sori_turn_dropped_total{reason=}               what was not answered or relayed, by reason
 *   sori_turn_relayed_packets_total{direction=}    to_peer, to_client
 *   sori_turn_relayed_bytes_total{direction=}      payload only
 *   sori_turn_allocations                          alive now
 *   sori_turn_allocations_total                    made since the start
 *   sori_turn_moves_total                          allocations that followed their client (RFC
 * 8016) sori_turn_handed_over_total                    datagrams handed to another worker in memory
 *   sori_turn_tcp_connections                      peer connections of TCP allocations, now
 *   sori_turn_tcp_connections_total                begun or accepted since the start
 *   sori_turn_new_peers_refused_total              requests over the limit of new peer addresses
 *   sori_turn_connections_refused_total{reason=}   TCP and TLS connections closed at once
 *   sori_turn_dtls_associations                    there now, half-open ones among them
 *   sori_turn_dtls_half_open                       handshakes under way
 *   sori_turn_dtls_associations_total              handshakes finished since the start
 *   sori_turn_dtls_failed_total                    handshakes that were not
 *
 * and, from the sockets (turn_node.c):
 *
 *   sori_turn_udp_received_total                   datagrams
 *   sori_turn_udp_sent_total                       datagrams
 *   sori_turn_udp_dropped_total{reason=}           overflow, truncated, full, failed
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_METRICS_H
#define SORI_TURN_METRICS_H

#include "base/metrics.h"
#include "turn/five_tuple.h"

/* Why a datagram or message went nowhere. */
enum turn_drop {
    TURN_DROP_NOT_TURN,       /* neither STUN nor ChannelData */
    TURN_DROP_BAD_STUN,       /* stun_decode() refused it */
    TURN_DROP_BAD_CHANDATA,   /* chandata_decode() refused it */
    TURN_DROP_UNEXPECTED,     /* no request that we know, and no Send that we understand */
    TURN_DROP_SOURCE_LIMIT,   /* the source had its unauthenticated answers */
    TURN_DROP_STUN_ONLY,      /* a TURN message, but we do STUN only */
    TURN_DROP_CLIENT_DENIED,  /* the client is not among those who may talk to us */
    TURN_DROP_NO_ALLOCATION,  /* data from a client without one */
    TURN_DROP_NO_CHANNEL,     /* ChannelData on a number that is not open */
    TURN_DROP_NO_PERMISSION,  /* Send to, or datagram from, a peer without permission */
    TURN_DROP_PEER_DENIED,    /* the peer policy says no */
    TURN_DROP_BANDWIDTH,      /* over the allocation's limit */
    TURN_DROP_PACKET_RATE,    /* the same, in packets */
    TURN_DROP_USER_BANDWIDTH, /* over the user's limit */
    TURN_DROP_TOO_LONG,       /* would not fit the message towards the client */
    TURN_DROP_CLIENT_QUEUE,   /* the client's TCP or TLS connection does not keep up */
    TURN_DROP_PROXY_HEADER,   /* from a proxy, without a good PROXY protocol header */
    TURN_DROP_DTLS_HELLO,     /* a ClientHello that is malformed or comes in pieces */
    TURN_DROP_DTLS_COOKIE,    /* a cookie that is not ours, or too old: a new one is sent */
    TURN_DROP_DTLS_HALF_OPEN, /* as many handshakes under way as may be */
    TURN_DROP_DTLS_FULL,      /* as many associations as may be */
    TURN_DROP_DTLS_BUSY,      /* handshakes of this loop turn are used up */
    TURN_DROP_DTLS_STRAY,     /* DTLS from a client without an association */
    TURN_DROP_DTLS_RECORD,    /* does not decrypt, or came too often before its time */
    TURN_DROP_TCP_LIMIT,      /* a peer's connection to a TCP allocation that has enough */
    TURN_DROP_HANDOVER_FULL,  /* another worker does not keep up with its allocations' datagrams */
    TURN_DROP_LOOK_UP,        /* its user is being looked up: a datagram comes again by itself */
    TURN_DROP_HOP_LIMIT,      /* TTL or hop limit used up, with [turn] ip_headers = copy */
    TURN_DROP_NO_MEMORY,
    TURN_DROPS,
};

/* Methods that are counted one by one. */
enum turn_method {
    TURN_METHOD_BINDING,
    TURN_METHOD_ALLOCATE,
    TURN_METHOD_REFRESH,
    TURN_METHOD_CREATE_PERMISSION,
    TURN_METHOD_CHANNEL_BIND,
    TURN_METHOD_SEND,
    TURN_METHOD_CONNECT,
    TURN_METHOD_CONNECTION_BIND,
    TURN_METHOD_OTHER,
    TURN_METHODS,
};

/* Why a TCP or TLS connection was closed before anything was spent on it. */
enum turn_refusal {
    TURN_REFUSED_DENIED, /* client_policy.c */
    TURN_REFUSED_RATE,   /* too many from that source */
    TURN_REFUSED_HEADER, /* from a proxy, without a good PROXY protocol header in time */
    TURN_REFUSALS,
};

#define TURN_ERROR_CODES 17

/* Datagrams and payload that were relayed, of allocations whose clients come by one transport. Data
 * connections of TCP allocations count as TCP, and have no datagrams. */
struct turn_relayed {
    struct counter pkts, bytes;
};

struct turn_metrics {
    struct counter requests[TURN_METHODS];
    struct counter errors[TURN_ERROR_CODES];
    struct counter drops[TURN_DROPS];
    struct counter refused[TURN_REFUSALS];
    struct turn_relayed up[FIVE_TUPLE_TRANSPORTS], down[FIVE_TUPLE_TRANSPORTS];
    struct counter media_expected[2], media_lost[2]; /* packets of voice: enum media_way */
    struct counter allocations, allocations_made, peers_refused;
    struct counter dtls_associations, dtls_half_open, dtls_made, dtls_failed;
    struct counter handed_over, moves;
    struct counter tcp_connections, tcp_connections_made;
};

/* Registers all cells of t, which outlives m. Returns 0 or -ENOMEM. */
int turn_metrics_register(struct metrics *m, const struct turn_metrics *t);

/* Adds all transports to *pkts and *bytes. */
void turn_metrics_relayed(const struct turn_relayed of[FIVE_TUPLE_TRANSPORTS], uint64_t *pkts,
                          uint64_t *bytes);

/* Counts a request by its STUN method, and an error answer by its code. */
void turn_metrics_request(struct turn_metrics *t, unsigned method);
void turn_metrics_error(struct turn_metrics *t, int code);

static inline void turn_metrics_drop(struct turn_metrics *t, enum turn_drop why)
{
    counter_inc(&t->drops[why]);
}

#endif
