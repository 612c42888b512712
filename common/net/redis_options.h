/* How a daemon's configuration says where Redis is: the same options in sori-server's [redis] and
 * in [cluster] of the others. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_REDIS_OPTIONS_H
#define SORI_NET_REDIS_OPTIONS_H

#include "base/conf.h"
#include "net/redis_client.h"

struct redis_options {
    struct conf_list servers, sentinels;
    char *master, *username, *sentinel_username, *key_prefix;
    struct conf_secret password, sentinel_password;
    uint64_t database;
    bool tls;
    char *ca_file, *cert_file, *key_file, *tls_name;
    uint64_t timeout_ms, lease_s, queue, queue_bytes;
};

/* Rows of an option table for section sec, whose values are base's member opts: a struct
 * redis_options. servers: help of the first one; lease: default and help of that one. */
#define REDIS_OPTION(sec, base, opts, nm, ty, field, d, lo, hi, un, hp)                         \
    {                                                                                           \
        .section = sec, .name = nm, .type = ty, .offset = offsetof(base, opts.field), .def = d, \
        .min = lo, .max = hi, .unit = un, .help = hp                                            \
    }
#define REDIS_OPTIONS(sec, base, opts, servers_help, lease_default, lease_help)                    \
    REDIS_OPTION(sec, base, opts, "servers", CONF_LIST, servers, "", 0, 1024, NULL, servers_help), \
        REDIS_OPTION(sec, base, opts, "sentinels", CONF_LIST, sentinels, "", 0, 1024, NULL,        \
                     "Instead, Sentinels (host:port) that know which server is the master."),      \
        REDIS_OPTION(sec, base, opts, "master", CONF_STRING, master, "mymaster", 0, 1024, NULL,    \
                     "The name that the Sentinels know it by."),                                   \
        REDIS_OPTION(sec, base, opts, "username", CONF_STRING, username, "", 0, 128, NULL,         \
                     "User of Redis's ACL, see docs/CLUSTER.md. Empty: the default user."),        \
        REDIS_OPTION(sec, base, opts, "password_file", CONF_SECRET, password, "", 0, 0, NULL,      \
                     "File with the password; or credential:NAME. Empty: none is asked for."),     \
        REDIS_OPTION(sec, base, opts, "sentinel_username", CONF_STRING, sentinel_username, "", 0,  \
                     128, NULL, "User of the Sentinels' ACL. Empty: their default user."),         \
        REDIS_OPTION(sec, base, opts, "sentinel_password_file", CONF_SECRET, sentinel_password,    \
                     "", 0, 0, NULL,                                                               \
                     "File with the password of the Sentinels; or credential:NAME. Empty: none "   \
                     "is asked for."),                                                             \
        REDIS_OPTION(sec, base, opts, "database", CONF_UINT, database, "0", 0, 65535, NULL,        \
                     "Number of the database (SELECT)."),                                          \
        REDIS_OPTION(sec, base, opts, "tls", CONF_BOOL, tls, "no", 0, 0, NULL,                     \
                     "TLS to servers and Sentinels, but not on Unix sockets."),                    \
        REDIS_OPTION(sec, base, opts, "ca_file", CONF_STRING, ca_file, "", 0, 1024, NULL,          \
                     "PEM file with the authorities that their certificates are checked against. " \
                     "Empty: the system's."),                                                      \
        REDIS_OPTION(sec, base, opts, "cert_file", CONF_STRING, cert_file, "", 0, 1024, NULL,      \
                     "PEM certificate that we show them. Empty: none."),                           \
        REDIS_OPTION(sec, base, opts, "key_file", CONF_STRING, key_file, "", 0, 1024, NULL,        \
                     "Its private key, not readable by group or others."),                         \
        REDIS_OPTION(sec, base, opts, "tls_name", CONF_STRING, tls_name, "", 0, 253, NULL,         \
                     "Whom their certificates must be for. Empty: the host that is connected to; " \
                     "Sentinels name addresses rather than hosts."),                               \
        REDIS_OPTION(sec, base, opts, "key_prefix", CONF_STRING, key_prefix, "sori:", 0, 64, NULL, \
                     "What every key and channel begins with; the same on all nodes."),            \
        REDIS_OPTION(sec, base, opts, "timeout", CONF_UINT, timeout_ms, "1000", 10, 60000, "ms",   \
                     "After so long without an answer the connection is given up and made anew."), \
        REDIS_OPTION(sec, base, opts, "lease", CONF_UINT, lease_s, lease_default, 1, 300, "s",     \
                     lease_help)

/* Whether Redis is to be used: servers or sentinels are given. */
bool redis_options_wanted(const struct redis_options *o);

/* What is wrong with the section of that name ("redis"), in words that say what to do, in buf;
 * NULL: nothing. */
const char *redis_options_wrong(const struct redis_options *o, const char *section,
                                char buf[CONF_ERR_MAX]);

/* Fills what a client of ours needs but for its scripts and channels. at: memory for the endpoints,
 * which *out borrows, as it does all of o. Only when redis_options_wrong() has nothing to say. */
void redis_options_client(const struct redis_options *o,
                          struct redis_endpoint at[REDIS_ENDPOINTS_MAX],
                          struct redis_client_conf *out);

#endif
