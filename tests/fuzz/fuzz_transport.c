/* Demux and transport under a script: two clients with an ICE agent, OpenSSL's DTLS and SRTP each,
 * and whatever bytes the script sends from their addresses and from others.
 *
 * The first byte's bits: 1 the first client is connected already, 2 its peer is the DTLS server,
 * 4 data. Then steps: an operation byte, an argument byte, and for raw packets a length and bytes.
 * Nothing that was changed on its way is ever opened; who is over is found by nobody; only verified
 * paths are selected. SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/transport_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENTS = 2, STEPS_MAX = 48, ADDRESSES = 4 };

static struct world w;
static struct client clients[CLIENTS];

static struct media_path address(uint8_t i)
{
    struct media_path p = world_at(1, (uint16_t)(1000 + i % ADDRESSES));

    if (i & 0x10)
        p.tcp = (struct ice_tcp *)&w;
    return p;
}

/* Bytes as they are. What opens must be authentic, and nobody can forge that. */
static void raw(struct slice bytes, struct media_path from)
{
    uint8_t buf[256], out[256];
    struct transport *t;
    struct transport_in in;
    size_t len;
    uint64_t index;

    if (bytes.len > 0)
        memcpy(buf, bytes.p, bytes.len);
    switch (demux_recv(w.d, &from, buf, bytes.len, world_now_us, &t, &in)) {
    case TRANSPORT_RTP:
        if (in.header_len < 12 || in.header_len > bytes.len || in.packet.len != bytes.len ||
            transport_open_rtp(t, &in, out, &len, &index) == 0)
            abort();
        break;
    case TRANSPORT_RTCP:
        abort();
    case TRANSPORT_DATA:
        while (transport_read_data(t).len > 0)
            abort();
        break;
    default:
        break;
    }
}

/* A packet of the client's, changed by one bit, then as it is. */
static void media(struct client *c, uint8_t arg)
{
    uint8_t buf[256];
    struct transport_in in;
    struct transport *t;
    uint8_t out[256];
    size_t len, n;
    uint64_t index;

    if (!c->out)
        return;
    n = client_rtp(c, arg, buf);
    buf[arg % n] ^= (uint8_t)(1 << arg % 8);
    if (world_recv(&w, c->at, buf, n, &t, &in) == TRANSPORT_RTP &&
        transport_open_rtp(t, &in, out, &len, &index) == 0)
        abort();
    buf[arg % n] ^= (uint8_t)(1 << arg % 8);
    if (world_recv(&w, c->at, buf, n, &t, &in) == TRANSPORT_RTP)
        (void)transport_open_rtp(t, &in, out, &len, &index);
}

static void check_from(struct client *c, uint8_t arg, struct rd *in)
{
    uint8_t how = rd_u8(in);
    const struct ice_check check = {.nominate = how & 1,
                                    .controlled = how & 2,
                                    .no_priority = how & 4,
                                    .no_role = how & 8,
                                    .priority = how >> 4,
                                    .nomination = how & 1 ? how : 0};
    (void)client_check_from(c, address(arg), &check);
}

static void send_all(struct client *c, uint8_t arg)
{
    uint8_t head[12] = {0x80, 111, 0, arg};

    transport_send_rtp(c->t, arg, slice_of(head, sizeof(head)), slice_of(head, arg % 12),
                       slice_of(head, arg / 24));
    transport_send_rtcp(c->t, slice_of(head, sizeof(head)));
    transport_send_data(c->t, slice_of(head, sizeof(head)));
}

static void step(struct rd *in)
{
    uint8_t op = rd_u8(in), arg = rd_u8(in);
    struct client *c = &clients[arg >> 7];

    w.n_out = w.n_out > WORLD_OUT / 2 ? 0 : w.n_out;
    c->n_states = 0;
    switch (op % 12) {
    case 0:
    case 1:
        raw(rd_take(in, rd_u8(in)), address(arg));
        break;
    case 2:
    case 3:
        check_from(c, arg, in);
        break;
    case 4:
        (void)client_describe(c);
        break;
    case 5:
        if (!c->peer_is_server && !c->peer.done)
            dtls_peer_take(&c->peer, (struct slice){0});
        client_pump(c);
        if (c->peer.done && !c->out)
            client_keys(c);
        break;
    case 6:
        media(c, arg);
        break;
    case 7:
        world_pass(&w, arg * 100 * US_PER_MS);
        break;
    case 8:
        send_all(c, arg);
        break;
    case 9:
        transport_restart(c->t, world_now_us);
        break;
    case 10:
        demux_gone(w.d, &(struct media_path){address(arg).remote, address(arg).tcp, 0},
                   world_now_us);
        break;
    case 11:
        if (arg % 8 == 0)
            transport_close(c->t, world_now_us);
        break;
    }
}

static void invariants(void)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];
        enum transport_state s = transport_state(c->t);
        bool over = s == TRANSPORT_FAILED || s == TRANSPORT_CLOSED;
        if ((over || s == TRANSPORT_NEW) && transport_path(c->t))
            abort();
        if (transport_can_send(c->t) && !transport_path(c->t))
            abort();
        if (over && client_check_from(c, c->at, NULL) != TRANSPORT_DROP)
            abort();
    }
    if (demux_count(w.d) != CLIENTS)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd in = rd_init(slice_of(data, size));
    uint8_t flags = rd_u8(&in);
    const struct dtls_peer_conf pc = {.server = flags & 2, .profiles = WORLD_SRTP};

    if (size < 3)
        return 0;
    world_now_us = WORLD_START_US;
    if (!world_open(&w, NULL))
        abort();
    for (uint8_t i = 0; i < CLIENTS; i++) {
        if (!client_open(&clients[i], &w, address(i), i ? NULL : &pc, flags & 4))
            abort();
    }
    if (flags & 1 && !client_connect(&clients[0]))
        abort();
    for (unsigned n = 0; n < STEPS_MAX && in.left > 0 && !in.bad; n++) {
        step(&in);
        invariants();
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        client_close(&clients[i]);
    world_close(&w);
    return 0;
}
