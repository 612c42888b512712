/* The ciphers of SRTP packets on contexts that are made once: AES-GCM, and AES in counter mode with
 * HMAC-SHA1.
 *
 * What differs between two packets is an IV, so a context keeps its key schedule (and, for HMAC,
 * the digest states after the padded keys) and nothing is allocated, fetched or locked per packet.
 * Input and output may be different memory: that is what saves a copy of each forwarded payload.
 * One thread at a time per context. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_PACKET_CIPHER_H
#define SORI_BASE_PACKET_CIPHER_H

#include "base/bytes.h"

enum packet_cipher_kind {
    PACKET_CIPHER_AES128_GCM, /* RFC 5116; the whole tag of 16 bytes */
    PACKET_CIPHER_AES256_GCM,
    PACKET_CIPHER_AES128_CM_SHA1_80, /* RFC 3711 §4.1.1, §4.2.1: the tag is cut to 10 bytes */
};

#define PACKET_CIPHER_IV_BYTES     16 /* counter mode; GCM takes the first 12 */
#define PACKET_CIPHER_GCM_IV_BYTES 12
#define PACKET_CIPHER_KEY_MAX      32
#define PACKET_CIPHER_AUTH_BYTES   20 /* the HMAC key */
#define PACKET_CIPHER_TAG_MAX      16

struct packet_cipher;

/* Bytes of the encryption key (16 or 32), and of the tag (16 or 10). */
size_t packet_cipher_key_bytes(enum packet_cipher_kind kind);
size_t packet_cipher_tag_bytes(enum packet_cipher_kind kind);

/* A context for one direction: it seals, or it opens. key: exactly packet_cipher_key_bytes; auth:
 * PACKET_CIPHER_AUTH_BYTES for HMAC, ignored by GCM. Both are copied. NULL without memory, or when
 * this OpenSSL lacks the cipher. */
struct packet_cipher *packet_cipher_new(enum packet_cipher_kind kind, struct slice key,
                                        struct slice auth, bool seal);
void packet_cipher_free(struct packet_cipher *c); /* wipes; NULL is allowed */

/* Asks the processor to have the context in its cache soon: step 0 what leads to the keys, step 1,
 * when that is there, the keys. */
void packet_cipher_prefetch(const struct packet_cipher *c, unsigned step);

/* Encrypts a and behind it b to out, which may be where a is (then b must follow it directly) but
 * must not overlap otherwise, and writes the tag to tag. Authenticated are:
 *   GCM   head, trail, ciphertext
 *   HMAC  head, ciphertext, trail
 * Never twice with one IV, unless every byte is the same. Returns false (out is not to be sent)
 * when OpenSSL fails, which it does not for inputs below 2^31 bytes. */
bool packet_cipher_seal(struct packet_cipher *c, const uint8_t iv[PACKET_CIPHER_IV_BYTES],
                        struct slice head, struct slice trail, struct slice a, struct slice b,
                        uint8_t *out, uint8_t *tag);

/* Checks the tag and decrypts text to out, which may be text.p. False: forged; out may hold
 * anything. Compares in constant time. With HMAC, head and text must be neighbours in memory, as
 * they are in a packet. */
bool packet_cipher_open(struct packet_cipher *c, const uint8_t iv[PACKET_CIPHER_IV_BYTES],
                        struct slice head, struct slice trail, struct slice text,
                        const uint8_t *tag, uint8_t *out);

/* len bytes (at most PACKET_CIPHER_KEYSTREAM_MAX) of what AES-CTR makes of a key of 16 or 32 bytes,
 * from iv on: SRTP derives its keys so (RFC 3711 §4.3.3, RFC 6188 §3). Returns false for another
 * length, or without memory. Not for packets: it makes a context each time. */
bool packet_cipher_keystream(struct slice key, const uint8_t iv[PACKET_CIPHER_IV_BYTES],
                             uint8_t *out, size_t len);
#define PACKET_CIPHER_KEYSTREAM_MAX 1024

#endif
