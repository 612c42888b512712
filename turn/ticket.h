/* MOBILITY-TICKET (RFC 8016 §3.3): which allocation its bearer may move, sealed for ourselves.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_TICKET_H
#define SORI_TURN_TICKET_H

#include "base/bytes.h"

#define TICKET_KEY_BYTES  32 /* of the process, the same for all workers */
#define TICKET_BYTES      32 /* text: coturn's client keeps no more, and takes it for a string */
#define TICKET_SERIAL_MAX ((UINT64_C(1) << 40) - 1)

struct ticket {
    uint8_t worker;  /* that owns the allocation */
    uint64_t serial; /* of the allocation there, TICKET_SERIAL_MAX at most */
    uint16_t moves;  /* how often it had moved (modulo 2^16): each ticket is good once */
};

/* Seals t. Returns 0 or -EIO. */
int ticket_seal(uint8_t out[TICKET_BYTES], const struct ticket *t,
                const uint8_t key[TICKET_KEY_BYTES]);

/* Opens one. Returns 0; -EBADMSG when it is not TICKET_BYTES of base64url (answer 400), -EACCES
 * when it was not made with this key or was changed (437). */
int ticket_open(struct ticket *out, struct slice sealed, const uint8_t key[TICKET_KEY_BYTES]);

#endif
