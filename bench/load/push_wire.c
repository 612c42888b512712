/* Load: calls to users whose devices sleep, timed from the invite to the push.
 *
 *     push_wire ADDR SECRET_FILE APNS_PORT CERT KEY TOPIC CALLERS
 *
 * Is both ends of sori-server: callers on wss, and Apple (apns_sink.h). One thread, one clock.
 * Prints "listening"; a line on standard input each, then one answer each:
 *     callers              CALLERS users connect
 *     callees NAME N KIND  users NAME0 … register a device and go to sleep; KIND says its tokens:
 *                          voip, alert (voip and alert), bad (its alert token is none)
 *     run RATE SECONDS NAME [NAME]   RATE calls a second, evenly spaced, whatever the server does,
 *                          to the callees in turn; each is cancelled when its push has come
 *     hole                 one of the connections that carry calls becomes a black hole
 *     apple                what the sink has seen
 *
 * run prints {"calls":N,"seconds":S,"late":L,"lost":X,"alerts":A,"latency_us":[…]}: from before the
 * invite is written until its whole push was read, of every call; what this program takes for both
 * is in it. lost: no push for LOST_US. SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/apns_sink.h"
#include "bench/load/sig_user.h"

#define CALLERS_MAX 20000
#define SAMPLES_MAX 100000
#define SETS_MAX    16
#define LATE_US     1000
#define LOST_US     (20 * US_PER_S)
#define AT_ONCE     64
#define TOKEN_BYTES 32

struct set {
    char name[SIG_NAME_MAX - 10]; /* a number follows */
    unsigned n, head, free_n;
    unsigned *free; /* ring of those who have no call: a second call is not pushed */
};

struct caller {
    struct sig_user *u;
    struct caller *next; /* on the list of those that are free */
    uint64_t invited_us; /* 0: no call */
    uint64_t n;          /* of its call */
    struct set *set;
    unsigned callee;
    bool replied, pushed, cancelled;
    char call[SIG_CALL_TEXT + 1];
};

static struct {
    struct sig_world world;
    struct apns_sink *apple;
    struct caller *callers, *free;
    unsigned long n;
    struct set sets[SETS_MAX];
    size_t sets_n;
    uint64_t begun, over, late, alerts, first; /* first: number of this run's first call */
    uint32_t *latency;                         /* by number; UINT32_MAX: not yet */
    struct caller **by_number;
    unsigned registered, generation;
    const char *topic, *kind;
} g = {.world = {.prefix = "caller"}};

/* ---- devices ---- */

static void write_token(struct wr *w, uint8_t first, unsigned set, unsigned index)
{
    uint8_t b[TOKEN_BYTES] = {first, (uint8_t)set};
    struct wr at = wr_init(b + 2, sizeof(b) - 2);

    wr_be32(&at, index);
    wr_be32(&at, g.generation);
    hex_encode(w, slice_of(b, sizeof(b)));
}

static void write_register(struct wr *w, const struct sig_user *u)
{
    bool alert = strcmp(g.kind, "voip") != 0, bad = strcmp(g.kind, "bad") == 0;

    wr_str(w,
           "{\"type\":\"device.register\",\"id\":\"reg\",\"seq\":1,\"data\":{\"platform\":\"ios\","
           "\"app\":\"");
    wr_str(w, g.topic);
    wr_str(w, "\",\"environment\":\"production\",\"callUi\":\"callkit\",\"tokens\":[{\"type\":"
              "\"voip\",\"token\":\"");
    write_token(w, 0x01, (unsigned)g.sets_n, u->index);
    if (alert) {
        wr_str(w, "\"},{\"type\":\"alert\",\"token\":\"");
        write_token(w, bad ? APNS_SINK_BAD : 0x02, (unsigned)g.sets_n, u->index);
    }
    wr_str(w, "\"}]}}");
}

static void on_awake(struct sig_user *u)
{
    uint8_t text[1024];
    struct wr w = wr_init(text, sizeof(text));

    write_register(&w, u);
    sig_user_send(u, &w);
}

static void on_registered(struct sig_user *u, const struct sig_text *m)
{
    static const char bye[] = "{\"type\":\"session.close\",\"id\":\"bye\",\"seq\":2}";

    if (!slice_is(m->type, "device.register"))
        sig_die("not what a registration is answered with", m->type);
    g.registered++;
    sig_conn_frame(&u->conn, WS_OP_TEXT, slice_str(bye));
    sig_conn_close(&u->conn);
}

static void run_callees(const char *name, unsigned n)
{
    struct sig_world world = {.loop = g.world.loop,
                              .secret = g.world.secret,
                              .welcome = on_awake,
                              .message = on_registered};
    struct sig_user *u = mem_calloc(n, sizeof(*u));
    struct set *s = NULL;
    unsigned started = 0;

    for (size_t i = 0; i < g.sets_n; i++)
        s = strcmp(g.sets[i].name, name) == 0 ? &g.sets[i] : s;
    if (!u || (!s && g.sets_n == SETS_MAX))
        sig_die("too many callees", slice_str(name));
    if (!s)
        s = &g.sets[g.sets_n++];
    snprintf(s->name, sizeof(s->name), "%s", name);
    mem_free(s->free);
    s->free = mem_calloc(n, sizeof(*s->free));
    if (!s->free)
        sig_die("out of memory", (struct slice){0});
    s->n = s->free_n = n;
    s->head = 0;
    for (unsigned i = 0; i < n; i++)
        s->free[i] = i;
    world.prefix = s->name;
    g.registered = 0;
    g.generation++;
    uint64_t heard = clock_now_us();
    while (g.registered < n) {
        while (started < n && started - g.registered < AT_ONCE) {
            sig_user_start(&u[started], &world, started);
            started++;
        }
        if (sig_loop_turn(g.world.loop, 0) + apns_sink_turn(g.apple) > 0)
            heard = clock_now_us();
        else if (clock_now_us() - heard > SIG_TIMEOUT_US)
            sig_die("devices are not registered", slice_str(name));
    }
    for (uint64_t end = clock_now_us() + US_PER_S / 2; clock_now_us() < end;)
        sig_loop_turn(g.world.loop, 1); /* their sockets close */
    printf("{\"registered\":%u}\n", n);
    mem_free(u);
}

/* ---- calls ---- */

static void begin_call(struct caller *c, struct set *s)
{
    char to[SIG_NAME_MAX];

    c->n = g.begun++;
    c->replied = c->pushed = c->cancelled = false;
    c->set = s;
    c->callee = s->free[s->head];
    s->head = (s->head + 1) % s->n;
    s->free_n--;
    g.by_number[c->n - g.first] = c;
    snprintf(to, sizeof(to), "%s%u", s->name, c->callee);
    sig_call_name(c->call, (unsigned)getpid(), c->n);
    c->invited_us = clock_now_us();
    sig_user_invite(c->u, c->call, to);
}

static void end_call(struct caller *c)
{
    struct set *s = c->set;

    s->free[(s->head + s->free_n++) % s->n] = c->callee;
    c->next = g.free;
    g.free = c;
    g.over++;
}

static void review(struct caller *c)
{
    if (!c->replied || !c->pushed || c->cancelled)
        return;
    c->cancelled = true;
    sig_user_say(c->u, "call.cancel", true, c->call, "");
}

static void on_message(struct sig_user *u, const struct sig_text *m)
{
    struct caller *c = &g.callers[u->index];

    if (!slice_is(m->call_id, c->call))
        sig_die("a message of another call", m->call_id);
    if (slice_is(m->type, "call.invite")) {
        c->replied = true;
        review(c);
    } else if (slice_is(m->type, "call.cancel")) {
        sig_user_ack(u);
        end_call(c);
    } else if (slice_is(m->type, "call.ended")) {
        sig_die("a call ended by itself", m->data);
    }
}

static void on_push(void *arg, const struct apns_sink_stream *s)
{
    struct json_field id = {.key = "call_id"};

    (void)arg;
    if (strcmp(s->type, "voip") != 0) {
        g.alerts++;
        return;
    }
    if (json_fields(slice_of(s->body, s->len), &id, 1) != 0 || id.value.len != SIG_CALL_TEXT + 2)
        sig_die("no call in a payload", slice_of(s->body, s->len));
    char digits[13];
    slice_to_cstr(slice_sub(id.value, 25, 12), digits, sizeof(digits));
    uint64_t n = strtoull(digits, NULL, 16);
    if (n < g.first || n >= g.begun || g.latency[n - g.first] != UINT32_MAX)
        return; /* of an earlier run, or it came again */
    struct caller *c = g.by_number[n - g.first];
    g.latency[n - g.first] = (uint32_t)(clock_now_us() - c->invited_us);
    c->pushed = true;
    review(c);
}

static bool turn(void)
{
    return sig_loop_turn(g.world.loop, 0) + apns_sink_turn(g.apple) > 0;
}

static struct set *find_set(const char *name)
{
    for (size_t i = 0; i < g.sets_n; i++)
        if (strcmp(g.sets[i].name, name) == 0)
            return &g.sets[i];
    sig_die("no such callees", slice_str(name));
}

/* Spins instead of sleeping: this core is the generator's, and its times must be exact. */
static void run_calls(uint64_t rate, uint64_t seconds, struct set *s[2])
{
    uint64_t from = clock_now_us(), n = 0, total = rate * seconds, alerts = g.alerts, lost = 0;

    if (total > SAMPLES_MAX)
        sig_die("too many calls", (struct slice){0});
    memset(g.latency, 0xff, total * sizeof(*g.latency));
    g.first = g.begun;
    g.late = 0;
    while (n < total) {
        uint64_t due = from + n * US_PER_S / rate, now = clock_now_us();
        if (now >= due && g.free && s[n % 2]->free_n > 0) {
            struct caller *c = g.free;
            g.free = c->next;
            g.late += now - due > LATE_US;
            begin_call(c, s[n++ % 2]);
        }
        turn();
    }
    uint64_t last = clock_now_us();
    while (g.over < g.begun && clock_now_us() - last < LOST_US)
        turn();
    printf("{\"calls\":%llu,\"seconds\":%.6f,\"late\":%llu,\"alerts\":%llu,\"latency_us\":[",
           (unsigned long long)total, (double)(clock_now_us() - from) / (double)US_PER_S,
           (unsigned long long)g.late, (unsigned long long)(g.alerts - alerts));
    for (size_t i = 0; i < total; i++) {
        if (g.latency[i] == UINT32_MAX)
            lost++;
        else
            printf("%s%u", i > lost ? "," : "", g.latency[i]);
    }
    printf("],\"lost\":%llu}\n", (unsigned long long)lost);
    if (lost > 0)
        sig_die("calls without a push", (struct slice){0});
}

static void run_apple(void)
{
    unsigned conns = 0, holes = 0;

    for (size_t i = 0; i < APNS_SINK_CONNS; i++) {
        conns += g.apple->conn[i].open;
        holes += g.apple->conn[i].hole;
    }
    printf("{\"connections\":%u,\"holes\":%u,\"accepted\":%llu,\"rejected\":%llu}\n", conns, holes,
           (unsigned long long)g.apple->accepted, (unsigned long long)g.apple->rejected);
}

/* ---- commands ---- */

static void run_callers(void)
{
    struct sig_user *users = sig_users_new(&g.world, (unsigned)g.n, 16);

    for (unsigned long i = 0; i < g.n; i++) {
        g.callers[i] = (struct caller){.u = &users[i], .next = g.free};
        g.free = &g.callers[i];
    }
    printf("{\"callers\":%lu}\n", g.n);
}

static void run(char *line)
{
    char *word[5] = {0}, *rest = line;
    size_t n = 0;

    while (n < ARRAY_LEN(word) && (word[n] = strtok_r(rest, " \n", &rest)))
        n++;
    if (n == 1 && strcmp(word[0], "callers") == 0) {
        run_callers();
    } else if (n == 4 && strcmp(word[0], "callees") == 0) {
        g.kind = word[3];
        run_callees(word[1], (unsigned)strtoul(word[2], NULL, 10));
    } else if (n >= 4 && strcmp(word[0], "run") == 0) {
        struct set *s[2] = {find_set(word[3]), find_set(word[n - 1])};
        uint64_t rate = strtoull(word[1], NULL, 10);
        run_calls(rate > 0 ? rate : 1, strtoull(word[2], NULL, 10), s);
    } else if (n == 1 && strcmp(word[0], "hole") == 0) {
        printf("{\"hole\":%s}\n", apns_sink_hole(g.apple) ? "true" : "false");
    } else if (n == 1 && strcmp(word[0], "apple") == 0) {
        run_apple();
    } else {
        sig_die("no such command", slice_str(line));
    }
    fflush(stdout);
}

/* Serves both ends until a line comes. False: the input's end. */
static bool wait_command(char line[64])
{
    struct epoll_event ev = {.events = EPOLLIN}, got;
    int ep = epoll_create1(EPOLL_CLOEXEC);
    bool ready = false;

    if (ep == -1 || epoll_ctl(ep, EPOLL_CTL_ADD, STDIN_FILENO, &ev) != 0)
        sig_die_errno("standard input");
    while (!ready) {
        turn();
        ready = epoll_wait(ep, &got, 1, 1) == 1;
    }
    close(ep);
    return fgets(line, 64, stdin) != NULL;
}

int main(int argc, char **argv)
{
    char line[64];

    g.n = argc == 8 ? strtoul(argv[7], NULL, 10) : 0;
    if (g.n < 1 || g.n > CALLERS_MAX) {
        fprintf(stderr, "usage: push_wire ADDR SECRET_FILE APNS_PORT CERT KEY TOPIC CALLERS\n");
        return 64;
    }
    setvbuf(stdin, NULL, _IONBF, 0); /* epoll must see what was not read */
    g.topic = argv[6];
    g.callers = mem_calloc(g.n, sizeof(*g.callers));
    g.latency = mem_calloc(SAMPLES_MAX, sizeof(*g.latency));
    g.by_number = mem_calloc(SAMPLES_MAX, sizeof(struct caller *));
    if (!g.callers || !g.latency || !g.by_number)
        sig_die("out of memory", (struct slice){0});
    g.world.message = on_message;
    sig_world_init(&g.world, argv[1], argv[2]);
    g.apple = apns_sink_new((unsigned)strtoul(argv[3], NULL, 10), argv[4], argv[5]);
    g.apple->push = on_push;
    puts("listening");
    fflush(stdout);
    while (wait_command(line))
        run(line);
    return 0;
}
