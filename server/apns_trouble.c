/* Keys that Apple does not take: they rest, one push tries them out, an operator is told.
 *
 *     works --apns_key_stop--> stopped --pause over, a push is out--> probing --apns_key_works-->
 * works ^                                      |
 *                                 '-------------apns_key_stop------------'  twice the pause
 *
 * Called by apns_judge.c (what answers say), apns_flight.c (may it send?) and apns.c. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns_priv.h"

#include "base/log.h"

static const char *key_trouble(enum apns_reason r)
{
    switch (r) {
    case APNS_ExpiredProviderToken:
        return "APNs calls a token expired that was just made: is this machine's clock right?";
    case APNS_InvalidProviderToken:
        return "APNs refuses the provider token: check team_id, key_id, key_file and the clock";
    case APNS_BadEnvironmentKeyIdInToken:
    case APNS_BadEnvironmentKeyInToken:
        return "APNs says that the key is for the other environment (production or sandbox)";
    case APNS_BadCertificate:
    case APNS_BadCertificateEnvironment:
        return "APNs refuses the certificate: is it for this app and environment, and in force?";
    case APNS_MissingProviderToken:
        return "APNs wants a provider token or certificate: check [app] key_file and cert_file";
    case APNS_Forbidden:
        return "APNs forbids this key to send: was it revoked?";
    default:
        return "APNs does not accept the key or certificate";
    }
}

void apns_set_trouble(struct apns *a)
{
    const char *what = NULL;

    for (size_t i = 0; i < a->keys_n && !what; i++)
        if (a->keys[i].stopped)
            what = a->keys[i].trouble;
    for (size_t i = 0; i < a->apps_n && !what; i++)
        if (a->apps[i].guard[0].tripped || a->apps[i].guard[1].tripped)
            what = "APNs rejects every token of an app: wrong topic or environment? No token is "
                   "marked bad";
    __atomic_store_n(&a->trouble, what, __ATOMIC_RELAXED);
}

const char *apns_trouble(const struct apns *a)
{
    return __atomic_load_n(&a->trouble, __ATOMIC_RELAXED);
}

void apns_key_stop(struct apns *a, struct apns_ident *k, enum apns_reason why)
{
    if (k->stopped && !k->probing)
        return; /* an answer to what was out when it was stopped */
    k->stop_us = k->stop_us == 0 ? APNS_STOP_MIN_US : k->stop_us * 2;
    if (k->stop_us > APNS_STOP_MAX_US)
        k->stop_us = APNS_STOP_MAX_US;
    k->stop_until_us = a->now_us + k->stop_us;
    k->stopped = true;
    k->probing = false;
    k->trouble = key_trouble(why);
    counter_inc(&a->count.stops);
    log_error("apns", "%s: %s (%s); no pushes for %llu s", apns_env_name(k->env), k->trouble,
              apns_reason_name(why), (unsigned long long)(k->stop_us / US_PER_S));
    apns_set_trouble(a);
}

void apns_key_works(struct apns *a, struct apns_ident *k)
{
    k->stop_us = 0;
    if (!k->stopped)
        return;
    k->stopped = k->probing = false;
    log_info("apns", "%s: the key is accepted again", apns_env_name(k->env));
    apns_set_trouble(a);
}

bool apns_key_open(const struct apns *a, const struct apns_ident *k)
{
    return !k->stopped || (a->now_us >= k->stop_until_us && !k->probing);
}
