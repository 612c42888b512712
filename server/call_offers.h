/* Which session descriptions may cross after the claim: one outstanding offer per side, and who
 * gives way when both sides offer at once (W3C WebRTC §10.7, perfect negotiation; the callee is the
 * polite peer). Values; pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_OFFERS_H
#define SORI_SERVER_CALL_OFFERS_H

#include "proto/sig_client.h"

enum { CALL_SIDE_CALLER, CALL_SIDE_CALLEE };

struct call_offers {
    struct {
        bool open;         /* offered and neither answered nor rolled back */
        uint64_t until_us; /* blocks a second offer until then */
        uint8_t id_len;
        char id[SIG_ID_MAX];
    } _of[2];
};

/* Judges a description that `side` wants to send. Returns SIG_OK (pass it on), SIG_ERR_CALL_GLARE,
 * or SIG_ERR_CALL_INVALID_STATE: a second offer within CALL_NEGOTIATE_LIFE_US of an unanswered one,
 * an answer or rollback without its offer. `fresh` offers start over and always pass. */
enum sig_err call_offers_judge(struct call_offers *o, int side, const struct sig_negotiate *n,
                               uint64_t now_us);

#endif
