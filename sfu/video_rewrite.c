/* Writes what changes in a video packet on its way to one receiver.
 *
 * Called by video_forward.c for each packet sent, and for each sent again. Pure. Picture ids are
 * always written with 15 bits, so that sources with 7 and with 15 can follow one another; a payload
 * descriptor with 7 bits grows by one byte then (RFC 7741 §4.2, RFC 9628 §4.2: same encoding).
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/video_rewrite.h"

#include "sfu/video_select.h"

enum { PID_LONG = 0x80 };

static void rewrite_descriptor(const struct media_packet *m, const struct video_sent *sent,
                               struct video_out *out)
{
    const struct video_packet *v = &m->video;
    struct slice payload = media_payload(m);
    struct rd r = rd_init(payload);
    struct wr w = wr_init(out->patch, sizeof(out->patch));
    bool pid = v->facts & VIDEO_HAS_PID, tl0 = v->facts & VIDEO_HAS_TL0;

    out->skip = out->patch_len = 0;
    if ((!pid || (v->pid_bits == 15 && sent->pid == v->pid)) && (!tl0 || sent->tl0 == v->tl0))
        return;
    if (pid) {
        wr_bytes(&w, rd_take(&r, v->pid_at));
        wr_be16(&w, (uint16_t)(PID_LONG << 8 | sent->pid));
        (void)rd_take(&r, v->pid_bits == 15 ? 2 : 1);
    }
    if (tl0) {
        wr_bytes(&w, rd_take(&r, v->tl0_at - (payload.len - r.left)));
        wr_u8(&w, sent->tl0);
        (void)rd_u8(&r);
    }
    out->skip = (uint8_t)(payload.len - r.left);
    out->patch_len = (uint8_t)w.len;
}

/* A mask is to be written: bits may move, the whole descriptor is looked at. False when the
 * structure it goes by is gone. */
static bool rewrite_with_mask(const struct video_source *src, const struct media_packet *m,
                              struct dependency_patch *p, uint8_t target, struct wr *w)
{
    const struct video_packet *v = &m->video;
    const struct video_targets *t = video_source_targets(src, v->structure);
    struct slice bytes = media_part(m, m->dependency);
    struct dependency_structure fresh;
    struct dependency d;

    if (!t || src->_generation != v->structure ||
        dependency_decode(&d, src->_structure, &fresh, bytes) != 0)
        return false;
    p->put_mask = true;
    p->n_targets = t->n;
    p->mask = video_select_targets(t, v->active, target);
    dependency_rewrite(w, bytes, &d, p);
    return !w->bad;
}

static void rewrite_dependency(const struct video_source *src, const struct media_packet *m,
                               const struct video_sent *sent, struct video_out *out)
{
    const struct video_packet *v = &m->video;
    struct wr w = wr_init(out->dd, sizeof(out->dd));
    struct dependency_patch p = {.frame = sent->frame, .template_delta = sent->template_delta};

    out->dd_len = 0;
    if (!(v->facts & (VIDEO_DD | VIDEO_DD_UNKNOWN)))
        return;
    if (sent->target == VIDEO_NO_MASK || !rewrite_with_mask(src, m, &p, sent->target, &w)) {
        struct dependency d = {.template_id = v->template_id,
                               .has_structure = v->facts & VIDEO_DD_STRUCTURE,
                               .mask_present = v->facts & VIDEO_DD_ACTIVE};
        p.put_mask = false;
        w = wr_init(out->dd, sizeof(out->dd));
        dependency_rewrite(&w, media_part(m, m->dependency), &d, &p);
    }
    out->dd_len = (uint8_t)w.len;
}

void video_rewrite(const struct video_source *src, const struct media_packet *m,
                   const struct video_sent *sent, struct video_out *out)
{
    out->ts = sent->ts;
    out->marker = sent->marker;
    rewrite_descriptor(m, sent, out);
    rewrite_dependency(src, m, sent, out);
}
