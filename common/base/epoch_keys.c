/* HMAC keys that replace themselves, epoch by epoch.
 *
 * Called by turn/nonce.c and proto/dtls_cookie.c. Pure: the caller counts epochs.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/epoch_keys.h"

#include "base/crypto.h"

#include <errno.h>

int epoch_keys_init(struct epoch_keys *k, const uint8_t master[EPOCH_KEYS_MASTER_BYTES])
{
    *k = (struct epoch_keys){._epoch = UINT64_MAX};
    k->_master = hmac_new(CRYPTO_SHA256, slice_of(master, EPOCH_KEYS_MASTER_BYTES));
    return k->_master ? 0 : -ENOMEM;
}

void epoch_keys_fini(struct epoch_keys *k)
{
    hmac_free(k->_master);
    hmac_free(k->_now);
    hmac_free(k->_before);
    *k = (struct epoch_keys){0};
}

static struct hmac *derive(const struct epoch_keys *k, uint64_t epoch)
{
    uint8_t key[CRYPTO_SHA256_BYTES], text[8];
    struct wr w = wr_init(text, sizeof text);
    const struct slice part = slice_of(text, sizeof text);
    struct hmac *h = NULL;

    wr_be64(&w, epoch);
    if (hmac_sum(k->_master, &part, 1, key) == 0)
        h = hmac_new(CRYPTO_SHA256, slice_of(key, sizeof key));
    crypto_wipe(key, sizeof key);
    return h;
}

/* A key that could not be made stays NULL and is tried again at the next call. */
static void rotate(struct epoch_keys *k, uint64_t epoch)
{
    if (k->_epoch != epoch) {
        hmac_free(k->_before);
        k->_before = k->_epoch + 1 == epoch ? k->_now : NULL;
        if (!k->_before)
            hmac_free(k->_now);
        k->_now = NULL;
        k->_epoch = epoch;
    }
    if (!k->_now)
        k->_now = derive(k, epoch);
    if (!k->_before && epoch > 0)
        k->_before = derive(k, epoch - 1);
}

struct hmac *epoch_keys_at(struct epoch_keys *k, uint64_t now, uint64_t epoch)
{
    rotate(k, now);
    return epoch == now ? k->_now : k->_before;
}
