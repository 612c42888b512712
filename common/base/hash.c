/* SipHash-1-3 (Aumasson and Bernstein; one compression and three finalization rounds).
 *
 * Called by tables whose keys come from strangers (addr.c, ids). Pure but for the process's key,
 * which is drawn once. SPDX-License-Identifier: BSD-3-Clause */
#include "base/hash.h"

#include "base/rand.h"

#include <pthread.h>

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t le64(const uint8_t *p)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < 8; i++) /* one load after optimization */
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static uint64_t rotl(uint64_t v, unsigned bits)
{
    return v << bits | v >> (64 - bits);
}

static void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v2 = rotl(s->v2, 32);
}

static void sip_word(struct sip *s, uint64_t m)
{
    s->v3 ^= m;
    sip_round(s);
    s->v0 ^= m;
}

uint64_t hash_siphash13(const uint8_t key[16], struct slice in)
{
    uint64_t k0 = le64(key), k1 = le64(key + 8);
    struct sip s = {
        k0 ^ UINT64_C(0x736f6d6570736575), /* "somepseudorandomlygeneratedbytes" */
        k1 ^ UINT64_C(0x646f72616e646f6d),
        k0 ^ UINT64_C(0x6c7967656e657261),
        k1 ^ UINT64_C(0x7465646279746573),
    };
    size_t whole = in.len & ~(size_t)7;
    uint64_t last = (uint64_t)in.len << 56;

    for (size_t i = 0; i < whole; i += 8)
        sip_word(&s, le64(in.p + i));
    for (size_t i = whole; i < in.len; i++)
        last |= (uint64_t)in.p[i] << (8 * (i - whole));
    sip_word(&s, last);
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static uint8_t hash_key[16];
static pthread_once_t hash_key_once = PTHREAD_ONCE_INIT;

static void hash_key_draw(void)
{
    rand_bytes(hash_key, sizeof(hash_key));
}

uint64_t hash_bytes(struct slice s)
{
    pthread_once(&hash_key_once, hash_key_draw);
    return hash_siphash13(hash_key, s);
}
