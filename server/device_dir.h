/* Who can be pushed: the devices and tokens of every user, in memory, so that a call finds them
 * without a disk.
 *
 * The copy that counts is the ledger's: it is read into here (device_read.h), and each change is
 * made there first and here when it is committed. A token belongs to one device of one user:
 * whoever registers it last has it.
 *
 *     for (const struct dir_device *d = device_dir_first(dir, user); d; d = device_dir_next(d))
 *         for (size_t i = 0; i < d->tokens_n; i++) use(&d->tokens[i]);
 *
 * Tokens are secrets: nothing here logs them. Pure; worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_DEVICE_DIR_H
#define SORI_SERVER_DEVICE_DIR_H

#include "server/ledger.h"

struct device_dir;

struct device_dir_conf {
    size_t devices;          /* in all */
    size_t devices_per_user; /* 1 .. */
    size_t
        tokens_per_device; /* LEDGER_TOKEN_TYPE_COUNT .. LEDGER_TOKENS_MAX, live activities too */
};

/* A token; the slice is good until the next change of the directory. */
struct dir_token {
    enum ledger_token_type type;
    struct slice token;
    struct sig_call_id call_id;
    uint64_t registered_ms, expires_ms;
};

/* A device; good until the next change of the directory. */
struct dir_device {
    struct slice user, device, app, version, locale;
    enum ledger_platform platform;
    enum ledger_env env;
    enum ledger_call_ui call_ui;
    uint64_t seen_ms;
    const struct dir_token *tokens;
    size_t tokens_n;
};

/* NULL when memory is out. */
struct device_dir *device_dir_new(const struct device_dir_conf *conf);
void device_dir_free(struct device_dir *d); /* wipes the tokens; NULL is allowed */

/* Whether a registration would find room, to be asked before it goes to the ledger. Returns 0;
 * -ENOSPC: the user has as many devices as allowed, or there are too many in all; -EINVAL: a text
 * or token is empty, too long or has control characters, or the device would have too many tokens.
 */
int device_dir_check(const struct device_dir *d, const struct ledger_device *dev);

/* Registers: what ledger_put_device() says. Tokens given leave whoever else had them. Returns 0, or
 * as device_dir_check(), or -ENOMEM: nothing is changed. */
int device_dir_put(struct device_dir *d, const struct ledger_device *dev);

/* What the ledger has of a device: nothing of what was here before stays. As device_dir_put(). */
int device_dir_replace(struct device_dir *d, const struct ledger_device *dev);
/* All that the ledger has of a user: other devices go. Returns 0; or, with the rest done, what one
 * of them was refused for: -ENOMEM before others. */
int device_dir_user(struct device_dir *d, struct slice user, const struct ledger_device *v,
                    size_t n);
/* Everything is read anew: between the two, what is put or replaced is of now; the rest goes.
 * Returns how many devices went. */
void device_dir_round(struct device_dir *d);
size_t device_dir_drop_old(struct device_dir *d);

/* Takes a device away; all devices of a user. Return how many went. */
size_t device_dir_del(struct device_dir *d, struct slice user, struct slice device);
size_t device_dir_del_user(struct device_dir *d, struct slice user);

/* Apple says that the token is not good any more, since since_ms (410; 0: it never was). True: it
 * was taken away; tell the ledger (ledger_bad_token()). False: it is not known, or was registered
 * again since. */
bool device_dir_bad(struct device_dir *d, struct slice token, uint64_t since_ms);

/* Which environment its tokens turned out to belong to. False: there is no such device. */
bool device_dir_set_env(struct device_dir *d, struct slice user, struct slice device,
                        enum ledger_env env);
/* It said hello. True: the first time since a day; tell the ledger (ledger_touch()). */
bool device_dir_touch(struct device_dir *d, struct slice user, struct slice device,
                      uint64_t now_ms);

/* Forgets tokens of live activities that have expired, at most max, and devices not seen for
 * unseen_ms (0: never), of about max that it looks at: the next call goes on behind them. What the
 * ledger forgets by itself. Returns how many tokens and devices went. */
size_t device_dir_expire(struct device_dir *d, uint64_t now_ms, uint64_t unseen_ms, size_t max);

/* The user's devices, in no order; NULL: no more. */
const struct dir_device *device_dir_first(const struct device_dir *d, struct slice user);
const struct dir_device *device_dir_next(const struct dir_device *dev);
/* One of them, or NULL. */
const struct dir_device *device_dir_find(const struct device_dir *d, struct slice user,
                                         struct slice device);
/* Its token of a type (LEDGER_LIVEACTIVITY: of call; else NULL), or NULL. */
const struct dir_token *device_dir_token(const struct dir_device *dev, enum ledger_token_type type,
                                         const struct sig_call_id *call);

/* For metrics: how many there are. */
size_t device_dir_devices(const struct device_dir *d);
size_t device_dir_tokens(const struct device_dir *d, enum ledger_token_type type);

#endif
