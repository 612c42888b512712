/* What is moved when a SQLite ledger becomes a PostgreSQL one: tables, column by column, and the
 * bytes of their rows. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_MOVE_H
#define SORI_SERVER_LEDGER_MOVE_H

#include "base/bytes.h"

enum { LEDGER_MOVE_COLUMNS_MAX = 17, LEDGER_MOVE_TABLES = 14 };

struct ledger_move_table {
    const char *name;
    const char *columns; /* of both tables, "a, b, c" */
    const char *types;   /* a letter each: t text, b bytes, n number, y yes or no */
    const char *key;     /* the order that they are moved in */
    const char *select;  /* the columns in SQLite; NULL: as columns */
    const char *where;   /* "" or a condition on the rows, in both */
};
extern const struct ledger_move_table ledger_move_tables[LEDGER_MOVE_TABLES];

struct ledger_move_field {
    struct slice bytes; /* t, b */
    int64_t number;     /* n, y */
    bool null;
};

/* COPY … FROM STDIN BINARY of PostgreSQL: what comes before the first row, a row, and what comes
 * behind the last. w->bad when there is no room.
 *
 * ledger_move_row() returns 0, or -EINVAL: a text of it can't be in PostgreSQL (it holds a NUL, or
 * is no UTF-8); nothing was written, the row is left out. */
void ledger_move_head(struct wr *w);
int ledger_move_row(struct wr *w, const struct ledger_move_table *t,
                    const struct ledger_move_field *f);
void ledger_move_tail(struct wr *w);

#endif
