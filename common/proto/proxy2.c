/* PROXY protocol, version 2: the header of a load balancer.
 *
 * Called by net/stream_preface.c and turn_udp_listener.c, for senders that are trusted by
 * configuration. Pure; allocates nothing.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/proxy2.h"

#include <errno.h>

#define SIGNATURE     SLICE_LIT("\r\n\r\n\0\r\nQUIT\n")
#define VERSION       2
#define COMMAND_LOCAL 0
#define COMMAND_PROXY 1
#define TLV_CRC32C    0x03
#define CRC32C_POLY   0x82f63b78 /* Castagnoli's, reflected */

/* The byte of family and transport: no other values may be sent. */
enum { UNSPEC = 0x00, TCP4 = 0x11, UDP4 = 0x12, TCP6 = 0x21, UDP6 = 0x22 };
enum { UNIX_STREAM = 0x31, UNIX_DGRAM = 0x32 };

int proxy2_length(size_t *len, struct slice data)
{
    struct slice signature = SIGNATURE;
    size_t have = data.len < signature.len ? data.len : signature.len;
    struct rd r = rd_init(data);

    if (have > 0 && memcmp(data.p, signature.p, have) != 0)
        return -EBADMSG;
    rd_take(&r, signature.len);
    uint8_t version = rd_u8(&r);
    if (!r.bad && version >> 4 != VERSION)
        return -EBADMSG;
    rd_u8(&r);
    size_t total = PROXY2_FIXED_BYTES + (size_t)rd_be16(&r);
    if (r.bad)
        return -EAGAIN;
    if (total > PROXY2_MAX)
        return -EBADMSG;
    *len = total;
    return 0;
}

static uint32_t crc32c(uint32_t crc, struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        crc ^= s.p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLY : 0);
    }
    return crc;
}

/* The checksum is over the header with its own four bytes, which are at `at`, zero. */
static bool crc_is_right(struct slice header, size_t at, uint32_t want)
{
    uint32_t crc = crc32c(UINT32_MAX, slice_sub(header, 0, at));

    crc = crc32c(crc, SLICE_LIT("\0\0\0\0"));
    return ~crc32c(crc, slice_sub(header, at + 4, SIZE_MAX)) == want;
}

/* Walks the extensions, which must fill what is left, and checks the checksum if one is there. */
static int check_extensions(struct slice header, struct rd *r)
{
    while (r->left > 0) {
        uint8_t type = rd_u8(r);
        struct slice value = rd_take(r, rd_be16(r));
        if (r->bad)
            return -EBADMSG;
        if (type != TLV_CRC32C)
            continue;
        struct rd v = rd_init(value);
        uint32_t want = rd_be32(&v);
        if (value.len != 4 || !crc_is_right(header, (size_t)(value.p - header.p), want))
            return -EBADMSG;
    }
    return 0;
}

static struct addr read_ip(struct rd *r, uint8_t family)
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};
    struct slice ip = rd_take(r, family == ADDR_V4 ? 4 : 16);
    struct addr a = {.family = family};

    if (ip.len == 16 && memcmp(ip.p, mapped, sizeof mapped) == 0) {
        ip = slice_sub(ip, sizeof mapped, 4);
        a.family = ADDR_V4;
    }
    if (ip.len > 0)
        memcpy(a.ip, ip.p, ip.len);
    return a;
}

int proxy2_decode(struct proxy2 *out, struct slice data)
{
    struct proxy2 h = {0};

    if (proxy2_length(&h.len, data) != 0 || h.len > data.len)
        return -EBADMSG;
    struct slice header = slice_sub(data, 0, h.len);
    struct rd r = rd_init(header);
    rd_take(&r, SIGNATURE.len);
    unsigned command = rd_u8(&r) & 0xf;
    uint8_t kind = rd_u8(&r);
    rd_be16(&r);
    switch (kind) {
    case TCP4:
    case UDP4:
    case TCP6:
    case UDP6:
    case UNSPEC:
    case UNIX_STREAM:
    case UNIX_DGRAM:
        break;
    default:
        return -EBADMSG;
    }
    if (command > COMMAND_PROXY)
        return -EBADMSG;
    if (command == COMMAND_LOCAL || kind == UNSPEC) {
        *out = h;
        return 0;
    }
    if (kind == UNIX_STREAM || kind == UNIX_DGRAM)
        return -EPROTO;
    uint8_t family = kind == TCP4 || kind == UDP4 ? ADDR_V4 : ADDR_V6;
    h.transport = kind & 0xf;
    h.src = read_ip(&r, family);
    h.dst = read_ip(&r, family);
    h.src.port = rd_be16(&r);
    h.dst.port = rd_be16(&r);
    if (r.bad || check_extensions(header, &r) != 0)
        return -EBADMSG;
    *out = h;
    return 0;
}
