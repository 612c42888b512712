/* One RTCPeerConnection: description, transport, congestion control and what is due.
 *
 *   peer_rtp.c    packets of the client ─► streams
 *   peer_rtcp.c   RTCP of the client ─► NACK, PLI, feedback, reports
 *   rtcp_report.c our RTCP to the client
 *
 * Called by participant.c and sfu_core.c. Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/peer.h"

#include <errno.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "sfu/consumer.h"
#include "sfu/participant.h"
#include "sfu/room.h"
#include "sfu/rtcp_report.h"

#define ALLOC_US         (200 * US_PER_MS)
#define ALLOC_SOON_US    (10 * US_PER_MS)
#define MEASURE_US       (500 * US_PER_MS)
#define TRY_AGAIN_US     (5 * US_PER_S) /* after the estimator had to give way */
#define TRY_MOST         3              /* times the estimate */
#define TRY_NEAR         170 /* percent of it, when it had to give way: a pause of seconds is worse */
#define PACE_TRIED       150 /* percent of what is sent beyond the estimate */
#define ALLOC_STEP_SHARE 20  /* a twentieth: the target has moved by that much */
#define PAD_LEFT_MAX     64  /* bytes of padding that are not worth a packet */

/* ---- life ---- */

static struct neg_limits limits_of(const struct participant *p, bool publisher, bool subscriber)
{
    const struct sfu_conf *conf = p->room->core->conf;
    unsigned tracks = p->limits.tracks ? p->limits.tracks : (unsigned)conf->limits.tracks;
    unsigned slots = p->limits.slots ? p->limits.slots : (unsigned)conf->limits.slots;

    if (tracks > conf->limits.tracks)
        tracks = (unsigned)conf->limits.tracks;
    if (slots > conf->limits.slots)
        slots = (unsigned)conf->limits.slots;
    struct neg_limits l = {.sections = NEG_SECTIONS_MAX, .layers = RTP_LAYERS_MAX};
    l.publish[RTP_KIND_AUDIO] = l.publish[RTP_KIND_VIDEO] = publisher ? tracks : 0;
    l.publish[RTP_KIND_DATA] = conf->data.enabled && (p->perms.data || p->perms.subscribe);
    l.slots[RTP_KIND_AUDIO] = l.slots[RTP_KIND_VIDEO] = subscriber ? slots : 0;
    return l;
}

struct peer *peer_new(struct participant *owner, bool publisher, bool subscriber, uint64_t now_us)
{
    struct sfu_core *c = owner->room->core;
    struct peer *p = mem_zalloc(sizeof(*p));
    struct neg_limits limits = limits_of(owner, publisher, subscriber);
    uint8_t r[9];

    if (!p)
        return NULL;
    p->owner = owner;
    p->publisher = publisher;
    p->subscriber = subscriber;
    p->report_us = p->alloc_us = CLOCK_NEVER;
    p->red_room = p->chosen.red = true;
    rand_bytes(r, sizeof(r));
    memcpy(&p->ssrc_self, r, sizeof(p->ssrc_self));
    p->ssrc_self |= 1;
    snprintf(p->cname, sizeof(p->cname), "sfu-%02x%02x%02x%02x%02x", r[4], r[5], r[6], r[7], r[8]);
    p->neg = negotiate_new(&c->policy, &limits, !publisher);
    p->transport = p->neg ? demux_add(c->demux, p, now_us) : NULL;
    if (!p->transport) {
        negotiate_free(p->neg);
        mem_free(p);
        return NULL;
    }
    return p;
}

void peer_free(struct peer *p, uint64_t now_us)
{
    if (!p)
        return;
    struct sfu_core *c = p->owner->room->core;
    p->closing = true;
    if (p->state == TRANSPORT_CONNECTED)
        rtcp_report_bye(p, now_us);
    for (unsigned i = 0; i < p->n_slots; i++)
        consumer_free(p->slot[i], now_us);
    if (p->data_id && c->data)
        data_port_close(c->data, p->data_id);
    transport_close(p->transport, now_us);
    demux_del(c->demux, p->transport);
    timer_cancel(c->wheel, &p->timer);
    negotiate_free(p->neg);
    twcc_recv_free(p->twcc);
    bwe_free(p->bwe);
    pacer_free(p->pacer);
    mem_free(p->slot);
    mem_free(p->ssrc);
    mem_free(p->past);
    mem_free(p);
}

/* ---- descriptions ---- */

void peer_permissions(struct peer *p)
{
    struct neg_limits l = limits_of(p->owner, p->publisher, p->subscriber);

    if (!transport_can_data(p->transport))
        l.publish[RTP_KIND_DATA] = 0; /* too late: refused, the client's channels close */
    negotiate_set_limits(p->neg, &l);
}

static int hand_remote(struct peer *p, uint64_t now_us)
{
    const struct neg_remote *n = negotiate_remote(p->neg);
    struct dtls_fingerprint f[NEG_FINGERPRINTS_MAX] = {0};
    const struct neg_section *data = negotiate_data(p->neg);

    for (unsigned i = 0; i < n->n_fingerprints; i++) {
        f[i].md = n->fingerprint[i].hash == NEG_SHA512   ? CRYPTO_SHA512
                  : n->fingerprint[i].hash == NEG_SHA384 ? CRYPTO_SHA384
                                                         : CRYPTO_SHA256;
        f[i].len = n->fingerprint[i].len;
        memcpy(f[i].digest, n->fingerprint[i].digest, f[i].len);
    }
    struct transport_remote r = {.fingerprint = f,
                                 .n_fingerprints = n->n_fingerprints,
                                 .dtls_client = n->dtls_client,
                                 .data = data != NULL};
    return transport_set_remote(p->transport, &r, now_us);
}

static struct neg_local local_of(struct peer *p)
{
    struct sfu_core *c = p->owner->room->core;
    struct neg_local l = {.ufrag = transport_ufrag(p->transport),
                          .pwd = transport_pwd(p->transport),
                          .candidate = c->candidate,
                          .n_candidates = c->n_candidates,
                          .cname = slice_str(p->cname),
                          .max_message_size = (uint32_t)c->conf->data.message_bytes};

    memcpy(l.sha256, c->fingerprint, sizeof(l.sha256));
    return l;
}

static enum ctl_err refused(struct peer *p, int e, const char **why)
{
    struct sfu_core *c = p->owner->room->core;

    *why = c->neg_error.text;
    if (e == -ENOMEM) {
        *why = "out of memory";
        return CTL_ERR_INTERNAL;
    }
    return c->neg_error.code == NEG_E_STATE ? CTL_ERR_CONFLICT : CTL_ERR_REJECTED;
}

/* A description is in force: what the transport and the maps must know. */
static int apply(struct peer *p, const struct neg_change *change, uint64_t now_us)
{
    if (change->ice_restart && !change->first) {
        transport_restart(p->transport, now_us);
        counter_inc(&p->owner->room->core->count.restarts);
    }
    memcpy(p->ext_map.of, negotiate_ext_map(p->neg), sizeof(p->ext_map.of));
    return hand_remote(p, now_us);
}

/* [limits] sdp_bytes. */
static bool too_long(const struct peer *p, struct slice sdp, const char **why)
{
    if (sdp.len <= p->owner->room->core->conf->limits.sdp_bytes)
        return false;
    *why = "the description is longer than [limits] sdp_bytes of the SFU: use fewer sections, or "
           "send candidates apart";
    return true;
}

enum ctl_err peer_offer(struct peer *p, struct slice sdp, struct wr *w, const char **why,
                        uint64_t now_us)
{
    struct sfu_core *c = p->owner->room->core;
    struct neg_change change;

    if (too_long(p, sdp, why))
        return CTL_ERR_REJECTED;
    peer_permissions(p);
    int e = negotiate_offer(p->neg, sdp, &change, &c->neg_error);
    if (e)
        return refused(p, e, why);
    e = apply(p, &change, now_us);
    if (e)
        return refused(p, -ENOMEM, why);
    struct neg_local local = local_of(p);
    negotiate_write(p->neg, &local, w);
    if (w->bad) {
        *why = "the answer is too long";
        return CTL_ERR_REJECTED;
    }
    return CTL_OK;
}

static unsigned slots_of_kind(const struct peer *p, enum rtp_kind kind)
{
    unsigned n = 0;

    for (unsigned i = 0; i < negotiate_sections(p->neg); i++) {
        const struct neg_section *s = negotiate_section(p->neg, i);
        n += s->kind == kind && !s->rejected;
    }
    return n;
}

enum ctl_err peer_make_offer(struct peer *p, unsigned audio, unsigned video, struct wr *w,
                             uint64_t now_us)
{
    const unsigned want[2] = {audio, video};
    char name[16];

    (void)now_us;
    for (unsigned k = RTP_KIND_AUDIO; k <= RTP_KIND_VIDEO; k++) {
        for (unsigned n = slots_of_kind(p, k); n < want[k]; n++) {
            snprintf(name, sizeof(name), "%c%u", k == RTP_KIND_AUDIO ? 'a' : 'v', n);
            if (negotiate_slot_add(p->neg, k, slice_str(name), slice_str(name)) < 0)
                break; /* the limit: those that there are */
        }
    }
    if (!negotiate_needed(p->neg))
        return CTL_ERR_CONFLICT;
    struct neg_local local = local_of(p);
    if (negotiate_make_offer(p->neg, &local, w) != 0 || w->bad)
        return CTL_ERR_INTERNAL;
    return CTL_OK;
}

enum ctl_err peer_answer(struct peer *p, struct slice sdp, const char **why, uint64_t now_us)
{
    struct sfu_core *c = p->owner->room->core;
    struct neg_change change;

    if (too_long(p, sdp, why))
        return CTL_ERR_REJECTED;
    int e = negotiate_answer(p->neg, sdp, &change, &c->neg_error);
    if (e)
        return refused(p, e, why);
    return apply(p, &change, now_us) == 0 ? CTL_OK : refused(p, -ENOMEM, why);
}

/* ---- looking up ---- */

struct consumer *peer_slot_by_ssrc(struct peer *p, uint32_t ssrc)
{
    for (unsigned i = 0; i < p->n_slots; i++)
        if (p->slot[i]->ssrc == ssrc || (p->slot[i]->rtx_ssrc == ssrc && ssrc != 0))
            return p->slot[i];
    return NULL;
}

struct consumer *peer_slot_by_mid(struct peer *p, struct slice mid)
{
    for (unsigned i = 0; i < p->n_slots; i++)
        if (slice_is(mid, p->slot[i]->mid))
            return p->slot[i];
    return NULL;
}

void peer_rekeyed(struct peer *p)
{
    for (unsigned i = 0; i < p->n_slots; i++)
        consumer_rekeyed(p->slot[i]);
    for (unsigned i = 0; i < p->owner->n_tracks; i++)
        for (unsigned l = 0; p->owner->track[i]->peer == p && l < p->owner->track[i]->n_layers; l++)
            stream_restart(&p->owner->track[i]->layer[l]);
}

/* ---- data ---- */

void peer_data_changed(struct peer *p)
{
    struct sfu_core *c = p->owner->room->core;
    const struct neg_section *s = negotiate_data(p->neg);

    if (!c->data)
        return;
    if (!s && p->data_id) {
        data_port_close(c->data, p->data_id);
        p->data_id = 0;
    }
    if (!s || p->data_id || p->state != TRANSPORT_CONNECTED)
        return;
    struct data_conf conf = {.local_port = NEG_SCTP_PORT,
                             .remote_port = s->sctp_port,
                             .max_message_in = (uint32_t)c->conf->data.message_bytes,
                             .max_message_out = s->max_message_size,
                             .queue_bytes = (uint32_t)c->conf->data.buffered_bytes};
    p->data_id = data_port_open(c->data, &conf, p);
}

/* ---- congestion control ---- */

static bool has_twcc(const struct peer *p)
{
    for (unsigned i = 0; i < p->n_slots; i++)
        if (p->slot[i]->kind == RTP_KIND_VIDEO && p->slot[i]->ext[RTP_EXT_TWCC])
            return true;
    return false;
}

void peer_video_changed(struct peer *p, uint64_t now_us)
{
    const struct sfu_conf *conf = p->owner->room->core->conf;

    if (p->n_video == 0 || p->closing)
        return;
    if (!p->bwe) {
        uint64_t most =
            p->owner->limits.down_bps ? p->owner->limits.down_bps : conf->video.send_max_bps;
        struct bwe_conf b = {
            .start_bps = conf->video.start_bps, .min_bps = conf->video.min_bps, .max_bps = most};
        if (b.start_bps > most)
            b.start_bps = most;
        if (b.min_bps > most)
            b.min_bps = most;
        p->bwe = bwe_new(&b, now_us);
        p->pacer = p->bwe ? pacer_new(&pacer_conf_video, now_us) : NULL;
        if (p->bwe)
            bwe_widen(p->bwe);
        if (p->pacer)
            pacer_rate(p->pacer, bwe_pacing_bps(p->bwe), now_us);
        p->measured_us = now_us;
    }
}

void peer_realloc(struct peer *p, uint64_t now_us)
{
    if (p->closing)
        return;
    if (p->alloc_us > now_us + ALLOC_SOON_US)
        p->alloc_us = now_us + ALLOC_SOON_US;
    peer_arm(p, p->alloc_us);
}

static void measure(struct peer *p, uint64_t now_us)
{
    uint64_t passed = now_us - p->measured_us;

    if (passed < MEASURE_US)
        return;
    p->audio_bps = p->audio_bytes * 8 * US_PER_S / passed;
    p->extra_bps = p->extra_bytes * 8 * US_PER_S / passed;
    p->audio_bytes = p->extra_bytes = 0;
    p->measured_us = now_us;
}

/* What the cheapest picture would take: with nothing shown, it may be tried beyond the estimate
 * while nothing speaks against it. Media tests a path better than bursts of padding do. */
static uint64_t worth_a_try(struct peer *p, const struct layer_slot *v, unsigned n, uint64_t target,
                            uint64_t now_us)
{
    struct bwe_stats b;
    uint64_t least = UINT64_MAX;

    bwe_stats(p->bwe, &b);
    if (b.overuses != p->overuses) {
        p->overuses = b.overuses;
        p->cut_us = now_us;
    }
    for (unsigned i = 0; i < n; i++)
        for (unsigned l = 0; v[i].max_layer >= 0 && l < RTP_LAYERS_MAX; l++)
            if (v[i].bps[l][0] != 0 && v[i].bps[l][0] < least)
                least = v[i].bps[l][0];
    bool cut =
        b.state != BWE_INCREASE || b.usage == BWE_OVERUSE || now_us - p->cut_us < TRY_AGAIN_US;
    if (least == UINT64_MAX || least > (cut ? target * TRY_NEAR / 100 : target * TRY_MOST))
        return target;
    least = least * 21 / 20 + p->audio_bps + p->extra_bps;
    return least > target ? least : target;
}

/* Chooses the layers of all video slots for what the path takes. */
void peer_allocate(struct peer *p, uint64_t now_us)
{
    struct layer_slot v[LAYER_SLOTS_MAX];
    struct consumer *who[LAYER_SLOTS_MAX];
    unsigned n = 0;

    measure(p, now_us);
    p->alloc_us = p->n_video ? now_us + ALLOC_US : CLOCK_NEVER;
    for (unsigned i = 0; i < p->n_slots && n < LAYER_SLOTS_MAX; i++) {
        struct consumer *c = p->slot[i];

        if (c->kind != RTP_KIND_VIDEO || !c->source)
            continue;
        consumer_offer_layers(c, now_us);
        who[n] = c;
        v[n++] = c->alloc;
    }
    if (n == 0)
        return;
    bool copies = false;
    for (unsigned i = 0; i < p->n_slots; i++)
        copies = copies || (p->slot[i]->kind == RTP_KIND_AUDIO && p->slot[i]->red_depth > 0);
    bool steer = p->bwe && has_twcc(p);
    struct layer_in in = {.target_bps = p->bwe ? bwe_steady_bps(p->bwe)
                                               : p->owner->room->core->conf->video.send_max_bps,
                          .audio_bps = p->audio_bps,
                          .red_bps = copies ? p->audio_bps : 0,
                          .extra_bps = p->extra_bps};
    struct layer_out *out = &p->chosen;
    if (p->bwe)
        in.target_bps = worth_a_try(p, v, n, in.target_bps, now_us);
    bool tries = p->bwe && in.target_bps > bwe_steady_bps(p->bwe);
    layer_alloc_run(v, n, &in, out, now_us);
    p->red_room = out->red;
    p->tried_bps = tries ? out->used_bps * PACE_TRIED / 100 : 0;
    if (steer)
        bwe_want(p->bwe, out->wanted_bps);
    for (unsigned i = 0; i < n; i++) {
        who[i]->alloc = v[i];
        consumer_take_layers(who[i], now_us);
    }
}

/* Sends one packet of padding, over whatever slot can. Returns its bytes, 0: none can. */
static size_t pad_once(struct peer *p, size_t bytes, unsigned cluster, uint64_t now_us)
{
    for (unsigned i = 0; i < p->n_slots; i++) {
        struct consumer *c = p->slot[(p->probe_turn + i) % p->n_slots];
        size_t sent =
            c->kind == RTP_KIND_VIDEO && c->source ? consumer_pad(c, bytes, cluster, now_us) : 0;

        if (sent) {
            p->probe_turn = (p->probe_turn + i) % p->n_slots;
            return sent;
        }
    }
    return 0;
}

/* The pacer wants about so many bytes of padding. */
static void pad(struct peer *p, size_t bytes, unsigned cluster, uint64_t now_us)
{
    size_t done = 0, one;

    while (done + PAD_LEFT_MAX < bytes) {
        one = pad_once(p, bytes - done, cluster, now_us);
        if (one == 0)
            break;
        done += one;
    }
    p->extra_bytes += done;
}

static void run_pacer(struct peer *p, uint64_t now_us)
{
    struct pacer_item item;
    enum pacer_verdict v;

    while ((v = pacer_next(p->pacer, now_us, &item)) != PACER_WAIT) {
        if (v == PACER_SEND)
            consumer_paced(item.owner, &item, now_us);
        else if (v == PACER_DROPPED)
            consumer_dropped(item.owner, &item, now_us);
        else
            pad(p, item.bytes, item.cluster, now_us);
    }
}

static void steer(struct peer *p, uint64_t now_us)
{
    struct bwe_probe probe;

    if (bwe_deadline(p->bwe) <= now_us)
        bwe_tick(p->bwe, now_us);
    if (has_twcc(p) && bwe_probe(p->bwe, &probe, now_us))
        pacer_probe(p->pacer, &probe, now_us);
    peer_target(p, now_us);
    if (pacer_deadline(p->pacer) <= now_us)
        run_pacer(p, now_us);
}

void peer_target(struct peer *p, uint64_t now_us)
{
    uint64_t bps = bwe_steady_bps(p->bwe), was = p->told_bps;

    uint64_t pacing = bwe_pacing_bps(p->bwe);
    /* What is sent beyond the estimate to see whether it gets through must not wait here. */
    if (pacing < p->tried_bps && !bwe_drains(p->bwe))
        pacing = p->tried_bps;
    pacer_rate(p->pacer, pacing, now_us);
    if (bps > was + was / ALLOC_STEP_SHARE || bps + was / ALLOC_STEP_SHARE < was) {
        p->told_bps = bps;
        peer_realloc(p, now_us);
    }
}

/* ---- what is due ---- */

void peer_arm(struct peer *p, uint64_t at_us)
{
    struct sfu_core *c = p->owner->room->core;

    if (at_us != CLOCK_NEVER && (!timer_is_set(&p->timer) || at_us < p->timer.deadline_us)) {
        timer_set(c->wheel, &p->timer, at_us);
        c->ops->wake(c->arg);
    }
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void state_changed(struct peer *p, uint64_t now_us)
{
    p->state_changed = false;
    p->state = (uint8_t)transport_state(p->transport);
    if (p->state == TRANSPORT_CONNECTED) {
        if (p->report_us == CLOCK_NEVER)
            p->report_us = now_us + RTCP_REPORT_FIRST_US;
        peer_data_changed(p);
        peer_allocate(p, now_us); /* key frames are asked for, or replayed */
    }
    participant_state(p->owner, now_us);
}

void peer_tick(struct peer *p, uint64_t now_us)
{
    uint64_t next;

    if (p->state_changed)
        state_changed(p, now_us);
    for (unsigned i = 0; i < p->owner->n_tracks; i++)
        if (p->owner->track[i]->peer == p)
            producer_tick(p->owner->track[i], now_us);
    if (p->twcc && twcc_recv_deadline(p->twcc) <= now_us)
        rtcp_report_feedback(p, now_us);
    if (p->alloc_us <= now_us)
        peer_allocate(p, now_us);
    if (p->bwe && p->pacer)
        steer(p, now_us);
    if (p->report_us <= now_us)
        rtcp_report_send(p, now_us);

    next = sooner(sooner(p->report_us, p->alloc_us), participant_deadline(p->owner));
    for (unsigned i = 0; i < p->owner->n_tracks; i++)
        if (p->owner->track[i]->peer == p)
            next = sooner(next, producer_deadline(p->owner->track[i]));
    if (p->twcc)
        next = sooner(next, twcc_recv_deadline(p->twcc));
    if (p->bwe && p->pacer)
        next = sooner(next, sooner(bwe_deadline(p->bwe), pacer_deadline(p->pacer)));
    peer_arm(p, next <= now_us ? now_us + 1 : next);
}
