/* Reliable messages of one session: numbers, acknowledgements, replay, stored replies.
 *
 * Called by session.c and client.c. A sent message is one heap block {link, numbers, text}; it sits
 * on _unacked until the client acknowledges it, and a reply then moves to _answered, where it waits
 * for a repeat of its request until RELIABLE_REPLY_BYTES_MAX pushes it out. An idle session holds
 * no block at all. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/reliable.h"

#include "base/clock.h"
#include "base/mem.h"

#define IDS_FIRST  8
#define PREFIX_MAX 64 /* {"seq":20 digits,"ack":20 digits, */

struct sent {
    struct list link;
    uint64_t seq, id_hash;
    size_t len;
    uint8_t text[];
};

static struct sent *sent_of(const struct list *l)
{
    return CONTAINER_OF(l, struct sent, link);
}

static void drop(struct sent *m)
{
    list_del(&m->link);
    mem_free(m);
}

/* Keeps an acknowledged reply, dropping older ones above the limit. */
static void keep_reply(struct reliable *r, struct sent *m)
{
    list_del(&m->link);
    list_append(&r->_answered, &m->link);
    r->_answered_bytes += m->len;
    while (r->_answered_bytes > RELIABLE_REPLY_BYTES_MAX) {
        struct sent *old = sent_of(list_first(&r->_answered));
        r->_answered_bytes -= old->len;
        drop(old);
    }
}

static void acknowledge(struct reliable *r, uint64_t ack)
{
    if (ack <= r->_out_acked)
        return;
    r->_out_acked = ack;
    LIST_EACH(l, tmp, &r->_unacked)
    {
        struct sent *m = sent_of(l);
        if (m->seq > ack)
            break;
        r->_unacked_n--;
        r->_unacked_bytes -= m->len;
        if (reliable_is_reply(m->id_hash))
            keep_reply(r, m);
        else
            drop(m);
    }
}

void reliable_init(struct reliable *r)
{
    *r = (struct reliable){._ack_due_us = CLOCK_NEVER};
    list_init(&r->_unacked);
    list_init(&r->_answered);
}

void reliable_fini(struct reliable *r)
{
    LIST_EACH(l, tmp, &r->_unacked)
    drop(sent_of(l));
    LIST_EACH(l, tmp, &r->_answered)
    drop(sent_of(l));
    mem_free(r->_asked._ids);
    mem_free(r->_heard._ids);
    reliable_init(r);
}

enum reliable_rx reliable_recv(struct reliable *r, uint64_t seq, bool has_ack, uint64_t ack,
                               uint64_t now_us)
{
    if (has_ack) {
        if (ack > r->out_seq)
            return RELIABLE_BAD;
        acknowledge(r, ack);
    }
    if (seq == 0)
        return RELIABLE_NEW;
    if (seq > r->in_seq + 1)
        return RELIABLE_BAD;
    if (seq <= r->in_seq) {
        /* Acknowledge again: the client repeats because it missed the first ack. */
        if (r->_in_told >= seq)
            r->_in_told = seq - 1;
        if (r->_ack_due_us == CLOCK_NEVER)
            r->_ack_due_us = now_us + RELIABLE_ACK_DELAY_US;
        return RELIABLE_SEEN;
    }
    r->in_seq = seq;
    if (r->in_seq - r->_in_told >= RELIABLE_ACK_EVERY)
        r->_ack_due_us = now_us;
    else if (r->_ack_due_us == CLOCK_NEVER)
        r->_ack_due_us = now_us + RELIABLE_ACK_DELAY_US;
    return RELIABLE_NEW;
}

/* Doubles the full ring up to its maximum; a failure leaves it as it is. */
static void grow(struct reliable_ids *r)
{
    size_t cap = r->_cap ? (size_t)r->_cap * 2 : IDS_FIRST;

    if (cap > RELIABLE_IDS_MAX)
        return;
    uint64_t *ids = mem_realloc(r->_ids, cap * sizeof(*ids));
    if (!ids)
        return;
    r->_ids = ids;
    r->_cap = (uint16_t)cap;
}

/* Whether it is there; adds it if not. */
static bool was_there(struct reliable_ids *r, uint64_t id)
{
    for (size_t i = 0; i < r->_n; i++)
        if (r->_ids[i] == id)
            return true;
    if (r->_n == r->_cap)
        grow(r);
    if (r->_n < r->_cap) {
        r->_ids[r->_n++] = id;
    } else if (r->_cap > 0) {
        r->_ids[r->_at] = id;
        r->_at = (uint16_t)((r->_at + 1) % r->_cap);
    }
    return false;
}

bool reliable_seen_id(struct reliable *r, uint64_t id_hash)
{
    return was_there(&r->_asked, id_hash);
}

bool reliable_heard(struct reliable *r, uint64_t id)
{
    return id != 0 && !reliable_is_reply(id) && was_there(&r->_heard, id);
}

/* The newest one: a request that was refused for its rate and came again has two. */
static struct slice find_reply(const struct list *head, uint64_t id_hash)
{
    for (const struct list *l = head->prev; l != head; l = l->prev)
        if (sent_of(l)->id_hash == id_hash)
            return slice_of(sent_of(l)->text, sent_of(l)->len);
    return (struct slice){0};
}

struct slice reliable_reply(const struct reliable *r, uint64_t id_hash)
{
    struct slice s = find_reply(&r->_unacked, id_hash);

    return s.len > 0 ? s : find_reply(&r->_answered, id_hash);
}

struct slice reliable_send(struct reliable *r, const struct reliable_limits *lim, struct slice body,
                           uint64_t id_hash)
{
    uint8_t prefix[PREFIX_MAX];
    struct wr w = wr_init(prefix, sizeof(prefix));

    wr_str(&w, "{\"seq\":");
    wr_u64(&w, r->out_seq + 1);
    if (r->in_seq > r->_in_told) {
        wr_str(&w, ",\"ack\":");
        wr_u64(&w, r->in_seq);
    }
    wr_u8(&w, ',');
    struct slice head = wr_done(&w);
    if (r->_unacked_n >= lim->messages || head.len + body.len > lim->bytes - r->_unacked_bytes)
        return (struct slice){0};
    struct sent *m = mem_realloc(NULL, sizeof(*m) + head.len + body.len);
    if (!m)
        return (struct slice){0};
    *m = (struct sent){.seq = ++r->out_seq, .id_hash = id_hash, .len = head.len + body.len};
    memcpy(m->text, head.p, head.len);
    memcpy(m->text + head.len, body.p, body.len);
    list_append(&r->_unacked, &m->link);
    r->_unacked_n++;
    r->_unacked_bytes += m->len;
    r->_in_told = r->in_seq;
    r->_ack_due_us = CLOCK_NEVER;
    return slice_of(m->text, m->len);
}

bool reliable_has_room(const struct reliable *r, const struct reliable_limits *lim, size_t len)
{
    size_t most = lim->bytes / 2;

    return r->_unacked_n < lim->messages / 2 && r->_unacked_bytes < most &&
           len <= most - r->_unacked_bytes;
}

struct slice reliable_replay(const struct reliable *r, uint64_t last_seq, const struct list **pos)
{
    const struct list *l = *pos ? (*pos)->next : r->_unacked.next;

    while (l != &r->_unacked && sent_of(l)->seq <= last_seq)
        l = l->next;
    *pos = l;
    if (l == &r->_unacked)
        return (struct slice){0};
    return slice_of(sent_of(l)->text, sent_of(l)->len);
}

void reliable_numbers(const struct list *pos, uint64_t *seq, uint64_t *id_hash)
{
    *seq = sent_of(pos)->seq;
    *id_hash = sent_of(pos)->id_hash;
}

void reliable_restore(struct reliable *r, uint64_t in_seq, uint64_t out_seq, uint64_t acked)
{
    r->in_seq = r->_in_told = in_seq;
    r->out_seq = out_seq;
    r->_out_acked = acked;
}

bool reliable_restore_message(struct reliable *r, uint64_t seq, uint64_t id_hash, struct slice text)
{
    struct sent *m = mem_realloc(NULL, sizeof(*m) + text.len);

    if (!m)
        return false;
    *m = (struct sent){.seq = seq, .id_hash = id_hash, .len = text.len};
    memcpy(m->text, text.p, text.len);
    list_append(&r->_unacked, &m->link);
    r->_unacked_n++;
    r->_unacked_bytes += m->len;
    (void)reliable_heard(r, id_hash);
    return true;
}

struct slice reliable_body(struct slice text)
{
    size_t n = sizeof("{\"seq\":") - 1;
    bool acks;

    do {
        while (n < text.len && text.p[n] != ',')
            n++;
        n++;
        acks = slice_starts(slice_sub(text, n, text.len), SLICE_LIT("\"ack\":"));
    } while (acks && n < text.len);
    return slice_sub(text, n, text.len);
}

bool reliable_can_resume(const struct reliable *r, uint64_t last_seq)
{
    return last_seq >= r->_out_acked && last_seq <= r->out_seq;
}

uint64_t reliable_acked(const struct reliable *r)
{
    return r->_out_acked;
}

uint64_t reliable_deadline(const struct reliable *r)
{
    return r->_ack_due_us;
}

uint64_t reliable_take_ack(struct reliable *r)
{
    r->_in_told = r->in_seq;
    r->_ack_due_us = CLOCK_NEVER;
    return r->in_seq;
}
