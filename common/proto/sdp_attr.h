/* Values of the attributes that WebRTC's descriptions use: decoded from and written as a=… lines.
 *
 * Each _decode takes an attribute's value (struct sdp_line's arg), writes *out on success only,
 * lets it borrow from the value, and returns 0 or -EBADMSG. What a decoder skips (fields it does
 * not know) is said at its struct. Each _put writes one whole line. Pure; any thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_SDP_ATTR_H
#define SORI_PROTO_SDP_ATTR_H

#include "base/addr.h"
#include "proto/sdp.h"

enum {
    SDP_GROUP_SSRCS_MAX = 8, /* of one a=ssrc-group */
    SDP_DIGEST_MAX = 64,
    SDP_EXT_ID_MAX = 255, /* ids above (4096 …, RFC 8285 §7) are for negotiation only */
};

/* --- Directions (RFC 8866 §6.7), as bits of the one who wrote the description. */
enum sdp_direction { SDP_INACTIVE = 0, SDP_SENDONLY = 1, SDP_RECVONLY = 2, SDP_SENDRECV = 3 };

/* Reads an attribute *name*; false when it is no direction. */
bool sdp_direction_decode(enum sdp_direction *out, struct slice name);
const char *sdp_direction_name(enum sdp_direction d);

/* --- a=setup (RFC 4145 §4, RFC 8842). */
enum sdp_setup { SDP_ACTPASS, SDP_ACTIVE, SDP_PASSIVE, SDP_HOLDCONN };
int sdp_setup_decode(enum sdp_setup *out, struct slice arg);
const char *sdp_setup_name(enum sdp_setup s);

/* --- a=rtpmap (RFC 8866 §6.6). */
struct sdp_rtpmap {
    uint8_t pt;
    uint8_t channels; /* 1 when not given */
    uint32_t clock;
    struct slice name;
};
int sdp_rtpmap_decode(struct sdp_rtpmap *out, struct slice arg);
void sdp_rtpmap_put(struct wr *w, const struct sdp_rtpmap *m);

/* --- a=fmtp (RFC 8866 §6.15): params is all behind the payload type. */
struct sdp_fmtp {
    uint8_t pt;
    struct slice params;
};
int sdp_fmtp_decode(struct sdp_fmtp *out, struct slice arg);
void sdp_fmtp_put(struct wr *w, const struct sdp_fmtp *f);

/* Takes the next "name=value" (or bare "value": name is then empty) off *params, which semicolons
 * separate. False: there is none. */
bool sdp_param_next(struct slice *params, struct slice *name, struct slice *value);
/* The value of one parameter, any case. False: it is not there. */
bool sdp_param(struct slice params, const char *name, struct slice *value);
/* The same as a number up to max; otherwise when it is not there or not a number. */
uint64_t sdp_param_u64(struct slice params, const char *name, uint64_t max, uint64_t otherwise);

/* --- a=rtcp-fb (RFC 4585 §4.2). */
#define SDP_PT_ANY 0xff /* "*" */
struct sdp_rtcp_fb {
    uint8_t pt;
    struct slice type, param; /* "nack", "pli"; param may be empty */
};
int sdp_rtcp_fb_decode(struct sdp_rtcp_fb *out, struct slice arg);
void sdp_rtcp_fb_put(struct wr *w, const struct sdp_rtcp_fb *f);

/* --- a=extmap (RFC 8285 §5). */
struct sdp_extmap {
    uint16_t id;                  /* 1 to SDP_EXT_ID_MAX, or 4096 to 4351 */
    enum sdp_direction direction; /* SENDRECV when not given */
    struct slice uri, attributes;
};
int sdp_extmap_decode(struct sdp_extmap *out, struct slice arg);
void sdp_extmap_put(struct wr *w, const struct sdp_extmap *m);

/* --- a=fingerprint (RFC 8122 §5). */
struct sdp_fingerprint {
    struct slice hash; /* "sha-256", in any case */
    uint8_t digest[SDP_DIGEST_MAX];
    uint8_t len; /* as many bytes as there were: the caller compares with the hash's size */
};
int sdp_fingerprint_decode(struct sdp_fingerprint *out, struct slice arg);
void sdp_fingerprint_put(struct wr *w, const struct sdp_fingerprint *f);

/* --- a=ssrc and a=ssrc-group (RFC 5576 §4). */
struct sdp_ssrc {
    uint32_t ssrc;
    struct slice name, value; /* "cname", "…"; value may be empty */
};
int sdp_ssrc_decode(struct sdp_ssrc *out, struct slice arg);
void sdp_ssrc_put(struct wr *w, const struct sdp_ssrc *s);

struct sdp_ssrc_group {
    struct slice semantics; /* "FID", "SIM", "FEC-FR" */
    uint32_t ssrc[SDP_GROUP_SSRCS_MAX];
    unsigned n; /* a longer group does not decode */
};
int sdp_ssrc_group_decode(struct sdp_ssrc_group *out, struct slice arg);
void sdp_ssrc_group_put(struct wr *w, const struct sdp_ssrc_group *g);

/* --- a=msid (RFC 8830 §2); track may be empty. */
struct sdp_msid {
    struct slice stream, track;
};
int sdp_msid_decode(struct sdp_msid *out, struct slice arg);
void sdp_msid_put(struct wr *w, const struct sdp_msid *m);

/* --- a=rid (RFC 8851 §4). */
struct sdp_rid {
    struct slice id, params; /* params: as of fmtp, "max-width=…;…"; "pt=…" among them */
    bool send;
};
int sdp_rid_decode(struct sdp_rid *out, struct slice arg);
void sdp_rid_put(struct wr *w, const struct sdp_rid *r);

/* --- a=simulcast (RFC 8853 §5.1): each direction's streams, empty when not given. */
struct sdp_simulcast {
    struct slice send, recv;
};
int sdp_simulcast_decode(struct sdp_simulcast *out, struct slice arg);
void sdp_simulcast_put(struct wr *w, const struct sdp_simulcast *s);
/* Takes the next stream off *list: the first of its alternatives. False: there is none. */
bool sdp_simulcast_next(struct slice *list, struct slice *rid, bool *paused);

/* --- a=candidate (RFC 8839 §5.1, RFC 6544 §4.5). Fields behind tcptype are skipped, related
 * addresses too. */
enum sdp_candidate_type { SDP_HOST, SDP_SRFLX, SDP_PRFLX, SDP_RELAY };
enum sdp_tcptype { SDP_TCP_NONE, SDP_TCP_ACTIVE, SDP_TCP_PASSIVE, SDP_TCP_SO };
struct sdp_candidate {
    struct slice foundation;
    uint16_t component; /* 1 to 256 */
    bool tcp;
    uint32_t priority;
    struct slice host; /* as written: an address or a name (mDNS) */
    struct addr addr;  /* ADDR_NONE for a name */
    uint16_t port;
    enum sdp_candidate_type type;
    enum sdp_tcptype tcptype;
};
int sdp_candidate_decode(struct sdp_candidate *out, struct slice arg);
void sdp_candidate_put(struct wr *w, const struct sdp_candidate *c); /* host is not read: addr is */

#endif
