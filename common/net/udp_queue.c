/* Datagrams on their way out, merged into runs.
 *
 * Called by udp.c (adding) and the back ends (sending). SPDX-License-Identifier: BSD-3-Clause */
#include "net/udp_queue.h"

#include <errno.h>
#include <netinet/udp.h>

#include "base/mem.h"

#define RUN_PKTS     64    /* datagrams that every kernel takes as one run */
#define RUN_BYTES    65000 /* and bytes: IPv4 has 65507 for them */
#define QUEUED_PKTS  16    /* datagrams that may be queued for each run, on average */
#define PARTS        3     /* of a queued datagram: head, body, padding */
#define HEAD_AVERAGE 16    /* bytes of a head; many heads of UDP_HEAD_MAX fill the queue early */

static size_t iov_cap(const struct udp_queue *q)
{
    return (size_t)q->cap * QUEUED_PKTS * PARTS;
}

static size_t head_cap(const struct udp_queue *q)
{
    return (size_t)q->cap * QUEUED_PKTS * HEAD_AVERAGE;
}

int udp_queue_init(struct udp_queue *q, unsigned cap, bool gso)
{
    *q = (struct udp_queue){.gso = gso, .cap = cap};
    q->run = mem_calloc(cap, sizeof(*q->run));
    q->iov = mem_calloc(iov_cap(q), sizeof(*q->iov));
    q->head = mem_calloc(head_cap(q), 1);
    q->copy = mem_calloc(cap, sizeof(*q->copy));
    q->hdr = mem_calloc(cap, sizeof(*q->hdr));
    q->to = mem_calloc(cap, sizeof(*q->to));
    q->control = mem_calloc(cap, sizeof(*q->control));
    return q->run && q->iov && q->head && q->copy && q->hdr && q->to && q->control ? 0 : -ENOMEM;
}

void udp_queue_fini(struct udp_queue *q)
{
    mem_free(q->run);
    mem_free(q->iov);
    mem_free(q->head);
    mem_free(q->copy);
    mem_free(q->hdr);
    mem_free(q->to);
    mem_free(q->control);
    *q = (struct udp_queue){0};
}

bool udp_queue_is_full(const struct udp_queue *q)
{
    return q->n == q->cap || q->copies == q->cap || iov_cap(q) - q->iovs < PARTS ||
           head_cap(q) - q->heads < UDP_HEAD_MAX;
}

/* True when a datagram may become the last one of the run. */
static bool joins(const struct udp_queue *q, const struct udp_run *r, const struct udp_sock *s,
                  const struct addr *to, struct udp_mark mark, size_t len)
{
    return q->gso && r->sock == s && !r->closed && len > 0 && len <= r->seg && r->pkts < RUN_PKTS &&
           len <= RUN_BYTES - r->bytes && addr_eq(&r->to, to) && r->mark.tos == mark.tos &&
           r->mark.ttl == mark.ttl;
}

/* A new run, hung on the chain of its socket. Two descriptors with the same tail take turns at
 * beginning new chains; each one's order stays, because chains are sent by age. */
static struct udp_run *run_begin(struct udp_queue *q, struct udp_sock *s, const struct addr *to,
                                 struct udp_mark mark, size_t len)
{
    struct udp_run *r = &q->run[q->n++];
    unsigned *tail = &q->tail[(unsigned)s->fd % UDP_TAILS];
    struct udp_run *prev = *tail ? &q->run[*tail - 1] : NULL;

    *r = (struct udp_run){
        .to = *to,
        .sock = s,
        .mark = mark,
        .first_iov = q->iovs,
        .seg = len,
        .closed = len == 0 || len > RUN_BYTES,
    };
    if (prev && prev->sock == s)
        prev->next = q->n;
    else
        r->begins = true;
    *tail = q->n;
    return r;
}

static void part(struct udp_queue *q, struct udp_run *r, const void *p, size_t len)
{
    if (len == 0)
        return;
    q->iov[q->iovs++] = (struct iovec){(void *)(uintptr_t)p, len};
    r->iovs++;
}

/* Makes the datagram's place: the last run, if it fits, or a new one. */
static struct udp_run *place(struct udp_queue *q, struct udp_sock *s, const struct addr *to,
                             struct udp_mark mark, size_t len)
{
    struct udp_run *r = q->n > 0 ? &q->run[q->n - 1] : NULL;

    if (!r || !joins(q, r, s, to, mark, len))
        r = run_begin(q, s, to, mark, len);
    r->pkts++;
    r->bytes += len;
    if (len < r->seg)
        r->closed = true;
    return r;
}

/* A copy of bytes that lives until the queue is cleared. */
static struct slice keep(struct udp_queue *q, struct slice bytes)
{
    struct wr w = wr_init(q->copy[q->copies++], UDP_COPY_MAX);

    wr_bytes(&w, slice_sub(bytes, 0, UDP_COPY_MAX));
    return wr_done(&w);
}

void udp_queue_add(struct udp_queue *q, struct udp_sock *s, const struct udp_out *out)
{
    static const uint8_t zeros[4];
    struct wr w = wr_init(&q->head[q->heads], UDP_HEAD_MAX);
    unsigned pad = out->pad & 3;

    wr_bytes(&w, slice_sub(out->head, 0, UDP_HEAD_MAX));
    q->heads += w.len;
    struct slice body = out->copy ? keep(q, out->body) : out->body;
    struct udp_run *r = place(q, s, out->to, out->mark, w.len + body.len + pad);
    part(q, r, w.base, w.len);
    part(q, r, body.p, body.len);
    part(q, r, zeros, pad);
}

/* Adds a control message to h, which must have room. */
static void put_control(struct msghdr *h, int level, int type, const void *value, size_t len)
{
    struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)h->msg_control + h->msg_controllen);

    c->cmsg_len = CMSG_LEN(len);
    c->cmsg_level = level;
    c->cmsg_type = type;
    memcpy(CMSG_DATA(c), value, len);
    h->msg_controllen += CMSG_SPACE(len);
}

void udp_queue_mark(struct msghdr *h, const struct udp_run *r)
{
    bool v6 = r->to.family == ADDR_V6;
    int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP, tos = r->mark.tos, ttl = r->mark.ttl;

    h->msg_controllen = 0;
    if (ttl == 0)
        return;
    put_control(h, level, v6 ? IPV6_TCLASS : IP_TOS, &tos, sizeof(tos));
    put_control(h, level, v6 ? IPV6_HOPLIMIT : IP_TTL, &ttl, sizeof(ttl));
}

struct msghdr *udp_queue_describe(struct udp_queue *q, const struct udp_run *r, unsigned at)
{
    struct msghdr *h = &q->hdr[at].msg_hdr;
    uint16_t seg = (uint16_t)r->seg;

    *h = (struct msghdr){
        .msg_name = &q->to[at],
        .msg_namelen = addr_to_sockaddr(&r->to, &q->to[at]),
        .msg_iov = &q->iov[r->first_iov],
        .msg_iovlen = r->iovs,
        .msg_control = &q->control[at],
    };
    udp_queue_mark(h, r);
    if (r->pkts > 1)
        put_control(h, IPPROTO_UDP, UDP_SEGMENT, &seg, sizeof(seg));
    return h;
}

void udp_queue_clear(struct udp_queue *q)
{
    for (unsigned i = 0; i < q->n; i++)
        q->tail[(unsigned)q->run[i].sock->fd % UDP_TAILS] = 0;
    q->n = q->iovs = q->copies = 0;
    q->heads = 0;
}
