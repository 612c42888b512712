/* Random bytes from OpenSSL's generator, drawn in blocks per thread; and xoshiro256** for tests.
 *
 * Called for ids, tokens, nonces, ports and hash keys. Any thread. A draw from OpenSSL costs about
 * as much for 16 bytes as for 512; bytes are wiped as they are handed out, and a forked child drops
 * what its parent had drawn. SPDX-License-Identifier: BSD-3-Clause */
#include "base/rand.h"

#include <limits.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { RAND_BLOCK = 512 };

struct rand_block {
    uint8_t bytes[RAND_BLOCK];
    size_t left;    /* unused bytes, at the end */
    unsigned birth; /* rand_forks when it was drawn */
};

static _Thread_local struct rand_block rand_block;
static atomic_uint rand_forks;
static pthread_once_t rand_once = PTHREAD_ONCE_INIT;

static void rand_forked(void)
{
    atomic_fetch_add_explicit(&rand_forks, 1, memory_order_relaxed);
}

static void rand_watch_forks(void)
{
    if (pthread_atfork(NULL, NULL, rand_forked) != 0)
        abort();
}

static void rand_draw(uint8_t *p, size_t n)
{
    /* Going on with a weaker source would be worse than not going on. */
    if (RAND_bytes(p, (int)n) != 1) {
        fputs("no random bytes from the system\n", stderr);
        abort();
    }
}

void rand_bytes(void *p, size_t n)
{
    struct rand_block *b = &rand_block;
    uint8_t *out = p;

    pthread_once(&rand_once, rand_watch_forks);
    for (; n > RAND_BLOCK; n -= RAND_BLOCK, out += RAND_BLOCK)
        rand_draw(out, RAND_BLOCK);
    unsigned forks = atomic_load_explicit(&rand_forks, memory_order_relaxed);
    if (n > b->left || b->birth != forks) {
        rand_draw(b->bytes, RAND_BLOCK);
        b->left = RAND_BLOCK;
        b->birth = forks;
    }
    if (n == 0)
        return;
    uint8_t *from = b->bytes + (RAND_BLOCK - b->left);
    memcpy(out, from, n);
    explicit_bzero(from, n);
    b->left -= n;
}

/* Lemire's rejection on the low half: values that would make some results likelier are redrawn. */
static bool rand_fit(uint64_t draw, uint64_t bound, uint64_t *out)
{
    unsigned __int128 product = (unsigned __int128)draw * bound;

    *out = (uint64_t)(product >> 64);
    return (uint64_t)product >= bound || (uint64_t)product >= -bound % bound;
}

uint64_t rand_below(uint64_t bound)
{
    uint64_t draw, v;

    do {
        rand_bytes(&draw, sizeof(draw));
    } while (!rand_fit(draw, bound, &v));
    return v;
}

static uint64_t rotl(uint64_t v, unsigned bits)
{
    return v << bits | v >> (64 - bits);
}

void rand_src_init(struct rand_src *r, uint64_t seed)
{
    for (size_t i = 0; i < ARRAY_LEN(r->_s); i++) { /* splitmix64, as xoshiro's authors advise */
        uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        r->_s[i] = z ^ z >> 31;
    }
}

uint64_t rand_src_u64(struct rand_src *r)
{
    uint64_t *s = r->_s;
    uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t rand_src_below(struct rand_src *r, uint64_t bound)
{
    uint64_t v;

    while (!rand_fit(rand_src_u64(r), bound, &v))
        ;
    return v;
}
