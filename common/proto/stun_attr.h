/* Typed STUN and TURN attribute values: addresses, error codes, numbers.
 *
 * Decoders take the bare value (stun_find()); putters add a whole attribute to a message begun with
 * stun_begin(). SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_STUN_ATTR_H
#define SORI_PROTO_STUN_ATTR_H

#include "base/addr.h"
#include "proto/stun.h"

/* Address families on the wire (RFC 8489 §14.1, RFC 8656 §18.6). */
enum stun_family { STUN_FAMILY_V4 = 0x01, STUN_FAMILY_V6 = 0x02 };

/* Error codes (RFC 8489 §14.8, RFC 8656 §19). */
enum stun_error {
    STUN_ERR_TRY_ALTERNATE = 300, /* RFC 8489 §10 */
    STUN_ERR_BAD_REQUEST = 400,
    STUN_ERR_UNAUTHENTICATED = 401,
    STUN_ERR_FORBIDDEN = 403,
    STUN_ERR_MOBILITY_FORBIDDEN = 405, /* RFC 8016 §3.4 */
    STUN_ERR_UNKNOWN_ATTRIBUTE = 420,
    STUN_ERR_ALLOCATION_MISMATCH = 437,
    STUN_ERR_STALE_NONCE = 438,
    STUN_ERR_FAMILY_NOT_SUPPORTED = 440,
    STUN_ERR_WRONG_CREDENTIALS = 441,
    STUN_ERR_TRANSPORT_NOT_SUPPORTED = 442,
    STUN_ERR_PEER_FAMILY_MISMATCH = 443,
    STUN_ERR_CONNECTION_EXISTS = 446, /* RFC 6062 §6.3 */
    STUN_ERR_CONNECTION_FAILED = 447, /* RFC 6062 §6.3: timeout or failure */
    STUN_ERR_QUOTA_REACHED = 486,
    STUN_ERR_SERVER_ERROR = 500,
    STUN_ERR_INSUFFICIENT_CAPACITY = 508,
};

#define STUN_TRANSPORT_TCP     6 /* RFC 8656 §18.8: IANA protocol number */
#define STUN_TRANSPORT_UDP     17
#define STUN_RESERVATION_BYTES 8

/* Decodes an XOR-...-ADDRESS value of a message with transaction id tid. Returns 0, or -EBADMSG for
 * an unknown family or a wrong length. */
int stun_xaddr_decode(struct addr *out, struct slice value, const uint8_t tid[STUN_TID_BYTES]);

/* Adds an XOR-...-ADDRESS attribute. An address of no family latches w->bad. */
void stun_put_xaddr(struct wr *w, enum stun_attr_type type, const struct addr *a,
                    const uint8_t tid[STUN_TID_BYTES]);

/* Writes an address as it is (ALTERNATE-SERVER, RFC 8489 §14.1 and §14.15). ADDR_NONE latches bad.
 */
void stun_put_addr(struct wr *w, enum stun_attr_type type, const struct addr *a);

/* Reads ERROR-CODE. Returns the code (300..699), or -EBADMSG. */
int stun_error_decode(struct slice value);

/* Adds ERROR-CODE, with the phrase that RFC 8489 and its extensions recommend or without: a
 * stranger must not get more bytes than needed. */
void stun_put_error(struct wr *w, enum stun_error code, bool phrase);

/* Adds ADDRESS-ERROR-CODE: why there is no relayed address of this family (its wire value). */
void stun_put_address_error(struct wr *w, uint8_t family, enum stun_error code);

/* Adds ICMP: type, code and the error's data (RFC 8656 §18.13). */
void stun_put_icmp(struct wr *w, uint8_t type, uint8_t code, uint32_t data);

/* Reads a 4-byte number (LIFETIME); or the number of CHANNEL-NUMBER; or the first byte of
 * REQUESTED-TRANSPORT, REQUESTED-ADDRESS-FAMILY, EVEN-PORT. Returns 0, or -EBADMSG for a wrong
 * length. */
int stun_u32_decode(uint32_t *out, struct slice value);
int stun_channel_decode(uint16_t *out, struct slice value);
int stun_first_byte_decode(uint8_t *out, struct slice value, size_t len);

/* Adds a 4-byte number. */
void stun_put_u32(struct wr *w, enum stun_attr_type type, uint32_t v);

#endif
