/* sori-sfu's configuration: the option table, the struct it fills, and what follows from both.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_CONF_H
#define SORI_SFU_CONF_H

#include "base/conf.h"
#include "net/redis_options.h"

#define SFU_LISTEN_MAX   8 /* media addresses */
#define SFU_WORKERS_MAX  64
#define SFU_EXTERNAL_MAX 8
#define SFU_CONTROL_MAX  8 /* addresses for sori-server */

enum sfu_red { SFU_RED_AUTO, SFU_RED_ALWAYS, SFU_RED_OFF };
enum sfu_mirror { SFU_MIRROR_OFF, SFU_MIRROR_MEAN, SFU_MIRROR_WORST };

/* A public address and the one of this machine that stands for it behind a 1:1 NAT. */
struct sfu_external {
    struct addr shown, bound;
};

struct sfu_conf {
    struct {
        char *node_id, *region;
        struct conf_list listen_text;
        uint64_t port;
        struct conf_list external_text;
        bool tcp;
        uint64_t threads;
        unsigned io;
        uint64_t coalesce_us, socket_buffer_bytes, egress_bytes;
        uint64_t drain_timeout_s, grace_s;
    } sfu;
    struct {
        struct conf_list listen_text;
        struct conf_secret secret;
        uint64_t events, queue_bytes;
        char *socket;
    } control;
    struct {
        struct redis_options redis;
        char *address;
        uint64_t weight;
    } cluster;
    struct {
        uint64_t consent_timeout_s, connect_timeout_s, idle_timeout_s;
        unsigned srtp_backend;
        uint64_t stun_per_s, hellos_per_s, tcp_streams;
    } transport;
    struct {
        uint64_t last_n, active_level;
        uint64_t bitrate_bps, ptime_ms;
        bool stereo, dtx, fec, nack;
        unsigned red, mirror_loss;
        struct conf_list codecs;
    } audio;
    struct {
        struct conf_list codecs;
        uint64_t max_bps, start_bps, min_bps, send_max_bps;
        uint64_t key_interval_ms, rtx_percent, history_bytes, history_ms;
    } video;
    struct {
        bool enabled;
        uint64_t message_bytes, messages_per_s, bytes_per_s, buffered_bytes;
    } data;
    struct {
        uint64_t rooms, participants, participants_total, tracks, slots, ssrcs, sdp_bytes;
        uint64_t requests_per_s, keys_per_s, rtcp_per_s, bitrate_bps;
    } limits;
    struct {
        struct addr listen;
    } admin;
    struct {
        unsigned level, format;
        bool addresses;
    } log;

    /* From the lists above. */
    struct addr listen[SFU_LISTEN_MAX]; /* port 0 */
    size_t n_listen;
    struct sfu_external external[SFU_EXTERNAL_MAX];
    size_t n_external;
};

/* The table (sfu_options.c). */
extern const struct conf_opt sfu_options[];
extern const size_t sfu_options_n;

/* Reads path (NULL: defaults only) and completes it. Returns 0, or a negative errno with err saying
 * what is wrong and what is allowed; *c is then freed. */
int sfu_conf_load(struct sfu_conf *c, const char *path, char err[CONF_ERR_MAX]);
/* The same from text; name stands for the file in messages. */
int sfu_conf_load_text(struct sfu_conf *c, struct slice text, const char *name,
                       char err[CONF_ERR_MAX]);
/* Frees and wipes. A zeroed one is allowed. */
void sfu_conf_free(struct sfu_conf *c);
/* Prints the commented default configuration. */
void sfu_conf_print(FILE *f);

/* Sets the lists and switches of *p that [audio] codecs and [video] codecs name. Returns 0, or
 * -EINVAL for a name that is not known (sfu_conf_load() has seen to it). */
struct codec_policy;
int sfu_conf_codecs(const struct sfu_conf *c, struct codec_policy *p);

/* Where sori-servers reach this node's control, as it registers itself: ip:port or unix:/path.
 * Lent. */
struct slice sfu_conf_cluster_address(const struct sfu_conf *c);

/* The address that clients are told for a local one (behind a 1:1 NAT another), port untouched. */
struct addr sfu_conf_shown(const struct sfu_conf *c, struct addr local);

#endif
