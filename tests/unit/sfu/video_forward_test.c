/* video_forward.c (with video_select.c and video_rewrite.c): a million packets over random
 * switches, losses and reordering, seen by a receiver that knows the truth; then single promises.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/video_forward.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "proto/rtcp.h"
#include "tests/lib/video_receiver.h"

enum {
    PARTICIPANTS = 2,
    PENDING = 2048,
    TICK_US = 33333,
    STORED = WORLD_PACKETS,
};

struct flight {
    struct world_packet *p;
    uint64_t at_us;
    uint8_t who;
};

struct sent_note {
    struct video_sent sent;
    struct video_out out;
};

static struct world_packet store[PARTICIPANTS][RTP_LAYERS_MAX][STORED];
static uint8_t fate[PARTICIPANTS][RTP_LAYERS_MAX]
                   [STORED]; /* 0 on its way or lost, 1 here, 2 sent */
static struct receiver rx;
static struct video_forward fwd;

struct run {
    struct rand_src rnd;
    struct world_stream stream[PARTICIPANTS][RTP_LAYERS_MAX];
    unsigned layers[PARTICIPANTS];
    struct flight pending[PENDING];
    unsigned n_pending;
    unsigned who; /* the present source */
    uint64_t now_us;
    uint64_t key_at_us[RTP_LAYERS_MAX];
    unsigned loss_permille;
    bool wild; /* reordering and late packets */
    uint64_t fed, forwarded, verdicts[VIDEO_VERDICTS], keys;
};

static struct world_packet *slot_of(unsigned who, unsigned layer, uint64_t seq)
{
    return &store[who][layer][seq % STORED];
}

static void feed(struct run *r, struct world_packet *p);

/* What came before its turn is given again. */
static void replay(struct run *r, unsigned layer, uint64_t after)
{
    for (uint64_t seq = after + 1; seq < r->stream[r->who][layer].seq; seq++) {
        struct world_packet *p = slot_of(r->who, layer, seq);
        if (p->m.seq != seq || fate[r->who][layer][seq % STORED] != 1)
            continue;
        if (p->m.video.facts & VIDEO_DD_UNKNOWN)
            video_describe(&r->stream[r->who][layer].src, &p->m);
        feed(r, p);
    }
}

static void feed(struct run *r, struct world_packet *p)
{
    unsigned layer = p->m.video.layer;
    struct video_out out, again;
    struct video_sent sent;
    bool other = (int)layer != fwd.now_layer;
    enum video_verdict v =
        video_forward_packet(&fwd, &r->stream[r->who][layer].src, &p->m, &out, &sent);

    r->verdicts[v]++;
    if (v == VIDEO_FORWARD || v == VIDEO_FILL) {
        receiver_recv(&rx, p, v, &out, r->now_us);
        fate[r->who][layer][p->m.seq % STORED] = 2;
    }
    if (v == VIDEO_FORWARD) {
        r->forwarded++;
        video_rewrite(&r->stream[r->who][layer].src, &p->m, &sent, &again);
        CHECK(again.ts == out.ts && again.marker == out.marker && again.skip == out.skip);
        CHECK(again.patch_len == out.patch_len && again.dd_len == out.dd_len);
        CHECK(memcmp(again.patch, out.patch, out.patch_len) == 0);
        CHECK(memcmp(again.dd, out.dd, out.dd_len) == 0);
        if (out.began)
            replay(r, layer, p->m.seq);
    } else if (!other) {
        receiver_left_out(&rx, p, v);
    }
}

static void send_picture(struct run *r, unsigned who, unsigned layer, bool key)
{
    struct world_stream *s = &r->stream[who][layer];
    struct world_packet *out[3 * WORLD_FRAME_PACKETS];

    for (unsigned i = 0; i < ARRAY_LEN(out); i++) {
        out[i] = slot_of(who, layer, s->seq + i);
        fate[who][layer][(s->seq + i) % STORED] = 0;
    }
    unsigned n = world_picture(s, out, key, r->now_us, &r->rnd);
    for (unsigned i = 0; i < n; i++) {
        uint64_t at = r->now_us + layer * 3000 + i * 100;
        bool lost = rand_src_below(&r->rnd, 1000) < r->loss_permille;
        if (r->wild && rand_src_below(&r->rnd, 30) == 0)
            at += rand_src_below(&r->rnd, 40000);
        if (lost && rand_src_below(&r->rnd, 4) == 0)
            continue; /* for good */
        if (lost)
            at += 60000 + rand_src_below(&r->rnd, 80000);
        CHECK(r->n_pending < PENDING);
        r->pending[r->n_pending++] = (struct flight){out[i], at, (uint8_t)who};
    }
    if (key)
        r->keys++;
}

/* All that arrives until the next tick, in order. */
static void deliver(struct run *r, uint64_t until_us)
{
    for (;;) {
        unsigned best = r->n_pending;
        for (unsigned i = 0; i < r->n_pending; i++) {
            if (r->pending[i].at_us < until_us &&
                (best == r->n_pending || r->pending[i].at_us < r->pending[best].at_us))
                best = i;
        }
        if (best == r->n_pending)
            return;
        struct flight f = r->pending[best];
        r->n_pending--;
        memmove(&r->pending[best], &r->pending[best + 1],
                (r->n_pending - best) * sizeof(r->pending[0]));
        r->now_us = f.at_us;
        unsigned layer = f.p->m.video.layer;
        world_arrive(&r->stream[f.who][layer], f.p, f.at_us);
        fate[f.who][layer][f.p->m.seq % STORED] = 1;
        if (f.who != r->who)
            continue;
        r->fed++;
        feed(r, f.p);
    }
}

/* The receiver asks for what is missing: it is lost, or it comes now. */
static void ask_for_gaps(struct run *r)
{
    uint64_t from = rx.top_seq > 300 ? rx.top_seq - 300 : 0;

    for (uint64_t seq = from < rx.first_seq ? rx.first_seq : from; rx.any && seq < rx.top_seq;
         seq++) {
        unsigned layer;
        uint64_t src_seq;
        if (rx.seq_used[seq % RECEIVER_SEQS] || !video_forward_lookup(&fwd, seq, &layer, &src_seq))
            continue;
        struct world_packet *p = slot_of(r->who, layer, src_seq);
        if (p->m.seq != src_seq)
            continue;
        uint8_t is = fate[r->who][layer][src_seq % STORED];
        CHECK(is != 2); /* its number is this one and no other */
        if (is == 1) {
            feed(r, p);
            CHECK(rx.seq_used[seq % RECEIVER_SEQS]);
        }
    }
}

static void change_mind(struct run *r)
{
    unsigned layers = r->layers[r->who];
    uint64_t what = rand_src_below(&r->rnd, 40);

    if (what == 0) {
        video_forward_target(&fwd, VIDEO_LAYER_NONE, 0, 0);
    } else if (what == 1) {
        r->who = 1 - r->who;
        video_forward_source(&fwd);
        memset(r->key_at_us, 0, sizeof(r->key_at_us));
        video_forward_target(&fwd, 0, 7, 7);
    } else if (what < 8 || fwd.layer == VIDEO_LAYER_NONE) {
        video_forward_target(&fwd, (int)rand_src_below(&r->rnd, layers),
                             (unsigned)rand_src_below(&r->rnd, 3),
                             (unsigned)rand_src_below(&r->rnd, 3));
    }
}

static void ask_for_keys(struct run *r, bool key[RTP_LAYERS_MAX])
{
    unsigned layer;

    if (video_forward_wants_key(&fwd, &layer) && r->key_at_us[layer] == 0)
        r->key_at_us[layer] = r->now_us + 50000;
    for (unsigned l = 0; l < RTP_LAYERS_MAX; l++) {
        key[l] = (r->key_at_us[l] != 0 && r->now_us >= r->key_at_us[l]) ||
                 rand_src_below(&r->rnd, 600) == 0;
        if (key[l])
            r->key_at_us[l] = 0;
    }
}

static void simulate(struct run *r, enum world_kind a, enum world_kind b, uint64_t seed,
                     uint64_t packets, bool reports)
{
    const enum world_kind kinds[PARTICIPANTS] = {a, b};

    *r = (struct run){.now_us = 1000000, .loss_permille = r->loss_permille, .wild = r->wild};
    rand_src_init(&r->rnd, seed);
    memset(store, 0, sizeof(store));
    memset(fate, 0, sizeof(fate));
    memset(&rx, 0, sizeof(rx));
    for (unsigned who = 0; who < PARTICIPANTS; who++) {
        r->layers[who] = world_spatial(kinds[who]) > 1 ? 1 : RTP_LAYERS_MAX;
        for (unsigned l = 0; l < r->layers[who]; l++) {
            world_stream_init(&r->stream[who][l], kinds[who], (uint8_t)(who * 3 + l), (uint8_t)l,
                              &r->rnd);
            if (reports)
                video_source_sr(&r->stream[who][l].src, r->stream[who][l].ts, rtcp_ntp(r->now_us));
        }
    }
    video_forward_init(&fwd, (uint16_t)rand_src_u64(&r->rnd), (uint32_t)rand_src_u64(&r->rnd));
    video_forward_target(&fwd, 0, 7, 7);
    for (uint64_t tick = r->now_us; r->fed < packets; tick += TICK_US) {
        bool key[RTP_LAYERS_MAX];
        r->now_us = tick;
        ask_for_keys(r, key);
        for (unsigned who = 0; who < PARTICIPANTS; who++) {
            for (unsigned l = 0; l < r->layers[who]; l++)
                send_picture(r, who, l, who == r->who && key[l]);
        }
        deliver(r, tick + TICK_US);
        ask_for_gaps(r);
        change_mind(r);
    }
    for (unsigned who = 0; who < PARTICIPANTS; who++) {
        for (unsigned l = 0; l < r->layers[who]; l++)
            video_source_fini(&r->stream[who][l].src);
    }
}

static const struct {
    enum world_kind a, b;
} pairs[] = {
    {WORLD_VP8, WORLD_VP8},
    {WORLD_VP8, WORLD_VP8_SHORT},
    {WORLD_VP8_SHORT, WORLD_VP8_BARE},
    {WORLD_VP8_DD, WORLD_VP8_DD},
    {WORLD_VP9_FLEXIBLE, WORLD_VP9_KSVC},
    {WORLD_VP9_FIXED, WORLD_VP9_FIXED},
    {WORLD_VP9_KSVC, WORLD_VP9_FIXED},
    {WORLD_H264, WORLD_H264},
    {WORLD_AV1_DD, WORLD_AV1_KSVC_DD},
    {WORLD_AV1_SIMULCAST_DD, WORLD_AV1_DD},
    {WORLD_AV1_KSVC_DD, WORLD_AV1_SIMULCAST_DD},
    {WORLD_H264_OPAQUE_DD, WORLD_H264_OPAQUE_DD},
};

static void test_a_million_packets_over_random_switches(void **state)
{
    static struct run r;
    uint64_t fed = 0, forwarded = 0, switches = 0, fills = 0;
    const char *more = getenv("VIDEO_PACKETS");
    uint64_t each = (more ? strtoull(more, NULL, 10) : 1000000) / (ARRAY_LEN(pairs) * 4) + 1;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(pairs); i++) {
        for (unsigned mode = 0; mode < 4; mode++) {
            r.loss_permille = mode == 0 ? 0 : 20;
            r.wild = mode >= 2;
            simulate(&r, pairs[i].a, pairs[i].b, 1000 * i + mode, each, mode % 2);
            fed += r.fed;
            forwarded += r.forwarded;
            switches += rx.switches;
            fills += rx.fills;
            if (more)
                printf("# %u/%u: %llu fed %llu forwarded %llu switches %llu frames %llu keys, "
                       "svc %llu late %llu fill %llu wait %llu broken %llu\n",
                       i, mode, (unsigned long long)r.fed, (unsigned long long)r.forwarded,
                       (unsigned long long)rx.switches, (unsigned long long)rx.frames,
                       (unsigned long long)r.keys, (unsigned long long)r.verdicts[VIDEO_DROP_SVC],
                       (unsigned long long)r.verdicts[VIDEO_DROP_LATE],
                       (unsigned long long)r.verdicts[VIDEO_FILL],
                       (unsigned long long)r.verdicts[VIDEO_DROP_WAIT_KEY],
                       (unsigned long long)r.verdicts[VIDEO_DROP_BROKEN]);
        }
    }
    printf("# %llu packets, %llu forwarded, %llu switches, %llu fills\n", (unsigned long long)fed,
           (unsigned long long)forwarded, (unsigned long long)switches, (unsigned long long)fills);
    assert_true(forwarded > fed / 5);
    assert_true(switches > fed / 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_million_packets_over_random_switches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
