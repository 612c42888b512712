/* The dependency descriptor (AV1 RTP specification, appendix A): which frames a frame needs and
 * which decode targets need it, without a look at the payload.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_DEPENDENCY_H
#define SORI_PROTO_DEPENDENCY_H

#include "base/bytes.h"

#define DEPENDENCY_TEMPLATES_MAX 64 /* 6 bit template ids */
#define DEPENDENCY_TARGETS_MAX   32 /* 5 bits */
#define DEPENDENCY_CHAINS_MAX    32
#define DEPENDENCY_SPATIAL_MAX   4 /* 2 bits */
#define DEPENDENCY_TEMPORAL_MAX  8 /* 3 bits */
#define DEPENDENCY_FDIFFS_MAX    8 /* that we read of one frame; AV1 has 7 references */
#define DEPENDENCY_LEN_MAX       255

enum dependency_dti { /* A.8.4 */
                      DEPENDENCY_NOT_PRESENT,
                      DEPENDENCY_DISCARDABLE,
                      DEPENDENCY_SWITCH,
                      DEPENDENCY_REQUIRED,
};

struct dependency_template {
    uint8_t sid, tid;
    uint8_t n_fdiffs;
    uint16_t fdiff[DEPENDENCY_FDIFFS_MAX];
    uint64_t dti; /* two bits each, target 0 lowest */
    uint8_t chain[DEPENDENCY_CHAINS_MAX];
};

struct dependency_structure {
    uint8_t offset; /* the id of template 0 */
    uint8_t n_templates, n_targets, n_chains;
    uint8_t max_sid, max_tid;
    uint8_t protected_by[DEPENDENCY_TARGETS_MAX]; /* the chain of a target; when n_chains > 0 */
    uint8_t target_sid[DEPENDENCY_TARGETS_MAX], target_tid[DEPENDENCY_TARGETS_MAX];
    bool has_resolution;
    struct {
        uint16_t width, height;
    } resolution[DEPENDENCY_SPATIAL_MAX];
    struct dependency_template v[DEPENDENCY_TEMPLATES_MAX];
};

struct dependency {
    bool start, end; /* of a frame */
    uint8_t template_id;
    uint16_t frame;
    bool has_structure; /* it brought one */
    bool has_active;    /* it brought the mask, or a structure (all targets then) */
    uint32_t active;    /* when has_active */
    /* Of this frame: the template's, or its own. */
    uint8_t sid, tid;
    uint8_t n_fdiffs;
    uint16_t fdiff[DEPENDENCY_FDIFFS_MAX];
    uint64_t dti;
    uint8_t chain[DEPENDENCY_CHAINS_MAX];
    /* Where a rewriter finds things, in bits from the start. */
    bool extended;
    bool mask_present;
    uint16_t mask_at; /* where the mask is or would be; 0 when not extended */
    uint16_t bits;    /* of all that was read; zero padding follows */
};

static inline enum dependency_dti dependency_dti(uint64_t dti, unsigned target)
{
    return (enum dependency_dti)(dti >> (2 * target) & 3);
}

/* Decodes one descriptor.
 *
 * structure: the stream's present one (NULL: none yet); fresh: where to put the one that the
 * descriptor may bring; it is written only then, and may be the same as structure.
 *
 * Returns 0; -EBADMSG (malformed, or beyond the limits above); -ENOENT when it refers to a template
 * that structure has not: the packet can't be understood (before the first key frame). */
int dependency_decode(struct dependency *out, const struct dependency_structure *structure,
                      struct dependency_structure *fresh, struct slice bytes);

/* What to change on the way. */
struct dependency_patch {
    uint16_t frame;
    uint8_t template_delta; /* added to template ids, modulo 64 */
    bool put_mask;
    uint8_t n_targets; /* bits of the mask */
    uint32_t mask;     /* bit i: target i */
};

/* Writes bytes (which decoded to d) with changes. At most DEPENDENCY_LEN_MAX bytes, else w->bad. */
void dependency_rewrite(struct wr *w, struct slice bytes, const struct dependency *d,
                        const struct dependency_patch *p);

/* Writes a descriptor from scratch (tests, load generators). structure: NULL, or the one to attach;
 * template_id must exist in ref, the structure in force. Own dependencies are written as custom
 * ones when they differ from the template's. */
void dependency_encode(struct wr *w, const struct dependency *d,
                       const struct dependency_structure *ref, bool attach);

#endif
