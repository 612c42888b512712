/* Load: messages routed between the two parties of established calls.
 *
 *     sig_route ADDR SECRET_FILE PAIRS
 *
 * Sets up PAIRS calls (invite, ringing, answer), prints "ready"; each line "go N" on standard input
 * routes N call.info messages of exactly ROUTE_BYTES and prints {"messages":N,"seconds":S}. WINDOW
 * messages of each client are on the way at any time: who hears one sends one. Every message bears
 * a number and must come to the other party exactly once and in order; acknowledgements travel on
 * the messages. SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/sig_user.h"

#define PAIRS_MAX   5000
#define ROUTE_BYTES 500
#define WINDOW      4

struct pair {
    struct sig_user *party[2];
    uint64_t sent[2], heard[2]; /* by the party that sent, that heard */
    char call[SIG_CALL_TEXT + 1];
    bool accepted, answered;
};

static struct {
    struct sig_world world;
    struct pair *pairs;
    unsigned long n, calls_up;
    uint64_t to_send, to_hear;
    bool done;
} g = {.world = {.prefix = "route"}};

/* One call.info of ROUTE_BYTES whose custom.n is the next number of this direction. */
static void send_info(struct pair *p, int side)
{
    static const char tail[] = "\"}}}";
    uint8_t text[ROUTE_BYTES];
    struct wr w = wr_init(text, sizeof(text));

    g.to_send--;
    sig_user_begin(p->party[side], &w, "call.info", false, p->call);
    wr_str(&w, ",\"data\":{\"custom\":{\"n\":");
    wr_u64(&w, ++p->sent[side]);
    wr_str(&w, ",\"pad\":\"");
    size_t pad = w.cap - w.len - (sizeof(tail) - 1);
    uint8_t *at = wr_reserve(&w, pad);
    if (at)
        memset(at, 'x', pad);
    wr_str(&w, tail);
    sig_user_send(p->party[side], &w);
}

static void on_info(struct pair *p, int side, struct slice data)
{
    struct json_field custom = {.key = "custom"}, n = {.key = "n"};
    uint64_t number = 0;

    if (json_fields(data, &custom, 1) != 0 || json_fields(custom.value, &n, 1) != 0 ||
        !json_u64(n.value, UINT64_MAX, &number) || number != ++p->heard[side])
        sig_die("a message is lost, doubled or out of order", data);
    g.to_hear--;
    g.done = g.to_hear == 0;
    if (g.to_send > 0)
        send_info(p, side);
}

static void set_up(struct pair *p, const struct sig_text *m)
{
    if (slice_is(m->type, "call.incoming"))
        sig_user_say(p->party[1], "call.ringing", true, p->call, "");
    else if (slice_is(m->type, "call.ringing") && m->re.len > 0)
        sig_user_answer(p->party[1], p->call);
    else if (slice_is(m->type, "call.answer"))
        p->answered = true;
    else if (slice_is(m->type, "call.accepted"))
        p->accepted = true;
    else
        return;
    if (p->answered && p->accepted)
        g.done = ++g.calls_up == g.n;
}

static void on_message(struct sig_user *u, const struct sig_text *m)
{
    struct pair *p = &g.pairs[u->index / 2];

    if (slice_is(m->type, "call.info"))
        on_info(p, (int)u->index % 2, m->data);
    else if (slice_is(m->type, "call.ended"))
        sig_die("a call ended", m->data);
    else
        set_up(p, m);
}

static void establish(void)
{
    struct sig_user *users = sig_users_new(&g.world, (unsigned)g.n * 2, 16);

    g.done = false;
    for (unsigned long i = 0; i < g.n; i++) {
        struct pair *p = &g.pairs[i];
        p->party[0] = &users[2 * i];
        p->party[1] = &users[2 * i + 1];
        sig_call_name(p->call, (unsigned)getpid(), i);
    }
    for (unsigned long i = 0; i < g.n; i++)
        sig_user_invite(g.pairs[i].party[0], g.pairs[i].call, g.pairs[i].party[1]->name);
    sig_loop_until(g.world.loop, &g.done);
    /* Both parties say that their media is up, or the call would end after connect_timeout. */
    for (unsigned long i = 0; i < 2 * g.n; i++)
        sig_user_say(&users[i], "call.state", false, g.pairs[i / 2].call,
                     ",\"data\":{\"connectionState\":\"connected\"}");
}

static void run(uint64_t messages)
{
    uint64_t from = clock_now_us();

    g.to_send = g.to_hear = messages;
    g.done = messages == 0;
    for (unsigned round = 0; round < WINDOW; round++)
        for (unsigned long i = 0; i < 2 * g.n && g.to_send > 0; i++)
            send_info(&g.pairs[i / 2], (int)i % 2);
    sig_loop_until(g.world.loop, &g.done);
    printf("{\"messages\":%llu,\"seconds\":%.6f}\n", (unsigned long long)messages,
           (double)(clock_now_us() - from) / (double)US_PER_S);
}

int main(int argc, char **argv)
{
    char line[64];

    g.n = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    if (g.n < 1 || g.n > PAIRS_MAX) {
        fprintf(stderr, "usage: sig_route ADDR SECRET_FILE PAIRS (up to %d)\n", PAIRS_MAX);
        return 64;
    }
    g.pairs = mem_calloc(g.n, sizeof(*g.pairs));
    if (!g.pairs)
        sig_die("out of memory", (struct slice){0});
    g.world.message = on_message;
    sig_world_init(&g.world, argv[1], argv[2]);
    establish();
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (sig_loop_command(g.world.loop, line))
        if (strncmp(line, "go ", 3) == 0)
            run(strtoull(line + 3, NULL, 10));
    return 0;
}
