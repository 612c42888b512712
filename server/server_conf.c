/* The option table of sori-server, the only place that knows an option's name, default and range.
 *
 * config/server.ini is printed from it (sori-server --print-config); `make check` compares them.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/server_conf.h"

#include "proto/sig.h"
#include "server/ledger_store_pg.h"
#include "server/redis_conf.h"

#include <errno.h>

#define SFU_PATH_MAX 107 /* of a Unix socket: sun_path without its NUL */
#define APPLE_ID     10  /* characters of team and key ids */
#define TOPIC_MAX    155 /* of a bundle id */

#define OPT(sec, field, nm, ty, d, lo, hi, un, ch, hp)                                     \
    {                                                                                      \
        .section = #sec, .name = nm, .type = ty,                                           \
        .offset = offsetof(struct server_conf, sec.field), .def = d, .min = lo, .max = hi, \
        .unit = un, .choices = ch, .help = hp                                              \
    }
#define UINT(sec, field, nm, d, lo, hi, un, hp) \
    OPT(sec, field, nm, CONF_UINT, d, lo, hi, un, NULL, hp)
#define BOOL(sec, field, nm, d, hp) OPT(sec, field, nm, CONF_BOOL, d, 0, 0, NULL, NULL, hp)
#define TEXT(sec, field, nm, d, hp) OPT(sec, field, nm, CONF_STRING, d, 0, 1024, NULL, NULL, hp)
#define LIST(sec, field, nm, d, hp) OPT(sec, field, nm, CONF_LIST, d, 0, 1024, NULL, NULL, hp)

#define APP_OPT(field, nm, ty, d, hi, hp)                                                       \
    {                                                                                           \
        .section = "app", .name = nm, .type = ty, .offset = offsetof(struct server_app, field), \
        .def = d, .max = hi, .help = hp                                                         \
    }

static const struct conf_opt app_table[] = {
    APP_OPT(team_id, "team_id", CONF_STRING, "", 32,
            "Apple's id of the developer team, 10 characters."),
    APP_OPT(key_id, "key_id", CONF_STRING, "", 32,
            "Id of the key for production, 10 characters (as in AuthKey_ID.p8)."),
    APP_OPT(key, "key_file", CONF_SECRET, "", 0,
            "That key, a .p8 file of Apple's; or credential:NAME. Re-read on SIGHUP, with the ids. "
            "Empty: nothing is sent to apps of the App Store."),
    APP_OPT(sandbox_key_id, "sandbox_key_id", CONF_STRING, "", 32,
            "Id of the key for the sandbox (apps installed by Xcode). A key for both environments "
            "is named twice."),
    APP_OPT(sandbox_key, "sandbox_key_file", CONF_SECRET, "", 0,
            "That key. Empty: nothing is sent to apps under development."),
    APP_OPT(cert_file, "cert_file", CONF_STRING, "", 1024,
            "Instead of a key, a VoIP services certificate for production (PEM). It can't send "
            "Live Activities."),
    APP_OPT(cert_key, "cert_key_file", CONF_SECRET, "", 0, "Its private key."),
    APP_OPT(sandbox_cert_file, "sandbox_cert_file", CONF_STRING, "", 1024,
            "The same for the sandbox."),
    APP_OPT(sandbox_cert_key, "sandbox_cert_key_file", CONF_SECRET, "", 0, "Its private key."),
};

static const struct conf_sections app_sections = {app_table, ARRAY_LEN(app_table),
                                                  sizeof(struct server_app), SERVER_APPS_MAX,
                                                  offsetof(struct server_app, topic)};

const struct conf_opt server_conf_opts[] = {
    LIST(server, listen_tls, "listen_tls", "0.0.0.0:8443",
         "Addresses (ip:port) for wss and https. Empty: none."),
    LIST(server, listen_clear, "listen_clear", "",
         "Addresses for ws and http without TLS: behind a proxy that ends TLS, or in development. "
         "Loopback only, unless clear_anywhere. All clients of a proxy have its address: set "
         "handshakes_per_s and login_failures_per_10min to 0 and let the proxy limit them."),
    BOOL(server, clear_anywhere, "clear_anywhere", "no",
         "Allow listen_clear on other than loopback addresses (a private network to your proxy)."),
    LIST(server, origins, "origins", "",
         "Origins of web pages that may connect, as scheme://host[:port]; \"*\" is any (then every "
         "site may try). Empty: no browser may."),
    BOOL(server, allow_no_origin, "allow_no_origin", "yes",
         "Accept clients that send no Origin (native apps do not)."),
    BOOL(server, page, "page", "no", "Serve the demonstration page and sori.js."),
    TEXT(server, node_id, "node_id", "node-1", "Name of this node in welcome messages and logs."),
    OPT(server, region, "region", CONF_STRING, "", 0, 64, NULL, NULL,
        "Name of its region in call records, by which reports sum up. Empty: none."),
    UINT(server, max_connections, "max_connections", "18000", 1, 1000000, "connections",
         "Connections on each listener; above it accept pauses. Keep below the descriptor limit."),

    TEXT(tls, cert_file, "cert_file", "", "PEM certificate chain (ECDSA P-256 is cheapest)."),
    TEXT(tls, key_file, "key_file", "",
         "PEM private key, not readable by group or others; or credential:NAME."),

    TEXT(auth, issuer, "issuer", "", "Required `iss` of tokens. Empty: not checked."),
    TEXT(auth, audience, "audience", "", "Required `aud` of tokens. Empty: not checked."),
    OPT(auth, hs256_secret, "hs256_secret_file", CONF_SECRET, "", 0, 0, NULL, NULL,
        "File with the shared secret of HS256 tokens, at least 32 bytes; or credential:NAME."),
    TEXT(auth, hs256_kid, "hs256_kid", "", "Key id that HS256 tokens carry. Empty: none needed."),
    LIST(auth, keys, "keys", "",
         "Public keys, one a line: KID:ALG:FILE with ALG of RS256, ES256, EdDSA and a PEM file."),
    TEXT(auth, jwks_file, "jwks_file", "",
         "JSON Web Key Set with public keys. SIGHUP reads it again."),
    UINT(auth, leeway_s, "leeway", "60", 0, 600, "s", "Clock difference allowed in exp and nbf."),

    UINT(session, handshake_timeout_s, "handshake_timeout", "5", 1, 60, "s",
         "Time for the TLS handshake, then for the HTTP request, then for hello."),
    UINT(session, resume_ttl_s, "resume_ttl", "120", 1, 3600, "s",
         "How long a session without a socket waits for its client."),
    UINT(session, ping_idle_s, "ping_idle", "25", 1, 600, "s",
         "Silence before a ping; dead after twice that."),
    UINT(session, ping_call_s, "ping_call", "5", 1, 600, "s",
         "The same while the device is in a call."),
    UINT(session, presence_linger_s, "presence_linger", "5", 0, 600, "s",
         "How long a device without a socket still counts as online: a quick reconnect is not "
         "seen."),
    UINT(session, queue_bytes, "queue_bytes", "262144", 65536, 16777216, "bytes",
         "Unsent output of one socket; above it the slow consumer is closed with 1013."),
    UINT(session, replay_messages, "replay_messages", "256", 16, 4096, "messages",
         "Unacknowledged messages kept for a resume."),
    UINT(session, replay_bytes, "replay_bytes", "262144", 65536, 16777216, "bytes",
         "The same in bytes; when either is exceeded the session's history is lost."),

    UINT(call, ring_timeout_s, "ring_timeout", "30", 1, 600, "s",
         "Ringing time before a call is missed."),
    UINT(call, caller_grace_s, "caller_grace", "10", 0, 120, "s",
         "How long it goes on ringing without the caller's socket."),
    UINT(call, connect_timeout_s, "connect_timeout", "15", 1, 120, "s",
         "Time from the answer until both report media."),
    UINT(call, reconnect_timeout_s, "reconnect_timeout", "30", 1, 600, "s",
         "How long a call survives without a party's socket or media."),
    UINT(call, max_duration_s, "max_duration", "14400", 60, 604800, "s", "Longest call."),
    UINT(call, ended_keep_s, "ended_keep", "180", 1, 3600, "s",
         "How long late messages still get a call's true end."),
    UINT(call, device_ms, "device_delay", "20", 0, 500, "ms",
         "What microphone and speaker are taken to add to the delay of a voice when its quality is "
         "estimated."),
    OPT(call, busy_policy, "busy_policy", CONF_ENUM, "reject", 0, 0, NULL, "reject|waiting",
        "A callee in another call: busy, or call waiting on devices that can."),
    BOOL(call, busy_is_missed, "busy_is_missed", "yes", "A busy call counts as missed."),

    UINT(push, ack_ms, "ack", "500", 50, 5000, "ms",
         "How long a connected device may take to acknowledge a call before it is pushed as well."),
    UINT(push, ended_keep_s, "ended_keep", "600", 1, 3600, "s",
         "How long a call that devices were pushed for is remembered after its end: a push may "
         "wake a device late."),
    TEXT(push, address, "address", "",
         "This server's address as devices reach it, wss://NAME:PORT/ws, for pushes. Empty: apps "
         "know it."),
    TEXT(push, live_type, "live_type", "",
         "Name of the app's ActivityAttributes type, e.g. CallActivityAttributes: a device in a "
         "call "
         "that registered a push-to-start token (la_start) gets its Live Activity started. Empty: "
         "apps start their own."),
    OPT(push, ring_secret, "ring_secret_file", CONF_SECRET, "", 0, 0, NULL, NULL,
        "File with the secret, at least 32 bytes, that signs the token in a push; or "
        "credential:NAME. Empty: a new one at each start, so that pushes sent before are void."),

    LIST(turn, urls, "urls", "",
         "Relay addresses given to every client, e.g. turn:turn.example:3478?transport=udp. "
         "Empty: none but those that register themselves."),
    OPT(turn, secret, "secret_file", CONF_SECRET, "", 0, 0, NULL, NULL,
        "File with the secret shared with sori-turn; or credential:NAME."),
    UINT(turn, ttl_s, "ttl", "600", 60, 86400, "s", "Life of a relay credential."),
    UINT(turn, relays, "relays", "2", 0, 8, "relays",
         "Of the relays that register themselves in [redis], a client is given so many besides "
         "urls, of those that know the secret the ones with little load. 0: none."),
    OPT(turn, region, "region", CONF_STRING, "", 0, 64, NULL, NULL,
        "Registered relays of this region are preferred. Empty: no preference."),

    LIST(sfu, nodes, "nodes", "",
         "Media servers (sori-sfu) that carry rooms: NAME=unix:/run/sori/sfu.sock or NAME=ip:port "
         "of their [control] listener, then, each after a space, weight=1..100 and region=NAME. "
         "Empty: no rooms, unless some register themselves."),
    OPT(sfu, secret, "secret_file", CONF_SECRET, "", 0, 0, NULL, NULL,
        "File with the secret shared with the media servers, at least 32 bytes; or "
        "credential:NAME."),
    TEXT(sfu, region, "region", "", "Nodes of this region are preferred. Empty: no preference."),
    BOOL(sfu, registered, "registered", "yes",
         "Use the media servers that register themselves in [redis], besides nodes. They need "
         "secret_file."),
    UINT(sfu, request_timeout_s, "request_timeout", "8", 1, 60, "s",
         "How long a media server may take to answer."),

    BOOL(room, open, "open", "yes",
         "A token that names no room may join any room by its id. no: only rooms that the user was "
         "invited to or a call moved to."),
    BOOL(room, creator_is_admin, "creator_is_admin", "no",
         "Who makes a room by joining it first may mute, kick and close there."),
    UINT(room, rooms, "rooms", "1000", 1, 1000000, "rooms", "Rooms on this server at once."),
    UINT(room, participants, "participants", "100", 1, 1024, "participants", "In one room."),
    UINT(room, rooms_per_user, "rooms_per_user", "8", 1, 64, "participants",
         "Of one user in all rooms together."),
    UINT(room, tracks, "tracks", "8", 1, 32, "tracks", "Published by one participant."),
    UINT(room, slots, "slots", "32", 1, 64, "slots", "Receive sections of one participant."),
    UINT(room, metadata_bytes, "metadata_bytes", "512", 0, 1024, "bytes",
         "Metadata of one participant."),
    UINT(room, up_bps, "up_bps", "0", 0, 1000000000, "bit/s",
         "Most that one participant may send. 0: the media server's own limit."),
    UINT(room, down_bps, "down_bps", "0", 0, 1000000000, "bit/s",
         "Most that one participant is sent. 0: the media server's own limit."),
    UINT(room, joins_per_10s, "joins_per_10s", "10", 0, 100000, "1/10s",
         "room.join, and room.offer with fresh, of one user. 0: no limit."),
    UINT(room, empty_timeout_s, "empty_timeout", "30", 0, 86400, "s",
         "How long a room lives after the last participant has left."),
    UINT(room, node_timeout_s, "node_timeout", "10", 1, 600, "s",
         "Without a connection to its media server for so long a room is placed on another one."),
    UINT(room, restart_timeout_s, "restart_timeout", "60", 1, 3600, "s",
         "A room for which no media server is found for so long is closed."),

    REDIS_OPTIONS("redis", struct server_conf, redis,
                  "Redis 7, where several nodes meet: host:port or unix:PATH, the first of them "
                  "that is a master. Empty, and no sentinels: this node is alone.",
                  "8",
                  "How long this node counts as alive without a word from it; it says one each "
                  "third of that."),
    UINT(redis, queue, "queue", "65536", 64, 10000000, "commands",
         "Commands that may wait for Redis; more are refused, and counted."),
    UINT(redis, queue_bytes, "queue_bytes", "67108864", 65536, 17179869184, "bytes",
         "The same in bytes."),

    TEXT(
        ledger, file, "file", "",
        "SQLite file for devices, push tokens, call records and privacy requests, on a local disk, "
        "in a directory of the server's own (it keeps FILE-wal, FILE.erased and others beside it). "
        "Empty: none of these, unless postgres is given."),
    TEXT(ledger, postgres, "postgres", "",
         "PostgreSQL database (13 or later) for the same, of this server or of several: "
         "host=NAME user=NAME dbname=NAME sslrootcert=FILE, or a postgresql:// address. Over TCP "
         "sslmode is verify-full unless verify-ca is written; host=/DIRECTORY is a Unix socket. "
         "No password here. Empty: none."),
    OPT(ledger, password, "postgres_password_file", CONF_SECRET, "", 0, 0, NULL, NULL,
        "File with the database's password; or credential:NAME. Empty: none is sent (peer, or a "
        "client certificate: sslcert and sslkey in postgres)."),
    UINT(ledger, connect_timeout_ms, "connect_timeout", "3000", 100, 60000, "ms",
         "How long connecting to the database may take before it counts as away."),
    UINT(ledger, query_timeout_ms, "query_timeout", "5000", 100, 600000, "ms",
         "How long a statement may take there."),
    TEXT(ledger, erased_file, "erased_file", "/var/lib/sori/ledger.erased",
         "With postgres: the list of those that this server has erased, on a local disk. With file "
         "it is FILE.erased. Never restore it from a backup."),
    OPT(ledger, token_key, "token_key_file", CONF_SECRET, "", 0, 0, NULL, NULL,
        "File with the secret, at least 32 bytes, that push tokens are encrypted with and that "
        "erased users are recognised by; or credential:NAME. It belongs to the file for ever: keep "
        "a copy apart from it."),
    OPT(ledger, seal_key, "seal_key_file", CONF_SECRET, "", 0, 0, NULL, NULL,
        "File with another secret, at least 32 bytes, that push tokens are encrypted with from now "
        "on; or credential:NAME. Tokens that have another key get this one in the background. "
        "Empty: that of token_key_file."),
    OPT(ledger, other_seal_key, "other_seal_key_file", CONF_SECRET, "", 0, 0, NULL, NULL,
        "One that opens them besides: the one before, until all tokens have the present one, or, "
        "of several servers, the one to come. That of token_key_file always does."),
    UINT(ledger, queue, "queue", "65536", 256, 10000000, "records",
         "Records and requests that may wait for the disk; more are refused, and counted."),
    UINT(ledger, queue_bytes, "queue_bytes", "67108864", 1048576, 17179869184, "bytes",
         "The same in bytes."),
    UINT(ledger, batch, "batch", "512", 1, 65536, "records", "Most of them in one transaction."),
    BOOL(ledger, check, "check", "yes",
         "Look through the whole file at the start (about a second for each 500 MB)."),
    UINT(ledger, devices, "devices", "1000000", 1, 100000000, "devices",
         "Registered devices in all; each takes about 2 kB of memory."),
    UINT(ledger, devices_per_user, "devices_per_user", "16", 1, 64, "devices",
         "Registered devices of one user."),
    UINT(ledger, tokens_per_device, "tokens_per_device", "10", 6, 16, "tokens",
         "Push tokens of one device: one of each type, and one for each call's live activity."),

    BOOL(privacy, history, "history", "yes",
         "Keep call records, missed calls, push log and quality. no: of calls only daily sums "
         "without names are kept; devices are kept all the same."),
    UINT(privacy, calls_days, "calls_days", "180", 0, 36500, "days",
         "How long call records and quality are kept. 0: for ever, as for all that follow."),
    UINT(privacy, samples_days, "samples_days", "14", 0, 36500, "days",
         "How long the single reports of a call's quality are kept; its summary stays with it."),
    UINT(privacy, push_days, "push_days", "30", 0, 36500, "days", "How long the push log is kept."),
    UINT(privacy, device_days, "device_days", "90", 0, 36500, "days",
         "A device that was not seen for so long is forgotten with its tokens."),
    UINT(privacy, audit_days, "audit_days", "1095", 0, 36500, "days",
         "How long the log of privacy requests is kept (it names nobody)."),
    UINT(privacy, grace_days, "grace_days", "30", 0, 365, "days",
         "Between a request for deletion and the deletion: so long it can be taken back."),
    TEXT(privacy, export_dir, "export_dir", "",
         "Directory for exports, of the server's own. Empty: where [ledger] file is."),
    UINT(privacy, export_keep_days, "export_keep_days", "7", 1, 365, "days",
         "How long an export can be fetched."),
    UINT(privacy, export_every_days, "export_every_days", "1", 0, 365, "days",
         "A user may ask for one export in so many days. 0: as many as they like."),
    UINT(privacy, export_link_s, "export_link", "3600", 60, 604800, "seconds",
         "How long the link is good that privacy.status gives to a finished export; whoever has it "
         "can fetch the file. A new one is given each time."),
    UINT(privacy, ndjson_calls, "ndjson_calls", "10000", 0, 1000000000, "calls",
         "Exports with more calls have one JSON object a line instead of one document."),

    TEXT(apns, production, "production", "api.push.apple.com:443",
         "Apple's push service (host:port); port 2197 where 443 is shut."),
    TEXT(apns, sandbox, "sandbox", "api.sandbox.push.apple.com:443",
         "The same for apps under development."),
    UINT(apns, connections, "connections", "2", 1, 16, "connections",
         "Kept open for calls, and as many for everything else, for each key. With two, losing one "
         "is not noticed."),
    TEXT(apns, proxy, "proxy", "", "HTTP proxy (host:port) that is asked to CONNECT. Empty: none."),
    OPT(apns, proxy_auth, "proxy_auth_file", CONF_SECRET, "", 0, 0, NULL, NULL,
        "File with user:password for the proxy; or credential:NAME."),
    TEXT(apns, ca_file, "ca_file", "",
         "PEM file with the authorities that Apple's certificate is checked against. Empty: the "
         "system's."),
    {.section = "app",
     .name = "NAME",
     .type = CONF_SECTIONS,
     .offset = offsetof(struct server_conf, apps),
     .sections = &app_sections,
     .help = "A mobile app; NAME is its bundle id, such as com.example.talk. Devices name it when "
             "they register; there are no pushes to apps that are not here."},

    UINT(limits, handshakes_per_s, "handshakes_per_s", "5", 0, 100000, "1/s",
         "New connections from one address (IPv6: one /64). 0: no limit."),
    UINT(limits, handshakes_burst, "handshakes_burst", "20", 1, 100000, "connections", "At once."),
    UINT(limits, login_failures_per_10min, "login_failures_per_10min", "10", 0, 100000, "1/10min",
         "Refused tokens from one address before it is turned away. 0: no limit."),
    UINT(
        limits, logins_per_s, "logins_per_s", "0", 0, 100000, "1/s",
        "hello of all clients together, after a burst of twice as many. Who comes beyond that (all "
        "come at once when another node has died) is told to come again a little later. 0: no "
        "limit."),
    UINT(limits, messages_per_s, "messages_per_s", "20", 0, 100000, "1/s",
         "Messages of one session. 0: no limit."),
    UINT(limits, messages_burst, "messages_burst", "60", 1, 100000, "messages", "At once."),
    UINT(limits, candidates_per_10s, "candidates_per_10s", "50", 0, 100000, "1/10s",
         "call.candidates messages of one session. 0: no limit."),
    UINT(limits, invites_per_10s, "invites_per_10s", "5", 0, 100000, "1/10s",
         "Invites of one user. 0: no limit."),
    UINT(limits, invites_per_hour, "invites_per_hour", "60", 0, 1000000, "1/h",
         "Invites of one user. 0: no limit."),
    UINT(limits, invites_per_pair_per_min, "invites_per_pair_per_min", "10", 0, 100000, "1/min",
         "Invites of one user to one other. 0: no limit."),
    UINT(limits, subscribes_per_min, "subscribes_per_min", "5", 0, 100000, "1/min",
         "presence.subscribe requests of one session, after a burst of as many. 0: no limit."),
    UINT(limits, subscriptions, "subscriptions", "500", 1, 10000, "users",
         "Presence subscriptions of one session."),
    UINT(limits, records_per_min, "records_per_min", "60", 0, 100000, "1/min",
         "device., history. and privacy. requests of one session, after a burst of as many. 0: no "
         "limit."),
    UINT(limits, quality_per_min, "quality_per_min", "30", 0, 100000, "1/min",
         "call.quality reports of one session, after a burst of as many. 0: no limit."),
    UINT(limits, calls_per_user, "calls_per_user", "4", 1, 64, "calls",
         "Calls of one user at once."),
    UINT(limits, calls, "calls", "100000", 1, 10000000, "calls",
         "Calls on this node at once; up to four times as many ended ones are remembered."),
    UINT(limits, devices_per_user, "devices_per_user", "16", 1, 16, "devices",
         "Sessions of one user at once."),

    OPT(admin, listen, "listen", CONF_ADDR, "", 0, 0, NULL, NULL,
        "Address of /metrics, /livez, /readyz and the status page (/) for the operator; loopback. "
        "Empty: none."),
    TEXT(admin, control, "control", "",
         "Path of a Unix socket for sorictl, which sees users' names and ends calls; readable by "
         "nobody else. Under systemd /run/sori/control. Empty: none."),

    OPT(log, level, "level", CONF_ENUM, "info", 0, 0, NULL, "error|warn|info|debug",
        "Least important line written."),
    OPT(log, format, "format", CONF_ENUM, "text", 0, 0, NULL, "text|json",
        "Form of a line on standard error."),

    BOOL(dev, enabled, "enabled", "no",
         "Development mode: GET /dev/token makes a token for anybody who can reach the server. "
         "Never "
         "in production; needs hs256_secret_file."),
    UINT(dev, token_ttl_s, "token_ttl", "3600", 60, 86400, "s", "Life of such a token."),
    LIST(dev, other_pages, "other_pages", "",
         "Pages of other nodes, as http://HOST:PORT/: the page offers them for a second tab."),
};
const size_t server_conf_opts_n = ARRAY_LEN(server_conf_opts);

/* Each listen entry is an address with a port; clear text stays on loopback. */
static int check_listen(const struct conf_list *l, const char *name, bool loopback_only,
                        char err[CONF_ERR_MAX])
{
    for (size_t i = 0; i < l->n; i++) {
        struct addr a;
        if (addr_parse(&a, slice_str(l->v[i])) != 0 || (a.port == 0 && !loopback_only)) {
            snprintf(err, CONF_ERR_MAX, "[server] %s = %s: not an address with a port (ip:port)",
                     name, l->v[i]);
            return -EINVAL;
        }
        if (loopback_only && !addr_is_loopback(&a)) {
            snprintf(err, CONF_ERR_MAX,
                     "[server] %s = %s: clear text is allowed on loopback only (127.0.0.0/8, ::1); "
                     "set clear_anywhere = yes for a private network to your TLS proxy",
                     name, l->v[i]);
            return -EINVAL;
        }
    }
    return 0;
}

static bool name_ok(struct slice s)
{
    return s.len > 0 && sig_id_ok(s);
}

/* Cuts the text up to the next space off s. */
static struct slice next_word(struct slice *s)
{
    const uint8_t *space = s->len > 0 ? memchr(s->p, ' ', s->len) : NULL;
    size_t n = space ? (size_t)(space - s->p) : s->len;
    struct slice word = slice_sub(*s, 0, n);

    *s = slice_sub(*s, n + 1, s->len);
    return word;
}

int server_sfu_parse(struct server_sfu *out, struct slice entry)
{
    struct server_sfu sfu = {.weight = 1};
    struct slice rest = entry, first = next_word(&rest);
    const uint8_t *eq = first.len > 0 ? memchr(first.p, '=', first.len) : NULL;
    uint64_t weight;

    if (!eq)
        return -EINVAL;
    sfu.name = slice_sub(first, 0, (size_t)(eq - first.p));
    struct slice where = slice_sub(first, sfu.name.len + 1, first.len);
    if (!name_ok(sfu.name))
        return -EINVAL;
    if (slice_starts(where, SLICE_LIT("unix:")))
        sfu.path = slice_sub(where, 5, where.len);
    else if (addr_parse(&sfu.addr, where) != 0 || sfu.addr.port == 0)
        return -EINVAL;
    if (sfu.addr.family == ADDR_NONE && (sfu.path.len == 0 || sfu.path.len > SFU_PATH_MAX))
        return -EINVAL;
    while (rest.len > 0) {
        struct slice word = next_word(&rest);
        if (slice_starts(word, SLICE_LIT("weight="))) {
            if (slice_to_u64(slice_sub(word, 7, word.len), 100, &weight) != 0 || weight == 0)
                return -EINVAL;
            sfu.weight = (unsigned)weight;
        } else if (slice_starts(word, SLICE_LIT("region="))) {
            sfu.region = slice_sub(word, 7, word.len);
            if (!name_ok(sfu.region))
                return -EINVAL;
        } else if (word.len > 0) {
            return -EINVAL;
        }
    }
    *out = sfu;
    return 0;
}

static int check_sfu(const struct server_conf *c, char err[CONF_ERR_MAX])
{
    struct server_sfu a, b;

    if (c->sfu.nodes.n > SERVER_SFU_MAX) {
        snprintf(err, CONF_ERR_MAX, "[sfu] nodes: more than %d", SERVER_SFU_MAX);
        return -EINVAL;
    }
    for (size_t i = 0; i < c->sfu.nodes.n; i++) {
        if (server_sfu_parse(&a, slice_str(c->sfu.nodes.v[i])) != 0) {
            snprintf(err, CONF_ERR_MAX,
                     "[sfu] nodes = %s: NAME=unix:PATH or NAME=ip:port is expected, then weight=N "
                     "(1 to 100) and region=NAME",
                     c->sfu.nodes.v[i]);
            return -EINVAL;
        }
        for (size_t k = 0; k < i; k++)
            if (server_sfu_parse(&b, slice_str(c->sfu.nodes.v[k])) == 0 &&
                slice_eq(a.name, b.name)) {
                snprintf(err, CONF_ERR_MAX, "[sfu] nodes = %s: that name is there twice",
                         c->sfu.nodes.v[i]);
                return -EINVAL;
            }
    }
    return 0;
}

static bool id_ok(const char *s)
{
    size_t n = strspn(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");

    return n == APPLE_ID && s[n] == '\0';
}

/* What is wrong with one environment of an app; NULL: nothing. */
static const char *check_app_env(const struct server_app *a, const char *key_id,
                                 const struct conf_secret *key, const char *cert,
                                 const struct conf_secret *cert_key)
{
    if (key->len > 0 && *cert)
        return "key_file and cert_file of one environment: name one of them";
    if (*cert && cert_key->len == 0)
        return "cert_file: its cert_key_file is missing";
    if (key->len > 0 && !id_ok(key_id))
        return "key_id (sandbox_key_id): 10 characters of A-Z and 0-9 are needed beside a key "
               "file; Apple shows it beside the key";
    if (key->len > 0 && !id_ok(a->team_id))
        return "team_id: 10 characters of A-Z and 0-9 are needed beside a key file";
    return NULL;
}

static int check_apps(const struct server_conf *c, char err[CONF_ERR_MAX])
{
    const struct server_app *apps = c->apps.v;

    for (size_t i = 0; i < c->apps.n; i++) {
        const struct server_app *a = &apps[i];
        size_t n = strspn(a->topic, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "abcdefghijklmnopqrstuvwxyz.-");
        const char *wrong = check_app_env(a, a->key_id, &a->key, a->cert_file, &a->cert_key);
        if (!wrong)
            wrong = check_app_env(a, a->sandbox_key_id, &a->sandbox_key, a->sandbox_cert_file,
                                  &a->sandbox_cert_key);
        if (a->topic[n] != '\0' || n > TOPIC_MAX)
            wrong = "a bundle id has letters, digits, '.' and '-' only, at most 155";
        if (!wrong)
            continue;
        snprintf(err, CONF_ERR_MAX, "[app %.200s] %s", a->topic, wrong);
        return -EINVAL;
    }
    return 0;
}

static int check(const struct server_conf *c, char err[CONF_ERR_MAX])
{
    const char *wrong = NULL;
    char why[LEDGER_STORE_WHY_MAX];

    if (check_listen(&c->server.listen_tls, "listen_tls", false, err) != 0 ||
        check_listen(&c->server.listen_clear, "listen_clear", !c->server.clear_anywhere, err) !=
            0 ||
        check_sfu(c, err) != 0 || check_apps(c, err) != 0)
        return -EINVAL;
    if (c->server.listen_tls.n + c->server.listen_clear.n == 0)
        wrong = "[server] listen_tls: there is nothing to listen on; name at least one ip:port";
    else if (c->server.listen_tls.n > 0 && (!*c->tls.cert_file || !*c->tls.key_file))
        wrong = "[tls] cert_file, key_file: both are needed for listen_tls";
    else if (c->auth.hs256_secret.len == 0 && c->auth.keys.n == 0 && !*c->auth.jwks_file)
        wrong = "[auth]: no key to verify tokens with; set hs256_secret_file, keys or jwks_file";
    else if (c->auth.hs256_secret.len > 0 && c->auth.hs256_secret.len < 32)
        wrong = "[auth] hs256_secret_file: the secret is shorter than 32 bytes";
    else if (c->push.ring_secret.len > 0 && c->push.ring_secret.len < 32)
        wrong = "[push] ring_secret_file: the secret is shorter than 32 bytes";
    else if (*c->push.address && strncmp(c->push.address, "wss://", 6) != 0 &&
             strncmp(c->push.address, "ws://", 5) != 0)
        wrong = "[push] address: a WebSocket address is needed, wss://NAME:PORT/ws";
    else if (c->turn.urls.n > 0 && c->turn.secret.len == 0)
        wrong = "[turn] secret_file: needed when urls are given";
    else if (c->sfu.nodes.n > 0 && !name_ok(slice_str(c->server.node_id)))
        wrong = "[server] node_id: 1 to 64 of A-Z a-z 0-9 . _ - when [sfu] nodes are given";
    else if ((c->sfu.nodes.n > 0 || c->sfu.secret.len > 0) && c->sfu.secret.len < 32)
        wrong = "[sfu] secret_file: a secret of at least 32 bytes is needed for media servers";
    else if (*c->ledger.file && *c->ledger.postgres)
        wrong = "[ledger] file, postgres: one of them; sori-ledger moves what is in the file";
    else if ((*c->ledger.file || *c->ledger.postgres) && c->ledger.token_key.len < 32)
        wrong = "[ledger] token_key_file: a secret of at least 32 bytes is needed when file or "
                "postgres is given (for instance: openssl rand -hex 32)";
    else if ((c->ledger.seal_key.len > 0 && c->ledger.seal_key.len < 32) ||
             (c->ledger.other_seal_key.len > 0 && c->ledger.other_seal_key.len < 32))
        wrong = "[ledger] seal_key_file, other_seal_key_file: at least 32 bytes each (for "
                "instance: openssl rand -hex 32)";
    else if (*c->ledger.postgres && (!*c->privacy.export_dir || !*c->ledger.erased_file))
        wrong = "[privacy] export_dir, [ledger] erased_file: both are needed with postgres; of "
                "several servers export_dir is one directory that all of them mount";
    else if (*c->ledger.postgres && !name_ok(slice_str(c->server.node_id)))
        wrong = "[server] node_id: 1 to 64 of A-Z a-z 0-9 . _ - with [ledger] postgres, another "
                "one on each server";
    else if (*c->ledger.postgres && ledger_pg_where_check(c->ledger.postgres, why) != 0)
        wrong = why;
    else if (c->dev.enabled && c->auth.hs256_secret.len == 0)
        wrong = "[dev] enabled: development mode signs tokens and needs [auth] hs256_secret_file";
    char buf[CONF_ERR_MAX];
    if (!wrong)
        wrong = redis_conf_wrong(c, buf);
    if (!wrong)
        return 0;
    snprintf(err, CONF_ERR_MAX, "%s", wrong);
    return -EINVAL;
}

int server_conf_load(struct server_conf *c, const char *path, char err[CONF_ERR_MAX])
{
    *c = (struct server_conf){0};
    int rc = conf_load(server_conf_opts, server_conf_opts_n, c, path, err);
    if (rc != 0)
        return rc;
    rc = check(c, err);
    if (rc != 0)
        server_conf_free(c);
    return rc;
}

void server_conf_free(struct server_conf *c)
{
    conf_free(server_conf_opts, server_conf_opts_n, c);
}
