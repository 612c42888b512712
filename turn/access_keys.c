/* The keys that authorization servers seal access tokens with.
 *
 * Made by credentials.c, asked by stun_auth.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/access_keys.h"

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"

#define US_PER_S UINT64_C(1000000)

struct access_keys {
    struct slice text; /* heap copy: the kids are in it */
    size_t n;
    struct access_key of[ACCESS_KEYS_MAX];
};

static struct slice next_piece(struct slice *rest, char sep)
{
    const uint8_t *at = rest->len > 0 ? memchr(rest->p, sep, rest->len) : NULL;
    struct slice piece = slice_sub(*rest, 0, at ? (size_t)(at - rest->p) : rest->len);

    *rest = slice_sub(*rest, piece.len + 1, SIZE_MAX);
    return piece;
}

static bool decode_cipher(struct slice name, enum crypto_aead *out)
{
    *out = slice_is(name, "A128GCM") ? CRYPTO_A128GCM : CRYPTO_A256GCM;
    return slice_is(name, "A128GCM") || slice_is(name, "A256GCM");
}

static bool decode_time(struct slice text, uint64_t otherwise, uint64_t *out)
{
    *out = otherwise;
    return text.len == 0 || slice_to_u64(text, UINT64_MAX / US_PER_S, out) == 0;
}

/* Returns NULL, or what is wrong with the line. */
static const char *decode_line(struct access_key *out, struct slice line)
{
    struct access_key k = {.kid = next_piece(&line, ':')};
    size_t len = 0;

    if (k.kid.len == 0 || k.kid.len > ACCESS_KEYS_KID)
        return "want kid:A256GCM:base64 key, the kid of 1 to 128 bytes";
    if (!decode_cipher(next_piece(&line, ':'), &k.cipher))
        return "the cipher must be A256GCM or A128GCM";
    if (base64_decode(next_piece(&line, ':'), k.key, sizeof(k.key), &len) != 0 ||
        len != crypto_aead_key_bytes(k.cipher)) {
        crypto_wipe(&k, sizeof(k));
        return "the key must be 32 bytes (A128GCM: 16) in base64";
    }
    if (!decode_time(next_piece(&line, ':'), 0, &k.from_s) ||
        !decode_time(next_piece(&line, ':'), ACCESS_KEYS_ALWAYS, &k.until_s) || line.len > 0) {
        crypto_wipe(&k, sizeof(k));
        return "from and until are Unix seconds, nothing follows them";
    }
    *out = k;
    crypto_wipe(&k, sizeof(k));
    return NULL;
}

static const char *add_line(struct access_keys *k, struct slice line)
{
    if (k->n == ACCESS_KEYS_MAX)
        return "more than 64 keys";
    const char *what = decode_line(&k->of[k->n], line);
    for (size_t i = 0; !what && i < k->n; i++) {
        if (slice_eq(k->of[i].kid, k->of[k->n].kid))
            what = "this kid is there twice";
    }
    k->n += !what;
    return what;
}

static int add_lines(struct access_keys *k, char *err)
{
    struct slice rest = k->text;

    for (unsigned n = 1; rest.len > 0; n++) {
        struct slice line = next_piece(&rest, '\n');
        while (line.len > 0 && (line.p[line.len - 1] == '\r' || line.p[line.len - 1] == ' '))
            line.len--;
        const char *what = line.len == 0 || line.p[0] == '#' ? NULL : add_line(k, line);
        if (what) {
            snprintf(err, ACCESS_KEYS_ERR, "keys file, line %u: %s", n, what);
            return -EINVAL;
        }
    }
    return 0;
}

struct access_keys *access_keys_new(struct slice text, char *err)
{
    struct access_keys *k = mem_zalloc(sizeof(*k));
    uint8_t *copy = k ? mem_zalloc(text.len + 1) : NULL;

    snprintf(err, ACCESS_KEYS_ERR, "out of memory");
    if (copy) {
        k->text = slice_of(copy, text.len);
        if (text.len > 0)
            memcpy(copy, text.p, text.len);
        if (add_lines(k, err) == 0)
            return k;
    }
    access_keys_free(k);
    return NULL;
}

void access_keys_free(struct access_keys *k)
{
    if (!k)
        return;
    crypto_wipe((void *)(uintptr_t)k->text.p, k->text.len);
    mem_free((void *)(uintptr_t)k->text.p);
    crypto_wipe(k, sizeof(*k));
    mem_free(k);
}

size_t access_keys_count(const struct access_keys *k)
{
    return k->n;
}

const struct access_key *access_keys_find(const struct access_keys *k, struct slice kid,
                                          uint64_t wall_us)
{
    for (size_t i = 0; i < k->n; i++) {
        if (slice_eq(k->of[i].kid, kid))
            return wall_us / US_PER_S >= k->of[i].from_s && wall_us / US_PER_S < k->of[i].until_s
                       ? &k->of[i]
                       : NULL;
    }
    return NULL;
}
