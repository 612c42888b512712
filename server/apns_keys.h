/* The keys and certificates that [app NAME]s are pushed to with.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_APNS_KEYS_H
#define SORI_SERVER_APNS_KEYS_H

#include "server/apns.h"
#include "server/server_conf.h"

struct apns_keys;

/* Reads the key files of conf's apps: each must be a P-256 key that group and others can't read.
 * Apps that share a key (team, key id and environment) share its connections. Certificates are
 * read by the connections later. NULL with err saying which option is wrong and what to do. At
 * start and on SIGHUP: it blocks. */
struct apns_keys *apns_keys_load(const struct server_conf *conf, char err[CONF_ERR_MAX]);
void apns_keys_free(struct apns_keys *k); /* NULL is allowed */

/* For apns_new(): lent. */
const struct apns_conf *apns_keys_conf(const struct apns_keys *k);

/* Paths of the certificate and its key that key i's connections use; NULL: it signs tokens. */
const char *apns_keys_cert(const struct apns_keys *k, size_t i, const char **key_path);

/* Whether key i is another one than key i of old (key file or id). */
bool apns_keys_differ(const struct apns_keys *k, const struct apns_keys *old, size_t i);
/* Whether both have the same apps with the same arrangement of keys, so that keys can be exchanged
 * one by one. */
bool apns_keys_alike(const struct apns_keys *k, const struct apns_keys *old);

#endif
