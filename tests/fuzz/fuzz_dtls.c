/* What a stranger may send as DTLS: the ClientHello and its cookie. Whatever is accepted is whole,
 * its answer is shorter than itself, and only the cookie of that answer opens the door.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "proto/dtls_cookie.h"
#include "proto/dtls_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_answer(const struct dtls_hello *h, size_t size)
{
    static const uint8_t master[EPOCH_KEYS_MASTER_BYTES];
    struct dtls_cookie_keys k;
    uint8_t cookie[DTLS_COOKIE_BYTES], buf[64];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice client = SLICE_LIT("client"), mine = slice_of(cookie, sizeof(cookie));

    if (dtls_cookie_init(&k, master) != 0 ||
        dtls_cookie_make(&k, client, h->random, 0, cookie) != 0)
        abort();
    if (dtls_cookie_is_valid(&k, h->cookie, client, h->random, 0) != slice_eq(h->cookie, mine))
        abort();
    dtls_hello_put_verify(&w, h, mine);
    if (w.bad || w.len >= size)
        abort();
    dtls_cookie_fini(&k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice dgram = slice_of(data, size);
    struct dtls_hello h;

    if (dtls_hello_is_clear(dgram) && size > 0 && size < 13)
        abort();
    if (dtls_hello_decode(&h, dgram) != 0)
        return 0;
    if (!dtls_hello_is(dgram) || !dtls_hello_is_dtls(data[0]) || h.random.p < data ||
        h.random.len != DTLS_HELLO_RANDOM_BYTES || h.cookie.len > DTLS_HELLO_COOKIE_MAX ||
        (h.cookie.len > 0 && h.cookie.p + h.cookie.len > data + size))
        abort();
    check_answer(&h, size);
    return 0;
}
