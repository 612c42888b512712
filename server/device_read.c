/* Reading devices out of the ledger, each user at most once at a time.
 *
 * Called by main.c (at start, and when the ledger tells of others' changes). A change that is told
 * while its user is being read may be behind what is read: that user is read once more.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/device_read.h"

#include "base/list.h"
#include "base/mem.h"

#include <errno.h>

enum { PAGE = 256 };

struct user_read {
    struct list link;
    struct device_read *r;
    bool again;
    size_t len;
    uint8_t user[];
};

struct device_read {
    struct device_dir *dir;
    struct ledger *ledger;
    device_read_fn *done;
    void *ctx;
    bool all, again; /* everything is being read; and has to be once more */
    bool left_out;   /* something of it had no place */
    struct list users;
    size_t users_n;
};

/* ---- everything ---- */

static void on_page(void *ctx, int rc, const struct ledger_result *res);

static void first_page(struct device_read *r)
{
    const struct slice none = {0};

    r->all = true;
    r->again = r->left_out = false;
    device_dir_round(r->dir);
    int rc = ledger_devices(r->ledger, none, none, PAGE, on_page, r);
    if (rc != 0) {
        r->all = false;
        r->done(r->ctx, rc);
    }
}

static void on_page(void *ctx, int rc, const struct ledger_result *res)
{
    struct device_read *r = ctx;
    const struct ledger_device *v = res->devices;

    for (size_t i = 0; i < res->devices_n && rc == 0; i++) {
        rc = device_dir_replace(r->dir, &v[i]);
        if (rc == -EINVAL || rc == -ENOSPC) { /* limits were lowered since: not this one */
            r->left_out = true;
            rc = 0;
        }
    }
    if (rc == 0 && res->more && res->devices_n > 0) {
        const struct ledger_device *last = &v[res->devices_n - 1];
        rc = ledger_devices(r->ledger, last->user, last->device, PAGE, on_page, r);
        if (rc == 0)
            return;
    } else if (rc == 0) {
        device_dir_drop_old(r->dir);
        rc = r->left_out ? -EDQUOT : 0;
    }
    r->all = false;
    if (r->again)
        first_page(r);
    else
        r->done(r->ctx, rc);
}

void device_read_all(struct device_read *r)
{
    if (r->all)
        r->again = true;
    else
        first_page(r);
}

/* ---- of a user ---- */

static void forget(struct user_read *u)
{
    list_del(&u->link);
    u->r->users_n--;
    mem_free(u);
}

static void on_user(void *ctx, int rc, const struct ledger_result *res);

static void ask(struct user_read *u)
{
    struct device_read *r = u->r;

    u->again = false;
    int rc = ledger_devices_of(r->ledger, slice_of(u->user, u->len), on_user, u);
    if (rc != 0) {
        forget(u);
        r->done(r->ctx, rc);
    }
}

static void on_user(void *ctx, int rc, const struct ledger_result *res)
{
    struct user_read *u = ctx;
    struct device_read *r = u->r;

    if (rc == 0)
        rc = device_dir_user(r->dir, slice_of(u->user, u->len), res->devices, res->devices_n);
    if (rc == -EINVAL || rc == -ENOSPC)
        rc = 0; /* limits are lower here: not these */
    if (rc == 0 && u->again) {
        ask(u);
        return;
    }
    forget(u);
    if (rc != 0)
        r->done(r->ctx, rc);
}

void device_read_user(struct device_read *r, struct slice user)
{
    LIST_EACH(it, tmp, &r->users)
    {
        struct user_read *u = CONTAINER_OF(it, struct user_read, link);
        if (slice_eq(slice_of(u->user, u->len), user)) {
            u->again = true;
            return;
        }
    }
    struct user_read *u =
        r->users_n < DEVICE_READ_USERS_MAX ? mem_zalloc(sizeof(*u) + user.len) : NULL;
    if (!u) {
        device_read_all(r);
        return;
    }
    u->r = r;
    u->len = user.len;
    if (user.len > 0)
        memcpy(u->user, user.p, user.len);
    list_append(&r->users, &u->link);
    r->users_n++;
    ask(u);
}

/* ---- life ---- */

struct device_read *device_read_new(struct device_dir *d, struct ledger *l, device_read_fn *done,
                                    void *ctx)
{
    struct device_read *r = mem_zalloc(sizeof(*r));

    if (!r)
        return NULL;
    r->dir = d;
    r->ledger = l;
    r->done = done;
    r->ctx = ctx;
    list_init(&r->users);
    return r;
}

void device_read_free(struct device_read *r)
{
    if (!r)
        return;
    LIST_EACH(it, tmp, &r->users)
    forget(CONTAINER_OF(it, struct user_read, link));
    mem_free(r);
}
