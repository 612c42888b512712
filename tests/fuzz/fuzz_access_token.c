/* Fuzzes access tokens: bytes as they come, and bytes sealed with the right key, so that what is
 * inside is looked at too. SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "turn/access_token.h"

#define KEY    SLICE_LIT("HGkj32KJGiuy098sdfaqbNjOiaz71923")
#define SERVER SLICE_LIT("example.com")

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct slice token)
{
    struct access_token t;

    if (access_token_open(&t, token, CRYPTO_A256GCM, KEY, SERVER) == 0 &&
        (t.mac_key_len < ACCESS_TOKEN_MAC_KEY_MIN || t.mac_key_len > ACCESS_TOKEN_MAC_KEY_MAX ||
         t.until_us < t.made_us || access_token_left_s(&t, t.made_us) == 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t buf[2 + CRYPTO_AEAD_NONCE_BYTES + ACCESS_TOKEN_MAX + CRYPTO_AEAD_TAG_BYTES] = {
        0, CRYPTO_AEAD_NONCE_BYTES};
    struct slice nonce = slice_of(buf + 2, CRYPTO_AEAD_NONCE_BYTES);
    size_t head = 2 + nonce.len, len = size < ACCESS_TOKEN_MAX ? size : ACCESS_TOKEN_MAX;

    check(slice_of(data, size));
    if (crypto_aead_seal(CRYPTO_A256GCM, KEY, nonce, SERVER, slice_of(data, len), buf + head) != 0)
        abort();
    check(slice_of(buf, head + len + CRYPTO_AEAD_TAG_BYTES));
    return 0;
}
