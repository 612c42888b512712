/* MOBILITY-TICKET: which allocation its bearer may move, sealed for ourselves.
 *
 * Called by mobility.c. Pure. base64url of 24 bytes: a tag, HMAC-SHA256 of the 8 bytes of content,
 * and those XORed with a stream that is an HMAC of the tag (a synthetic IV: no two contents are the
 * same, so a nonce would only make it longer). The key lives as long as the process, as the
 * allocations do. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/ticket.h"

#include <errno.h>

#include "base/crypto.h"

#define PLAIN_BYTES 8
#define TAG_BYTES   16
#define MOVES_BITS  16
#define SERIAL_BITS 40

/* HMAC of what under a use of the key, cut to n bytes. */
static int keyed(uint8_t *out, size_t n, const uint8_t key[TICKET_KEY_BYTES], struct slice use,
                 struct slice what)
{
    const struct slice parts[] = {use, what};
    uint8_t mac[CRYPTO_SHA256_BYTES];
    int err = crypto_hmac(CRYPTO_SHA256, slice_of(key, TICKET_KEY_BYTES), parts, 2, mac);

    memcpy(out, mac, n);
    return err;
}

static int tag_of(uint8_t tag[TAG_BYTES], struct slice plain, const uint8_t key[TICKET_KEY_BYTES])
{
    return keyed(tag, TAG_BYTES, key, SLICE_LIT("ticket tag"), plain);
}

/* Covers or uncovers the content. */
static int cover(uint8_t bytes[PLAIN_BYTES], const uint8_t tag[TAG_BYTES],
                 const uint8_t key[TICKET_KEY_BYTES])
{
    uint8_t stream[PLAIN_BYTES];
    int err =
        keyed(stream, sizeof(stream), key, SLICE_LIT("ticket stream"), slice_of(tag, TAG_BYTES));

    for (size_t i = 0; i < PLAIN_BYTES; i++)
        bytes[i] ^= stream[i];
    return err;
}

int ticket_seal(uint8_t out[TICKET_BYTES], const struct ticket *t,
                const uint8_t key[TICKET_KEY_BYTES])
{
    uint8_t raw[TAG_BYTES + PLAIN_BYTES], *plain = raw + TAG_BYTES;
    struct wr p = wr_init(plain, PLAIN_BYTES), text = wr_init(out, TICKET_BYTES);

    wr_be64(&p, (uint64_t)t->worker << (SERIAL_BITS + MOVES_BITS) |
                    (t->serial & TICKET_SERIAL_MAX) << MOVES_BITS | t->moves);
    if (tag_of(raw, wr_done(&p), key) != 0 || cover(plain, raw, key) != 0)
        return -EIO;
    base64url_encode(&text, slice_of(raw, sizeof(raw)));
    return text.bad ? -EIO : 0;
}

int ticket_open(struct ticket *out, struct slice sealed, const uint8_t key[TICKET_KEY_BYTES])
{
    uint8_t raw[TAG_BYTES + PLAIN_BYTES], tag[TAG_BYTES], *plain = raw + TAG_BYTES;
    size_t len = 0;

    if (sealed.len != TICKET_BYTES || base64url_decode(sealed, raw, sizeof(raw), &len) != 0 ||
        len != sizeof(raw))
        return -EBADMSG;
    if (cover(plain, raw, key) != 0 || tag_of(tag, slice_of(plain, PLAIN_BYTES), key) != 0 ||
        !crypto_equal(slice_of(tag, TAG_BYTES), slice_of(raw, TAG_BYTES)))
        return -EACCES;
    struct rd r = rd_init(slice_of(plain, PLAIN_BYTES));
    uint64_t v = rd_be64(&r);
    out->worker = (uint8_t)(v >> (SERIAL_BITS + MOVES_BITS));
    out->serial = v >> MOVES_BITS & TICKET_SERIAL_MAX;
    out->moves = (uint16_t)v;
    return 0;
}
