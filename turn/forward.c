/* Messages of clients whose allocation is another worker's.
 *
 * Called by the listeners, by turn_worker.c, and by handover.c on the other side. The kernel steers
 * a client that has moved by its new address; the allocation stays where it is. Where the client
 * came over UDP its owner answers by itself, from a socket of the same address; a connection or
 * association is the other worker's, and what is for it goes back there:
 *
 *     client ──► listener ──DISPATCH_FORWARD──► forward_message ══► dispatch_client (owner)
 *     client ◄── listener ◄── on_to_client ◄══ forward_to_client ◄── relay_from_peer, answers
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/forward.h"

#include "turn/dispatch.h"
#include "turn/relay_sock.h"
#include "turn/turn_dtls_listener.h"
#include "turn/turn_tcp_listener.h"
#include "turn/turn_udp_listener.h"

/* In front of each message. */
struct forward_head {
    struct five_tuple tuple;
    struct addr via;
    uint32_t
        seq; /* of the guest's messages: an owner's "left" is about one, not about later ones */
};

static bool push(struct turn_worker *w, unsigned to, enum handover_kind kind,
                 const struct five_tuple *tuple, uint32_t seq, const struct slice *parts, size_t n)
{
    const struct forward_head head = {*tuple, w->core.via, seq};
    struct slice all[4] = {slice_of(&head, sizeof(head))};

    for (size_t i = 0; i < n; i++)
        all[1 + i] = parts[i];
    return handover_push(w, to, kind, all, 1 + n);
}

void forward_message(struct turn_worker *w, const struct five_tuple *from, struct slice msg)
{
    struct guest *g = guest_find(&w->core.guests, from);

    push(w, w->core.forward_to, HANDOVER_FROM_CLIENT, from, g ? ++g->seq : 0, &msg, 1);
}

void forward_to_client(struct turn_worker *w, const struct alloc *a,
                       const struct relay_to_client *out)
{
    static const uint8_t zero[4];
    const struct slice parts[] = {slice_of(out->head, out->head_len), out->payload,
                                  slice_of(zero, out->pad)};

    push(w, a->at, HANDOVER_TO_CLIENT, &a->tuple, 0, parts, ARRAY_LEN(parts));
}

void forward_left(struct turn_worker *w, unsigned at, const struct five_tuple *tuple, uint32_t seq)
{
    if (w->answering && five_tuple_eq(w->answering, tuple))
        return; /* it must hear our answer first: on_message() */
    push(w, at, HANDOVER_LEFT, tuple, seq, NULL, 0);
}

void forward_gone(struct turn_worker *w, const struct five_tuple *tuple)
{
    struct guest *g = guest_find(&w->core.guests, tuple);

    if (!g)
        return;
    push(w, g->owner, HANDOVER_GONE, tuple, 0, NULL, 0);
    guest_del(&w->core.guests, g);
}

/* The answer to a client that came in at the worker `at`. */
static void answer_back(struct turn_worker *w, unsigned at, const struct forward_head *head,
                        struct slice answer)
{
    const struct five_tuple *t = &head->tuple;

    if (t->transport != FIVE_TUPLE_UDP)
        push(w, at, HANDOVER_TO_CLIENT, t, 0, &answer, 1);
    else
        udp_send_copy(turn_udp_listener_sock(w->udp[t->listener]),
                      head->via.family == ADDR_NONE ? &t->client : &head->via, answer);
}

static void on_message(struct turn_worker *w, unsigned from, const struct forward_head *head,
                       struct slice msg)
{
    struct turn_core *c = &w->core;
    uint8_t buf[DISPATCH_ANSWER_MAX];
    struct wr answer = wr_init(buf, sizeof(buf));
    struct relay_to_peer out;

    c->forwarded = true;
    c->came_from = from;
    c->via = head->via;
    w->answering = &head->tuple;
    enum dispatch_verdict v =
        dispatch_client(c, &head->tuple, NULL, msg, worker_now(w->loop), &answer, &out);
    c->forwarded = false;
    c->via = (struct addr){0};
    if (v == DISPATCH_RELAY)
        relay_sock_send(w, &out);
    else if (v == DISPATCH_ANSWER)
        answer_back(w, from, head, wr_done(&answer));
    w->answering = NULL;
    struct alloc *a = alloc_find(&c->allocs, &head->tuple);
    if (!a)
        forward_left(w, from, &head->tuple, head->seq);
    else if (a->moving && five_tuple_eq(&a->mobile->next.tuple, &head->tuple))
        a->mobile->next.seq = head->seq;
    else
        a->seq = head->seq;
}

static void on_to_client(struct turn_worker *w, const struct five_tuple *tuple, struct slice msg)
{
    const struct guest *g = guest_find(&w->core.guests, tuple);
    const struct relay_to_client out = {.payload = msg};

    if (!g || !g->link)
        turn_metrics_drop(&w->core.metrics, TURN_DROP_NO_ALLOCATION);
    else if (tuple->transport == FIVE_TUPLE_DTLS)
        turn_dtls_listener_send(g->link, &out);
    else
        turn_tcp_listener_send(g->link, &out);
}

static void on_left(struct turn_worker *w, unsigned from, const struct five_tuple *tuple,
                    uint32_t seq)
{
    struct guest *g = guest_find(&w->core.guests, tuple);

    if (!g || g->owner != from || g->seq != seq)
        return; /* what came later is on its way to the owner, who will say so again */
    if (g->link && tuple->transport == FIVE_TUPLE_DTLS)
        turn_dtls_listener_left(g->link);
    else if (g->link)
        turn_tcp_listener_left(g->link);
    guest_del(&w->core.guests, g);
}

void forward_arrived(struct turn_worker *w, unsigned from, enum handover_kind kind,
                     struct slice record)
{
    struct forward_head head;
    struct slice msg = slice_sub(record, sizeof(head), SIZE_MAX);

    memcpy(&head, record.p, sizeof(head));
    switch (kind) {
    case HANDOVER_FROM_CLIENT:
        on_message(w, from, &head, msg);
        break;
    case HANDOVER_TO_CLIENT:
        on_to_client(w, &head.tuple, msg);
        break;
    case HANDOVER_LEFT:
        on_left(w, from, &head.tuple, head.seq);
        break;
    case HANDOVER_GONE:
        turn_core_client_gone(&w->core, &head.tuple, worker_now(w->loop));
        break;
    case HANDOVER_RELAYED:
        break;
    }
}
