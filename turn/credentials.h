/* Who may use the relay in a realm: static users, and time-limited credentials under some secrets.
 * An immutable snapshot, one per realm, chained in the order of the realms; a reload makes a new
 * one. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_CREDENTIALS_H
#define SORI_TURN_CREDENTIALS_H

#include "proto/stun.h"
#include "turn/access_keys.h"

#define CREDENTIALS_SECRETS_MAX 16 /* of one realm */
#define CREDENTIALS_KEYS_MAX    CREDENTIALS_SECRETS_MAX
#define CREDENTIALS_ERR_MAX     160

struct credentials;

/* What the credentials of a realm are made from. */
struct credentials_spec {
    struct slice realm; /* of all keys */
    /* Text of lines "user:password" or "user:0x" and 32 hex digits (the MD5 long-term key) or 96
     * (and the SHA-256 one), "#" comments and empty lines; names and passwords are prepared by
     * opaque_string(). */
    struct slice users;
    const struct slice *secrets; /* empty ones are skipped */
    size_t n_secrets;            /* those that are not empty: at most CREDENTIALS_SECRETS_MAX */
    struct slice access_keys;    /* text for access_keys_new() */
    struct slice server;         /* our name for authorization servers */
    bool elsewhere;              /* users who are in no list here may be known elsewhere, */
    bool elsewhere_sha256;       /* with keys for SHA-256 too */
};

/* Copies all of spec. Returns NULL with err = what is wrong in which line of users, that there are
 * too many secrets, or that memory is out. */
struct credentials *credentials_new(const struct credentials_spec *spec,
                                    char err[CREDENTIALS_ERR_MAX]);

/* Frees the whole chain that begins with c, wiping it. NULL is allowed. */
void credentials_free(struct credentials *c);

/* Hangs next behind c, which has nothing there yet and owns it from now on. */
void credentials_chain(struct credentials *c, struct credentials *next);

/* The credentials of the n-th realm of the chain, NULL when it is shorter. */
const struct credentials *credentials_of(const struct credentials *c, unsigned n);

/* The keys of access tokens, and the name that they must be made for. NULL, and an empty name, when
 * this realm has none: no third-party authorization. Lent. */
const struct access_keys *credentials_access_keys(const struct credentials *c);
struct slice credentials_server(const struct credentials *c);

/* True when these credentials alone decide about this name: a static user, or a time-limited name
 * where there are secrets. Others may be known elsewhere. */
bool credentials_judge(const struct credentials *c, struct slice username);

/* True when nobody can be authenticated. */
bool credentials_is_empty(const struct credentials *c);

/* How many secrets there are: as many keys may have to be tried for one name. */
unsigned credentials_secrets(const struct credentials *c);

/* The realm of all its keys; lent. */
struct slice credentials_realm(const struct credentials *c);

/* True when every user can be asked for a SHA-256 key: none came as a ready MD5 key only. */
bool credentials_have_sha256(const struct credentials *c);

/* True when every user can be known by USERHASH: no time-limited names, which are in no list. */
bool credentials_are_hashed(const struct credentials *c);

/* The static user whose USERHASH this is; *name is lent. False when there is none. */
bool credentials_name_of(const struct credentials *c, struct slice userhash, struct slice *name);

/* Gives the long-term keys (STUN_KEY_BYTES or STUN_KEY_SHA256_BYTES of each row) that username may
 * have made its integrity with: one for a static user, one per secret for a time-limited name that
 * has not expired at wall_us. Returns how many; 0 means unknown, expired, or no key of this
 * algorithm. The caller wipes them. Thread of the snapshot's owner. */
unsigned credentials_keys(const struct credentials *c, struct slice username,
                          enum stun_password_algorithm algorithm, uint64_t wall_us,
                          uint8_t keys[CREDENTIALS_KEYS_MAX][STUN_KEY_MAX]);

/* The account that quotas count for: the user part of a time-limited name, else the name itself. */
struct slice credentials_account(const struct credentials *c, struct slice username);

#endif
