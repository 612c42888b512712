/* The ICE side of one transport: a lite agent (RFC 8445 §2.5), always controlled.
 *
 * It answers checks. What a check proves is that the sender knows our password, and that our answer
 * went to the address it came from; what it says is whether the client nominates that path. Which
 * path is selected is transport.c's business. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_ICE_LITE_H
#define SORI_SFU_ICE_LITE_H

#include "base/addr.h"
#include "proto/stun.h"

enum {
    ICE_LITE_UFRAG_BYTES = 8,  /* 48 random bits (RFC 8445 §5.3: 24 at least) */
    ICE_LITE_PWD_BYTES = 24,   /* 144 random bits (128 at least) */
    ICE_LITE_ANSWER_MAX = 128, /* bytes of an answer */
};

struct ice_credentials {
    char ufrag[ICE_LITE_UFRAG_BYTES];
    char pwd[ICE_LITE_PWD_BYTES];
};

struct ice_lite {
    struct ice_credentials cur, old; /* old: of before an ICE restart */
    bool has_old;                    /* until the first path of the new ones is nominated */
};

enum ice_lite_verdict {
    ICE_LITE_DROP,       /* nothing to say; out->why tells the reason */
    ICE_LITE_REFUSE,     /* an error answer was written, unauthenticated: limit these by source */
    ICE_LITE_CHECK,      /* authentic: the answer was written, out tells more */
    ICE_LITE_CONFLICT,   /* authentic, but the role is wrong: the 487 was written */
    ICE_LITE_INDICATION, /* a keepalive */
};

enum ice_lite_why {
    ICE_LITE_WHY_NONE,
    ICE_LITE_WHY_NOT_BINDING,  /* another method, or an answer: we never ask */
    ICE_LITE_WHY_NO_USERNAME,  /* 400 */
    ICE_LITE_WHY_USERNAME,     /* 401: not ours */
    ICE_LITE_WHY_NO_INTEGRITY, /* 400 */
    ICE_LITE_WHY_INTEGRITY,    /* 401 */
    ICE_LITE_WHY_UNKNOWN_ATTR, /* 420 */
    ICE_LITE_WHY_NO_PRIORITY,  /* 400 */
    ICE_LITE_WHY_ROLE,         /* 487 */
};

struct ice_lite_in {
    enum ice_lite_why why;
    bool use_candidate;
    bool has_nomination; /* libwebrtc's renomination */
    uint32_t nomination;
    uint32_t priority;
    bool is_new; /* made with the current credentials, not those of before the restart */
};

/* Draws credentials. */
void ice_lite_init(struct ice_lite *ice);
/* ICE restart: draws new ones; those of before go on to be valid until ice_lite_settle(). */
void ice_lite_restart(struct ice_lite *ice);
/* The new ones are in use (a path was nominated with them): forgets those of before. */
void ice_lite_settle(struct ice_lite *ice);

/* Our part of a USERNAME ("ours:theirs", RFC 8445 §7.2.2); empty when there is no colon or the
 * length is not that of ours. */
struct slice ice_lite_local_ufrag(struct slice username);

/* Judges one message and writes the answer, if there is one, to w (ICE_LITE_ANSWER_MAX). */
enum ice_lite_verdict ice_lite_recv(const struct ice_lite *ice, const struct stun_msg *m,
                                    const struct addr *from, struct ice_lite_in *out, struct wr *w);

/* Writes the answer for a request whose username nobody knows: 400 or 401. */
void ice_lite_refuse(const struct stun_msg *m, enum ice_lite_why why, struct wr *w);

#endif
