/* Load: N idle wss connections, each a session of its own user.
 *
 *     sig_idle ADDR SECRET_FILE N
 *
 * Opens them with at most AT_ONCE on the way, prints "ready" and answers pings until standard input
 * ends; bench/signal.py reads the server's memory meanwhile. SPDX-License-Identifier: BSD-3-Clause
 */
#include "bench/load/sig_user.h"

#define AT_ONCE      16
#define SESSIONS_MAX 19000 /* descriptors of one process */

int main(int argc, char **argv)
{
    static struct sig_world world = {.prefix = "idle"};
    unsigned long n = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    char line[64];

    if (n < 1 || n > SESSIONS_MAX) {
        fprintf(stderr, "usage: sig_idle ADDR SECRET_FILE N (up to %d)\n", SESSIONS_MAX);
        return 64;
    }
    sig_world_init(&world, argv[1], argv[2]);
    sig_users_new(&world, (unsigned)n, AT_ONCE);
    puts("ready");
    fflush(stdout);
    while (sig_loop_command(world.loop, line))
        ;
    return 0;
}
