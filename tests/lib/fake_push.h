/* A push service without a network: keeps what it is given until the test says what became of it.
 *
 * For router_push_test.c and router_sim.c. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_FAKE_PUSH_H
#define SORI_TESTS_LIB_FAKE_PUSH_H

#include "server/push.h"
#include "server/router.h"

#include <stdio.h>
#include <string.h>

enum { FAKE_PUSH_MAX = 64 };

struct fake_pushed {
    struct push_out *out; /* NULL: judged */
    bool cancelled;
    char id[PUSH_ID_TEXT + 1];
    enum push_kind kind;
    char token[64], call[40], from[64], name[64], k[PUSH_RING_TOKEN_MAX + 1], status[16];
    uint64_t deadline_us, ring_until_s;
    unsigned badge;
};

struct fake_push {
    struct router_push_service service;
    struct fake_pushed sent[FAKE_PUSH_MAX]; /* the newest FAKE_PUSH_MAX */
    unsigned n, under_way;
    int refuse; /* what send() returns */
};

static inline struct fake_pushed *fake_push_at(struct fake_push *f, unsigned i)
{
    return &f->sent[i % FAKE_PUSH_MAX];
}

static inline void fake_push_text(char *to, size_t cap, struct slice s)
{
    (void)snprintf(to, cap, "%.*s", (int)s.len, (const char *)s.p);
}

static inline int fake_push_send(void *arg, const struct push_job *job, struct push_out *out,
                                 char *id)
{
    struct fake_push *f = arg;
    struct fake_pushed *s = fake_push_at(f, f->n);

    if (f->refuse)
        return f->refuse;
    if (f->under_way == FAKE_PUSH_MAX || s->out)
        return -1; /* too many wait */
    *s = (struct fake_pushed){.out = out,
                              .kind = job->content.kind,
                              .deadline_us = job->deadline_us,
                              .ring_until_s = job->content.ring_until_s,
                              .badge = job->content.badge};
    fake_push_text(s->token, sizeof(s->token), job->token);
    fake_push_text(s->call, sizeof(s->call), job->content.call_id);
    fake_push_text(s->from, sizeof(s->from), job->content.from);
    fake_push_text(s->name, sizeof(s->name), job->content.name);
    fake_push_text(s->k, sizeof(s->k), job->content.ring_token);
    fake_push_text(s->status, sizeof(s->status), job->content.status);
    (void)snprintf(s->id, sizeof(s->id), "00000000-0000-4000-8000-%012x", f->n);
    memcpy(id, s->id, sizeof(s->id));
    f->n++;
    f->under_way++;
    return 0;
}

static inline void fake_push_cancel(void *arg, struct slice id)
{
    struct fake_push *f = arg;

    for (unsigned i = 0; i < FAKE_PUSH_MAX; i++)
        if (f->sent[i].out && slice_is(id, f->sent[i].id))
            f->sent[i].cancelled = true;
}

static inline void fake_push_init(struct fake_push *f)
{
    *f = (struct fake_push){.service = {fake_push_send, fake_push_cancel, f}};
}

/* Says what became of a push. False: it was judged before. */
static inline bool fake_push_judge(struct fake_push *f, unsigned i, enum push_result result,
                                   unsigned status)
{
    struct fake_pushed *s = fake_push_at(f, i);
    struct push_out *out = s->out;

    if (!out)
        return false;
    s->out = NULL;
    f->under_way--;
    push_verdict(out, &(struct push_verdict){.result = result,
                                             .status = status,
                                             .gone_since_ms = UINT64_MAX,
                                             .reason = result == PUSH_TAKEN ? (struct slice){0}
                                                                            : SLICE_LIT("Reason")});
    return true;
}

#endif
