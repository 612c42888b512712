/* Reserved ports: the odd neighbour of an EVEN-PORT allocation, held for 30 s.
 *
 * Called by allocate.c; expiry by turn_core.c once a second. Reservations are rare and short-lived:
 * a row that is searched from the front. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/reserve.h"

#include <errno.h>
#include <pthread.h>

#include "base/crypto.h"
#include "base/mem.h"
#include "base/rand.h"

struct entry {
    struct reserved what;
    uint64_t until_us;
    uint8_t token[RESERVE_TOKEN_BYTES];
};

struct reserve {
    pthread_mutex_t lock;
    unsigned n;
    struct entry v[RESERVE_MAX];
};

struct reserve *reserve_new(void)
{
    struct reserve *r = mem_zalloc(sizeof(*r));

    if (r)
        pthread_mutex_init(&r->lock, NULL);
    return r;
}

void reserve_free(struct reserve *r)
{
    if (!r)
        return;
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

int reserve_add(struct reserve *r, const struct reserved *what, uint64_t now_us,
                uint8_t token[RESERVE_TOKEN_BYTES])
{
    int err = -ENOSPC;

    rand_bytes(token, RESERVE_TOKEN_BYTES);
    pthread_mutex_lock(&r->lock);
    if (r->n < RESERVE_MAX) {
        struct entry *e = &r->v[r->n++];
        e->what = *what;
        e->until_us = now_us + RESERVE_LIFETIME_US;
        memcpy(e->token, token, RESERVE_TOKEN_BYTES);
        err = 0;
    }
    pthread_mutex_unlock(&r->lock);
    return err;
}

static void take_out(struct reserve *r, unsigned i, struct reserved *out)
{
    *out = r->v[i].what;
    r->v[i] = r->v[--r->n];
}

int reserve_claim(struct reserve *r, struct slice token, uint64_t account, uint64_t now_us,
                  struct reserved *out)
{
    int err = -ENOENT;

    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; i < r->n; i++) {
        const struct entry *e = &r->v[i];
        if (e->what.account == account && e->until_us > now_us &&
            crypto_equal(slice_of(e->token, sizeof(e->token)), token)) {
            take_out(r, i, out);
            err = 0;
            break;
        }
    }
    pthread_mutex_unlock(&r->lock);
    return err;
}

bool reserve_expire(struct reserve *r, uint64_t now_us, struct reserved *out)
{
    bool found = false;

    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; i < r->n && !found; i++) {
        if (r->v[i].until_us <= now_us) {
            take_out(r, i, out);
            found = true;
        }
    }
    pthread_mutex_unlock(&r->lock);
    return found;
}

unsigned reserve_count(struct reserve *r)
{
    pthread_mutex_lock(&r->lock);
    unsigned n = r->n;
    pthread_mutex_unlock(&r->lock);
    return n;
}
