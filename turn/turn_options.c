/* Every option of sori-turn: section, name, type, default, range, unit, what it does.
 *
 * Read by turn_conf.c. The table is the only place that knows an option; config/turn.ini is its
 * print. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_options.h"

#include "turn/redis_schema.h"

#define OPT(section, name, type, field, def, min, max, unit, choices, help)                     \
    {                                                                                           \
        section, name, type, offsetof(struct turn_conf, field), def, min, max, unit, {choices}, \
            help                                                                                \
    }

#define REALM_OPT(name, type, field, def, min, max, unit, help)                                    \
    {                                                                                              \
        "realm", name, type, offsetof(struct turn_realm_conf, field), def, min, max, unit, {NULL}, \
            help                                                                                   \
    }

static const struct conf_opt realm_table[] = {
    REALM_OPT("listeners", CONF_LIST, listeners_text, "", 0, 0, NULL,
              "Addresses (ip:port) among [turn] listen_udp, listen_tcp and listen_tls where this "
              "realm is at home: it may be used there and nowhere else. 0.0.0.0 and [::] stand for "
              "every address with that port. Empty: it is not bound to an address."),
    REALM_OPT("sni", CONF_LIST, hosts, "", 0, 253, NULL,
              "Host names that TLS clients name (SNI): the realm is at home on their connections "
              "and nowhere else (with listeners too: where both agree)."),
    REALM_OPT("origins", CONF_LIST, origins, "", 0, 512, NULL,
              "Origins, such as https://example.org: a first request with one of these in its "
              "ORIGIN is challenged for this realm. An origin proves nothing, so it opens nothing: "
              "it only chooses among the realms that may be used there."),
    REALM_OPT("secret_files", CONF_SECRETS, secrets, "", 0, 0, NULL,
              "Files with the secrets of its time-limited credentials, at most 8. Re-read on "
              "SIGHUP."),
    REALM_OPT("users_file", CONF_SECRET, users, "", 0, 0, NULL,
              "File with its static users, as [auth] users_file. Re-read on SIGHUP."),
    REALM_OPT("oauth_keys_file", CONF_SECRET, access_keys, "", 0, 0, NULL,
              "Keys of its access tokens, as [auth] oauth_keys_file. Re-read on SIGHUP."),
    REALM_OPT("oauth_server_name", CONF_STRING, server, "", 0, 255, NULL,
              "The name that its tokens must be made for."),
    REALM_OPT("allocations_per_user", CONF_UINT, per_user, "32", 0, 1000000, NULL,
              "Allocations and reserved ports of one of its users at once (486); 0 = no limit."),
    REALM_OPT("allocations_total", CONF_UINT, total, "0", 0, 10000000, NULL,
              "Allocations and reserved ports of all its users at once (508); 0 = no limit but "
              "[limits] allocations_total."),
    REALM_OPT("bandwidth_per_user", CONF_UINT, user_bandwidth, "0", 0, 250000000, "bytes/s",
              "Payload of all allocations of one of its users; 0 = no limit."),
};

static const struct conf_sections realm_sections = {realm_table, ARRAY_LEN(realm_table),
                                                    sizeof(struct turn_realm_conf), REALMS_MAX - 1,
                                                    offsetof(struct turn_realm_conf, name)};

const struct conf_opt turn_options[] = {
    OPT("turn", "stun_only", CONF_BOOL, stun_only, "no", 0, 0, NULL, NULL,
        "Answer STUN Binding requests and nothing else. Then no users or secrets are needed."),
    OPT("turn", "realm", CONF_STRING, realm, "sori", 0, REALM_NAME_MAX, NULL, NULL,
        "Realm of the credentials in [auth]: the default one, whose quotas are in [limits]. Keep "
        "it short: it is sent to strangers in each 401."),
    OPT("turn", "listen_udp", CONF_LIST, listen_udp_text, "127.0.0.1:3478", 0, 0, NULL, NULL,
        "Addresses (ip:port) for UDP clients. A public server names its own; 0.0.0.0 and [::] "
        "stand for every address that the machine has at the start."),
    OPT("turn", "listen_tcp", CONF_LIST, listen_tcp_text, "127.0.0.1:3478", 0, 0, NULL, NULL,
        "Addresses for TCP clients; [tls] on_tcp_ports serves TLS on them, too."),
    OPT("turn", "listen_tls", CONF_LIST, listen_tls_text, "", 0, 0, NULL, NULL,
        "Addresses for TLS clients; needs [tls] cert_file and key_file. Usual ports: 5349, 443."),
    OPT("turn", "relay_addresses", CONF_LIST, relay_text, "", 0, 0, NULL, NULL,
        "Addresses (without port) that allocations are made on. Empty: those of listen_udp."),
    OPT("turn", "external_addresses", CONF_LIST, external_text, "", 0, 0, NULL, NULL,
        "Behind a 1:1 NAT: public=private, one for each relay address that has a public side."),
    OPT("turn", "min_port", CONF_UINT, min_port, "49152", 1024, 65535, NULL, NULL,
        "Lowest port of relayed addresses."),
    OPT("turn", "max_port", CONF_UINT, max_port, "65535", 1024, 65535, NULL, NULL,
        "Highest port of relayed addresses."),
    OPT("turn", "threads", CONF_UINT, threads, "0", 0, 256, NULL, NULL,
        "Worker threads; 0 = one per processor."),
    OPT("turn", "channel_range", CONF_ENUM, channel_range, "lenient", 0, 0, NULL, "lenient|strict",
        "Channel numbers to accept: 0x4000-0x7FFF (RFC 5766 clients are still in use), or "
        "0x4000-0x4FFF (RFC 8656)."),
    OPT("turn", "default_lifetime", CONF_UINT, default_lifetime_s, "600", 60, 3600, "s", NULL,
        "Lifetime of an allocation that asks for none, and the shortest that is granted."),
    OPT("turn", "max_lifetime", CONF_UINT, max_lifetime_s, "3600", 60, 3600, "s", NULL,
        "Longest lifetime that is granted at once."),
    OPT("turn", "udp_buffer", CONF_UINT, udp_buffer_bytes, "1048576", 0, 67108864, "bytes", NULL,
        "Receive and send buffer of the UDP listeners; 0 = the system's default. The kernel caps "
        "it at net.core.rmem_max and wmem_max."),
    OPT("turn", "io", CONF_ENUM, io, "auto", 0, 0, NULL, "auto|epoll|io_uring",
        "How datagrams move: io_uring (Linux 6.1 or newer, where containers allow it), or epoll "
        "with recvmmsg and sendmmsg. auto = io_uring where it can be had; the log says which."),
    OPT("turn", "offload", CONF_ENUM, offload, "off", 0, 0, NULL, "off|tc",
        "tc = a program in the kernel relays the open channels of IPv4 clients over UDP, without "
        "this process; the rest goes as before. Needs CAP_BPF and CAP_NET_ADMIN, is not started "
        "without, and goes past the machine's packet filter: read docs/OPERATIONS.md first."),
    OPT("turn", "offload_channels", CONF_UINT, offload_channels, "65536", 1, 4194304, NULL, NULL,
        "Channels that the kernel relays at once, some 250 bytes each; further ones go as before."),
    OPT("turn", "ip_headers", CONF_ENUM, ip_headers, "default", 0, 0, NULL, "default|copy",
        "IP headers of what is relayed between UDP and UDP (RFC 8656 §14): default = DSCP 0, no "
        "ECN, "
        "the system's TTL; copy = DSCP and ECN as they came, TTL one less, at some cost per "
        "packet."),
    OPT("turn", "coalesce", CONF_UINT, coalesce_us, "400", 0, 5000, "us", NULL,
        "Longest time that datagrams wait for company when a worker is under load (10,000 a second "
        "with 400 us), so that it wakes up once for many; each waits half of it on average. 0 = "
        "never."),
    OPT("turn", "drain_timeout", CONF_UINT, drain_timeout_s, "30", 0, 86400, "s", NULL,
        "After SIGTERM or SIGUSR1 no new allocation is made, and the process ends when the last "
        "one has ended, or after this time. 0 = it ends at once, as it does on SIGINT and on a "
        "second SIGTERM."),
    OPT("turn", "alternate_servers", CONF_LIST, alternate_text, "", 0, 0, NULL, NULL,
        "Addresses (ip:port, one per family at most) that clients who want a new allocation "
        "meanwhile are sent to (300). Empty: they are told 508."),
    OPT("turn", "alternate_domain", CONF_STRING, alternate_domain, "", 0, 255, NULL, NULL,
        "Host name in the certificate of alternate_servers, when it is not the one that clients "
        "came to: those of TLS and DTLS that sign with SHA-256 are told (RFC 8489). Others need "
        "the same name there."),
    OPT("turn", "alternate_when_full", CONF_BOOL, alternate_when_full, "no", 0, 0, NULL, NULL,
        "Send clients to alternate_servers, too, when no relayed address or place under "
        "allocations_total is left, in place of 508. Two servers may name each other: a client "
        "does not come back for five minutes."),
    OPT("turn", "software", CONF_STRING, software, "", 0, 127, NULL, NULL,
        "What the SOFTWARE attribute of answers to Allocate and Refresh says, to clients with good "
        "credentials only. Empty: it is not sent. A version tells attackers what to try."),
    OPT("turn", "proxy_protocol_from", CONF_CIDRS, proxies, "", 0, 0, NULL, NULL,
        "Blocks of load balancers that begin each connection (before TLS) and each UDP datagram "
        "with "
        "a PROXY protocol v2 header: from there it must come, from elsewhere it is not looked at. "
        "The client is then whom the header names, in limits, policies and answers. Only name "
        "addresses that nobody else can send from."),
    OPT("turn", "tcp_allocations", CONF_BOOL, tcp_allocations, "no", 0, 0, NULL, NULL,
        "Let clients that come over TCP or TLS relay TCP connections (RFC 6062). This opens TCP "
        "services of the peers that [peers] allows, the whole Internet's by default, to every "
        "user."),
    OPT("turn", "mobility", CONF_BOOL, mobility, "no", 0, 0, NULL, NULL,
        "Let allocations follow their clients to other addresses, ports and transports (RFC 8016); "
        "a mobile client whose connection is lost has 30 s to come by another. TCP allocations do "
        "not move."),
    OPT("turn", "nat_discovery", CONF_BOOL, nat_discovery, "no", 0, 0, NULL, NULL,
        "Answer RFC 5780 tests of NAT behaviour, on those listen_udp addresses that come as two "
        "addresses with the same two ports each. Each Binding answer is then 3.4 (IPv6: 5.8) times "
        "the "
        "request."),
    OPT("auth", "secret_file", CONF_SECRET, secret, "", 0, 0, NULL, NULL,
        "File with the secret of time-limited credentials: username expiry:callId:user or "
        "expiry:user, password base64(HMAC-SHA1(secret, username)). Re-read on SIGHUP."),
    OPT("auth", "previous_secret_file", CONF_SECRET, previous_secret, "", 0, 0, NULL, NULL,
        "File with the secret before the last rotation; its credentials stay valid until they "
        "expire. Re-read on SIGHUP."),
    OPT("auth", "secret_files", CONF_SECRETS, more_secrets, "", 0, 0, NULL, NULL,
        "Files with further secrets that are valid at the same time, of other servers that grant "
        "credentials or of a slow rotation; with the two above at most 8. Re-read on SIGHUP."),
    OPT("auth", "users_file", CONF_SECRET, users, "", 0, 0, NULL, NULL,
        "File with static users in UTF-8, one user:password a line, or user:0x and the 32 hex "
        "digits of MD5(user:realm:password), followed or not by the 64 of SHA-256 of the same "
        "(without those, SHA-256 is offered to nobody). Re-read on SIGHUP."),
    OPT("auth", "oauth_keys_file", CONF_SECRET, access_keys, "", 0, 0, NULL, NULL,
        "Third-party authorization (RFC 7635): file with the keys that authorization servers seal "
        "access tokens with, one kid:A256GCM:key or kid:A128GCM:key a line, the key in base64, "
        "followed or not by :from:until in Unix seconds. Re-read on SIGHUP. Empty: no tokens."),
    OPT("auth", "oauth_server_name", CONF_STRING, server, "", 0, 255, NULL, NULL,
        "The name that access tokens must be made for; told in each 401, so keep it short."),
    OPT("auth", "sha256", CONF_ENUM, sha256, "auto", 0, 0, NULL, "auto|always|never",
        "When a challenge offers SHA-256 credentials (RFC 8489): auto = over TCP and TLS, and over "
        "UDP where the answer is at most 2.6 times the request, so that forged requests reflect "
        "little; always closes the way to MD5 that a short first request leaves open."),
    OPT("auth", "watch", CONF_BOOL, auth_watch, "yes", 0, 0, NULL, NULL,
        "Re-read everything that SIGHUP re-reads when a file with secrets or users changes, here "
        "or in a [realm]."),
    OPT("auth", "nonce_lifetime", CONF_UINT, nonce_lifetime_s, "600", 10, 3600, "s", NULL,
        "How long a nonce is accepted before the client is asked to take a new one (438)."),
    OPT("limits", "allocations_per_user", CONF_UINT, per_user, "32", 0, 1000000, NULL, NULL,
        "Allocations and reserved ports of one user at once (486); 0 = no limit."),
    OPT("limits", "allocations_total", CONF_UINT, total, "0", 0, 10000000, NULL, NULL,
        "Allocations and reserved ports of all users at once (508); 0 = no limit but the ports."),
    OPT("limits", "bandwidth_per_allocation", CONF_UINT, bandwidth, "0", 0, 250000000, "bytes/s",
        NULL, "Payload of one allocation, both directions together; 0 = no limit."),
    OPT("limits", "bandwidth_per_user", CONF_UINT, user_bandwidth, "0", 0, 250000000, "bytes/s",
        NULL,
        "Payload of all allocations of one user, both directions together, over all workers; 0 = "
        "no limit."),
    OPT("limits", "packets_per_second", CONF_UINT, packets_per_s, "0", 0, 1000000, "1/s", NULL,
        "Packets of one allocation, both directions together; 0 = no limit."),
    OPT("limits", "new_peers_per_second", CONF_UINT, peers_per_s, "10", 0, 1000000, "1/s", NULL,
        "Peer addresses without a permission that one allocation may ask for (508); 0 = no "
        "limit."),
    OPT("limits", "new_peers_burst", CONF_UINT, peers_burst, "100", 1, 1000000, NULL, NULL,
        "How many of those at once."),
    OPT("limits", "unauthenticated_per_second", CONF_UINT, source_per_s, "10", 0, 1000000, "1/s",
        NULL,
        "Answers that one UDP source (IPv4 address, IPv6 /64) gets, per worker, before it has "
        "proven who it is: Binding, 400, 401, 438. 0 = no limit."),
    OPT("limits", "unauthenticated_burst", CONF_UINT, source_burst, "10", 1, 1000000, NULL, NULL,
        "How many of those at once."),
    OPT("limits", "source_table", CONF_UINT, source_entries, "16384", 64, 16777216, NULL, NULL,
        "Sources that are remembered for that and for connects_per_second, per worker; 32 bytes "
        "each and once for each of the two."),
    OPT("limits", "handover_buffer", CONF_UINT, handover_buffer_bytes, "262144", 262144, 16777216,
        "bytes", NULL,
        "Datagrams on their way from one worker's allocations to another's, for each two workers "
        "and each way; what does not fit is dropped."),
    OPT("limits", "tcp_connections_per_allocation", CONF_UINT, tcp_per_allocation, "16", 1, 10000,
        NULL, NULL,
        "Peer connections of one TCP allocation at once: Connect is refused with 508, a peer is "
        "closed."),
    OPT("limits", "tcp_connections_total", CONF_UINT, tcp_connections, "4096", 1, 1000000, NULL,
        NULL, "Peer connections of all TCP allocations at once."),
    OPT("limits", "tcp_connect_timeout", CONF_UINT, tcp_connect_s, "30", 1, 300, "s", NULL,
        "Time for a peer to accept a Connect (447); RFC 6062 wants 30 s at least."),
    OPT("limits", "tcp_bind_timeout", CONF_UINT, tcp_bind_s, "30", 1, 300, "s", NULL,
        "Time for the client to bind a connection to a peer before it is closed; RFC 6062 wants 30 "
        "s at least."),
    OPT("limits", "tcp_idle_timeout", CONF_UINT, tcp_idle_s, "600", 0, 86400, "s", NULL,
        "A relayed TCP connection that carries nothing for so long is closed; 0 = never, it ends "
        "with its allocation."),
    OPT("limits", "tcp_buffer", CONF_UINT, tcp_buffer_bytes, "65536", 1024, 1048576, "bytes", NULL,
        "What is read at once from a side of a relayed TCP connection, and the most that is kept "
        "for the other side: a reader that does not keep up slows its sender down."),
    OPT("limits", "connects_per_second", CONF_UINT, connects_per_s, "10", 0, 1000000, "1/s", NULL,
        "TCP and TLS connections and DTLS associations that one source (IPv4 address, IPv6 /64) "
        "may open, per worker; more are closed at once. 0 = no limit."),
    OPT("limits", "connects_burst", CONF_UINT, connects_burst, "50", 1, 1000000, NULL, NULL,
        "How many of those at once."),
    OPT("limits", "connections", CONF_UINT, max_connections, "10000", 1, 1000000, NULL, NULL,
        "TCP or TLS connections of one listener and worker."),
    OPT("limits", "dtls_half_open", CONF_UINT, dtls_half_open, "1000", 1, 1000000, NULL, NULL,
        "DTLS handshakes under way at once, per worker; who comes then must try again. Costs "
        "memory only after the client has shown that it receives at its address."),
    OPT("limits", "dtls_associations", CONF_UINT, dtls_associations, "10000", 1, 1000000, NULL,
        NULL, "DTLS associations at once, per worker; about 46 kB each."),
    OPT("limits", "idle_timeout", CONF_UINT, idle_s, "30", 1, 3600, "s", NULL,
        "Time that a connection or DTLS association may live without an allocation."),
    OPT("limits", "handshake_timeout", CONF_UINT, handshake_s, "5", 1, 60, "s", NULL,
        "Time for a TLS or DTLS handshake."),
    OPT("limits", "client_queue", CONF_UINT, client_queue_bytes, "131072", 4096, 16777216, "bytes",
        NULL,
        "Unsent data of one connection; what does not fit is dropped, whole messages at a time."),
    OPT("clients", "allow_clients", CONF_CIDRS, allow_clients, "", 0, 0, NULL, NULL,
        "Blocks that clients must come from. Empty: any address."),
    OPT("clients", "deny_clients", CONF_CIDRS, deny_clients, "", 0, 0, NULL, NULL,
        "Blocks whose clients get no answer over UDP and no connection; goes before "
        "allow_clients."),
    OPT("peers", "allow_relay_to_relay", CONF_BOOL, allow_relay_to_relay, "yes", 0, 0, NULL, NULL,
        "Let two allocations of this server talk to each other, as two clients that both need a "
        "relay do. Only ports with a live allocation are reachable this way."),
    OPT("peers", "allow_private_peers", CONF_BOOL, allow_private, "no", 0, 0, NULL, NULL,
        "Let peers have private addresses (RFC 1918, 100.64.0.0/10, fc00::/7)."),
    OPT("peers", "allow_own_addresses", CONF_BOOL, allow_own, "no", 0, 0, NULL, NULL,
        "Development: let peers be addresses of this machine. Exposes its UDP services."),
    OPT("peers", "allow_loopback_peers", CONF_BOOL, allow_loopback, "no", 0, 0, NULL, NULL,
        "Development: let peers be 127.0.0.0/8 and ::1. Exposes local UDP services."),
    OPT("peers", "allow_peers", CONF_CIDRS, allow, "", 0, 0, NULL, NULL,
        "Blocks that are allowed although they are private or special. Does not open own "
        "addresses, loopback, multicast, 0.0.0.0/8, Teredo or 6to4."),
    OPT("peers", "deny_peers", CONF_CIDRS, deny, "", 0, 0, NULL, NULL,
        "Blocks that are refused; goes before everything else."),
    OPT("tls", "cert_file", CONF_STRING, cert_file, "", 0, 0, NULL, NULL,
        "Certificate chain, PEM. Re-read on SIGHUP."),
    OPT("tls", "key_file", CONF_STRING, key_file, "", 0, 0, NULL, NULL,
        "Private key, PEM. Re-read on SIGHUP."),
    OPT("tls", "more_certificates", CONF_LIST, more_certs_text, "", 0, 0, NULL, NULL,
        "Other certificates, each CERT:KEY (two paths): shown to clients that name a host (SNI) "
        "which the certificate is for; cert_file goes to all others."),
    OPT("tls", "on_tcp_ports", CONF_BOOL, tls_on_tcp, "no", 0, 0, NULL, NULL,
        "Serve TLS on the addresses of listen_tcp, too: what a connection is shows in its first "
        "byte, which must come within handshake_timeout."),
    OPT("tls", "dtls", CONF_BOOL, dtls, "no", 0, 0, NULL, NULL,
        "Serve DTLS 1.2 (RFC 7350) on the addresses of listen_udp, besides clear text: the first "
        "byte of a datagram tells."),
    OPT("tls", "watch", CONF_BOOL, tls_watch, "yes", 0, 0, NULL, NULL,
        "Re-read everything that SIGHUP re-reads when one of these files changes."),
    OPT("admin", "listen", CONF_ADDR, admin, "", 0, 0, NULL, NULL,
        "Address for /metrics, /livez and /readyz, such as 127.0.0.1:9641. Empty: none."),
    OPT("admin", "control", CONF_STRING, control, "", 0, 107, NULL, NULL,
        "Path of the Unix socket (made with mode 0600) that sori-turnctl speaks to, such as "
        "/run/sori-turn/control. Empty: none."),
    OPT("log", "level", CONF_ENUM, log_level, "info", 0, 0, NULL, "error|warn|info|debug",
        "Which lines are written."),
    OPT("log", "format", CONF_ENUM, log_format, "text", 0, 0, NULL, "text|json",
        "Text for people, or one JSON object a line."),
    OPT("log", "users", CONF_ENUM, log_users, "hashed", 0, 0, NULL, "hashed|plain|none",
        "How the record of an allocation names its user."),
    OPT("log", "usage_interval", CONF_UINT, usage_interval_s, "0", 0, 86400, "s", NULL,
        "How often the record of an allocation that lives is written, with the amounts so far; 0 "
        "= only at its end."),
    OPT("log", "usage", CONF_ENUM, log_usage, "all", 0, 0, NULL, "all|ended|off",
        "Which of these records are lines of the log: all of them, those of allocations that have "
        "ended, or none, when they go to files or to Redis anyway."),
    OPT("usage", "directory", CONF_STRING, usage_directory, "", 0, 1024, NULL, NULL,
        "Directory that records of use are written to, one JSON object a line, for sori-report; it "
        "must be there. Amounts of living allocations outlive a crash as far as [log] "
        "usage_interval tells them: 60 is good. How users appear: [log] users. Empty: none."),
    OPT("usage", "node", CONF_STRING, usage_node, "", 0, 64, NULL, NULL,
        "Name of this relay in records."),
    OPT("usage", "region", CONF_STRING, usage_region, "", 0, 64, NULL, NULL,
        "Name of its region, by which the report sums up and prices."),
    OPT("usage", "file_size", CONF_UINT, usage_file_bytes, "67108864", 65536, 4294967296, "bytes",
        NULL, "A file that would become longer is followed by another; so is each day's last one."),
    OPT("usage", "keep_days", CONF_UINT, usage_keep_days, "62", 0, 36500, "days", NULL,
        "Files of days longer ago are deleted: they name calls and, unless [log] users hides them, "
        "users. 0 = never."),
    OPT("usage", "buffer", CONF_UINT, usage_buffer, "10000", 1, 1000000, "records", NULL,
        "Records that wait while the disk does not take them; then the oldest are lost, and "
        "counted."),
    OPT("usage", "media_quality", CONF_BOOL, media_quality, "yes", 0, 0, NULL, NULL,
        "Judge media that is relayed: loss, jitter and round trip up to the relay, from the clear "
        "headers of RTP and connectivity checks. Sums stand in the record of an allocation's end; "
        "each [usage] media_interval goes to sori-server, by [cluster]. Channels that the kernel "
        "relays ([turn] offload) are not judged."),
    OPT("usage", "media_interval", CONF_UINT, media_interval_s, "10", 1, 60, "s", NULL,
        "How long one such judgement takes."),
    OPT("redis", "address", CONF_ADDR, redis, "", 0, 0, NULL, NULL,
        "Redis (ip:port), in clear text: keep it on this machine or a private network. Empty, and "
        "no "
        "socket: that of [cluster], with its user, TLS and Sentinels, when users, secrets or usage "
        "are wanted."),
    OPT("redis", "socket", CONF_STRING, redis_socket, "", 0, 107, NULL, NULL,
        "Path of its Unix socket instead."),
    OPT("redis", "username", CONF_STRING, redis_username, "", 0, 128, NULL, NULL,
        "User of Redis's ACL. Empty: the default user."),
    OPT("redis", "password_file", CONF_SECRET, redis_password, "", 0, 0, NULL, NULL,
        "File with the password. Read at the start."),
    OPT("redis", "database", CONF_UINT, redis_database, "0", 0, 65535, NULL, NULL,
        "Number of the database (SELECT)."),
    OPT("redis", "key_prefix", CONF_STRING, redis_prefix, "turn/", 0, REDIS_SCHEMA_PREFIX_MAX, NULL,
        NULL, "What every key and channel begins with; docs/OPERATIONS.md has the rest of them."),
    OPT("redis", "timeout", CONF_UINT, redis_timeout_ms, "1000", 10, 60000, "ms", NULL,
        "After so long without an answer the connection is given up and made anew. The start waits "
        "at most this long (and a second) for secrets."),
    OPT("redis", "users", CONF_BOOL, redis_users, "no", 0, 0, NULL, NULL,
        "Look up users who are in no file, as coturn stores them: PREFIX "
        "realm/REALM/user/NAME/key, the MD5 key in hex."),
    OPT("redis", "users_sha256", CONF_BOOL, redis_users_sha256, "no", 0, 0, NULL, NULL,
        "Every one of them has a SHA-256 key too, under .../key256, so that it can be offered."),
    OPT("redis", "secrets", CONF_BOOL, redis_secrets, "no", 0, 0, NULL, NULL,
        "Take secrets of time-limited credentials from the sets PREFIX realm/REALM/secret, at most "
        "8 each, beside those in files."),
    OPT("redis", "refresh", CONF_UINT, redis_refresh_s, "60", 1, 86400, "s", NULL,
        "How often the secrets are read again; a message in channel PREFIX reload does it at once, "
        "and makes the relay look up its users anew."),
    OPT("redis", "cache_found", CONF_UINT, redis_found_s, "60", 1, 86400, "s", NULL,
        "How long the key of a user who was found counts."),
    OPT("redis", "cache_absent", CONF_UINT, redis_absent_s, "10", 1, 86400, "s", NULL,
        "How long it counts that there is no such user."),
    OPT("redis", "cache_stale", CONF_UINT, redis_stale_s, "3600", 1, 604800, "s", NULL,
        "How long a user's key goes on counting while Redis is away, since it was read."),
    OPT("redis", "cache_entries", CONF_UINT, redis_entries, "10000", 1, 10000000, NULL, NULL,
        "Users, present and absent, that each worker remembers."),
    OPT("redis", "look_ups", CONF_UINT, redis_asked, "64", 1, 1024, NULL, NULL,
        "Users that each worker asks for at once; others get 500."),
    OPT("redis", "held", CONF_UINT, redis_held, "64", 0, 1024, NULL, NULL,
        "Requests of TCP and TLS clients that each worker holds meanwhile."),
    OPT("redis", "usage", CONF_ENUM, redis_usage, "off", 0, 0, NULL, "off|publish|stream",
        "Where records of use go besides the log: off, to the channel PREFIX usage, or to the "
        "stream of that name. How users appear in them: [log] users; how often: [log] "
        "usage_interval."),
    OPT("redis", "usage_buffer", CONF_UINT, redis_usage_buffer, "10000", 1, 1000000, NULL, NULL,
        "Records that wait while Redis is away; then the oldest are lost, and counted."),
    OPT("redis", "stream_length", CONF_UINT, redis_stream_length, "100000", 1, 1000000000, NULL,
        NULL, "About how many records the stream keeps."),
    REDIS_OPTIONS("cluster", struct turn_conf, cluster.redis,
                  "Redis 7, where sori-servers find this relay: host:port or unix:PATH, the first "
                  "of them that is a master. Another thing than [redis], and with TLS. Empty, and "
                  "no sentinels: the relay does not register itself.",
                  "5",
                  "How long sori-servers give this relay to their clients without a word from it; "
                  "it says one each third of that."),
    OPT("cluster", "node", CONF_STRING, cluster.node, "", 0, 64, NULL, NULL,
        "Name of this relay there, another one for each. Empty: that of [usage] node."),
    OPT("cluster", "region", CONF_STRING, cluster.region, "", 0, 64, NULL, NULL,
        "Its region, for sori-server's choice. Empty: that of [usage] region."),
    OPT("cluster", "urls", CONF_LIST, cluster.urls, "", 0, 512, NULL, NULL,
        "What clients are given, at most 16: turn:relay.example:3478?transport=udp, and turns: for "
        "TLS. Empty: the addresses of listen_udp and listen_tcp, as seen from outside "
        "(external_addresses)."),
    OPT("cluster", "weight", CONF_UINT, cluster.weight, "1", 1, 100, NULL, NULL,
        "How much it can carry beside the others: of two with the same load, one of weight 2 is "
        "chosen twice as often."),
    {.section = "realm",
     .name = "NAME",
     .type = CONF_SECTIONS,
     .offset = offsetof(struct turn_conf, realms),
     .sections = &realm_sections,
     .help = "Another realm with users, secrets and quotas of its own. Which realm a request "
             "belongs to: docs/OPERATIONS.md. New realms and their addresses, hosts, origins and "
             "quotas need a restart."},
};

const size_t turn_options_n = ARRAY_LEN(turn_options);
