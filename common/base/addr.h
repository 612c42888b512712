/* Transport addresses and CIDR blocks as values.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_ADDR_H
#define SORI_BASE_ADDR_H

#include "base/bytes.h"

struct sockaddr;
struct sockaddr_storage;

enum addr_family { ADDR_NONE = 0, ADDR_V4 = 4, ADDR_V6 = 6 };

#define ADDR_TEXT_MAX 64 /* "[ipv6]:65535" and its NUL fit */

/* An IP address and port. ip holds 4 (V4) or 16 (V6) bytes in network order, the rest zero, so that
 * whole structs compare with addr_eq(). port is in host order. Zeroed = ADDR_NONE. */
struct addr {
    uint8_t ip[16];
    uint16_t port;
    uint8_t family;
    uint8_t _pad;
};

struct cidr {
    struct addr base; /* port 0, host bits zero */
    uint8_t bits;
};

/* Same family, address and port. */
static inline bool addr_eq(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && a->port == b->port && memcmp(a->ip, b->ip, 16) == 0;
}

/* Same family and address, whatever the ports. */
static inline bool addr_ip_eq(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, 16) == 0;
}

/* Bytes of the address itself: 4 or 16, 0 for ADDR_NONE. */
static inline size_t addr_ip_len(const struct addr *a)
{
    return a->family == ADDR_V4 ? 4 : a->family == ADDR_V6 ? 16 : 0;
}

/* 127.0.0.0/8 or ::1. */
bool addr_is_loopback(const struct addr *a);

/* 0.0.0.0 or ::, whatever the port. */
bool addr_is_wildcard(const struct addr *a);

/* Keyed hash over address and port; addr_ip_hash() leaves the port out. */
uint64_t addr_hash(const struct addr *a);
uint64_t addr_ip_hash(const struct addr *a);

/* From and to the kernel's form. addr_from_sockaddr gives ADDR_NONE for other families;
 * addr_to_sockaddr fills *ss and returns its length, 0 for ADDR_NONE. */
struct addr addr_from_sockaddr(const struct sockaddr *sa);
unsigned addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ss);

/* An address with another port. */
static inline struct addr addr_with_port(struct addr a, uint16_t port)
{
    a.port = port;
    return a;
}

/* Parses "192.0.2.1", "192.0.2.1:3478", "2001:db8::1" or "[2001:db8::1]:3478" (no names).
 * Returns 0, or -EINVAL; *out is written on success only, port 0 when none is given. */
int addr_parse(struct addr *out, struct slice text);

/* Prints "1.2.3.4:5" or "[::1]:5"; addr_ip_format() without port and brackets. Gives buf. */
const char *addr_format(const struct addr *a, char buf[ADDR_TEXT_MAX]);
const char *addr_ip_format(const struct addr *a, char buf[ADDR_TEXT_MAX]);

/* Parses "10.0.0.0/8", "fc00::/7" or a bare address (all bits). Returns 0, or -EINVAL for anything
 * else, host bits that are not zero among it. */
int cidr_parse(struct cidr *out, struct slice text);

/* True when the address of a lies in c (families must match: no unwrapping is done here). */
bool cidr_contains(const struct cidr *c, const struct addr *a);

#endif
