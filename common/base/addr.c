/* Addresses: text, kernel form, hash and CIDR membership.
 *
 * Called by everything that names a peer. Pure; any thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/addr.h"

#include "base/hash.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

enum { ADDR_V6_BITS = 128, ADDR_V4_BITS = 32 };

uint64_t addr_ip_hash(const struct addr *a)
{
    return hash_bytes(slice_of(a->ip, addr_ip_len(a)));
}

bool addr_is_wildcard(const struct addr *a)
{
    static const uint8_t zero[sizeof(a->ip)];

    return memcmp(a->ip, zero, sizeof(zero)) == 0;
}

bool addr_is_loopback(const struct addr *a)
{
    static const struct addr v6 = {.ip = {[15] = 1}, .family = ADDR_V6};

    return a->family == ADDR_V4 ? a->ip[0] == 127 : addr_ip_eq(a, &v6);
}

uint64_t addr_hash(const struct addr *a)
{
    uint8_t key[sizeof(a->ip) + 2];
    size_t len = addr_ip_len(a);

    memcpy(key, a->ip, sizeof(a->ip));
    key[len] = (uint8_t)(a->port >> 8);
    key[len + 1] = (uint8_t)a->port;
    return hash_bytes(slice_of(key, len + 2));
}

struct addr addr_from_sockaddr(const struct sockaddr *sa)
{
    struct addr a = {0};

    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof(in));
        memcpy(a.ip, &in.sin_addr, 4);
        a.port = ntohs(in.sin_port);
        a.family = ADDR_V4;
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof(in6));
        memcpy(a.ip, &in6.sin6_addr, 16);
        a.port = ntohs(in6.sin6_port);
        a.family = ADDR_V6;
    }
    return a;
}

unsigned addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ss)
{
    *ss = (struct sockaddr_storage){0};
    if (a->family == ADDR_V4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
        memcpy(&in.sin_addr, a->ip, 4);
        memcpy(ss, &in, sizeof(in));
        return sizeof(in);
    }
    if (a->family == ADDR_V6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
        memcpy(&in6.sin6_addr, a->ip, 16);
        memcpy(ss, &in6, sizeof(in6));
        return sizeof(in6);
    }
    return 0;
}

/* Parses an address without port. */
static int addr_parse_ip(struct addr *out, struct slice text)
{
    char z[INET6_ADDRSTRLEN];
    struct addr a = {0};

    if (slice_to_cstr(text, z, sizeof(z)) != 0)
        return -EINVAL;
    if (inet_pton(AF_INET, z, a.ip) == 1)
        a.family = ADDR_V4;
    else if (inet_pton(AF_INET6, z, a.ip) == 1)
        a.family = ADDR_V6;
    else
        return -EINVAL;
    *out = a;
    return 0;
}

/* Offset of the only c in text, or text.len; *more is true when there are several. */
static size_t find_char(struct slice text, char c, bool *more)
{
    size_t at = text.len, seen = 0;

    for (size_t i = 0; i < text.len; i++)
        if (text.p[i] == (uint8_t)c && seen++ == 0)
            at = i;
    *more = seen > 1;
    return at;
}

int addr_parse(struct addr *out, struct slice text)
{
    bool several;
    size_t colon = find_char(text, ':', &several);
    bool bracketed = text.len > 0 && text.p[0] == '[';
    struct slice ip = text, port = {0};
    struct addr a;
    uint64_t number = 0;

    if (bracketed) {
        size_t end = find_char(text, ']', &several);
        if (several || end + 1 >= text.len || text.p[end + 1] != ':')
            return -EINVAL;
        ip = slice_sub(text, 1, end - 1);
        port = slice_sub(text, end + 2, text.len);
    } else if (colon < text.len && !several) {
        ip = slice_sub(text, 0, colon);
        port = slice_sub(text, colon + 1, text.len);
    }
    bool has_port = ip.len != text.len;
    if (addr_parse_ip(&a, ip) != 0 || bracketed != (has_port && a.family == ADDR_V6))
        return -EINVAL;
    if (has_port && slice_to_u64(port, UINT16_MAX, &number) != 0)
        return -EINVAL;
    *out = addr_with_port(a, (uint16_t)number);
    return 0;
}

const char *addr_ip_format(const struct addr *a, char buf[ADDR_TEXT_MAX])
{
    int af = a->family == ADDR_V4 ? AF_INET : AF_INET6;

    if (addr_ip_len(a) == 0 || !inet_ntop(af, a->ip, buf, ADDR_TEXT_MAX))
        memcpy(buf, "none", sizeof("none"));
    return buf;
}

const char *addr_format(const struct addr *a, char buf[ADDR_TEXT_MAX])
{
    char ip[ADDR_TEXT_MAX];
    struct wr w = wr_init(buf, ADDR_TEXT_MAX);
    bool brackets = a->family == ADDR_V6;

    wr_str(&w, brackets ? "[" : "");
    wr_str(&w, addr_ip_format(a, ip));
    wr_str(&w, brackets ? "]" : "");
    if (addr_ip_len(a) > 0) {
        wr_u8(&w, ':');
        wr_u64(&w, a->port);
    }
    wr_u8(&w, '\0'); /* "[" 45 "]:65535" and NUL always fit */
    return buf;
}

/* True when all bits of ip from bit `from` to its end are zero. */
static bool host_bits_zero(const struct addr *a, unsigned from)
{
    for (size_t i = from; i < addr_ip_len(a) * 8; i++)
        if (a->ip[i / 8] & 0x80 >> i % 8)
            return false;
    return true;
}

int cidr_parse(struct cidr *out, struct slice text)
{
    bool several;
    size_t slash = find_char(text, '/', &several);
    struct addr a;

    if (several || addr_parse_ip(&a, slice_sub(text, 0, slash)) != 0)
        return -EINVAL;
    uint64_t width = a.family == ADDR_V4 ? ADDR_V4_BITS : ADDR_V6_BITS, bits = width;
    if (slash < text.len && slice_to_u64(slice_sub(text, slash + 1, text.len), width, &bits) != 0)
        return -EINVAL;
    if (!host_bits_zero(&a, (unsigned)bits))
        return -EINVAL;
    *out = (struct cidr){a, (uint8_t)bits};
    return 0;
}

bool cidr_contains(const struct cidr *c, const struct addr *a)
{
    size_t whole = c->bits / 8, rest = c->bits % 8;

    if (c->base.family != a->family || a->family == ADDR_NONE)
        return false;
    if (memcmp(c->base.ip, a->ip, whole) != 0)
        return false;
    return rest == 0 || ((c->base.ip[whole] ^ a->ip[whole]) >> (8 - rest)) == 0;
}
