/* WebSocket decoder: the same bytes whole and in parts must give the same events and verdict.
 *
 * Input: one byte that seeds the cutting, then what a client sends.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/mem.h"
#include "proto/ws.h"

#include <stdlib.h>

#define FUZZ_MAX_MESSAGE 2000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What came out, as one number: events, codes, payloads, in order. */
struct outcome {
    uint64_t hash;
    unsigned events;
};

static void mix(struct outcome *o, uint64_t v)
{
    o->hash = (o->hash ^ v) * UINT64_C(0x100000001b3);
}

static void record(struct outcome *o, const struct ws_event *ev)
{
    o->events++;
    mix(o, ev->type);
    mix(o, ev->opcode);
    mix(o, ev->code);
    mix(o, ev->payload.len);
    for (size_t i = 0; i < ev->payload.len; i++)
        mix(o, ev->payload.p[i]);
    if (ev->type == WS_MESSAGE && ev->opcode == WS_OP_TEXT && !utf8_valid(ev->payload))
        abort();
    if (ev->type == WS_MESSAGE && ev->payload.len > FUZZ_MAX_MESSAGE)
        abort();
}

/* Feeds all of in, `step` bytes at a time at most. */
static struct outcome run(struct slice in, size_t step)
{
    struct outcome o = {0};
    struct ws w;
    struct ws_event ev;
    uint8_t *buf = mem_zalloc(in.len + 1);
    size_t at = 0, to = 0;
    ws_init(&w, FUZZ_MAX_MESSAGE);
    while (to < in.len) {
        to = in.len - to < step ? in.len : to + step;
        size_t len = to - at, used = 0;
        memcpy(buf, in.p + at, len);
        do {
            used += ws_recv(&w, buf + used, len - used, &ev);
            if (used > len)
                abort();
            if (ev.type != WS_NONE)
                record(&o, &ev);
        } while (ev.type != WS_NONE);
        if (len - used > WS_PENDING_MAX)
            abort();
        at += used;
    }
    ws_fini(&w);
    mem_free(buf);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 65536)
        return 0;
    struct slice in = slice_of(data + 1, size - 1);
    struct outcome whole = run(in, SIZE_MAX), parts = run(in, 1 + data[0] % 23);
    if (whole.hash != parts.hash || whole.events != parts.events)
        abort();
    return 0;
}
