/* The look-ahead: each loop reads what the loop before has asked for, and asks for what is behind.
 *
 * Called by sfu_core.c. The audio of small rooms is what it is for (one receiver per packet); where
 * a packet has many receivers, fanout.c looks ahead among them. SPDX-License-Identifier:
 * BSD-3-Clause
 */
#include "sfu/ahead.h"

#include "sfu/consumer.h"
#include "sfu/participant.h"
#include "sfu/room.h"

/* The way of one packet through the worker, as far as it is known. NULL: it ends there. */
struct way {
    uint64_t hash;
    struct transport *from;
    const struct peer *peer;
    const struct stream *stream;
    const struct consumer *to;
};

/* Up to the client's state. */
static void find_peers(const struct sfu_core *c, const struct media_path *from, struct way *v,
                       unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        v[i] = (struct way){.hash = media_path_hash(&from[i])};
        demux_prefetch(c->demux, v[i].hash, 0);
    }
    for (unsigned i = 0; i < n; i++)
        demux_prefetch(c->demux, v[i].hash, 1);
    for (unsigned i = 0; i < n; i++) {
        v[i].from = demux_peek(c->demux, &from[i], v[i].hash);
        if (v[i].from)
            transport_prefetch(v[i].from, TRANSPORT_IN, 0);
    }
    for (unsigned i = 0; i < n; i++) {
        if (!v[i].from)
            continue;
        transport_prefetch(v[i].from, TRANSPORT_IN, 1);
        v[i].peer = transport_user(v[i].from);
        bytes_prefetch(v[i].peer, offsetof(struct peer, clock_offset_us));
    }
}

/* Up to the stream and its keys. */
static void find_streams(struct way *v, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!v[i].peer)
            continue;
        transport_prefetch(v[i].from, TRANSPORT_IN, 2);
        __builtin_prefetch(v[i].peer->ssrc);
        bytes_prefetch(v[i].peer->owner, offsetof(struct participant, auto_audio));
    }
    for (unsigned i = 0; i < n; i++) {
        const struct peer *p = v[i].peer;

        if (!p)
            continue;
        transport_prefetch(v[i].from, TRANSPORT_IN, 3);
        if (p->last_ssrc < p->n_ssrc)
            v[i].stream = p->ssrc[p->last_ssrc].stream;
        bytes_prefetch(v[i].stream, sizeof(struct stream));
    }
    for (unsigned i = 0; i < n; i++) {
        const struct stream *s = v[i].stream;

        if (!s)
            continue;
        if (s->store)
            packet_store_prefetch(s->store, 0);
        if (s->nack)
            __builtin_prefetch(s->nack);
        bytes_prefetch(&s->track->codec, sizeof(*s->track) - offsetof(struct producer, codec));
        bytes_prefetch(s->track, offsetof(struct producer, layer));
    }
}

/* Up to the receiver, when there is one. */
static void find_receivers(struct way *v, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct stream *s = v[i].stream;

        if (!s)
            continue;
        if (s->store)
            packet_store_prefetch(s->store, 1);
        __builtin_prefetch(s->track->consumer);
        bytes_prefetch(s->track->room, sizeof(struct room));
    }
    for (unsigned i = 0; i < n; i++) {
        if (!v[i].stream || v[i].stream->track->n_consumers != 1)
            continue;
        v[i].to = v[i].stream->track->consumer[0];
        bytes_prefetch(v[i].to, offsetof(struct consumer, report));
    }
    for (unsigned i = 0; i < n; i++)
        if (v[i].to)
            consumer_prefetch(v[i].to, 0);
}

void ahead(const struct sfu_core *c, const struct media_path *from, unsigned n)
{
    struct way v[AHEAD_MAX];

    if (n < AHEAD_MIN || n > AHEAD_MAX)
        return;
    find_peers(c, from, v, n);
    find_streams(v, n);
    find_receivers(v, n);
    for (unsigned step = 1; step < CONSUMER_PREFETCH_STEPS; step++)
        for (unsigned i = 0; i < n; i++)
            if (v[i].to)
                consumer_prefetch(v[i].to, step);
}
