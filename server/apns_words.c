/* The words for what becomes of a push, as in metrics, log lines and the push log.
 *
 * Called by apns_metrics.c, router_record.c and push.c. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns.h"

const char *apns_env_name(enum apns_env e)
{
    static const char *const names[] = {"unknown", "production", "sandbox"};

    return (unsigned)e < ARRAY_LEN(names) ? names[e] : names[0];
}

const char *apns_result_name(enum apns_result r)
{
    static const char *const names[APNS_RESULT_COUNT] = {"accepted",     "token_gone", "token_bad",
                                                         "token_parked", "rejected",   "gave_up"};

    return (unsigned)r < APNS_RESULT_COUNT ? names[r] : "";
}

const char *apns_why_name(enum apns_why w)
{
    static const char *const names[APNS_WHY_COUNT] = {
        [APNS_WHY_NONE] = "",
        [APNS_WHY_DEADLINE] = "deadline",
        [APNS_WHY_NO_CONNECTION] = "no_connection",
        [APNS_WHY_UNCERTAIN] = "uncertain",
        [APNS_WHY_STOPPED] = "stopped",
        [APNS_WHY_NO_KEY] = "no_key",
        [APNS_WHY_BUSY] = "busy",
        [APNS_WHY_SERVER] = "server",
        [APNS_WHY_MASS] = "mass",
        [APNS_WHY_FULL] = "full",
        [APNS_WHY_CONTENT] = "content",
        [APNS_WHY_CANCELLED] = "cancelled",
        [APNS_WHY_MEMORY] = "memory",
    };

    return (unsigned)w < APNS_WHY_COUNT ? names[w] : "";
}
