/* Unix sockets of mode 0600 that an operator's tool speaks to. SPDX-License-Identifier:
 * BSD-3-Clause
 */
#ifndef SORI_NET_UNIX_SOCK_H
#define SORI_NET_UNIX_SOCK_H

/* Listens at path, which nobody but the owner of this process may open at any time; a socket file
 * that nobody listens on any more is replaced. Returns a non-blocking descriptor, or -errno
 * (-ENAMETOOLONG: path is longer than 107 bytes; -EADDRINUSE: somebody listens, or another file is
 * there). The caller unlinks the file at its end. */
int unix_listen(const char *path, int backlog);

/* Connects to path, with timeout_s for each later read and write. Returns a descriptor or -errno.
 * Blocks. */
int unix_connect(const char *path, unsigned timeout_s);

#endif
