/* The directory of devices: two hash tables, devices by user and tokens by their bytes.
 *
 * Called by the router (registration, who to push), push.c (verdicts of Apple) and device_read.c
 * (what the ledger has).
 * A device with its texts and tokens is one block; a registration makes a new block out of the old
 * one and what the client said, so that the only allocation is before the first change.
 * Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#include "server/device_dir.h"

#include "base/crypto.h"
#include "base/hash.h"
#include "base/htable.h"
#include "base/mem.h"

#include <errno.h>

#define DAY_MS UINT64_C(86400000)

struct token_node {
    struct hnode by_token;
    struct device *device; /* NULL: free */
};

struct device {
    struct dir_device pub;
    struct hnode by_user;
    struct list activities; /* on device_dir.activities while it has a LEDGER_LIVEACTIVITY */
    struct dir_token tokens[LEDGER_TOKENS_MAX];
    struct token_node nodes[LEDGER_TOKENS_MAX]; /* of tokens[], in the same places */
    unsigned round;
    size_t text_bytes;
    uint8_t text[];
};

struct device_dir {
    struct device_dir_conf conf;
    struct htable users, tokens;
    struct list activities;
    size_t unseen_at; /* where expire_unseen() goes on */
    size_t token_count[LEDGER_TOKEN_TYPE_COUNT];
    unsigned round; /* of what has come since device_dir_round() */
};

static bool text_ok(struct slice s, size_t max, bool needed)
{
    if (s.len > max || (needed && s.len == 0))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return true;
}

static bool same_kind(const struct dir_token *a, const struct ledger_token *b)
{
    return a->type == b->type &&
           (a->type != LEDGER_LIVEACTIVITY || sig_call_id_eq(&a->call_id, &b->call_id));
}

/* ---- finding ---- */

static struct device *of_node(struct hnode *n, struct slice user)
{
    for (; n; n = htable_next(n)) {
        struct device *v = CONTAINER_OF(n, struct device, by_user);
        if (slice_eq(v->pub.user, user))
            return v;
    }
    return NULL;
}

static struct device *first(const struct device_dir *d, struct slice user)
{
    return of_node(htable_first(&d->users, hash_bytes(user)), user);
}

static struct device *next(struct device *v)
{
    return of_node(htable_next(&v->by_user), v->pub.user);
}

static struct device *find(const struct device_dir *d, struct slice user, struct slice device)
{
    for (struct device *v = first(d, user); v; v = next(v))
        if (slice_eq(v->pub.device, device))
            return v;
    return NULL;
}

static struct token_node *find_token(const struct device_dir *d, struct slice token)
{
    for (struct hnode *n = htable_first(&d->tokens, hash_bytes(token)); n; n = htable_next(n)) {
        struct token_node *t = CONTAINER_OF(n, struct token_node, by_token);
        if (slice_eq(t->device->tokens[t - t->device->nodes].token, token))
            return t;
    }
    return NULL;
}

/* ---- changing ---- */

static void hook_token(struct device_dir *d, struct device *v, size_t i)
{
    v->nodes[i] = (struct token_node){.device = v};
    htable_add(&d->tokens, &v->nodes[i].by_token, hash_bytes(v->tokens[i].token));
}

/* Takes token i off its device; the last one takes its place. */
static void drop_token(struct device_dir *d, struct device *v, size_t i)
{
    size_t last = --v->pub.tokens_n;

    d->token_count[v->tokens[i].type]--;
    htable_del(&d->tokens, &v->nodes[i].by_token);
    crypto_wipe(v->text + (v->tokens[i].token.p - v->text), v->tokens[i].token.len);
    if (i == last)
        return;
    htable_del(&d->tokens, &v->nodes[last].by_token);
    v->tokens[i] = v->tokens[last];
    hook_token(d, v, i);
}

static void hook(struct device_dir *d, struct device *v)
{
    v->round = d->round;
    htable_add(&d->users, &v->by_user, hash_bytes(v->pub.user));
    for (size_t i = 0; i < v->pub.tokens_n; i++) {
        hook_token(d, v, i);
        d->token_count[v->tokens[i].type]++;
        if (v->tokens[i].type == LEDGER_LIVEACTIVITY && !list_linked(&v->activities))
            list_append(&d->activities, &v->activities);
    }
}

static void wipe_free(struct device *v)
{
    if (v)
        crypto_wipe(v->text, v->text_bytes);
    mem_free(v);
}

static void drop(struct device_dir *d, struct device *v)
{
    while (v->pub.tokens_n > 0)
        drop_token(d, v, v->pub.tokens_n - 1);
    list_del(&v->activities);
    htable_del(&d->users, &v->by_user);
    wipe_free(v);
}

/* ---- registering ---- */

static bool is_valid(const struct ledger_device *dev)
{
    if (!text_ok(dev->user, SIG_USER_MAX, true) || !text_ok(dev->device, SIG_DEVICE_MAX, true) ||
        !text_ok(dev->app, LEDGER_APP_MAX, false) ||
        !text_ok(dev->version, LEDGER_VERSION_MAX, false) ||
        !text_ok(dev->locale, LEDGER_LOCALE_MAX, false) || dev->tokens_n > LEDGER_TOKENS_MAX)
        return false;
    for (size_t i = 0; i < dev->tokens_n; i++)
        if (!text_ok(dev->tokens[i].token, LEDGER_TOKEN_MAX, false) ||
            dev->tokens[i].type >= LEDGER_TOKEN_TYPE_COUNT)
            return false;
    return true;
}

/* The registration names a token of t's kind, so that t goes. */
static bool is_replaced(const struct dir_token *t, const struct ledger_device *dev)
{
    for (size_t i = 0; i < dev->tokens_n; i++)
        if (same_kind(t, &dev->tokens[i]) || slice_eq(dev->tokens[i].token, t->token))
            return true;
    return false;
}

/* A later token of the same registration is of the same kind or has the same bytes. */
static bool is_repeated(const struct ledger_device *dev, size_t i)
{
    struct dir_token t = {.type = dev->tokens[i].type, .call_id = dev->tokens[i].call_id};

    for (size_t k = i + 1; k < dev->tokens_n; k++)
        if (same_kind(&t, &dev->tokens[k]) || slice_eq(dev->tokens[k].token, dev->tokens[i].token))
            return true;
    return false;
}

static bool is_taken(const struct ledger_device *dev, size_t i)
{
    return dev->tokens[i].token.len > 0 && !is_repeated(dev, i);
}

/* How many tokens the device would have, and the bytes of their texts. */
static size_t merged(const struct device *old, const struct ledger_device *dev, size_t *bytes)
{
    size_t n = 0;

    for (size_t i = 0; old && i < old->pub.tokens_n; i++)
        if (!is_replaced(&old->tokens[i], dev)) {
            *bytes += old->tokens[i].token.len;
            n++;
        }
    for (size_t i = 0; i < dev->tokens_n; i++)
        if (is_taken(dev, i)) {
            *bytes += dev->tokens[i].token.len;
            n++;
        }
    return n;
}

/* old: whose tokens stay unless dev names others; NULL: none. */
static int check(const struct device_dir *d, const struct device *old,
                 const struct ledger_device *dev)
{
    size_t bytes = 0, n = 0;

    if (merged(old, dev, &bytes) > d->conf.tokens_per_device)
        return -EINVAL;
    if (find(d, dev->user, dev->device))
        return 0;
    for (struct device *v = first(d, dev->user); v; v = next(v))
        n++;
    return n >= d->conf.devices_per_user || d->users.count >= d->conf.devices ? -ENOSPC : 0;
}

int device_dir_check(const struct device_dir *d, const struct ledger_device *dev)
{
    return is_valid(dev) ? check(d, find(d, dev->user, dev->device), dev) : -EINVAL;
}

static struct slice keep(struct wr *w, struct slice s)
{
    uint8_t *p = wr_reserve(w, s.len);

    if (p && s.len > 0)
        memcpy(p, s.p, s.len);
    return slice_of(p, s.len);
}

/* A block for what old and dev make together, on no table yet; NULL when memory is out. */
static struct device *merge(const struct device *old, const struct ledger_device *dev)
{
    size_t bytes =
        dev->user.len + dev->device.len + dev->app.len + dev->version.len + dev->locale.len;

    merged(old, dev, &bytes);
    struct device *v = mem_zalloc(sizeof(*v) + bytes);
    if (!v)
        return NULL;
    struct wr w = wr_init(v->text, bytes);
    v->text_bytes = bytes;
    v->pub = (struct dir_device){.user = keep(&w, dev->user),
                                 .device = keep(&w, dev->device),
                                 .app = keep(&w, dev->app),
                                 .version = keep(&w, dev->version),
                                 .locale = keep(&w, dev->locale),
                                 .platform = dev->platform,
                                 .env = dev->env,
                                 .call_ui = dev->call_ui,
                                 .seen_ms = dev->seen_ms,
                                 .tokens = v->tokens};
    for (size_t i = 0; old && i < old->pub.tokens_n; i++)
        if (!is_replaced(&old->tokens[i], dev)) {
            struct dir_token *t = &v->tokens[v->pub.tokens_n++];
            *t = old->tokens[i];
            t->token = keep(&w, t->token);
        }
    for (size_t i = 0; i < dev->tokens_n; i++)
        if (is_taken(dev, i)) {
            const struct ledger_token *t = &dev->tokens[i];
            v->tokens[v->pub.tokens_n++] = (struct dir_token){
                t->type, keep(&w, t->token), t->call_id, t->registered_ms, t->expires_ms};
        }
    return v;
}

/* Takes the place of the one that is there; whole: with its tokens. */
static int put(struct device_dir *d, const struct ledger_device *dev, bool whole)
{
    if (!is_valid(dev))
        return -EINVAL;
    struct device *old = find(d, dev->user, dev->device);
    int rc = check(d, whole ? NULL : old, dev);
    if (rc != 0)
        return rc;
    struct device *v = merge(whole ? NULL : old, dev);
    if (!v)
        return -ENOMEM;
    if (old)
        drop(d, old);
    for (size_t i = 0; i < v->pub.tokens_n; i++) {
        struct token_node *t = find_token(d, v->tokens[i].token);
        if (t) /* a shared phone: whoever has logged in last */
            drop_token(d, t->device, (size_t)(t - t->device->nodes));
    }
    hook(d, v);
    return 0;
}

int device_dir_put(struct device_dir *d, const struct ledger_device *dev)
{
    return put(d, dev, false);
}

int device_dir_replace(struct device_dir *d, const struct ledger_device *dev)
{
    return put(d, dev, true);
}

size_t device_dir_del(struct device_dir *d, struct slice user, struct slice device)
{
    struct device *v = find(d, user, device);

    if (!v)
        return 0;
    drop(d, v);
    return 1;
}

size_t device_dir_del_user(struct device_dir *d, struct slice user)
{
    size_t n = 0;

    for (struct device *v; (v = first(d, user)); n++)
        drop(d, v);
    return n;
}

/* ---- what Apple and the client say of them ---- */

bool device_dir_bad(struct device_dir *d, struct slice token, uint64_t since_ms)
{
    struct token_node *t = find_token(d, token);

    if (!t)
        return false;
    size_t i = (size_t)(t - t->device->nodes);
    if (since_ms != 0 && t->device->tokens[i].registered_ms >= since_ms)
        return false;
    drop_token(d, t->device, i);
    return true;
}

bool device_dir_set_env(struct device_dir *d, struct slice user, struct slice device,
                        enum ledger_env env)
{
    struct device *v = find(d, user, device);

    if (v)
        v->pub.env = env;
    return v != NULL;
}

bool device_dir_touch(struct device_dir *d, struct slice user, struct slice device, uint64_t now_ms)
{
    struct device *v = find(d, user, device);

    if (!v || now_ms < v->pub.seen_ms || now_ms - v->pub.seen_ms < DAY_MS)
        return false;
    v->pub.seen_ms = now_ms;
    return true;
}

static size_t expire_activities(struct device_dir *d, uint64_t now_ms, size_t max)
{
    size_t n = 0;

    LIST_EACH(it, tmp, &d->activities)
    {
        struct device *v = CONTAINER_OF(it, struct device, activities);
        bool left = false;
        for (size_t i = v->pub.tokens_n; i-- > 0;) {
            const struct dir_token *t = &v->tokens[i];
            bool due = t->expires_ms != 0 && t->expires_ms <= now_ms;
            if (due && n < max) {
                drop_token(d, v, i);
                n++;
            } else if (t->type == LEDGER_LIVEACTIVITY) {
                left = true;
            }
        }
        if (!left)
            list_del(&v->activities);
        if (n == max)
            break;
    }
    return n;
}

/* Goes on where it stopped; a table that has grown meanwhile may make it miss some until the next
 * round. */
static size_t expire_unseen(struct device_dir *d, uint64_t before_ms, size_t max)
{
    struct hnode *node, *saved = NULL;
    size_t n = 0, looked = 0;

    while (looked++ < max || saved) { /* whole chains */
        node = htable_walk(&d->users, &d->unseen_at, &saved);
        if (!node) {
            d->unseen_at = 0;
            break;
        }
        struct device *v = CONTAINER_OF(node, struct device, by_user);
        if (v->pub.seen_ms >= before_ms)
            continue;
        drop(d, v);
        n++;
    }
    return n;
}

size_t device_dir_expire(struct device_dir *d, uint64_t now_ms, uint64_t unseen_ms, size_t max)
{
    size_t n = expire_activities(d, now_ms, max);

    if (unseen_ms != 0 && unseen_ms < now_ms)
        n += expire_unseen(d, now_ms - unseen_ms, max);
    return n;
}

/* ---- reading ---- */

const struct dir_device *device_dir_first(const struct device_dir *d, struct slice user)
{
    struct device *v = first(d, user);

    return v ? &v->pub : NULL;
}

const struct dir_device *device_dir_next(const struct dir_device *dev)
{
    const struct device *at = CONTAINER_OF(dev, const struct device, pub);
    struct device *v = of_node(htable_next(&at->by_user), at->pub.user);

    return v ? &v->pub : NULL;
}

const struct dir_device *device_dir_find(const struct device_dir *d, struct slice user,
                                         struct slice device)
{
    struct device *v = find(d, user, device);

    return v ? &v->pub : NULL;
}

const struct dir_token *device_dir_token(const struct dir_device *dev, enum ledger_token_type type,
                                         const struct sig_call_id *call)
{
    for (size_t i = 0; i < dev->tokens_n; i++) {
        const struct dir_token *t = &dev->tokens[i];
        if (t->type == type && (!call || sig_call_id_eq(&t->call_id, call)))
            return t;
    }
    return NULL;
}

size_t device_dir_devices(const struct device_dir *d)
{
    return d->users.count;
}

size_t device_dir_tokens(const struct device_dir *d, enum ledger_token_type type)
{
    return type < LEDGER_TOKEN_TYPE_COUNT ? d->token_count[type] : 0;
}

/* ---- what others have changed ---- */

void device_dir_round(struct device_dir *d)
{
    d->round++;
}

size_t device_dir_drop_old(struct device_dir *d)
{
    struct hnode *node, *saved = NULL;
    size_t n = 0, pos = 0;

    while ((node = htable_walk(&d->users, &pos, &saved))) {
        struct device *v = CONTAINER_OF(node, struct device, by_user);
        if (v->round == d->round)
            continue;
        drop(d, v);
        n++;
    }
    return n;
}

static bool is_among(struct slice device, const struct ledger_device *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (slice_eq(v[i].device, device))
            return true;
    return false;
}

int device_dir_user(struct device_dir *d, struct slice user, const struct ledger_device *v,
                    size_t n)
{
    struct device *left = first(d, user);
    int rc = 0;

    while (left) { /* first, so that those that are new find their places */
        struct device *it = left;
        left = next(it);
        if (!is_among(it->pub.device, v, n))
            drop(d, it);
    }
    for (size_t i = 0; i < n; i++) {
        int one = device_dir_replace(d, &v[i]);
        rc = rc == 0 || one == -ENOMEM ? one : rc;
    }
    return rc;
}

/* ---- life ---- */

struct device_dir *device_dir_new(const struct device_dir_conf *conf)
{
    struct device_dir *d = mem_zalloc(sizeof(*d));

    if (!d)
        return NULL;
    d->conf = *conf;
    list_init(&d->activities);
    if (d->conf.tokens_per_device > LEDGER_TOKENS_MAX)
        d->conf.tokens_per_device = LEDGER_TOKENS_MAX;
    if (htable_init(&d->users, 64) != 0 || htable_init(&d->tokens, 64) != 0) {
        htable_fini(&d->users);
        mem_free(d);
        return NULL;
    }
    return d;
}

void device_dir_free(struct device_dir *d)
{
    struct hnode *saved = NULL, *n;
    size_t pos = 0;

    if (!d)
        return;
    while ((n = htable_walk(&d->users, &pos, &saved))) {
        struct device *v = CONTAINER_OF(n, struct device, by_user);
        wipe_free(v);
    }
    htable_fini(&d->users);
    htable_fini(&d->tokens);
    mem_free(d);
}
