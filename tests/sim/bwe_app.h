/* One receiver of the SFU and its sender, for bwe_sim.c: audio, a simulcast video (or one that uses
 * all it may), the estimator, pacer and layer choice as the SFU drives them.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_BWE_APP_H
#define SORI_TESTS_BWE_APP_H

#include "sfu/bwe.h"
#include "sfu/layer_alloc.h"
#include "sfu/pacer.h"
#include "sfu/twcc_recv.h"
#include "tests/sim/bwe_link.h"

enum {
    APP_STEP_US = 250,
    APP_FB_MAX = 256,
    APP_FCI_AT = 12, /* RTCP header, sender, media */
    APP_PKT = 1200,
    APP_AUDIO_BYTES = 28 + 12 + 8 + 16 + 80,
};

enum video_mode { VIDEO_NONE, VIDEO_ELASTIC, VIDEO_LAYERS };

struct app_conf {
    enum video_mode video;
    double want_bps; /* elastic: not above */
    double fb_loss;  /* part of feedback packets lost */
    uint64_t fb_delay_us;
    uint64_t frozen_from_us, frozen_to_us; /* the receiver says nothing */
    uint64_t start_bps;
};

struct feedback {
    uint64_t at_us;
    size_t len;
    uint8_t bytes[TWCC_RECV_PACKET_MAX];
};

struct app {
    struct app_conf conf;
    struct path *path;
    struct rand_src *rnd;
    struct bwe *bwe;
    struct pacer *pacer;
    struct twcc_recv *recv;
    struct layer_slot slot;
    struct layer_out layers;
    struct feedback fb[APP_FB_MAX];
    unsigned fb_head, fb_n;
    uint64_t audio_us, frame_us, alloc_us;
    double alloc_bps;
    unsigned frame;
    bool key;
    int layer;
    /* Counted. */
    uint64_t audio_sent, audio_got, sent_pkts, sent_bytes, got_bytes, pad_bytes, video_lost,
        switches;
    uint64_t audio_delay_us, audio_delay_n;
};

/* Wire rates of three simulcast streams with two temporal layers. */
static const uint32_t app_layers[RTP_LAYERS_MAX][LAYER_TIDS_MAX] = {
    {90000, 150000}, {300000, 500000}, {1000000, 1700000}};

#define APP_LAYERS_BPS (1700000.0 + APP_AUDIO_BYTES * 8 * 50)

static void app_init(struct app *a, const struct app_conf *conf, struct path *path,
                     struct rand_src *rnd)
{
    struct bwe_conf bc = {.start_bps = conf->start_bps ? conf->start_bps : 600000,
                          .min_bps = 30000,
                          .max_bps = 10000000};

    *a = (struct app){.conf = *conf, .path = path, .rnd = rnd, .layer = -1};
    a->bwe = bwe_new(&bc, 0);
    (void)bwe_widen(a->bwe);
    a->pacer = pacer_new(&pacer_conf_video, 0);
    a->recv = twcc_recv_new();
    memcpy(a->slot.bps, app_layers, sizeof(app_layers));
    a->slot.max_layer = 2;
    a->slot.max_tid = 1;
    a->slot.layer = -1;
    a->frame_us = rand_src_below(rnd, 33333);
    a->audio_us = rand_src_below(rnd, 20000);
}

static void app_fini(struct app *a)
{
    bwe_free(a->bwe);
    pacer_free(a->pacer);
    twcc_recv_free(a->recv);
}

static void app_put(struct app *a, enum pkt_kind kind, size_t bytes, unsigned cluster,
                    uint64_t now_us)
{
    struct pkt k = {.bytes = (uint32_t)bytes, .kind = (uint8_t)kind};

    k.seq = bwe_sent(a->bwe, bytes, cluster, now_us);
    a->sent_bytes += bytes;
    a->sent_pkts++;
    (void)path_send(a->path, k, now_us);
}

static void app_audio(struct app *a, uint64_t now_us)
{
    if (now_us < a->audio_us)
        return;
    a->audio_us += 20000;
    a->audio_sent++;
    unsigned cluster = pacer_cluster(a->pacer);
    pacer_sent(a->pacer, APP_AUDIO_BYTES, now_us);
    app_put(a, PKT_AUDIO, APP_AUDIO_BYTES, cluster, now_us);
}

static double frame_bytes(struct app *a, uint64_t now_us)
{
    (void)now_us;
    if (a->conf.video == VIDEO_ELASTIC) {
        double bps = (double)bwe_target_bps(a->bwe) - APP_AUDIO_BYTES * 8 * 50;
        if (bps > a->conf.want_bps)
            bps = a->conf.want_bps;
        return bps > 0 ? bps / 8 / 30 : 0;
    }
    if (a->slot.layer < 0)
        return 0;
    if (a->slot.tid == 0 && a->frame % 2)
        return 0;
    const uint32_t *bps = app_layers[a->slot.layer];
    double base = (double)bps[0] / 8 / 15;
    double other = (double)(bps[1] - bps[0]) / 8 / 15;
    return a->key ? 4 * base : a->frame % 2 ? other : base;
}

static void app_frame(struct app *a, uint64_t now_us)
{
    if (a->conf.video == VIDEO_NONE || now_us < a->frame_us)
        return;
    a->frame_us += 33333;
    a->frame++;
    double bytes = frame_bytes(a, now_us) * (0.7 + 0.6 * rnd01(a->rnd));
    a->key = false;
    unsigned n = (unsigned)(bytes / APP_PKT) + 1;
    size_t each = (size_t)(bytes / n);
    for (unsigned i = 0; i < n && each > 60; i++) {
        unsigned cluster = pacer_cluster(a->pacer);
        if (pacer_pass(a->pacer, PACER_VIDEO, each, now_us)) {
            app_put(a, PKT_VIDEO, each, cluster, now_us);
            continue;
        }
        struct pacer_item item = {.bytes = (uint16_t)each, .cls = PACER_VIDEO};
        if (!pacer_push(a->pacer, &item, now_us))
            a->video_lost++;
    }
}

static void app_layers_run(struct app *a, uint64_t now_us)
{
    double target = (double)bwe_steady_bps(a->bwe);
    double audio = APP_AUDIO_BYTES * 8 * 50;

    if (a->conf.video == VIDEO_ELASTIC)
        bwe_want(a->bwe, (uint64_t)(a->conf.want_bps + audio));
    if (a->conf.video != VIDEO_LAYERS)
        return;
    double moved = target / a->alloc_bps;
    if (now_us < a->alloc_us + 200000 && moved > 0.95 && moved < 1.05)
        return;
    a->alloc_us = now_us;
    a->alloc_bps = target;
    struct layer_in in = {.target_bps = (uint64_t)target, .audio_bps = (uint64_t)audio};
    layer_alloc_run(&a->slot, 1, &in, &a->layers, now_us);
    bwe_want(a->bwe, a->layers.wanted_bps);
    if (a->slot.layer != a->layer) {
        a->key = true;
        a->switches++;
        a->layer = a->slot.layer;
    }
}

static void app_pace(struct app *a, uint64_t now_us)
{
    struct pacer_item item;
    enum pacer_verdict v;
    struct bwe_probe probe;

    if (now_us >= bwe_deadline(a->bwe)) {
        bwe_tick(a->bwe, now_us);
        if (bwe_probe(a->bwe, &probe, now_us))
            pacer_probe(a->pacer, &probe, now_us);
    }
    pacer_rate(a->pacer, bwe_pacing_bps(a->bwe), now_us);
    if (now_us < pacer_deadline(a->pacer))
        return;
    while ((v = pacer_next(a->pacer, now_us, &item)) != PACER_WAIT) {
        if (v == PACER_DROPPED) {
            a->video_lost++;
            a->key = true;
        } else {
            if (v == PACER_PAD)
                a->pad_bytes += item.bytes;
            app_put(a, v == PACER_PAD ? PKT_PAD : PKT_VIDEO, item.bytes, item.cluster, now_us);
        }
    }
}

static void app_receive(struct app *a, uint64_t now_us)
{
    struct pkt k;

    while (path_recv(a->path, &k, now_us)) {
        twcc_recv_packet(a->recv, k.seq, k.bytes, now_us);
        a->got_bytes += k.bytes;
        if (k.kind == PKT_AUDIO) {
            a->audio_got++;
            a->audio_delay_us += now_us - k.sent_us;
            a->audio_delay_n++;
        }
    }
    if (now_us < twcc_recv_deadline(a->recv))
        return;
    struct feedback *f = &a->fb[(a->fb_head + a->fb_n) % APP_FB_MAX];
    struct wr w = wr_init(f->bytes, sizeof(f->bytes));
    f->len = twcc_recv_feedback(a->recv, 1, 2, &w, now_us);
    f->at_us = now_us + a->path->conf.prop_us + a->conf.fb_delay_us;
    bool frozen = now_us >= a->conf.frozen_from_us && now_us < a->conf.frozen_to_us;
    if (f->len > 0 && a->fb_n < APP_FB_MAX - 1 && !frozen && rnd01(a->rnd) >= a->conf.fb_loss)
        a->fb_n++;
}

static void app_feedback(struct app *a, uint64_t now_us)
{
    while (a->fb_n > 0 && a->fb[a->fb_head].at_us <= now_us) {
        const struct feedback *f = &a->fb[a->fb_head];
        bwe_twcc(a->bwe, slice_of(f->bytes + APP_FCI_AT, f->len - APP_FCI_AT), now_us);
        a->fb_head = (a->fb_head + 1) % APP_FB_MAX;
        a->fb_n--;
    }
}

static void app_step(struct app *a, uint64_t now_us)
{
    app_feedback(a, now_us);
    app_layers_run(a, now_us);
    app_audio(a, now_us);
    app_frame(a, now_us);
    app_pace(a, now_us);
    path_step(a->path, now_us, APP_STEP_US);
    app_receive(a, now_us);
}

#endif
