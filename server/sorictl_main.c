/* sorictl: asks a running sori-server over its control socket and prints the answer.
 *
 * What it prints is what the daemon sends (operator.h): one JSON object a line. Exit status: 0
 * done, 1 refused by the daemon, 64 wrong command line, 69 no daemon there or no answer.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>

#include "net/line_ask.h"

#define DEFAULT_SOCKET "/run/sori/control"

static void usage(FILE *f)
{
    fputs("usage: sorictl [--socket PATH] COMMAND\n"
          "  -s, --socket PATH   the daemon's [admin] control (default: " DEFAULT_SOCKET ")\n"
          "      --version       print the version and exit\n"
          "  -h, --help          print this and exit\n"
          "commands:\n"
          "  status              version, counts, paths of calls, quality, SFU nodes\n"
          "  calls [USER]        live calls, one a line\n"
          "  end CALL            end one, by the id that calls shows; both sides are told\n"
          "  nodes               SFU nodes, one a line\n"
          "  tokens USER         the user's devices and what tokens they have, one a line\n"
          "  hold USER           keep the user's records from purges and retention\n"
          "  unhold USER         lift that\n"
          "  holds               whose records are held, one a line\n"
          "  log-level LEVEL     error, warn, info or debug, until the daemon ends\n"
          "  drain [SECONDS]     send clients elsewhere within that time (30), then end\n"
          "Answers are JSON, one object a line. Exit status: 0 done, 1 refused, 64 wrong command\n"
          "line, 69 no daemon or no answer.\n",
          f);
}

int main(int argc, char **argv)
{
    static const struct line_command known[] = {
        {"status", {0}, 0},        {"calls", {"user"}, 0},  {"end", {"call"}, 1},
        {"nodes", {0}, 0},         {"tokens", {"user"}, 1}, {"log-level", {"level"}, 1},
        {"drain", {"seconds"}, 0}, {"hold", {"user"}, 1},   {"unhold", {"user"}, 1},
        {"holds", {0}, 0},
    };
    static const struct option longs[] = {{"socket", required_argument, NULL, 's'},
                                          {"version", no_argument, NULL, 'V'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *path = DEFAULT_SOCKET;
    uint8_t buf[LINE_ASK_REQUEST_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    for (int c; (c = getopt_long(argc, argv, "+s:h", longs, NULL)) != -1;) {
        if (c == 's') {
            path = optarg;
        } else if (c == 'V') {
            puts("sorictl " SORI_VERSION);
            return EX_OK;
        } else {
            usage(c == 'h' ? stdout : stderr);
            return c == 'h' ? EX_OK : EX_USAGE;
        }
    }
    if (line_ask_write(&w, known, ARRAY_LEN(known), argc - optind, argv + optind))
        return line_ask("sorictl", path, wr_done(&w));
    usage(stderr);
    return EX_USAGE;
}
