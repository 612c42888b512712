/* Secrets that live in files: a path, or a systemd credential.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_SECRETFILE_H
#define SORI_BASE_SECRETFILE_H

#include "base/bytes.h"

#define SECRETFILE_MAX_BYTES 65536

/* Loads the file that `where` names: a path, or "credential:NAME" for the file NAME under
 * $CREDENTIALS_DIRECTORY. The file must be a regular one that group and others can't read (of a
 * credential only others are checked: systemd grants a service's user by an ACL, which shows as
 * group bits). Trailing newlines are dropped; what is left must not be empty.
 *
 * *out: heap bytes (mem_free after crypto_wipe of *len bytes), written on success only.
 * *why: on failure a static text to show after `where`.
 *
 * Returns 0, -EINVAL for a name or file that is not acceptable, -ENOMEM, or -errno of the file.
 * At start and reload only: it blocks. */
int secretfile_load(struct slice where, uint8_t **out, size_t *len, const char **why);

#endif
