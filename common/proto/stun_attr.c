/* Typed STUN and TURN attribute values: addresses, error codes, numbers.
 *
 * Called by the request handlers under turn/. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/stun_attr.h"

#include <errno.h>

#define ERROR_MAX 64 /* ERROR-CODE with the longest phrase of ours */

/* An address is XORed with the cookie and, for IPv6, the transaction id behind it (RFC 8489
 * §14.2): the mask is the header's bytes 4..19. */
static void xor_mask(uint8_t mask[16], const uint8_t tid[STUN_TID_BYTES])
{
    struct wr w = wr_init(mask, 16);

    wr_be32(&w, STUN_MAGIC);
    wr_bytes(&w, slice_of(tid, STUN_TID_BYTES));
}

int stun_xaddr_decode(struct addr *out, struct slice value, const uint8_t tid[STUN_TID_BYTES])
{
    struct rd r = rd_init(value);
    struct addr a = {0};
    uint8_t mask[16];

    rd_u8(&r);
    uint8_t family = rd_u8(&r);
    a.port = rd_be16(&r) ^ (uint16_t)(STUN_MAGIC >> 16);
    a.family = family == STUN_FAMILY_V4 ? ADDR_V4 : family == STUN_FAMILY_V6 ? ADDR_V6 : ADDR_NONE;
    struct slice ip = rd_take(&r, addr_ip_len(&a));
    if (r.bad || a.family == ADDR_NONE || r.left != 0)
        return -EBADMSG;

    xor_mask(mask, tid);
    for (size_t i = 0; i < ip.len; i++)
        a.ip[i] = ip.p[i] ^ mask[i];
    *out = a;
    return 0;
}

void stun_put_xaddr(struct wr *w, enum stun_attr_type type, const struct addr *a,
                    const uint8_t tid[STUN_TID_BYTES])
{
    uint8_t value[20], mask[16];
    struct wr v = wr_init(value, sizeof(value));
    size_t n = addr_ip_len(a);

    xor_mask(mask, tid);
    wr_u8(&v, 0);
    wr_u8(&v, a->family == ADDR_V4 ? STUN_FAMILY_V4 : STUN_FAMILY_V6);
    wr_be16(&v, a->port ^ (uint16_t)(STUN_MAGIC >> 16));
    for (size_t i = 0; i < n; i++)
        wr_u8(&v, a->ip[i] ^ mask[i]);
    if (n == 0)
        w->bad = true;
    stun_put(w, type, wr_done(&v));
}

void stun_put_addr(struct wr *w, enum stun_attr_type type, const struct addr *a)
{
    uint8_t value[20];
    struct wr v = wr_init(value, sizeof(value));

    wr_u8(&v, 0);
    wr_u8(&v, a->family == ADDR_V4 ? STUN_FAMILY_V4 : STUN_FAMILY_V6);
    wr_be16(&v, a->port);
    wr_bytes(&v, slice_of(a->ip, addr_ip_len(a)));
    if (addr_ip_len(a) == 0)
        w->bad = true;
    stun_put(w, type, wr_done(&v));
}

int stun_error_decode(struct slice value)
{
    struct rd r = rd_init(value);

    rd_be16(&r);
    int hundreds = rd_u8(&r) & 7;
    int rest = rd_u8(&r);
    if (r.bad || hundreds < 3 || hundreds > 6 || rest > 99)
        return -EBADMSG;
    return hundreds * 100 + rest;
}

static struct slice phrase_of(enum stun_error code)
{
    static const struct {
        enum stun_error code;
        struct slice phrase;
    } phrases[] = {
        {STUN_ERR_TRY_ALTERNATE, SLICE_LIT("Try Alternate")},
        {STUN_ERR_BAD_REQUEST, SLICE_LIT("Bad Request")},
        {STUN_ERR_UNAUTHENTICATED, SLICE_LIT("Unauthenticated")},
        {STUN_ERR_FORBIDDEN, SLICE_LIT("Forbidden")},
        {STUN_ERR_MOBILITY_FORBIDDEN, SLICE_LIT("Mobility Forbidden")},
        {STUN_ERR_UNKNOWN_ATTRIBUTE, SLICE_LIT("Unknown Attribute")},
        {STUN_ERR_ALLOCATION_MISMATCH, SLICE_LIT("Allocation Mismatch")},
        {STUN_ERR_STALE_NONCE, SLICE_LIT("Stale Nonce")},
        {STUN_ERR_FAMILY_NOT_SUPPORTED, SLICE_LIT("Address Family not Supported")},
        {STUN_ERR_WRONG_CREDENTIALS, SLICE_LIT("Wrong Credentials")},
        {STUN_ERR_TRANSPORT_NOT_SUPPORTED, SLICE_LIT("Unsupported Transport Protocol")},
        {STUN_ERR_PEER_FAMILY_MISMATCH, SLICE_LIT("Peer Address Family Mismatch")},
        {STUN_ERR_CONNECTION_EXISTS, SLICE_LIT("Connection Already Exists")},
        {STUN_ERR_CONNECTION_FAILED, SLICE_LIT("Connection Timeout or Failure")},
        {STUN_ERR_QUOTA_REACHED, SLICE_LIT("Allocation Quota Reached")},
        {STUN_ERR_SERVER_ERROR, SLICE_LIT("Server Error")},
        {STUN_ERR_INSUFFICIENT_CAPACITY, SLICE_LIT("Insufficient Capacity")},
    };

    for (size_t i = 0; i < ARRAY_LEN(phrases); i++) {
        if (phrases[i].code == code)
            return phrases[i].phrase;
    }
    return (struct slice){0};
}

void stun_put_error(struct wr *w, enum stun_error code, bool phrase)
{
    uint8_t value[ERROR_MAX];
    struct wr v = wr_init(value, sizeof(value));

    wr_be32(&v, (uint32_t)code / 100 << 8 | (uint32_t)code % 100);
    if (phrase)
        wr_bytes(&v, phrase_of(code));
    stun_put(w, STUN_ATTR_ERROR_CODE, wr_done(&v));
}

void stun_put_address_error(struct wr *w, uint8_t family, enum stun_error code)
{
    stun_put_u32(w, STUN_ATTR_ADDRESS_ERROR_CODE,
                 (uint32_t)family << 24 | (uint32_t)code / 100 << 8 | (uint32_t)code % 100);
}

void stun_put_icmp(struct wr *w, uint8_t type, uint8_t code, uint32_t data)
{
    uint8_t value[8];
    struct wr v = wr_init(value, sizeof(value));

    wr_be16(&v, 0);
    wr_be16(&v, (uint16_t)(type << 9 | code)); /* 7 and 9 bits */
    wr_be32(&v, data);
    stun_put(w, STUN_ATTR_ICMP, wr_done(&v));
}

int stun_u32_decode(uint32_t *out, struct slice value)
{
    struct rd r = rd_init(value);
    uint32_t v = rd_be32(&r);

    if (r.bad || r.left != 0)
        return -EBADMSG;
    *out = v;
    return 0;
}

int stun_channel_decode(uint16_t *out, struct slice value)
{
    uint32_t v;

    if (stun_u32_decode(&v, value) != 0)
        return -EBADMSG;
    *out = (uint16_t)(v >> 16); /* the lower half is reserved and ignored, RFC 8656 §18.1 */
    return 0;
}

int stun_first_byte_decode(uint8_t *out, struct slice value, size_t len)
{
    if (value.len != len || len == 0)
        return -EBADMSG;
    *out = value.p[0];
    return 0;
}

void stun_put_u32(struct wr *w, enum stun_attr_type type, uint32_t v)
{
    uint8_t value[4];
    struct wr b = wr_init(value, sizeof(value));

    wr_be32(&b, v);
    stun_put(w, type, wr_done(&b));
}
