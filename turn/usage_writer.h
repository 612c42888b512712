/* Records of use into files of a directory, one JSON object a line. A thread of its own; nothing
 * that the disk does can make a worker wait. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_USAGE_WRITER_H
#define SORI_TURN_USAGE_WRITER_H

#include "base/metrics.h"
#include "turn/turn_conf.h"

struct usage_writer;

/* Begins, in conf's [usage] directory, which must be there. conf is lent and outlives the writer.
 * NULL with err: what could not be used, and what to do. */
struct usage_writer *usage_writer_start(const struct turn_conf *conf, struct metrics *m,
                                        char err[CONF_ERR_MAX]);

/* Hands over a record, one JSON object without a line's end; copied. Any thread, never waits: what
 * has no room is counted as lost. */
void usage_writer_record(struct usage_writer *u, struct slice json);

/* Writes what waits, if the disk takes it, and ends. NULL is allowed. */
void usage_writer_stop(struct usage_writer *u);

#endif
