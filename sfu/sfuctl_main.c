/* sori-sfuctl: asks a running sori-sfu over its [control] socket.
 *
 * Exit status: 0, 1 when the SFU says no, 64 for a wrong command line, 69 when it does not answer.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/bytes.h"

#define DEFAULT_SOCKET "/run/sori-sfu/control.sock"
#define WAIT_S         5

static void usage(FILE *f)
{
    fputs(
        "usage: sori-sfuctl [--socket PATH] COMMAND\n"
        "  status       the node: workers, load, rooms with the server that made them\n"
        "  room NAME    a room: participants, tracks, slots, loss, jitter, round trip, quality\n"
        "  drain        take no new rooms (SIGUSR1 does so too, and ends the process afterwards)\n"
        "  undrain      take them again\n"
        "  -s, --socket PATH   default: " DEFAULT_SOCKET "\n"
        "      --version       print the version and exit\n"
        "  -h, --help          print this and exit\n"
        "Answers are one JSON object a line.\n",
        f);
}

/* Connects, or returns -1 with a word. */
static int open_socket(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct timeval wait = {.tv_sec = WAIT_S};

    if (strlen(path) >= sizeof(at.sun_path)) {
        fprintf(stderr, "sori-sfuctl: %s: longer than a socket's name can be\n", path);
        return -1;
    }
    memcpy(at.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1 || connect(fd, (const struct sockaddr *)&at, sizeof(at)) == -1) {
        fprintf(stderr, "sori-sfuctl: %s: %s\n", path, strerror(errno));
        if (fd != -1)
            close(fd);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    return fd;
}

/* Prints up to the end of the line. Returns an exit status. */
static int print_line(int fd)
{
    char buf[65536];
    bool first = true, refused = false;

    for (;;) {
        ssize_t n = read(fd, buf, sizeof(buf));

        if (n <= 0) {
            fputs("sori-sfuctl: no answer\n", stderr);
            return EX_UNAVAILABLE;
        }
        if (first)
            refused = n > 8 && memcmp(buf, "{\"error\"", 8) == 0;
        first = false;
        fwrite(buf, 1, (size_t)n, stdout);
        if (buf[n - 1] == '\n')
            return refused ? 1 : EX_OK;
    }
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"socket", required_argument, NULL, 's'},
                                          {"version", no_argument, NULL, 'v'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *path = DEFAULT_SOCKET;
    char line[512];
    int c;

    while ((c = getopt_long(argc, argv, "s:h", longs, NULL)) != -1) {
        if (c == 's') {
            path = optarg;
        } else if (c == 'v') {
            puts("sori-sfuctl " SORI_VERSION);
            return EX_OK;
        } else {
            usage(c == 'h' ? stdout : stderr);
            return c == 'h' ? EX_OK : EX_USAGE;
        }
    }
    int left = argc - optind;
    bool room = left == 2 && strcmp(argv[optind], "room") == 0;
    if (left != 1 && !room) {
        usage(stderr);
        return EX_USAGE;
    }
    int n = snprintf(line, sizeof(line), "%s%s%s\n", argv[optind], room ? " " : "",
                     room ? argv[optind + 1] : "");
    if (n < 0 || (size_t)n >= sizeof(line)) {
        usage(stderr);
        return EX_USAGE;
    }
    int fd = open_socket(path);
    if (fd == -1)
        return EX_UNAVAILABLE;
    int status = write(fd, line, (size_t)n) == n ? print_line(fd) : EX_UNAVAILABLE;
    close(fd);
    return status;
}
