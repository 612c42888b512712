/* What a packet of a two-party call costs the SFU's own code and its cryptography, without the
 * kernel: the whole core with as many calls as one worker shall carry, each client's state cold
 * when its turn comes, packets in batches as they come from a socket.
 *
 *     calls_bench [CALLS [BATCH]]       1200, 40
 *
 * Prints ns a packet with and without ahead.h, the smallest of several rounds.
 * SPDX-License-Identifier: BSD-3-Clause */
#define FAKE_ROOM_ABORTS
#define FAKE_CLIENTS_MAX 8192
#define FAKE_GOT_MAX     8
#include "tests/lib/fake_room.h"

#include "base/clock.h"
#include "sfu/ahead.h"

#define ROUNDS    10 /* packets of each client that are made at once */
#define REPEATS   6
#define WIRE_MAX  192
#define BATCH_MAX 128

static struct packet {
    uint8_t bytes[WIRE_MAX];
    size_t len;
} * packet;

static void out_nowhere(void *arg, uint16_t sock, const struct addr *to, struct slice dgram)
{
    (void)sock;
    (void)to;
    ((struct fake_room *)arg)->out_bytes += dgram.len;
}

static const struct egress_ops nowhere = {out_nowhere, fake_tcp, fake_nothing, fake_nothing};

static void make_packets(struct fake_room *w)
{
    static const uint8_t voice[60];

    for (unsigned r = 0; r < ROUNDS; r++)
        for (unsigned i = 0; i < w->n_clients; i++) {
            struct fake_client *c = w->client[i];
            struct packet *p = &packet[r * w->n_clients + i];
            uint8_t buf[2048];
            struct fake_rtp h = {.ssrc = c->ssrc,
                                 .ts = c->ts,
                                 .index = c->seq++,
                                 .pt = FAKE_PT_OPUS,
                                 .level = 20,
                                 .mid = "0"};
            c->ts += 960;
            p->len = fake_protect(c, &h, slice_of(voice, sizeof(voice)), buf);
            memcpy(p->bytes, buf, p->len < WIRE_MAX ? p->len : WIRE_MAX);
        }
}

/* All packets once, in time as they would come. Gives ns for each. */
static double run(struct fake_room *w, unsigned batch, bool look)
{
    static uint8_t in[BATCH_MAX][WIRE_MAX];
    unsigned n = ROUNDS * w->n_clients;
    uint64_t start = clock_now_us(), step_us = 20 * US_PER_MS * batch / w->n_clients;

    for (unsigned at = 0; at < n; at += batch) {
        struct media_path from[BATCH_MAX];
        unsigned k = n - at < batch ? n - at : batch;

        for (unsigned i = 0; i < k; i++) { /* the kernel's part: they are in the cache */
            from[i] = w->client[(at + i) % w->n_clients]->path;
            memcpy(in[i], packet[at + i].bytes, WIRE_MAX);
        }
        for (unsigned g = 0; g < k; g += AHEAD_MAX) {
            unsigned m = k - g < AHEAD_MAX ? k - g : AHEAD_MAX;
            if (look)
                ahead(w->core, from + g, m);
            for (unsigned i = g; i < g + m; i++)
                sfu_core_packet(w->core, &from[i], in[i], packet[at + i].len, w->now_us);
        }
        sfu_core_batch(w->core, w->now_us);
        egress_flush(&w->egress);
        w->now_us += step_us;
        if (sfu_core_deadline(w->core) <= w->now_us)
            sfu_core_tick(w->core, w->now_us);
    }
    return (double)(clock_now_us() - start) * 1000 / n;
}

int main(int argc, char **argv)
{
    unsigned calls = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1200;
    unsigned batch = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 40;
    struct fake_room *w = fake_room_new("");

    if (calls == 0 || 2 * calls > FAKE_CLIENTS_MAX || batch == 0 || batch > BATCH_MAX)
        return 64;
    for (unsigned i = 0; i < 2 * calls; i++) {
        char room[16], id[16];
        snprintf(room, sizeof(room), "r%u", i / 2);
        snprintf(id, sizeof(id), "p%u", i);
        fake_join(w, room, id, &(struct fake_offer){.mic = true, .audio = 1, .no_twcc = true});
    }
    packet = mem_calloc((size_t)ROUNDS * w->n_clients, sizeof(*packet));
    fake_wait(w, 15 * US_PER_S); /* OpenSSL's part of the handshakes goes */
    w->egress.ops = &nowhere;
    double best[2] = {1e9, 1e9};
    for (unsigned i = 0; i < 2 * REPEATS; i++) {
        make_packets(w);
        w->out_bytes = 0;
        double ns = run(w, batch, i % 2);
        if (w->out_bytes == 0)
            return 1;
        best[i % 2] = ns < best[i % 2] ? ns : best[i % 2];
    }
    printf("%u calls, batches of %u: %.0f ns a packet, %.0f with what comes next looked up ahead\n",
           calls, batch, best[0], best[1]);
    mem_free(packet);
    fake_room_free(w);
    return 0;
}
