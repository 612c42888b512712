/* Ring tokens: written by router_push.c, verified by login.c.
 *
 * The ids have no character that JSON would escape, so the claims are written as they are.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ring_token.h"

#include <errno.h>

enum { CLAIMS_MAX = 400 };

static const char header[] = "{\"alg\":\"HS256\",\"kid\":\"" RING_TOKEN_KID "\"}";

static void write_claims(struct wr *w, struct slice user, struct slice device,
                         const struct sig_call_id *call, uint64_t expires_s)
{
    wr_str(w, "{\"sub\":\"");
    wr_bytes(w, user);
    wr_str(w, "\",\"dev\":\"");
    wr_bytes(w, device);
    wr_str(w, "\",\"callId\":\"");
    sig_call_id_write(w, call);
    wr_str(w, "\",\"exp\":");
    wr_u64(w, expires_s);
    wr_u8(w, '}');
}

int ring_token_write(struct wr *w, struct slice secret, struct slice user, struct slice device,
                     const struct sig_call_id *call, uint64_t expires_s)
{
    uint8_t buf[CLAIMS_MAX], mac[CRYPTO_SHA256_BYTES];
    struct wr claims = wr_init(buf, sizeof(buf));
    size_t from = w->len;

    if (!token_id_valid(user, TOKEN_USER_MAX) || !token_id_valid(device, TOKEN_DEVICE_MAX))
        return -EINVAL;
    write_claims(&claims, user, device, call, expires_s);
    base64url_encode(w, slice_str(header));
    wr_u8(w, '.');
    base64url_encode(w, wr_done(&claims));
    if (w->bad || claims.bad)
        return -ENOSPC;
    struct slice signed_part = slice_of(w->base + from, w->len - from);
    if (crypto_hmac(CRYPTO_SHA256, secret, &signed_part, 1, mac) != 0)
        return -ENOMEM;
    wr_u8(w, '.');
    base64url_encode(w, slice_of(mac, sizeof(mac)));
    return w->bad ? -ENOSPC : 0;
}

enum token_error ring_token_verify(struct token *out, const struct token_keys *keys,
                                   struct slice jws, uint64_t now_s)
{
    const struct token_rules rules = {0};
    struct token t;
    enum token_error e = token_verify(&t, keys, &rules, jws, now_s);

    if (e != TOKEN_OK)
        return e;
    if (!t.has_call || !*t.device)
        return TOKEN_BAD_CLAIM;
    *out = t;
    return TOKEN_OK;
}

struct token_keys *ring_token_keys(struct slice secret)
{
    struct token_keys *k = token_keys_new(TOKEN_ALG(CRYPTO_HS256));
    char err[TOKEN_ERR_MAX];

    if (k && token_keys_add_secret(k, SLICE_LIT(RING_TOKEN_KID), CRYPTO_HS256, secret, err) == 0)
        return k;
    token_keys_free(k);
    return NULL;
}
