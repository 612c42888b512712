/* The fan-out.
 *
 * Called by producer.c (add) and sfu_core.c (flush). The order matters for speed: a receiver's
 * state is in the cache for all of a burst, and its packets are neighbours in the send queue, so
 * that a video frame leaves as one send (net/udp.h). Audio has one packet per producer and turn,
 * which costs a send each whatever the order. Worker-owned. SPDX-License-Identifier: BSD-3-Clause
 */
#include "sfu/fanout.h"

#include "sfu/consumer.h"

#define NEWS_PER_PRODUCER_MAX 16 /* stays below what the smallest packet_store holds */
#define AHEAD                 2  /* receivers whose keys are fetched before their turn */

static void flush_one(struct sfu_core *c, struct producer *t)
{
    for (unsigned i = 0; i < t->n_consumers; i++) {
        struct consumer *to = t->consumer[i];

        /* With thousands of receivers each is cold when its turn comes. */
        if (i + 2 * AHEAD < t->n_consumers)
            __builtin_prefetch(t->consumer[i + 2 * AHEAD]);
        if (i + AHEAD < t->n_consumers)
            consumer_prefetch(t->consumer[i + AHEAD], CONSUMER_PREFETCH_STEPS - 1);
        for (unsigned k = t->first_news; k != CORE_NEWS_MAX; k = c->news[k].next)
            consumer_packet(to, c->news[k].m, c->news[k].layer, c->now_us);
    }
    t->first_news = t->last_news = CORE_NEWS_MAX;
    t->n_news = 0;
    t->news_bytes = 0;
}

void fanout_flush(struct sfu_core *c)
{
    for (unsigned i = 0; i < c->n_dirty; i++)
        if (c->dirty[i])
            flush_one(c, c->dirty[i]);
    c->n_dirty = c->n_news = 0;
}

void fanout_add(struct sfu_core *c, struct producer *t, struct media_packet *m, unsigned layer)
{
    if (c->n_news == CORE_NEWS_MAX || t->n_news == NEWS_PER_PRODUCER_MAX)
        fanout_flush(c);
    unsigned k = c->n_news++;
    c->news[k] = (struct core_news){m, (uint8_t)layer, CORE_NEWS_MAX};
    if (t->last_news == CORE_NEWS_MAX) {
        t->first_news = (uint8_t)k;
        c->dirty[c->n_dirty++] = t;
    } else {
        c->news[t->last_news].next = (uint8_t)k;
    }
    t->last_news = (uint8_t)k;
    t->n_news++;
    t->news_bytes += m->len;
}

void fanout_room(struct sfu_core *c, struct producer *t, size_t len)
{
    size_t ring = PACKET_STORE_AUDIO_BYTES;

    if (t->kind == RTP_KIND_VIDEO) /* the smallest of its layers' */
        ring = producer_store_bytes(t, 0);

    /* A quarter: the ring may skip its end to keep a packet in one piece. */
    if (t->n_news && t->news_bytes + len > ring / 4)
        fanout_flush(c);
}

void fanout_forget(struct sfu_core *c, struct producer *t)
{
    for (unsigned i = 0; i < c->n_dirty; i++)
        if (c->dirty[i] == t)
            c->dirty[i] = NULL;
    t->first_news = t->last_news = CORE_NEWS_MAX;
    t->n_news = 0;
}
