/* Configuration of sori-server: the struct behind config/server.ini.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_SERVER_CONF_H
#define SORI_SERVER_SERVER_CONF_H

#include "base/conf.h"
#include "net/redis_options.h"

enum server_busy_policy { SERVER_BUSY_REJECT, SERVER_BUSY_WAITING };

struct server_conf {
    struct { /* [server] */
        struct conf_list listen_tls, listen_clear, origins;
        bool clear_anywhere, allow_no_origin, page;
        char *node_id, *region;
        uint64_t max_connections;
    } server;
    struct { /* [tls] */
        char *cert_file, *key_file;
    } tls;
    struct { /* [auth] */
        char *issuer, *audience, *hs256_kid, *jwks_file;
        struct conf_secret hs256_secret;
        struct conf_list keys;
        uint64_t leeway_s;
    } auth;
    struct { /* [session] */
        uint64_t handshake_timeout_s, resume_ttl_s, ping_idle_s, ping_call_s;
        uint64_t presence_linger_s, queue_bytes, replay_messages, replay_bytes;
    } session;
    struct { /* [call] */
        uint64_t ring_timeout_s, caller_grace_s, connect_timeout_s, reconnect_timeout_s;
        uint64_t max_duration_s, ended_keep_s, device_ms;
        unsigned busy_policy;
        bool busy_is_missed;
    } call;
    struct { /* [push] */
        uint64_t ack_ms, ended_keep_s;
        char *address, *live_type;
        struct conf_secret ring_secret;
    } push;
    struct { /* [turn] */
        struct conf_list urls;
        struct conf_secret secret;
        uint64_t ttl_s, relays;
        char *region;
    } turn;
    struct { /* [sfu] */
        struct conf_list nodes;
        struct conf_secret secret;
        char *region;
        bool registered;
        uint64_t request_timeout_s;
    } sfu;
    struct { /* [room] */
        bool open, creator_is_admin;
        uint64_t rooms, participants, rooms_per_user, tracks, slots, metadata_bytes;
        uint64_t up_bps, down_bps;
        uint64_t joins_per_10s;
        uint64_t empty_timeout_s, node_timeout_s, restart_timeout_s;
    } room;
    struct redis_options redis; /* [redis] */
    struct {                    /* [ledger] */
        char *file, *postgres, *erased_file;
        struct conf_secret password, token_key, seal_key, other_seal_key;
        uint64_t connect_timeout_ms, query_timeout_ms;
        uint64_t queue, queue_bytes, batch;
        bool check;
        uint64_t devices, devices_per_user, tokens_per_device;
    } ledger;
    struct { /* [privacy] */
        bool history;
        uint64_t calls_days, samples_days, push_days, device_days, audit_days, grace_days;
        char *export_dir;
        uint64_t export_keep_days, export_every_days, export_link_s, ndjson_calls;
    } privacy;
    struct { /* [apns] */
        char *production, *sandbox, *proxy, *ca_file;
        struct conf_secret proxy_auth;
        uint64_t connections;
    } apns;
    struct conf_named apps; /* [app NAME]: struct server_app */
    struct {                /* [limits] */
        uint64_t handshakes_per_s, handshakes_burst;
        uint64_t login_failures_per_10min, logins_per_s;
        uint64_t messages_per_s, messages_burst;
        uint64_t candidates_per_10s;
        uint64_t invites_per_10s, invites_per_hour, invites_per_pair_per_min;
        uint64_t subscribes_per_min, subscriptions;
        uint64_t records_per_min, quality_per_min;
        uint64_t calls_per_user, calls, devices_per_user;
    } limits;
    struct { /* [admin] */
        struct addr listen;
        char *control;
    } admin;
    struct { /* [log] */
        unsigned level, format;
    } log;
    struct { /* [dev] */
        bool enabled;
        uint64_t token_ttl_s;
        struct conf_list other_pages;
    } dev;
};

/* Most nodes that [sfu] nodes may name. */
#define SERVER_SFU_MAX 32

/* One entry of [sfu] nodes taken apart. Slices borrow from the entry. */
struct server_sfu {
    struct slice name, region; /* region may be empty */
    struct slice path;         /* Unix socket; empty: addr */
    struct addr addr;
    unsigned weight;
};
/* Reads "NAME=unix:PATH" or "NAME=IP:PORT", then any of " weight=N" (1 to 100) and " region=R".
 * Returns 0 or -EINVAL. */
int server_sfu_parse(struct server_sfu *out, struct slice entry);

/* Most [app NAME]s. */
#define SERVER_APPS_MAX 32

/* One mobile app: [app BUNDLE.ID]. */
struct server_app {
    char *topic; /* its bundle id */
    char *team_id, *key_id, *sandbox_key_id;
    struct conf_secret key, sandbox_key;
    char *cert_file, *sandbox_cert_file;
    struct conf_secret cert_key, sandbox_cert_key; /* what the certificate is used with */
};

/* The option table (for conf_load, conf_print, conf_free). */
extern const struct conf_opt server_conf_opts[];
extern const size_t server_conf_opts_n;

/* Loads path (NULL: defaults) and checks what no single option shows: that there is a listener, a
 * certificate for TLS, a key to verify tokens with, clear text only on loopback, a secret for
 * development mode. Returns 0, or a negative errno with err saying what is wrong and
 * what to do; *c is then freed. */
int server_conf_load(struct server_conf *c, const char *path, char err[CONF_ERR_MAX]);

/* Frees and wipes what a load filled. A zeroed struct is allowed. */
void server_conf_free(struct server_conf *c);

#endif
