/* Long-term keys of users that another process knows (Redis), kept for a while: what was found, and
 * that nothing was found. One per worker. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_KEY_CACHE_H
#define SORI_TURN_KEY_CACHE_H

#include "base/clock.h"
#include "proto/stun.h"

struct key_cache;

/* How long an answer counts, and how many are kept. */
struct key_cache_conf {
    uint64_t found_us, absent_us; /* since the answer */
    uint64_t stale_us;       /* how long after it a key still counts while nobody can be asked */
    uint64_t asked_us;       /* how long a question may stay open */
    uint64_t failed_us;      /* how long not to ask again after nobody could be asked */
    unsigned entries, asked; /* at most: in all, and waiting for an answer */
};

/* A user's keys. */
struct known_keys {
    uint8_t md5[STUN_KEY_BYTES], sha256[STUN_KEY_SHA256_BYTES];
    bool has_sha256;
};

enum key_cache_state {
    KEY_CACHE_UNKNOWN, /* ask */
    KEY_CACHE_ASKED,   /* the answer is on its way */
    KEY_CACHE_FOUND,
    KEY_CACHE_ABSENT,
    KEY_CACHE_FAILED, /* nobody can be asked, and nothing is remembered: 500 */
};

/* An empty cache, or NULL when memory is out. */
struct key_cache *key_cache_new(const struct key_cache_conf *conf);
void key_cache_free(struct key_cache *c); /* wipes; NULL is allowed */

/* What is known of the user. Fills *keys for KEY_CACHE_FOUND. Allocates nothing. */
enum key_cache_state key_cache_find(const struct key_cache *c, unsigned realm, struct slice name,
                                    uint64_t now_us, struct known_keys *keys);

/* Notes that the user has been asked for, as far as there is room: for a name whose client has
 * proven its address. Returns 0, -ENOSPC with conf.asked questions open, or -ENOMEM. */
int key_cache_asked(struct key_cache *c, unsigned realm, struct slice name, uint64_t now_us);

/* Notes the answer: keys, or NULL for "there is no such user"; or that there was none. A name that
 * was not asked for is left out. */
void key_cache_answer(struct key_cache *c, unsigned realm, struct slice name,
                      const struct known_keys *keys, uint64_t now_us);
void key_cache_failed(struct key_cache *c, unsigned realm, struct slice name, uint64_t now_us);

/* Forgets how fresh everything is: each user is asked for again at his next request. */
void key_cache_expire(struct key_cache *c);

/* How many entries there are, open questions among them. */
size_t key_cache_count(const struct key_cache *c);

#endif
