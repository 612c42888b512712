/* Keeps the directory of devices as the ledger has it: all of it at start, a user's devices when
 * another server has changed them, all of it again when it is not known who was changed.
 *
 *     ledger: changed(user) ──► device_read_user() ──► ledger_devices_of() ──► device_dir_user()
 *                changed("") ──► device_read_all() ──► ledger_devices() … ──► device_dir_replace()
 *
 * The ledger answers in the order in which it was asked, so that what is registered here meanwhile
 * is not overwritten by what was read before. Pure; worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_DEVICE_READ_H
#define SORI_SERVER_DEVICE_READ_H

#include "server/device_dir.h"

enum { DEVICE_READ_USERS_MAX = 256 }; /* read at a time; more: everything is read */

struct device_read;

/* Everything was read: 0; -EDQUOT: without those that are over the limits of now; another error:
 * something was given up (the ledger's queue is full, memory is out): device_read_all() in a
 * second. It is told of a user's reading only when that was given up. */
typedef void device_read_fn(void *ctx, int rc);

/* Both outlive it. NULL when memory is out. */
struct device_read *device_read_new(struct device_dir *d, struct ledger *l, device_read_fn *done,
                                    void *ctx);
/* After the ledger has ended: nothing is called any more. NULL is allowed. */
void device_read_free(struct device_read *r);

/* Reads everything; once more, if it is at it. done may be called from within. */
void device_read_all(struct device_read *r);
/* Reads a user's devices; the same. */
void device_read_user(struct device_read *r, struct slice user);

#endif
