/* What APNs answers, and what must follow from it: one table of every documented reason.
 *
 * A reason that is not in the table is judged by its status. Pure; any thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_APNS_REASON_H
#define SORI_SERVER_APNS_REASON_H

#include "base/bytes.h"

/* X(NAME as on the wire, status, what follows) */
#define APNS_REASONS(X)                                     \
    X(BadCollapseId, 400, APNS_DO_DROP)                     \
    X(BadDeviceToken, 400, APNS_DO_BAD_TOKEN)               \
    X(BadExpirationDate, 400, APNS_DO_DROP)                 \
    X(BadMessageId, 400, APNS_DO_DROP)                      \
    X(BadPriority, 400, APNS_DO_DROP)                       \
    X(BadTopic, 400, APNS_DO_DROP)                          \
    X(DeviceTokenNotForTopic, 400, APNS_DO_PARK)            \
    X(DuplicateHeaders, 400, APNS_DO_DROP)                  \
    X(IdleTimeout, 400, APNS_DO_RECONNECT)                  \
    X(InvalidPushType, 400, APNS_DO_DROP)                   \
    X(MissingDeviceToken, 400, APNS_DO_DROP)                \
    X(MissingTopic, 400, APNS_DO_DROP)                      \
    X(PayloadEmpty, 400, APNS_DO_DROP)                      \
    X(TopicDisallowed, 400, APNS_DO_DROP)                   \
    X(BadCertificate, 403, APNS_DO_STOP)                    \
    X(BadCertificateEnvironment, 403, APNS_DO_STOP)         \
    X(BadEnvironmentKeyIdInToken, 403, APNS_DO_STOP)        \
    X(BadEnvironmentKeyInToken, 403, APNS_DO_STOP)          \
    X(ExpiredProviderToken, 403, APNS_DO_NEW_JWT)           \
    X(Forbidden, 403, APNS_DO_STOP)                         \
    X(InvalidProviderToken, 403, APNS_DO_STOP)              \
    X(MissingProviderToken, 403, APNS_DO_STOP)              \
    X(UnrelatedKeyIdInToken, 403, APNS_DO_RECONNECT)        \
    X(BadPath, 404, APNS_DO_DROP)                           \
    X(MethodNotAllowed, 405, APNS_DO_DROP)                  \
    X(ExpiredToken, 410, APNS_DO_GONE)                      \
    X(Unregistered, 410, APNS_DO_GONE)                      \
    X(PayloadTooLarge, 413, APNS_DO_SHORTEN)                \
    X(TooManyProviderTokenUpdates, 429, APNS_DO_OLD_JWT)    \
    X(TooManyRequests, 429, APNS_DO_WAIT)                   \
    X(InternalServerError, 500, APNS_DO_RETRY)              \
    X(ServiceUnavailable, 503, APNS_DO_RETRY)               \
    X(Shutdown, 503, APNS_DO_RETIRE)                        \
    /* of broadcast channels, which nothing sends to yet */ \
    X(BadChannelId, 400, APNS_DO_DROP)                      \
    X(CannotCreateChannelConfig, 400, APNS_DO_DROP)         \
    X(ChannelNotRegistered, 400, APNS_DO_DROP)              \
    X(FeatureNotEnabled, 400, APNS_DO_DROP)                 \
    X(MissingChannelId, 400, APNS_DO_DROP)                  \
    X(MissingPushType, 400, APNS_DO_DROP)                   \
    X(TopicMismatch, 403, APNS_DO_DROP)

enum apns_reason {
    APNS_REASON_NONE,    /* 200: accepted */
    APNS_REASON_UNKNOWN, /* not in the table, or no reason was given */
#define X(name, status, what) APNS_##name,
    APNS_REASONS(X)
#undef X
        APNS_REASON_COUNT
};

/* What follows from an answer. */
enum apns_do {
    APNS_DO_ACCEPT,
    APNS_DO_BAD_TOKEN, /* the other environment, once, when the token's is not known; else bad */
    APNS_DO_PARK,      /* the token is another app's: somebody must look, nothing is deleted */
    APNS_DO_DROP,      /* our mistake or the configuration's: never again, and count it */
    APNS_DO_RECONNECT, /* once more, over another connection; this one is replaced */
    APNS_DO_NEW_JWT,   /* this connection is wedged: replace it; new token, once more */
    APNS_DO_OLD_JWT,   /* the token changed too often: back to the one before; make none */
    APNS_DO_STOP,      /* the key or certificate is not accepted: stop for a while, tell */
    APNS_DO_GONE,      /* no longer registered since `timestamp` */
    APNS_DO_SHORTEN,   /* once more, without what is optional */
    APNS_DO_WAIT,      /* too many to this device: later, or (a call) not at all */
    APNS_DO_RETRY,     /* once more, soon, over another connection */
    APNS_DO_RETIRE,    /* the same, and this connection is replaced */
};

struct apns_answer {
    unsigned status;
    enum apns_reason reason;
    enum apns_do what;
    uint64_t timestamp_ms; /* of a 410: since when; 0: not said */
};

#define APNS_BODY_MAX 4096 /* bytes of an answer that are looked at */

/* Judges an answer by status and body. Never fails: what can't be read is judged by its status. */
struct apns_answer apns_answer_read(unsigned status, struct slice body);

/* The name on the wire; "" for NONE, "unknown" for UNKNOWN. Never NULL. */
const char *apns_reason_name(enum apns_reason r);
/* UNKNOWN for what is not in the table. */
enum apns_reason apns_reason_parse(struct slice name);

#endif
