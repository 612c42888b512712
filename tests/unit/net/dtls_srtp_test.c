/* DTLS-SRTP associations against OpenSSL's other side in memory: both roles, profiles,
 * fingerprints, losses, fragments, order, ends. Time is this file's own: OpenSSL asks
 * gettimeofday() below. SPDX-License-Identifier: BSD-3-Clause */
#include "net/dtls_srtp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"
#include "tests/lib/dtls_peer.h"

#define START_US UINT64_C(1700000000000000)
#define GCM128   "SRTP_AEAD_AES_128_GCM"
#define ALL_SRTP "SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM"
#define CAP      64

static uint64_t now_us = START_US;

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
    (void)tz;
    tv->tv_sec = (time_t)(now_us / US_PER_S);
    tv->tv_usec = (suseconds_t)(now_us % US_PER_S);
    return 0;
}

/* Ours, the peer, and the wire between them. */
struct pair {
    struct dtls_srtp_ctx *ctx;
    struct dtls_srtp *ours;
    struct dtls_peer peer;
    struct dtls_peer_dgram to_peer[CAP];
    unsigned n_to_peer, sent;
    size_t longest;
};

static void on_send(void *arg, struct slice dgram)
{
    struct pair *p = arg;

    assert_true(p->n_to_peer < CAP && dgram.len <= DTLS_PEER_DGRAM);
    p->to_peer[p->n_to_peer].len = dgram.len;
    memcpy(p->to_peer[p->n_to_peer++].p, dgram.p, dgram.len);
    p->sent++;
    p->longest = dgram.len > p->longest ? dgram.len : p->longest;
}

static void pair_open_with(struct pair *p, const struct dtls_peer_conf *pc, bool data,
                           const struct dtls_fingerprint *f, size_t n)
{
    *p = (struct pair){0};
    p->ctx = dtls_srtp_ctx_new();
    assert_non_null(p->ctx);
    dtls_peer_open(&p->peer, pc);
    struct dtls_fingerprint own = dtls_peer_fingerprint(&p->peer, CRYPTO_SHA256);
    const struct dtls_srtp_conf c = {.client = pc->server,
                                     .data = data,
                                     .remote = f ? f : &own,
                                     .n_remote = f ? n : 1,
                                     .send = on_send,
                                     .arg = p};
    p->ours = dtls_srtp_new(p->ctx, &c, now_us);
    assert_non_null(p->ours);
    if (!pc->server)
        dtls_peer_take(&p->peer, (struct slice){0});
}

static void pair_open(struct pair *p, bool peer_is_server, const char *profiles, bool data)
{
    const struct dtls_peer_conf pc = {.server = peer_is_server, .profiles = profiles};
    pair_open_with(p, &pc, data, NULL, 0);
}

static void pair_close(struct pair *p)
{
    dtls_srtp_free(p->ours);
    dtls_srtp_ctx_free(p->ctx);
    dtls_peer_close(&p->peer);
}

/* Hands over what one side has sent, in order; those of the mask are lost. */
static void to_ours(struct pair *p, unsigned lost)
{
    unsigned n = p->peer.n_out;

    p->peer.n_out = 0;
    for (unsigned i = 0; i < n; i++) {
        struct dtls_peer_dgram d = p->peer.out[i];
        if (!(lost >> i & 1))
            dtls_srtp_recv(p->ours, d.p, d.len, now_us);
    }
}

static void to_peer(struct pair *p, unsigned lost)
{
    unsigned n = p->n_to_peer;

    p->n_to_peer = 0;
    for (unsigned i = 0; i < n; i++) {
        struct dtls_peer_dgram d = p->to_peer[i];
        if (!(lost >> i & 1))
            dtls_peer_take(&p->peer, slice_of(d.p, d.len));
    }
}

static bool both_open(const struct pair *p)
{
    return p->peer.done && dtls_srtp_state(p->ours) == DTLS_SRTP_OPEN;
}

/* Lets time pass until something is due, for both. */
static void wait_due(struct pair *p)
{
    uint64_t at = dtls_srtp_deadline(p->ours);
    struct timeval left;

    if (DTLSv1_get_timeout(p->peer.ssl, &left) == 1) {
        uint64_t his = now_us + (uint64_t)left.tv_sec * US_PER_S + (uint64_t)left.tv_usec;
        at = his < at ? his : at;
    }
    assert_true(at != CLOCK_NEVER);
    now_us = at > now_us ? at : now_us;
    if (dtls_srtp_deadline(p->ours) <= now_us)
        dtls_srtp_tick(p->ours, now_us);
    if (!p->peer.done)
        DTLSv1_handle_timeout(p->peer.ssl);
}

static void shake(struct pair *p)
{
    for (unsigned i = 0; i < 10 && !both_open(p); i++) {
        to_ours(p, 0);
        to_peer(p, 0);
    }
}

static void check_keys(struct pair *p, unsigned profile)
{
    struct dtls_srtp_keys k, his = dtls_peer_keys(&p->peer);

    assert_true(both_open(p));
    assert_int_equal(dtls_srtp_keys(p->ours, &k), 0);
    assert_int_equal(k.profile, profile);
    assert_int_equal(his.profile, profile);
    assert_memory_equal(k.local_key, his.remote_key, DTLS_SRTP_KEY_MAX);
    assert_memory_equal(k.remote_key, his.local_key, DTLS_SRTP_KEY_MAX);
    assert_memory_equal(k.local_salt, his.remote_salt, DTLS_SRTP_SALT_MAX);
    assert_memory_equal(k.remote_salt, his.local_salt, DTLS_SRTP_SALT_MAX);
    if (profile != 0)
        assert_memory_not_equal(k.local_key, k.remote_key, 16);
}

static void test_both_roles_and_every_profile(void **state)
{
    static const struct {
        const char *offered;
        unsigned profile;
    } v[] = {
        {GCM128, 7},
        {"SRTP_AEAD_AES_256_GCM", 8},
        {"SRTP_AES128_CM_SHA1_80", 1},
        {ALL_SRTP, 7}, /* the peer likes CM best, we choose */
        {"SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_256_GCM", 8},
        {NULL, 0}, /* data only */
        {"SRTP_AES128_CM_SHA1_32", 0},
    };
    struct pair p;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        pair_open(&p, false, v[i].offered, false);
        shake(&p);
        check_keys(&p, v[i].profile);
        assert_true(p.longest <= DTLS_SRTP_MTU);
        pair_close(&p);
        if (i == 3 || i == 4)
            continue; /* the server chooses: that is the peer then */
        pair_open(&p, true, v[i].offered, false);
        shake(&p);
        check_keys(&p, v[i].profile);
        pair_close(&p);
    }
}

static void test_two_round_trips_from_the_first_datagram(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, false, GCM128, false);
    to_ours(&p, 0);
    assert_int_equal(p.sent, 1); /* one datagram: ServerHello .. ServerHelloDone, no cookie */
    to_peer(&p, 0);
    to_ours(&p, 0);
    assert_int_equal(dtls_srtp_state(p.ours), DTLS_SRTP_OPEN);
    assert_int_equal(p.sent, 2);
    to_peer(&p, 0);
    assert_true(p.peer.done);
    pair_close(&p);
}

static void test_fingerprints(void **state)
{
    static const enum crypto_md mds[] = {CRYPTO_SHA256, CRYPTO_SHA384, CRYPTO_SHA512};
    const struct dtls_peer_conf pc = {.profiles = GCM128},
                                ps = {.profiles = GCM128, .server = true};
    struct dtls_fingerprint f[2];
    struct pair p;

    (void)state;
    for (unsigned i = 0; i < 2 * ARRAY_LEN(mds); i++) {
        /* the second of two matches; dtls_peer makes its certificate first */
        struct dtls_peer probe;
        dtls_peer_open(&probe, i & 1 ? &ps : &pc);
        dtls_peer_close(&probe);
        pair_open(&p, i & 1, GCM128, false);
        dtls_srtp_free(p.ours);
        p.n_to_peer = 0;
        f[0] = (struct dtls_fingerprint){.md = CRYPTO_SHA256, .len = 32};
        f[1] = dtls_peer_fingerprint(&p.peer, mds[i / 2]);
        struct dtls_srtp_conf c = {
            .client = i & 1, .remote = f, .n_remote = 2, .send = on_send, .arg = &p};
        p.ours = dtls_srtp_new(p.ctx, &c, now_us);
        shake(&p);
        assert_true(both_open(&p));
        pair_close(&p);
    }
    /* none matches: fatal, with an alert, in both roles */
    for (unsigned i = 0; i < 2; i++) {
        f[0] = (struct dtls_fingerprint){.md = CRYPTO_SHA256, .len = 32};
        pair_open_with(&p, i ? &ps : &pc, false, f, 1);
        shake(&p);
        assert_int_equal(dtls_srtp_state(p.ours), DTLS_SRTP_FAILED);
        assert_int_equal(dtls_srtp_why(p.ours), DTLS_SRTP_WHY_FINGERPRINT);
        assert_false(dtls_srtp_is_whole(p.ours));
        assert_true(p.peer.failed);
        assert_int_equal(dtls_srtp_deadline(p.ours), CLOCK_NEVER);
        pair_close(&p);
    }
}

static void test_fingerprint_text(void **state)
{
    char text[DTLS_FINGERPRINT_TEXT_MAX];
    struct dtls_fingerprint f, g;
    static const struct {
        const char *hash, *value;
        int want;
    } bad[] = {
        {"sha-1", "AB:CD", -EACCES},    {"md5", "AB", -EACCES},    {"sha-256", "", -EBADMSG},
        {"sha-256", "AB:CD", -EBADMSG}, {"sha-25", "AB", -EACCES},
    };

    (void)state;
    for (int md = CRYPTO_SHA256; md <= CRYPTO_SHA512; md++) {
        f = dtls_srtp_fingerprint((enum crypto_md)md);
        dtls_fingerprint_print(&f, text);
        char *space = strchr(text, ' ');
        struct slice hash = slice_of(text, (size_t)(space - text)), value = slice_str(space + 1);
        assert_int_equal(value.len, 3u * f.len - 1);
        assert_int_equal(dtls_fingerprint_parse(&g, hash, value), 0);
        assert_memory_equal(&f, &g, sizeof(f));
        text[0] = 'S';
        for (char *c = space; *c; c++)
            *c = (char)(*c >= 'A' && *c <= 'F' ? *c + 32 : *c);
        assert_int_equal(dtls_fingerprint_parse(&g, hash, value), 0);
        assert_memory_equal(&f, &g, sizeof(f));
        for (size_t cut = 0; cut < value.len; cut++)
            assert_int_equal(dtls_fingerprint_parse(&g, hash, slice_sub(value, 0, cut)), -EBADMSG);
        space[3] = '-';
        assert_int_equal(dtls_fingerprint_parse(&g, hash, value), -EBADMSG);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(
            dtls_fingerprint_parse(&g, slice_str(bad[i].hash), slice_str(bad[i].value)),
            bad[i].want);
    struct dtls_fingerprint again = dtls_srtp_fingerprint(CRYPTO_SHA256);
    f = dtls_srtp_fingerprint(CRYPTO_SHA256);
    assert_memory_equal(&f, &again, sizeof(f)); /* one certificate per process */
}

static void test_fragmented_and_post_quantum_sized_hellos(void **state)
{
    static const struct dtls_peer_conf v[] = {
        {.profiles = ALL_SRTP, .mtu = 300},
        {.profiles = ALL_SRTP, .pad = 1216}, /* an ML-KEM-768 share */
        {.profiles = ALL_SRTP, .pad = 1216, .mtu = 256},
    };
    struct pair p;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        pair_open_with(&p, &v[i], false, NULL, 0);
        if (v[i].pad)
            assert_true(p.peer.n_out >= 2);
        shake(&p);
        check_keys(&p, 7);
        pair_close(&p);
        /* the same, each flight the other way round */
        pair_open_with(&p, &v[i], false, NULL, 0);
        for (unsigned k = 0; k < 20 && !both_open(&p); k++) {
            if (p.peer.n_out == 0)
                wait_due(&p); /* OpenSSL drops a ChangeCipherSpec that comes too early */
            while (p.peer.n_out > 0) {
                struct dtls_peer_dgram d = p.peer.out[--p.peer.n_out];
                dtls_srtp_recv(p.ours, d.p, d.len, now_us);
            }
            to_peer(&p, 0);
        }
        check_keys(&p, 7);
        pair_close(&p);
    }
}

static void test_lost_flights_are_sent_again(void **state)
{
    struct pair p;

    (void)state;
    for (unsigned role = 0; role < 2; role++) {
        for (unsigned lost = 0; lost < 64; lost++) { /* of the first six exchanges of each side */
            pair_open(&p, role, ALL_SRTP, false);
            uint64_t start_us = now_us;
            for (unsigned i = 0; i < 40 && !both_open(&p); i++) {
                to_ours(&p, i < 3 && lost >> i & 1 ? ~0u : 0);
                to_peer(&p, i < 3 && lost >> (3 + i) & 1 ? ~0u : 0);
                if (!both_open(&p) && p.peer.n_out == 0 && p.n_to_peer == 0)
                    wait_due(&p);
            }
            assert_true(both_open(&p));
            assert_true(now_us - start_us < 8 * US_PER_S);
            pair_close(&p);
        }
    }
}

static void test_our_first_retry_comes_soon(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, false, GCM128, false);
    to_ours(&p, 0);
    to_peer(&p, ~0u);
    assert_int_equal(dtls_srtp_deadline(p.ours), now_us + DTLS_SRTP_RETRY_US);
    now_us += DTLS_SRTP_RETRY_US - 20 * US_PER_MS; /* OpenSSL takes less than 15 ms for now */
    dtls_srtp_tick(p.ours, now_us);
    assert_int_equal(p.n_to_peer, 0);
    now_us += 20 * US_PER_MS;
    dtls_srtp_tick(p.ours, now_us);
    assert_true(p.n_to_peer >= 1); /* OpenSSL repeats messages one by one */
    assert_int_equal(dtls_srtp_deadline(p.ours), now_us + 2 * DTLS_SRTP_RETRY_US);
    shake(&p);
    assert_true(both_open(&p));
    pair_close(&p);
}

static void test_nobody_answers(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, false, GCM128, false);
    to_ours(&p, 0);
    uint64_t start_us = now_us;
    for (unsigned i = 0; i < 100 && dtls_srtp_state(p.ours) == DTLS_SRTP_HANDSHAKE; i++) {
        now_us = dtls_srtp_deadline(p.ours);
        dtls_srtp_tick(p.ours, now_us);
        p.n_to_peer = 0;
    }
    assert_int_equal(dtls_srtp_state(p.ours), DTLS_SRTP_FAILED);
    assert_int_equal(dtls_srtp_why(p.ours), DTLS_SRTP_WHY_TIMEOUT);
    assert_true(now_us - start_us <= DTLS_SRTP_HANDSHAKE_US);
    assert_true(p.sent < 100);
    pair_close(&p);
}

static void test_last_flight_is_repeated_with_and_without_ssl(void **state)
{
    struct pair p;
    struct dtls_peer_dgram last[4];
    unsigned n;

    (void)state;
    for (unsigned linger = 0; linger < 2; linger++) {
        pair_open(&p, false, GCM128, false);
        to_ours(&p, 0);
        to_peer(&p, 0);
        n = p.peer.n_out;
        assert_true(n <= 4);
        memcpy(last, p.peer.out, n * sizeof(last[0]));
        to_ours(&p, 0);
        to_peer(&p, ~0u); /* our last flight is lost */
        assert_int_equal(dtls_srtp_state(p.ours), DTLS_SRTP_OPEN);
        struct dtls_srtp_keys k;
        assert_int_equal(dtls_srtp_keys(p.ours, &k), 0);
        if (linger) {
            assert_int_equal(dtls_srtp_deadline(p.ours), now_us + DTLS_SRTP_LINGER_US);
            now_us += DTLS_SRTP_LINGER_US;
            dtls_srtp_tick(p.ours, now_us);
            assert_false(dtls_srtp_is_whole(p.ours));
            assert_int_equal(dtls_srtp_deadline(p.ours), CLOCK_NEVER);
            assert_int_equal(dtls_srtp_keys(p.ours, &k), -EPROTO);
            assert_false(dtls_srtp_want_data(p.ours));
            assert_int_equal(dtls_srtp_write(p.ours, SLICE_LIT("x")), -EPROTO);
        }
        for (unsigned i = 0; i < n; i++)
            dtls_srtp_recv(p.ours, last[i].p, last[i].len, now_us);
        unsigned once = p.n_to_peer;
        assert_true(once >= 1);
        for (unsigned i = 0; i < n; i++) /* a flood gets no more */
            dtls_srtp_recv(p.ours, last[i].p, last[i].len, now_us + 1000);
        assert_int_equal(p.n_to_peer, once);
        to_peer(&p, 0);
        assert_true(p.peer.done);
        pair_close(&p);
    }
}

static void test_data_both_ways(void **state)
{
    struct pair p;
    uint8_t buf[2048], got[2048];

    (void)state;
    for (unsigned role = 0; role < 2; role++) {
        pair_open(&p, role, GCM128, true);
        assert_int_equal(dtls_srtp_write(p.ours, SLICE_LIT("early")), -EPROTO);
        shake(&p);
        assert_true(both_open(&p));
        p.peer.n_out = p.n_to_peer = 0;
        for (size_t n = 1; n <= DTLS_SRTP_DATA_MAX; n += 233) {
            memset(buf, (int)n, n);
            assert_int_equal(dtls_srtp_write(p.ours, slice_of(buf, n)), 0);
            assert_int_equal(p.n_to_peer, 1);
            p.n_to_peer = 0;
            assert_true(p.to_peer[0].len <= n + DTLS_SRTP_OVERHEAD_MAX);
            assert_int_equal(
                dtls_peer_read_data(&p.peer, slice_of(p.to_peer[0].p, p.to_peer[0].len), got, 2048),
                n);
            assert_memory_equal(got, buf, n);
            assert_int_equal(SSL_write(p.peer.ssl, buf, (int)n), n);
            p.peer.n_out = 0;
            /* the plaintext takes the datagram's place */
            struct dtls_peer_dgram *d = &p.peer.out[0];
            dtls_srtp_recv(p.ours, d->p, d->len, now_us);
            assert_int_equal(dtls_srtp_read(p.ours, d->p, d->len), n);
            assert_memory_equal(d->p, buf, n);
            assert_int_equal(dtls_srtp_read(p.ours, d->p, d->len), 0);
        }
        assert_int_equal(dtls_srtp_write(p.ours, slice_of(buf, DTLS_SRTP_DATA_MAX + 1)), -EMSGSIZE);
        assert_int_equal(dtls_srtp_deadline(p.ours), CLOCK_NEVER); /* it lives on */
        pair_close(&p);
    }
}

static void test_two_records_in_one_datagram(void **state)
{
    struct pair p;
    uint8_t both[256], got[256];

    (void)state;
    pair_open(&p, false, GCM128, true);
    shake(&p);
    p.peer.n_out = 0;
    SSL_write(p.peer.ssl, "one", 3);
    SSL_write(p.peer.ssl, "three", 5);
    size_t a = p.peer.out[0].len, b = p.peer.out[1].len;
    memcpy(both, p.peer.out[0].p, a);
    memcpy(both + a, p.peer.out[1].p, b);
    dtls_srtp_recv(p.ours, both, a + b, now_us);
    assert_int_equal(dtls_srtp_read(p.ours, got, sizeof(got)), 3);
    assert_int_equal(dtls_srtp_read(p.ours, got, 2), 2); /* the rest of it is lost */
    assert_int_equal(dtls_srtp_read(p.ours, got, sizeof(got)), 0);
    /* unread content makes way for the next datagram; replays give nothing */
    dtls_srtp_recv(p.ours, both, a, now_us);
    assert_int_equal(dtls_srtp_read(p.ours, got, sizeof(got)), 0);
    pair_close(&p);
}

static void test_goodbyes(void **state)
{
    struct pair p;

    (void)state;
    for (unsigned data = 0; data < 2; data++) {
        pair_open(&p, false, GCM128, data);
        shake(&p);
        p.peer.n_out = 0;
        SSL_shutdown(p.peer.ssl);
        to_ours(&p, 0);
        uint8_t got[16];
        assert_int_equal(dtls_srtp_read(p.ours, got, sizeof(got)), 0);
        assert_int_equal(dtls_srtp_state(p.ours), DTLS_SRTP_CLOSED);
        assert_false(dtls_srtp_is_whole(p.ours));
        pair_close(&p);
    }
    pair_open(&p, false, GCM128, false);
    shake(&p);
    p.n_to_peer = 0;
    dtls_srtp_close(p.ours);
    assert_int_equal(p.n_to_peer, 1);
    uint8_t got[16];
    dtls_peer_read_data(&p.peer, slice_of(p.to_peer[0].p, p.to_peer[0].len), got, 16);
    assert_int_equal(SSL_get_shutdown(p.peer.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
    assert_int_equal(dtls_srtp_state(p.ours), DTLS_SRTP_CLOSED);
    pair_close(&p);
}

static void test_nothing_in_common(void **state)
{
    const struct dtls_peer_conf pc = {.profiles = GCM128, .ciphers = "AES128-SHA256"};
    struct pair p;

    (void)state;
    pair_open_with(&p, &pc, false, NULL, 0);
    shake(&p);
    assert_int_equal(dtls_srtp_state(p.ours), DTLS_SRTP_FAILED);
    assert_int_equal(dtls_srtp_why(p.ours), DTLS_SRTP_WHY_PROTOCOL);
    pair_close(&p);
}

static void test_garbage_harms_nobody(void **state)
{
    struct pair p;
    struct rand_src r;

    (void)state;
    rand_src_init(&r, 7);
    for (unsigned round = 0; round < 200; round++) {
        pair_open(&p, round & 1, ALL_SRTP, round & 2);
        for (unsigned i = 0; i < 6; i++) {
            uint8_t junk[64] = {(uint8_t)(20 + rand_src_below(&r, 4)), 0xfe, 0xfd};
            for (size_t k = 3; k < sizeof(junk); k++)
                junk[k] = (uint8_t)(rand_src_below(&r, 4) ? 0 : rand_src_u64(&r));
            dtls_srtp_recv(p.ours, junk, 1 + rand_src_below(&r, sizeof(junk)), now_us);
            uint8_t got[64];
            while (dtls_srtp_read(p.ours, got, sizeof(got)) > 0)
                ;
            to_ours(&p, 0);
            to_peer(&p, 0);
        }
        pair_close(&p);
    }
}

static void test_out_of_memory(void **state)
{
    struct dtls_srtp_ctx *c;
    const struct dtls_fingerprint f = {.md = CRYPTO_SHA256, .len = 32};
    const struct dtls_srtp_conf conf = {.remote = &f, .n_remote = 1, .send = on_send};
    uint64_t live = mem_live();

    (void)state;
    mem_fail_after(0);
    assert_null(dtls_srtp_ctx_new());
    mem_fail_never();
    c = dtls_srtp_ctx_new();
    for (uint64_t n = 0; n < 2; n++) {
        mem_fail_after(n);
        assert_null(dtls_srtp_new(c, &conf, now_us));
        mem_fail_never();
    }
    dtls_srtp_ctx_free(c);
    dtls_srtp_free(NULL);
    dtls_srtp_ctx_free(NULL);
    assert_int_equal(mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_roles_and_every_profile),
        cmocka_unit_test(test_two_round_trips_from_the_first_datagram),
        cmocka_unit_test(test_fingerprints),
        cmocka_unit_test(test_fingerprint_text),
        cmocka_unit_test(test_fragmented_and_post_quantum_sized_hellos),
        cmocka_unit_test(test_lost_flights_are_sent_again),
        cmocka_unit_test(test_our_first_retry_comes_soon),
        cmocka_unit_test(test_nobody_answers),
        cmocka_unit_test(test_last_flight_is_repeated_with_and_without_ssl),
        cmocka_unit_test(test_data_both_ways),
        cmocka_unit_test(test_two_records_in_one_datagram),
        cmocka_unit_test(test_goodbyes),
        cmocka_unit_test(test_nothing_in_common),
        cmocka_unit_test(test_garbage_harms_nobody),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
