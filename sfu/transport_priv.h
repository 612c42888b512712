/* What demux.c, transport.c and transport_path.c share; for nobody else.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_TRANSPORT_PRIV_H
#define SORI_SFU_TRANSPORT_PRIV_H

#include "base/htable.h"
#include "base/source_limit.h"
#include "base/timerwheel.h"
#include "sfu/demux.h"

enum {
    TRANSPORT_PATHS_MAX = 4, /* verified addresses of one client; the longest unheard gives way */
    TRANSPORT_EARLY_DGRAMS = 4, /* DTLS datagrams that are kept until they can be answered */
    TRANSPORT_EARLY_BYTES = 4096,
    RTP_FIXED_BYTES = 12,
};

struct transport_path {
    struct hnode node; /* in demux's paths while t is set */
    struct transport *t;
    struct media_path at;
    uint32_t priority;
    uint64_t heard_us;     /* something authentic came by it */
    uint64_t nominated_us; /* 0: never */
};

/* DTLS that came before it could be answered. */
struct transport_early {
    unsigned n;
    uint16_t len[TRANSPORT_EARLY_DGRAMS];
    size_t used;
    uint8_t bytes[TRANSPORT_EARLY_BYTES];
};

struct transport_ufrag {
    struct hnode node;
    struct transport *t; /* NULL: in no table */
};

struct transport {
    struct demux *d;
    void *user;
    enum transport_state state;
    enum transport_why why;
    struct timer timer;

    struct ice_lite ice;
    struct transport_ufrag ufrag, old_ufrag;
    uint32_t nomination; /* the highest one seen */
    bool has_nomination;
    bool anew; /* a path was selected by a check with the credentials of the present restart */
    uint64_t nominated_us; /* the first time since the start or restart; 0: not yet */
    struct transport_path path[TRANSPORT_PATHS_MAX];
    struct transport_path *selected;
    struct transport_path *from; /* of the last packet: transport_open_rtp(), _read_data() */

    struct dtls_fingerprint remote[DTLS_SRTP_FINGERPRINTS_MAX];
    size_t n_remote; /* 0: no description yet */
    bool dtls_client, data;
    bool was_keyed; /* there was an association with keys */
    struct dtls_srtp *dtls;
    struct transport_early *early;
    struct bucket dtls_bucket;
    struct srtp_sess *in, *out;
    enum srtp_sess_profile profile;

    uint64_t since_us; /* of the beginning, description or restart: what connect_us runs from */
    uint64_t heard_us; /* 0: never */
};

struct demux {
    struct demux_conf conf;
    struct transport_stats stats;
    struct dtls_srtp_ctx *dtls;
    struct source_limit *sources;
    struct bucket hellos;
    struct timerwheel *wheel;
    struct htable paths, ufrags;
    unsigned count;
    uint64_t now_us; /* of the call that is being served */
    uint8_t *dgram;  /* the one that transport_read_data() may write to */
    size_t dgram_len;
};

static inline void demux_drop(struct demux *d, enum transport_drop why)
{
    counter_inc(&d->stats.drop[why]);
}

/* --- demux.c */

/* Sets the timer of t anew, after anything that may have moved its deadline nearer. */
void demux_rearm(struct transport *t);
/* Adds t's present ufrag to the table; takes one off. */
void demux_ufrag_add(struct transport *t, struct transport_ufrag *u, const char *ufrag);
void demux_ufrag_del(struct transport_ufrag *u, struct demux *d);
/* Sends a copy of a datagram of ours (STUN, DTLS); an empty one is not sent. */
void demux_send(struct demux *d, const struct media_path *to, struct slice dgram);
/* The path of this address, or NULL. */
struct transport_path *demux_path(struct demux *d, const struct media_path *at);

/* --- transport_path.c */

/* Makes the address that an authentic check came from one of t's. NULL: it is another live
 * transport's. */
struct transport_path *transport_path_verify(struct transport *t, const struct media_path *at);
/* Takes a path off; another one is selected if it was. */
void transport_path_del(struct transport_path *p);
/* What an authentic check, or media, that came by p means for the selection. */
void transport_path_checked(struct transport_path *p, const struct ice_lite_in *in);
void transport_path_media(struct transport_path *p);

/* --- transport.c */

/* For demux_add() and demux_del(). NULL: no memory. */
struct transport *transport_new(struct demux *d, void *user);
void transport_free(struct transport *t);
/* A STUN message whose username names t. */
enum transport_verdict transport_stun(struct transport *t, const struct stun_msg *m,
                                      const struct media_path *from);
enum transport_verdict transport_dtls(struct transport_path *p, uint8_t *dgram, size_t len);
enum transport_verdict transport_rtp(struct transport_path *p, uint8_t *dgram, size_t len,
                                     struct transport_in *in);
/* Something authentic came by p. */
void transport_heard(struct transport_path *p);
/* The selection has changed: t->selected may be NULL. */
void transport_selected(struct transport *t, bool moved);
uint64_t transport_deadline(const struct transport *t);
void transport_tick(struct transport *t);

#endif
