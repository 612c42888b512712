/* Whom a client of Redis connects to next.
 *
 * Called by redis_client.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "net/redis_seek.h"

#include <assert.h>
#include <errno.h>

#define DOUBLINGS_MAX 16
#define UNIX_PATH_MAX 107 /* of a Unix socket: sun_path without its NUL */

/* Where the port's colon is; s.len: nowhere. An address of IPv6 without brackets has none. */
static size_t find_colon(struct slice s)
{
    const uint8_t *first = memchr(s.p, ':', s.len), *last = memrchr(s.p, ':', s.len);
    const uint8_t *bracket = memrchr(s.p, ']', s.len);

    if (!last || (bracket && last < bracket) || (!bracket && first != last))
        return s.len;
    return (size_t)(last - s.p);
}

int redis_endpoint_parse(struct redis_endpoint *out, struct slice text, uint16_t port)
{
    struct redis_endpoint e = {.port = port};
    struct slice prefix = SLICE_LIT("unix:");
    uint64_t number = port;

    if (slice_starts(text, prefix)) {
        struct slice path = slice_sub(text, prefix.len, text.len);
        if (path.len == 0 || path.len > UNIX_PATH_MAX ||
            slice_to_cstr(path, e.host, sizeof(e.host)) != 0)
            return -EINVAL;
        e.port = 0;
        *out = e;
        return 0;
    }
    if (text.len == 0)
        return -EINVAL;
    size_t colon = find_colon(text);
    struct slice host = slice_sub(text, 0, colon);
    if (colon < text.len &&
        slice_to_u64(slice_sub(text, colon + 1, text.len), UINT16_MAX, &number) != 0)
        return -EINVAL;
    if (host.len > 2 && host.p[0] == '[' && host.p[host.len - 1] == ']')
        host = slice_sub(host, 1, host.len - 2);
    if (host.len == 0 || host.p[0] == '[' || number == 0 ||
        slice_to_cstr(host, e.host, sizeof(e.host)) != 0)
        return -EINVAL;
    e.port = (uint16_t)number;
    *out = e;
    return 0;
}

void redis_seek_init(struct redis_seek *s, const struct redis_endpoint *at, size_t n,
                     bool sentinels, uint64_t min_us, uint64_t max_us, uint64_t seed)
{
    assert(n > 0 && n <= REDIS_ENDPOINTS_MAX);
    *s = (struct redis_seek){.n = n, .sentinels = sentinels, .min_us = min_us, .max_us = max_us};
    memcpy(s->at, at, n * sizeof(*at));
    rand_src_init(&s->rand, seed);
    s->first = rand_src_below(&s->rand, n); /* not all clients at the same one */
}

const struct redis_endpoint *redis_seek_next(const struct redis_seek *s, uint64_t now_us,
                                             bool *sentinel)
{
    if (now_us < s->next_us)
        return NULL;
    *sentinel = s->sentinels && !s->named;
    return s->named ? &s->master : &s->at[(s->first + s->tried) % s->n];
}

uint64_t redis_seek_deadline(const struct redis_seek *s)
{
    return s->next_us;
}

int redis_seek_named(struct redis_seek *s, struct slice host, struct slice port)
{
    struct redis_endpoint e = {{0}, 0};
    uint64_t number;

    if (host.len == 0 || slice_to_cstr(host, e.host, sizeof(e.host)) != 0 ||
        slice_to_u64(port, UINT16_MAX, &number) != 0 || number == 0)
        return -EINVAL;
    e.port = (uint16_t)number;
    s->master = e;
    s->named = true;
    return 0;
}

/* Between half of it and all of it. */
static uint64_t about(struct redis_seek *s, uint64_t us)
{
    return us / 2 + rand_src_below(&s->rand, us / 2 + 1);
}

void redis_seek_failed(struct redis_seek *s, uint64_t now_us)
{
    s->named = false;
    if (++s->tried < s->n)
        return;
    unsigned doublings = s->rounds < DOUBLINGS_MAX ? s->rounds : DOUBLINGS_MAX;
    uint64_t wait_us = s->min_us << doublings;
    s->tried = 0;
    s->rounds++;
    s->next_us = now_us + about(s, wait_us < s->max_us ? wait_us : s->max_us);
}

void redis_seek_found(struct redis_seek *s)
{
    s->first = (s->first + s->tried) % s->n;
    s->tried = 0;
    s->rounds = 0;
}

void redis_seek_lost(struct redis_seek *s, uint64_t now_us)
{
    s->named = false;
    s->tried = 0;
    s->next_us = now_us + about(s, s->min_us);
}
