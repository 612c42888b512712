/* A lite agent's answers to connectivity checks (RFC 8445 §7.3, RFC 8489 §9.1.3).
 *
 * Called by demux.c (whose ufrag is it?) and transport.c. Pure but for the random credentials.
 *
 *   no USERNAME or no MESSAGE-INTEGRITY   400      RFC 8489 §9.1.3
 *   not our ufrag, wrong integrity        401
 *   unknown attributes below 0x8000       420
 *   no PRIORITY                           400      RFC 8445 §7.1.1
 *   ICE-CONTROLLED                        487      §7.3.1.1: a lite agent never controls
 *
 * A request with neither role comes from an older agent; its role can't be in conflict (§7.3.1.1).
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/ice_lite.h"

#include "base/crypto.h"
#include "base/rand.h"
#include "proto/stun_attr.h"

enum {
    ATTR_PRIORITY = 0x0024,        /* RFC 8445 §16.1 */
    ATTR_USE_CANDIDATE = 0x0025,   /* RFC 8445 §16.1 */
    ATTR_ICE_CONTROLLED = 0x8029,  /* RFC 8445 §16.1 */
    ATTR_ICE_CONTROLLING = 0x802A, /* RFC 8445 §16.1 */
    ATTR_NOMINATION = 0xC001,      /* draft-thatcher-ice-renomination-01 */
    ERR_ROLE_CONFLICT = 487,       /* RFC 8445 §16.2 */
    UNKNOWN_MAX = 8,               /* types that a 420 names */
};

/* ice-char (RFC 8839 §5.4). */
static void draw(char *out, size_t n)
{
    static const char alphabet[64] = {
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"};
    uint8_t raw[ICE_LITE_PWD_BYTES];

    rand_bytes(raw, n);
    for (size_t i = 0; i < n; i++)
        out[i] = alphabet[raw[i] % 64];
    crypto_wipe(raw, sizeof(raw));
}

static void credentials_draw(struct ice_credentials *c)
{
    draw(c->ufrag, sizeof(c->ufrag));
    draw(c->pwd, sizeof(c->pwd));
}

void ice_lite_init(struct ice_lite *ice)
{
    *ice = (struct ice_lite){0};
    credentials_draw(&ice->cur);
}

void ice_lite_restart(struct ice_lite *ice)
{
    ice->old = ice->cur;
    ice->has_old = true;
    credentials_draw(&ice->cur);
}

void ice_lite_settle(struct ice_lite *ice)
{
    crypto_wipe(&ice->old, sizeof(ice->old));
    ice->has_old = false;
}

struct slice ice_lite_local_ufrag(struct slice username)
{
    struct slice ours = slice_sub(username, 0, ICE_LITE_UFRAG_BYTES);

    if (username.len <= ICE_LITE_UFRAG_BYTES || username.p[ICE_LITE_UFRAG_BYTES] != ':')
        return (struct slice){0};
    return ours;
}

static bool known(uint16_t type)
{
    switch (type) {
    case STUN_ATTR_USERNAME:
    case STUN_ATTR_MESSAGE_INTEGRITY:
    case STUN_ATTR_MESSAGE_INTEGRITY_SHA256:
    case STUN_ATTR_XOR_MAPPED_ADDRESS:
    case STUN_ATTR_MAPPED_ADDRESS:
    case ATTR_PRIORITY:
    case ATTR_USE_CANDIDATE:
        return true;
    default:
        return type >= STUN_ATTR_OPTIONAL_MIN;
    }
}

/* Writes the types that must be understood and are not. Returns whether there are any. */
static bool put_unknown(const struct stun_msg *m, struct wr *types)
{
    struct slice at = m->attrs;
    struct stun_attr a;

    while (stun_next(&at, &a)) {
        if (!known(a.type) && types->len < types->cap)
            wr_be16(types, a.type);
    }
    return types->len > 0;
}

static void begin(const struct stun_msg *m, enum stun_class class, struct wr *w)
{
    stun_begin(w, stun_type(STUN_BINDING, class), m->tid);
}

void ice_lite_refuse(const struct stun_msg *m, enum ice_lite_why why, struct wr *w)
{
    begin(m, STUN_ERROR, w);
    stun_put_error(w,
                   why == ICE_LITE_WHY_USERNAME || why == ICE_LITE_WHY_INTEGRITY
                       ? STUN_ERR_UNAUTHENTICATED
                       : STUN_ERR_BAD_REQUEST,
                   false);
    stun_put_fingerprint(w);
}

/* Authentic requests get authentic answers. */
static void finish(struct wr *w, struct slice pwd)
{
    stun_put_sha1(w, pwd);
    stun_put_fingerprint(w);
}

static enum ice_lite_verdict refuse_authentic(const struct stun_msg *m, struct slice pwd,
                                              enum ice_lite_why why, struct slice unknown,
                                              struct wr *w)
{
    begin(m, STUN_ERROR, w);
    if (why == ICE_LITE_WHY_ROLE)
        stun_put_error(w, (enum stun_error)ERR_ROLE_CONFLICT, false);
    else if (why == ICE_LITE_WHY_UNKNOWN_ATTR)
        stun_put_error(w, STUN_ERR_UNKNOWN_ATTRIBUTE, false);
    else
        stun_put_error(w, STUN_ERR_BAD_REQUEST, false);
    if (unknown.len > 0)
        stun_put(w, STUN_ATTR_UNKNOWN_ATTRIBUTES, unknown);
    finish(w, pwd);
    return ICE_LITE_CONFLICT;
}

/* A request that was made with the password of c. */
static enum ice_lite_verdict check(const struct stun_msg *m, struct slice pwd,
                                   const struct addr *from, struct ice_lite_in *out, struct wr *w)
{
    uint8_t types[2 * UNKNOWN_MAX];
    struct wr unknown = wr_init(types, sizeof(types));
    struct slice v;

    if (put_unknown(m, &unknown))
        out->why = ICE_LITE_WHY_UNKNOWN_ATTR;
    else if (stun_find(m, (enum stun_attr_type)ATTR_ICE_CONTROLLED, &v))
        out->why = ICE_LITE_WHY_ROLE;
    else if (!stun_find(m, (enum stun_attr_type)ATTR_PRIORITY, &v) ||
             stun_u32_decode(&out->priority, v) != 0)
        out->why = ICE_LITE_WHY_NO_PRIORITY;
    if (out->why)
        return refuse_authentic(m, pwd, out->why, wr_done(&unknown), w);
    out->use_candidate = stun_find(m, (enum stun_attr_type)ATTR_USE_CANDIDATE, &v);
    out->has_nomination = stun_find(m, (enum stun_attr_type)ATTR_NOMINATION, &v) &&
                          stun_u32_decode(&out->nomination, v) == 0;
    begin(m, STUN_SUCCESS, w);
    stun_put_xaddr(w, STUN_ATTR_XOR_MAPPED_ADDRESS, from, m->tid);
    finish(w, pwd);
    return ICE_LITE_CHECK;
}

static enum ice_lite_verdict refuse(const struct stun_msg *m, enum ice_lite_why why,
                                    struct ice_lite_in *out, struct wr *w)
{
    out->why = why;
    ice_lite_refuse(m, why, w);
    return ICE_LITE_REFUSE;
}

enum ice_lite_verdict ice_lite_recv(const struct ice_lite *ice, const struct stun_msg *m,
                                    const struct addr *from, struct ice_lite_in *out, struct wr *w)
{
    struct slice user;

    *out = (struct ice_lite_in){0};
    if (stun_method_of(m->type) != STUN_BINDING ||
        (stun_class_of(m->type) != STUN_REQUEST && stun_class_of(m->type) != STUN_INDICATION)) {
        out->why = ICE_LITE_WHY_NOT_BINDING;
        return ICE_LITE_DROP;
    }
    if (stun_class_of(m->type) == STUN_INDICATION)
        return ICE_LITE_INDICATION; /* RFC 8445 §11: a keepalive, says and proves nothing */
    if (!stun_find(m, STUN_ATTR_USERNAME, &user))
        return refuse(m, ICE_LITE_WHY_NO_USERNAME, out, w);
    if (m->mi_at == 0) /* browsers know SHA-1 only, and we named no other */
        return refuse(m, ICE_LITE_WHY_NO_INTEGRITY, out, w);
    struct slice ours = ice_lite_local_ufrag(user);
    out->is_new = slice_eq(ours, slice_of(ice->cur.ufrag, sizeof(ice->cur.ufrag)));
    bool is_old = ice->has_old && slice_eq(ours, slice_of(ice->old.ufrag, sizeof(ice->old.ufrag)));
    if (!out->is_new && !is_old)
        return refuse(m, ICE_LITE_WHY_USERNAME, out, w);
    const struct ice_credentials *c = out->is_new ? &ice->cur : &ice->old;
    struct slice pwd = slice_of(c->pwd, sizeof(c->pwd));
    if (!stun_verify_sha1(m, pwd))
        return refuse(m, ICE_LITE_WHY_INTEGRITY, out, w);
    return check(m, pwd, from, out, w);
}
