/* Tells when certificate files have changed. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_CERT_WATCH_H
#define SORI_TURN_CERT_WATCH_H

#include "base/bytes.h"

#define CERT_WATCH_MAX 34 /* files */

struct cert_watch;

/* Watches the folders of these files (at most CERT_WATCH_MAX; the paths are copied). From now on
 * the process gets SIGIO when something happens there. NULL when memory or descriptors are out or a
 * folder cannot be watched: then only SIGHUP reloads. */
struct cert_watch *cert_watch_new(const char *const *paths, size_t n);

/* Whether one of the files is another one than at the last call (or the start): by inode, size and
 * time, behind symbolic links. Takes back what asked for SIGIO. */
bool cert_watch_changed(struct cert_watch *w);

/* Ends it. NULL is allowed. */
void cert_watch_free(struct cert_watch *w);

#endif
