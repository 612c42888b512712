/* Answers and events of one sori-server.
 * Called by ctl_listener.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/ctl_peer.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"

#define SEQ_TEXT_MAX 32

struct answer {
    uint64_t id; /* 0: none */
    uint8_t *p;  /* NULL: not answered yet, or without memory */
    size_t len;
    bool busy;
};

struct kept {
    struct list link;
    uint64_t seq;
    size_t len;
    uint8_t bytes[];
};

struct ctl_peer {
    char name[CTL_NAME_MAX + 1];
    uint64_t epoch, newest, next_seq;
    struct ctl_peer_conf conf;
    struct answer answer[CTL_ANSWERS_MAX];
    struct list events;
    unsigned n_events;
    size_t bytes;
    bool lost;
};

struct ctl_peer *ctl_peer_new(struct slice name, uint64_t epoch, const struct ctl_peer_conf *conf)
{
    struct ctl_peer *p = mem_zalloc(sizeof(*p));

    if (!p || slice_to_cstr(name, p->name, sizeof(p->name)) != 0) {
        mem_free(p);
        return NULL;
    }
    p->conf = *conf;
    p->epoch = epoch;
    p->next_seq = 1;
    list_init(&p->events);
    return p;
}

static void drop_events(struct ctl_peer *p, uint64_t upto)
{
    LIST_EACH(it, tmp, &p->events)
    {
        struct kept *k = CONTAINER_OF(it, struct kept, link);

        if (k->seq > upto)
            break;
        list_del(it);
        p->n_events--;
        p->bytes -= k->len;
        mem_free(k);
    }
}

static void drop_answers(struct ctl_peer *p)
{
    for (size_t i = 0; i < CTL_ANSWERS_MAX; i++) {
        mem_free(p->answer[i].p);
        p->answer[i] = (struct answer){0};
    }
}

void ctl_peer_free(struct ctl_peer *p)
{
    if (!p)
        return;
    drop_events(p, UINT64_MAX);
    drop_answers(p);
    mem_free(p);
}

void ctl_peer_restart(struct ctl_peer *p, uint64_t epoch)
{
    drop_events(p, UINT64_MAX);
    drop_answers(p);
    p->epoch = epoch;
    p->newest = 0;
    p->next_seq = 1;
    p->lost = false;
}

uint64_t ctl_peer_epoch(const struct ctl_peer *p)
{
    return p->epoch;
}

enum ctl_peer_verdict ctl_peer_request(struct ctl_peer *p, uint64_t id, struct slice *answer)
{
    struct answer *a = &p->answer[id % CTL_ANSWERS_MAX];

    if (a->id == id) {
        *answer = slice_of(a->p, a->len);
        return a->busy ? CTL_PEER_BUSY : a->p ? CTL_PEER_REPEAT : CTL_PEER_STALE;
    }
    if ((id < p->newest && p->newest - id >= CTL_ANSWERS_MAX) || a->id > id)
        return CTL_PEER_STALE;
    mem_free(a->p);
    *a = (struct answer){.id = id, .busy = true};
    if (id > p->newest)
        p->newest = id;
    return CTL_PEER_NEW;
}

void ctl_peer_answer(struct ctl_peer *p, uint64_t id, struct slice message)
{
    struct answer *a = &p->answer[id % CTL_ANSWERS_MAX];

    if (a->id != id || !a->busy)
        return;
    a->busy = false;
    a->p = mem_realloc(NULL, message.len);
    if (a->p)
        memcpy(a->p, message.p, message.len);
    a->len = a->p ? message.len : 0;
}

struct slice ctl_peer_event(struct ctl_peer *p, struct slice message)
{
    char seq[SEQ_TEXT_MAX];
    int n = snprintf(seq, sizeof(seq), "\"seq\":%" PRIu64 ",", p->next_seq++);
    size_t len = message.len + (size_t)n, at = CTL_HEADER_BYTES + 1;
    struct kept *k = p->n_events < p->conf.events_max && len <= p->conf.bytes_max - p->bytes
                         ? mem_realloc(NULL, sizeof(*k) + len)
                         : NULL;

    if (!k) {
        drop_events(p, UINT64_MAX);
        p->lost = true;
        return (struct slice){0};
    }
    /* {"t":… becomes {"seq":7,"t":… */
    struct wr w = wr_init(k->bytes, len);
    wr_be32(&w, (uint32_t)(len - CTL_HEADER_BYTES));
    wr_str(&w, "{");
    wr_str(&w, seq);
    wr_bytes(&w, slice_sub(message, at, message.len));
    k->seq = p->next_seq - 1;
    k->len = len;
    k->link = (struct list){0};
    list_append(&p->events, &k->link);
    p->n_events++;
    p->bytes += len;
    return slice_of(k->bytes, len);
}

void ctl_peer_ack(struct ctl_peer *p, uint64_t seq)
{
    drop_events(p, seq);
}

struct slice ctl_peer_next(const struct ctl_peer *p, uint64_t *seq)
{
    for (struct list *it = p->events.next; it != &p->events; it = it->next) {
        const struct kept *k = CONTAINER_OF(it, struct kept, link);

        if (k->seq > *seq) {
            *seq = k->seq;
            return slice_of(k->bytes, k->len);
        }
    }
    return (struct slice){0};
}

bool ctl_peer_lost(struct ctl_peer *p)
{
    bool lost = p->lost;

    p->lost = false;
    return lost;
}
