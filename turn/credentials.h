/* Who may use the relay: static users, and time-limited credentials under one or two secrets. An
 * immutable snapshot; a reload makes a new one. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_CREDENTIALS_H
#define SORI_TURN_CREDENTIALS_H

#include "proto/stun.h"

#define CREDENTIALS_SECRETS  2 /* current, previous */
#define CREDENTIALS_KEYS_MAX CREDENTIALS_SECRETS
#define CREDENTIALS_ERR_MAX  160

struct credentials;

/* realm: of all keys. users: text of lines "user:password" or "user:0x" and 32 hex digits (the MD5
 * long-term key) or 96 (and the SHA-256 one), "#" comments and empty lines; names and passwords are
 * prepared by opaque_string(). secrets: empty ones are skipped. All copied.
 *
 * Returns NULL with err = what is wrong in which line of users, or that memory is out. */
struct credentials *credentials_new(struct slice realm, struct slice users,
                                    const struct slice secrets[CREDENTIALS_SECRETS],
                                    char err[CREDENTIALS_ERR_MAX]);
void credentials_free(struct credentials *c); /* wipes; NULL is allowed */

/* True when nobody can be authenticated. */
bool credentials_is_empty(const struct credentials *c);

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
