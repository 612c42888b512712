/* Client side of a wss connection for the load generators: TLS 1.3, RFC 6455 client role, epoll.
 *
 * One process, one thread. A connection holds no buffer while it is idle, so that ten thousand of
 * them fit beside the server under test. Each message leaves at once, as one frame in one TLS
 * record and one send(), as those of ten thousand separate devices would; nothing is gathered for
 * the server's benefit. Whatever goes wrong ends the program: a bench with errors has no figures.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BENCH_SIG_CONN_H
#define SORI_BENCH_SIG_CONN_H

#include "base/addr.h"
#include "base/clock.h"
#include "base/mem.h"
#include "proto/ws.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIG_PROTOCOL    "sori.v1"
#define SIG_BUF_BYTES   (256 * 1024)
#define SIG_EVENTS      256
#define SIG_FRAME_HEAD  14    /* client frames: header and mask */
#define SIG_PER_SOURCE  20000 /* connections from one 127.0.0.x: fewer than it has ports */
#define SIG_MESSAGE_MAX 65536
#define SIG_TIMEOUT_US  (30 * US_PER_S)            /* without any event while work is outstanding */
#define SIG_UPGRADE_KEY "dGhlIHNhbXBsZSBub25jZQ==" /* RFC 6455 §1.3 */
#define SIG_UPGRADE_SUM "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct sig_wss; /* (proto/sig.h has an enum sig_conn) */

struct sig_loop {
    int ep;
    SSL_CTX *tls;
    struct sockaddr_storage to;
    socklen_t to_len;
    char host[ADDR_TEXT_MAX];
    unsigned opened; /* connections made so far */
    unsigned rng;
    uint8_t buf[SIG_BUF_BYTES];
};

/* What a connection's user hears. */
struct sig_conn_ops {
    void (*open)(struct sig_wss *c);                    /* the upgrade is done */
    void (*text)(struct sig_wss *c, struct slice text); /* one message */
    void (*closed)(struct sig_wss *c);                  /* after sig_conn_close() only */
};

enum sig_conn_state { SIG_CONNECTING, SIG_HANDSHAKE, SIG_UPGRADE, SIG_OPEN, SIG_CLOSING };

struct sig_wss {
    struct sig_loop *loop;
    const struct sig_conn_ops *ops;
    void *user;
    SSL *ssl;
    uint8_t *in, *out; /* unread and unsent bytes; NULL when there are none */
    size_t in_len, out_len;
    uint32_t events; /* what epoll waits for */
    int fd;
    enum sig_conn_state state;
};

/* Prints why and ends the program with 1. */
static inline _Noreturn void sig_die(const char *what, struct slice detail)
{
    fprintf(stderr, "load: %s: %.*s\n", what, SLICE_FMT(detail));
    exit(1);
}

static inline _Noreturn void sig_die_errno(const char *what)
{
    sig_die(what, slice_str(strerror(errno)));
}

/* Connections that are started from now on go to addr ("127.0.0.1:8443"). */
static inline void sig_loop_aim(struct sig_loop *l, const char *addr)
{
    struct addr a;

    if (addr_parse(&a, slice_str(addr)) != 0 || a.port == 0)
        sig_die("not an address with a port", slice_str(addr));
    l->to_len = addr_to_sockaddr(&a, &l->to);
    snprintf(l->host, sizeof(l->host), "%s", addr);
}

/* A loop whose connections go to addr. */
static inline struct sig_loop *sig_loop_new(const char *addr)
{
    struct sig_loop *l = mem_zalloc(sizeof(*l));
    struct rlimit rl;

    if (!l)
        sig_die("out of memory", (struct slice){0});
    sig_loop_aim(l, addr);
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
    l->rng = 0x9E3779B9;
    l->ep = epoll_create1(EPOLL_CLOEXEC);
    l->tls = SSL_CTX_new(TLS_client_method());
    if (l->ep == -1 || !l->tls || !SSL_CTX_set_min_proto_version(l->tls, TLS1_3_VERSION) ||
        !SSL_CTX_set1_groups_list(l->tls, "X25519"))
        sig_die("cannot set up", slice_str("epoll or TLS"));
    SSL_CTX_set_session_cache_mode(l->tls, SSL_SESS_CACHE_OFF); /* each handshake is a full one */
    SSL_CTX_set_mode(l->tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return l;
}

static inline void sig_conn_watch(struct sig_wss *c, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};

    if (events == c->events)
        return;
    if (epoll_ctl(c->loop->ep, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &ev) != 0)
        sig_die_errno("epoll_ctl");
    c->events = events;
}

/* Starts to connect; open() follows. c is the caller's, zeroed or closed before. */
static inline void sig_conn_start(struct sig_wss *c, struct sig_loop *l,
                                  const struct sig_conn_ops *ops, void *user)
{
    int fd = socket(l->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};

    if (fd == -1)
        sig_die_errno("socket");
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + l->opened++ / SIG_PER_SOURCE % 200);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (l->to.ss_family == AF_INET && bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0)
        sig_die_errno("bind");
    if (connect(fd, (struct sockaddr *)&l->to, l->to_len) != 0 && errno != EINPROGRESS)
        sig_die_errno("connect");
    *c = (struct sig_wss){.loop = l, .ops = ops, .user = user, .fd = fd, .state = SIG_CONNECTING};
    c->ssl = SSL_new(l->tls);
    if (!c->ssl || !SSL_set_fd(c->ssl, fd))
        sig_die("out of memory", slice_str("SSL"));
    SSL_set_connect_state(c->ssl);
    sig_conn_watch(c, EPOLLOUT);
}

static inline void sig_conn_end(struct sig_wss *c)
{
    SSL_free(c->ssl);
    close(c->fd);
    mem_free(c->in);
    mem_free(c->out);
    c->ssl = NULL;
    c->in = c->out = NULL;
    c->in_len = c->out_len = 0;
    c->events = 0;
    c->fd = -1;
    c->ops->closed(c);
}

/* ---- output ---- */

/* Keeps what the socket does not take now. */
static inline void sig_conn_keep(struct sig_wss *c, struct slice rest)
{
    uint8_t *out = mem_realloc(c->out, c->out_len + rest.len);

    if (!out || c->out_len > SIG_BUF_BYTES)
        sig_die("the server reads too slowly", slice_str("output kept is over the limit"));
    memcpy(out + c->out_len, rest.p, rest.len);
    c->out = out;
    c->out_len += rest.len;
    sig_conn_watch(c, EPOLLIN | EPOLLOUT);
}

static inline void sig_conn_write(struct sig_wss *c, struct slice b)
{
    while (b.len > 0 && c->out_len == 0) {
        int n = SSL_write(c->ssl, b.p, (int)b.len);
        if (n <= 0) {
            if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_WRITE)
                sig_die("TLS write failed", slice_str("the server closed the connection"));
            break;
        }
        b = slice_sub(b, (size_t)n, b.len);
    }
    if (b.len > 0)
        sig_conn_keep(c, b);
}

static inline void sig_conn_flush(struct sig_wss *c)
{
    uint8_t *out = c->out;
    size_t len = c->out_len;

    c->out = NULL;
    c->out_len = 0;
    sig_conn_watch(c, EPOLLIN);
    sig_conn_write(c, slice_of(out, len));
    mem_free(out);
}

/* Sends one masked frame (RFC 6455 §5.3). */
static inline void sig_conn_frame(struct sig_wss *c, enum ws_opcode op, struct slice payload)
{
    uint8_t frame[SIG_FRAME_HEAD + SIG_MESSAGE_MAX], mask[4];
    struct wr w = wr_init(frame, sizeof(frame));

    c->loop->rng = c->loop->rng * 1664525 + 1013904223;
    memcpy(mask, &c->loop->rng, sizeof(mask));
    wr_u8(&w, (uint8_t)(0x80 | op));
    if (payload.len < 126) {
        wr_u8(&w, (uint8_t)(0x80 | payload.len));
    } else {
        wr_u8(&w, 0x80 | 126);
        wr_be16(&w, (uint16_t)payload.len);
    }
    wr_bytes(&w, slice_of(mask, sizeof(mask)));
    size_t at = w.len;
    wr_bytes(&w, payload);
    if (w.bad || payload.len > UINT16_MAX)
        sig_die("message too long", (struct slice){0});
    ws_mask(frame + at, payload.len, mask, 0);
    sig_conn_write(c, wr_done(&w));
}

/* Closes in order: Close frames both ways, then the socket; closed() follows. */
static inline void sig_conn_close(struct sig_wss *c)
{
    static const uint8_t code[] = {WS_CLOSE_NORMAL >> 8, WS_CLOSE_NORMAL & 0xFF};

    c->state = SIG_CLOSING;
    sig_conn_frame(c, WS_OP_CLOSE, slice_of(code, sizeof(code)));
}

/* ---- input ---- */

static inline void sig_conn_upgrade(struct sig_wss *c)
{
    char text[512];
    int n = snprintf(text, sizeof(text),
                     "GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: " SIG_UPGRADE_KEY "\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Protocol: " SIG_PROTOCOL "\r\n\r\n",
                     c->loop->host);

    c->state = SIG_UPGRADE;
    sig_conn_watch(c, EPOLLIN);
    sig_conn_write(c, slice_of(text, (size_t)n));
}

/* Consumes the answer to the upgrade. Returns bytes, 0 while it is not whole. */
static inline size_t sig_conn_upgraded(struct sig_wss *c, struct slice in)
{
    static const char end[] = "\r\n\r\n";
    const uint8_t *at = memmem(in.p, in.len, end, sizeof(end) - 1);

    if (!at)
        return 0;
    size_t len = (size_t)(at - in.p) + sizeof(end) - 1;
    if (!slice_starts(in, SLICE_LIT("HTTP/1.1 101 ")) ||
        !memmem(in.p, len, SIG_UPGRADE_SUM, sizeof(SIG_UPGRADE_SUM) - 1))
        sig_die("no upgrade", slice_sub(in, 0, len));
    c->state = SIG_OPEN;
    c->ops->open(c);
    return len;
}

static inline void sig_conn_event(struct sig_wss *c, uint8_t opcode, struct slice payload)
{
    if (opcode == WS_OP_PING)
        sig_conn_frame(c, WS_OP_PONG, payload);
    else if (opcode == WS_OP_TEXT && c->state == SIG_OPEN)
        c->ops->text(c, payload);
    else if (opcode == WS_OP_CLOSE && c->state != SIG_CLOSING)
        sig_die("the server closed", slice_sub(payload, 2, payload.len));
}

/* Consumes one whole server frame. Returns bytes, 0 while it is not whole. */
static inline size_t sig_conn_unframe(struct sig_wss *c, struct slice in)
{
    struct rd r = rd_init(in);
    uint8_t head = rd_u8(&r);
    uint64_t len = rd_u8(&r);

    if (len == 126)
        len = rd_be16(&r);
    else if (len == 127)
        len = rd_be64(&r);
    if (len > SIG_BUF_BYTES / 2)
        sig_die("a frame is too long", (struct slice){0});
    struct slice payload = rd_take(&r, (size_t)len);
    if (r.bad)
        return 0;
    if ((head & 0xF0) != 0x80)
        sig_die("a fragment or an extension", (struct slice){0});
    sig_conn_event(c, head & 0x0F, payload);
    return in.len - r.left;
}

static inline void sig_conn_consume(struct sig_wss *c, struct slice in)
{
    size_t used;

    do {
        used = c->state == SIG_UPGRADE ? sig_conn_upgraded(c, in) : sig_conn_unframe(c, in);
        in = slice_sub(in, used, in.len);
    } while (used > 0 && in.len > 0);
    mem_free(c->in);
    c->in = NULL;
    c->in_len = in.len;
    if (in.len == 0)
        return;
    c->in = mem_realloc(NULL, in.len);
    if (!c->in)
        sig_die("out of memory", (struct slice){0});
    memcpy(c->in, in.p, in.len);
}

/* Reads until nothing is left. */
static inline void sig_conn_read(struct sig_wss *c)
{
    struct sig_loop *l = c->loop;

    for (;;) {
        size_t kept = c->in_len;
        if (kept > 0)
            memcpy(l->buf, c->in, kept);
        int n = SSL_read(c->ssl, l->buf + kept, (int)(sizeof(l->buf) - kept));
        if (n > 0) {
            sig_conn_consume(c, slice_of(l->buf, kept + (size_t)n));
            continue;
        }
        if (SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ)
            return;
        if (c->state != SIG_CLOSING)
            sig_die("the connection broke", slice_str("end of file or TLS error"));
        sig_conn_end(c);
        return;
    }
}

static inline void sig_conn_handshake(struct sig_wss *c)
{
    int rc = SSL_do_handshake(c->ssl);

    if (rc == 1) {
        sig_conn_upgrade(c);
        return;
    }
    switch (SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        sig_conn_watch(c, EPOLLIN);
        return;
    case SSL_ERROR_WANT_WRITE:
        sig_conn_watch(c, EPOLLOUT);
        return;
    default:
        if (ERR_peek_error() == 0)
            sig_die_errno("cannot connect");
        sig_die("TLS handshake failed", slice_str(ERR_reason_error_string(ERR_peek_error())));
    }
}

static inline void sig_conn_ready(struct sig_wss *c, uint32_t what)
{
    ERR_clear_error();
    if (c->state == SIG_CONNECTING || c->state == SIG_HANDSHAKE) {
        c->state = SIG_HANDSHAKE;
        sig_conn_handshake(c);
        return;
    }
    if (what & EPOLLOUT && c->out_len > 0)
        sig_conn_flush(c);
    if (what & (EPOLLIN | EPOLLHUP | EPOLLERR))
        sig_conn_read(c);
}

/* Waits up to timeout_ms (-1: for ever) and serves what is ready. Gives how many events there were.
 */
static inline int sig_loop_turn(struct sig_loop *l, int timeout_ms)
{
    struct epoll_event ev[SIG_EVENTS];
    int n = epoll_wait(l->ep, ev, SIG_EVENTS, timeout_ms);

    if (n == -1 && errno != EINTR)
        sig_die_errno("epoll_wait");
    for (int i = 0; i < n; i++)
        if (ev[i].data.ptr)
            sig_conn_ready(ev[i].data.ptr, ev[i].events);
    return n;
}

/* Serves connections until *done; ends the program when nothing at all happens for a long time. */
static inline void sig_loop_until(struct sig_loop *l, const bool *done)
{
    uint64_t heard = clock_now_us();

    while (!*done) {
        if (sig_loop_turn(l, 1000) > 0)
            heard = clock_now_us();
        else if (clock_now_us() - heard > SIG_TIMEOUT_US)
            sig_die("nothing happens any more", slice_str("a message was lost"));
    }
}

/* Serves connections until a line comes on standard input. False: its end was reached. */
static inline bool sig_loop_command(struct sig_loop *l, char line[64])
{
    struct epoll_event ev = {.events = EPOLLIN};
    bool waiting = true;

    if (epoll_ctl(l->ep, EPOLL_CTL_ADD, STDIN_FILENO, &ev) != 0)
        sig_die_errno("standard input");
    while (waiting) {
        struct epoll_event evs[SIG_EVENTS];
        int n = epoll_wait(l->ep, evs, SIG_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (evs[i].data.ptr)
                sig_conn_ready(evs[i].data.ptr, evs[i].events);
            else
                waiting = false;
        }
    }
    epoll_ctl(l->ep, EPOLL_CTL_DEL, STDIN_FILENO, &ev);
    return fgets(line, 64, stdin) != NULL;
}

#endif
