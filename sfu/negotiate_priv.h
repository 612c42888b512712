/* What the negotiate_*.c files share: a description as it was read, and the state.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_NEGOTIATE_PRIV_H
#define SORI_SFU_NEGOTIATE_PRIV_H

#include "proto/sdp_attr.h"
#include "sfu/negotiate.h"

enum {
    NEG_FORMATS_MAX = 96, /* of a section that are looked at, in the client's order */
    NEG_SSRCS_MAX = 16,   /* a=ssrc lines with new numbers of one section; more is NEG_E_LIMIT */
    NEG_RIDS_MAX = 8,     /* streams of an a=simulcast line that are looked at */
    NEG_GROUPS_MAX = 8,   /* a=ssrc-group lines; more is NEG_E_LIMIT */
    NEG_TOKEN_MAX = 32,   /* media and proto of a section that we can't use, for the answer */
    NEG_FORMATS_TEXT_MAX = 64,
};

/* --- A description, read (negotiate_read.c). Slices borrow from its text. */

struct neg_format {
    uint8_t pt, codec /* enum rtp_codec */, channels, fb;
    uint32_t clock;
    struct slice name, fmtp;
};

struct neg_ext {
    uint8_t id;        /* 0: not there */
    uint8_t direction; /* enum sdp_direction, the describer's */
};

struct neg_ssrc {
    uint32_t ssrc;
    struct slice cname, msid;
};

/* Attributes of the transport: of the session or of one section. */
struct neg_transport {
    struct slice ufrag, pwd;
    unsigned ice_line, setup_line, fingerprint_line;
    struct neg_fingerprint fingerprint[NEG_FINGERPRINTS_MAX];
    uint8_t n_fingerprints;
    bool weak, bad; /* a fingerprint of a weak hash, or that is none */
    bool has_setup, bad_setup;
    enum sdp_setup setup;
    bool trickle, renomination;
};

struct neg_described {
    unsigned line; /* of its m= line */
    struct slice mid, media, proto, formats;
    enum rtp_kind kind;           /* RTP_KIND_COUNT: of no use */
    bool rejected;                /* port 0 and not bundle-only */
    unsigned bundle_place;        /* of its mid in the BUNDLE group, from 0; UINT_MAX: not in it */
    enum sdp_direction direction; /* the describer's */
    bool rtcp_mux, rsize, ext_mixed, vad, xr_rtt;
    struct neg_transport transport;

    struct neg_format format[NEG_FORMATS_MAX];
    unsigned n_formats;
    struct neg_ext ext[RTP_EXT_COUNT];

    struct sdp_simulcast simulcast;
    const struct sdp_section *section;
    struct neg_ssrc ssrc[NEG_SSRCS_MAX];
    unsigned n_ssrcs;
    struct sdp_ssrc_group group[NEG_GROUPS_MAX];
    unsigned n_groups;
    struct sdp_msid msid;

    uint16_t sctp_port;
    uint32_t max_message_size;
};

/* The session's part. */
struct neg_session {
    struct slice bundle; /* the mids of the first BUNDLE group */
    bool has_bundle, ext_mixed, ice_lite;
    unsigned ice_lite_line;
    enum sdp_direction direction;
    struct neg_transport transport;
};

/* Fills *e; gives -EPROTO, for `return`. */
int neg_fail(struct neg_error *e, enum neg_error_code code, unsigned line);

/* Parses text and reads the session's part. Returns 0, -EPROTO or -EMSGSIZE with *e. */
int neg_read_session(struct neg_session *out, struct sdp *sdp, struct slice text,
                     struct neg_error *e);
/* Reads section i. Returns 0, or -EPROTO with *e. */
int neg_read_section(struct neg_described *out, const struct neg_session *session,
                     const struct sdp *sdp, unsigned i, struct neg_error *e);
/* The client's tracks in the section: layers, msid, cname. Returns 0, or -EPROTO with *e. */
int neg_read_streams(struct neg_section *out, const struct neg_described *d, unsigned layers_max,
                     struct neg_error *e);

/* --- Formats (negotiate_codec.c). */

/* A list of formats that several sections share: sections of one kind mostly have the same one, and
 * a client with fifty slots would have fifty copies. Counted, because sections come and go. */
struct neg_codecs {
    unsigned refs, n;
    struct neg_codec codec[];
};

/* Chooses from the formats of a section by the policy: the list of the answer, in its order. */
unsigned neg_codecs_choose(struct neg_codec out[NEG_CODECS_MAX], const struct neg_described *d,
                           const struct codec_policy *policy);
/* The list of our own offers. */
unsigned neg_codecs_ours(struct neg_codec out[NEG_CODECS_MAX], enum rtp_kind kind,
                         const struct codec_policy *policy);

/* Payload types in use in one bundle, to see that each means one thing. */
struct neg_pt_use {
    uint8_t codec, channels, profile, mode, of /* RTX, RED: the format that they go with */;
    bool old;
    uint32_t clock;
};
struct neg_pt_table {
    struct neg_pt_use v[RTP_PT_MAX + 1];
};
/* Adds a list. old: of the description in force. Returns NEG_OK, NEG_E_PT_CLASH or
 * NEG_E_PT_CHANGED.
 */
enum neg_error_code neg_pt_table_add(struct neg_pt_table *t, const struct neg_codec *codec,
                                     unsigned n, bool old);

/* --- State (negotiate.c). */

struct neg_entry {
    struct neg_section pub;
    struct neg_codecs *codecs;
    struct neg_ext ext[RTP_EXT_COUNT]; /* agreed to; direction is ours */
    /* Of a section that we can't use. */
    char media[NEG_TOKEN_MAX + 1], proto[NEG_TOKEN_MAX + 1], formats[NEG_FORMATS_TEXT_MAX + 1];
    /* We offer: whether the section is used as the caller wants it, as the awaited offer says, and
     * as the last answered one said; its a=msid. */
    bool want, asked, told;
    char msid_stream[NEG_MSID_MAX + 1], msid_track[NEG_MSID_MAX + 1];
    bool msid_new, msid_asked; /* not in an offer yet; only in the awaited one */
};

struct negotiation {
    struct codec_policy policy;
    struct neg_limits limits;
    bool we_offer, in_force, awaiting;
    bool ext_mixed; /* at the session's level */
    uint64_t session_id, version;
    struct neg_remote remote;
    uint8_t ext_map[256];
    unsigned tag; /* the section that the bundle's transport is described in */
    struct neg_entry *entry;
    unsigned n, cap;
    uint32_t edition;   /* grows whenever entries move or change */
    unsigned n_offered; /* we offer: sections of the awaited offer */
};

/* True for a data section that we answer with port 0, outside of the bundle: it is the one thing
 * that makes a client's data channels close (RFC 8829 §5.10), and no transceiver ends with it. The
 * section that describes the transport cannot be answered so. */
bool neg_data_closed(const struct negotiation *n, unsigned i);

/* --- Printing (negotiate_write.c). */

/* Writes the offer that the entries' `asked` tell. */
void neg_write_offer(const struct negotiation *n, const struct neg_local *local, struct wr *w);

#endif
