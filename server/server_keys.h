/* The token keys that the configuration names. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_SERVER_KEYS_H
#define SORI_SERVER_SERVER_KEYS_H

#include "server/server_conf.h"
#include "server/token.h"

/* Reads [auth]: the shared secret (in conf), `keys` (KID:ALG:FILE) and the JWKS file. NULL with err
 * naming the option and the reason. Free with token_keys_free(). */
struct token_keys *server_keys_load(const struct server_conf *conf, char err[CONF_ERR_MAX]);

#endif
