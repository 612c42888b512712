/* What the TURN load generators share: allocations made by hand, and the server's CPU time.
 *
 * A header of static functions: each generator is one program of one file.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BENCH_TURN_CLIENT_H
#define SORI_BENCH_TURN_CLIENT_H

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/udp.h"
#include "proto/chandata.h"
#include "proto/stun_attr.h"

#define CHANNEL   0x4000
#define ANSWER_MS 1000
#define TRIES     5

/* One allocation with its own client socket and its own peer socket. */
struct flow {
    int client, peer;
    SSL *tls; /* of client, NULL without */
    struct addr relayed;
    struct sockaddr_storage relayed_ss;
    socklen_t relayed_len;
    struct slice realm, nonce;
    uint8_t keep[256]; /* what realm and nonce borrow from */
};

enum transport { OVER_UDP, OVER_TCP, OVER_TLS };

struct server {
    enum transport transport;
    struct addr at;
    struct sockaddr_storage ss;
    socklen_t ss_len;
    struct slice user, password;
    const char *pid;
};

static inline _Noreturn void die(const char *what)
{
    fprintf(stderr, "turn bench: %s\n", what);
    exit(1);
}

static inline void server_init(struct server *s, const char *at, const char *user,
                               const char *password, const char *pid)
{
    *s = (struct server){.transport = OVER_UDP};
    if (addr_parse(&s->at, slice_str(at)) != 0)
        die("the server's address is none");
    s->user = slice_str(user);
    s->password = slice_str(password);
    s->pid = pid;
    s->ss_len = addr_to_sockaddr(&s->at, &s->ss);
}

/* CPU time of all threads of the server, in ns. */
static inline uint64_t server_cpu_ns(const struct server *s)
{
    char path[320], line[64];
    uint64_t sum = 0;

    snprintf(path, sizeof(path), "/proc/%s/task", s->pid);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof(path), "/proc/%s/task/%s/schedstat", s->pid, e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (f && fgets(line, sizeof(line), f))
            sum += strtoull(line, NULL, 10);
        if (f)
            fclose(f);
    }
    if (d)
        closedir(d);
    return sum;
}

/* Anonymous memory of the server that is resident, in bytes. */
static inline uint64_t server_anon_bytes(const struct server *s)
{
    char path[64], line[128];
    uint64_t kb = 0;

    snprintf(path, sizeof(path), "/proc/%s/status", s->pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "RssAnon:", 8) == 0)
            kb = strtoull(line + 8, NULL, 10);
    }
    if (f)
        fclose(f);
    return kb * 1024;
}

/* Opens a client socket on 127.0.0.1 or a peer socket on 127.0.0.2. */
static inline int open_socket(uint8_t last_byte)
{
    struct addr at = {.ip = {127, 0, 0, last_byte}, .family = ADDR_V4};
    int fd = udp_open(&at, false, 0);

    if (fd < 0)
        die("cannot open a socket");
    return fd;
}

static inline void send_to_server(const struct server *s, const struct flow *f, const struct wr *w)
{
    if (s->transport == OVER_UDP)
        sendto(f->client, w->base, w->len, 0, (const struct sockaddr *)&s->ss, s->ss_len);
    else if (f->tls ? SSL_write(f->tls, w->base, (int)w->len) != (int)w->len
                    : send(f->client, w->base, w->len, MSG_NOSIGNAL) != (ssize_t)w->len)
        die("a connection takes no more: it is broken or full");
}

/* Waits for an answer and decodes it into m, over buf. */
static inline bool receive(const struct flow *f, struct stun_msg *m, uint8_t *buf, size_t cap)
{
    struct pollfd p = {.fd = f->client, .events = POLLIN};

    if (poll(&p, 1, ANSWER_MS) != 1)
        return false;
    ssize_t n = f->tls ? SSL_read(f->tls, buf, (int)cap) : recv(f->client, buf, cap, 0);
    return n > 0 && stun_decode(m, slice_of(buf, (size_t)n)) == 0;
}

static inline void begin(struct wr *w, enum stun_method method)
{
    uint8_t tid[STUN_TID_BYTES];

    rand_bytes(tid, sizeof(tid));
    stun_begin(w, stun_type(method, STUN_REQUEST), tid);
}

static inline void sign(const struct server *s, const struct flow *f, struct wr *w)
{
    uint8_t key[STUN_KEY_BYTES];

    stun_long_term_key(key, s->user, f->realm, s->password);
    stun_put(w, STUN_ATTR_USERNAME, s->user);
    stun_put(w, STUN_ATTR_REALM, f->realm);
    stun_put(w, STUN_ATTR_NONCE, f->nonce);
    stun_put_sha1(w, slice_of(key, sizeof(key)));
}

/* An Allocate, without credentials as long as the flow has no nonce. */
static inline void put_allocate(const struct server *s, const struct flow *f, struct wr *w)
{
    begin(w, STUN_ALLOCATE);
    stun_put_u32(w, STUN_ATTR_REQUESTED_TRANSPORT, (uint32_t)STUN_TRANSPORT_UDP << 24);
    if (f->nonce.len > 0)
        sign(s, f, w);
}

static inline void put_bind(const struct server *s, const struct flow *f, const struct addr *peer,
                            struct wr *w)
{
    begin(w, STUN_CHANNEL_BIND);
    stun_put_u32(w, STUN_ATTR_CHANNEL_NUMBER, (uint32_t)CHANNEL << 16);
    stun_put_xaddr(w, STUN_ATTR_XOR_PEER_ADDRESS, peer, w->base + 8);
    if (f->nonce.len > 0)
        sign(s, f, w);
}

/* Keeps realm and nonce of a 401. */
static inline void keep_challenge(struct flow *f, const struct stun_msg *m)
{
    struct wr w = wr_init(f->keep, sizeof(f->keep));
    struct slice realm, nonce;

    if (!stun_find(m, STUN_ATTR_REALM, &realm) || !stun_find(m, STUN_ATTR_NONCE, &nonce))
        die("no challenge from the server");
    wr_bytes(&w, realm);
    wr_bytes(&w, nonce);
    if (w.bad)
        die("the challenge is too long");
    f->realm = slice_of(f->keep, realm.len);
    f->nonce = slice_of(&f->keep[realm.len], nonce.len);
}

static inline void keep_relayed(struct flow *f, const struct stun_msg *m)
{
    struct slice v;

    if (stun_class_of(m->type) != STUN_SUCCESS ||
        !stun_find(m, STUN_ATTR_XOR_RELAYED_ADDRESS, &v) ||
        stun_xaddr_decode(&f->relayed, v, m->tid) != 0)
        die("the server refused an allocation");
    f->relayed_len = addr_to_sockaddr(&f->relayed, &f->relayed_ss);
}

/* Sends a request until it is answered. */
static inline void transact(const struct server *s, const struct flow *f, const struct wr *w,
                            struct stun_msg *m, uint8_t *buf, size_t cap)
{
    for (unsigned i = 0; i < TRIES; i++) {
        send_to_server(s, f, w);
        if (receive(f, m, buf, cap))
            return;
    }
    die("no answer from the server");
}

/* A TCP connection to the server with whatever runs over it, blocking. */
static inline void connect_stream(const struct server *s, struct flow *f)
{
    static SSL_CTX *ctx;

    f->client = socket(s->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f->client == -1 || connect(f->client, (const struct sockaddr *)&s->ss, s->ss_len) == -1)
        die("cannot connect");
    if (s->transport != OVER_TLS)
        return;
    if (!ctx)
        ctx = SSL_CTX_new(TLS_client_method());
    f->tls = ctx ? SSL_new(ctx) : NULL;
    if (!f->tls || SSL_set_fd(f->tls, f->client) != 1 || SSL_connect(f->tls) != 1)
        die("no TLS with the server");
}

/* Makes the flow's sockets, its allocation and its channel. A server that asks for no credentials
 * (turn_bare) gets none. */
static inline void open_flow(const struct server *s, struct flow *f)
{
    uint8_t out[1024], in[1024];
    struct wr w = wr_init(out, sizeof(out));
    struct stun_msg m;

    if (s->transport == OVER_UDP)
        f->client = open_socket(1);
    else
        connect_stream(s, f);
    f->peer = open_socket(2);
    struct addr peer = udp_local(f->peer);
    put_allocate(s, f, &w);
    transact(s, f, &w, &m, in, sizeof(in));
    if (stun_class_of(m.type) == STUN_ERROR) {
        keep_challenge(f, &m);
        w = wr_init(out, sizeof(out));
        put_allocate(s, f, &w);
        transact(s, f, &w, &m, in, sizeof(in));
    }
    keep_relayed(f, &m);
    w = wr_init(out, sizeof(out));
    put_bind(s, f, &peer, &w);
    transact(s, f, &w, &m, in, sizeof(in));
    if (stun_class_of(m.type) != STUN_SUCCESS)
        die("the server refused a channel");
    fcntl(f->client, F_SETFL, O_NONBLOCK);
}

#endif
