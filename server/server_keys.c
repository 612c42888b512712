/* The token keys that the configuration names: a secret, PEM files, a JWKS file.
 *
 * Called by main.c at start and on SIGHUP. SPDX-License-Identifier: BSD-3-Clause */
#include "server/server_keys.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX ((size_t)1 << 20)

/* Reads a whole file into heap memory; NULL with errno set. */
static uint8_t *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "re");
    uint8_t *p = f ? mem_zalloc(FILE_MAX + 1) : NULL;
    int saved = errno;

    if (p) {
        *len = fread(p, 1, FILE_MAX + 1, f);
        saved = ferror(f) ? EIO : *len > FILE_MAX ? EFBIG : 0;
        if (saved != 0) {
            mem_free(p);
            p = NULL;
        }
    }
    if (f)
        fclose(f);
    errno = saved;
    return p;
}

/* One line of [auth] keys: KID:ALG:FILE. */
static int add_pem(struct token_keys *k, const char *line, char why[TOKEN_ERR_MAX])
{
    const char *alg = strchr(line, ':'), *path = alg ? strchr(alg + 1, ':') : NULL;

    if (!path || !path[1]) {
        snprintf(why, TOKEN_ERR_MAX, "expected KID:ALG:FILE");
        return -EINVAL;
    }
    size_t len;
    uint8_t *pem = read_file(path + 1, &len);
    if (!pem) {
        snprintf(why, TOKEN_ERR_MAX, "%s: %s", path + 1, strerror(errno));
        return -EINVAL;
    }
    int rc = token_keys_add_pem(k, slice_of(line, (size_t)(alg - line)),
                                crypto_alg_parse(slice_of(alg + 1, (size_t)(path - alg - 1))),
                                slice_of(pem, len), why);
    mem_free(pem);
    return rc;
}

static int add_jwks(struct token_keys *k, const char *path, char why[TOKEN_ERR_MAX])
{
    size_t len;
    uint8_t *text = read_file(path, &len);

    if (!text) {
        snprintf(why, TOKEN_ERR_MAX, "%s", strerror(errno));
        return -EINVAL;
    }
    int rc = token_keys_add_jwks(k, slice_of(text, len), why);
    mem_free(text);
    return rc;
}

struct token_keys *server_keys_load(const struct server_conf *conf, char err[CONF_ERR_MAX])
{
    struct token_keys *k = token_keys_new(TOKEN_ALGS_PRODUCT);
    const struct conf_secret *secret = &conf->auth.hs256_secret;
    char why[TOKEN_ERR_MAX] = "out of memory";
    const char *option = "keys", *value = "";
    int rc = k ? 0 : -ENOMEM;

    if (rc == 0 && secret->len > 0) {
        option = "hs256_secret_file";
        rc = token_keys_add_secret(k, slice_str(conf->auth.hs256_kid), CRYPTO_HS256,
                                   slice_of(secret->p, secret->len), why);
    }
    for (size_t i = 0; rc == 0 && i < conf->auth.keys.n; i++) {
        option = "keys";
        value = conf->auth.keys.v[i];
        rc = add_pem(k, value, why);
    }
    if (rc == 0 && *conf->auth.jwks_file) {
        option = "jwks_file";
        value = conf->auth.jwks_file;
        rc = add_jwks(k, value, why);
    }
    if (rc == 0)
        return k;
    snprintf(err, CONF_ERR_MAX, "[auth] %s = %s: %s", option, value, why);
    token_keys_free(k);
    return NULL;
}
