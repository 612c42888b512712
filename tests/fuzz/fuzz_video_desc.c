/* Payload descriptors of all video codecs and the dependency descriptor. The first byte says which;
 * what is read can be written, and reads the same again.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "proto/av1_desc.h"
#include "proto/dependency.h"
#include "proto/h264_desc.h"
#include "proto/vp8_desc.h"
#include "proto/vp9_desc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t buf[1024];

static void expect(bool ok)
{
    if (!ok)
        abort();
}

static void vp8(struct slice in)
{
    struct vp8_desc d, e;

    if (vp8_desc_decode(&d, in) != 0)
        return;
    expect(d.len <= in.len && d.pid_at < d.len && d.tl0_at < d.len);
    struct wr w = wr_init(buf, sizeof(buf));
    vp8_desc_encode(&w, &d);
    expect(vp8_desc_decode(&e, wr_done(&w)) == 0 && e.len == w.len);
    expect(e.pid == d.pid && e.tl0 == d.tl0 && e.tid == d.tid && e.start == d.start);
}

static void vp9(struct slice in)
{
    struct vp9_desc d, e;

    if (vp9_desc_decode(&d, in) != 0)
        return;
    expect(d.len <= in.len && d.pid_at < d.len && d.tl0_at < d.len);
    struct wr w = wr_init(buf, sizeof(buf));
    vp9_desc_encode(&w, &d);
    expect(vp9_desc_decode(&e, wr_done(&w)) == 0 && e.len == w.len);
    expect(e.pid == d.pid && e.tl0 == d.tl0 && e.tid == d.tid && e.sid == d.sid);
    expect(e.n_refs == d.n_refs && e.n_spatial == d.n_spatial);
}

static void same(const struct dependency *a, const struct dependency *b, unsigned n_chains)
{
    expect(a->start == b->start && a->end == b->end && a->sid == b->sid && a->tid == b->tid);
    expect(a->dti == b->dti && a->n_fdiffs == b->n_fdiffs);
    expect(memcmp(a->fdiff, b->fdiff, a->n_fdiffs * sizeof(*a->fdiff)) == 0);
    expect(memcmp(a->chain, b->chain, n_chains) == 0);
}

/* A stream of descriptors, each behind its length. */
static void dependency(struct rd r)
{
    static struct dependency_structure s, fresh, moved;
    bool any = false;

    while (r.left > 0) {
        struct slice in = rd_take(&r, rd_u8(&r));
        struct dependency d, e;
        if (r.bad)
            return;
        if (dependency_decode(&d, any ? &s : NULL, &fresh, in) != 0)
            continue;
        if (d.has_structure) {
            s = fresh;
            any = true;
        }
        struct wr w = wr_init(buf, sizeof(buf));
        dependency_encode(&w, &d, &s, d.has_structure);
        if (!w.bad) { /* what is custom may take more room than the template it equals */
            expect(dependency_decode(&e, &s, &fresh, wr_done(&w)) == 0);
            same(&d, &e, s.n_chains);
        }
        struct dependency_patch p = {.frame = (uint16_t)~d.frame,
                                     .template_delta = (uint8_t)(in.len & 63),
                                     .put_mask = d.frame & 1,
                                     .n_targets = s.n_targets,
                                     .mask = (uint32_t)(d.frame * 2654435761u)};
        moved = s;
        moved.offset = (uint8_t)((s.offset + p.template_delta) & 63);
        w = wr_init(buf, sizeof(buf));
        dependency_rewrite(&w, in, &d, &p);
        if (w.bad)
            continue;
        expect(dependency_decode(&e, &moved, &fresh, wr_done(&w)) == 0 && e.frame == p.frame);
        expect(e.has_structure == d.has_structure);
        same(&d, &e, s.n_chains);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_init(slice_of(data, size));
    struct h264_desc h;
    struct av1_desc a;

    switch (rd_u8(&r) % 5) {
    case 0:
        vp8(rd_rest(&r));
        break;
    case 1:
        vp9(rd_rest(&r));
        break;
    case 2:
        (void)h264_desc_decode(&h, rd_rest(&r));
        break;
    case 3:
        (void)av1_desc_decode(&a, rd_rest(&r), true);
        (void)av1_desc_decode(&a, rd_rest(&r), false);
        break;
    default:
        dependency(r);
    }
    return 0;
}
