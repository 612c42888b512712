/* One client of the SFU's load generator: socket, ICE checks, DTLS, SRTP keys.
 *
 * It is the controlling agent with one candidate pair and nominates at once (RFC 8445 §7.1.1,
 * §8.1.1): what it talks to is an ICE-lite server or a full agent with one candidate. DTLS by
 * OpenSSL over memory BIOs, either role. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BENCH_SFU_PEER_H
#define SORI_BENCH_SFU_PEER_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "proto/stun_attr.h"

#include "sfu_srtp.h"

#define PEER_BYTES     2048 /* longest datagram */
#define PEER_RECVS     8    /* SSRCs that are told apart */
#define PEER_TALKERS   16   /* and who sent it */
#define CHECK_EVERY_US (50 * US_PER_MS)
#define CONSENT_US     (4 * US_PER_S)
#define UFRAG_BYTES    8
#define PWD_BYTES      24
#define CREDENTIAL_MAX 256
#define DTLS_MTU       1200

/* RFC 8445 §16.1 */
#define STUN_ATTR_PRIORITY_        0x0024
#define STUN_ATTR_USE_CANDIDATE_   0x0025
#define STUN_ATTR_ICE_CONTROLLING_ 0x802A

enum peer_state { PEER_NEW, PEER_CHECKING, PEER_DTLS, PEER_UP, PEER_FAILED };
enum peer_recv { RECV_COUNT, RECV_OPEN };

/* One incoming SSRC. */
struct peer_in {
    uint32_t ssrc;
    uint64_t top, first, pkts; /* extended sequence numbers */
    uint64_t last_us, gap_us;  /* the longest silence */
};

/* Somebody whose payloads arrive, under whatever SSRC. */
struct peer_talker {
    unsigned id;
    uint32_t first; /* number of the first packet */
    uint64_t pkts;
};

struct peer {
    unsigned id;
    int fd;
    bool tcp, active, cut; /* active: DTLS client */
    enum peer_state state;
    enum peer_recv recv;
    char ufrag[UFRAG_BYTES + 1], pwd[PWD_BYTES + 1];
    char far_ufrag[CREDENTIAL_MAX + 1], far_pwd[CREDENTIAL_MAX + 1];
    struct sockaddr_storage far;
    socklen_t far_len;
    struct sockaddr_in near; /* of an IPv4 client, for sfu_wire.h */
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    struct bench_srtp tx, rx;
    unsigned profile;
    uint64_t began_us, ice_us, dtls_us; /* go, first answer, handshake done */
    uint64_t next_check_us, first_rtp_us, first_open_us;
    uint64_t got_pkts, got_bytes, lost_auth, rtcp_pkts, nack, pli, fir, twcc, remb, sr, rr;
    struct peer_in stream[PEER_RECVS];
    unsigned n_streams;
    struct peer_talker talker[PEER_TALKERS];
    unsigned n_talkers;
    uint8_t *tcp_buf;
    size_t tcp_len;
};

static SSL_CTX *peer_tls;
static struct addr peer_bind; /* the local address of new sockets; ADDR_NONE: by the route */
static char peer_fingerprint[3 * 32];

static inline _Noreturn void die(const char *what)
{
    fprintf(stderr, "sfu_engine: %s: %s\n", what, strerror(errno));
    exit(1);
}

static inline int peer_any_cert(int ok, X509_STORE_CTX *store)
{
    (void)ok;
    (void)store;
    return 1; /* the servers under load are ours */
}

/* One certificate for all clients. profiles: as SSL_CTX_set_tlsext_use_srtp() takes them. */
static inline void peer_setup(const char *profiles)
{
    uint8_t digest[32];
    unsigned n;

    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"engine", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_sign(cert, key, EVP_sha256());
    X509_digest(cert, EVP_sha256(), digest, &n);
    for (unsigned i = 0; i < n; i++)
        snprintf(peer_fingerprint + 3 * i, 4, "%02X%s", digest[i], i + 1 < n ? ":" : "");
    peer_tls = SSL_CTX_new(DTLS_method());
    if (!peer_tls || SSL_CTX_use_certificate(peer_tls, cert) != 1 ||
        SSL_CTX_use_PrivateKey(peer_tls, key) != 1 ||
        SSL_CTX_set_tlsext_use_srtp(peer_tls, profiles) != 0)
        die("no DTLS");
    SSL_CTX_set_verify(peer_tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, peer_any_cert);
    SSL_CTX_set_options(peer_tls, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(peer_tls, SSL_SESS_CACHE_OFF);
    EVP_PKEY_free(key);
    X509_free(cert);
}

static inline void peer_random_text(char *out, size_t n)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

    for (size_t i = 0; i < n; i++)
        out[i] = alphabet[rand_below(sizeof(alphabet) - 1)];
    out[n] = '\0';
}

/* Sends one datagram, or one frame (RFC 4571). What the socket does not take is lost. */
static inline bool peer_send(struct peer *p, const uint8_t *bytes, size_t len)
{
    uint8_t frame[PEER_BYTES + 2];

    if (p->cut || p->fd < 0)
        return false;
    if (!p->tcp)
        return send(p->fd, bytes, len, MSG_DONTWAIT) == (ssize_t)len;
    if (len > PEER_BYTES)
        return false;
    frame[0] = (uint8_t)(len >> 8);
    frame[1] = (uint8_t)len;
    memcpy(frame + 2, bytes, len);
    return send(p->fd, frame, len + 2, MSG_NOSIGNAL) == (ssize_t)len + 2;
}

static inline void peer_check(struct peer *p, uint64_t now_us)
{
    uint8_t buf[STUN_HEADER_BYTES + 2 * CREDENTIAL_MAX + 128], tid[STUN_TID_BYTES];
    char user[2 * CREDENTIAL_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    /* Of two that think they control, the one with the bigger number stays (RFC 8445 §7.3.1.1). */
    static const uint8_t tie[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    rand_bytes(tid, sizeof(tid));
    snprintf(user, sizeof(user), "%s:%s", p->far_ufrag, p->ufrag);
    stun_begin(&w, stun_type(STUN_BINDING, STUN_REQUEST), tid);
    stun_put(&w, STUN_ATTR_USERNAME, slice_str(user));
    stun_put_u32(&w, (enum stun_attr_type)STUN_ATTR_PRIORITY_, 0x6e001eff);
    stun_put(&w, (enum stun_attr_type)STUN_ATTR_ICE_CONTROLLING_, slice_of(tie, sizeof(tie)));
    stun_put(&w, (enum stun_attr_type)STUN_ATTR_USE_CANDIDATE_, slice_of(NULL, 0));
    stun_put_sha1(&w, slice_str(p->far_pwd));
    stun_put_fingerprint(&w);
    if (!w.bad)
        peer_send(p, w.base, w.len);
    p->next_check_us = now_us + (p->state == PEER_CHECKING ? CHECK_EVERY_US : CONSENT_US);
}

/* --- DTLS */

/* Sends what OpenSSL wrote, several records a datagram where they fit. */
static inline void peer_flush(struct peer *p)
{
    uint8_t *bytes;
    long len = BIO_get_mem_data(p->out, (char **)&bytes);
    size_t left = len > 0 ? (size_t)len : 0, from = 0;

    while (from < left) {
        size_t n = 0;
        while (from + n + 13 <= left) { /* RFC 6347 §4.1: 13 bytes of header, length last */
            size_t record = 13u + (size_t)(bytes[from + n + 11] << 8 | bytes[from + n + 12]);
            if (n > 0 && n + record > DTLS_MTU)
                break;
            n += record;
        }
        if (n == 0 || from + n > left)
            break;
        peer_send(p, bytes + from, n);
        from += n;
    }
    (void)BIO_reset(p->out);
}

static inline void peer_keys(struct peer *p, uint64_t now_us)
{
    static const char label[] = "EXTRACTOR-dtls_srtp"; /* RFC 5764 §4.2 */
    const SRTP_PROTECTION_PROFILE *profile = SSL_get_selected_srtp_profile(p->ssl);
    uint8_t material[2 * (32 + 14)];

    if (!profile) {
        p->state = PEER_FAILED;
        return;
    }
    p->profile = (unsigned)profile->id;
    size_t key = srtp_key_bytes(p->profile), salt = srtp_salt_bytes(p->profile);
    if (SSL_export_keying_material(p->ssl, material, 2 * (key + salt), label, sizeof(label) - 1,
                                   NULL, 0, 0) != 1) {
        p->state = PEER_FAILED;
        return;
    }
    unsigned mine = p->active ? 0 : 1;
    bench_srtp_init(&p->tx, p->profile, material + mine * key, material + 2 * key + mine * salt,
                    true);
    bench_srtp_init(&p->rx, p->profile, material + !mine * key, material + 2 * key + !mine * salt,
                    false);
    p->state = PEER_UP;
    p->dtls_us = now_us;
    p->next_check_us = now_us + CONSENT_US;
}

/* Goes on with the handshake. True when it has just ended, well or not. */
static inline bool peer_handshake(struct peer *p, uint64_t now_us)
{
    int rc = SSL_do_handshake(p->ssl);

    peer_flush(p);
    if (rc == 1) {
        peer_keys(p, now_us);
        return true;
    }
    int why = SSL_get_error(p->ssl, rc);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return false;
    p->state = PEER_FAILED;
    return true;
}

static inline bool peer_dtls_start(struct peer *p, uint64_t now_us)
{
    p->ssl = SSL_new(peer_tls);
    p->in = BIO_new(BIO_s_mem());
    p->out = BIO_new(BIO_s_mem());
    if (!p->ssl || !p->in || !p->out)
        die("out of memory");
    BIO_set_mem_eof_return(p->in, -1);
    BIO_set_mem_eof_return(p->out, -1);
    SSL_set_bio(p->ssl, p->in, p->out);
    SSL_set_mtu(p->ssl, DTLS_MTU);
    p->state = PEER_DTLS;
    if (p->active)
        SSL_set_connect_state(p->ssl);
    else
        SSL_set_accept_state(p->ssl);
    return p->active && peer_handshake(p, now_us);
}

/* Takes one DTLS datagram. True when the handshake has just ended. */
static inline bool peer_dtls(struct peer *p, const uint8_t *bytes, size_t len, uint64_t now_us)
{
    uint8_t record[64];

    if (!p->ssl && !p->active && p->state == PEER_CHECKING)
        peer_dtls_start(p, now_us); /* the other side was quicker with its check */
    if (!p->ssl)
        return false;
    BIO_write(p->in, bytes, (int)len);
    if (p->state == PEER_DTLS)
        return peer_handshake(p, now_us);
    while (SSL_read(p->ssl, record, sizeof(record)) > 0)
        ;
    peer_flush(p);
    if (SSL_get_shutdown(p->ssl) & SSL_RECEIVED_SHUTDOWN) {
        p->state = PEER_FAILED;
        return true;
    }
    return false;
}

/* --- ICE */

static inline void peer_answer(struct peer *p, const struct stun_msg *m)
{
    uint8_t buf[256];
    struct wr w = wr_init(buf, sizeof(buf));
    struct addr from = addr_from_sockaddr((const struct sockaddr *)&p->far);

    if (!stun_verify_sha1(m, slice_str(p->pwd)))
        return;
    stun_begin(&w, stun_type(STUN_BINDING, STUN_SUCCESS), m->tid);
    stun_put_xaddr(&w, STUN_ATTR_XOR_MAPPED_ADDRESS, &from, m->tid);
    stun_put_sha1(&w, slice_str(p->pwd));
    stun_put_fingerprint(&w);
    if (!w.bad)
        peer_send(p, w.base, w.len);
}

/* True when that ended the handshake (it failed at once). */
static inline bool peer_stun(struct peer *p, const uint8_t *bytes, size_t len, uint64_t now_us)
{
    struct stun_msg m;

    if (stun_decode(&m, slice_of(bytes, len)) != 0)
        return false;
    if (stun_class_of(m.type) == STUN_REQUEST) {
        peer_answer(p, &m);
        return false;
    }
    if (stun_class_of(m.type) != STUN_SUCCESS || p->state != PEER_CHECKING ||
        !stun_verify_sha1(&m, slice_str(p->far_pwd)))
        return false;
    p->ice_us = now_us;
    p->next_check_us = now_us + CONSENT_US;
    return peer_dtls_start(p, now_us);
}

/* --- life */

static inline void peer_init(struct peer *p, unsigned id)
{
    *p = (struct peer){.id = id, .fd = -1};
    peer_random_text(p->ufrag, UFRAG_BYTES);
    peer_random_text(p->pwd, PWD_BYTES);
}

static inline void peer_close(struct peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    SSL_free(p->ssl);
    if (p->state == PEER_UP) {
        bench_srtp_fini(&p->tx);
        bench_srtp_fini(&p->rx);
    }
    mem_free(p->tcp_buf);
    *p = (struct peer){.fd = -1};
}

/* Opens the client's socket towards p->far; a new one when it has one (its address changes). */
static inline void peer_open(struct peer *p)
{
    int size = 4 << 20, one = 1;

    if (p->fd >= 0)
        close(p->fd);
    p->fd = socket(p->far.ss_family, (p->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
    if (p->fd == -1)
        die("socket");
    setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    struct sockaddr_storage local;
    if (peer_bind.family != ADDR_NONE &&
        bind(p->fd, (struct sockaddr *)&local, addr_to_sockaddr(&peer_bind, &local)) == -1)
        die("bind");
    if (connect(p->fd, (struct sockaddr *)&p->far, p->far_len) == -1)
        die("connect");
    p->near = (struct sockaddr_in){0};
    getsockname(p->fd, (struct sockaddr *)&p->near, &(socklen_t){sizeof(p->near)});
    if (p->tcp) {
        setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (!p->tcp_buf)
            p->tcp_buf = mem_zalloc(2 * 65536);
        p->tcp_len = 0;
    }
    fcntl(p->fd, F_SETFL, fcntl(p->fd, F_GETFL) | O_NONBLOCK);
}

/* Time passes: checks, consent, DTLS retransmission. True when the handshake has just failed. */
static inline bool peer_tick(struct peer *p, uint64_t now_us)
{
    if (p->state == PEER_NEW || p->state == PEER_FAILED)
        return false;
    if (now_us >= p->next_check_us)
        peer_check(p, now_us);
    if (p->state != PEER_DTLS)
        return false;
    if (DTLSv1_handle_timeout(p->ssl) < 0) {
        p->state = PEER_FAILED;
        return true;
    }
    peer_flush(p);
    return false;
}

#endif
