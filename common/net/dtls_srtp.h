/* DTLS 1.2 for media (RFC 5763, 5764): one association, either role, datagrams in, datagrams out.
 *
 * Who the peer is, is told by the fingerprints of its description: they are known before the
 * handshake begins, and a certificate that matches none ends it. The DTLS server chooses the SRTP
 * profile: as server we take GCM128, else GCM256, else CM_SHA1_80.
 *
 * Flights that get no answer are sent again after DTLS_SRTP_RETRY_US, then at doubling intervals.
 * OpenSSL reads its own clock for that: the times given here must run as fast as it does.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_DTLS_SRTP_H
#define SORI_NET_DTLS_SRTP_H

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crypto.h"

#define DTLS_SRTP_MTU             1200 /* longest datagram of a handshake */
#define DTLS_SRTP_DATA_MAX        1400 /* bytes that one record may carry */
#define DTLS_SRTP_OVERHEAD_MAX    64   /* that it adds */
#define DTLS_SRTP_RETRY_US        (100 * US_PER_MS)
#define DTLS_SRTP_RETRY_MAX_US    (2 * US_PER_S)
#define DTLS_SRTP_HANDSHAKE_US    (30 * US_PER_S) /* it fails when it takes longer */
#define DTLS_SRTP_LINGER_US       (10 * US_PER_S) /* OpenSSL's part lives on so long after it */
#define DTLS_SRTP_KEY_MAX         32
#define DTLS_SRTP_SALT_MAX        14
#define DTLS_FINGERPRINT_TEXT_MAX 200 /* "sha-512 ", 64 times "AB:", NUL for the last colon */

struct dtls_srtp_ctx;
struct dtls_srtp;

/* A certificate's digest. */
struct dtls_fingerprint {
    uint8_t md; /* enum crypto_md: SHA256, SHA384 or SHA512 */
    uint8_t len;
    uint8_t digest[CRYPTO_DIGEST_MAX];
};

/* The process's certificate: ECDSA P-256, self-signed, made by the first call and renewed only by a
 * new start. True when it is there. Any thread. */
bool dtls_srtp_cert_ready(void);

/* Its fingerprint, and the same as in SDP ("sha-256 AB:CD:…", with NUL). md: SHA256, 384 or 512.
 * After dtls_srtp_cert_ready(). Any thread. */
struct dtls_fingerprint dtls_srtp_fingerprint(enum crypto_md md);
void dtls_fingerprint_print(const struct dtls_fingerprint *f, char out[DTLS_FINGERPRINT_TEXT_MAX]);

/* Parses a=fingerprint's two words (RFC 8122 §5; names without case). Returns 0; -EACCES for hashes
 * that are not good enough (sha-1, md5); -EBADMSG. */
int dtls_fingerprint_parse(struct dtls_fingerprint *out, struct slice hash, struct slice value);

/* What a worker's associations share. NULL without memory or certificate. */
struct dtls_srtp_ctx *dtls_srtp_ctx_new(void);
void dtls_srtp_ctx_free(struct dtls_srtp_ctx *c); /* after its associations; NULL is allowed */

struct dtls_srtp_conf {
    bool client;                                 /* we begin; else we wait for a ClientHello */
    bool data;                                   /* records are wanted after the handshake */
    const struct dtls_fingerprint *remote;       /* one of these must match; copied */
    size_t n_remote;                             /* 1 .. DTLS_SRTP_FINGERPRINTS_MAX */
    void (*send)(void *arg, struct slice dgram); /* one datagram; from inside the calls below */
    void *arg;
};
#define DTLS_SRTP_FINGERPRINTS_MAX 4

/* Keys of the SRTP sessions (RFC 5764 §4.2). profile 0: the peer offered none in common, there is
 * only data. */
struct dtls_srtp_keys {
    uint16_t profile; /* as on the wire: 1, 7, 8 */
    uint8_t key_len, salt_len;
    uint8_t local_key[DTLS_SRTP_KEY_MAX], local_salt[DTLS_SRTP_SALT_MAX]; /* ours: to send with */
    uint8_t remote_key[DTLS_SRTP_KEY_MAX], remote_salt[DTLS_SRTP_SALT_MAX];
};

enum dtls_srtp_state {
    DTLS_SRTP_HANDSHAKE,
    DTLS_SRTP_OPEN,
    DTLS_SRTP_CLOSED, /* the peer said goodbye */
    DTLS_SRTP_FAILED, /* alert, wrong fingerprint, too late, out of memory */
};

enum dtls_srtp_why {
    DTLS_SRTP_WHY_NONE,
    DTLS_SRTP_WHY_FINGERPRINT,
    DTLS_SRTP_WHY_ALERT,    /* the peer's */
    DTLS_SRTP_WHY_PROTOCOL, /* no common version, cipher, curve; malformed; no certificate */
    DTLS_SRTP_WHY_TIMEOUT,
};

/* An association; as client the first flight is sent at once. NULL without memory. */
struct dtls_srtp *dtls_srtp_new(struct dtls_srtp_ctx *c, const struct dtls_srtp_conf *conf,
                                uint64_t now_us);
void dtls_srtp_free(struct dtls_srtp *d); /* NULL is allowed; says nothing to the peer */

/* Takes one datagram. Afterwards look at dtls_srtp_state(), and call dtls_srtp_read() until it
 * gives no more. dgram must stay until then, and is written to. */
void dtls_srtp_recv(struct dtls_srtp *d, uint8_t *dgram, size_t len, uint64_t now_us);

/* The next record's content, at most cap bytes of it (the rest of a longer one is lost). Returns
 * its length, or 0: no more. */
size_t dtls_srtp_read(struct dtls_srtp *d, uint8_t *out, size_t cap);

/* Sends one record. Returns 0, -EMSGSIZE over DTLS_SRTP_DATA_MAX, -EPROTO when the association is
 * not open, or not for data. */
int dtls_srtp_write(struct dtls_srtp *d, struct slice bytes);

/* Where it stands, and why it failed. */
enum dtls_srtp_state dtls_srtp_state(const struct dtls_srtp *d);
enum dtls_srtp_why dtls_srtp_why(const struct dtls_srtp *d);

/* The keys, while the association is open. Returns 0 or -EPROTO. Wipe them after use. */
int dtls_srtp_keys(struct dtls_srtp *d, struct dtls_srtp_keys *out);

/* Whether dtls_srtp_want_data() would still be in time. */
bool dtls_srtp_can_data(const struct dtls_srtp *d);

/* From now on data is wanted (a later description began it). False: too late, OpenSSL's part has
 * been freed: a new association is needed. */
bool dtls_srtp_want_data(struct dtls_srtp *d);

/* When to call dtls_srtp_tick(). */
uint64_t dtls_srtp_deadline(const struct dtls_srtp *d);
void dtls_srtp_tick(struct dtls_srtp *d, uint64_t now_us);

/* Says goodbye, while it can. */
void dtls_srtp_close(struct dtls_srtp *d);

/* True while OpenSSL's part is there (tests, memory figures). */
bool dtls_srtp_is_whole(const struct dtls_srtp *d);

#endif
