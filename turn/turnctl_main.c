/* sori-turnctl: asks a running sori-turn over its control socket and prints the answer.
 *
 * What it prints is what the daemon sends (control.h): one JSON object a line. Exit status: 0 done,
 * 1 refused by the daemon, 64 wrong command line, 69 no daemon there or no answer.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>

#include "net/line_ask.h"

#define DEFAULT_SOCKET "/run/sori-turn/control"

static void usage(FILE *f)
{
    fputs(
        "usage: sori-turnctl [--socket PATH] COMMAND\n"
        "  -s, --socket PATH   the daemon's [admin] control (default: " DEFAULT_SOCKET ")\n"
        "      --version       print the version and exit\n"
        "  -h, --help          print this and exit\n"
        "commands:\n"
        "  status              version, time, threads, totals\n"
        "  list [USER [REALM]] live allocations, one a line\n"
        "  kill ALLOCATION     end one, by the name that list shows\n"
        "  quota [USER [REALM]] limits and what is in use, of the default realm if none is named\n"
        "  log-level LEVEL     error, warn, info or debug, until the daemon ends\n"
        "  drain               no new allocations; the daemon ends with the last one\n"
        "Answers are JSON, one object a line. Exit status: 0 done, 1 refused, 64 wrong command\n"
        "line, 69 no daemon or no answer.\n",
        f);
}

/* Returns -1 to go on with the words behind the options, or an exit status. */
static int parse(const char **path, int argc, char **argv)
{
    enum { VERSION = 256 };
    static const struct option longs[] = {
        {"socket", required_argument, NULL, 's'},
        {"version", no_argument, NULL, VERSION},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "+s:h", longs, NULL)) != -1) {
        switch (c) {
        case 's':
            *path = optarg;
            break;
        case VERSION:
            puts("sori-turnctl " SORI_VERSION);
            return EX_OK;
        case 'h':
            usage(stdout);
            return EX_OK;
        default:
            usage(stderr);
            return EX_USAGE;
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    static const struct line_command known[] = {
        {"status", {0}, 0},          {"list", {"user", "realm"}, 0},
        {"kill", {"allocation"}, 1}, {"quota", {"user", "realm"}, 0},
        {"log-level", {"level"}, 1}, {"drain", {0}, 0},
    };
    const char *path = DEFAULT_SOCKET;
    uint8_t buf[LINE_ASK_REQUEST_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    int status = parse(&path, argc, argv);

    if (status >= 0)
        return status;
    if (line_ask_write(&w, known, ARRAY_LEN(known), argc - optind, argv + optind))
        return line_ask("sori-turnctl", path, wr_done(&w));
    usage(stderr);
    return EX_USAGE;
}
