/* proto/ctl*.c: any text is a message or is refused with a reason; what is accepted, encoded and
 * decoded again is the same message. SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "proto/ctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void walk(const struct ctl_msg *m)
{
    struct ctl_walk it = {0};
    enum ctl_media media;
    struct slice id;
    size_t n = 0;

    if (m->type != CTL_SYNC || m->kind == CTL_KIND_ERROR)
        return;
    while (m->kind == CTL_KIND_REQUEST ? ctl_ids(&it, m->u.sync.participants, &id)
                                       : ctl_states(&it, m->u.synced.states, &id, &media))
        must(id.len > 0 && id.len <= CTL_PARTICIPANT_MAX && ++n <= CTL_PARTICIPANTS_MAX);
}

/* Decodes; on success encodes into out (escapes may make it longer than CTL_MESSAGE_MAX). */
static bool both_ways(struct slice text, struct slice *frame, uint8_t *out, size_t cap)
{
    static uint8_t scratch_mem[CTL_MESSAGE_MAX + CTL_SCRATCH_SPARE];
    static struct ctl_msg m;
    struct wr scratch = wr_init(scratch_mem, sizeof(scratch_mem)), w = wr_init(out, cap);
    const char *why = NULL;
    int rc = ctl_decode(&m, text, &scratch, &why);

    must(!scratch.bad && (rc == 0 || rc == -EBADMSG || rc == -EPROTO));
    must(rc == 0 || why);
    must(rc != -EPROTO || m.kind != CTL_KIND_REQUEST || m.id > 0);
    if (rc != 0)
        return false;
    walk(&m);
    ctl_encode(&w, &m);
    *frame = wr_done(&w);
    return !w.bad;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t one[CTL_HEADER_BYTES + CTL_MESSAGE_MAX], two[CTL_HEADER_BYTES + CTL_MESSAGE_MAX];
    struct slice first, again, text;
    size_t used;
    int rc = ctl_frame(slice_of(data, size), &text, &used);

    must(rc == 0 || rc == -EAGAIN || rc == -EMSGSIZE);
    must(rc != 0 || (used <= size && text.len == used - CTL_HEADER_BYTES));
    if (size > CTL_MESSAGE_MAX || !both_ways(slice_of(data, size), &first, one, sizeof(one)))
        return 0;
    must(ctl_frame(first, &text, &used) == 0 && used == first.len);
    must(both_ways(text, &again, two, sizeof(two)));
    must(slice_eq(first, again));
    return 0;
}
