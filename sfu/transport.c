/* One client's transport: ICE answers, DTLS, SRTP, and the state that follows from them.
 *
 * Called by demux.c (packets, time), by the room's code (descriptions, packets to send). Pure: what
 * is sent goes to egress.h. Paths and their selection are transport_path.c.
 *
 *   NEW → CHECKING            transport_stun(), the first authentic check
 *   CHECKING → CONNECTED      keyed(): the handshake gave keys
 *   CONNECTED ↔ DISCONNECTED  transport_tick(), transport_heard()
 *   … → FAILED                transport_tick(), settle_dtls()
 *   … → CLOSED                transport_close(), settle_dtls(): the peer's close_notify
 * SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "base/mem.h"
#include "proto/dtls_hello.h"
#include "sfu/transport_priv.h"

enum {
    RTCP_FIRST = 192, /* RFC 5761 §4: packet types 192..223 in the second byte are RTCP */
    RTCP_LAST = 223,
};

const char *transport_drop_name(enum transport_drop d)
{
    static const char *const names[TRANSPORT_DROP_COUNT] = {
        [TRANSPORT_DROP_EMPTY] = "empty",
        [TRANSPORT_DROP_FIRST_BYTE] = "first_byte",
        [TRANSPORT_DROP_STRANGER] = "stranger",
        [TRANSPORT_DROP_STUN_BAD] = "stun_bad",
        [TRANSPORT_DROP_STUN_KIND] = "stun_kind",
        [TRANSPORT_DROP_STUN_USERNAME] = "stun_username",
        [TRANSPORT_DROP_STUN_INTEGRITY] = "stun_integrity",
        [TRANSPORT_DROP_STUN_REFUSED] = "stun_refused",
        [TRANSPORT_DROP_STUN_LIMIT] = "stun_limit",
        [TRANSPORT_DROP_PATH_TAKEN] = "path_taken",
        [TRANSPORT_DROP_DTLS_LIMIT] = "dtls_limit",
        [TRANSPORT_DROP_DTLS_EARLY] = "dtls_early",
        [TRANSPORT_DROP_DTLS_STATE] = "dtls_state",
        [TRANSPORT_DROP_RTP_BAD] = "rtp_bad",
        [TRANSPORT_DROP_RTP_EARLY] = "rtp_early",
        [TRANSPORT_DROP_RTP_FORGED] = "rtp_forged",
        [TRANSPORT_DROP_RTP_REPLAYED] = "rtp_replayed",
        [TRANSPORT_DROP_RTP_SSRCS] = "rtp_ssrcs",
        [TRANSPORT_DROP_RTCP_BAD] = "rtcp_bad",
        [TRANSPORT_DROP_RTCP_FORGED] = "rtcp_forged",
        [TRANSPORT_DROP_RTCP_REPLAYED] = "rtcp_replayed",
        [TRANSPORT_DROP_SEND_STATE] = "send_state",
        [TRANSPORT_DROP_SEND_SIZE] = "send_size",
    };
    return names[d];
}

static bool is_over(const struct transport *t)
{
    return t->state == TRANSPORT_FAILED || t->state == TRANSPORT_CLOSED;
}

static void early_free(struct transport *t)
{
    mem_free(t->early);
    t->early = NULL;
}

/* Ends the association: keys, records and what waits. */
static void dtls_drop(struct transport *t)
{
    dtls_srtp_free(t->dtls);
    t->dtls = NULL;
    srtp_sess_free(t->in);
    srtp_sess_free(t->out);
    t->in = t->out = NULL;
    t->profile = SRTP_SESS_NONE;
}

/* Nothing finds the transport any more. */
static void detach(struct transport *t)
{
    demux_ufrag_del(&t->ufrag, t->d);
    demux_ufrag_del(&t->old_ufrag, t->d);
    for (unsigned i = 0; i < TRANSPORT_PATHS_MAX; i++) {
        if (t->path[i].t)
            htable_del(&t->d->paths, &t->path[i].node);
        t->path[i].t = NULL;
    }
    t->selected = NULL;
    t->from = NULL;
    early_free(t);
    dtls_drop(t);
}

static void set_state(struct transport *t, enum transport_state s)
{
    if (t->state == s || is_over(t))
        return;
    t->state = s;
    if (is_over(t))
        detach(t);
    t->d->conf.ops->state(t->user, t, s);
}

static void fail(struct transport *t, enum transport_why why)
{
    t->why = is_over(t) ? t->why : why;
    set_state(t, TRANSPORT_FAILED);
}

struct transport *transport_new(struct demux *d, void *user)
{
    struct transport *t = mem_zalloc(sizeof(*t));

    if (!t)
        return NULL;
    t->d = d;
    t->user = user;
    t->since_us = d->now_us;
    ice_lite_init(&t->ice);
    demux_ufrag_add(t, &t->ufrag, t->ice.cur.ufrag);
    return t;
}

void transport_free(struct transport *t)
{
    detach(t);
    timer_cancel(t->d->wheel, &t->timer);
    crypto_wipe(&t->ice, sizeof(t->ice));
    mem_free(t);
}

/* --- Being heard. ----------------------------------------------------------------------------- */

void transport_heard(struct transport_path *p)
{
    struct transport *t = p->t;

    p->heard_us = t->heard_us = t->d->now_us;
    if (t->state == TRANSPORT_DISCONNECTED && t->selected) {
        set_state(t, TRANSPORT_CONNECTED);
        demux_rearm(t);
    }
}

/* --- DTLS. ------------------------------------------------------------------------------------ */

static void dtls_send(void *arg, struct slice dgram)
{
    struct transport *t = arg;

    if (t->selected)
        demux_send(t->d, &t->selected->at, dgram);
}

static struct srtp_sess *session(struct transport *t, const struct dtls_srtp_keys *k, bool outbound)
{
    const uint8_t *key = outbound ? k->local_key : k->remote_key;
    const uint8_t *salt = outbound ? k->local_salt : k->remote_salt;

    return srtp_sess_new((enum srtp_sess_profile)k->profile, slice_of(key, k->key_len),
                         slice_of(salt, k->salt_len), t->d->conf.transport.srtp, outbound);
}

/* The handshake is over: makes the SRTP sessions. Without a profile in common there is only data.
 */
static void keyed(struct transport *t)
{
    struct dtls_srtp_keys k;
    bool ok = dtls_srtp_keys(t->dtls, &k) == 0;

    if (ok && k.profile != 0) {
        t->in = session(t, &k, false);
        t->out = session(t, &k, true);
        ok = t->in && t->out;
    }
    t->profile = ok ? (enum srtp_sess_profile)k.profile : SRTP_SESS_NONE;
    crypto_wipe(&k, sizeof(k));
    if (!ok) {
        fail(t, TRANSPORT_WHY_MEMORY);
        return;
    }
    counter_inc(&t->d->stats.handshakes);
    t->heard_us = t->d->now_us;
    if (t->was_keyed && t->d->conf.ops->rekeyed)
        t->d->conf.ops->rekeyed(t->user, t);
    t->was_keyed = true;
    set_state(t, TRANSPORT_CONNECTED);
}

static bool has_keys(const struct transport *t)
{
    return t->state == TRANSPORT_CONNECTED || t->state == TRANSPORT_DISCONNECTED;
}

/* Draws the conclusions from what the association has become. */
static void settle_dtls(struct transport *t)
{
    if (!t->dtls)
        return;
    switch (dtls_srtp_state(t->dtls)) {
    case DTLS_SRTP_HANDSHAKE:
        break;
    case DTLS_SRTP_OPEN:
        if (!has_keys(t))
            keyed(t);
        break;
    case DTLS_SRTP_CLOSED:
        set_state(t, TRANSPORT_CLOSED);
        break;
    case DTLS_SRTP_FAILED:
        counter_inc(&t->d->stats.handshake_failures);
        fail(t, dtls_srtp_why(t->dtls) == DTLS_SRTP_WHY_FINGERPRINT ? TRANSPORT_WHY_FINGERPRINT
                : dtls_srtp_why(t->dtls) == DTLS_SRTP_WHY_TIMEOUT   ? TRANSPORT_WHY_NO_DTLS
                                                                    : TRANSPORT_WHY_DTLS);
        break;
    }
}

/* True when an association is there, or could be begun now. */
static bool dtls_begin(struct transport *t)
{
    struct demux *d = t->d;

    if (t->dtls)
        return true;
    if (t->n_remote == 0 || !t->selected || is_over(t) ||
        !bucket_take(&d->hellos, &d->conf.handshakes, 1, d->now_us))
        return false;
    const struct dtls_srtp_conf conf = {
        .client = t->dtls_client,
        .data = t->data,
        .remote = t->remote,
        .n_remote = t->n_remote,
        .send = dtls_send,
        .arg = t,
    };
    t->dtls = dtls_srtp_new(d->dtls, &conf, d->now_us);
    if (!t->dtls)
        fail(t, TRANSPORT_WHY_MEMORY);
    return t->dtls != NULL;
}

/* Keeps a datagram until it can be answered. */
static bool early_keep(struct transport *t, const uint8_t *dgram, size_t len)
{
    struct transport_early *e = t->early;

    if (!e)
        e = t->early = mem_zalloc(sizeof(*e));
    if (!e || e->n == TRANSPORT_EARLY_DGRAMS || len > TRANSPORT_EARLY_BYTES - e->used)
        return false;
    memcpy(e->bytes + e->used, dgram, len);
    e->len[e->n++] = (uint16_t)len;
    e->used += len;
    return true;
}

/* Goes on with what had to wait, if it need not any more: a kept ClientHello, or ours. */
static void dtls_proceed(struct transport *t)
{
    if (is_over(t) || has_keys(t) || (!t->early && (!t->dtls_client || t->dtls)) || !dtls_begin(t))
        return;
    struct transport_early *e = t->early;
    size_t at = 0;
    t->early = NULL;
    settle_dtls(t);
    for (unsigned i = 0; e && i < e->n && t->dtls; i++) {
        dtls_srtp_recv(t->dtls, e->bytes + at, e->len[i], t->d->now_us);
        at += e->len[i];
        settle_dtls(t);
    }
    mem_free(e);
}

enum transport_verdict transport_dtls(struct transport_path *p, uint8_t *dgram, size_t len)
{
    struct transport *t = p->t;
    struct demux *d = t->d;

    if (!dtls_hello_is_data(dgram[0]) &&
        !bucket_take(&t->dtls_bucket, &d->conf.dtls, 1, d->now_us)) {
        demux_drop(d, TRANSPORT_DROP_DTLS_LIMIT);
        return TRANSPORT_DROP;
    }
    if (!t->dtls && !dtls_hello_is(slice_of(dgram, len))) { /* nothing begins like this */
        demux_drop(d, TRANSPORT_DROP_DTLS_STATE);
        return TRANSPORT_DROP;
    }
    if (t->early || !dtls_begin(t)) {
        if (is_over(t) || !early_keep(t, dgram, len)) {
            demux_drop(d, TRANSPORT_DROP_DTLS_EARLY);
            return TRANSPORT_DROP;
        }
        dtls_proceed(t);
        demux_rearm(t);
        return TRANSPORT_HANDLED;
    }
    dtls_srtp_recv(t->dtls, dgram, len, d->now_us);
    settle_dtls(t);
    demux_rearm(t);
    if (!t->data || !has_keys(t))
        return TRANSPORT_HANDLED;
    d->dgram = dgram;
    d->dgram_len = len;
    t->from = p;
    return TRANSPORT_DATA;
}

struct slice transport_read_data(struct transport *t)
{
    struct demux *d = t->d;
    size_t n = t->dtls ? dtls_srtp_read(t->dtls, d->dgram, d->dgram_len) : 0;

    if (n == 0) {
        settle_dtls(t); /* it may have said goodbye */
        return (struct slice){0};
    }
    counter_inc(&d->stats.data_in_pkts);
    if (t->from)
        transport_heard(t->from);
    return slice_of(d->dgram, n);
}

/* --- ICE. ------------------------------------------------------------------------------------- */

void transport_selected(struct transport *t, bool moved)
{
    struct demux *d = t->d;

    if (moved)
        counter_inc(&d->stats.moves);
    if (!t->selected) {
        if (t->state == TRANSPORT_CONNECTED)
            set_state(t, TRANSPORT_DISCONNECTED);
        demux_rearm(t);
        return;
    }
    if (d->conf.ops->path)
        d->conf.ops->path(t->user, t, &t->selected->at);
    dtls_proceed(t); /* as client we may begin now */
    demux_rearm(t);
}

static void on_check(struct transport *t, struct transport_path *p, const struct ice_lite_in *in)
{
    counter_inc(&t->d->stats.checks);
    if (t->state == TRANSPORT_NEW)
        set_state(t, TRANSPORT_CHECKING);
    transport_path_checked(p, in);
    transport_heard(p);
    if (in->is_new && in->use_candidate && t->ice.has_old) {
        demux_ufrag_del(&t->old_ufrag, t->d);
        ice_lite_settle(&t->ice);
    }
}

enum transport_verdict transport_stun(struct transport *t, const struct stun_msg *m,
                                      const struct media_path *from)
{
    struct demux *d = t->d;
    uint8_t buf[ICE_LITE_ANSWER_MAX];
    struct ice_lite_in in;
    struct transport_path *p = NULL;
    struct wr w = wr_init(buf, sizeof(buf));
    enum ice_lite_verdict v = ice_lite_recv(&t->ice, m, &from->remote, &in, &w);

    switch (v) {
    case ICE_LITE_DROP:
    case ICE_LITE_INDICATION: /* demux.c has taken care of these */
        demux_drop(d, TRANSPORT_DROP_STUN_KIND);
        return TRANSPORT_DROP;
    case ICE_LITE_REFUSE:
        demux_drop(d, TRANSPORT_DROP_STUN_INTEGRITY);
        if (source_limit_take(d->sources, &from->remote, d->now_us))
            break;
        demux_drop(d, TRANSPORT_DROP_STUN_LIMIT);
        return TRANSPORT_DROP;
    case ICE_LITE_CONFLICT:
        demux_drop(d, TRANSPORT_DROP_STUN_REFUSED);
        break;
    case ICE_LITE_CHECK:
        p = transport_path_verify(t, from);
        if (p)
            break;
        demux_drop(d, TRANSPORT_DROP_PATH_TAKEN);
        return TRANSPORT_DROP;
    }
    demux_send(d, from, wr_done(&w));
    if (!p)
        return TRANSPORT_DROP;
    on_check(t, p, &in);
    return TRANSPORT_HANDLED;
}

/* --- RTP and RTCP. ---------------------------------------------------------------------------- */

/* Reads the header (RFC 3550 §5.1) of a packet whose first byte told version 2. */
static bool rtp_head(struct transport_in *in, struct slice packet)
{
    struct rd r = rd_init(packet);
    uint8_t first = rd_u8(&r), second = rd_u8(&r);

    *in = (struct transport_in){.packet = packet, .pt = second & 0x7f, .marker = second >> 7};
    in->seq = rd_be16(&r);
    in->ts = rd_be32(&r);
    in->ssrc = rd_be32(&r);
    rd_take(&r, 4u * (first & 0x0f));
    if (first & 0x10) {
        rd_be16(&r);
        rd_take(&r, 4u * rd_be16(&r));
    }
    in->header_len = packet.len - r.left;
    return !r.bad;
}

static enum transport_verdict rtcp(struct transport_path *p, uint8_t *dgram, size_t len,
                                   struct transport_in *in)
{
    struct transport *t = p->t;
    size_t n;
    int err = srtp_sess_unprotect_rtcp(t->in, slice_of(dgram, len), dgram, &n);

    if (err) {
        demux_drop(t->d, err == -EBADMSG    ? TRANSPORT_DROP_RTCP_BAD
                         : err == -EALREADY ? TRANSPORT_DROP_RTCP_REPLAYED
                         : err == -ENOSPC   ? TRANSPORT_DROP_RTP_SSRCS
                                            : TRANSPORT_DROP_RTCP_FORGED);
        return TRANSPORT_DROP;
    }
    counter_inc(&t->d->stats.rtcp_in_pkts);
    if (p != t->selected)
        transport_path_media(p);
    transport_heard(p);
    *in = (struct transport_in){.plain = slice_of(dgram, n)};
    return TRANSPORT_RTCP;
}

enum transport_verdict transport_rtp(struct transport_path *p, uint8_t *dgram, size_t len,
                                     struct transport_in *in)
{
    struct transport *t = p->t;

    if (!t->in) {
        demux_drop(t->d, TRANSPORT_DROP_RTP_EARLY);
        return TRANSPORT_DROP;
    }
    if (len > 1 && dgram[1] >= RTCP_FIRST && dgram[1] <= RTCP_LAST)
        return rtcp(p, dgram, len, in);
    if (!rtp_head(in, slice_of(dgram, len))) {
        demux_drop(t->d, TRANSPORT_DROP_RTP_BAD);
        return TRANSPORT_DROP;
    }
    t->from = p;
    return TRANSPORT_RTP;
}

int transport_open_rtp(struct transport *t, const struct transport_in *in, uint8_t *out,
                       size_t *len, uint64_t *index)
{
    struct transport_stats *stats = &t->d->stats;
    int err =
        t->in ? srtp_sess_unprotect(t->in, in->packet, in->header_len, in->ssrc, out, len, index)
              : -EACCES;

    if (err) {
        demux_drop(t->d, err == -EBADMSG    ? TRANSPORT_DROP_RTP_BAD
                         : err == -EALREADY ? TRANSPORT_DROP_RTP_REPLAYED
                         : err == -ENOSPC   ? TRANSPORT_DROP_RTP_SSRCS
                                            : TRANSPORT_DROP_RTP_FORGED);
        return err;
    }
    counter_inc(&stats->rtp_in_pkts);
    counter_add(&stats->rtp_in_bytes, in->packet.len);
    if (t->from) {
        if (t->from != t->selected)
            transport_path_media(t->from);
        transport_heard(t->from);
    }
    return 0;
}

/* Counts what can't be sent; true when it can. */
static bool may_send(struct transport *t, size_t len)
{
    if (t->state != TRANSPORT_CONNECTED || !t->selected) {
        demux_drop(t->d, TRANSPORT_DROP_SEND_STATE);
        return false;
    }
    if (len > TRANSPORT_SEND_MAX) {
        demux_drop(t->d, TRANSPORT_DROP_SEND_SIZE);
        return false;
    }
    return true;
}

void transport_send_rtp(struct transport *t, uint64_t index, struct slice head, struct slice a,
                        struct slice b)
{
    struct transport_stats *stats = &t->d->stats;
    struct egress *e = t->d->conf.egress;

    if (!may_send(t, head.len + a.len + b.len))
        return;
    size_t n = t->out ? srtp_sess_protect(t->out, index, head, a, b, egress_reserve(e)) : 0;
    if (n == 0) {
        demux_drop(t->d, TRANSPORT_DROP_SEND_STATE);
        return;
    }
    egress_commit(e, &t->selected->at, n);
    counter_inc(&stats->rtp_out_pkts);
    counter_add(&stats->rtp_out_bytes, n);
}

void transport_prefetch(const struct transport *t, enum transport_way way, unsigned step)
{
    const struct srtp_sess *s;

    if (step == 0) {
        __builtin_prefetch(t);
        bytes_prefetch(&t->selected, sizeof(t->selected) + sizeof(t->from));
        bytes_prefetch(&t->in, sizeof(*t) - offsetof(struct transport, in));
        return;
    }
    s = way == TRANSPORT_IN ? t->in : t->out;
    if (s)
        srtp_sess_prefetch(s, step - 1);
    if (step == 1 && way == TRANSPORT_OUT && t->selected)
        bytes_prefetch(t->selected, sizeof(*t->selected));
}

void transport_send_rtcp(struct transport *t, struct slice compound)
{
    struct egress *e = t->d->conf.egress;

    if (!may_send(t, compound.len))
        return;
    size_t n = t->out ? srtp_sess_protect_rtcp(t->out, compound, egress_reserve(e)) : 0;
    if (n == 0) {
        demux_drop(t->d, TRANSPORT_DROP_SEND_STATE);
        return;
    }
    egress_commit(e, &t->selected->at, n);
    counter_inc(&t->d->stats.rtcp_out_pkts);
}

void transport_send_data(struct transport *t, struct slice sctp_packet)
{
    if (!may_send(t, sctp_packet.len))
        return;
    int err = dtls_srtp_write(t->dtls, sctp_packet);
    if (err)
        demux_drop(t->d, err == -EMSGSIZE ? TRANSPORT_DROP_SEND_SIZE : TRANSPORT_DROP_SEND_STATE);
    else
        counter_inc(&t->d->stats.data_out_pkts);
}

/* --- Descriptions, time, end. ----------------------------------------------------------------- */

static bool same_remote(const struct transport *t, const struct transport_remote *r)
{
    if (t->n_remote != r->n_fingerprints || t->dtls_client != r->dtls_client)
        return false;
    for (size_t i = 0; i < t->n_remote; i++) {
        const struct dtls_fingerprint *a = &t->remote[i], *b = &r->fingerprint[i];
        if (a->md != b->md || !slice_eq(slice_of(a->digest, a->len), slice_of(b->digest, b->len)))
            return false;
    }
    return true;
}

/* Another association is needed: the keys of before are no use. */
static void begin_anew(struct transport *t)
{
    bool had_keys = has_keys(t);

    dtls_drop(t);
    early_free(t);
    if (had_keys)
        set_state(t, TRANSPORT_CHECKING);
}

int transport_set_remote(struct transport *t, const struct transport_remote *r, uint64_t now_us)
{
    if (r->n_fingerprints == 0 || r->n_fingerprints > DTLS_SRTP_FINGERPRINTS_MAX)
        return -EINVAL;
    if (is_over(t))
        return 0;
    t->d->now_us = now_us;
    bool changed = !same_remote(t, r);
    if (changed && t->dtls)
        begin_anew(t);
    if (changed) {
        for (size_t i = 0; i < r->n_fingerprints; i++)
            t->remote[i] = r->fingerprint[i];
        t->n_remote = r->n_fingerprints;
        t->dtls_client = r->dtls_client;
        t->since_us = now_us;
    }
    t->data = t->data || r->data; /* once begun it goes on */
    if (t->dtls && t->data && !dtls_srtp_want_data(t->dtls))
        begin_anew(t);
    dtls_proceed(t);
    demux_rearm(t);
    return t->why == TRANSPORT_WHY_MEMORY ? -ENOMEM : 0;
}

bool transport_can_data(const struct transport *t)
{
    return !t->dtls || dtls_srtp_can_data(t->dtls);
}

void transport_restart(struct transport *t, uint64_t now_us)
{
    if (is_over(t))
        return;
    t->d->now_us = now_us;
    demux_ufrag_del(&t->old_ufrag, t->d);
    ice_lite_restart(&t->ice);
    t->anew = false;
    demux_ufrag_del(&t->ufrag, t->d);
    demux_ufrag_add(t, &t->old_ufrag, t->ice.old.ufrag);
    demux_ufrag_add(t, &t->ufrag, t->ice.cur.ufrag);
    t->nominated_us = 0;
    t->has_nomination = false;
    t->since_us = now_us;
    demux_rearm(t);
}

void transport_close(struct transport *t, uint64_t now_us)
{
    t->d->now_us = now_us;
    if (t->dtls)
        dtls_srtp_close(t->dtls);
    set_state(t, TRANSPORT_CLOSED);
    demux_rearm(t);
}

/* When the state will change if nothing happens. */
static uint64_t state_deadline(const struct transport *t)
{
    const struct transport_conf *c = &t->d->conf.transport;
    uint64_t connect = t->since_us + c->connect_us;

    switch (t->state) {
    case TRANSPORT_NEW: /* an offer of ours that nobody has answered yet: the client is not late */
        return t->n_remote ? connect : CLOCK_NEVER;
    case TRANSPORT_CHECKING:
        return connect;
    case TRANSPORT_CONNECTED:
        return t->heard_us + c->quiet_us;
    case TRANSPORT_DISCONNECTED:
        return t->heard_us + c->lost_us > connect ? t->heard_us + c->lost_us : connect;
    default:
        return CLOCK_NEVER;
    }
}

uint64_t transport_deadline(const struct transport *t)
{
    const struct demux *d = t->d;
    uint64_t now_us = d->now_us;
    uint64_t at = state_deadline(t);
    uint64_t dtls = t->dtls ? dtls_srtp_deadline(t->dtls) : CLOCK_NEVER;

    if (t->n_remote > 0 && t->selected && !t->dtls && (t->early || t->dtls_client))
        dtls = now_us + bucket_wait_ms(&d->hellos, &d->conf.handshakes, 1, now_us) * US_PER_MS;
    return dtls < at ? dtls : at;
}

void transport_tick(struct transport *t)
{
    uint64_t now_us = t->d->now_us;

    if (t->dtls) {
        dtls_srtp_tick(t->dtls, now_us);
        settle_dtls(t);
    }
    dtls_proceed(t);
    if (now_us < state_deadline(t))
        return;
    switch (t->state) {
    case TRANSPORT_NEW:
        fail(t, TRANSPORT_WHY_NO_CHECK);
        break;
    case TRANSPORT_CHECKING:
        fail(t, TRANSPORT_WHY_NO_DTLS);
        break;
    case TRANSPORT_CONNECTED:
        set_state(t, TRANSPORT_DISCONNECTED);
        break;
    case TRANSPORT_DISCONNECTED:
        fail(t, TRANSPORT_WHY_SILENT);
        break;
    default:
        break;
    }
}

/* --- Looking. --------------------------------------------------------------------------------- */

struct slice transport_ufrag(const struct transport *t)
{
    return slice_of(t->ice.cur.ufrag, sizeof(t->ice.cur.ufrag));
}

struct slice transport_pwd(const struct transport *t)
{
    return slice_of(t->ice.cur.pwd, sizeof(t->ice.cur.pwd));
}

enum transport_state transport_state(const struct transport *t)
{
    return t->state;
}

enum transport_why transport_why(const struct transport *t)
{
    return t->why;
}

void *transport_user(const struct transport *t)
{
    return t->user;
}

bool transport_can_send(const struct transport *t)
{
    return t->state == TRANSPORT_CONNECTED && t->selected;
}

const struct media_path *transport_path(const struct transport *t)
{
    return t->selected ? &t->selected->at : NULL;
}

enum srtp_sess_profile transport_profile(const struct transport *t)
{
    return t->profile;
}

uint64_t transport_heard_us(const struct transport *t)
{
    return t->heard_us;
}
