/* Long-term credentials: is this request from whom it says (RFC 8489 §9.2)?
 *
 * Called by dispatch.c for every TURN request. Pure. The order of checks is that of §9.2.4, which
 * decides what a client with more than one fault is told.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/stun_auth.h"

#include "base/crypto.h"

/* PASSWORD-ALGORITHMS as we send it, in order of preference: SHA-256, MD5, both without
 * parameters (RFC 8489 §14.11). */
static const uint8_t offer[] = {0, STUN_PASSWORD_SHA256, 0, 0, 0, STUN_PASSWORD_MD5, 0, 0};

/* The new one and the old one. Each costs three digests for a name of a stranger. */
#define CHEAP_SECRETS 2

/* What a request says about its sender, none of it proven. */
struct claim {
    struct slice username, userhash, realm, nonce;
    bool hashed;   /* USERHASH and no USERNAME */
    bool explicit; /* names its password algorithm */
    enum stun_password_algorithm algorithm;
};

static int claim_decode(struct claim *out, const struct stun_msg *m)
{
    out->hashed = !stun_find(m, STUN_ATTR_USERNAME, &out->username);
    if ((out->hashed && !stun_find(m, STUN_ATTR_USERHASH, &out->userhash)) ||
        !stun_find(m, STUN_ATTR_REALM, &out->realm) || !stun_find(m, STUN_ATTR_NONCE, &out->nonce))
        return STUN_ERR_BAD_REQUEST;
    if (!out->hashed && (out->username.len == 0 || out->username.len > STUN_USERNAME_MAX))
        return STUN_ERR_BAD_REQUEST;
    return 0;
}

/* Reads PASSWORD-ALGORITHM: a number and the length of its parameters, which ours do not have. */
static bool decode_algorithm(enum stun_password_algorithm *out, struct slice value)
{
    struct rd r = rd_init(value);
    uint16_t number = rd_be16(&r);
    uint16_t parameters = rd_be16(&r);

    if (r.bad || r.left != 0 || parameters != 0 ||
        (number != STUN_PASSWORD_MD5 && number != STUN_PASSWORD_SHA256))
        return false;
    *out = (enum stun_password_algorithm)number;
    return true;
}

/* Which algorithm made the key. When the nonce says that we offered a choice, the offer must come
 * back whole: somebody between us may have taken the better one out. */
static int claim_algorithm(struct claim *out, const struct stun_msg *m)
{
    struct slice one, list;
    bool has_one = stun_find(m, STUN_ATTR_PASSWORD_ALGORITHM, &one);
    bool has_list = stun_find(m, STUN_ATTR_PASSWORD_ALGORITHMS, &list);
    bool offered = nonce_features(out->nonce) & NONCE_PASSWORD_ALGORITHMS;

    out->algorithm = STUN_PASSWORD_MD5;
    out->explicit = has_one || has_list;
    if (!has_one && (!has_list || !offered))
        return 0;
    if (offered && (!has_one || !has_list || !slice_eq(list, slice_of(offer, sizeof(offer)))))
        return STUN_ERR_BAD_REQUEST;
    return decode_algorithm(&out->algorithm, one) ? 0 : STUN_ERR_BAD_REQUEST;
}

/* MESSAGE-INTEGRITY-SHA256 counts when both are there. TURN does not say that it may be truncated,
 * so it may not (RFC 8489 §14.6). */
static bool verify(const struct stun_msg *m, struct slice key)
{
    if (m->mi256_at)
        return m->mi256_len == STUN_SHA256_BYTES && stun_verify_sha256(m, key);
    return stun_verify_sha1(m, key);
}

/* The key of a user whom somebody else knows. Returns as credentials_keys() does, or STUN_AUTH_ASK
 * or STUN_AUTH_FAILED in *verdict. */
static unsigned keys_elsewhere(const struct stun_auth_env *env, struct slice username,
                               enum stun_password_algorithm algorithm,
                               uint8_t keys[CREDENTIALS_KEYS_MAX][STUN_KEY_MAX], int *verdict)
{
    struct known_keys known;
    unsigned n = 0;

    switch (key_cache_find(env->cache, env->realm, username, env->now_us, &known)) {
    case KEY_CACHE_UNKNOWN:
    case KEY_CACHE_ASKED:
        *verdict = STUN_AUTH_ASK;
        break;
    case KEY_CACHE_FAILED:
        *verdict = STUN_AUTH_FAILED;
        break;
    case KEY_CACHE_FOUND:
        n = algorithm == STUN_PASSWORD_MD5 || known.has_sha256;
        if (algorithm == STUN_PASSWORD_SHA256)
            memcpy(keys[0], known.sha256, sizeof(known.sha256));
        else
            memcpy(keys[0], known.md5, sizeof(known.md5));
        crypto_wipe(&known, sizeof(known));
        break;
    case KEY_CACHE_ABSENT:
        break;
    }
    return n;
}

static int prove(struct stun_identity *id, const struct stun_msg *m, const struct claim *claim,
                 const struct stun_auth_env *env)
{
    uint8_t keys[CREDENTIALS_KEYS_MAX][STUN_KEY_MAX];
    int verdict = STUN_ERR_UNAUTHENTICATED;

    id->username = claim->username;
    if (!slice_eq(claim->realm, credentials_realm(env->creds)) ||
        (claim->hashed && !credentials_name_of(env->creds, claim->userhash, &id->username)))
        return verdict;
    id->key_len = claim->algorithm == STUN_PASSWORD_SHA256 ? STUN_KEY_SHA256_BYTES : STUN_KEY_BYTES;
    unsigned n = credentials_keys(env->creds, id->username, claim->algorithm, env->wall_us, keys);
    if (n == 0 && env->cache && !credentials_judge(env->creds, id->username))
        n = keys_elsewhere(env, id->username, claim->algorithm, keys, &verdict);
    for (unsigned i = 0; i < n && verdict; i++) {
        if (verify(m, slice_of(keys[i], id->key_len))) {
            memcpy(id->key, keys[i], id->key_len);
            verdict = 0;
        }
    }
    crypto_wipe(keys, sizeof(keys));
    return verdict;
}

/* The key that USERNAME names, when the request comes with a token or within a session. */
static const struct access_key *find_key(const struct stun_msg *m, const struct credentials *c,
                                         const struct claim *claim,
                                         const struct access_token *session, uint64_t wall_us)
{
    const struct access_keys *keys = credentials_access_keys(c);
    struct slice token;

    if (!keys || claim->hashed || (!session && !stun_find(m, STUN_ATTR_ACCESS_TOKEN, &token)))
        return NULL;
    return access_keys_find(keys, claim->username, wall_us);
}

/* Opens the request's token; without one, takes the session's. */
static bool find_token(struct access_token *out, const struct stun_msg *m,
                       const struct credentials *c, const struct access_key *k,
                       const struct access_token *session)
{
    struct slice token;

    if (stun_find(m, STUN_ATTR_ACCESS_TOKEN, &token))
        return access_token_open(out, token, k->cipher,
                                 slice_of(k->key, crypto_aead_key_bytes(k->cipher)),
                                 credentials_server(c)) == 0;
    *out = *session;
    return true;
}

/* How much of the session key has made the integrity: all of it, or as much as coturn's clients
 * use, which is as long as a long-term key of the same digest. 0 = neither. */
static uint8_t proving_len(const struct stun_msg *m, const struct access_token *t)
{
    uint8_t cut = m->mi256_at ? STUN_KEY_SHA256_BYTES : STUN_KEY_BYTES;

    if (verify(m, slice_of(t->mac_key, t->mac_key_len)))
        return t->mac_key_len;
    return cut < t->mac_key_len && verify(m, slice_of(t->mac_key, cut)) ? cut : 0;
}

/* The session key makes the integrity; PASSWORD-ALGORITHM has no say. */
static int prove_by_token(struct stun_identity *id, const struct stun_msg *m,
                          const struct credentials *c, const struct claim *claim,
                          const struct access_key *k, const struct access_token *session,
                          uint64_t wall_us)
{
    if (!slice_eq(claim->realm, credentials_realm(c)) ||
        !find_token(&id->token, m, c, k, session) || !access_token_is_live(&id->token, wall_us))
        return STUN_ERR_UNAUTHENTICATED;
    id->key_len = proving_len(m, &id->token);
    if (id->key_len == 0)
        return STUN_ERR_UNAUTHENTICATED;
    id->username = claim->username;
    id->by_token = true;
    memcpy(id->key, id->token.mac_key, id->key_len);
    return 0;
}

static int prove_claim(struct stun_identity *id, const struct stun_msg *m, struct claim *claim,
                       const struct stun_auth_env *env)
{
    const struct access_key *k = find_key(m, env->creds, claim, env->session, env->wall_us);

    if (k) {
        claim->explicit = m->mi256_at != 0; /* answered as it was asked */
        return prove_by_token(id, m, env->creds, claim, k, env->session, env->wall_us);
    }
    int err = claim_algorithm(claim, m);
    return err ? err : prove(id, m, claim, env);
}

/* True when the user is only looked for once the client has shown that it receives at its address:
 * where others must be asked, or where there are many keys to try. */
static bool is_costly(const struct stun_auth_env *env)
{
    return env->cache || credentials_secrets(env->creds) > CHEAP_SECRETS;
}

int stun_auth_check(struct stun_identity *out, const struct stun_msg *m,
                    const struct stun_auth_env *env)
{
    struct stun_identity id = {0};
    struct claim claim;

    if (!m->mi_at && !m->mi256_at)
        return STUN_ERR_UNAUTHENTICATED;
    int err = claim_decode(&claim, m);
    if (err)
        return err;
    bool fresh = nonce_is_valid(env->nonces, claim.nonce, env->from, env->now_us);
    if (!fresh && is_costly(env))
        return STUN_ERR_STALE_NONCE;
    err = prove_claim(&id, m, &claim, env);
    if (!err && !fresh)
        err = STUN_ERR_STALE_NONCE;
    if (!err || err == STUN_AUTH_ASK) {
        /* "Any response generated by the server MUST include [...] MESSAGE-INTEGRITY-SHA256 [...]
         * unless the request was processed as though PASSWORD-ALGORITHM was MD5" (§9.2.4). */
        id.sha256 = claim.explicit;
        *out = id;
    }
    crypto_wipe(&id, sizeof(id));
    return err;
}

void stun_auth_challenge(struct wr *w, const struct credentials *c, struct nonce_keys *nonces,
                         const struct five_tuple *to, bool offer_sha256, uint64_t now_us)
{
    uint8_t nonce[NONCE_BYTES];
    bool choice = offer_sha256 && credentials_have_sha256(c);
    unsigned features = (choice ? NONCE_PASSWORD_ALGORITHMS : 0u) |
                        (credentials_are_hashed(c) ? NONCE_USERNAME_ANONYMITY : 0u);

    stun_put(w, STUN_ATTR_REALM, credentials_realm(c));
    if (nonce_make(nonces, features, to, now_us, nonce) != 0)
        w->bad = true;
    else
        stun_put(w, STUN_ATTR_NONCE, slice_of(nonce, sizeof(nonce)));
    if (choice)
        stun_put(w, STUN_ATTR_PASSWORD_ALGORITHMS, slice_of(offer, sizeof(offer)));
    if (credentials_access_keys(c))
        stun_put(w, STUN_ATTR_THIRD_PARTY_AUTHORIZATION, credentials_server(c));
}

size_t stun_auth_challenge_bytes(const struct credentials *c)
{
    size_t realm = credentials_realm(c).len, server = credentials_server(c).len;
    size_t third = credentials_access_keys(c) ? 4 + ((server + 3) & ~(size_t)3) : 0;

    return 3 * 4 + ((realm + 3) & ~(size_t)3) + ((NONCE_BYTES + 3) & ~3) + sizeof(offer) + third;
}

void stun_auth_sign(struct wr *w, const struct stun_identity *id)
{
    struct slice key = slice_of(id->key, id->key_len);

    if (id->sha256)
        stun_put_sha256(w, key);
    else
        stun_put_sha1(w, key);
}
