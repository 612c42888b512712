/* The relay's session machine under a script: clients with and without credentials, peers, time.
 *
 * Each step is one operation byte, one argument byte and, for raw messages, a length byte and
 * bytes. After each step: sockets open = relayed addresses; ports and quota in use = those +
 * reservations; CONNECTION-IDs known = peer connections. SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/fake_relay.h"

#define CLIENTS   4
#define STEPS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const peers[] = {"8.8.8.8:53",        "8.8.4.4:1",  "127.0.0.1:22",
                                    "[2001:4860::1]:9",  "[::1]:1",    "[::ffff:127.0.0.1]:1",
                                    FAKE_RELAY ":50000", FAKE_OWN ":1"};

/* What the script has been told: the last CONNECTION-ID of an attempt, tickets. */
static uint32_t id;
static uint8_t ticket[2][TICKET_BYTES];

static void check(struct fake_relay *f)
{
    unsigned live = fake_addresses(f);
    unsigned held = reserve_count(f->shared.reserve);

    size_t pos = 0;
    struct hnode *saved = NULL;
    const struct alloc *a;
    unsigned conns = 0;

    while ((a = alloc_table_walk(&f->core.allocs, &pos, &saved)))
        conns += a->n_conns;
    if (conn_ids_count(f->shared.conn_ids) != conns)
        abort();
    if (f->opened != live || fake_ports(f) != live + held ||
        quota_in_use(f->shared.quota) != live + held)
        abort();
}

static void raw(struct fake_relay *f, struct fake_client *c, struct rd *in, bool sign)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice bytes = rd_take(in, rd_u8(in));

    if (!sign) {
        fake_send(f, c, bytes);
        return;
    }
    /* Attributes of the script's own choice in a request that verifies. */
    fake_begin(c, &w, (enum stun_method)(bytes.len > 0 ? bytes.p[0] & 15 : 3));
    bytes = slice_sub(bytes, 1, SIZE_MAX);
    struct stun_attr a;
    while (stun_next(&bytes, &a))
        stun_put(&w, (enum stun_attr_type)a.type, a.value);
    fake_request(f, c, &w);
}

static void allocate_more(struct fake_relay *f, struct fake_client *c, uint8_t flags)
{
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_challenge(f, c);
    fake_begin(c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, (uint32_t)STUN_TRANSPORT_UDP << 24);
    if (flags & 0x81)
        stun_put(&w, STUN_ATTR_EVEN_PORT, slice_of(&flags, 1));
    if (flags & 2)
        stun_put(&w, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, SLICE_LIT("\2\0\0\0"));
    fake_request(f, c, &w);
}

static void icmp(struct fake_relay *f, struct fake_client *c, const char *peer, uint8_t arg)
{
    struct icmp_error e = {fake_addr(peer), arg & 15, arg >> 4, arg};
    struct alloc *a = fake_alloc(f, c);
    struct stun_msg m;

    if (a && relay_icmp(&f->core, a, &e, f->now_us, &f->back) &&
        stun_decode(&m, slice_of(f->back.head, f->back.head_len)) != 0)
        abort();
}

/* TCP allocations and their connections. */
static void tcp(struct fake_relay *f, struct fake_client *k, const char *peer, uint8_t what)
{
    struct alloc *a = fake_alloc(f, k);
    struct addr from = fake_addr(peer);
    const struct peer_conn *p;

    switch (what & 7) {
    case 0:
        fake_allocate_tcp(f, k);
        break;
    case 1:
        fake_connect_to(f, k, peer);
        break;
    case 2:
        if (f->conn && f->conn->state == PEER_CONN_CONNECTING)
            connect_done(&f->core, f->conn, what & 8, f->now_us);
        break;
    case 3:
        p = a && a->tcp ? connect_incoming(&f->core, a, &from, f->now_us) : NULL;
        id = p ? p->id : id;
        break;
    case 4:
        fake_connection_bind(f, k, what & 8 || !f->conn ? id : f->conn->id);
        break;
    case 5:
        connect_bound(&f->core, f->core.bound_id, what >> 4);
        break;
    case 6:
        connect_gone(&f->core, f->core.bound_id);
        break;
    default:
        f->connect_error = what & 8 ? -EIO : 0;
        f->tell_error = what & 16;
    }
}

/* Allocations that move, here and as if passed on by another worker. */
static void mobile(struct fake_relay *f, struct fake_client *k, uint8_t what)
{
    f->core.forwarded = what & 8;
    f->core.came_from = 1;
    switch (what & 3) {
    case 0:
        fake_allocate_mobile(f, k, ticket[what >> 2 & 1]);
        break;
    case 3:
        f->core.worker ^= 1;
        fake_move(f, k, ticket[what >> 2 & 1], what);
        f->core.worker ^= 1;
        break;
    default:
        fake_move(f, k, ticket[what >> 2 & 1], what >> 4);
    }
    f->core.forwarded = false;
}

static void step(struct fake_relay *f, struct fake_client *c, struct rd *in)
{
    uint8_t op = rd_u8(in), arg = rd_u8(in);
    struct fake_client *k = &c[op >> 4 & (CLIENTS - 1)];
    const char *peer = peers[arg % ARRAY_LEN(peers)];

    switch (op & 15) {
    case 0:
        fake_allocate(f, k);
        break;
    case 1:
        fake_refresh_family(f, k, arg & 3, (arg & 0xf0) * 20u);
        break;
    case 2:
        fake_permit(f, k, peer);
        break;
    case 3:
        fake_bind(f, k, (uint16_t)(0x3fff + arg / ARRAY_LEN(peers)), peer);
        break;
    case 4:
        fake_send_indication(f, k, peer, slice_of("data", arg & 3));
        break;
    case 5:
        fake_channel(f, k, (uint16_t)(0x3fff + arg), slice_of("data", arg & 3));
        break;
    case 6:
        if (fake_alloc(f, k))
            fake_from_peer(f, k, peer, slice_of("data", arg & 3));
        break;
    case 7:
        fake_pass(f, arg * US_PER_S);
        break;
    case 8:
        turn_core_client_gone(&f->core, &k->tuple, f->now_us);
        break;
    case 9:
        f->open_error = arg & 1 ? -EADDRINUSE : 0;
        break;
    case 10:
        allocate_more(f, k, arg);
        break;
    case 11:
        k->sha256 = arg & 1;
        k->hashed = arg & 2;
        break;
    case 12:
        raw(f, k, in, true);
        break;
    case 13:
        icmp(f, k, peer, arg);
        break;
    case 14:
        if (arg & 0x80)
            mobile(f, k, arg);
        else
            tcp(f, k, peers[(op >> 5) % ARRAY_LEN(peers)], arg);
        break;
    default:
        k->tuple.listener = arg & 3;
        raw(f, k, in, false);
        k->tuple.listener = 0;
    }
    check(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fake_relay f;
    struct fake_client c[CLIENTS];
    struct rd in = rd_init(slice_of(data, size));

    if (fake_relay_init(&f) != 0)
        abort();
    id = 0;
    memset(ticket, 0, sizeof(ticket));
    const struct addr listen[] = {fake_addr("198.51.100.1:1"), fake_addr("198.51.100.1:2"),
                                  fake_addr("198.51.100.2:1"), fake_addr("198.51.100.2:2")};
    f.shared.discovery = listen;
    f.shared.n_discovery = ARRAY_LEN(listen);
    fake_client_init(&c[0], "203.0.113.7:1", "ann", "of green gables");
    fake_client_init(&c[1], "203.0.113.7:2", "bob", "builder");
    fake_client_rest(&c[2], "203.0.113.8:3", FAKE_SECRET, FAKE_WALL_S + 900, "call", "carl");
    fake_client_init(&c[3], "203.0.113.9:4", "eve", "guess");
    c[1].tuple.transport = FIVE_TUPLE_TCP;
    for (unsigned i = 0; i < STEPS_MAX && in.left > 0; i++)
        step(&f, c, &in);
    f.open_error = 0;
    fake_relay_fini(&f);
    return 0;
}
