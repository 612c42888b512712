/* The status as the worker wrote it last, for the thread of the admin listener: it is written while
 * somebody looks, once a second, and no thread waits for another.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_STATUS_BOARD_H
#define SORI_SERVER_STATUS_BOARD_H

#include "base/bytes.h"
#include "base/clock.h"

struct status_board;

#define STATUS_BOARD_LOOK_US (10 * US_PER_S) /* who has looked is expected to look again */

/* NULL when memory is out. Freeing NULL is allowed. */
struct status_board *status_board_new(void);
void status_board_free(struct status_board *b);

/* Whether somebody has looked a short time ago: then write. Any thread. */
bool status_board_wanted(struct status_board *b, uint64_t now_us);
/* Replaces the text by a copy. Returns 0 or -ENOMEM: the old one stays. Any thread. */
int status_board_write(struct status_board *b, struct slice text);

/* Looks: a copy of the text on the heap (mem_free()), *len bytes, or NULL: nothing was written
 * since somebody looked the last time, or memory is out; look again in a second. Any thread. */
char *status_board_look(struct status_board *b, uint64_t now_us, size_t *len);

#endif
