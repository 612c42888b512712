/* sori-turn's configuration: the option table, the struct it fills, and what follows from both.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_CONF_H
#define SORI_TURN_CONF_H

#include "base/conf.h"
#include "net/redis_options.h"
#include "turn/key_cache.h"
#include "turn/turn_shared.h"

#define TURN_LISTEN_MAX     32 /* addresses per transport, after wildcards are expanded */
#define TURN_MORE_CERTS_MAX 16
#define TURN_SECRETS_MAX    8 /* secret files of one realm */

/* Where records of use go in Redis: nowhere, to a channel, to a stream. */
enum turn_redis_usage { TURN_REDIS_USAGE_OFF, TURN_REDIS_USAGE_PUBLISH, TURN_REDIS_USAGE_STREAM };

/* Which records of use are lines of the log. */
enum turn_log_usage { TURN_LOG_USAGE_ALL, TURN_LOG_USAGE_ENDED, TURN_LOG_USAGE_OFF };

enum turn_offload { TURN_OFFLOAD_OFF, TURN_OFFLOAD_TC };
enum turn_ip_headers { TURN_IP_HEADERS_DEFAULT, TURN_IP_HEADERS_COPY };
enum turn_channel_range { TURN_CHANNELS_LENIENT, TURN_CHANNELS_STRICT };

/* A public address and the one of this machine that stands for it behind a 1:1 NAT. */
struct turn_external {
    struct addr shown, bound;
};

/* A certificate chain and its key. */
struct turn_cert {
    const char *cert, *key;
};

/* A [realm NAME] as read, and its addresses parsed. */
struct turn_realm_conf {
    char *name;
    struct conf_list listeners_text, hosts, origins;
    struct conf_secrets secrets;
    struct conf_secret users, access_keys;
    char *server;
    uint64_t per_user, total, user_bandwidth;
    struct addr listeners[TURN_LISTEN_MAX]; /* wildcards as they are */
    size_t n_listeners;
};

struct turn_conf {
    /* As read; see the table in turn_conf.c. */
    bool stun_only, tcp_allocations, mobility, nat_discovery;
    char *realm;
    struct conf_list listen_udp_text, listen_tcp_text, listen_tls_text, relay_text, external_text;
    struct conf_list alternate_text;
    char *alternate_domain, *software;
    bool alternate_when_full;
    uint64_t drain_timeout_s;
    uint64_t min_port, max_port, threads;
    unsigned channel_range;
    uint64_t default_lifetime_s, max_lifetime_s, udp_buffer_bytes, coalesce_us;
    unsigned io, ip_headers, offload;
    uint64_t offload_channels;
    struct conf_secret secret, previous_secret, users, access_keys;
    char *server;
    struct conf_secrets more_secrets;
    bool auth_watch;
    unsigned sha256;
    uint64_t nonce_lifetime_s;
    uint64_t per_user, total, bandwidth, user_bandwidth, packets_per_s, peers_per_s, peers_burst,
        source_per_s, source_burst, source_entries;
    uint64_t handover_buffer_bytes;
    uint64_t tcp_per_allocation, tcp_connections, tcp_connect_s, tcp_bind_s, tcp_idle_s,
        tcp_buffer_bytes;
    uint64_t connects_per_s, connects_burst, max_connections, dtls_half_open, dtls_associations,
        idle_s, handshake_s, client_queue_bytes;
    bool allow_relay_to_relay, allow_private, allow_own, allow_loopback;
    struct conf_cidrs allow, deny, allow_clients, deny_clients, proxies;
    char *cert_file, *key_file;
    struct conf_list more_certs_text;
    bool tls_watch, tls_on_tcp, dtls;
    struct addr admin;
    char *control;
    unsigned log_level, log_format, log_users;
    uint64_t usage_interval_s;
    unsigned log_usage;
    char *usage_directory, *usage_node, *usage_region;
    bool media_quality;
    uint64_t media_interval_s;
    uint64_t usage_file_bytes, usage_keep_days, usage_buffer;
    struct conf_named realms; /* struct turn_realm_conf */
    struct addr redis;
    char *redis_socket, *redis_username, *redis_prefix;
    struct conf_secret redis_password;
    uint64_t redis_database, redis_timeout_ms, redis_refresh_s;
    bool redis_users, redis_users_sha256, redis_secrets;
    uint64_t redis_found_s, redis_absent_s, redis_stale_s, redis_entries, redis_asked, redis_held;
    unsigned redis_usage;
    uint64_t redis_usage_buffer, redis_stream_length;
    struct { /* [cluster] */
        struct redis_options redis;
        char *node, *region;
        struct conf_list urls;
        uint64_t weight;
    } cluster;
    /* Parsed from the texts above. */
    struct addr listen_udp[TURN_LISTEN_MAX], listen_tcp[TURN_LISTEN_MAX],
        listen_tls[TURN_LISTEN_MAX], relay[TURN_RELAYS_MAX];
    struct turn_external external[TURN_RELAYS_MAX];
    struct turn_cert certs[1 + TURN_MORE_CERTS_MAX]; /* the first is cert_file, key_file */
    size_t n_certs;
    struct addr alternate[2]; /* IPv4, IPv6; ADDR_NONE where none is configured */
    size_t n_udp, n_tcp, n_tls, n_relay, n_external;
};

/* Loads path (NULL: defaults) into the zeroed *c and checks that the options fit together.
 * Returns 0, or a negative errno with err saying what is wrong and what is allowed; *c is then
 * freed. Nobody can be authenticated and stun_only is off: that is an error too, an open relay is
 * never started. */
int turn_conf_load(struct turn_conf *c, const char *path, char err[CONF_ERR_MAX]);

/* The same from text, name standing for the file in messages. */
int turn_conf_load_text(struct turn_conf *c, struct slice text, const char *name,
                        char err[CONF_ERR_MAX]);

/* Frees and wipes; a zeroed struct is allowed. */
void turn_conf_free(struct turn_conf *c);

/* Prints the commented default configuration. */
void turn_conf_print(FILE *f);

/* The realm of number i, 0 (the default one) to turn_conf_realms() - 1, with the secrets that are
 * not empty put into one list. Everything is lent by c; the default one has neither listeners,
 * hosts nor origins. */
struct turn_realm_view {
    struct slice name, users, secrets[TURN_SECRETS_MAX], access_keys, server;
    size_t n_secrets;
    struct quota_rule rule;
    const struct turn_realm_conf *conf; /* NULL for the default one */
};
struct turn_realm_view turn_conf_realm(const struct turn_conf *c, unsigned i);
unsigned turn_conf_realms(const struct turn_conf *c);

/* Puts the paths of the files with secrets and users into paths (at most max, lent by c) and
 * returns how many; systemd's credentials, which do not change, are left out. */
size_t turn_conf_auth_files(const struct turn_conf *c, const char **paths, size_t max);

/* True when Redis is configured. */
bool turn_conf_wants_redis(const struct turn_conf *c);

/* Name and region under which the relay registers itself; lent. */
struct slice turn_conf_cluster_node(const struct turn_conf *c);
struct slice turn_conf_cluster_region(const struct turn_conf *c);

/* How users from Redis are remembered. */
struct key_cache_conf turn_conf_key_cache(const struct turn_conf *c);

/* The limits that the workers follow. */
struct turn_limits turn_conf_limits(const struct turn_conf *c);

/* True when a listener speaks DTLS; TLS or DTLS: there must be a certificate. */
bool turn_conf_wants_dtls(const struct turn_conf *c);
bool turn_conf_wants_tls(const struct turn_conf *c);

/* How many connections one source may open. */
struct bucket_rule turn_conf_connects(const struct turn_conf *c);

#endif
