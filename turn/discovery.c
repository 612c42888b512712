/* NAT behaviour discovery (RFC 5780).
 *
 * Called by dispatch.c for Binding requests. Pure: the shell sends from the listener that the
 * route names. The four addresses that one client talks to are the listeners that differ from each
 * other in address, port, or both:
 *
 *     A1:P1 ── other port ──► A1:P2
 *       └──── other address ► A2:P1      OTHER-ADDRESS of A1:P1 is A2:P2
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/discovery.h"

#define CHANGE_IP     0x04 /* RFC 5780 §7.2 */
#define CHANGE_PORT   0x02
#define SIGNING_BYTES 16 /* left free behind PADDING: FINGERPRINT and then some */

/* The listener that differs from `at` in just these two ways; -1 when there is none. */
static int partner(const struct turn_shared *s, uint16_t at, bool other_ip, bool other_port)
{
    const struct addr *from = &s->discovery[at];

    for (size_t i = 0; i < s->n_discovery; i++) {
        const struct addr *a = &s->discovery[i];
        if (a->family == from->family && addr_ip_eq(a, from) != other_ip &&
            (a->port == from->port) != other_port)
            return (int)i;
    }
    return -1;
}

bool discovery_applies(const struct request *r)
{
    const struct turn_shared *s = r->core->shared;
    uint16_t at = r->from->listener;

    return at < s->n_discovery && !five_tuple_is_proven(r->from) &&
           r->core->via.family == ADDR_NONE && partner(s, at, true, false) >= 0 &&
           partner(s, at, false, true) >= 0 && partner(s, at, true, true) >= 0;
}

/* RESPONSE-PORT: the port, and two bytes of nothing that some leave out. */
static bool decode_port(uint16_t *out, struct slice value)
{
    struct rd r = rd_init(value);

    *out = rd_be16(&r);
    return !r.bad && *out != 0 && (r.left == 0 || r.left == 2);
}

int discovery_route(const struct request *r, struct discovery_route *out)
{
    struct slice change, port, padding;
    uint32_t flags = 0;

    *out = (struct discovery_route){r->from->listener, r->from->client};
    if (stun_find(r->msg, STUN_ATTR_CHANGE_REQUEST, &change) &&
        stun_u32_decode(&flags, change) != 0)
        return STUN_ERR_BAD_REQUEST;
    if (stun_find(r->msg, STUN_ATTR_RESPONSE_PORT, &port)) {
        /* "If the Binding Request contains a PADDING and a RESPONSE-PORT attribute, the server
         * MUST reject it" (§6.1). */
        if (stun_find(r->msg, STUN_ATTR_PADDING, &padding) || !decode_port(&out->to.port, port))
            return STUN_ERR_BAD_REQUEST;
    }
    if (flags & (CHANGE_IP | CHANGE_PORT))
        out->listener = (uint16_t)partner(r->core->shared, r->from->listener, flags & CHANGE_IP,
                                          flags & CHANGE_PORT);
    return 0;
}

void discovery_put(const struct request *r, const struct discovery_route *route, struct wr *w)
{
    static const uint8_t zeros[2048];
    const struct turn_shared *s = r->core->shared;
    int other = partner(s, r->from->listener, true, true);
    struct slice padding;

    stun_put_addr(w, STUN_ATTR_MAPPED_ADDRESS, &r->from->client); /* tells of ALGs that rewrite */
    stun_put_addr(w, STUN_ATTR_RESPONSE_ORIGIN, &s->discovery[route->listener]);
    stun_put_addr(w, STUN_ATTR_OTHER_ADDRESS, &s->discovery[other]);
    if (!stun_find(r->msg, STUN_ATTR_PADDING, &padding) || w->cap - w->len < SIGNING_BYTES + 4)
        return;
    size_t room = (w->cap - w->len - SIGNING_BYTES - 4) & ~(size_t)3;
    size_t len = padding.len < room ? padding.len : room;
    stun_put(w, STUN_ATTR_PADDING, slice_sub(slice_of(zeros, sizeof(zeros)), 0, len));
}
