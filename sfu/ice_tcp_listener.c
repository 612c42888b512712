/* ICE-TCP: a stream of frames per connection, each a STUN, DTLS or SRTP packet.
 *
 * Called by media_sock.c. A shell: ice_tcp_framing.c cuts, demux.c decides. A connection that
 * brings nothing of use within FIRST_US, or for IDLE_US later on, ends.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/ice_tcp_listener.h"

#include <errno.h>

#include "base/mem.h"
#include "base/source_limit.h"
#include "net/stream.h"
#include "sfu/ice_tcp_framing.h"

enum {
    QUEUE_BYTES = 256 * 1024,
    READ_BYTES = 16384,  /* per connection and turn */
    CONNECTS_BURST = 32, /* new connections of one address at once, */
    CONNECTS_PER_S = 8,  /* and then */
    SOURCES = 4096,      /* of them that are told apart */
};
#define FIRST_US (10 * US_PER_S)
#define IDLE_US  (60 * US_PER_S)

struct ice_tcp_listener {
    struct worker *w;
    struct stream_listener *sl;
    struct source_limit *connects;
    const struct media_sock_ops *ops;
    void *arg;
    uint16_t number;
    struct counter bad;
};

struct ice_tcp {
    struct ice_tcp_listener *l;
    struct stream *s;
    struct media_path path;
};

static bool on_admit(void *listener_arg, const struct addr *from, uint64_t now_us)
{
    struct ice_tcp_listener *l = listener_arg;

    if (source_limit_take(l->connects, from, now_us))
        return true;
    counter_inc(&l->bad);
    return false;
}

static void *on_open(void *listener_arg, struct stream *s)
{
    struct ice_tcp_listener *l = listener_arg;
    struct ice_tcp *c = mem_zalloc(sizeof(*c));

    if (!c)
        return NULL;
    *c = (struct ice_tcp){.l = l, .s = s};
    c->path = (struct media_path){.remote = stream_peer(s), .tcp = c, .sock = l->number};
    stream_deadline(s, worker_now(l->w) + FIRST_US);
    return c;
}

static size_t on_data(void *user, uint8_t *data, size_t len)
{
    struct ice_tcp *c = user;
    struct ice_tcp_listener *l = c->l;
    uint64_t now_us = worker_now(l->w);
    size_t at = 0;
    unsigned pkts = 0;
    bool useful = false;
    struct slice packet;
    int n;

    while ((n = ice_tcp_framing_next(&packet, slice_of(data + at, len - at))) > 0) {
        uint8_t *p = data + at + ICE_TCP_HEADER_BYTES;
        at += (size_t)n;
        pkts++;
        if (packet.len > 0)
            useful = l->ops->packet(l->arg, &c->path, p, packet.len, now_us) || useful;
    }
    if (pkts > 0) {
        worker_handled(l->w, pkts);
        l->ops->batch(l->arg, now_us);
    }
    if (useful)
        stream_deadline(c->s, now_us + IDLE_US);
    if (n != -EMSGSIZE)
        return at;
    counter_inc(&l->bad);
    stream_close(c->s, 0);
    return len;
}

static void on_end(void *user, enum stream_end why)
{
    struct ice_tcp *c = user;
    struct ice_tcp_listener *l = c->l;

    if (why == STREAM_END_TIMEOUT)
        counter_inc(&l->bad);
    l->ops->gone(l->arg, &c->path, worker_now(l->w));
    mem_free(c);
}

static const struct stream_ops ops = {on_open, on_data, on_end};

int ice_tcp_listener_new(struct ice_tcp_listener **out, struct worker *w, const struct addr *at,
                         uint16_t number, const struct media_sock_conf *conf)
{
    struct ice_tcp_listener *l = mem_zalloc(sizeof(*l));
    int err = ENOMEM;

    if (!l)
        return -ENOMEM;
    *l = (struct ice_tcp_listener){.w = w, .ops = conf->ops, .arg = conf->arg, .number = number};
    const struct stream_conf sc = {
        .ops = &ops,
        .arg = l,
        .max_pending = ICE_TCP_HEADER_BYTES + ICE_TCP_PACKET_MAX,
        .max_queue = conf->tcp_queue_bytes ? conf->tcp_queue_bytes : QUEUE_BYTES,
        .max_read = READ_BYTES,
        .handshake_us = FIRST_US,
        .max_streams = conf->tcp_streams,
        .admit = on_admit,
    };
    l->connects =
        source_limit_new(SOURCES, (struct bucket_rule){.milli_per_s = CONNECTS_PER_S * 1000,
                                                       .burst = CONNECTS_BURST});
    if (l->connects)
        l->sl = stream_listen(w, at, false, &sc, &err);
    if (!l->sl) {
        source_limit_free(l->connects);
        mem_free(l);
        return err > 0 ? -err : err;
    }
    *out = l;
    return 0;
}

void ice_tcp_listener_free(struct ice_tcp_listener *l)
{
    if (!l)
        return;
    stream_abort_all(l->sl);
    stream_listener_free(l->sl);
    source_limit_free(l->connects);
    mem_free(l);
}

unsigned ice_tcp_listener_count(const struct ice_tcp_listener *l)
{
    return stream_listener_count(l->sl);
}

uint64_t ice_tcp_listener_bad(const struct ice_tcp_listener *l)
{
    return counter_get(&l->bad);
}

bool ice_tcp_listener_send(struct ice_tcp *c, struct slice packet)
{
    uint8_t head[ICE_TCP_HEADER_BYTES];

    ice_tcp_framing_head(head, packet.len);
    return stream_write2(c->s, slice_of(head, sizeof(head)), packet) == 0;
}
