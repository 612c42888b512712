/* RESP2, the protocol of Redis: commands out as counted words, replies in as values.
 *
 * Replies are read by hiredis's reader, whose objects are made here, so that they are counted and
 * come from base/mem.h: a reply that would be larger than its reader allows is never built up.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_RESP_H
#define SORI_PROTO_RESP_H

#include "base/bytes.h"

#define RESP_WORDS_MAX 64 /* of one command */

enum resp_kind { RESP_NIL, RESP_STRING, RESP_STATUS, RESP_ERROR, RESP_INTEGER, RESP_ARRAY };

/* A value, whole: of an array all members are there. Owned by whoever got it from resp_next(). */
struct resp {
    enum resp_kind kind;
    int64_t integer;    /* RESP_INTEGER */
    struct slice text;  /* RESP_STRING, RESP_STATUS, RESP_ERROR */
    size_t n;           /* RESP_ARRAY */
    struct resp **item; /* n of them */
};

struct resp_reader;

/* A reader that takes replies of at most bytes_max bytes and values_max values, arrays and their
 * members counted alike. NULL when memory is out. */
struct resp_reader *resp_reader_new(size_t bytes_max, size_t values_max);
void resp_reader_free(struct resp_reader *r); /* NULL is allowed */

/* Adds bytes as they came. Returns 0; -EMSGSIZE: the reply that has begun is longer than allowed;
 * -ENOMEM. After an error the connection is of no use: what follows could not be told apart. */
int resp_feed(struct resp_reader *r, struct slice bytes);

/* Takes the next whole reply. Returns 0 and *out, the caller's to resp_free(); -EAGAIN: there is
 * none yet; -EBADMSG: this is not RESP2; -EMSGSIZE, -ENOMEM. Errors as above: close. */
int resp_next(struct resp_reader *r, struct resp **out);

/* With its members. NULL is allowed. */
void resp_free(struct resp *v);

/* Whether v is text (RESP_STRING or RESP_STATUS): and what it is; empty for everything else and for
 * NULL. Borrowed from v. */
struct slice resp_text(const struct resp *v);
/* The i-th member of an array; NULL when there is none, or v is no array, or NULL. */
const struct resp *resp_at(const struct resp *v, size_t i);
/* v is an error; its first word is code ("READONLY"). */
bool resp_is_error(const struct resp *v, const char *code);

/* Writes one command of n counted words (1 .. RESP_WORDS_MAX). resp_command_size() bytes hold it.
 */
void resp_command(struct wr *w, const struct slice *words, size_t n);
size_t resp_command_size(const struct slice *words, size_t n);

#endif
