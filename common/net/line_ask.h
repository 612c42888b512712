/* What sorictl and sori-turnctl have in common: words become a request of one JSON line, the lines
 * of the answer are printed. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_LINE_ASK_H
#define SORI_NET_LINE_ASK_H

#include "base/bytes.h"

#define LINE_ASK_REQUEST_MAX 4096       /* bytes of a request, newline included */
#define LINE_ASK_ANSWER_MAX  (64 << 10) /* bytes of one line of an answer */
#define LINE_ASK_TIMEOUT_S   10         /* for each read and write */
#define LINE_ASK_KEYS        2

/* A command of a tool, and what the words behind it are called; NULL: no such word. */
struct line_command {
    const char *name, *keys[LINE_ASK_KEYS];
    int min; /* words that it wants; more, up to the keys, may be there */
};

/* Writes {"command":"end","call":"…"} and a newline for n words. False: they are none of the
 * commands, or too long. */
bool line_ask_write(struct wr *w, const struct line_command *known, size_t known_n, int n,
                    char **words);

/* Sends request to the socket at path, prints the answer up to the line that has "ok", and returns
 * an exit status: 0, 1 when that is false, 69 (with a word on standard error that begins with tool)
 * when there is no daemon or no whole answer. */
int line_ask(const char *tool, const char *path, struct slice request);

#endif
