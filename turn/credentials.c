/* Who may use the relay in a realm: static users, and time-limited credentials under some secrets.
 *
 * Called by stun_auth.c on each authenticated request; made by turn_node.c at start and reload.
 * Pure. Of static users only the long-term keys are kept, not the password.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/credentials.h"

#include <errno.h>
#include <stdio.h>

#include "base/crypto.h"
#include "base/hash.h"
#include "base/htable.h"
#include "base/mem.h"
#include "proto/opaque_string.h"
#include "proto/turncred.h"

#define PASSWORD_MAX 1024

struct user {
    struct hnode node;    /* in users, by name */
    struct hnode by_hash; /* in hashes, by userhash */
    struct user *next;    /* on the owner's row of all users */
    uint8_t md5[STUN_KEY_BYTES], sha256[STUN_KEY_SHA256_BYTES];
    uint8_t hash[STUN_USERHASH_BYTES];
    bool has_sha256; /* false: the users file gave only the MD5 key */
    size_t len;
    uint8_t name[];
};

struct credentials {
    struct htable users, hashes;
    struct user *first;
    unsigned without_sha256; /* users */
    unsigned secrets;
    bool elsewhere, elsewhere_sha256;
    struct slice realm, secret[CREDENTIALS_SECRETS_MAX]; /* heap copies */
    struct slice server;                                 /* heap copy */
    struct access_keys *keys;                            /* NULL: no third-party authorization */
    struct credentials *next;                            /* of the realm behind this one */
};

static void free_one(struct credentials *c)
{
    for (struct user *u = c->first, *next; u; u = next) {
        next = u->next;
        crypto_wipe(u->md5, sizeof(u->md5));
        crypto_wipe(u->sha256, sizeof(u->sha256));
        mem_free(u);
    }
    htable_fini(&c->users);
    htable_fini(&c->hashes);
    for (unsigned i = 0; i < c->secrets; i++) {
        crypto_wipe((void *)(uintptr_t)c->secret[i].p, c->secret[i].len);
        mem_free((void *)(uintptr_t)c->secret[i].p);
    }
    mem_free((void *)(uintptr_t)c->realm.p);
    mem_free((void *)(uintptr_t)c->server.p);
    access_keys_free(c->keys);
    mem_free(c);
}

void credentials_free(struct credentials *c)
{
    for (struct credentials *next; c; c = next) {
        next = c->next;
        free_one(c);
    }
}

void credentials_chain(struct credentials *c, struct credentials *next)
{
    c->next = next;
}

const struct credentials *credentials_of(const struct credentials *c, unsigned n)
{
    for (; c && n > 0; n--)
        c = c->next;
    return c;
}

/* A heap copy of s (one byte longer: s may be empty). Empty slice without memory. */
static int copy(struct slice *out, struct slice s)
{
    uint8_t *p = mem_zalloc(s.len + 1);

    if (!p)
        return -ENOMEM;
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    *out = slice_of(p, s.len);
    return 0;
}

static const struct user *find_user(const struct credentials *c, struct slice name)
{
    for (struct hnode *n = htable_first(&c->users, hash_bytes(name)); n; n = htable_next(n)) {
        const struct user *u = CONTAINER_OF(n, struct user, node);
        if (slice_eq(slice_of(u->name, u->len), name))
            return u;
    }
    return NULL;
}

/* Reads "0x" and the hex digits of ready keys: MD5's, or MD5's and SHA-256's. False when it is
 * anything else: a password. */
static bool ready_keys(struct user *u, struct slice s)
{
    uint8_t keys[STUN_KEY_BYTES + STUN_KEY_SHA256_BYTES];
    struct slice hex = slice_sub(s, 2, SIZE_MAX);
    bool both = hex.len == 2 * sizeof(keys);

    if (!slice_starts(s, SLICE_LIT("0x")) || (hex.len != 2 * STUN_KEY_BYTES && !both) ||
        hex_decode(hex, keys, hex.len / 2) != 0)
        return false;
    memcpy(u->md5, keys, sizeof(u->md5));
    if (both)
        memcpy(u->sha256, &keys[STUN_KEY_BYTES], sizeof(u->sha256));
    u->has_sha256 = both;
    crypto_wipe(keys, sizeof(keys));
    return true;
}

static int make_keys(struct user *u, struct slice realm, struct slice password)
{
    struct slice name = slice_of(u->name, u->len);

    if (stun_userhash(u->hash, name, realm) != 0)
        return -EIO;
    if (ready_keys(u, password))
        return 0;
    u->has_sha256 = true;
    return stun_long_term_key(u->md5, name, realm, password) == 0 &&
                   stun_long_term_key_sha256(u->sha256, name, realm, password) == 0
               ? 0
               : -EIO;
}

static int add_user(struct credentials *c, struct slice name, struct slice password)
{
    struct user *u = mem_zalloc(sizeof(*u) + name.len);

    if (!u)
        return -ENOMEM;
    u->len = name.len;
    memcpy(u->name, name.p, name.len);
    if (make_keys(u, c->realm, password) != 0) {
        mem_free(u);
        return -EIO;
    }
    u->next = c->first;
    c->first = u;
    c->without_sha256 += !u->has_sha256;
    htable_add(&c->users, &u->node, hash_bytes(name));
    htable_add(&c->hashes, &u->by_hash, hash_bytes(slice_of(u->hash, sizeof(u->hash))));
    return 0;
}

/* Takes the next line off *text, without its end. */
static struct slice next_line(struct slice *text)
{
    const uint8_t *nl = memchr(text->p, '\n', text->len);
    size_t len = nl ? (size_t)(nl - text->p) : text->len;
    struct slice line = slice_sub(*text, 0, len);

    *text = slice_sub(*text, len + 1, SIZE_MAX);
    while (line.len > 0 && (line.p[line.len - 1] == '\r' || line.p[line.len - 1] == ' '))
        line.len--;
    return line;
}

static const char *add_line(struct credentials *c, struct slice line)
{
    const uint8_t *colon = memchr(line.p, ':', line.len);

    if (!colon)
        return "want user:password";
    uint8_t name_buf[STUN_USERNAME_MAX], password_buf[PASSWORD_MAX];
    struct wr name = wr_init(name_buf, sizeof(name_buf));
    struct wr password = wr_init(password_buf, sizeof(password_buf));
    const char *what = NULL;
    size_t at = (size_t)(colon - line.p);
    if (opaque_string(&name, slice_sub(line, 0, at)) != 0 ||
        opaque_string(&password, slice_sub(line, at + 1, SIZE_MAX)) != 0)
        what = "name or password is empty, overlong, not UTF-8, or has control characters";
    else if (find_user(c, wr_done(&name)))
        what = "this name is there twice";
    else if (add_user(c, wr_done(&name), wr_done(&password)) != 0)
        what = "out of memory";
    crypto_wipe(password_buf, sizeof(password_buf));
    return what;
}

static int add_users(struct credentials *c, struct slice text, char err[CREDENTIALS_ERR_MAX])
{
    for (unsigned n = 1; text.len > 0; n++) {
        struct slice line = next_line(&text);
        if (line.len == 0 || line.p[0] == '#')
            continue;
        const char *what = add_line(c, line);
        if (what) {
            snprintf(err, CREDENTIALS_ERR_MAX, "users file, line %u: %s", n, what);
            return -EINVAL;
        }
    }
    return 0;
}

static int add_secrets(struct credentials *c, const struct slice *secrets, size_t n,
                       char err[CREDENTIALS_ERR_MAX])
{
    for (size_t i = 0; i < n; i++) {
        if (secrets[i].len == 0)
            continue;
        if (c->secrets == CREDENTIALS_SECRETS_MAX) {
            snprintf(err, CREDENTIALS_ERR_MAX, "more than %d secrets", CREDENTIALS_SECRETS_MAX);
            return -ENOSPC;
        }
        if (copy(&c->secret[c->secrets], secrets[i]) != 0)
            return -ENOMEM;
        c->secrets++;
    }
    return 0;
}

static int add_access_keys(struct credentials *c, const struct credentials_spec *spec,
                           char err[CREDENTIALS_ERR_MAX])
{
    if (spec->access_keys.len == 0)
        return 0;
    if (copy(&c->server, spec->server) != 0)
        return -ENOMEM;
    c->keys = access_keys_new(spec->access_keys, err);
    return c->keys ? 0 : -EINVAL;
}

struct credentials *credentials_new(const struct credentials_spec *spec,
                                    char err[CREDENTIALS_ERR_MAX])
{
    struct credentials *c = mem_zalloc(sizeof(*c));

    snprintf(err, CREDENTIALS_ERR_MAX, "out of memory");
    if (!c)
        return NULL;
    c->elsewhere = spec->elsewhere;
    c->elsewhere_sha256 = spec->elsewhere_sha256;
    if (htable_init(&c->users, 16) != 0 || htable_init(&c->hashes, 16) != 0 ||
        copy(&c->realm, spec->realm) != 0 ||
        add_secrets(c, spec->secrets, spec->n_secrets, err) != 0 ||
        add_users(c, spec->users, err) != 0 || add_access_keys(c, spec, err) != 0)
        goto fail;
    return c;
fail:
    credentials_free(c);
    return NULL;
}

bool credentials_is_empty(const struct credentials *c)
{
    return !c->first && c->secrets == 0 && !c->keys && !c->elsewhere;
}

const struct access_keys *credentials_access_keys(const struct credentials *c)
{
    return c->keys;
}

struct slice credentials_server(const struct credentials *c)
{
    return c->server;
}

unsigned credentials_secrets(const struct credentials *c)
{
    return c->secrets;
}

struct slice credentials_realm(const struct credentials *c)
{
    return c->realm;
}

bool credentials_have_sha256(const struct credentials *c)
{
    return c->without_sha256 == 0 && (!c->elsewhere || c->elsewhere_sha256);
}

bool credentials_are_hashed(const struct credentials *c)
{
    return c->secrets == 0 && !c->elsewhere;
}

bool credentials_judge(const struct credentials *c, struct slice username)
{
    struct turncred cred;

    return find_user(c, username) || (c->secrets > 0 && turncred_parse(&cred, username) == 0);
}

bool credentials_name_of(const struct credentials *c, struct slice userhash, struct slice *name)
{
    for (struct hnode *n = htable_first(&c->hashes, hash_bytes(userhash)); n; n = htable_next(n)) {
        const struct user *u = CONTAINER_OF(n, struct user, by_hash);
        if (slice_eq(slice_of(u->hash, sizeof(u->hash)), userhash)) {
            *name = slice_of(u->name, u->len);
            return true;
        }
    }
    return false;
}

/* The key of a time-limited name under one secret. Returns 0 or -EIO. */
static int limited_key(uint8_t key[STUN_KEY_MAX], const struct credentials *c, struct slice secret,
                       struct slice username, enum stun_password_algorithm algorithm)
{
    uint8_t password[TURNCRED_PASSWORD_BYTES];
    struct slice p = slice_of(password, sizeof(password));
    int err = turncred_password(password, secret, username);

    if (!err && algorithm == STUN_PASSWORD_SHA256)
        err = stun_long_term_key_sha256(key, username, c->realm, p);
    else if (!err)
        err = stun_long_term_key(key, username, c->realm, p);
    crypto_wipe(password, sizeof(password));
    return err;
}

unsigned credentials_keys(const struct credentials *c, struct slice username,
                          enum stun_password_algorithm algorithm, uint64_t wall_us,
                          uint8_t keys[CREDENTIALS_KEYS_MAX][STUN_KEY_MAX])
{
    const struct user *u = find_user(c, username);
    struct turncred cred;
    unsigned n = 0;

    if (u && algorithm == STUN_PASSWORD_SHA256) {
        memcpy(keys[0], u->sha256, sizeof(u->sha256));
        return u->has_sha256;
    }
    if (u) {
        memcpy(keys[0], u->md5, sizeof(u->md5));
        return 1;
    }
    if (turncred_parse(&cred, username) != 0 || !turncred_is_live(&cred, wall_us))
        return 0;
    for (unsigned i = 0; i < c->secrets; i++)
        n += limited_key(keys[n], c, c->secret[i], username, algorithm) == 0;
    return n;
}

struct slice credentials_account(const struct credentials *c, struct slice username)
{
    struct turncred cred;

    if (!find_user(c, username) && turncred_parse(&cred, username) == 0)
        return cred.user;
    return username;
}
