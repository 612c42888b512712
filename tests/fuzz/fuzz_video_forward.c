/* Forwarding of video under a script: streams of any kind, packets in any order, lost, late, with
 * any bytes in their descriptors, targets and sources that change. Whatever comes: a number is used
 * once, no byte is read or written beyond its end.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "sfu/video_forward.h"
#include "tests/lib/video_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLOTS = 64, STEPS_MAX = 500, NUMBERS = 1 << 16 };

static struct world_packet packets[RTP_LAYERS_MAX][SLOTS];
static bool here[RTP_LAYERS_MAX][SLOTS];
static uint8_t used[NUMBERS];
static struct world_stream stream[RTP_LAYERS_MAX];
static struct video_forward fwd;

static void expect(bool ok)
{
    if (!ok)
        abort();
}

static void give(struct world_packet *p, uint64_t *top)
{
    struct world_stream *s = &stream[p->m.video.layer];
    struct video_out out;
    struct video_sent sent;
    enum video_verdict v = video_forward_packet(&fwd, &s->src, &p->m, &out, &sent);
    unsigned layer;
    uint64_t seq;

    here[p->m.video.layer][p->m.seq % SLOTS] = v > VIDEO_FILL;
    if (v > VIDEO_FILL)
        return;
    expect(out.seq < *top + 100000);
    for (; *top < out.seq; ++*top)
        used[(*top + 1) % NUMBERS] = 0;
    expect(*top - out.seq < NUMBERS && !used[out.seq % NUMBERS]);
    used[out.seq % NUMBERS] = 1;
    if (v == VIDEO_FORWARD) {
        expect(out.skip <= media_payload(&p->m).len && out.patch_len <= VIDEO_PATCH_MAX);
        expect(video_forward_lookup(&fwd, out.seq, &layer, &seq));
        expect(layer == p->m.video.layer && seq == p->m.seq);
    }
}

static void make_picture(unsigned layer, bool key, uint8_t noise, uint64_t now_us,
                         struct rand_src *rnd)
{
    struct world_packet *out[3 * WORLD_FRAME_PACKETS];
    struct world_stream *s = &stream[layer];

    for (unsigned i = 0; i < ARRAY_LEN(out); i++)
        out[i] = &packets[layer][(s->seq + i) % SLOTS];
    unsigned n = world_picture(s, out, key, now_us, rnd);
    for (unsigned i = 0; i < n; i++) {
        struct world_packet *p = out[i];
        here[layer][p->m.seq % SLOTS] = true;
        /* Bytes that are anything, where the descriptors are. */
        if (noise & 1)
            p->bytes[12 + rand_src_below(rnd, p->m.len - 12u)] ^= (uint8_t)rand_src_u64(rnd);
        if ((noise & 6) == 6)
            p->m.len =
                (uint16_t)(p->m.payload_at + rand_src_below(rnd, p->m.len - p->m.payload_at + 1u));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_init(slice_of(data, size));
    struct rand_src rnd;
    uint64_t now_us = 1000000, top;

    rand_src_init(&rnd, rd_u8(&r));
    unsigned kind = rd_u8(&r) % WORLD_KINDS;
    memset(packets, 0, sizeof(packets));
    memset(here, 0, sizeof(here));
    memset(used, 0, sizeof(used));
    for (unsigned l = 0; l < RTP_LAYERS_MAX; l++)
        world_stream_init(&stream[l], kind, (uint8_t)l, (uint8_t)l, &rnd);
    video_forward_init(&fwd, (uint16_t)rand_src_u64(&rnd), (uint32_t)rand_src_u64(&rnd));
    top = fwd._next_seq;
    for (unsigned step = 0; r.left > 0 && step < STEPS_MAX; step++) {
        uint8_t op = rd_u8(&r), arg = rd_u8(&r);
        unsigned layer = op / 16 % RTP_LAYERS_MAX;
        switch (op % 8) {
        case 0: /* a picture is made, none of it comes yet */
            make_picture(layer, arg & 1, (uint8_t)(arg >> 1), now_us, &rnd);
            break;
        case 1: /* a picture that comes at once */
        case 2: {
            uint64_t from = stream[layer].seq;
            make_picture(layer, arg & 1, 0, now_us, &rnd);
            for (; from < stream[layer].seq; from++) {
                world_arrive(&stream[layer], &packets[layer][from % SLOTS], now_us);
                give(&packets[layer][from % SLOTS], &top);
            }
            break;
        }
        case 3: /* any packet that did not come, or was dropped */
            if (here[layer][arg % SLOTS]) {
                world_arrive(&stream[layer], &packets[layer][arg % SLOTS], now_us);
                give(&packets[layer][arg % SLOTS], &top);
            }
            break;
        case 4:
            video_forward_target(&fwd, (int)(arg % 4) - 1, arg / 4 % 4, arg / 16 % 4);
            break;
        case 5:
            if (arg == 0)
                video_forward_source(&fwd);
            now_us += (uint64_t)arg * arg * 100;
            break;
        case 6:
            video_source_sr(&stream[layer].src, stream[layer].ts + arg, (uint64_t)arg << 40);
            break;
        default:
            now_us += arg * 1000u;
        }
        unsigned l, s, t;
        (void)video_forward_wants_key(&fwd, &l);
        (void)video_forward_current(&fwd, &l, &s, &t);
    }
    for (unsigned l = 0; l < RTP_LAYERS_MAX; l++)
        video_source_fini(&stream[l].src);
    return 0;
}
