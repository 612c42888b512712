/* What comes before a stream's own bytes: the first of them tells TLS from clear text.
 *
 * Called by stream.c for listeners that serve more than one kind, before anybody has read: the
 * bytes are only looked at. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#include "net/stream_priv.h"

#include <errno.h>
#include <sys/socket.h>

#define TLS_HANDSHAKE 22 /* ContentType (RFC 8446 §5.1) that a TLS client begins with */

bool stream_has_preface(const struct stream_listener *l)
{
    return l->conf.tls && l->conf.tls_optional;
}

enum stream_kind stream_preface(struct stream *s)
{
    uint8_t first;
    ssize_t n = recv(s->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);

    if (n == 1)
        return first == TLS_HANDSHAKE ? STREAM_KIND_TLS : STREAM_KIND_CLEAR;
    return n == -1 && (errno == EAGAIN || errno == EINTR) ? STREAM_KIND_WAIT : STREAM_KIND_GONE;
}
