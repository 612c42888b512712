/* Connectivity checks as a controlling agent makes them (RFC 8445 §7.2.4).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_ICE_CHECK_H
#define SORI_TESTS_LIB_ICE_CHECK_H

#include "proto/stun.h"
#include "proto/stun_attr.h"

struct ice_check {
    struct slice ufrag, pwd; /* of the agent that is checked */
    bool nominate, controlled, no_role, no_priority, no_username, no_integrity;
    uint32_t priority;   /* 0: 1862270975 */
    uint32_t nomination; /* 0: none */
    uint16_t unknown;    /* an attribute of this type; 0: none */
    uint8_t tid;
};

/* Writes the check to buf. Returns it. */
static inline struct slice ice_check_make(const struct ice_check *c, uint8_t *buf, size_t cap)
{
    struct wr w = wr_init(buf, cap);
    uint8_t tid[STUN_TID_BYTES] = {c->tid, 1, 2, 3}, name[64];
    struct wr n = wr_init(name, sizeof(name));

    stun_begin(&w, stun_type(STUN_BINDING, STUN_REQUEST), tid);
    wr_bytes(&n, c->ufrag);
    wr_str(&n, ":them");
    if (!c->no_username)
        stun_put(&w, STUN_ATTR_USERNAME, wr_done(&n));
    stun_put_u32(&w, (enum stun_attr_type)0xC057, 0x000003e7); /* network cost, as Chromium sends */
    if (!c->no_role)
        stun_put(&w, (enum stun_attr_type)(c->controlled ? 0x8029 : 0x802A),
                 SLICE_LIT("\1\2\3\4\5\6\7\10"));
    if (c->nominate)
        stun_put(&w, (enum stun_attr_type)0x0025, (struct slice){0});
    if (c->nomination)
        stun_put_u32(&w, (enum stun_attr_type)0xC001, c->nomination);
    if (!c->no_priority)
        stun_put_u32(&w, (enum stun_attr_type)0x0024, c->priority ? c->priority : 1862270975u);
    if (c->unknown)
        stun_put_u32(&w, (enum stun_attr_type)c->unknown, 1);
    if (!c->no_integrity)
        stun_put_sha1(&w, c->pwd);
    stun_put_fingerprint(&w);
    return wr_done(&w);
}

#endif
