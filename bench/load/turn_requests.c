/* What requests cost a TURN server: Binding, a refused Allocate (401), an authenticated Allocate
 * (401, then success), the memory of an allocation with a channel, and keeping them idle.
 *
 *     turn_requests SERVER_IP:PORT USER PASSWORD PID ALLOCATIONS IDLE_SECONDS
 *
 * Requests go out in windows of WINDOW, each of its own socket where it makes an allocation, and
 * the next window when all are answered. Prints one line of name=value: CPU in ns of the server
 * process for each request, bytes of anonymous memory for each allocation, CPU in ns while idle.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn_client.h"

#define WINDOW   32
#define WARM     2000  /* requests before any is counted */
#define REQUESTS 40000 /* Binding and 401, each */

typedef void put_fn(const struct server *s, struct flow *f, struct wr *w);
typedef void take_fn(struct flow *f, const struct stun_msg *m);

static void put_binding(const struct server *s, struct flow *f, struct wr *w)
{
    (void)s;
    (void)f;
    begin(w, STUN_BINDING);
}

static void put_alloc(const struct server *s, struct flow *f, struct wr *w)
{
    put_allocate(s, f, w);
}

static void put_chan(const struct server *s, struct flow *f, struct wr *w)
{
    struct addr peer = {.ip = {127, 0, 0, 2}, .port = 9, .family = ADDR_V4};

    put_bind(s, f, &peer, w);
}

static void take_success(struct flow *f, const struct stun_msg *m)
{
    (void)f;
    if (stun_class_of(m->type) != STUN_SUCCESS)
        die("a request was refused");
}

static void take_refusal(struct flow *f, const struct stun_msg *m)
{
    (void)f;
    if (stun_class_of(m->type) != STUN_ERROR)
        die("a request without credentials was not refused");
}

/* One request of each of n flows (all on the same socket or each on its own), all answered. A lost
 * one is fatal: its cost would be missing. */
static void window(const struct server *s, struct flow *f, unsigned n, bool same, put_fn *put,
                   take_fn *take)
{
    uint8_t out[1024], in[1024];
    struct stun_msg m;

    for (unsigned i = 0; i < n; i++) {
        struct wr w = wr_init(out, sizeof(out));
        put(s, same ? f : &f[i], &w);
        send_to_server(s, same ? f : &f[i], &w);
    }
    for (unsigned i = 0; i < n; i++) {
        if (!receive(same ? f : &f[i], &m, in, sizeof(in)))
            die("no answer from the server");
        take(same ? f : &f[i], &m);
    }
}

/* CPU of the server for each of n requests, in ns. */
static uint64_t cost(const struct server *s, struct flow *f, unsigned n, bool same, put_fn *put,
                     take_fn *take)
{
    uint64_t before = server_cpu_ns(s);

    for (unsigned i = 0; i < n; i += WINDOW)
        window(s, same ? f : &f[i], n - i < WINDOW ? n - i : WINDOW, same, put, take);
    return (server_cpu_ns(s) - before) / n;
}

static uint64_t idle_ns(const struct server *s, unsigned seconds)
{
    uint64_t before = server_cpu_ns(s);

    sleep(seconds);
    return server_cpu_ns(s) - before;
}

int main(int argc, char **argv)
{
    struct server s;

    if (argc != 7)
        die("want SERVER_IP:PORT USER PASSWORD PID ALLOCATIONS IDLE_SECONDS");
    server_init(&s, argv[1], argv[2], argv[3], argv[4]);
    unsigned n = (unsigned)strtoul(argv[5], NULL, 10);
    unsigned seconds = (unsigned)strtoul(argv[6], NULL, 10);
    struct flow *f = mem_calloc(n, sizeof(*f));
    if (!f || n < WINDOW || seconds == 0)
        die("a number is out of range");
    for (unsigned i = 0; i < n; i++)
        f[i].client = open_socket(1);

    cost(&s, f, WARM, true, put_binding, take_success);
    uint64_t binding = cost(&s, f, REQUESTS, true, put_binding, take_success);
    cost(&s, f, WARM, true, put_alloc, take_refusal);
    uint64_t refused = cost(&s, f, REQUESTS, true, put_alloc, take_refusal);
    uint64_t empty = server_anon_bytes(&s);
    uint64_t allocate = cost(&s, f, n, false, put_alloc, keep_challenge);
    allocate += cost(&s, f, n, false, put_alloc, keep_relayed);
    uint64_t bind = cost(&s, f, n, false, put_chan, take_success);
    uint64_t full = server_anon_bytes(&s);
    uint64_t idle = idle_ns(&s, seconds);
    printf("binding_ns=%" PRIu64 " refused_ns=%" PRIu64 " allocate_ns=%" PRIu64 " bind_ns=%" PRIu64
           " alloc_bytes=%" PRIu64 " idle_ns=%" PRIu64 "\n",
           binding, refused, allocate, bind, (full - empty) / n, idle);
    return 0;
}
