/* What each end reason means to SIP, CallKit and the missed-call list (docs/SIGNALING.md §5).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_REASON_H
#define SORI_SERVER_CALL_REASON_H

#include "proto/sig.h"

/* The SIP status that fits: 200, 403, 408, 480, 486, 487, 500, 603; 0 for SIG_REASON_NONE. */
unsigned call_reason_sip(enum sig_reason r);

/* CXCallEndedReason's case name, as push payloads carry it; "" for SIG_REASON_NONE. */
const char *call_reason_callkit(enum sig_reason r);

/* Whether a callee that never answered has missed the call. */
bool call_reason_missed(enum sig_reason r, bool busy_is_missed);

/* What the other ringing devices hear when one of them ended the ringing with r: declined ->
 * declined_elsewhere, busy -> busy_elsewhere, any other rejection -> declined_elsewhere. */
enum sig_reason call_reason_elsewhere(enum sig_reason r);

#endif
