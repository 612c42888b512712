/* Secrets of time-limited credentials that come from another process (Redis), by realm.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_SHARED_SECRETS_H
#define SORI_TURN_SHARED_SECRETS_H

#include "turn/realm.h"

#define SHARED_SECRETS_MAX   8   /* of one realm */
#define SHARED_SECRETS_BYTES 255 /* of one secret */

/* Zeroed: none. Wipe after use. */
struct shared_secrets {
    struct {
        uint8_t n, len[SHARED_SECRETS_MAX];
        uint8_t bytes[SHARED_SECRETS_MAX][SHARED_SECRETS_BYTES];
    } of[REALMS_MAX];
};

#endif
