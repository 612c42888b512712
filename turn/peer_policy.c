/* Which peers the relay may talk to.
 *
 * Called by permit.c (CreatePermission, ChannelBind), relay.c (each Send) and connect.c; by
 * allocate.c and mobility.c for the address of a client. Pure. The tables are
 * the IANA special-purpose registries of both families, with multicast and the deprecated ranges;
 * relays were used to reach loopback, metadata services and their own hosts by every encoding that
 * a deny list had forgotten, so encodings are taken off first and lists apply to what remains.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/peer_policy.h"

#define V4(a, b, c, d, n)                                            \
    {                                                                \
        .base = {.ip = {a, b, c, d}, .family = ADDR_V4}, .bits = (n) \
    }
#define V6(n, ...)                                                    \
    {                                                                 \
        .base = {.ip = {__VA_ARGS__}, .family = ADDR_V6}, .bits = (n) \
    }

/* Not unicast, or "this host": no switch and no allow list opens these. */
static const struct cidr never[] = {
    V4(0, 0, 0, 0, 8),   /* this network; Linux takes 0.0.0.0 for loopback */
    V4(224, 0, 0, 0, 4), /* multicast */
    V4(240, 0, 0, 0, 4), /* reserved, broadcast */
    V6(128, 0),          /* unspecified */
    V6(8, 0xff),         /* multicast */
};

static const struct cidr loopback[] = {
    V4(127, 0, 0, 0, 8),
    V6(128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
};

static const struct cidr private[] = {
    V4(10, 0, 0, 0, 8),    V4(172, 16, 0, 0, 12), V4(192, 168, 0, 0, 16),
    V4(100, 64, 0, 0, 10), /* carrier NAT */
    V6(7, 0xfc),           /* unique local */
};

static const struct cidr special[] = {
    V4(169, 254, 0, 0, 16),            /* link local, cloud metadata */
    V4(192, 0, 0, 0, 24),              /* protocol assignments */
    V4(192, 0, 2, 0, 24),              /* documentation */
    V4(192, 88, 99, 0, 24),            /* 6to4 relay anycast */
    V4(198, 18, 0, 0, 15),             /* benchmarks */
    V4(198, 51, 100, 0, 24),           /* documentation */
    V4(203, 0, 113, 0, 24),            /* documentation */
    V6(48, 0, 0x64, 0xff, 0x9b, 0, 1), /* local NAT64 in a form that hides its IPv4 */
    V6(64, 1),                         /* discard */
    V6(23, 0x20, 1),                   /* protocol assignments */
    V6(32, 0x20, 1, 0x0d, 0xb8),       /* documentation */
    V6(20, 0x3f, 0xff),                /* documentation */
    V6(16, 0x5f),                      /* segment routing */
    V6(10, 0xfe, 0x80),                /* link local */
    V6(10, 0xfe, 0xc0),                /* site local, deprecated */
};

/* IPv6 forms that carry an IPv4 address in their last 32 bits and have no meaning beside it. */
static const struct cidr carries_v4_last[] = {
    V6(96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff), /* mapped */
    V6(96, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff),       /* translated, RFC 2765 */
    V6(96, 0),                                        /* compatible, deprecated */
    V6(96, 0, 0x64, 0xff, 0x9b),                      /* NAT64, RFC 6052 */
    V6(96, 0, 0x64, 0xff, 0x9b, 0, 1),                /* local NAT64, RFC 8215 */
};

static const struct cidr tunnels[] = {
    V6(16, 0x20, 0x02),       /* 6to4 */
    V6(32, 0x20, 0x01, 0, 0), /* Teredo */
};

static bool in_any(const struct cidr *v, size_t n, const struct addr *a)
{
    for (size_t i = 0; i < n; i++) {
        if (cidr_contains(&v[i], a))
            return true;
    }
    return false;
}

static bool is_any(const struct addr *v, size_t n, const struct addr *a)
{
    for (size_t i = 0; i < n; i++) {
        if (addr_ip_eq(&v[i], a))
            return true;
    }
    return false;
}

/* The IPv4 address in the last four bytes of a. */
static struct addr v4_last(const struct addr *a)
{
    struct addr v4 = {.family = ADDR_V4, .port = a->port};

    memcpy(v4.ip, a->ip + 12, 4);
    return v4;
}

/* Interface identifiers 0000:5efe:a.b.c.d and 0200:5efe:a.b.c.d (RFC 5214 §6.1). */
static bool is_isatap(const struct addr *a)
{
    return (a->ip[8] & 0xfd) == 0 && a->ip[9] == 0 && a->ip[10] == 0x5e && a->ip[11] == 0xfe;
}

/* Verdict on an address that wraps nothing. */
static enum peer_verdict check_bare(const struct peer_policy *p, const struct addr *a)
{
    if (in_any(never, ARRAY_LEN(never), a) || in_any(p->deny, p->n_deny, a))
        return PEER_DENIED;
    bool is_loopback = in_any(loopback, ARRAY_LEN(loopback), a);
    bool is_relay = is_any(p->relay, p->n_relay, a);
    if (is_loopback || is_relay || is_any(p->own, p->n_own, a)) {
        if (is_loopback ? p->allow_loopback : p->allow_own)
            return PEER_ALLOWED;
        return is_relay && p->allow_relay_to_relay ? PEER_RELAY : PEER_DENIED;
    }
    if (in_any(p->allow, p->n_allow, a))
        return PEER_ALLOWED;
    if (in_any(private, ARRAY_LEN(private), a))
        return p->allow_private ? PEER_ALLOWED : PEER_DENIED;
    return in_any(special, ARRAY_LEN(special), a) ? PEER_DENIED : PEER_ALLOWED;
}

bool peer_policy_is_tunnel(const struct addr *a)
{
    return in_any(tunnels, ARRAY_LEN(tunnels), a);
}

enum peer_verdict peer_policy_check(const struct peer_policy *p, const struct addr *peer)
{
    if (peer->family != ADDR_V6)
        return peer->family == ADDR_V4 ? check_bare(p, peer) : PEER_DENIED;
    /* A deny list may name the wrapped form, too. */
    if (peer_policy_is_tunnel(peer) || in_any(p->deny, p->n_deny, peer))
        return PEER_DENIED;
    struct addr inner;
    if (!cidr_contains(&loopback[1], peer) &&
        in_any(carries_v4_last, ARRAY_LEN(carries_v4_last), peer)) {
        inner = v4_last(peer);
    } else if (is_isatap(peer)) {
        inner = v4_last(peer);
        enum peer_verdict v = check_bare(p, &inner);
        return v == PEER_ALLOWED ? check_bare(p, peer) : PEER_DENIED;
    } else {
        return check_bare(p, peer);
    }
    /* Our relay sockets speak plain addresses: a wrapped one of ours is a trick. */
    enum peer_verdict v = check_bare(p, &inner);
    return v == PEER_RELAY ? PEER_DENIED : v;
}
