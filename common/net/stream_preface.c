/* What comes before a stream's own bytes: a PROXY header, which tells whose they are, and the first
 * of them, which tells TLS from clear text.
 *
 * Called by stream.c while a stream is in STREAM_PREFACE. The header is read to its last byte and
 * no further; the first byte is only looked at, since OpenSSL or the user will read it.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#include "net/stream_priv.h"

#include "base/mem.h"
#include "proto/proxy2.h"

#include <errno.h>
#include <sys/socket.h>

#define TLS_HANDSHAKE 22 /* ContentType (RFC 8446 §5.1) that a TLS client begins with */

bool stream_has_preface(const struct stream *s)
{
    return s->proxied || (s->l->conf.tls && s->l->conf.tls_optional);
}

/* Reads on until s->in has `total` bytes. Returns 0, -EAGAIN, or another negative errno. */
static int read_up_to(struct stream *s, size_t total)
{
    size_t have = s->in ? s->in->len : 0;
    struct stream_rest *in = mem_realloc(s->in, sizeof *in + total);

    if (!in)
        return -ENOMEM;
    in->len = have;
    s->in = in;
    ssize_t n = recv(s->fd, in->bytes + have, total - have, MSG_DONTWAIT);
    if (n <= 0)
        return n == -1 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -EPIPE;
    in->len += (size_t)n;
    return in->len == total ? 0 : -EAGAIN;
}

/* Takes the header off the socket. Returns 0 when s->peer is whom it names, else as above. */
static int take_header(struct stream *s)
{
    size_t total = PROXY2_FIXED_BYTES;
    struct proxy2 h;

    for (;;) {
        struct slice have = s->in ? slice_of(s->in->bytes, s->in->len) : (struct slice){0};
        int err = proxy2_length(&total, have);
        if (err == -EBADMSG)
            return err;
        if (!err && have.len == total)
            break;
        err = read_up_to(s, total);
        if (err)
            return err;
    }
    if (proxy2_decode(&h, slice_of(s->in->bytes, s->in->len)) != 0 || h.transport == PROXY2_DGRAM)
        return -EBADMSG;
    if (h.src.family != ADDR_NONE)
        s->peer = h.src;
    mem_free(s->in);
    s->in = NULL;
    s->proxied = false;
    return 0;
}

static enum stream_kind first_byte(const struct stream *s)
{
    uint8_t first;
    ssize_t n = recv(s->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);

    if (n == 1)
        return first == TLS_HANDSHAKE ? STREAM_KIND_TLS : STREAM_KIND_CLEAR;
    return n == -1 && (errno == EAGAIN || errno == EINTR) ? STREAM_KIND_WAIT : STREAM_KIND_GONE;
}

enum stream_kind stream_preface(struct stream *s)
{
    const struct stream_conf *c = &s->l->conf;

    if (s->proxied) {
        int err = take_header(s);
        if (err == -EAGAIN)
            return STREAM_KIND_WAIT;
        if (err) {
            counter_inc(c->bad_header);
            return STREAM_KIND_GONE;
        }
        if (c->admit && !c->admit(c->arg, &s->peer, worker_now(s->l->w)))
            return STREAM_KIND_GONE;
    }
    if (!c->tls)
        return STREAM_KIND_CLEAR;
    return c->tls_optional ? first_byte(s) : STREAM_KIND_TLS;
}
