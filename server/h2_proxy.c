/* CONNECT through an HTTP/1.1 proxy.
 *
 * Called by h2_link.c before TLS. Only the status line of the answer means something to us.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/h2_proxy.h"

#include <errno.h>

#include "base/crypto.h"

#define STATUS_LINE_MIN 12 /* "HTTP/1.1 200" */
#define STATUS_AT       9

void h2_proxy_write(struct wr *w, struct slice host, uint16_t port, struct slice auth)
{
    bool v6 = host.len > 0 && memchr(host.p, ':', host.len);

    for (unsigned twice = 0; twice < 2; twice++) {
        wr_str(w, twice ? "Host: " : "CONNECT ");
        wr_str(w, v6 ? "[" : "");
        wr_bytes(w, host);
        wr_str(w, v6 ? "]:" : ":");
        wr_u64(w, port);
        wr_str(w, twice ? "\r\n" : " HTTP/1.1\r\n");
    }
    if (auth.len > H2_PROXY_AUTH_MAX)
        w->bad = true;
    if (auth.len > 0) {
        wr_str(w, "Proxy-Authorization: Basic ");
        base64_encode(w, auth);
        wr_str(w, "\r\n");
    }
    wr_str(w, "\r\n");
}

/* Bytes of the head with its empty line, or 0 while that has not come. */
static size_t head_bytes(struct slice in)
{
    for (size_t i = 0; i + 4 <= in.len; i++)
        if (slice_eq(slice_sub(in, i, 4), SLICE_LIT("\r\n\r\n")))
            return i + 4;
    return 0;
}

int h2_proxy_read(struct slice in, unsigned *status)
{
    static const struct slice PREFIX = {(const uint8_t *)"HTTP/1.", 7};
    uint64_t code;

    *status = 0;
    if (!slice_starts(in, slice_sub(PREFIX, 0, in.len)))
        return -EBADMSG;
    size_t head = head_bytes(slice_sub(in, 0, H2_PROXY_HEAD_MAX));
    if (head == 0)
        return in.len >= H2_PROXY_HEAD_MAX ? -EBADMSG : -EAGAIN;
    if (head < STATUS_LINE_MIN || in.p[STATUS_AT - 1] != ' ' ||
        slice_to_u64(slice_sub(in, STATUS_AT, 3), 599, &code) != 0)
        return -EBADMSG;
    *status = (unsigned)code;
    if (code < 200 || code > 299)
        return -EACCES;
    return head == in.len ? 0 : -EBADMSG;
}
