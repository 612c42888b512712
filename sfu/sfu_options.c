/* Every option of sori-sfu: section, name, type, default, range, unit, what it does.
 *
 * Read by sfu_conf.c. The table is the only place that knows an option; config/sfu.ini is its
 * print. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/sfu_conf.h"

#define OPT(sec, field, nm, ty, d, lo, hi, un, ch, hp)                                           \
    {                                                                                            \
        .section = #sec, .name = nm, .type = ty, .offset = offsetof(struct sfu_conf, sec.field), \
        .def = d, .min = lo, .max = hi, .unit = un, .choices = ch, .help = hp                    \
    }
#define UINT(sec, field, nm, d, lo, hi, un, hp) \
    OPT(sec, field, nm, CONF_UINT, d, lo, hi, un, NULL, hp)
#define BOOL(sec, field, nm, d, hp)      OPT(sec, field, nm, CONF_BOOL, d, 0, 0, NULL, NULL, hp)
#define TEXT(sec, field, nm, d, max, hp) OPT(sec, field, nm, CONF_STRING, d, 0, max, NULL, NULL, hp)
#define LIST(sec, field, nm, d, hp)      OPT(sec, field, nm, CONF_LIST, d, 0, 1024, NULL, NULL, hp)
#define ENUM(sec, field, nm, d, ch, hp)  OPT(sec, field, nm, CONF_ENUM, d, 0, 0, NULL, ch, hp)

const struct conf_opt sfu_options[] = {
    TEXT(sfu, node_id, "node_id", "sfu-1", 64,
         "Name of this node in the control protocol and in logs."),
    TEXT(sfu, region, "region", "", 64,
         "Where it is, for sori-server's choice of a node. Empty: anywhere."),
    LIST(sfu, listen_text, "listen", "127.0.0.1",
         "Addresses (without port) for media, at most 8, IPv4 and IPv6. A public server names its "
         "own: each becomes a candidate of every client."),
    UINT(sfu, port, "port", "7882", 1, 65535, NULL,
         "UDP (and TCP) port of the first worker; each further worker has the next one. Open as "
         "many in the firewall as there are threads."),
    LIST(sfu, external_text, "external_addresses", "",
         "Behind a 1:1 NAT: public=private, one for each address of listen that has a public side; "
         "clients are told the public one."),
    BOOL(sfu, tcp, "tcp", "yes",
         "Accept media over TCP on the same ports (RFC 6544, passive), for clients whose network "
         "blocks UDP."),
    UINT(sfu, threads, "threads", "0", 0, 64, NULL,
         "Worker threads; 0 = one per processor. A room lives on one."),
    ENUM(sfu, io, "io", "auto", "auto|epoll|io_uring",
         "How datagrams move: io_uring (Linux 6.1 or newer, where containers allow it), or epoll "
         "with recvmmsg and sendmmsg. auto = io_uring where it can be had; the log says which."),
    UINT(
        sfu, coalesce_us, "coalesce", "400", 0, 2000, "us",
        "Longest time that datagrams wait for company when a worker is under load (about 10,000 a "
        "second), so that it wakes up once for many; each waits half of it on average. 0 = never."),
    UINT(sfu, socket_buffer_bytes, "socket_buffer", "4194304", 0, 67108864, "bytes",
         "Receive and send buffer of the media sockets; 0 = the system's default. The kernel caps "
         "it "
         "at net.core.rmem_max and wmem_max."),
    UINT(sfu, egress_bytes, "egress_buffer", "2097152", 65536, 67108864, "bytes",
         "Memory of one worker for packets that are encrypted and not yet sent; when it is full "
         "they "
         "are sent early."),
    UINT(
        sfu, drain_timeout_s, "drain_timeout", "60", 0, 86400, "s",
        "After SIGTERM or SIGUSR1 no new room is taken, and the process ends when the last one has "
        "ended, or after this time. 0 = at once, as on SIGINT and on a second SIGTERM."),
    UINT(sfu, grace_s, "control_grace", "60", 0, 3600, "s",
         "How long rooms go on without a connection of the sori-server that made them."),

    LIST(control, listen_text, "listen", "",
         "Where sori-server connects, at most 8: unix:/path (made with mode 0600) or ip:port. "
         "Addresses other than Unix sockets need secret_file."),
    OPT(control, secret, "secret_file", CONF_SECRET, "", 0, 0, NULL, NULL,
        "File with the secret shared with sori-server, at least 32 bytes; or credential:NAME. "
        "Empty: "
        "the Unix socket's mode is the only guard."),
    UINT(control, events, "events", "4096", 64, 1048576, "events",
         "Events kept for a sori-server that is away; when there are more it compares everything "
         "anew."),
    UINT(control, queue_bytes, "queue_bytes", "4194304", 65536, 268435456, "bytes",
         "Unsent output to one sori-server; above it the connection is closed."),
    TEXT(control, socket, "socket", "", 107,
         "Unix socket (mode 0600) for sori-sfuctl. Empty: none."),

    REDIS_OPTIONS("cluster", struct sfu_conf, cluster.redis,
                  "Redis 7, where sori-servers find this node: host:port or unix:PATH, the first "
                  "of them that is a master. Empty, and no sentinels: it does not register itself.",
                  "5",
                  "How long this node counts as alive without a word from it and without a control "
                  "connection; it says one each third of that."),
    TEXT(
        cluster, address, "address", "", 120,
        "Where sori-servers connect, ip:port or unix:/path. Empty: the first of [control] listen."),
    UINT(cluster, weight, "weight", "1", 1, 100, NULL,
         "How much it can carry beside the others: a node of weight 2 is chosen twice as often."),

    UINT(transport, consent_timeout_s, "consent_timeout", "15", 5, 120, "s",
         "A client that has not been heard of for this long is disconnected (it may come back)."),
    UINT(transport, connect_timeout_s, "connect_timeout", "30", 5, 300, "s",
         "Time for ICE and DTLS until a participant without media is given up."),
    UINT(transport, idle_timeout_s, "reconnect_timeout", "60", 5, 3600, "s",
         "A disconnected participant leaves after this long."),
    ENUM(transport, srtp_backend, "srtp_backend", "evp", "evp|libsrtp2",
         "Who encrypts media: our code on OpenSSL's EVP, or libsrtp2 (slower; to compare)."),
    UINT(transport, stun_per_s, "stun_per_s", "100", 1, 1000000, "1/s",
         "Unauthenticated STUN messages of one address that are answered."),
    UINT(transport, hellos_per_s, "handshakes_per_s", "1000", 1, 1000000, "1/s",
         "DTLS handshakes that a worker begins."),
    UINT(transport, tcp_streams, "tcp_streams", "4096", 1, 1000000, "connections",
         "TCP connections of one worker."),

    UINT(audio, last_n, "last_n", "3", 0, 64, "talkers",
         "How many talkers, the loudest, are forwarded to a participant that has fewer audio slots "
         "than there are sources. 0 = as many as it has slots."),
    UINT(audio, active_level, "active_level", "50", 1, 127, "-dBov",
         "Level (RFC 6464) from which a packet may be speech."),
    UINT(audio, bitrate_bps, "max_bitrate", "32000", 6000, 510000, "bit/s",
         "maxaveragebitrate that publishers are asked for (RFC 7587); 20000 is a good voice "
         "profile."),
    UINT(audio, ptime_ms, "ptime", "20", 10, 120, "ms",
         "Packet time that publishers are asked for."),
    BOOL(audio, stereo, "stereo", "no", "Ask publishers for stereo."),
    BOOL(audio, dtx, "dtx", "yes", "Ask publishers for silence suppression (usedtx)."),
    BOOL(audio, fec, "fec", "yes",
         "Ask publishers for in-band forward error correction (useinbandfec)."),
    BOOL(audio, nack, "nack", "yes", "Repair audio by retransmission with clients that offer it."),
    ENUM(
        audio, red, "red", "auto", "auto|always|off",
        "Redundant audio (RFC 2198) to receivers that can: auto = as much as their losses ask for, "
        "always = at least one copy, off = none (publishers' copies still repair what they can)."),
    ENUM(
        audio, mirror_loss, "mirror_loss", "worst", "off|mean|worst",
        "Loss on the way to the receivers that is added to what the publisher is told, so that its "
        "encoder protects against that, too."),
    LIST(audio, codecs, "codecs", "opus, red, pcmu, pcma, telephone-event, cn",
         "Audio codecs that are accepted, the preferred first."),

    LIST(video, codecs, "codecs", "vp8, vp9, h264, av1",
         "Video codecs that are accepted. Publishers send the first of their own order that is."),
    UINT(video, max_bps, "max_bitrate", "2500000", 50000, 100000000, "bit/s",
         "Most that a publisher is told to send for one video source (REMB, b=)."),
    UINT(video, start_bps, "start_bitrate", "600000", 50000, 100000000, "bit/s",
         "First estimate of a receiver's downlink."),
    UINT(video, min_bps, "min_bitrate", "60000", 10000, 10000000, "bit/s",
         "No estimate of a receiver's downlink goes below this."),
    UINT(video, send_max_bps, "receiver_max_bitrate", "20000000", 100000, 1000000000, "bit/s",
         "Most that one receiver is sent, audio not counted."),
    UINT(video, key_interval_ms, "key_frame_interval", "500", 50, 10000, "ms",
         "A publisher is asked for a key frame at most once in this time, whoever needs one."),
    UINT(video, rtx_percent, "retransmission_budget", "30", 1, 200, "%",
         "Retransmissions to a receiver, in percent of what its slot sends."),
    UINT(video, history_bytes, "history_bytes", "131072", 16384, 16777216, "bytes",
         "Packets kept of a video track's highest layer for retransmissions and joiners; of each "
         "layer "
         "below half as much."),
    UINT(video, history_ms, "history_ms", "1000", 100, 10000, "ms",
         "No older packet is sent again."),

    BOOL(data, enabled, "enabled", "yes", "Data channels (SCTP)."),
    UINT(data, message_bytes, "message_bytes", "16384", 64, 262144, "bytes", "Longest message."),
    UINT(data, messages_per_s, "messages_per_s", "50", 1, 100000, "1/s", "Messages of one sender."),
    UINT(data, bytes_per_s, "bytes_per_s", "65536", 64, 100000000, "bytes/s",
         "Bytes of one sender."),
    UINT(data, buffered_bytes, "buffered_bytes", "1048576", 16384, 67108864, "bytes",
         "What may wait for one slow receiver; lossy messages beyond a quarter of it are dropped, "
         "then reliable ones, and it is told."),

    UINT(limits, rooms, "rooms", "10000", 1, 1000000, "rooms", "Rooms on this node."),
    UINT(limits, participants, "participants_per_room", "200", 1, 10000, "participants",
         "In one room."),
    UINT(limits, participants_total, "participants", "20000", 1, 1000000, "participants",
         "On this node."),
    UINT(limits, tracks, "tracks_per_participant", "8", 1, 32, "tracks",
         "Published by one participant."),
    UINT(limits, slots, "slots_per_participant", "64", 1, 128, "slots",
         "Receive sections of one participant."),
    UINT(limits, ssrcs, "ssrcs_per_participant", "64", 4, 512, "SSRCs",
         "Sent by one participant; more are dropped."),
    UINT(limits, sdp_bytes, "sdp_bytes", "65536", 4096, 65536, "bytes", "Longest description."),
    UINT(limits, requests_per_s, "nacks_per_s", "2000", 10, 1000000, "1/s",
         "Packets that one participant may ask for again; more are ignored."),
    UINT(limits, keys_per_s, "key_requests_per_s", "20", 1, 10000, "1/s",
         "Key frame requests of one participant that are looked at."),
    UINT(limits, rtcp_per_s, "rtcp_per_s", "400", 10, 100000, "1/s",
         "RTCP packets of one participant; more are dropped."),
    UINT(limits, bitrate_bps, "publish_bitrate", "20000000", 100000, 1000000000, "bit/s",
         "What one participant may send; more is dropped."),

    OPT(admin, listen, "listen", CONF_ADDR, "", 0, 0, NULL, NULL,
        "Address (ip:port) for /metrics, /livez and /readyz, without TLS: loopback or a private "
        "network. Empty: none."),

    ENUM(log, level, "level", "info", "error|warn|info|debug",
         "The least important lines that are written."),
    ENUM(log, format, "format", "text", "text|json", "Text for people, or one JSON object a line."),
    BOOL(log, addresses, "addresses", "no", "Write clients' addresses into the log."),
};
const size_t sfu_options_n = ARRAY_LEN(sfu_options);
