/* The dependency descriptor (AV1 RTP specification, appendix A).
 *
 * Names of syntax elements are the specification's (A.8.2). A descriptor is at most 255 bytes, so
 * all its lists are short. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/dependency.h"

#include <errno.h>

enum {
    MANDATORY_BITS = 24,
    FLAG_BITS = 5,
    TEMPLATE_ID_BITS = 6,
    OFFSET_AT = MANDATORY_BITS + FLAG_BITS, /* of template_id_offset */
    FLAG_STRUCTURE = 0x10,
    FLAG_ACTIVE = 0x08,
    FLAG_DTIS = 0x04,
    FLAG_FDIFFS = 0x02,
    FLAG_CHAINS = 0x01,
    NEXT_SAME = 0,
    NEXT_TEMPORAL = 1,
    NEXT_SPATIAL = 2,
    NEXT_END = 3,
    TEMPLATE_MASK = DEPENDENCY_TEMPLATES_MAX - 1,
};

/* Bits, the most significant first. */
struct bits {
    struct slice s;
    size_t at;
    bool bad;
};

static uint32_t bits_get(struct bits *b, unsigned n)
{
    uint32_t v = 0;

    if (b->bad || n > b->s.len * 8 - b->at) {
        b->bad = true;
        return 0;
    }
    for (; n > 0; n--, b->at++)
        v = v << 1 | ((unsigned)b->s.p[b->at / 8] >> (7 - b->at % 8) & 1u);
    return v;
}

/* ns(n): one of n values in as few bits as it takes. */
static uint32_t bits_get_ns(struct bits *b, uint32_t n)
{
    unsigned w = 0;

    for (uint32_t x = n; x > 0; x >>= 1)
        w++;
    uint32_t m = (1u << w) - n;
    uint32_t v = bits_get(b, w - 1);
    if (v < m)
        return v;
    return (v << 1) - m + bits_get(b, 1);
}

static uint64_t get_dtis(struct bits *b, unsigned n)
{
    uint64_t dti = 0;

    for (unsigned i = 0; i < n; i++)
        dti |= (uint64_t)bits_get(b, 2) << (2 * i);
    return dti;
}

static void get_template_layers(struct dependency_structure *s, struct bits *b)
{
    uint8_t sid = 0, tid = 0;

    for (;;) {
        struct dependency_template *t = &s->v[s->n_templates++];
        t->sid = sid;
        t->tid = tid;
        uint32_t next = bits_get(b, 2);
        if (next == NEXT_END)
            break;
        if (next == NEXT_TEMPORAL) {
            tid++;
        } else if (next == NEXT_SPATIAL) {
            tid = 0;
            sid++;
        }
        if (s->n_templates == DEPENDENCY_TEMPLATES_MAX || sid >= DEPENDENCY_SPATIAL_MAX ||
            tid >= DEPENDENCY_TEMPORAL_MAX)
            b->bad = true;
        if (b->bad)
            break;
        if (tid > s->max_tid)
            s->max_tid = tid;
        s->max_sid = sid;
    }
}

static void get_template_fdiffs(struct dependency_template *t, struct bits *b)
{
    while (bits_get(b, 1)) {
        if (t->n_fdiffs == DEPENDENCY_FDIFFS_MAX) {
            b->bad = true;
            return;
        }
        t->fdiff[t->n_fdiffs++] = (uint16_t)(bits_get(b, 4) + 1);
    }
}

static void get_template_chains(struct dependency_structure *s, struct bits *b)
{
    s->n_chains = (uint8_t)bits_get_ns(b, s->n_targets + 1u);
    if (s->n_chains == 0)
        return;
    for (unsigned i = 0; i < s->n_targets; i++)
        s->protected_by[i] = (uint8_t)bits_get_ns(b, s->n_chains);
    for (unsigned t = 0; t < s->n_templates; t++) {
        for (unsigned c = 0; c < s->n_chains; c++)
            s->v[t].chain[c] = (uint8_t)bits_get(b, 4);
    }
}

/* A target's layer is the highest of the templates that belong to it (A.8.3). */
static void derive_target_layers(struct dependency_structure *s)
{
    for (unsigned i = 0; i < s->n_targets; i++) {
        for (unsigned t = 0; t < s->n_templates; t++) {
            if (dependency_dti(s->v[t].dti, i) == DEPENDENCY_NOT_PRESENT)
                continue;
            if (s->v[t].sid > s->target_sid[i])
                s->target_sid[i] = s->v[t].sid;
            if (s->v[t].tid > s->target_tid[i])
                s->target_tid[i] = s->v[t].tid;
        }
    }
}

static void get_structure(struct dependency_structure *s, struct bits *b)
{
    *s = (struct dependency_structure){.offset = (uint8_t)bits_get(b, TEMPLATE_ID_BITS)};
    s->n_targets = (uint8_t)(bits_get(b, 5) + 1);
    get_template_layers(s, b);
    for (unsigned t = 0; t < s->n_templates && !b->bad; t++)
        s->v[t].dti = get_dtis(b, s->n_targets);
    for (unsigned t = 0; t < s->n_templates && !b->bad; t++)
        get_template_fdiffs(&s->v[t], b);
    get_template_chains(s, b);
    derive_target_layers(s);
    s->has_resolution = bits_get(b, 1);
    for (unsigned i = 0; s->has_resolution && i <= s->max_sid; i++) {
        s->resolution[i].width = (uint16_t)(bits_get(b, 16) + 1);
        s->resolution[i].height = (uint16_t)(bits_get(b, 16) + 1);
    }
}

static void get_frame_fdiffs(struct dependency *d, struct bits *b)
{
    uint32_t size;

    d->n_fdiffs = 0;
    while ((size = bits_get(b, 2)) != 0) {
        if (d->n_fdiffs == DEPENDENCY_FDIFFS_MAX) {
            b->bad = true;
            return;
        }
        d->fdiff[d->n_fdiffs++] = (uint16_t)(bits_get(b, 4 * size) + 1);
    }
}

static uint32_t all_targets(unsigned n)
{
    return n >= DEPENDENCY_TARGETS_MAX ? UINT32_MAX : (1u << n) - 1;
}

/* The frame's own part: what its template says, unless it says otherwise. */
static int get_frame(struct dependency *d, const struct dependency_structure *s, struct bits *b,
                     uint32_t flags)
{
    unsigned index = (unsigned)(d->template_id - s->offset) & TEMPLATE_MASK;

    if (index >= s->n_templates)
        return -ENOENT;
    const struct dependency_template *t = &s->v[index];
    d->sid = t->sid;
    d->tid = t->tid;
    d->dti = flags & FLAG_DTIS ? get_dtis(b, s->n_targets) : t->dti;
    d->n_fdiffs = t->n_fdiffs;
    memcpy(d->fdiff, t->fdiff, sizeof(d->fdiff));
    if (flags & FLAG_FDIFFS)
        get_frame_fdiffs(d, b);
    memcpy(d->chain, t->chain, sizeof(d->chain));
    for (unsigned c = 0; (flags & FLAG_CHAINS) && c < s->n_chains; c++)
        d->chain[c] = (uint8_t)bits_get(b, 8);
    return b->bad ? -EBADMSG : 0;
}

int dependency_decode(struct dependency *out, const struct dependency_structure *structure,
                      struct dependency_structure *fresh, struct slice bytes)
{
    struct bits b = {.s = bytes};
    struct dependency_structure own;
    struct dependency d = {0};
    uint32_t flags = 0;

    d.start = bits_get(&b, 1);
    d.end = bits_get(&b, 1);
    d.template_id = (uint8_t)bits_get(&b, TEMPLATE_ID_BITS);
    d.frame = (uint16_t)bits_get(&b, 16);
    if (b.bad || bytes.len > DEPENDENCY_LEN_MAX)
        return -EBADMSG;
    d.extended = bytes.len > MANDATORY_BITS / 8;
    if (d.extended)
        flags = bits_get(&b, FLAG_BITS);
    d.has_structure = flags & FLAG_STRUCTURE;
    if (d.has_structure) {
        get_structure(&own, &b);
        if (b.bad)
            return -EBADMSG;
        structure = &own;
        d.active = all_targets(own.n_targets);
    }
    if (!structure)
        return -ENOENT;
    d.mask_present = flags & FLAG_ACTIVE;
    d.has_active = d.has_structure || d.mask_present;
    d.mask_at = (uint16_t)(d.extended ? b.at : 0);
    if (d.mask_present)
        d.active = bits_get(&b, structure->n_targets);
    int err = get_frame(&d, structure, &b, flags);
    if (err)
        return err;
    d.bits = (uint16_t)b.at;
    if (d.has_structure)
        *fresh = own;
    *out = d;
    return 0;
}

/* Bits into the tail of a writer. */
struct put {
    struct wr *w;
    unsigned used; /* bits of the last byte */
};

static void put_bits(struct put *p, uint32_t v, unsigned n)
{
    while (n > 0) {
        n--;
        if (p->used % 8 == 0) {
            wr_u8(p->w, 0);
            p->used = 0;
        }
        if (!p->w->bad && (v >> n & 1))
            p->w->base[p->w->len - 1] |= (uint8_t)(0x80 >> p->used);
        p->used++;
    }
}

static void put_copy(struct put *p, struct slice from, size_t at, size_t end)
{
    struct bits b = {from, at, false};

    for (; b.at < end && !b.bad;)
        put_bits(p, bits_get(&b, 1), 1);
}

static uint8_t shifted(unsigned template_id, const struct dependency_patch *p)
{
    return (uint8_t)((template_id + p->template_delta) & TEMPLATE_MASK);
}

/* Overwrites n bits of bytes that are there. */
static void set_bits(uint8_t *base, size_t at, uint32_t v, unsigned n)
{
    for (; n > 0; n--, at++) {
        uint8_t bit = (uint8_t)(0x80 >> at % 8);
        if (v >> (n - 1) & 1)
            base[at / 8] |= bit;
        else
            base[at / 8] &= (uint8_t)~bit;
    }
}

/* No bit moves: the common case, for each packet to each receiver. */
static void rewrite_in_place(uint8_t *out, struct slice bytes, const struct dependency *d,
                             const struct dependency_patch *p)
{
    memcpy(out, bytes.p, bytes.len);
    out[0] = (uint8_t)((bytes.p[0] & ~TEMPLATE_MASK) | shifted(d->template_id, p));
    out[1] = (uint8_t)(p->frame >> 8);
    out[2] = (uint8_t)p->frame;
    if (d->has_structure) {
        struct bits from = {.s = bytes, .at = OFFSET_AT};
        set_bits(out, OFFSET_AT, shifted(bits_get(&from, TEMPLATE_ID_BITS), p), TEMPLATE_ID_BITS);
    }
    if (p->put_mask)
        set_bits(out, d->mask_at, p->mask, p->n_targets);
}

/* A mask comes where none was: what is behind it moves. */
static void rewrite_with_mask(struct wr *w, struct slice bytes, const struct dependency *d,
                              const struct dependency_patch *p)
{
    struct bits from = {.s = bytes, .at = MANDATORY_BITS};
    struct put to = {w, 0};
    uint32_t flags = d->extended ? bits_get(&from, FLAG_BITS) : 0;

    put_bits(&to, d->start, 1);
    put_bits(&to, d->end, 1);
    put_bits(&to, shifted(d->template_id, p), TEMPLATE_ID_BITS);
    put_bits(&to, p->frame, 16);
    put_bits(&to, flags | FLAG_ACTIVE, FLAG_BITS);
    if (d->has_structure) {
        put_bits(&to, shifted(bits_get(&from, TEMPLATE_ID_BITS), p), TEMPLATE_ID_BITS);
        put_copy(&to, bytes, from.at, d->mask_at);
    }
    put_bits(&to, p->mask, p->n_targets);
    if (d->extended)
        put_copy(&to, bytes, d->mask_at, d->bits);
}

void dependency_rewrite(struct wr *w, struct slice bytes, const struct dependency *d,
                        const struct dependency_patch *p)
{
    size_t at = w->len;

    if (p->put_mask && !d->mask_present) {
        rewrite_with_mask(w, bytes, d, p);
        if (w->len - at > DEPENDENCY_LEN_MAX)
            w->bad = true;
        return;
    }
    uint8_t *out = wr_reserve(w, bytes.len);
    if (out)
        rewrite_in_place(out, bytes, d, p);
}

static void put_ns(struct put *p, uint32_t v, uint32_t n)
{
    unsigned w = 0;

    for (uint32_t x = n; x > 0; x >>= 1)
        w++;
    uint32_t m = (1u << w) - n;
    if (v < m)
        put_bits(p, v, w - 1);
    else
        put_bits(p, v + m, w);
}

static void put_dtis(struct put *p, uint64_t dti, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        put_bits(p, dependency_dti(dti, i), 2);
}

static void put_structure(struct put *p, const struct dependency_structure *s)
{
    put_bits(p, s->offset, TEMPLATE_ID_BITS);
    put_bits(p, s->n_targets - 1u, 5);
    for (unsigned t = 0; t < s->n_templates; t++) {
        const struct dependency_template *a = &s->v[t], *next = a + 1;
        if (t + 1u == s->n_templates)
            put_bits(p, NEXT_END, 2);
        else if (next->sid != a->sid)
            put_bits(p, NEXT_SPATIAL, 2);
        else
            put_bits(p, next->tid != a->tid ? NEXT_TEMPORAL : NEXT_SAME, 2);
    }
    for (unsigned t = 0; t < s->n_templates; t++)
        put_dtis(p, s->v[t].dti, s->n_targets);
    for (unsigned t = 0; t < s->n_templates; t++) {
        for (unsigned i = 0; i < s->v[t].n_fdiffs; i++)
            put_bits(p, 0x10u | (s->v[t].fdiff[i] - 1u), 5);
        put_bits(p, 0, 1);
    }
    put_ns(p, s->n_chains, s->n_targets + 1u);
    for (unsigned i = 0; s->n_chains > 0 && i < s->n_targets; i++)
        put_ns(p, s->protected_by[i], s->n_chains);
    for (unsigned t = 0; t < s->n_templates; t++) {
        for (unsigned c = 0; c < s->n_chains; c++)
            put_bits(p, s->v[t].chain[c], 4);
    }
    put_bits(p, s->has_resolution, 1);
    for (unsigned i = 0; s->has_resolution && i <= s->max_sid; i++) {
        put_bits(p, s->resolution[i].width - 1u, 16);
        put_bits(p, s->resolution[i].height - 1u, 16);
    }
}

static void put_frame_fdiffs(struct put *p, const struct dependency *d)
{
    for (unsigned i = 0; i < d->n_fdiffs; i++) {
        uint32_t v = d->fdiff[i] - 1u;
        unsigned size = v < 0x10 ? 1 : v < 0x100 ? 2 : 3;
        put_bits(p, size, 2);
        put_bits(p, v, 4 * size);
    }
    put_bits(p, 0, 2);
}

void dependency_encode(struct wr *w, const struct dependency *d,
                       const struct dependency_structure *ref, bool attach)
{
    struct put p = {w, 0};
    size_t at = w->len;
    const struct dependency_template *t =
        &ref->v[(unsigned)(d->template_id - ref->offset) & TEMPLATE_MASK];
    bool dtis = d->dti != t->dti;
    bool fdiffs = d->n_fdiffs != t->n_fdiffs ||
                  memcmp(d->fdiff, t->fdiff, d->n_fdiffs * sizeof(*d->fdiff)) != 0;
    bool chains = memcmp(d->chain, t->chain, ref->n_chains) != 0;

    put_bits(&p, d->start, 1);
    put_bits(&p, d->end, 1);
    put_bits(&p, d->template_id, TEMPLATE_ID_BITS);
    put_bits(&p, d->frame, 16);
    if (!attach && !d->mask_present && !dtis && !fdiffs && !chains)
        return;
    put_bits(&p, attach, 1);
    put_bits(&p, d->mask_present, 1);
    put_bits(&p, dtis, 1);
    put_bits(&p, fdiffs, 1);
    put_bits(&p, chains, 1);
    if (attach)
        put_structure(&p, ref);
    if (d->mask_present)
        put_bits(&p, d->active, ref->n_targets);
    if (dtis)
        put_dtis(&p, d->dti, ref->n_targets);
    if (fdiffs)
        put_frame_fdiffs(&p, d);
    for (unsigned c = 0; chains && c < ref->n_chains; c++)
        put_bits(&p, d->chain[c], 8);
    if (w->len - at > DEPENDENCY_LEN_MAX)
        w->bad = true;
}
