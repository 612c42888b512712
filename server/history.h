/* Cursors of history pages as clients see them: text that stands for the last entry they have.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_HISTORY_H
#define SORI_SERVER_HISTORY_H

#include "server/ledger.h"

#define HISTORY_CURSOR_TEXT 34 /* characters */

/* Writes the cursor behind e. */
void history_cursor_write(struct wr *w, const struct ledger_entry *e);

/* Reads one. It says only where in the reader's own list a page begins, so a forged one shows
 * nobody more. Returns 0, or -EBADMSG: the request is refused as malformed. */
int history_cursor_parse(struct ledger_cursor *out, struct slice text);

#endif
