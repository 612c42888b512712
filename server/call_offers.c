/* Offers and answers after the claim: who may send what now.
 *
 * Called by call_up.c. Pure.
 *
 *     idle --offer--> open --answer of the other side, rollback of this side--> idle
 *                     open --10 s--> may offer again (a late answer still fits the last offer)
 *     both open: the caller's stays, the callee's is gone: its browser rolls back
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_offers.h"

#include "server/call.h"

static bool id_is(const struct call_offers *o, int side, struct slice id)
{
    return o->_of[side].open && slice_eq(slice_of(o->_of[side].id, o->_of[side].id_len), id);
}

static bool blocks(const struct call_offers *o, int side, uint64_t now_us)
{
    return o->_of[side].open && now_us < o->_of[side].until_us;
}

static enum sig_err judge_offer(struct call_offers *o, int side, const struct sig_negotiate *n,
                                uint64_t now_us)
{
    int other = 1 - side;

    if (!n->fresh) {
        if (blocks(o, side, now_us))
            return SIG_ERR_CALL_INVALID_STATE;
        if (side == CALL_SIDE_CALLEE && blocks(o, other, now_us))
            return SIG_ERR_CALL_GLARE;
    }
    o->_of[other].open = false;
    o->_of[side].open = true;
    o->_of[side].until_us = now_us + CALL_NEGOTIATE_LIFE_US;
    o->_of[side].id_len = (uint8_t)n->id.len;
    memcpy(o->_of[side].id, n->id.p, n->id.len);
    return SIG_OK;
}

enum sig_err call_offers_judge(struct call_offers *o, int side, const struct sig_negotiate *n,
                               uint64_t now_us)
{
    if (n->id.len == 0 || n->id.len > SIG_ID_MAX)
        return SIG_ERR_BAD_REQUEST;
    if (n->sdp == SIG_SDP_OFFER)
        return judge_offer(o, side, n, now_us);

    int offerer = n->sdp == SIG_SDP_ANSWER ? 1 - side : side;
    if (!id_is(o, offerer, n->id))
        return SIG_ERR_CALL_INVALID_STATE;
    o->_of[offerer].open = false;
    return SIG_OK;
}
