/* The ledger's thread: between the worker that asks and the file that takes its time.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_LINK_H
#define SORI_SERVER_LEDGER_LINK_H

#include "server/ledger.h"

struct ledger_link;
struct server_conf;
struct worker;

#define LEDGER_LINK_WHY_MAX 512
#define LEDGER_LINK_END_S   5 /* at the end: how long records are given to reach the disk */

/* A ledger is configured. */
bool ledger_link_wanted(const struct server_conf *c);

/* Opens what [ledger] and [privacy] say (one must be wanted) and starts the thread;
 * w is where answers come. Main thread, at start: it may take as long as the file is large.
 *
 * Returns 0 and *out; a file in trouble is told in the log and in ledger_health(), and goes on
 * being tried. Or a negative errno with why (NUL ended) saying what to do: the start must fail. */
int ledger_link_new(struct worker *w, const struct server_conf *c, struct ledger_link **out,
                    char why[LEDGER_LINK_WHY_MAX]);

/* Worker. Writes what still waits, for at most LEDGER_LINK_END_S, tells the log what could not be
 * written, ends the thread. NULL is allowed. */
void ledger_link_free(struct ledger_link *k);

/* What to put and ask. Good until ledger_link_free(). */
struct ledger *ledger_link_ledger(struct ledger_link *k);

/* Worker. Tells from now on what another server has changed (struct ledger_conf: changed). */
typedef void ledger_link_changed_fn(void *ctx, struct slice user);
void ledger_link_watch(struct ledger_link *k, ledger_link_changed_fn *changed, void *ctx);

/* Worker. Sweeps now instead of within the hour. An export or a deletion that was asked for does
 * this by itself. */
void ledger_link_sweep(struct ledger_link *k);

/* Where the file of a finished export is (export_path() of the store): NUL ended. Returns 0 or
 * -ENAMETOOLONG. */
int ledger_link_export_path(const struct ledger_link *k, const struct ledger_privacy *p, char *out,
                            size_t cap);

/* Registers the metrics of the ledger; the link must outlive m. */
struct metrics;
void ledger_link_metrics(struct ledger_link *k, struct metrics *m);

#endif
