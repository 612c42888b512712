/* Whom a client of Redis connects to next: servers by turns, or the master that Sentinels name.
 *
 *     at = redis_seek_next(s, now, &sentinel)      NULL: nobody before redis_seek_deadline()
 *       a Sentinel has answered:   redis_seek_named(s, host, port)    next is the master
 *       it is of no use:           redis_seek_failed(s, now)          next is another one
 *       it is the right one:       redis_seek_found(s)
 *       and was, but is gone:      redis_seek_lost(s, now)
 *
 * A round asks each once; between rounds it waits, longer after each one, half of it by chance, so
 * that many clients do not come back together. After a loss the Sentinels are asked anew, never the
 * old address tried first: a master that failed may come back as a replica.
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_REDIS_SEEK_H
#define SORI_NET_REDIS_SEEK_H

#include "base/bytes.h"
#include "base/clock.h"
#include "base/rand.h"

#define REDIS_HOST_MAX      253 /* characters of a name, or of a socket's path (107) */
#define REDIS_ENDPOINTS_MAX 16

/* A name, an address, or (port 0) the path of a Unix socket. */
struct redis_endpoint {
    char host[REDIS_HOST_MAX + 1];
    uint16_t port;
};

/* Reads "host", "host:port", "[v6]:port" or "unix:PATH"; port: the one when none is written.
 * Returns 0 or -EINVAL; *out is written on success only. */
int redis_endpoint_parse(struct redis_endpoint *out, struct slice text, uint16_t port);

/* Embedded; its members are redis_seek.c's. */
struct redis_seek {
    struct redis_endpoint at[REDIS_ENDPOINTS_MAX];
    size_t n, first, tried;
    bool sentinels, named;
    struct redis_endpoint master; /* named */
    unsigned rounds;              /* that found nobody, one after another */
    uint64_t min_us, max_us, next_us;
    struct rand_src rand;
};

/* n: 1 .. REDIS_ENDPOINTS_MAX endpoints, copied. min_us, max_us: the wait after the first round,
 * and the longest. seed: of what is left to chance. */
void redis_seek_init(struct redis_seek *s, const struct redis_endpoint *at, size_t n,
                     bool sentinels, uint64_t min_us, uint64_t max_us, uint64_t seed);

/* Whom to connect to, or NULL: not yet. *sentinel: it is one. Borrowed until the next call. */
const struct redis_endpoint *redis_seek_next(const struct redis_seek *s, uint64_t now_us,
                                             bool *sentinel);
uint64_t redis_seek_deadline(const struct redis_seek *s);

/* A Sentinel has named the master. Returns 0, or -EINVAL: that is no address (then it has failed).
 */
int redis_seek_named(struct redis_seek *s, struct slice host, struct slice port);
/* Whoever redis_seek_next() gave could not be reached, or is not what is sought. */
void redis_seek_failed(struct redis_seek *s, uint64_t now_us);
/* It is good; and, later: it was good, and is gone. */
void redis_seek_found(struct redis_seek *s);
void redis_seek_lost(struct redis_seek *s, uint64_t now_us);

#endif
