/* What SRTP costs over the bare cipher: ns of CPU per packet to protect and unprotect, beside plain
 * EVP calls that encrypt and authenticate the same packets, with 1 and 5,000 sessions (distinct
 * keys, used in turn) and 1 and 2 threads. Rounds of both are interleaved, the best of each counts
 * (the machine is shared).
 *
 *     make build/gcc/bench/micro/srtp_bench && build/gcc/bench/micro/srtp_bench [evp|libsrtp2]
 *
 * Ends with the figures srtp_vs_evp (the worst ratio) and srtp_5000_sessions_ratio,
 * srtp_2_threads_ratio (ours to ours). SPDX-License-Identifier: BSD-3-Clause */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sfu/srtp_sess.h"

enum {
    BLOCK = 100, /* packets in a row of one kind: their bytes stay in the cache, sessions do not */
    ROUND = 100, /* blocks of each kind in turn */
    ROUNDS = 10, /* of which the best counts */
    AHEAD = 4,   /* as a forwarder does, which knows whose turn comes next */
    HEAD = 12,
    TAG_MAX = 16,
    SLOT = 1280,
    MANY = 5000,
    THREADS_MAX = 2,
};

struct shape {
    const char *name;
    enum srtp_sess_profile profile;
    size_t payload;
};

static const struct shape shapes[] = {
    {"gcm128   160 B", SRTP_SESS_GCM_128, 160},
    {"gcm128  1200 B", SRTP_SESS_GCM_128, 1200},
    {"cm_sha1  160 B", SRTP_SESS_CM_SHA1_80, 160},
    {"cm_sha1 1200 B", SRTP_SESS_CM_SHA1_80, 1200},
};

struct bare {
    EVP_CIPHER_CTX *seal, *open;
    EVP_MAC_CTX *mac;
};

enum what { BARE_SEAL, OURS_SEAL, BARE_OPEN, OURS_OPEN, WHATS };

struct job {
    const struct shape *shape;
    unsigned sessions;
    pthread_barrier_t *start;
    unsigned turn;         /* the session whose turn is next */
    uint64_t *next;        /* packet index of each session */
    uint64_t index[BLOCK]; /* of the packets of this block */
    struct srtp_sess **out, **in;
    struct bare *bare;
    uint8_t *plain, *wire, *sealed;
    double ns[WHATS];
};

static enum srtp_sess_backend backend;

static void must(bool ok)
{
    if (!ok) {
        fputs("srtp_bench: failed\n", stderr);
        exit(1);
    }
}

static double cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct bare bare_new(const struct shape *s, const uint8_t key[32])
{
    static EVP_CIPHER *gcm, *ctr;
    static EVP_MAC *hmac;
    const uint8_t iv[16] = {0};
    struct bare b = {EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_new(), NULL};

    if (!gcm) {
        gcm = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
        ctr = EVP_CIPHER_fetch(NULL, "AES-128-CTR", NULL);
        hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    }
    const EVP_CIPHER *c = s->profile == SRTP_SESS_GCM_128 ? gcm : ctr;
    must(EVP_CipherInit_ex2(b.seal, c, key, iv, 1, NULL) &&
         EVP_CipherInit_ex2(b.open, c, key, iv, 0, NULL));
    if (c == ctr) {
        char sha1[] = "SHA1";
        OSSL_PARAM p[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha1, 0),
                          OSSL_PARAM_construct_end()};
        b.mac = EVP_MAC_CTX_new(hmac);
        must(EVP_MAC_init(b.mac, key, 20, p));
    }
    return b;
}

static void bare_mac(struct bare *b, const uint8_t *pkt, size_t len, uint8_t *tag)
{
    uint8_t sum[20];
    const uint8_t roc[4] = {0};
    size_t n;

    must(EVP_MAC_init(b->mac, NULL, 0, NULL) && EVP_MAC_update(b->mac, pkt, len) &&
         EVP_MAC_update(b->mac, roc, 4) && EVP_MAC_final(b->mac, sum, &n, sizeof(sum)));
    memcpy(tag, sum, 10);
}

/* What any SRTP must do for a packet, and nothing else. */
static void bare_seal(struct bare *b, const uint8_t iv[16], const uint8_t *plain, size_t len,
                      uint8_t *out)
{
    int n;

    memcpy(out, plain, HEAD);
    must(EVP_CipherInit_ex2(b->seal, NULL, NULL, iv, -1, NULL));
    if (!b->mac) {
        must(EVP_CipherUpdate(b->seal, NULL, &n, plain, HEAD) &&
             EVP_CipherUpdate(b->seal, out + HEAD, &n, plain + HEAD, (int)(len - HEAD)) &&
             EVP_CipherFinal_ex(b->seal, out + len, &n) &&
             EVP_CIPHER_CTX_ctrl(b->seal, EVP_CTRL_AEAD_GET_TAG, 16, out + len));
        return;
    }
    must(EVP_CipherUpdate(b->seal, out + HEAD, &n, plain + HEAD, (int)(len - HEAD)));
    bare_mac(b, out, len, out + len);
}

static void bare_open(struct bare *b, const uint8_t iv[16], const uint8_t *wire, size_t len,
                      uint8_t *out)
{
    uint8_t tag[20];
    int n;

    memcpy(out, wire, HEAD);
    if (!b->mac) {
        memcpy(tag, wire + len, 16);
        must(EVP_CipherInit_ex2(b->open, NULL, NULL, iv, -1, NULL) &&
             EVP_CIPHER_CTX_ctrl(b->open, EVP_CTRL_AEAD_SET_TAG, 16, tag) &&
             EVP_CipherUpdate(b->open, NULL, &n, wire, HEAD) &&
             EVP_CipherUpdate(b->open, out + HEAD, &n, wire + HEAD, (int)(len - HEAD)) &&
             EVP_CipherFinal_ex(b->open, out + len, &n));
        return;
    }
    bare_mac(b, wire, len, tag);
    must(memcmp(tag, wire + len, 10) == 0 &&
         EVP_CipherInit_ex2(b->open, NULL, NULL, iv, -1, NULL) &&
         EVP_CipherUpdate(b->open, out + HEAD, &n, wire + HEAD, (int)(len - HEAD)));
}

static void job_init(struct job *j)
{
    j->out = calloc(j->sessions, sizeof(*j->out));
    j->in = calloc(j->sessions, sizeof(*j->in));
    j->bare = calloc(j->sessions, sizeof(*j->bare));
    j->plain = calloc(BLOCK, SLOT);
    j->wire = calloc(BLOCK, SLOT);
    j->sealed = calloc(BLOCK, SLOT);
    j->next = calloc(j->sessions, sizeof(*j->next));
    must(j->out && j->in && j->bare && j->plain && j->wire && j->sealed && j->next);
    for (unsigned i = 0; i < j->sessions; i++) {
        uint8_t key[32] = {(uint8_t)i, (uint8_t)(i >> 8)};
        struct slice k = slice_of(key, srtp_sess_key_bytes(j->shape->profile));
        struct slice salt = slice_of(key + 16, srtp_sess_salt_bytes(j->shape->profile));
        j->out[i] = srtp_sess_new(j->shape->profile, k, salt, backend, true);
        j->in[i] = srtp_sess_new(j->shape->profile, k, salt, backend, false);
        j->bare[i] = bare_new(j->shape, key);
        must(j->out[i] && j->in[i]);
    }
    for (int w = 0; w < WHATS; w++)
        j->ns[w] = 1e9;
}

static void job_free(struct job *j)
{
    for (unsigned i = 0; i < j->sessions; i++) {
        srtp_sess_free(j->out[i]);
        srtp_sess_free(j->in[i]);
        EVP_CIPHER_CTX_free(j->bare[i].seal);
        EVP_CIPHER_CTX_free(j->bare[i].open);
        EVP_MAC_CTX_free(j->bare[i].mac);
    }
    free(j->out);
    free(j->in);
    free(j->bare);
    free(j->plain);
    free(j->wire);
    free(j->sealed);
    free(j->next);
}

static void packet_head(uint8_t *p, uint64_t index)
{
    struct wr w = wr_init(p, HEAD);

    wr_be16(&w, 0x806f);
    wr_be16(&w, (uint16_t)index);
    wr_be32(&w, (uint32_t)index * 960);
    wr_be32(&w, 0x01020304);
}

static void make_iv(uint8_t iv[16], unsigned i)
{
    memset(iv, 0, 16);
    memcpy(iv, &i, sizeof(i));
}

static void prepare(struct job *j)
{
    for (unsigned i = 0; i < BLOCK; i++) {
        j->index[i] = j->next[(j->turn + i) % j->sessions]++;
        packet_head(j->plain + (size_t)i * SLOT, j->index[i]);
    }
}

/* The steps of srtp_sess_prefetch(), each AHEAD packets after the one before. */
static void look_ahead(const struct job *j, struct srtp_sess *const *sess, unsigned i)
{
    for (unsigned step = 0; step < SRTP_SESS_PREFETCH_STEPS; step++) {
        unsigned far = (SRTP_SESS_PREFETCH_STEPS - step) * AHEAD;
        srtp_sess_prefetch(sess[(j->turn + i + far) % j->sessions], step);
    }
}

static void once(struct job *j, enum what what)
{
    size_t len = HEAD + j->shape->payload, got;
    uint8_t iv[16];
    uint64_t index;

    for (unsigned i = 0; i < BLOCK; i++) {
        uint8_t *plain = j->plain + (size_t)i * SLOT, *wire = j->wire + (size_t)i * SLOT;
        uint8_t *sealed = j->sealed + (size_t)i * SLOT;
        unsigned s = (j->turn + i) % j->sessions;
        switch (what) {
        case BARE_SEAL:
            make_iv(iv, i);
            bare_seal(&j->bare[s], iv, plain, len, sealed);
            break;
        case OURS_SEAL:
            look_ahead(j, j->out, i);
            must(srtp_sess_protect(j->out[s], j->index[i], slice_of(plain, HEAD),
                                   slice_of(plain + HEAD, 0),
                                   slice_of(plain + HEAD, j->shape->payload), wire) > 0);
            break;
        case BARE_OPEN:
            make_iv(iv, i);
            bare_open(&j->bare[s], iv, sealed, len, plain);
            break;
        default:
            look_ahead(j, j->in, i);
            must(srtp_sess_unprotect(j->in[s], slice_of(wire, len + srtp_sess_tag_bytes(j->out[s])),
                                     HEAD, 0x01020304, plain, &got, &index) == 0);
        }
    }
}

static void *job_run(void *arg)
{
    struct job *j = arg;

    job_init(j);
    pthread_barrier_wait(j->start);
    for (int r = 0; r < ROUNDS; r++) {
        double sum[WHATS] = {0};
        for (int k = 0; k < ROUND; k++) {
            prepare(j);
            for (int w = 0; w < WHATS; w++) {
                double t = cpu_ns();
                once(j, (enum what)w);
                sum[w] += cpu_ns() - t;
            }
            j->turn = (j->turn + BLOCK) % j->sessions;
        }
        for (int w = 0; w < WHATS; w++) {
            double ns = sum[w] / (ROUND * BLOCK);
            j->ns[w] = ns < j->ns[w] ? ns : j->ns[w];
        }
    }
    job_free(j);
    return NULL;
}

/* The mean over threads of each thread's best. */
static void measure(const struct shape *s, unsigned sessions, unsigned threads, double ns[WHATS])
{
    struct job job[THREADS_MAX];
    pthread_t id[THREADS_MAX];
    pthread_barrier_t start;

    pthread_barrier_init(&start, NULL, threads);
    for (unsigned t = 0; t < threads; t++) {
        job[t] = (struct job){.shape = s, .sessions = sessions, .start = &start};
        must(pthread_create(&id[t], NULL, job_run, &job[t]) == 0);
    }
    for (int w = 0; w < WHATS; w++)
        ns[w] = 0;
    for (unsigned t = 0; t < threads; t++) {
        pthread_join(id[t], NULL);
        for (int w = 0; w < WHATS; w++)
            ns[w] += job[t].ns[w] / threads;
    }
    pthread_barrier_destroy(&start);
}

static double max(double a, double b)
{
    return a > b ? a : b;
}

int main(int argc, char **argv)
{
    double worst = 0, many = 0, two = 0;

    backend = argc > 1 && strcmp(argv[1], "libsrtp2") == 0 ? SRTP_SESS_LIBSRTP2 : SRTP_SESS_EVP;
    srtp_sess_free(srtp_sess_new(SRTP_SESS_GCM_128, slice_of("0123456789abcdef", 16),
                                 slice_of("0123456789ab", 12), backend, true));
    puts("ns of CPU per packet               protect               unprotect\n"
         "                sessions threads   EVP  ours ratio       EVP  ours ratio");
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        double base[WHATS], ns[WHATS];
        for (unsigned k = 0; k < 4; k++) {
            unsigned sessions = k & 1 ? MANY : 1, threads = k & 2 ? 2 : 1;
            measure(&shapes[i], sessions, threads, ns);
            double a = ns[OURS_SEAL] / ns[BARE_SEAL], b = ns[OURS_OPEN] / ns[BARE_OPEN];
            printf("%s    %4u     %u    %5.0f %5.0f  %.2f     %5.0f %5.0f  %.2f\n", shapes[i].name,
                   sessions, threads, ns[BARE_SEAL], ns[OURS_SEAL], a, ns[BARE_OPEN], ns[OURS_OPEN],
                   b);
            worst = max(worst, max(a, b));
            if (k == 0)
                memcpy(base, ns, sizeof(base));
            double change = max(ns[OURS_SEAL] / base[OURS_SEAL], ns[OURS_OPEN] / base[OURS_OPEN]);
            if (k == 1)
                many = max(many, change);
            if (k == 2)
                two = max(two, change);
        }
    }
    printf("srtp_vs_evp %.3f\nsrtp_5000_sessions_ratio %.3f\nsrtp_2_threads_ratio %.3f\n", worst,
           many, two);
    return 0;
}
