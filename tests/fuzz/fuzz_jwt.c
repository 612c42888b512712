/* Access tokens and key sets. The first byte of the input picks what the rest is:
 * 'T' a whole token; 'C' claims, which are signed here so that they get past the signature;
 * 'H' a header likewise; 'K' a JWK Set.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/mem.h"
#include "server/token.h"

#include <stdlib.h>

#define FUZZ_NOW UINT64_C(1800000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct slice secret = SLICE_LIT("0123456789abcdef0123456789abcdef");

static void verify(const struct token_keys *k, struct slice jws)
{
    static const struct token_rules rules = {.leeway_s = 60};
    struct token t, again;
    uint8_t buf[TOKEN_JWS_MAX];
    struct wr w = wr_init(buf, sizeof buf);
    if (token_verify(&t, k, &rules, jws, FUZZ_NOW) != TOKEN_OK)
        return;
    if (!token_id_valid(slice_str(t.user), TOKEN_USER_MAX) || t.expires_at_s + 60 <= FUZZ_NOW)
        abort();
    /* What we accept we can also say, and it means the same. */
    if (token_sign_hs256(&w, secret, "k1", &t, &rules, FUZZ_NOW) != 0 ||
        token_verify(&again, k, &rules, wr_done(&w), FUZZ_NOW) != TOKEN_OK ||
        memcmp(&t, &again, sizeof t) != 0)
        abort();
}

static void verify_signed(const struct token_keys *k, struct slice header, struct slice claims)
{
    uint8_t buf[2 * TOKEN_JWS_MAX], mac[CRYPTO_SHA256_BYTES];
    struct wr w = wr_init(buf, sizeof buf);
    base64url_encode(&w, header);
    wr_u8(&w, '.');
    base64url_encode(&w, claims);
    struct slice part = wr_done(&w);
    if (crypto_hmac(CRYPTO_SHA256, secret, &part, 1, mac) != 0)
        return;
    wr_u8(&w, '.');
    base64url_encode(&w, slice_of(mac, sizeof mac));
    verify(k, wr_done(&w));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char err[TOKEN_ERR_MAX];
    struct token_keys *k = token_keys_new(TOKEN_ALGS_ALL);
    if (size < 1 || !k || token_keys_add_secret(k, SLICE_LIT("k1"), CRYPTO_HS256, secret, err) != 0)
        goto out;
    struct slice rest = slice_of(data + 1, size - 1);
    switch (data[0]) {
    case 'T':
        verify(k, rest);
        break;
    case 'C':
        verify_signed(k, SLICE_LIT("{\"alg\":\"HS256\",\"kid\":\"k1\"}"), rest);
        break;
    case 'H':
        verify_signed(k, rest, SLICE_LIT("{\"sub\":\"u\",\"exp\":1900000000}"));
        break;
    case 'K': {
        size_t before = token_keys_count(k);
        if (token_keys_add_jwks(k, rest, err) != 0 && token_keys_count(k) != before)
            abort();
        break;
    }
    default:
        break;
    }
out:
    token_keys_free(k);
    return 0;
}
