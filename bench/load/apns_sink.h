/* Apple's side of a push for the load generators: HTTP/2 over TLS by nghttp2 and OpenSSL, in the
 * generator's own thread and on its clock, so that a push can be timed against what caused it.
 *
 * Tokens whose first byte is APNS_SINK_BAD are answered with 400 BadDeviceToken, and the connection
 * then takes one stream at a time until a push is accepted, as Apple does. A connection can become
 * a black hole: its bytes are acknowledged by the kernel, read by nobody, answered never.
 * Whatever else goes wrong ends the program. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BENCH_APNS_SINK_H
#define SORI_BENCH_APNS_SINK_H

#include "bench/load/sig_conn.h"

#include <nghttp2/nghttp2.h>

#define APNS_SINK_CONNS   16
#define APNS_SINK_BODY    5120
#define APNS_SINK_STREAMS 1000
#define APNS_SINK_BAD     0xbb

struct apns_sink;

struct apns_sink_conn {
    struct apns_sink *sink;
    SSL *ssl;
    nghttp2_session *h2;
    uint64_t pushes, calls;
    unsigned limit; /* streams that it was told */
    int fd;         /* -1: free */
    bool open, hole;
};

/* One request while it comes in. */
struct apns_sink_stream {
    char path[16 + 512 + 1], type[32];
    uint8_t body[APNS_SINK_BODY];
    size_t len;
};

struct apns_sink {
    int ep, fd;
    SSL_CTX *tls;
    /* A whole push has come; hole connections say nothing. */
    void (*push)(void *arg, const struct apns_sink_stream *s);
    void *arg;
    uint64_t accepted, rejected;
    struct apns_sink_conn conn[APNS_SINK_CONNS];
};

static inline void apns_sink_end(struct apns_sink_conn *c)
{
    nghttp2_session_del(c->h2);
    SSL_free(c->ssl);
    close(c->fd);
    *c = (struct apns_sink_conn){.sink = c->sink, .fd = -1};
}

/* ---- HTTP/2 ---- */

static inline ssize_t apns_sink_on_send(nghttp2_session *h2, const uint8_t *p, size_t n, int flags,
                                        void *arg)
{
    struct apns_sink_conn *c = arg;
    int rc = SSL_write(c->ssl, p, (int)n);

    (void)h2;
    (void)flags;
    if (rc > 0)
        return rc;
    return SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_WRITE ? NGHTTP2_ERR_WOULDBLOCK
                                                             : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static inline int apns_sink_on_begin(nghttp2_session *h2, const nghttp2_frame *frame, void *arg)
{
    (void)arg;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct apns_sink_stream *s = mem_zalloc(sizeof(*s));
    if (!s)
        sig_die("out of memory", (struct slice){0});
    return nghttp2_session_set_stream_user_data(h2, frame->hd.stream_id, s);
}

static inline int apns_sink_on_header(nghttp2_session *h2, const nghttp2_frame *frame,
                                      const uint8_t *name, size_t name_len, const uint8_t *value,
                                      size_t value_len, uint8_t flags, void *arg)
{
    struct apns_sink_stream *s = nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id);
    struct slice n = slice_of(name, name_len), v = slice_of(value, value_len);

    (void)flags;
    (void)arg;
    if (s && slice_is(n, ":path"))
        slice_to_cstr(v, s->path, sizeof(s->path));
    else if (s && slice_is(n, "apns-push-type"))
        slice_to_cstr(v, s->type, sizeof(s->type));
    return 0;
}

static inline int apns_sink_on_data(nghttp2_session *h2, uint8_t flags, int32_t id,
                                    const uint8_t *p, size_t n, void *arg)
{
    struct apns_sink_stream *s = nghttp2_session_get_stream_user_data(h2, id);

    (void)flags;
    (void)arg;
    if (!s || n > sizeof(s->body) - s->len)
        sig_die("a payload is too long", slice_str(s ? s->path : ""));
    memcpy(s->body + s->len, p, n);
    s->len += n;
    return 0;
}

static inline ssize_t apns_sink_on_reason(nghttp2_session *h2, int32_t id, uint8_t *out, size_t cap,
                                          uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    static const char reason[] = "{\"reason\":\"BadDeviceToken\"}";

    (void)h2;
    (void)id;
    (void)source;
    (void)arg;
    if (cap < sizeof(reason))
        sig_die("no room for an answer", (struct slice){0});
    memcpy(out, reason, sizeof(reason) - 1);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return sizeof(reason) - 1;
}

static inline void apns_sink_limit(struct apns_sink_conn *c, unsigned streams)
{
    const nghttp2_settings_entry e = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams};

    if (c->limit == streams)
        return;
    c->limit = streams;
    nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, &e, 1);
}

static inline void apns_sink_answer(struct apns_sink_conn *c, int32_t id, bool bad)
{
    static uint8_t status[] = ":status", ok[] = "200", refused[] = "400";
    const nghttp2_nv h = {status, bad ? refused : ok, 7, 3, NGHTTP2_NV_FLAG_NONE};
    const nghttp2_data_provider reason = {.read_callback = apns_sink_on_reason};

    apns_sink_limit(c, bad ? 1 : APNS_SINK_STREAMS);
    nghttp2_submit_response(c->h2, id, &h, 1, bad ? &reason : NULL);
}

static inline int apns_sink_on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *arg)
{
    struct apns_sink_conn *c = arg;
    char bad[16];

    if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
        !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    struct apns_sink_stream *s = nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id);
    snprintf(bad, sizeof(bad), "/3/device/%02x", APNS_SINK_BAD);
    bool is_bad = strncmp(s->path, bad, strlen(bad)) == 0;
    c->pushes++;
    c->calls += strcmp(s->type, "voip") == 0;
    *(is_bad ? &c->sink->rejected : &c->sink->accepted) += 1;
    c->sink->push(c->sink->arg, s);
    apns_sink_answer(c, frame->hd.stream_id, is_bad);
    return 0;
}

static inline int apns_sink_on_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg)
{
    (void)code;
    (void)arg;
    mem_free(nghttp2_session_get_stream_user_data(h2, id));
    return 0;
}

static inline nghttp2_session *apns_sink_session(struct apns_sink_conn *c)
{
    const nghttp2_settings_entry e = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, APNS_SINK_STREAMS};
    nghttp2_session_callbacks *cb;
    nghttp2_session *h2;

    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_send_callback(cb, apns_sink_on_send);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, apns_sink_on_begin);
    nghttp2_session_callbacks_set_on_header_callback(cb, apns_sink_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, apns_sink_on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, apns_sink_on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, apns_sink_on_close);
    if (nghttp2_session_server_new(&h2, cb, c) != 0 ||
        nghttp2_submit_settings(h2, NGHTTP2_FLAG_NONE, &e, 1) != 0)
        sig_die("no HTTP/2 session", (struct slice){0});
    nghttp2_session_callbacks_del(cb);
    c->limit = APNS_SINK_STREAMS;
    return h2;
}

/* ---- connections ---- */

static inline int apns_sink_alpn(SSL *ssl, const unsigned char **out, unsigned char *len,
                                 const unsigned char *in, unsigned in_len, void *arg)
{
    (void)ssl;
    (void)arg;
    return nghttp2_select_next_protocol((unsigned char **)(uintptr_t)out, len, in, in_len) == 1
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* A sink that listens on 127.0.0.1:port. */
static inline struct apns_sink *apns_sink_new(unsigned port, const char *cert, const char *key)
{
    struct apns_sink *k = mem_zalloc(sizeof(*k));
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event ev = {.events = EPOLLIN};
    int on = 1;

    if (!k)
        sig_die("out of memory", (struct slice){0});
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    k->tls = SSL_CTX_new(TLS_server_method());
    if (!k->tls || SSL_CTX_use_certificate_chain_file(k->tls, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(k->tls, key, SSL_FILETYPE_PEM) != 1)
        sig_die("cannot load", slice_str(cert));
    SSL_CTX_set_alpn_select_cb(k->tls, apns_sink_alpn, NULL);
    SSL_CTX_set_mode(k->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    k->ep = epoll_create1(EPOLL_CLOEXEC);
    k->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(k->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (k->ep == -1 || bind(k->fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(k->fd, 64) != 0 || epoll_ctl(k->ep, EPOLL_CTL_ADD, k->fd, &ev) != 0)
        sig_die_errno("the push service's port");
    for (size_t i = 0; i < APNS_SINK_CONNS; i++)
        k->conn[i] = (struct apns_sink_conn){.sink = k, .fd = -1};
    return k;
}

static inline void apns_sink_take(struct apns_sink *k)
{
    int fd = accept4(k->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    struct apns_sink_conn *c = k->conn;

    if (fd == -1)
        return;
    while (c < k->conn + APNS_SINK_CONNS && c->fd != -1)
        c++;
    if (c == k->conn + APNS_SINK_CONNS)
        sig_die("too many connections to the push service", (struct slice){0});
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    c->fd = fd;
    c->ssl = SSL_new(k->tls);
    if (!c->ssl || !SSL_set_fd(c->ssl, fd) || epoll_ctl(k->ep, EPOLL_CTL_ADD, fd, &ev) != 0)
        sig_die("out of memory", slice_str("SSL"));
    SSL_set_accept_state(c->ssl);
}

static inline void apns_sink_flush(struct apns_sink_conn *c)
{
    if (nghttp2_session_send(c->h2) != 0)
        sig_die("cannot answer a push", (struct slice){0});
    struct epoll_event ev = {.events = EPOLLIN |
                                       (nghttp2_session_want_write(c->h2) ? (uint32_t)EPOLLOUT : 0),
                             .data.ptr = c};
    epoll_ctl(c->sink->ep, EPOLL_CTL_MOD, c->fd, &ev);
}

static inline void apns_sink_ready(struct apns_sink_conn *c)
{
    uint8_t buf[32768];
    int n = 0;

    ERR_clear_error();
    if (!c->open) {
        int rc = SSL_do_handshake(c->ssl);
        if (rc != 1 && SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ)
            return;
        if (rc != 1) {
            apns_sink_end(c);
            return;
        }
        c->open = true;
        c->h2 = apns_sink_session(c);
    }
    while ((n = SSL_read(c->ssl, buf, sizeof(buf))) > 0)
        if (nghttp2_session_mem_recv(c->h2, buf, (size_t)n) != n)
            sig_die("not HTTP/2", (struct slice){0});
    if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ ||
        (!nghttp2_session_want_read(c->h2) && !nghttp2_session_want_write(c->h2)))
        apns_sink_end(c);
    else
        apns_sink_flush(c);
}

/* Serves what is ready; never waits. Returns how many events there were. */
static inline int apns_sink_turn(struct apns_sink *k)
{
    struct epoll_event ev[APNS_SINK_CONNS];
    int n = epoll_wait(k->ep, ev, APNS_SINK_CONNS, 0);

    for (int i = 0; i < n; i++) {
        struct apns_sink_conn *c = ev[i].data.ptr;
        if (!c)
            apns_sink_take(k);
        else if (c->fd != -1)
            apns_sink_ready(c);
    }
    return n;
}

/* The connection that has had most calls becomes a black hole. False: there is none. */
static inline bool apns_sink_hole(struct apns_sink *k)
{
    struct apns_sink_conn *most = NULL;

    for (size_t i = 0; i < APNS_SINK_CONNS; i++) {
        struct apns_sink_conn *c = &k->conn[i];
        if (c->fd != -1 && c->open && !c->hole && c->calls > 0 && (!most || c->calls > most->calls))
            most = c;
    }
    if (!most)
        return false;
    most->hole = true;
    return epoll_ctl(k->ep, EPOLL_CTL_DEL, most->fd, NULL) == 0;
}

#endif
