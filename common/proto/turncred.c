/* Time-limited TURN credentials, granted by sori-server and checked by sori-turn.
 *
 * Called by turn/credentials.c and by the server's `ice` request. Pure: the time is an argument.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/turncred.h"

#include <errno.h>

#include "base/crypto.h"

/* Splits s at its first colon. False when it has none. */
static bool split(struct slice s, struct slice *head, struct slice *tail)
{
    const uint8_t *colon = s.len ? memchr(s.p, ':', s.len) : NULL;

    if (!colon)
        return false;
    size_t at = (size_t)(colon - s.p);
    *head = slice_sub(s, 0, at);
    *tail = slice_sub(s, at + 1, SIZE_MAX);
    return true;
}

int turncred_parse(struct turncred *out, struct slice username)
{
    struct slice expiry, rest, call_id, user;
    struct turncred c = {0};

    if (!split(username, &expiry, &rest) || slice_to_u64(expiry, UINT32_MAX, &c.expiry_s) != 0)
        return -EBADMSG;
    if (split(rest, &call_id, &user)) {
        c.call_id = call_id;
        c.user = user;
    } else {
        c.user = rest;
    }
    if (c.user.len == 0)
        return -EBADMSG;
    *out = c;
    return 0;
}

int turncred_password(uint8_t out[TURNCRED_PASSWORD_BYTES], struct slice secret,
                      struct slice username)
{
    uint8_t mac[CRYPTO_SHA1_BYTES];
    struct wr w = wr_init(out, TURNCRED_PASSWORD_BYTES);

    if (crypto_hmac(CRYPTO_SHA1, secret, &username, 1, mac) != 0)
        return -EIO;
    base64_encode(&w, slice_of(mac, sizeof(mac)));
    crypto_wipe(mac, sizeof(mac));
    return w.bad ? -EIO : 0;
}

static bool has_colon(struct slice s)
{
    return s.len > 0 && memchr(s.p, ':', s.len) != NULL;
}

int turncred_grant(struct wr *username, struct wr *password, struct slice secret, uint64_t expiry_s,
                   struct slice call_id, struct slice user)
{
    uint8_t text[TURNCRED_USERNAME_MAX], pass[TURNCRED_PASSWORD_BYTES];
    struct wr w = wr_init(text, sizeof(text));

    if (user.len == 0 || has_colon(call_id) || (call_id.len == 0 && has_colon(user)))
        return -EINVAL;
    wr_u64(&w, expiry_s);
    wr_u8(&w, ':');
    if (call_id.len > 0) {
        wr_bytes(&w, call_id);
        wr_u8(&w, ':');
    }
    wr_bytes(&w, user);
    if (w.bad)
        return -EINVAL;
    int err = turncred_password(pass, secret, wr_done(&w));
    if (err)
        return err;
    wr_bytes(username, wr_done(&w));
    wr_bytes(password, slice_of(pass, sizeof(pass)));
    crypto_wipe(pass, sizeof(pass));
    return username->bad || password->bad ? -ENOSPC : 0;
}

int turncred_mark(uint8_t out[TURNCRED_MARK_BYTES], struct slice secret)
{
    const struct slice what = SLICE_LIT("sori relay secret 1");
    uint8_t mac[CRYPTO_SHA256_BYTES];
    struct wr w = wr_init(out, TURNCRED_MARK_BYTES);

    if (crypto_hmac(CRYPTO_SHA256, secret, &what, 1, mac) != 0)
        return -EIO;
    hex_encode(&w, slice_of(mac, TURNCRED_MARK_BYTES / 2));
    crypto_wipe(mac, sizeof(mac));
    return 0;
}
