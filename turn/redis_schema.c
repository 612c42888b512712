/* What stands where in Redis, and what its values mean.
 *
 * Called by turn_redis_link.c. Pure. A name goes into a key as it came: commands are sent as
 * counted words, nothing in it can end one. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/redis_schema.h"

#include "base/crypto.h"

void redis_schema_user(struct wr *w, struct slice prefix, struct slice realm, struct slice name,
                       bool sha256)
{
    wr_bytes(w, prefix);
    wr_str(w, "realm/");
    wr_bytes(w, realm);
    wr_str(w, "/user/");
    wr_bytes(w, name);
    wr_str(w, sha256 ? "/key256" : "/key");
}

void redis_schema_secrets(struct wr *w, struct slice prefix, struct slice realm)
{
    wr_bytes(w, prefix);
    wr_str(w, "realm/");
    wr_bytes(w, realm);
    wr_str(w, "/secret");
}

bool redis_schema_keys(struct known_keys *out, struct slice md5, struct slice sha256)
{
    struct known_keys k = {0};
    bool ok = hex_decode(md5, k.md5, sizeof(k.md5)) == 0;

    k.has_sha256 = ok && hex_decode(sha256, k.sha256, sizeof(k.sha256)) == 0;
    if (ok)
        *out = k;
    crypto_wipe(&k, sizeof(k));
    return ok;
}
