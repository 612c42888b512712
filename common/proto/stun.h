/* STUN messages: header, attribute walk, integrity, fingerprint (RFC 8489 §5, §14).
 *
 * Typed attributes (addresses, error codes) are in stun_attr.h.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_STUN_H
#define SORI_PROTO_STUN_H

#include "base/bytes.h"

#define STUN_MAGIC        0x2112A442u
#define STUN_HEADER_BYTES 20
#define STUN_TID_BYTES    12
#define STUN_ATTRS_MAX    64 /* attributes in one message; more are refused unread */

/* Long-term keys, RFC 8489 §9.2.2: a digest of user ":" realm ":" password. */
#define STUN_KEY_BYTES        16 /* MD5 */
#define STUN_KEY_SHA256_BYTES 32
#define STUN_KEY_MAX          STUN_KEY_SHA256_BYTES
#define STUN_USERHASH_BYTES   32 /* SHA-256(user ":" realm), RFC 8489 §14.4 */
#define STUN_SHA256_BYTES     32 /* MESSAGE-INTEGRITY-SHA256 that is not truncated */

/* Limits of RFC 8489 §14.3, §14.9, §14.10 (characters there, bytes at most here): what must be
 * read, also from who writes by RFC 5389. */
#define STUN_USERNAME_MAX 763
#define STUN_REALM_MAX    763
#define STUN_NONCE_MAX    763

enum stun_class {
    STUN_REQUEST = 0x000,
    STUN_INDICATION = 0x010,
    STUN_SUCCESS = 0x100,
    STUN_ERROR = 0x110,
};

enum stun_method {
    STUN_BINDING = 0x001,            /* RFC 8489 §18.2 */
    STUN_ALLOCATE = 0x003,           /* RFC 8656 §17 */
    STUN_REFRESH = 0x004,            /* RFC 8656 §17 */
    STUN_SEND = 0x006,               /* RFC 8656 §17, indication only */
    STUN_DATA = 0x007,               /* RFC 8656 §17, indication only */
    STUN_CREATE_PERMISSION = 0x008,  /* RFC 8656 §17 */
    STUN_CHANNEL_BIND = 0x009,       /* RFC 8656 §17 */
    STUN_CONNECT = 0x00a,            /* RFC 6062 §6.1 */
    STUN_CONNECTION_BIND = 0x00b,    /* RFC 6062 §6.1 */
    STUN_CONNECTION_ATTEMPT = 0x00c, /* RFC 6062 §6.1, indication only */
};

enum stun_attr_type {
    STUN_ATTR_MAPPED_ADDRESS = 0x0001,            /* RFC 8489 §14.1 */
    STUN_ATTR_CHANGE_REQUEST = 0x0003,            /* RFC 5780 §7.2 */
    STUN_ATTR_USERNAME = 0x0006,                  /* RFC 8489 §14.3 */
    STUN_ATTR_MESSAGE_INTEGRITY = 0x0008,         /* RFC 8489 §14.5 */
    STUN_ATTR_ERROR_CODE = 0x0009,                /* RFC 8489 §14.8 */
    STUN_ATTR_UNKNOWN_ATTRIBUTES = 0x000A,        /* RFC 8489 §14.13 */
    STUN_ATTR_CHANNEL_NUMBER = 0x000C,            /* RFC 8656 §18.1 */
    STUN_ATTR_LIFETIME = 0x000D,                  /* RFC 8656 §18.2 */
    STUN_ATTR_XOR_PEER_ADDRESS = 0x0012,          /* RFC 8656 §18.3 */
    STUN_ATTR_DATA = 0x0013,                      /* RFC 8656 §18.4 */
    STUN_ATTR_REALM = 0x0014,                     /* RFC 8489 §14.9 */
    STUN_ATTR_NONCE = 0x0015,                     /* RFC 8489 §14.10 */
    STUN_ATTR_XOR_RELAYED_ADDRESS = 0x0016,       /* RFC 8656 §18.5 */
    STUN_ATTR_REQUESTED_ADDRESS_FAMILY = 0x0017,  /* RFC 8656 §18.6 */
    STUN_ATTR_EVEN_PORT = 0x0018,                 /* RFC 8656 §18.7 */
    STUN_ATTR_REQUESTED_TRANSPORT = 0x0019,       /* RFC 8656 §18.8 */
    STUN_ATTR_DONT_FRAGMENT = 0x001A,             /* RFC 8656 §18.9 */
    STUN_ATTR_ACCESS_TOKEN = 0x001B,              /* RFC 7635 §6.2 */
    STUN_ATTR_MESSAGE_INTEGRITY_SHA256 = 0x001C,  /* RFC 8489 §14.6 */
    STUN_ATTR_PASSWORD_ALGORITHM = 0x001D,        /* RFC 8489 §14.12 */
    STUN_ATTR_USERHASH = 0x001E,                  /* RFC 8489 §14.4 */
    STUN_ATTR_XOR_MAPPED_ADDRESS = 0x0020,        /* RFC 8489 §14.2 */
    STUN_ATTR_RESERVATION_TOKEN = 0x0022,         /* RFC 8656 §18.10 */
    STUN_ATTR_PADDING = 0x0026,                   /* RFC 5780 §7.6 */
    STUN_ATTR_RESPONSE_PORT = 0x0027,             /* RFC 5780 §7.5 */
    STUN_ATTR_CONNECTION_ID = 0x002A,             /* RFC 6062 §6.2.1 */
    STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY = 0x8000, /* RFC 8656 §18.11 */
    STUN_ATTR_ADDRESS_ERROR_CODE = 0x8001,        /* RFC 8656 §18.12 */
    STUN_ATTR_PASSWORD_ALGORITHMS = 0x8002,       /* RFC 8489 §14.11 */
    STUN_ATTR_ALTERNATE_DOMAIN = 0x8003,          /* RFC 8489 §14.16 */
    STUN_ATTR_ICMP = 0x8004,                      /* RFC 8656 §18.13 */
    STUN_ATTR_SOFTWARE = 0x8022,                  /* RFC 8489 §14.14 */
    STUN_ATTR_ALTERNATE_SERVER = 0x8023,          /* RFC 8489 §14.15 */
    STUN_ATTR_TRANSMIT_COUNTER = 0x8025,          /* RFC 7982 §3: TRANSACTION_TRANSMIT_COUNTER */
    STUN_ATTR_FINGERPRINT = 0x8028,               /* RFC 8489 §14.7 */
    STUN_ATTR_RESPONSE_ORIGIN = 0x802B,           /* RFC 5780 §7.3 */
    STUN_ATTR_OTHER_ADDRESS = 0x802C,             /* RFC 5780 §7.4 */
    STUN_ATTR_THIRD_PARTY_AUTHORIZATION = 0x802E, /* RFC 7635 §6.1 */
    STUN_ATTR_ORIGIN = 0x802F,                    /* draft-ietf-tram-stun-origin-06 */
    STUN_ATTR_MOBILITY_TICKET = 0x8030,           /* RFC 8016 §3.3 */
    STUN_ATTR_SSODA_FAMILY = 0x8032, /* ADDITIONAL-ADDRESS-FAMILY before it had a number */
};

/* Values of PASSWORD-ALGORITHM (RFC 8489 §18.5). */
enum stun_password_algorithm { STUN_PASSWORD_MD5 = 0x0001, STUN_PASSWORD_SHA256 = 0x0002 };

/* Attributes below this must be understood or refused with 420 (RFC 8489 §14). */
#define STUN_ATTR_OPTIONAL_MIN 0x8000

struct stun_attr {
    uint16_t type;
    struct slice value; /* without padding */
};

/* One decoded message. Everything borrows from the bytes that were decoded. */
struct stun_msg {
    uint16_t type; /* method and class, as on the wire */
    uint8_t tid[STUN_TID_BYTES];
    struct slice raw;
    struct slice attrs; /* what may be read: ends before the first integrity attribute */
    size_t mi_at;       /* offset of MESSAGE-INTEGRITY in raw, 0 = none */
    size_t mi256_at;    /* offset of MESSAGE-INTEGRITY-SHA256 in raw, 0 = none */
    uint8_t mi256_len;  /* its bytes: less than STUN_SHA256_BYTES when truncated */
    bool has_fingerprint;
};

/* Method and class of a message type, and the type made of both. */
uint16_t stun_method_of(uint16_t type);
enum stun_class stun_class_of(uint16_t type);
uint16_t stun_type(enum stun_method method, enum stun_class class);

/* Decodes one message that fills bytes exactly.
 *
 * Attributes after MESSAGE-INTEGRITY are out of reach of the walk, except MESSAGE-INTEGRITY-SHA256
 * and FINGERPRINT, which are noted in *out (RFC 8489 §14.5, §14.6).
 *
 * Returns 0, or -EBADMSG for anything that is not a well-formed message: wrong cookie or length, an
 * attribute that overruns, more than STUN_ATTRS_MAX of them, an integrity attribute of a wrong
 * size, a FINGERPRINT that is wrong or not last. The caller drops and counts it. Never allocates.
 */
int stun_decode(struct stun_msg *out, struct slice bytes);

/* Walks m's attributes: start with *at = m->attrs, call until false. */
bool stun_next(struct slice *at, struct stun_attr *out);

/* Finds the first attribute of this type (of doubles the first counts, RFC 8489 §14).
 * Returns true and fills *value, or false. */
bool stun_find(const struct stun_msg *m, enum stun_attr_type type, struct slice *value);

/* True when m carries a MESSAGE-INTEGRITY (or the -SHA256 one, truncated ones too: a usage that
 * does not allow them looks at mi256_len, RFC 8489 §14.6) made with key. Constant-time. */
bool stun_verify_sha1(const struct stun_msg *m, struct slice key);
bool stun_verify_sha256(const struct stun_msg *m, struct slice key);

/* Long-term key of user, realm and password: with MD5, and with SHA-256. Returns 0 or -EIO. */
int stun_long_term_key(uint8_t out[STUN_KEY_BYTES], struct slice user, struct slice realm,
                       struct slice password);
int stun_long_term_key_sha256(uint8_t out[STUN_KEY_SHA256_BYTES], struct slice user,
                              struct slice realm, struct slice password);

/* What stands for user in a USERHASH attribute. Returns 0 or -EIO. */
int stun_userhash(uint8_t out[STUN_USERHASH_BYTES], struct slice user, struct slice realm);

/* Writes a header. The message must start at w's first byte; the length field stays right after
 * each stun_put*(), so a message may be cut off after any of them. */
void stun_begin(struct wr *w, uint16_t type, const uint8_t tid[STUN_TID_BYTES]);

/* Adds an attribute with zeroed padding. value over 65535 bytes latches w->bad. */
void stun_put(struct wr *w, enum stun_attr_type type, struct slice value);

/* Adds integrity over what was written, then FINGERPRINT must be the last. A failing digest
 * latches w->bad. */
void stun_put_sha1(struct wr *w, struct slice key);
void stun_put_sha256(struct wr *w, struct slice key);
void stun_put_fingerprint(struct wr *w);

/* Reserves the header of an attribute whose len bytes of value the caller sends right behind the
 * message (Data indications are sent without copying the payload). Counts value and padding in the
 * message's length. Returns how many zero bytes (0..3) must follow the value. */
unsigned stun_put_trailing(struct wr *w, enum stun_attr_type type, size_t len);

#endif
