/* From a datagram to its transport, and the transports' time.
 *
 * Called by the worker's core. Pure. Strangers cost one look into a table of paths (keyed hash);
 * their STUN one more into that of ufrags. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/demux.h"

#include "base/hash.h"
#include "base/mem.h"
#include "proto/dtls_hello.h"
#include "sfu/transport_priv.h"

enum {
    STUN_LAST = 3, /* RFC 7983 §7 */
    RTP_FIRST = 128,
    RTP_LAST = 191,
};

void demux_conf_defaults(struct demux_conf *c)
{
    struct transport_conf *t = &c->transport;

    t->connect_us = t->connect_us ? t->connect_us : TRANSPORT_CONNECT_US;
    t->quiet_us = t->quiet_us ? t->quiet_us : TRANSPORT_QUIET_US;
    t->lost_us = t->lost_us ? t->lost_us : TRANSPORT_LOST_US;
    if (c->refusals.burst == 0)
        c->refusals = (struct bucket_rule){.milli_per_s = 10 * 1000, .burst = 20};
    if (c->dtls.burst == 0)
        c->dtls = (struct bucket_rule){.milli_per_s = 50 * 1000, .burst = 100};
    if (c->handshakes.burst == 0)
        c->handshakes = (struct bucket_rule){.milli_per_s = 1000 * 1000, .burst = 1000};
    c->sources = c->sources ? c->sources : 4096;
    c->expect = c->expect ? c->expect : 256;
}

struct demux *demux_new(const struct demux_conf *conf, uint64_t now_us)
{
    struct demux *d = mem_zalloc(sizeof(*d));

    if (!d)
        return NULL;
    d->conf = *conf;
    d->now_us = now_us;
    demux_conf_defaults(&d->conf);
    d->dtls = dtls_srtp_ctx_new();
    d->sources = source_limit_new(d->conf.sources, d->conf.refusals);
    d->wheel = timerwheel_new(now_us);
    bool ok = d->dtls && d->sources && d->wheel && htable_init(&d->paths, d->conf.expect) == 0 &&
              htable_init(&d->ufrags, d->conf.expect) == 0;
    if (ok)
        return d;
    demux_free(d);
    return NULL;
}

void demux_free(struct demux *d)
{
    if (!d)
        return;
    dtls_srtp_ctx_free(d->dtls);
    source_limit_free(d->sources);
    timerwheel_free(d->wheel);
    htable_fini(&d->paths);
    htable_fini(&d->ufrags);
    mem_free(d);
}

struct transport *demux_add(struct demux *d, void *user, uint64_t now_us)
{
    d->now_us = now_us;
    struct transport *t = transport_new(d, user);

    if (!t)
        return NULL;
    d->count++;
    demux_rearm(t);
    return t;
}

void demux_del(struct demux *d, struct transport *t)
{
    if (!t)
        return;
    d->count--;
    transport_free(t);
}

/* --- Tables. */

void demux_ufrag_add(struct transport *t, struct transport_ufrag *u, const char *ufrag)
{
    u->t = t;
    htable_add(&t->d->ufrags, &u->node, hash_bytes(slice_of(ufrag, ICE_LITE_UFRAG_BYTES)));
}

void demux_ufrag_del(struct transport_ufrag *u, struct demux *d)
{
    if (u->t)
        htable_del(&d->ufrags, &u->node);
    u->t = NULL;
}

static struct transport *by_ufrag(const struct demux *d, struct slice ufrag)
{
    for (struct hnode *n = htable_first(&d->ufrags, hash_bytes(ufrag)); n; n = htable_next(n)) {
        const struct transport_ufrag *u = CONTAINER_OF(n, struct transport_ufrag, node);
        const struct ice_lite *ice = &u->t->ice;
        const char *text = u == &u->t->ufrag ? ice->cur.ufrag : ice->old.ufrag;
        if (slice_eq(ufrag, slice_of(text, ICE_LITE_UFRAG_BYTES)))
            return u->t;
    }
    return NULL;
}

static struct transport_path *find_path(const struct demux *d, const struct media_path *at,
                                        uint64_t hash)
{
    struct hnode *n = htable_first(&d->paths, hash);

    for (; n; n = htable_next(n)) {
        struct transport_path *p = CONTAINER_OF(n, struct transport_path, node);
        if (media_path_eq(&p->at, at))
            return p;
    }
    return NULL;
}

struct transport_path *demux_path(struct demux *d, const struct media_path *at)
{
    return find_path(d, at, media_path_hash(at));
}

void demux_prefetch(const struct demux *d, uint64_t hash, unsigned step)
{
    htable_prefetch(&d->paths, hash, step);
}

struct transport *demux_peek(const struct demux *d, const struct media_path *from, uint64_t hash)
{
    const struct transport_path *p = find_path(d, from, hash);

    return p ? p->t : NULL;
}

void demux_send(struct demux *d, const struct media_path *to, struct slice dgram)
{
    if (dgram.len == 0 || dgram.len > EGRESS_PACKET_MAX)
        return;
    uint8_t *out = egress_reserve(d->conf.egress);
    memcpy(out, dgram.p, dgram.len);
    egress_commit(d->conf.egress, to, dgram.len);
}

/* --- Packets. */

static enum transport_verdict drop(struct demux *d, enum transport_drop why)
{
    demux_drop(d, why);
    return TRANSPORT_DROP;
}

/* Answers a check of which nobody knows the username, if this source may have an answer. */
static enum transport_verdict refuse(struct demux *d, const struct stun_msg *m,
                                     const struct media_path *from, enum ice_lite_why why)
{
    uint8_t buf[ICE_LITE_ANSWER_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    if (!source_limit_take(d->sources, &from->remote, d->now_us))
        return drop(d, TRANSPORT_DROP_STUN_LIMIT);
    ice_lite_refuse(m, why, &w);
    demux_send(d, from, wr_done(&w));
    return drop(d, TRANSPORT_DROP_STUN_USERNAME);
}

static enum transport_verdict stun(struct demux *d, const struct media_path *from,
                                   struct slice dgram)
{
    struct stun_msg m;
    struct slice user;

    if (stun_decode(&m, dgram) != 0)
        return drop(d, TRANSPORT_DROP_STUN_BAD);
    if (stun_method_of(m.type) != STUN_BINDING || stun_class_of(m.type) != STUN_REQUEST) {
        bool keepalive = m.type == stun_type(STUN_BINDING, STUN_INDICATION);
        return keepalive && demux_path(d, from) ? TRANSPORT_HANDLED
                                                : drop(d, TRANSPORT_DROP_STUN_KIND);
    }
    if (!stun_find(&m, STUN_ATTR_USERNAME, &user))
        return refuse(d, &m, from, ICE_LITE_WHY_NO_USERNAME);
    struct transport *t = by_ufrag(d, ice_lite_local_ufrag(user));
    if (!t)
        return refuse(d, &m, from, ICE_LITE_WHY_USERNAME);
    return transport_stun(t, &m, from);
}

enum transport_verdict demux_recv(struct demux *d, const struct media_path *from, uint8_t *dgram,
                                  size_t len, uint64_t now_us, struct transport **t,
                                  struct transport_in *in)
{
    d->now_us = now_us;
    if (len == 0)
        return drop(d, TRANSPORT_DROP_EMPTY);
    if (dgram[0] <= STUN_LAST)
        return stun(d, from, slice_of(dgram, len));
    bool dtls = dtls_hello_is_dtls(dgram[0]);
    if (!dtls && (dgram[0] < RTP_FIRST || dgram[0] > RTP_LAST))
        return drop(d, TRANSPORT_DROP_FIRST_BYTE);
    struct transport_path *p = demux_path(d, from);
    if (!p)
        return drop(d, TRANSPORT_DROP_STRANGER);
    *t = p->t;
    return dtls ? transport_dtls(p, dgram, len) : transport_rtp(p, dgram, len, in);
}

void demux_gone(struct demux *d, const struct media_path *path, uint64_t now_us)
{
    struct transport_path *p = demux_path(d, path);

    d->now_us = now_us;
    if (p)
        transport_path_del(p);
}

/* --- Time. */

void demux_rearm(struct transport *t)
{
    timer_set(t->d->wheel, &t->timer, transport_deadline(t));
}

uint64_t demux_deadline(const struct demux *d)
{
    return timerwheel_next(d->wheel);
}

void demux_tick(struct demux *d, uint64_t now_us)
{
    struct timer *due;

    d->now_us = now_us;
    while ((due = timerwheel_pop(d->wheel, now_us))) {
        struct transport *t = CONTAINER_OF(due, struct transport, timer);
        transport_tick(t);
        demux_rearm(t);
    }
}

unsigned demux_count(const struct demux *d)
{
    return d->count;
}

const struct transport_stats *demux_stats(const struct demux *d)
{
    return &d->stats;
}
