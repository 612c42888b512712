/* PROXY protocol, version 2: the header by which a load balancer tells whose connection or datagram
 * this is (haproxy's doc/proxy-protocol.txt §2.2). Version 1, the text form, is refused.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_PROXY2_H
#define SORI_PROTO_PROXY2_H

#include "base/addr.h"

#define PROXY2_FIXED_BYTES 16   /* signature, version, family, length */
#define PROXY2_MAX         4096 /* bytes of a header with everything in it; longer ones are refused */

enum proxy2_transport { PROXY2_STREAM = 1, PROXY2_DGRAM = 2 };

/* src is ADDR_NONE where the sender speaks for itself (LOCAL, such as a health check) or does not
 * know (UNSPEC): then the connection's own addresses count, and transport is 0. IPv4 addresses
 * mapped into IPv6 are given as IPv4. */
struct proxy2 {
    struct addr src, dst;
    uint8_t transport;
    size_t len; /* bytes of the header: what it speaks of begins behind them */
};

/* Finds how long the header at the start of data is. Returns 0 and *len; -EAGAIN when that takes
 * PROXY2_FIXED_BYTES and data, which may be the start of a header, has less; -EBADMSG when it is
 * none, or longer than PROXY2_MAX. */
int proxy2_length(size_t *len, struct slice data);

/* Decodes the header at the start of data. Returns 0; -EBADMSG when it is malformed, cut off, or
 * its checksum (if it has one) is wrong; -EPROTO when it is for something without an IP address. */
int proxy2_decode(struct proxy2 *out, struct slice data);

#endif
