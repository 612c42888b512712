/* From the configuration's apps to keys without repetition.
 *
 * Called by main.c (--check-config) and apns_link.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns_keys.h"

#include "base/crypto.h"
#include "base/mem.h"
#include "base/secretfile.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

_Static_assert(2 * SERVER_APPS_MAX <= APNS_KEYS_MAX, "each app may bring two keys");

/* Beside a struct apns_key: where it came from. */
struct source {
    uint8_t sum[CRYPTO_SHA256_BYTES]; /* of the key file */
    const char *cert_path, *cert_key; /* into texts */
};

struct apns_keys {
    struct apns_conf conf;
    struct apns_key keys[APNS_KEYS_MAX];
    struct source sources[APNS_KEYS_MAX];
    struct apns_app apps[SERVER_APPS_MAX];
    struct wr texts; /* ids, topics and paths; the configuration may be freed before us */
    uint8_t mem[SERVER_APPS_MAX * 8192];
};

/* One environment of one app as configured. */
struct wanted {
    const struct server_app *app;
    enum apns_env env;
    const char *kid, *option, *cert;
    const struct conf_secret *key, *cert_key;
};

/* A copy of text, ended by NUL. */
static struct slice keep(struct apns_keys *k, const char *text)
{
    size_t at = k->texts.len;

    wr_str(&k->texts, text);
    wr_u8(&k->texts, '\0');
    return !k->texts.bad ? slice_of(k->mem + at, strlen(text)) : (struct slice){0};
}

static void explain(char err[CONF_ERR_MAX], const struct wanted *w, const char *why)
{
    snprintf(err, CONF_ERR_MAX, "[app %.160s] %s = %.160s: %s", w->app->topic, w->option,
             w->key->path ? w->key->path : "", why);
}

/* The key of the same environment, team and id that an earlier app brought; -1: none. */
static int find(const struct apns_keys *k, const struct wanted *w)
{
    for (size_t i = 0; i < k->conf.keys_n; i++)
        if (k->keys[i].env == w->env && k->keys[i].signer &&
            slice_is(k->keys[i].team, w->app->team_id) && slice_is(k->keys[i].kid, w->kid))
            return (int)i;
    return -1;
}

/* Reads the key file again: at SIGHUP the configuration may be older than the file. */
static int add_key(struct apns_keys *k, const struct wanted *w, char err[CONF_ERR_MAX])
{
    uint8_t sum[CRYPTO_SHA256_BYTES], *pem;
    const char *why;
    size_t len;

    if (secretfile_load(slice_str(w->key->path), &pem, &len, &why) != 0) {
        explain(err, w, why);
        return -1;
    }
    struct slice text = slice_of(pem, len);
    struct crypto_signer *signer = crypto_signer_pem(text, &why);
    int i = find(k, w), rc = crypto_digest(CRYPTO_SHA256, &text, 1, sum);
    crypto_wipe(pem, len);
    mem_free(pem);
    if (!signer || rc != 0) {
        explain(err, w, signer ? "it can't be hashed" : why);
        crypto_signer_free(signer);
        return -1;
    }
    if (i >= 0) {
        crypto_signer_free(signer);
        if (memcmp(k->sources[i].sum, sum, sizeof(sum)) == 0)
            return i;
        explain(err, w,
                "another app has a different file for the same key id: one of them is wrong");
        return -1;
    }
    i = (int)k->conf.keys_n++;
    k->keys[i] = (struct apns_key){w->env, keep(k, w->app->team_id), keep(k, w->kid), signer};
    memcpy(k->sources[i].sum, sum, sizeof(sum));
    return i;
}

static int add_cert(struct apns_keys *k, const struct wanted *w)
{
    int i = (int)k->conf.keys_n++;

    k->keys[i] = (struct apns_key){.env = w->env};
    k->sources[i].cert_path = (const char *)keep(k, w->cert).p;
    k->sources[i].cert_key = (const char *)keep(k, w->cert_key->path).p;
    return i;
}

/* Its key's number, -1 when there is none; err is set when one is wrong. */
static int add(struct apns_keys *k, const struct wanted *w, char err[CONF_ERR_MAX])
{
    if (w->key->len > 0)
        return add_key(k, w, err);
    return *w->cert ? add_cert(k, w) : -1;
}

struct apns_keys *apns_keys_load(const struct server_conf *conf, char err[CONF_ERR_MAX])
{
    const struct server_app *apps = conf->apps.v;
    struct apns_keys *k = mem_zalloc(sizeof(*k));

    err[0] = '\0';
    if (!k) {
        snprintf(err, CONF_ERR_MAX, "out of memory");
        return NULL;
    }
    k->texts = wr_init(k->mem, sizeof(k->mem));
    k->conf.keys = k->keys;
    k->conf.apps = k->apps;
    for (size_t i = 0; i < conf->apps.n && !err[0]; i++) {
        const struct server_app *a = &apps[i];
        struct apns_app *out = &k->apps[k->conf.apps_n++];
        out->topic = keep(k, a->topic);
        out->production = add(k,
                              &(struct wanted){a, APNS_PRODUCTION, a->key_id, "key_file",
                                               a->cert_file, &a->key, &a->cert_key},
                              err);
        out->sandbox =
            err[0]
                ? -1
                : add(k,
                      &(struct wanted){a, APNS_SANDBOX, a->sandbox_key_id, "sandbox_key_file",
                                       a->sandbox_cert_file, &a->sandbox_key, &a->sandbox_cert_key},
                      err);
    }
    assert(!k->texts.bad); /* options are at most 1024 bytes each */
    if (!err[0])
        return k;
    apns_keys_free(k);
    return NULL;
}

void apns_keys_free(struct apns_keys *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->conf.keys_n; i++)
        crypto_signer_free(k->keys[i].signer);
    crypto_wipe(k->sources, sizeof(k->sources));
    mem_free(k);
}

const struct apns_conf *apns_keys_conf(const struct apns_keys *k)
{
    return &k->conf;
}

const char *apns_keys_cert(const struct apns_keys *k, size_t i, const char **key_path)
{
    *key_path = k->sources[i].cert_key;
    return k->sources[i].cert_path;
}

bool apns_keys_differ(const struct apns_keys *k, const struct apns_keys *old, size_t i)
{
    return memcmp(k->sources[i].sum, old->sources[i].sum, CRYPTO_SHA256_BYTES) != 0 ||
           !slice_eq(k->keys[i].kid, old->keys[i].kid) ||
           !slice_eq(k->keys[i].team, old->keys[i].team);
}

bool apns_keys_alike(const struct apns_keys *k, const struct apns_keys *old)
{
    if (k->conf.keys_n != old->conf.keys_n || k->conf.apps_n != old->conf.apps_n)
        return false;
    for (size_t i = 0; i < k->conf.keys_n; i++)
        if (k->keys[i].env != old->keys[i].env || !k->keys[i].signer != !old->keys[i].signer)
            return false;
    for (size_t i = 0; i < k->conf.apps_n; i++)
        if (!slice_eq(k->apps[i].topic, old->apps[i].topic) ||
            k->apps[i].production != old->apps[i].production ||
            k->apps[i].sandbox != old->apps[i].sandbox)
            return false;
    return true;
}
