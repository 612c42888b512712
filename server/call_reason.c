/* The end-reason table (docs/SIGNALING.md §5; SIP codes of RFC 3261 §21 and RFC 3326).
 *
 * Called by call.c and call_fx.c, and by whoever writes call records and pushes. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_reason.h"

static const struct {
    unsigned sip;
    const char *callkit;
    bool missed;
} reasons[SIG_REASON_COUNT] = {
    [SIG_REASON_NONE] = {0, "", false},
    [SIG_REASON_HANGUP] = {200, "remoteEnded", false},
    [SIG_REASON_CANCELLED] = {487, "remoteEnded", true},
    [SIG_REASON_TIMEOUT] = {408, "unanswered", true},
    [SIG_REASON_UNREACHABLE] = {480, "failed", true},
    [SIG_REASON_DECLINED] = {603, "remoteEnded", false},
    [SIG_REASON_BUSY] = {486, "remoteEnded", true}, /* unless busy_is_missed says no */
    [SIG_REASON_ANSWERED_ELSEWHERE] = {200, "answeredElsewhere", false},
    [SIG_REASON_DECLINED_ELSEWHERE] = {603, "declinedElsewhere", false},
    [SIG_REASON_BUSY_ELSEWHERE] = {486, "declinedElsewhere", false},
    [SIG_REASON_FORBIDDEN] = {403, "failed", false},
    [SIG_REASON_NEED_PERMISSION] = {403, "failed", false},
    [SIG_REASON_SUPERSEDED] = {200, "remoteEnded", false},
    [SIG_REASON_GLARE] = {200, "remoteEnded", false},
    [SIG_REASON_ROOM_MIGRATED] = {200, "remoteEnded", false},
    [SIG_REASON_MEDIA_FAILED] = {500, "failed", false},
    [SIG_REASON_CONNECTION_LOST] = {500, "failed", false},
    [SIG_REASON_MAX_DURATION] = {487, "remoteEnded", false},
    [SIG_REASON_ADMIN] = {487, "remoteEnded", false},
    [SIG_REASON_SERVER_ERROR] = {500, "failed", false},
};

static enum sig_reason row(enum sig_reason r)
{
    return (unsigned)r < SIG_REASON_COUNT ? r : SIG_REASON_SERVER_ERROR;
}

unsigned call_reason_sip(enum sig_reason r)
{
    return reasons[row(r)].sip;
}

const char *call_reason_callkit(enum sig_reason r)
{
    return reasons[row(r)].callkit;
}

bool call_reason_missed(enum sig_reason r, bool busy_is_missed)
{
    return reasons[row(r)].missed && (r != SIG_REASON_BUSY || busy_is_missed);
}

enum sig_reason call_reason_elsewhere(enum sig_reason r)
{
    return r == SIG_REASON_BUSY ? SIG_REASON_BUSY_ELSEWHERE : SIG_REASON_DECLINED_ELSEWHERE;
}
