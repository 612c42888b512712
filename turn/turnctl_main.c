/* sori-turnctl: asks a running sori-turn over its control socket and prints the answer.
 *
 * What it prints is what the daemon sends (control.h): one JSON object a line. Exit status: 0 done,
 * 1 refused by the daemon, 64 wrong command line, 69 no daemon there or no answer.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "proto/json.h"
#include "turn/control.h"

#define DEFAULT_SOCKET "/run/sori-turn/control"
#define TIMEOUT_S      10

enum { EX_REFUSED = 1 };

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

/* Makes the request of the words. False when they are no command. */
static bool request(struct wr *w, int n, char **words)
{
    static const struct {
        const char *command, *key;
        int min, max; /* words behind the command */
    } known[] = {
        {"status", NULL, 0, 0},  {"list", "user", 0, 2},       {"kill", "allocation", 1, 1},
        {"quota", "user", 0, 2}, {"log-level", "level", 1, 1}, {"drain", NULL, 0, 0},
    };

    for (size_t i = 0; n > 0 && i < ARRAY_LEN(known); i++) {
        if (!slice_is(slice_str(words[0]), known[i].command) || n - 1 < known[i].min ||
            n - 1 > known[i].max)
            continue;
        wr_fmt(w, "{\"command\":\"%s\"", known[i].command);
        if (n > 1) {
            wr_fmt(w, ",\"%s\":", known[i].key);
            json_write_text(w, slice_str(words[1]));
        }
        if (n > 2) {
            wr_str(w, ",\"realm\":");
            json_write_text(w, slice_str(words[2]));
        }
        wr_str(w, "}\n");
        return !w->bad;
    }
    return false;
}

/* Returns a connected socket, or -errno. */
static int reach(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = TIMEOUT_S};

    if (slice_to_cstr(slice_str(path), at.sun_path, sizeof(at.sun_path)) != 0)
        return -ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
        connect(fd, (const struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    int err = -errno;
    close(fd);
    return err;
}

/* Prints the lines up to the one that has "ok". Returns an exit status. */
static int show(FILE *in)
{
    static const struct json_limits limits = {.depth = 2, .values = 64, .bytes = CONTROL_REPLY_MAX};
    static char line[CONTROL_LAST_MAX + 1];

    while (fgets(line, sizeof(line), in)) {
        struct json_field ok = {.key = "ok"};
        bool done;
        if (json_scan_object(slice_str(line), &limits, &ok, 1) != 0)
            break;
        fputs(line, stdout);
        if (json_truth(ok.value, &done))
            return done ? EX_OK : EX_REFUSED;
    }
    fputs("sori-turnctl: the answer is incomplete\n", stderr);
    return EX_UNAVAILABLE;
}

int main(int argc, char **argv)
{
    const char *path = DEFAULT_SOCKET;
    uint8_t buf[CONTROL_LINE_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    int status = parse(&path, argc, argv);

    if (status >= 0)
        return status;
    if (!request(&w, argc - optind, argv + optind)) {
        usage(stderr);
        return EX_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    int fd = reach(path);
    if (fd < 0) {
        fprintf(stderr, "sori-turnctl: %s: %s\n", path, strerror(-fd));
        return EX_UNAVAILABLE;
    }
    FILE *in = fdopen(fd, "r");
    if (!in || write(fd, w.base, w.len) != (ssize_t)w.len) {
        fprintf(stderr, "sori-turnctl: %s: %s\n", path, strerror(errno));
        return EX_UNAVAILABLE;
    }
    status = show(in);
    fclose(in);
    return status;
}
