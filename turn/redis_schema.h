/* What stands where in Redis, and what its values mean: coturn's names for keys of users and sets
 * of secrets, our own for the rest (docs/OPERATIONS.md). SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_REDIS_SCHEMA_H
#define SORI_TURN_REDIS_SCHEMA_H

#include "turn/key_cache.h"

#define REDIS_SCHEMA_PREFIX_MAX 64
#define REDIS_SCHEMA_NAME_MAX   1024 /* bytes of a key's name, whatever realm and user */

/* PREFIX realm/REALM/user/NAME/key (MD5) and .../key256; PREFIX realm/REALM/secret. Writers of
 * REDIS_SCHEMA_NAME_MAX bytes hold them. */
void redis_schema_user(struct wr *w, struct slice prefix, struct slice realm, struct slice name,
                       bool sha256);
void redis_schema_secrets(struct wr *w, struct slice prefix, struct slice realm);

/* Reads the two values of a user: 32 and 64 hex digits; each may be missing (empty). Returns true
 * and fills *out when the MD5 key is there; false when it is missing or not of that form. */
bool redis_schema_keys(struct known_keys *out, struct slice md5, struct slice sha256);

#endif
