/* RTP header extensions (RFC 8285), one-byte and two-byte form.
 *
 * Called for each packet that comes in and each that goes out. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/rtp_ext.h"

enum {
    ONE_BYTE_STOP = 15, /* RFC 8285 §4.2: processing ends here */
    ONE_BYTE_LEN_MAX = 16,
};

static void found(struct rtp_exts *out, const struct rtp_ext_map *map, unsigned id,
                  struct slice data)
{
    unsigned ext = map->of[id];

    if (ext != RTP_EXT_NONE && ext < RTP_EXT_COUNT && !out->v[ext].p)
        out->v[ext] = data;
}

static void scan_one_byte(struct rtp_exts *out, struct rd r, const struct rtp_ext_map *map)
{
    while (r.left > 0) {
        uint8_t head = rd_u8(&r);
        unsigned id = head >> 4;
        if (head == 0)
            continue; /* padding */
        /* "If the ID value 15 is used, its length field should be ignored, processing of the entire
         * extension should terminate at that point." Id 0 with a length is not allowed either. */
        if (id == ONE_BYTE_STOP || id == 0)
            return;
        struct slice data = rd_take(&r, (head & 0x0fu) + 1);
        if (r.bad)
            return;
        found(out, map, id, data);
    }
}

static void scan_two_byte(struct rtp_exts *out, struct rd r, const struct rtp_ext_map *map)
{
    while (r.left > 0) {
        unsigned id = rd_u8(&r);
        if (id == 0)
            continue;
        size_t len = rd_u8(&r);
        struct slice data = rd_take(&r, len);
        if (r.bad)
            return;
        found(out, map, id, data);
    }
}

void rtp_ext_scan(struct rtp_exts *out, const struct rtp_header *h, const struct rtp_ext_map *map)
{
    *out = (struct rtp_exts){0};
    if (h->ext_profile == RTP_EXT_PROFILE_ONE_BYTE)
        scan_one_byte(out, rd_init(h->ext), map);
    else if ((h->ext_profile & RTP_EXT_PROFILE_TWO_MASK) == RTP_EXT_PROFILE_TWO_BYTE)
        scan_two_byte(out, rd_init(h->ext), map);
}

void rtp_ext_begin(struct rtp_ext_wr *x, struct wr *w, bool two_byte)
{
    *x = (struct rtp_ext_wr){w, w->len, two_byte};
    wr_be16(w, two_byte ? RTP_EXT_PROFILE_TWO_BYTE : RTP_EXT_PROFILE_ONE_BYTE);
    wr_be16(w, 0);
}

/* Writes the elements that are there again, in two-byte form: from a copy, since they grow. */
static void widen(struct rtp_ext_wr *x)
{
    uint8_t old[RTP_EXT_ONE_BYTE_MAX * (1 + ONE_BYTE_LEN_MAX)];
    struct wr *w = x->w;
    size_t body = x->at + RTP_EXT_HEADER_BYTES;
    size_t n = w->len - body;

    if (n > sizeof(old)) { /* more elements than there are ids: the caller's mistake */
        w->bad = true;
        return;
    }
    memcpy(old, w->base + body, n);
    wr_patch_be16(w, x->at, RTP_EXT_PROFILE_TWO_BYTE);
    w->len = body;
    x->two_byte = true;
    for (struct rd r = rd_init(slice_of(old, n)); r.left > 0;) {
        uint8_t head = rd_u8(&r);
        struct slice data = rd_take(&r, (head & 0x0fu) + 1);
        wr_u8(w, head >> 4);
        wr_u8(w, (uint8_t)data.len);
        wr_bytes(w, data);
    }
}

uint8_t *rtp_ext_reserve(struct rtp_ext_wr *x, uint8_t id, size_t len)
{
    struct wr *w = x->w;

    if (w->bad || id == 0 || len > RTP_EXT_LEN_MAX) {
        w->bad = true;
        return NULL;
    }
    if (!x->two_byte && (id > RTP_EXT_ONE_BYTE_MAX || len == 0 || len > ONE_BYTE_LEN_MAX))
        widen(x);
    if (x->two_byte) {
        wr_u8(w, id);
        wr_u8(w, (uint8_t)len);
    } else {
        wr_u8(w, (uint8_t)((unsigned)id << 4 | (unsigned)(len - 1)));
    }
    return wr_reserve(w, len);
}

void rtp_ext_put(struct rtp_ext_wr *x, uint8_t id, struct slice data)
{
    uint8_t *p = rtp_ext_reserve(x, id, data.len);

    if (p && data.len > 0)
        memcpy(p, data.p, data.len);
}

void rtp_ext_end(struct rtp_ext_wr *x)
{
    struct wr *w = x->w;

    if (w->bad)
        return;
    size_t n = w->len - x->at - RTP_EXT_HEADER_BYTES;
    wr_zero(w, (4 - n % 4) % 4);
    wr_patch_be16(w, x->at + 2, (uint16_t)((n + 3) / 4));
}
