/* STUN messages: header, attribute walk, integrity, fingerprint (RFC 8489 §5, §14).
 *
 * Called by turn/dispatch.c and its handlers, and by whatever else speaks STUN. Pure; borrows from
 * the caller's bytes. The structure of a message is proven once, in stun_decode(); the walk
 * afterwards cannot fail. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/stun.h"

#include <errno.h>

#include "base/crypto.h"

#define STUN_FINGERPRINT_XOR 0x5354554Eu /* RFC 8489 §14.7 */
#define STUN_ATTR_HEADER     4
#define STUN_LENGTH_AT       2 /* offset of the length field in the header */
#define STUN_SHA256_MIN      16
#define STUN_FINGERPRINT_LEN 4

static size_t pad4(size_t len)
{
    return (4 - (len & 3)) & 3;
}

/* CRC-32 of ITU V.42, four bits at a time: FINGERPRINT is rare and short. */
static uint32_t crc32_of(struct slice s)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < s.len; i++) {
        crc = nibble[(crc ^ s.p[i]) & 15] ^ crc >> 4;
        crc = nibble[(crc ^ (uint32_t)(s.p[i] >> 4)) & 15] ^ crc >> 4;
    }
    return ~crc;
}

uint16_t stun_method_of(uint16_t type)
{
    return (uint16_t)((type & 0x000f) | (type & 0x00e0) >> 1 | (type & 0x3e00) >> 2);
}

enum stun_class stun_class_of(uint16_t type)
{
    return (enum stun_class)(type & STUN_ERROR);
}

uint16_t stun_type(enum stun_method method, enum stun_class class)
{
    unsigned m = (unsigned)method;

    return (uint16_t)((m & 0x000f) | (m & 0x0070) << 1 | (m & 0x0f80) << 2 | (unsigned)class);
}

bool stun_next(struct slice *at, struct stun_attr *out)
{
    struct rd r = rd_init(*at);
    uint16_t type = rd_be16(&r);
    uint16_t len = rd_be16(&r);
    struct slice value = rd_take(&r, len);

    rd_take(&r, pad4(len));
    if (r.bad)
        return false;
    *out = (struct stun_attr){type, value};
    *at = rd_rest(&r);
    return true;
}

bool stun_find(const struct stun_msg *m, enum stun_attr_type type, struct slice *value)
{
    struct slice at = m->attrs;
    struct stun_attr a;

    while (stun_next(&at, &a)) {
        if (a.type == type) {
            *value = a.value;
            return true;
        }
    }
    return false;
}

/* Notes one attribute that stands at offset `at`. "With the exception of the
 * MESSAGE-INTEGRITY-SHA256 and FINGERPRINT attributes [...] agents MUST ignore all other attributes
 * that follow MESSAGE-INTEGRITY" (RFC 8489 §14.5); doubles of an integrity attribute follow one,
 * so they are ignored too. */
static int note_attr(struct stun_msg *m, const struct stun_attr *a, size_t at, size_t left)
{
    size_t len = a->value.len;

    switch (a->type) {
    case STUN_ATTR_MESSAGE_INTEGRITY:
        if (len != CRYPTO_SHA1_BYTES)
            return -EBADMSG;
        if (!m->mi_at && !m->mi256_at)
            m->mi_at = at;
        return 0;
    case STUN_ATTR_MESSAGE_INTEGRITY_SHA256:
        if (len < STUN_SHA256_MIN || len > CRYPTO_SHA256_BYTES || len % 4 != 0)
            return -EBADMSG;
        if (!m->mi256_at) {
            m->mi256_at = at;
            m->mi256_len = (uint8_t)len;
        }
        return 0;
    case STUN_ATTR_FINGERPRINT: {
        struct rd r = rd_init(a->value);
        uint32_t want = crc32_of(slice_sub(m->raw, 0, at)) ^ STUN_FINGERPRINT_XOR;
        if (len != STUN_FINGERPRINT_LEN || left != 0 || rd_be32(&r) != want)
            return -EBADMSG;
        m->has_fingerprint = true;
        return 0;
    }
    default:
        return 0;
    }
}

static int note_attrs(struct stun_msg *m)
{
    struct slice at = slice_sub(m->raw, STUN_HEADER_BYTES, SIZE_MAX);
    struct stun_attr a;

    for (unsigned n = 0; at.len > 0; n++) {
        size_t offset = m->raw.len - at.len;
        if (n == STUN_ATTRS_MAX || !stun_next(&at, &a))
            return -EBADMSG;
        int err = note_attr(m, &a, offset, at.len);
        if (err)
            return err;
    }
    return 0;
}

int stun_decode(struct stun_msg *out, struct slice bytes)
{
    struct rd r = rd_init(bytes);
    struct stun_msg m = {.raw = bytes};

    m.type = rd_be16(&r);
    uint16_t length = rd_be16(&r);
    uint32_t magic = rd_be32(&r);
    struct slice tid = rd_take(&r, STUN_TID_BYTES);

    if (r.bad || (m.type & 0xc000) || magic != STUN_MAGIC || length % 4 != 0 || length != r.left)
        return -EBADMSG;
    memcpy(m.tid, tid.p, STUN_TID_BYTES);
    int err = note_attrs(&m);
    if (err)
        return err;

    size_t end = m.mi_at ? m.mi_at : m.mi256_at ? m.mi256_at : bytes.len;
    m.attrs = slice_sub(slice_sub(bytes, 0, end), STUN_HEADER_BYTES, SIZE_MAX);
    *out = m;
    return 0;
}

/* The digest covers the message up to the integrity attribute, with a length field that points to
 * the end of that attribute (RFC 8489 §14.5). */
static int integrity(enum crypto_md md, struct slice key, struct slice msg, size_t value_len,
                     uint8_t *out)
{
    uint8_t head[4];
    struct wr w = wr_init(head, sizeof(head));

    wr_bytes(&w, slice_sub(msg, 0, STUN_LENGTH_AT));
    wr_be16(&w, (uint16_t)(msg.len - STUN_HEADER_BYTES + STUN_ATTR_HEADER + value_len));
    const struct slice parts[] = {wr_done(&w), slice_sub(msg, sizeof(head), SIZE_MAX)};
    return crypto_hmac(md, key, parts, ARRAY_LEN(parts), out);
}

static bool verify(const struct stun_msg *m, size_t at, enum crypto_md md, struct slice key)
{
    struct slice rest = slice_sub(m->raw, at, SIZE_MAX);
    struct stun_attr a;
    uint8_t want[CRYPTO_DIGEST_MAX];

    if (at == 0 || !stun_next(&rest, &a) || a.value.len > crypto_md_bytes(md))
        return false;
    if (integrity(md, key, slice_sub(m->raw, 0, at), a.value.len, want) != 0)
        return false;
    return crypto_equal(slice_of(want, a.value.len), a.value);
}

bool stun_verify_sha1(const struct stun_msg *m, struct slice key)
{
    return verify(m, m->mi_at, CRYPTO_SHA1, key);
}

bool stun_verify_sha256(const struct stun_msg *m, struct slice key)
{
    return verify(m, m->mi256_at, CRYPTO_SHA256, key);
}

int stun_long_term_key(uint8_t out[STUN_KEY_BYTES], struct slice user, struct slice realm,
                       struct slice password)
{
    const struct slice parts[] = {user, SLICE_LIT(":"), realm, SLICE_LIT(":"), password};

    return crypto_digest(CRYPTO_MD5, parts, ARRAY_LEN(parts), out);
}

int stun_long_term_key_sha256(uint8_t out[STUN_KEY_SHA256_BYTES], struct slice user,
                              struct slice realm, struct slice password)
{
    const struct slice parts[] = {user, SLICE_LIT(":"), realm, SLICE_LIT(":"), password};

    return crypto_digest(CRYPTO_SHA256, parts, ARRAY_LEN(parts), out);
}

int stun_userhash(uint8_t out[STUN_USERHASH_BYTES], struct slice user, struct slice realm)
{
    const struct slice parts[] = {user, SLICE_LIT(":"), realm};

    return crypto_digest(CRYPTO_SHA256, parts, ARRAY_LEN(parts), out);
}

/* Keeps the header's length field equal to what follows the header, plus `more` still to come. */
static void patch_length(struct wr *w, size_t more)
{
    if (w->bad || w->len < STUN_HEADER_BYTES || more > UINT16_MAX ||
        w->len - STUN_HEADER_BYTES > UINT16_MAX - more)
        w->bad = true;
    else
        wr_patch_be16(w, STUN_LENGTH_AT, (uint16_t)(w->len - STUN_HEADER_BYTES + more));
}

void stun_begin(struct wr *w, uint16_t type, const uint8_t tid[STUN_TID_BYTES])
{
    wr_be16(w, type);
    wr_be16(w, 0);
    wr_be32(w, STUN_MAGIC);
    wr_bytes(w, slice_of(tid, STUN_TID_BYTES));
}

void stun_put(struct wr *w, enum stun_attr_type type, struct slice value)
{
    if (value.len > UINT16_MAX)
        w->bad = true;
    wr_be16(w, (uint16_t)type);
    wr_be16(w, (uint16_t)value.len);
    wr_bytes(w, value);
    wr_zero(w, pad4(value.len));
    patch_length(w, 0);
}

static void put_integrity(struct wr *w, enum stun_attr_type type, enum crypto_md md,
                          struct slice key)
{
    uint8_t digest[CRYPTO_DIGEST_MAX];
    struct slice value = slice_of(digest, crypto_md_bytes(md));

    if (w->bad || integrity(md, key, wr_done(w), value.len, digest) != 0)
        w->bad = true;
    else
        stun_put(w, type, value);
}

void stun_put_sha1(struct wr *w, struct slice key)
{
    put_integrity(w, STUN_ATTR_MESSAGE_INTEGRITY, CRYPTO_SHA1, key);
}

void stun_put_sha256(struct wr *w, struct slice key)
{
    put_integrity(w, STUN_ATTR_MESSAGE_INTEGRITY_SHA256, CRYPTO_SHA256, key);
}

void stun_put_fingerprint(struct wr *w)
{
    uint8_t value[STUN_FINGERPRINT_LEN];
    struct wr v = wr_init(value, sizeof(value));

    patch_length(w, STUN_ATTR_HEADER + STUN_FINGERPRINT_LEN);
    wr_be32(&v, crc32_of(wr_done(w)) ^ STUN_FINGERPRINT_XOR);
    stun_put(w, STUN_ATTR_FINGERPRINT, wr_done(&v));
}

unsigned stun_put_trailing(struct wr *w, enum stun_attr_type type, size_t len)
{
    if (len > UINT16_MAX)
        w->bad = true;
    wr_be16(w, (uint16_t)type);
    wr_be16(w, (uint16_t)len);
    patch_length(w, w->bad ? 0 : len + pad4(len));
    return (unsigned)pad4(len);
}
