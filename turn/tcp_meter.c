/* What the connections of one TCP allocation carry together: limits, counts, end.
 *
 * Called by connect.c and allocate.c (its allocation's worker) and by tcp_data_sock.c (the worker
 * of a data connection). Pure but for its lock, which is taken once per read of up to
 * GRANT_MAX_BYTES, and not at all where no limit is set. TCP waits where UDP drops.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/tcp_meter.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"

#define GRANT_MAX_BYTES 16384 /* at once, where there is a limit */
#define GRANTS_PER_S    20    /* a low limit is spread over the second */
#define MILLI           1000

struct tcp_meter {
    pthread_mutex_t lock;
    struct throttle throttle; /* under lock */
    const struct throttle_rules *rules;
    struct quota *quota;
    uint64_t account;
    size_t grant; /* 0: no limit */
    atomic_uint refs;
    atomic_bool ended;
    _Atomic uint64_t up_bytes, down_bytes;
};

/* A grant must fit both buckets, or it would never be made. */
static size_t grant_of(const struct throttle_rules *r, const struct bucket_rule *user)
{
    static const struct bucket_rule none;
    size_t grant = GRANT_MAX_BYTES;
    const struct bucket_rule *const limits[] = {&r->bandwidth, user ? user : &none};

    if (limits[0]->milli_per_s == 0 && limits[1]->milli_per_s == 0 && r->packets.milli_per_s == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        size_t units = limits[i]->milli_per_s / MILLI / GRANTS_PER_S;
        size_t bytes = (units > 0 ? units : 1) * THROTTLE_UNIT_BYTES;
        if (limits[i]->milli_per_s > 0 && bytes < grant)
            grant = bytes;
    }
    return grant;
}

struct tcp_meter *tcp_meter_new(const struct throttle_rules *rules, const struct bucket_rule *user,
                                struct quota *quota, uint64_t account)
{
    struct tcp_meter *m = mem_zalloc(sizeof(*m));

    if (!m)
        return NULL;
    pthread_mutex_init(&m->lock, NULL);
    m->rules = rules;
    m->throttle.user = user;
    m->quota = quota;
    m->account = account;
    m->grant = grant_of(rules, user);
    atomic_store(&m->refs, 1);
    return m;
}

struct tcp_meter *tcp_meter_ref(struct tcp_meter *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

void tcp_meter_unref(struct tcp_meter *m)
{
    if (!m || atomic_fetch_sub(&m->refs, 1) > 1)
        return;
    pthread_mutex_destroy(&m->lock);
    mem_free(m);
}

void tcp_meter_end(struct tcp_meter *m)
{
    pthread_mutex_lock(&m->lock);
    atomic_store(&m->ended, true);
    pthread_mutex_unlock(&m->lock);
}

bool tcp_meter_ended(const struct tcp_meter *m)
{
    return atomic_load(&m->ended);
}

size_t tcp_meter_take(struct tcp_meter *m, size_t want, uint64_t now_us)
{
    size_t n = want;

    if (m->grant > 0 && n > m->grant)
        n = m->grant;
    if (m->grant == 0)
        return tcp_meter_ended(m) ? 0 : n;
    pthread_mutex_lock(&m->lock);
    /* Under the lock, because the account must live while it is asked. */
    if (tcp_meter_ended(m) ||
        throttle_packet(&m->throttle, m->rules, m->quota, m->account, n, now_us) != THROTTLE_PASS)
        n = 0;
    pthread_mutex_unlock(&m->lock);
    return n;
}

void tcp_meter_count(struct tcp_meter *m, uint64_t up_bytes, uint64_t down_bytes)
{
    atomic_fetch_add_explicit(&m->up_bytes, up_bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->down_bytes, down_bytes, memory_order_relaxed);
}

void tcp_meter_sums(const struct tcp_meter *m, uint64_t *up_bytes, uint64_t *down_bytes)
{
    *up_bytes = atomic_load_explicit(&m->up_bytes, memory_order_relaxed);
    *down_bytes = atomic_load_explicit(&m->down_bytes, memory_order_relaxed);
}
