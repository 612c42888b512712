/* Asking a daemon over its control socket: one line there, lines back.
 *
 * Called by sorictl_main.c and turnctl_main.c. Blocks. SPDX-License-Identifier: BSD-3-Clause */
#include "net/line_ask.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#include "net/unix_sock.h"
#include "proto/json.h"

enum { EX_REFUSED = 1 };

bool line_ask_write(struct wr *w, const struct line_command *known, size_t known_n, int n,
                    char **words)
{
    for (size_t i = 0; n > 0 && i < known_n; i++) {
        const struct line_command *c = &known[i];
        int most = !c->keys[0] ? 0 : !c->keys[1] ? 1 : LINE_ASK_KEYS;
        if (!slice_is(slice_str(words[0]), c->name) || n - 1 < c->min || n - 1 > most)
            continue;
        wr_fmt(w, "{\"command\":\"%s\"", c->name);
        for (int k = 0; k < n - 1; k++) {
            wr_fmt(w, ",\"%s\":", c->keys[k]);
            json_write_text(w, slice_str(words[1 + k]));
        }
        wr_str(w, "}\n");
        return !w->bad;
    }
    return false;
}

/* Prints the lines up to the one that has "ok". Returns an exit status. */
static int show(const char *tool, FILE *in)
{
    static const struct json_limits limits = {
        .depth = 4, .values = 4096, .bytes = LINE_ASK_ANSWER_MAX};
    static char line[LINE_ASK_ANSWER_MAX + 1];

    while (fgets(line, sizeof(line), in)) {
        struct json_field ok = {.key = "ok"};
        bool done;
        if (json_scan_object(slice_str(line), &limits, &ok, 1) != 0)
            break;
        fputs(line, stdout);
        if (json_truth(ok.value, &done))
            return done ? EX_OK : EX_REFUSED;
    }
    fprintf(stderr, "%s: the answer is incomplete\n", tool);
    return EX_UNAVAILABLE;
}

int line_ask(const char *tool, const char *path, struct slice request)
{
    signal(SIGPIPE, SIG_IGN);
    int fd = unix_connect(path, LINE_ASK_TIMEOUT_S);
    if (fd < 0) {
        fprintf(stderr, "%s: %s: %s\n", tool, path, strerror(-fd));
        return EX_UNAVAILABLE;
    }
    FILE *in = fdopen(fd, "r");
    if (!in || write(fd, request.p, request.len) != (ssize_t)request.len) {
        fprintf(stderr, "%s: %s: %s\n", tool, path, strerror(errno));
        return EX_UNAVAILABLE;
    }
    int status = show(tool, in);
    fclose(in);
    return status;
}
