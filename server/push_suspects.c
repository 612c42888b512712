/* Tokens that were called bad.
 *
 * Called by push.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/push_suspects.h"

#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>

enum { EXPECT = 16 };

struct suspect {
    struct hnode node;
    struct list link;
    uint64_t at_us;
    enum ledger_env env;
    struct slice token, topic; /* in the memory behind this struct */
};

static struct suspect *oldest(const struct push_suspects *s)
{
    return list_empty(&s->oldest_first)
               ? NULL
               : CONTAINER_OF(list_first(&s->oldest_first), struct suspect, link);
}

static void drop(struct push_suspects *s, struct suspect *x)
{
    htable_del(&s->by_token, &x->node);
    list_del(&x->link);
    mem_free(x);
}

int push_suspects_init(struct push_suspects *s)
{
    *s = (struct push_suspects){0};
    list_init(&s->oldest_first);
    return htable_init(&s->by_token, EXPECT);
}

void push_suspects_fini(struct push_suspects *s)
{
    LIST_EACH(l, tmp, &s->oldest_first)
    drop(s, CONTAINER_OF(l, struct suspect, link));
    htable_fini(&s->by_token);
}

bool push_suspects_has(const struct push_suspects *s, struct slice token)
{
    if (list_empty(&s->oldest_first))
        return false;
    for (struct hnode *n = htable_first(&s->by_token, hash_bytes(token)); n; n = htable_next(n))
        if (slice_eq(CONTAINER_OF(n, struct suspect, node)->token, token))
            return true;
    return false;
}

int push_suspects_add(struct push_suspects *s, struct slice token, struct slice topic,
                      enum ledger_env env, uint64_t now_us)
{
    if (push_suspects_has(s, token))
        return 0;
    if (s->by_token.count >= PUSH_BAD_MAX)
        return -ENOSPC;
    struct suspect *x = mem_zalloc(sizeof(*x) + token.len + topic.len);
    if (!x)
        return -ENOMEM;
    struct wr w = wr_init(x + 1, token.len + topic.len);
    wr_bytes(&w, token);
    wr_bytes(&w, topic);
    x->token = slice_of(w.base, token.len);
    x->topic = slice_of(&w.base[token.len], topic.len);
    x->at_us = now_us;
    x->env = env;
    htable_add(&s->by_token, &x->node, hash_bytes(x->token));
    list_append(&s->oldest_first, &x->link);
    return 0;
}

void push_suspects_doubt(struct push_suspects *s, struct slice topic, enum ledger_env env,
                         uint64_t since_us)
{
    LIST_EACH(l, tmp, &s->oldest_first)
    {
        struct suspect *x = CONTAINER_OF(l, struct suspect, link);
        if (x->at_us >= since_us && slice_eq(x->topic, topic) &&
            (x->env == env || x->env == LEDGER_ENV_UNKNOWN))
            drop(s, x);
    }
}

uint64_t push_suspects_deadline(const struct push_suspects *s)
{
    const struct suspect *x = oldest(s);

    return x ? x->at_us + PUSH_BAD_US : CLOCK_NEVER;
}

struct slice push_suspects_due(struct push_suspects *s, uint64_t now_us, uint8_t *token)
{
    struct suspect *x = oldest(s);
    struct wr w = wr_init(token, LEDGER_TOKEN_MAX);

    if (!x || x->at_us + PUSH_BAD_US > now_us)
        return (struct slice){0};
    wr_bytes(&w, x->token);
    drop(s, x);
    return wr_done(&w);
}
