/* A worker's media sockets.
 *
 * Called by sfu_worker.c. A shell: packets go to its owner (demux.h), what transports send comes
 * back by egress.h and leaves at the end of the turn.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/media_sock.h"

#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/worker.h"
#include "sfu/ice_tcp_listener.h"

#define PORT_TRIES 16 /* for port 0: one that is free for UDP and TCP */

struct media_udp {
    struct udp_sock sock;
    struct media_sock *m;
    uint16_t number;
    bool open;
};

struct media_sock {
    struct worker *w;
    struct udp_io *io;
    const struct media_sock_ops *ops;
    void *arg;
    struct egress egress;
    struct wflush flush;
    size_t n;
    struct media_udp udp[MEDIA_SOCK_ADDRS_MAX];
    struct ice_tcp_listener *tcp[MEDIA_SOCK_ADDRS_MAX];
    struct addr at[MEDIA_SOCK_ADDRS_MAX];
};

/* --- In. */

static void on_recv(void *arg, const struct udp_msg *msg, unsigned n)
{
    struct media_udp *u = arg;
    struct media_sock *m = u->m;
    uint64_t now_us = worker_now(m->w);

    for (unsigned at = 0; at < n; at += MEDIA_SOCK_AHEAD) {
        struct media_path from[MEDIA_SOCK_AHEAD];
        unsigned k = n - at < MEDIA_SOCK_AHEAD ? n - at : MEDIA_SOCK_AHEAD;

        for (unsigned i = 0; i < k; i++)
            from[i] = (struct media_path){.remote = msg[at + i].from, .sock = u->number};
        m->ops->ahead(m->arg, from, k);
        for (unsigned i = 0; i < k; i++)
            (void)m->ops->packet(m->arg, &from[i], msg[at + i].p, msg[at + i].len, now_us);
    }
    m->ops->batch(m->arg, now_us);
}

static const struct udp_sock_ops udp_ops = {.recv = on_recv};

/* --- Out. */

static void out_udp(void *arg, uint16_t sock, const struct addr *to, struct slice dgram)
{
    struct media_sock *m = arg;

    udp_send(&m->udp[sock].sock, &(struct udp_out){.to = to, .body = dgram});
}

static bool out_tcp(void *arg, struct ice_tcp *tcp, struct slice packet)
{
    (void)arg;
    return ice_tcp_listener_send(tcp, packet);
}

static void out_push(void *arg)
{
    udp_push(((struct media_sock *)arg)->io);
}

static void out_wake(void *arg)
{
    struct media_sock *m = arg;
    worker_want_flush(m->w, &m->flush);
}

static const struct egress_ops out_ops = {out_udp, out_tcp, out_push, out_wake};

static void on_flush(void *arg, uint64_t now_us)
{
    (void)now_us;
    egress_flush(&((struct media_sock *)arg)->egress);
}

/* --- Opening. */

static int open_udp(struct media_sock *m, size_t i, const struct addr *at, unsigned buffer_bytes)
{
    struct media_udp *u = &m->udp[i];
    int fd = udp_open(at, false, buffer_bytes);

    if (fd < 0)
        return fd;
    (void)udp_set_gro(fd); /* without it, each datagram is a read of its own */
    *u = (struct media_udp){.m = m, .number = (uint16_t)i};
    int err = udp_watch(m->io, &u->sock, fd, true, &udp_ops, u);
    if (err) {
        close(fd);
        return err;
    }
    u->open = true;
    m->at[i] = udp_local(fd);
    return 0;
}

static void close_udp(struct media_sock *m, size_t i)
{
    if (!m->udp[i].open)
        return;
    udp_unwatch(&m->udp[i].sock);
    close(m->udp[i].sock.fd);
    m->udp[i].open = false;
}

static int open_both(struct media_sock *m, size_t i, const struct media_sock_conf *conf)
{
    const struct addr *at = &conf->listen[i];
    int err = -EADDRINUSE;

    for (unsigned tries = at->port == 0 ? PORT_TRIES : 1; err == -EADDRINUSE && tries > 0;
         tries--) {
        close_udp(m, i);
        err = open_udp(m, i, at, conf->buffer_bytes);
        if (!err && conf->tcp)
            err = ice_tcp_listener_new(&m->tcp[i], m->w, &m->at[i], (uint16_t)i, conf);
    }
    return err;
}

int media_sock_new(struct media_sock **out, struct worker *w, struct udp_io *io,
                   const struct media_sock_conf *conf, size_t *err_at)
{
    struct media_sock *m = mem_zalloc(sizeof(*m));

    *err_at = 0;
    if (!m)
        return -ENOMEM;
    m->w = w;
    m->io = io;
    m->ops = conf->ops;
    m->arg = conf->arg;
    m->flush = (struct wflush){.fn = on_flush, .arg = m};
    int err = conf->n_listen > MEDIA_SOCK_ADDRS_MAX
                  ? -EINVAL
                  : egress_init(&m->egress, conf->egress_bytes, &out_ops, m);
    for (size_t i = 0; !err && i < conf->n_listen; i++) {
        *err_at = i;
        m->n = i + 1;
        err = open_both(m, i, conf);
    }
    if (err) {
        media_sock_free(m);
        return err;
    }
    *out = m;
    return 0;
}

void media_sock_free(struct media_sock *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n; i++)
        ice_tcp_listener_free(m->tcp[i]);
    egress_flush(&m->egress);
    worker_cancel_flush(&m->flush);
    for (size_t i = 0; i < m->n; i++)
        close_udp(m, i);
    egress_fini(&m->egress);
    mem_free(m);
}

struct egress *media_sock_egress(struct media_sock *m)
{
    return &m->egress;
}

struct addr media_sock_addr(const struct media_sock *m, size_t i)
{
    return i < m->n ? m->at[i] : (struct addr){0};
}

unsigned media_sock_streams(const struct media_sock *m)
{
    unsigned n = 0;

    for (size_t i = 0; i < m->n; i++)
        n += m->tcp[i] ? ice_tcp_listener_count(m->tcp[i]) : 0;
    return n;
}
