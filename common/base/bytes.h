/* Borrowed bytes (slice), a bounded big-endian reader (rd) and a bounded writer (wr).
 *
 * All parsing and printing in Sori goes through these three types: no other file does pointer
 * arithmetic on wire data. The first short read or write latches `bad`; everything after it is a
 * no-op, so code tests `bad` once, before it uses any value as an index, size or count.
 *
 * Pure values; any thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_BYTES_H
#define SORI_BASE_BYTES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes owned by somebody else. Text is a slice too: no NUL is assumed. {NULL,0} is valid. */
struct slice {
    const uint8_t *p;
    size_t len;
};

/* Forward reader. */
struct rd {
    const uint8_t *p;
    size_t left;
    bool bad;
};

/* Writer into caller's memory of `cap` bytes. */
struct wr {
    uint8_t *base;
    size_t len, cap;
    bool bad;
};

/* A slice of a string literal, without its NUL. */
#define SLICE_LIT(s) ((struct slice){(const uint8_t *)("" s), sizeof(s) - 1})
/* printf arguments for "%.*s". */
#define SLICE_FMT(s) (int)(s).len, (const char *)(s).p
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* A slice over len bytes at p. */
static inline struct slice slice_of(const void *p, size_t len)
{
    return (struct slice){p, len};
}

/* A slice over a NUL-terminated string, without the NUL; NULL gives the empty slice. */
static inline struct slice slice_str(const char *s)
{
    return (struct slice){(const uint8_t *)s, s ? strlen(s) : 0};
}

/* True when both hold the same bytes. Not constant time: crypto_equal() is. */
static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* True when s holds exactly the text lit. */
static inline bool slice_is(struct slice s, const char *lit)
{
    return slice_eq(s, slice_str(lit));
}

/* True when s begins with prefix. */
static inline bool slice_starts(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && slice_eq(slice_of(s.p, prefix.len), prefix);
}

/* The bytes from off on, at most len of them; clamps instead of overrunning. */
static inline struct slice slice_sub(struct slice s, size_t off, size_t len)
{
    if (off >= s.len)
        return (struct slice){0};
    return slice_of(s.p + off, len < s.len - off ? len : s.len - off);
}

/* True when a and b are the same text, ASCII letters compared without case. */
bool slice_eq_nocase(struct slice a, struct slice b);

/* Copies s into out (cap bytes) and ends it with NUL. Returns 0, or -ENOSPC (out holds "") when it
 * does not fit or s contains a NUL byte. */
int slice_to_cstr(struct slice s, char *out, size_t cap);

/* Parses a decimal number without sign, spaces or leading zeros ("0" itself is fine) that fills s.
 * Returns 0, or -EBADMSG when s is anything else or exceeds max; *out is written on success only.
 */
int slice_to_u64(struct slice s, uint64_t max, uint64_t *out);

static inline struct rd rd_init(struct slice s)
{
    return (struct rd){s.p, s.len, false};
}

/* Takes the next n bytes; a short read latches bad and gives the empty slice. */
static inline struct slice rd_take(struct rd *r, size_t n)
{
    if (r->bad || n > r->left) {
        r->bad = true;
        return (struct slice){0};
    }
    struct slice s = {r->p, n};
    if (n > 0)
        r->p += n;
    r->left -= n;
    return s;
}

static inline uint8_t rd_u8(struct rd *r)
{
    struct slice s = rd_take(r, 1);
    return s.p ? s.p[0] : 0;
}

static inline uint16_t rd_be16(struct rd *r)
{
    struct slice s = rd_take(r, 2);
    return (uint16_t)(s.p ? s.p[0] << 8 | s.p[1] : 0);
}

static inline uint32_t rd_be32(struct rd *r)
{
    struct slice s = rd_take(r, 4);
    return s.p ? (uint32_t)s.p[0] << 24 | (uint32_t)s.p[1] << 16 | (uint32_t)s.p[2] << 8 | s.p[3]
               : 0;
}

static inline uint64_t rd_be64(struct rd *r)
{
    uint64_t hi = rd_be32(r);
    return hi << 32 | rd_be32(r);
}

/* What has not been read yet. */
static inline struct slice rd_rest(const struct rd *r)
{
    if (r->bad)
        return (struct slice){0};
    return (struct slice){r->p, r->left};
}

static inline struct wr wr_init(void *buf, size_t cap)
{
    return (struct wr){buf, 0, cap, false};
}

/* Reserves the next n bytes for the caller to fill. NULL (and bad) when they do not fit. */
static inline uint8_t *wr_reserve(struct wr *w, size_t n)
{
    if (w->bad || n > w->cap - w->len) {
        w->bad = true;
        return NULL;
    }
    uint8_t *p = w->base + w->len;
    w->len += n;
    return p;
}

static inline void wr_bytes(struct wr *w, struct slice s)
{
    uint8_t *p = wr_reserve(w, s.len);
    if (p && s.len > 0)
        memcpy(p, s.p, s.len);
}

/* Writes text without its NUL. */
static inline void wr_str(struct wr *w, const char *s)
{
    wr_bytes(w, slice_str(s));
}

static inline void wr_u8(struct wr *w, uint8_t v)
{
    uint8_t *p = wr_reserve(w, 1);
    if (p)
        p[0] = v;
}

static inline void wr_be16(struct wr *w, uint16_t v)
{
    uint8_t *p = wr_reserve(w, 2);
    if (p) {
        p[0] = (uint8_t)(v >> 8);
        p[1] = (uint8_t)v;
    }
}

static inline void wr_be32(struct wr *w, uint32_t v)
{
    wr_be16(w, (uint16_t)(v >> 16));
    wr_be16(w, (uint16_t)v);
}

static inline void wr_be64(struct wr *w, uint64_t v)
{
    wr_be32(w, (uint32_t)(v >> 32));
    wr_be32(w, (uint32_t)v);
}

static inline void wr_zero(struct wr *w, size_t n)
{
    uint8_t *p = wr_reserve(w, n);
    if (p)
        memset(p, 0, n);
}

/* Overwrites two bytes already written at offset at; latches bad when they were not. */
static inline void wr_patch_be16(struct wr *w, size_t at, uint16_t v)
{
    if (w->bad || at > w->len || w->len - at < 2) {
        w->bad = true;
        return;
    }
    w->base[at] = (uint8_t)(v >> 8);
    w->base[at + 1] = (uint8_t)v;
}

/* Writes v in decimal. */
void wr_u64(struct wr *w, uint64_t v);

/* Writes formatted text, without NUL. fmt must be a literal. Text of 1024 bytes or more needs one
 * spare byte behind it. */
void wr_fmt(struct wr *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What has been written so far; empty when bad. */
static inline struct slice wr_done(const struct wr *w)
{
    if (w->bad)
        return (struct slice){0};
    return (struct slice){w->base, w->len};
}

/* Has these bytes brought into the cache: a hint, p is not read. */
static inline void bytes_prefetch(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i += 64)
        __builtin_prefetch((const uint8_t *)p + i);
}

#endif
