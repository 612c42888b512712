/* Keys by HMAC from one secret; AES-256-GCM for tokens; HMAC for everything that names or chains.
 *
 * Called by the stores. Pure; one thread at a time. Parts of an HMAC's message are told apart by
 * their lengths, written before them. SPDX-License-Identifier: BSD-3-Clause */
#include "server/privacy.h"

#include "base/crypto.h"
#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>

enum { ERASED_MAC = 16 };

enum purpose { FOR_CHECK, FOR_SUBJECT, FOR_TOKEN_HASH, FOR_AUDIT, FOR_ERASED, PURPOSES };
static const char *const LABEL[PURPOSES] = {
    "sori ledger check 1", "sori ledger subject 1", "sori ledger token hash 1",
    "sori ledger audit 1", "sori ledger erased 1",
};
#define TOKEN_LABEL "sori ledger token 1"
#define SEAL_LABEL  "sori ledger seal id 1"

enum { SEAL_PRESENT, SEAL_OTHER };

struct privacy_keys {
    struct hmac *mac[PURPOSES];
    uint8_t token_key[32];
    uint8_t seal_key[2][32]; /* present, other */
    bool has_seal[2];
    char seal_id[PRIVACY_SEAL_ID + 1];
};

struct privacy_keys *privacy_keys_new(struct slice secret)
{
    struct privacy_keys *k = mem_zalloc(sizeof(*k));
    uint8_t derived[32];
    struct slice label = SLICE_LIT(TOKEN_LABEL);
    bool ok = k && crypto_hmac(CRYPTO_SHA256, secret, &label, 1, k->token_key) == 0;

    for (size_t i = 0; i < PURPOSES && ok; i++) {
        label = slice_str(LABEL[i]);
        ok = crypto_hmac(CRYPTO_SHA256, secret, &label, 1, derived) == 0;
        if (ok)
            k->mac[i] = hmac_new(CRYPTO_SHA256, slice_of(derived, sizeof(derived)));
        ok = ok && k->mac[i];
    }
    crypto_wipe(derived, sizeof(derived));
    if (ok)
        return k;
    privacy_keys_free(k);
    return NULL;
}

void privacy_keys_free(struct privacy_keys *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < PURPOSES; i++)
        hmac_free(k->mac[i]);
    crypto_wipe(k->token_key, sizeof(k->token_key));
    crypto_wipe(k->seal_key, sizeof(k->seal_key));
    mem_free(k);
}

int privacy_keys_seal(struct privacy_keys *k, struct slice present, struct slice other)
{
    const struct slice keys[] = {[SEAL_PRESENT] = present, [SEAL_OTHER] = other};
    struct slice token = SLICE_LIT(TOKEN_LABEL), name = SLICE_LIT(SEAL_LABEL);
    struct wr w = wr_init(k->seal_id, PRIVACY_SEAL_ID);
    uint8_t id[PRIVACY_HASH_BYTES];

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        k->has_seal[i] = keys[i].len > 0;
        if (keys[i].len > 0 && crypto_hmac(CRYPTO_SHA256, keys[i], &token, 1, k->seal_key[i]) != 0)
            return -EIO;
    }
    if (present.len > 0 && crypto_hmac(CRYPTO_SHA256, present, &name, 1, id) != 0)
        return -EIO;
    if (present.len > 0)
        hex_encode(&w, slice_of(id, PRIVACY_SEAL_ID / 2));
    return 0;
}

const char *privacy_seal_id(const struct privacy_keys *k)
{
    return k->seal_id;
}

int privacy_keys_check(struct privacy_keys *k, uint8_t out[PRIVACY_HASH_BYTES])
{
    return hmac_sum(k->mac[FOR_CHECK], NULL, 0, out);
}

int privacy_subject(struct privacy_keys *k, struct slice user, uint8_t out[PRIVACY_SUBJECT_BYTES])
{
    return hmac_sum(k->mac[FOR_SUBJECT], &user, 1, out);
}

int privacy_token_hash(struct privacy_keys *k, struct slice token, uint8_t out[PRIVACY_HASH_BYTES])
{
    return hmac_sum(k->mac[FOR_TOKEN_HASH], &token, 1, out);
}

/* ---- tokens ---- */

/* Whose the token is: user, NUL, device. */
static struct slice token_aad(struct wr *w, struct slice user, struct slice device)
{
    wr_bytes(w, user);
    wr_u8(w, 0);
    wr_bytes(w, device);
    return wr_done(w);
}

int privacy_token_seal(struct privacy_keys *k, struct slice user, struct slice device,
                       struct slice token, uint8_t *out)
{
    uint8_t aad[SIG_USER_MAX + 1 + SIG_DEVICE_MAX];
    struct wr w = wr_init(aad, sizeof(aad));
    struct slice whose = token_aad(&w, user, device);

    if (w.bad)
        return -EIO;
    const uint8_t *key = k->has_seal[SEAL_PRESENT] ? k->seal_key[SEAL_PRESENT] : k->token_key;
    rand_bytes(out, CRYPTO_AEAD_NONCE_BYTES);
    return crypto_aead_seal(CRYPTO_A256GCM, slice_of(key, sizeof(k->token_key)),
                            slice_of(out, CRYPTO_AEAD_NONCE_BYTES), whose, token,
                            out + CRYPTO_AEAD_NONCE_BYTES);
}

int privacy_token_open(struct privacy_keys *k, struct slice user, struct slice device,
                       struct slice sealed, uint8_t *out)
{
    uint8_t aad[SIG_USER_MAX + 1 + SIG_DEVICE_MAX];
    struct wr w = wr_init(aad, sizeof(aad));
    struct slice whose = token_aad(&w, user, device);

    if (w.bad || sealed.len <= PRIVACY_SEAL_EXTRA)
        return -EACCES;
    const uint8_t *keys[] = {k->has_seal[SEAL_PRESENT] ? k->seal_key[SEAL_PRESENT] : NULL,
                             k->has_seal[SEAL_OTHER] ? k->seal_key[SEAL_OTHER] : NULL,
                             k->token_key};
    int rc = -EACCES;
    for (size_t i = 0; i < ARRAY_LEN(keys) && rc != 0; i++)
        if (keys[i])
            rc = crypto_aead_open(CRYPTO_A256GCM, slice_of(keys[i], sizeof(k->token_key)),
                                  slice_sub(sealed, 0, CRYPTO_AEAD_NONCE_BYTES), whose,
                                  slice_sub(sealed, CRYPTO_AEAD_NONCE_BYTES, sealed.len), out);
    return rc;
}

/* ---- audit ---- */

int privacy_audit_hash(struct privacy_keys *k, const struct privacy_audit *a,
                       uint8_t out[PRIVACY_HASH_BYTES])
{
    uint8_t head[8 + 8 + 2 + 2 + 2 + 2];
    struct wr w = wr_init(head, sizeof(head));

    wr_be64(&w, a->seq);
    wr_be64(&w, a->at_ms);
    wr_be16(&w, (uint16_t)a->actor.len);
    wr_be16(&w, (uint16_t)a->action.len);
    wr_be16(&w, (uint16_t)a->subject.len);
    wr_be16(&w, (uint16_t)a->prev.len);
    const struct slice parts[] = {wr_done(&w), a->actor, a->action, a->subject, a->prev};
    return hmac_sum(k->mac[FOR_AUDIT], parts, ARRAY_LEN(parts), out);
}

/* ---- the erased ---- */

static int erased_mac(struct privacy_keys *k, struct slice subject, uint64_t at_ms,
                      uint8_t out[PRIVACY_HASH_BYTES])
{
    uint8_t at[8];
    struct wr w = wr_init(at, sizeof(at));

    wr_be64(&w, at_ms);
    const struct slice parts[] = {subject, wr_done(&w)};
    return hmac_sum(k->mac[FOR_ERASED], parts, ARRAY_LEN(parts), out);
}

void privacy_erased_write(struct privacy_keys *k, struct wr *w,
                          const uint8_t subject[PRIVACY_SUBJECT_BYTES], uint64_t at_ms)
{
    struct slice s = slice_of(subject, PRIVACY_SUBJECT_BYTES);
    uint8_t mac[PRIVACY_HASH_BYTES];

    if (erased_mac(k, s, at_ms, mac) != 0)
        w->bad = true;
    hex_encode(w, s);
    wr_u8(w, ' ');
    wr_u64(w, at_ms);
    wr_u8(w, ' ');
    hex_encode(w, slice_of(mac, ERASED_MAC));
    wr_u8(w, '\n');
}

int privacy_erased_read(struct privacy_keys *k, struct slice *rest,
                        uint8_t subject[PRIVACY_SUBJECT_BYTES], uint64_t *at_ms)
{
    enum { TIME_AT = 2 * PRIVACY_SUBJECT_BYTES + 1, MAC_TEXT = 2 * ERASED_MAC };
    uint8_t who[PRIVACY_SUBJECT_BYTES], mac[ERASED_MAC], want[PRIVACY_HASH_BYTES];
    uint64_t at;

    if (rest->len == 0)
        return -ENODATA;
    const uint8_t *end = memchr(rest->p, '\n', rest->len);
    if (!end)
        return rest->len < PRIVACY_ERASED_LINE ? -EAGAIN : -EBADMSG;
    struct slice line = slice_sub(*rest, 0, (size_t)(end - rest->p));
    if (line.len < TIME_AT + 1 + 1 + MAC_TEXT || line.len >= PRIVACY_ERASED_LINE ||
        line.p[TIME_AT - 1] != ' ' || line.p[line.len - MAC_TEXT - 1] != ' ')
        return -EBADMSG;
    struct slice time = slice_sub(line, TIME_AT, line.len - TIME_AT - 1 - MAC_TEXT);
    if (hex_decode(slice_sub(line, 0, TIME_AT - 1), who, sizeof(who)) != 0 ||
        hex_decode(slice_sub(line, line.len - MAC_TEXT, MAC_TEXT), mac, sizeof(mac)) != 0 ||
        slice_to_u64(time, (uint64_t)INT64_MAX, &at) != 0 ||
        erased_mac(k, slice_of(who, sizeof(who)), at, want) != 0 ||
        !crypto_equal(slice_of(mac, sizeof(mac)), slice_of(want, ERASED_MAC)))
        return -EBADMSG;
    *rest = slice_sub(*rest, line.len + 1, rest->len);
    memcpy(subject, who, sizeof(who));
    *at_ms = at;
    return 0;
}
