/* JSON of tokens and key sets: jansson under limits, and without its silent losses when memory is
 * out. The only header of sori-server that names a jansson type.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_TOKEN_JSON_H
#define SORI_SERVER_TOKEN_JSON_H

#include "base/bytes.h"

#include <jansson.h>

struct token_json_limits {
    size_t bytes;
    unsigned depth, values; /* nesting; objects, arrays and commas in all */
};

/* To be called before an object is made by hand: from then on jansson allocates through mem.h, so
 * nothing else may have used it in the process before. The functions below do it themselves. */
void token_json_begin(void);

/* Reads the one JSON value that fills s; duplicate keys are an error. Returns 0 with a value that
 * the caller owns (json_decref); -EBADMSG with err saying where and what (err may be NULL);
 * -ENOMEM. Any thread. */
int token_json_load(json_t **out, struct slice s, const struct token_json_limits *max, char *err,
                    size_t err_cap);

/* Writes v in compact form. Returns 0, -ENOSPC or -ENOMEM. */
int token_json_dump(const json_t *v, struct wr *w);

/* A text member of obj; p NULL when it is absent or no text. Borrowed from obj. */
struct slice token_json_text(const json_t *obj, const char *name);

#endif
