/* Load: complete calls, each message of them answered as two apps would.
 *
 *     sig_calls ADDR SECRET_FILE PAIRS [CALLEES_ADDR]
 *
 * Callers connect to ADDR; callees, too, or to another node at CALLEES_ADDR.
 * Prints "ready"; then, per line on standard input:
 *     open RATE SECONDS    starts RATE calls a second whatever the server does, evenly spaced;
 *     closed SECONDS       each pair begins its next call when its last one is over.
 * and prints {"calls":N,"seconds":S,"late":L,"latency_us":[...]}: the time from invite sent to
 * call.incoming heard of every call; late = calls that began over 1 ms behind the plan because all
 * pairs were busy (or this program was).
 *
 *     caller  invite ──► <reply> 3 candidates ─────────► <accepted, 3 candidates> connected
 *     callee  <incoming> ringing ──► <reply> answer ──► <reply> 3 candidates, connected
 *     both <call.state>: the caller hangs up ──► callee <ended>; both acknowledge the rest
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/sig_user.h"

#define PAIRS_MAX   5000
#define CANDIDATES  3
#define SAMPLES_MAX 4000000
#define LATE_US     1000

enum { CALLER, CALLEE };

/* What one party has had of the present call. */
struct party {
    struct sig_user *u;
    unsigned candidates;
    bool settled;   /* caller: accepted; callee: its answer was confirmed */
    bool connected; /* has said so */
    bool active;    /* was told that the call is */
    bool over;
};

struct pair {
    struct party party[2];
    struct pair *next; /* on the list of free pairs */
    uint64_t invited_us;
    char call[SIG_CALL_TEXT + 1];
};

static struct {
    struct sig_world world;
    struct pair *pairs, *free;
    unsigned long n;
    uint64_t calls_started, calls_over, late, end_us;
    uint32_t *latency;
    size_t samples;
    bool again;                    /* closed loop: a finished pair calls again until end_us */
    char prefix[SIG_NAME_MAX / 2]; /* several of these programs share a cluster */
} g;

static void send_candidates(struct party *p, const char *call)
{
    static const char rest[] =
        ",\"data\":{\"candidates\":[{\"candidate\":\"candidate:842163049 1 udp 1677729535 "
        "198.51.100.7 46154 typ srflx raddr 10.0.0.17 rport 46154 generation 0 ufrag EsAw "
        "network-cost 999\",\"sdpMid\":\"0\",\"sdpMLineIndex\":0,\"usernameFragment\":\"EsAw\"}]}";

    for (unsigned i = 0; i < CANDIDATES; i++)
        sig_user_say(p->u, "call.candidates", false, call, rest);
}

static void begin_call(struct pair *pair)
{
    for (int i = 0; i < 2; i++)
        pair->party[i] = (struct party){.u = pair->party[i].u};
    sig_call_name(pair->call, (unsigned)getpid(), g.calls_started++);
    pair->invited_us = clock_now_us();
    sig_user_invite(pair->party[CALLER].u, pair->call, pair->party[CALLEE].u->name);
}

static void end_call(struct pair *pair)
{
    g.calls_over++;
    if (g.again && clock_now_us() < g.end_us) {
        begin_call(pair);
        return;
    }
    pair->next = g.free;
    g.free = pair;
}

/* Says "connected" once everything that a connection needs is there. */
static void review(struct pair *pair, struct party *p)
{
    if (p->settled && p->candidates == CANDIDATES && !p->connected) {
        p->connected = true;
        sig_user_say(p->u, "call.state", false, pair->call,
                     ",\"data\":{\"connectionState\":\"connected\"}");
    }
    struct party *caller = &pair->party[CALLER];
    if (caller->active && pair->party[CALLEE].active && !caller->over && p->active) {
        caller->over = true;
        sig_user_say(caller->u, "call.hangup", true, pair->call, "");
    }
}

static void note_latency(const struct pair *pair)
{
    if (g.samples < SAMPLES_MAX)
        g.latency[g.samples++] = (uint32_t)(clock_now_us() - pair->invited_us);
}

static void party_over(struct pair *pair, struct party *p)
{
    sig_user_ack(p->u);
    p->settled = false;
    p->over = true;
    if (!pair->party[CALLER].settled && !pair->party[CALLEE].settled)
        end_call(pair);
}

static void on_message(struct sig_user *u, const struct sig_text *m)
{
    struct pair *pair = &g.pairs[u->index / 2];
    struct party *p = &pair->party[u->index % 2];

    if (!slice_is(m->call_id, pair->call))
        sig_die("a message of another call", m->call_id);
    if (slice_is(m->type, "call.candidates")) {
        p->candidates++;
    } else if (slice_is(m->type, "call.state")) {
        p->active = true;
    } else if (slice_is(m->type, "call.incoming")) {
        note_latency(pair);
        sig_user_say(u, "call.ringing", true, pair->call, "");
    } else if (slice_is(m->type, "call.ringing") && m->re.len > 0) {
        sig_user_answer(u, pair->call);
    } else if (slice_is(m->type, "call.answer")) {
        p->settled = true;
        send_candidates(p, pair->call);
    } else if (slice_is(m->type, "call.invite")) {
        send_candidates(p, pair->call);
    } else if (slice_is(m->type, "call.accepted")) {
        p->settled = true;
    } else if (slice_is(m->type, "call.hangup") || slice_is(m->type, "call.ended")) {
        party_over(pair, p);
        return;
    }
    review(pair, p);
}

/* ---- runs ---- */

static void drain(void)
{
    uint64_t heard = clock_now_us();

    while (g.calls_over < g.calls_started) {
        if (sig_loop_turn(g.world.loop, 100) > 0)
            heard = clock_now_us();
        else if (clock_now_us() - heard > SIG_TIMEOUT_US)
            sig_die("calls do not end", slice_str("a message was lost"));
    }
}

/* Spins instead of sleeping: this core is the generator's, and its times must be exact. */
static void run_open(uint64_t rate, uint64_t seconds)
{
    uint64_t from = clock_now_us(), n = 0, total = rate * seconds;

    g.again = false;
    while (n < total) {
        uint64_t due = from + n * US_PER_S / rate, now = clock_now_us();
        if (now >= due && g.free) {
            struct pair *pair = g.free;
            g.free = pair->next;
            g.late += now - due > LATE_US;
            begin_call(pair);
            n++;
        }
        sig_loop_turn(g.world.loop, 0);
    }
}

static void run_closed(uint64_t seconds)
{
    g.again = true;
    g.end_us = clock_now_us() + seconds * US_PER_S;
    for (struct pair *pair; (pair = g.free);) {
        g.free = pair->next;
        begin_call(pair);
    }
}

static void run(const char *line)
{
    char *rest;
    uint64_t calls = g.calls_over, from = clock_now_us();

    g.samples = 0;
    g.late = 0;
    if (strncmp(line, "open ", 5) == 0) {
        uint64_t rate = strtoull(line + 5, &rest, 10);
        if (rate > 0)
            run_open(rate, strtoull(rest, NULL, 10));
    } else if (strncmp(line, "closed ", 7) == 0) {
        run_closed(strtoull(line + 7, NULL, 10));
    }
    drain();
    printf("{\"calls\":%llu,\"seconds\":%.6f,\"late\":%llu,\"latency_us\":[",
           (unsigned long long)(g.calls_over - calls),
           (double)(clock_now_us() - from) / (double)US_PER_S, (unsigned long long)g.late);
    for (size_t i = 0; i < g.samples; i++)
        printf("%s%u", i ? "," : "", g.latency[i]);
    puts("]}");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char line[64];

    g.n = argc == 4 || argc == 5 ? strtoul(argv[3], NULL, 10) : 0;
    if (g.n < 1 || g.n > PAIRS_MAX) {
        fprintf(stderr, "usage: sig_calls ADDR SECRET_FILE PAIRS (up to %d) [CALLEES_ADDR]\n",
                PAIRS_MAX);
        return 64;
    }
    snprintf(g.prefix, sizeof(g.prefix), "call%u-", (unsigned)getpid());
    g.world.prefix = g.prefix;
    if (argc == 5) {
        g.world.even = argv[1];
        g.world.odd = argv[4];
    }
    g.pairs = mem_calloc(g.n, sizeof(*g.pairs));
    g.latency = mem_calloc(SAMPLES_MAX, sizeof(*g.latency));
    if (!g.pairs || !g.latency)
        sig_die("out of memory", (struct slice){0});
    g.world.message = on_message;
    sig_world_init(&g.world, argv[1], argv[2]);
    struct sig_user *users = sig_users_new(&g.world, (unsigned)g.n * 2, 16);
    for (unsigned long i = 0; i < g.n; i++) {
        g.pairs[i] = (struct pair){.party = {{.u = &users[2 * i]}, {.u = &users[2 * i + 1]}},
                                   .next = g.free};
        g.free = &g.pairs[i];
    }
    puts("ready");
    fflush(stdout);
    while (sig_loop_command(g.world.loop, line))
        run(line);
    return 0;
}
