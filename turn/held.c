/* Requests that wait until the keys of their user are known.
 *
 * Called by dispatch.c to keep one, by turn_worker.c when an answer has come, by turn_core.c when a
 * connection has gone. Pure. There are few at a time: a list is walked.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/held.h"

#include <errno.h>

#include "base/mem.h"

static void ready(struct held_list *l)
{
    if (!l->_all.next)
        list_init(&l->_all);
}

static struct held *at(struct list *it)
{
    return CONTAINER_OF(it, struct held, _link);
}

static unsigned count_of(struct held_list *l, const struct five_tuple *from)
{
    unsigned n = 0;

    LIST_EACH(it, tmp, &l->_all)
    n += five_tuple_eq(&at(it)->from, from);
    return n;
}

int held_add(struct held_list *l, const struct five_tuple *from, void *link, unsigned realm,
             struct slice name, struct slice msg, uint64_t until_us)
{
    if (l->n >= l->max || msg.len > HELD_BYTES_MAX || name.len > msg.len ||
        count_of(l, from) >= HELD_PER_CLIENT)
        return -ENOSPC;
    struct held *h = mem_zalloc(sizeof(*h) + name.len + msg.len);
    if (!h)
        return -ENOMEM;
    ready(l);
    h->link = link;
    h->from = *from;
    h->realm = realm;
    h->until_us = until_us;
    h->name_len = name.len;
    h->len = msg.len;
    struct wr w = wr_init(h->bytes, name.len + msg.len);
    wr_bytes(&w, name);
    wr_bytes(&w, msg);
    list_append(&l->_all, &h->_link);
    l->n++;
    return 0;
}

static struct held *take(struct held_list *l, struct held *h)
{
    list_del(&h->_link);
    l->n--;
    return h;
}

struct held *held_take(struct held_list *l, unsigned realm, struct slice name)
{
    LIST_EACH(it, tmp, &l->_all)
    {
        struct held *h = at(it);
        if (h->realm == realm && slice_eq(slice_of(h->bytes, h->name_len), name))
            return take(l, h);
    }
    return NULL;
}

struct held *held_take_expired(struct held_list *l, uint64_t now_us)
{
    LIST_EACH(it, tmp, &l->_all)
    {
        if (at(it)->until_us <= now_us)
            return take(l, at(it));
    }
    return NULL;
}

void held_free(struct held *h)
{
    mem_free(h);
}

struct slice held_message(const struct held *h)
{
    return slice_of(h->bytes + h->name_len, h->len);
}

void held_drop(struct held_list *l, const struct five_tuple *from)
{
    LIST_EACH(it, tmp, &l->_all)
    {
        if (five_tuple_eq(&at(it)->from, from))
            held_free(take(l, at(it)));
    }
}

void held_fini(struct held_list *l)
{
    LIST_EACH(it, tmp, &l->_all)
    held_free(take(l, at(it)));
}
