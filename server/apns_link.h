/* The push client over real connections: keys, pools and time of the pure machine (apns.h).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_APNS_LINK_H
#define SORI_SERVER_APNS_LINK_H

#include "server/apns.h"
#include "server/server_conf.h"

struct apns_link;
struct worker;

/* The machine and its pools on w, which connect as soon as w runs. conf outlives it. doubt as in
 * apns_ops; NULL is allowed.
 *
 * NULL with err saying what is wrong and what to do (a key file, a certificate, memory). Without
 * any [app NAME] there is a machine that knows no topic. */
struct apns_link *apns_link_new(struct worker *w, const struct server_conf *conf,
                                void (*doubt)(void *arg, struct slice topic, enum apns_env env,
                                              uint64_t since_us),
                                void *arg, char err[CONF_ERR_MAX]);
/* What apns_link_new() would refuse, without a worker (--check-config): keys, host names, ca_file,
 * certificates. Returns 0 or -EINVAL with err. */
int apns_link_check(const struct server_conf *conf, char err[CONF_ERR_MAX]);
/* Pushes under way get their verdict (no connection, uncertain); done() may be called from in here,
 * and must not push. NULL is allowed. */
void apns_link_free(struct apns_link *l);

/* The machine; lent. Call apns_link_enter() first in each loop turn that uses it. */
struct apns *apns_link_apns(struct apns_link *l);
void apns_link_enter(struct apns_link *l);

/* SIGHUP: exchanges keys whose file or id is another one in fresh (a configuration read anew).
 * Returns how many, or -EINVAL with err: the old ones stay in force. Apps and environments that
 * come or go need a restart, and certificates too. */
int apns_link_reload(struct apns_link *l, const struct server_conf *fresh, char err[CONF_ERR_MAX]);

/* What an operator must look at: apns_trouble(), or that there is no connection to Apple for more
 * than APNS_LINK_DOWN_US; NULL when all is well. Any thread. */
#define APNS_LINK_DOWN_US (15 * US_PER_S)
const char *apns_link_trouble(const struct apns_link *l);

/* Registers the machine's and the pools' metrics; l must outlive m. */
void apns_link_metrics(struct metrics *m, struct apns_link *l);

#endif
