/* Load: connect, full TLS 1.3 handshake, WebSocket upgrade, Close both ways, and again.
 *
 *     sig_handshake ADDR AT_ONCE
 *
 * Prints "ready"; each line "go N" on standard input makes N of them, AT_ONCE at a time, and prints
 * {"handshakes":N,"seconds":S}. No session is resumed. SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/sig_conn.h"

#define AT_ONCE_MAX 256

static struct {
    struct sig_wss conns[AT_ONCE_MAX];
    struct sig_loop *loop;
    unsigned long to_start, to_finish;
    bool done;
} g;

static void start(struct sig_wss *c);

static void on_open(struct sig_wss *c)
{
    if (SSL_session_reused(c->ssl))
        sig_die("a session was resumed", (struct slice){0});
    sig_conn_close(c);
}

static void on_text(struct sig_wss *c, struct slice text)
{
    (void)c;
    sig_die("a message before hello", text);
}

static void on_closed(struct sig_wss *c)
{
    g.to_finish--;
    g.done = g.to_finish == 0;
    if (g.to_start > 0)
        start(c);
}

static const struct sig_conn_ops OPS = {.open = on_open, .text = on_text, .closed = on_closed};

static void start(struct sig_wss *c)
{
    g.to_start--;
    sig_conn_start(c, g.loop, &OPS, NULL);
}

static void run(unsigned long n, unsigned long at_once)
{
    uint64_t from = clock_now_us();

    g.to_start = g.to_finish = n;
    g.done = n == 0;
    for (unsigned long i = 0; i < at_once && g.to_start > 0; i++)
        start(&g.conns[i]);
    sig_loop_until(g.loop, &g.done);
    printf("{\"handshakes\":%lu,\"seconds\":%.6f}\n", n,
           (double)(clock_now_us() - from) / (double)US_PER_S);
}

int main(int argc, char **argv)
{
    unsigned long at_once = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    char line[64];

    if (at_once < 1 || at_once > AT_ONCE_MAX) {
        fprintf(stderr, "usage: sig_handshake ADDR AT_ONCE (up to %d)\n", AT_ONCE_MAX);
        return 64;
    }
    g.loop = sig_loop_new(argv[1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (sig_loop_command(g.loop, line))
        if (strncmp(line, "go ", 3) == 0)
            run(strtoul(line + 3, NULL, 10), at_once);
    return 0;
}
