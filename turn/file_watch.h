/* Tells when files have changed. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_FILE_WATCH_H
#define SORI_TURN_FILE_WATCH_H

#include "base/bytes.h"

#define FILE_WATCH_MAX 256 /* files */

struct file_watch;

/* Watches the folders of these files (at most FILE_WATCH_MAX; the paths are copied). From now on
 * the process gets SIGIO when something happens there. NULL when memory or descriptors are out or a
 * folder cannot be watched: then only SIGHUP reloads. */
struct file_watch *file_watch_new(const char *const *paths, size_t n);

/* Whether one of the files is another one than at the last call (or the start): by inode, size and
 * time, behind symbolic links. Takes back what asked for SIGIO. */
bool file_watch_changed(struct file_watch *w);

/* Ends it. NULL is allowed. */
void file_watch_free(struct file_watch *w);

#endif
