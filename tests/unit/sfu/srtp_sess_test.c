/* SRTP sessions: known packets, and 10^6 random ones against libsrtp2, both ways, with losses,
 * reordering, replays, rollovers and forgeries.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/srtp_sess.h"

#include <errno.h>
#include <setjmp.h>
#include <srtp2/srtp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"
#include "sfu/srtp_index.h"
#include "tests/lib/guard.h"
#include "tests/lib/hex.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__has_feature)
#define ORACLE_PACKETS                                                         \
    10000u /* clang tells of sanitizers by another way: few packets there, too \
            */
#else
#define ORACLE_PACKETS 170000u /* times three profiles, times two directions: 10^6 */
#endif

static const enum srtp_sess_profile profiles[] = {SRTP_SESS_CM_SHA1_80, SRTP_SESS_GCM_128,
                                                  SRTP_SESS_GCM_256};
static const enum srtp_sess_backend backends[] = {SRTP_SESS_EVP, SRTP_SESS_LIBSRTP2};

static struct srtp_sess *sess(enum srtp_sess_profile p, enum srtp_sess_backend b, bool outbound,
                              const uint8_t *master)
{
    size_t key = srtp_sess_key_bytes(p);
    struct srtp_sess *s = srtp_sess_new(
        p, slice_of(master, key), slice_of(master + key, srtp_sess_salt_bytes(p)), b, outbound);

    assert_non_null(s);
    return s;
}

/* The packets that libsrtp's own test protects (test/srtp_driver.c): index 0x1234 and RTCP index 1,
 * the one that it begins with. */
static void test_known_packets(void **state)
{
    static const struct {
        enum srtp_sess_profile profile;
        const char *master, *rtp, *rtcp;
    } v[] = {
        {SRTP_SESS_CM_SHA1_80, "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6",
         "800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb",
         "81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798"},
        {SRTP_SESS_GCM_128, "000102030405060708090a0b0c0d0e0f a0a1a2a3a4a5a6a7a8a9aaab",
         "800f1234decafbadcafebabe c5002ede04cfdd2eb91159e0880aa06e"
         "d2976826f796b201df3131a127e8a392",
         "81c8000bcafebabe c98b8b5df0392a55852b6c21ac8e7025 c52c6fbea2b3b446ea31123b a88ce61e"
         "80000001"},
    };
    uint8_t master[64], plain[28], want[80], out[80], back[80];
    size_t len;
    uint64_t index;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        for (size_t b = 0; b < ARRAY_LEN(backends); b++) {
            hex_bytes(v[i].master, master, sizeof(master));
            struct srtp_sess *o = sess(v[i].profile, backends[b], true, master);
            struct srtp_sess *in = sess(v[i].profile, backends[b], false, master);
            memset(plain, 0xab, sizeof(plain));
            hex_bytes("800f1234decafbadcafebabe", plain, sizeof(plain));
            struct slice w = hex_bytes(v[i].rtp, want, sizeof(want));
            assert_int_equal(srtp_sess_protect(o, 0x1234, slice_of(plain, 12),
                                               slice_of(plain + 12, 5), slice_of(plain + 17, 11),
                                               out),
                             w.len);
            assert_memory_equal(out, w.p, w.len);
            assert_int_equal(srtp_sess_unprotect(in, w, 12, 0xcafebabe, back, &len, &index), 0);
            assert_int_equal(len, 28);
            assert_int_equal(index, 0x1234);
            assert_memory_equal(back, plain, 28);

            memset(plain, 0xab, sizeof(plain));
            hex_bytes("81c8000bcafebabe", plain, sizeof(plain));
            w = hex_bytes(v[i].rtcp, want, sizeof(want));
            if (backends[b] == SRTP_SESS_EVP) /* ours begins with 0 */
                assert_true(srtp_sess_protect_rtcp(o, slice_of(plain, 24), out) > 0);
            assert_int_equal(srtp_sess_protect_rtcp(o, slice_of(plain, 24), out), w.len);
            assert_memory_equal(out, w.p, w.len);
            assert_int_equal(srtp_sess_unprotect_rtcp(in, w, back, &len), 0);
            assert_int_equal(len, 24);
            assert_memory_equal(back, plain, 24);
            srtp_sess_free(o);
            srtp_sess_free(in);
        }
    }
}

/* --- The oracle. */

static srtp_t oracle_new(enum srtp_sess_profile profile, uint8_t *master, bool outbound)
{
    srtp_policy_t p = {.key = master,
                       .window_size = SRTP_INDEX_WINDOW,
                       .ssrc.type = outbound ? ssrc_any_outbound : ssrc_any_inbound};
    srtp_profile_t which = profile == SRTP_SESS_CM_SHA1_80 ? srtp_profile_aes128_cm_sha1_80
                           : profile == SRTP_SESS_GCM_128  ? srtp_profile_aead_aes_128_gcm
                                                           : srtp_profile_aead_aes_256_gcm;
    srtp_t s;

    assert_int_equal(srtp_crypto_policy_set_from_profile_for_rtp(&p.rtp, which), 0);
    assert_int_equal(srtp_crypto_policy_set_from_profile_for_rtcp(&p.rtcp, which), 0);
    assert_int_equal(srtp_create(&s, &p), 0);
    return s;
}

enum { STREAMS = 3, KEPT = 2048, PLAIN_MAX = 400 };

struct packet {
    uint8_t plain[PLAIN_MAX], wire[PLAIN_MAX + 160];
    size_t header_len, plain_len, wire_len;
    uint32_t ssrc;
    uint64_t index;
    bool rtcp;
};

struct source {
    struct rand_src r;
    uint64_t next[STREAMS];
    unsigned made;
};

/* A random packet: RTP with CSRCs and extension, or RTCP. */
static void make(struct source *src, struct packet *p)
{
    struct rand_src *r = &src->r;
    unsigned which = (unsigned)rand_src_below(r, STREAMS);

    *p = (struct packet){.ssrc = 0x01020304u * (which + 1)};
    p->rtcp = rand_src_below(r, 16) == 0;
    uint64_t jump =
        rand_src_below(r, 50) ? 1 : 1 + rand_src_below(r, 9000); /* rollovers come soon */
    src->next[which] += jump;
    p->index = src->next[which];
    unsigned csrcs = (unsigned)rand_src_below(r, 4), ext = (unsigned)rand_src_below(r, 3);
    p->header_len = p->rtcp ? 8 : 12 + 4 * csrcs + (ext ? 4 * ext : 0);
    p->plain_len = p->header_len + (size_t)rand_src_below(r, 200);
    if (p->rtcp)
        p->plain_len &= ~(size_t)3;
    for (size_t i = 0; i < p->plain_len; i++)
        p->plain[i] = (uint8_t)rand_src_u64(r);
    struct wr w = wr_init(p->plain, sizeof(p->plain));
    if (p->rtcp) {
        wr_be16(&w, 0x81c8);
        wr_be16(&w, (uint16_t)(p->plain_len / 4 - 1));
        wr_be32(&w, p->ssrc);
        return;
    }
    wr_u8(&w, (uint8_t)(0x80 | csrcs | (ext ? 0x10 : 0)));
    wr_u8(&w, 111);
    wr_be16(&w, (uint16_t)p->index);
    wr_be32(&w, (uint32_t)p->index * 960);
    wr_be32(&w, p->ssrc);
    w.len += 4 * csrcs;
    if (ext) {
        wr_be16(&w, 0xbede);
        wr_be16(&w, (uint16_t)(ext - 1));
    }
}

static void test_oracle_takes_what_we_send(void **state)
{
    static struct packet p;
    uint8_t master[64];
    int len;

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(profiles); k++) {
        struct source src = {0};
        rand_src_init(&src.r, k + 1);
        for (size_t i = 0; i < sizeof(master); i++)
            master[i] = (uint8_t)rand_src_u64(&src.r);
        struct srtp_sess *ours = sess(profiles[k], SRTP_SESS_EVP, true, master);
        srtp_t theirs = oracle_new(profiles[k], master, false);
        for (unsigned i = 0; i < ORACLE_PACKETS; i++) {
            make(&src, &p);
            struct slice plain = slice_of(p.plain, p.plain_len);
            size_t cut =
                p.header_len + (size_t)rand_src_below(&src.r, p.plain_len - p.header_len + 1);
            if (p.rtcp)
                p.wire_len = srtp_sess_protect_rtcp(ours, plain, p.wire);
            else
                p.wire_len = srtp_sess_protect(ours, p.index, slice_sub(plain, 0, p.header_len),
                                               slice_of(p.plain + p.header_len, cut - p.header_len),
                                               slice_of(p.plain + cut, p.plain_len - cut), p.wire);
            assert_true(p.wire_len > p.plain_len);
            if (rand_src_below(&src.r, 10) == 0)
                continue; /* lost */
            len = (int)p.wire_len;
            assert_int_equal(p.rtcp ? srtp_unprotect_rtcp(theirs, p.wire, &len)
                                    : srtp_unprotect(theirs, p.wire, &len),
                             srtp_err_status_ok);
            assert_int_equal(len, p.plain_len);
            assert_memory_equal(p.wire, p.plain, p.plain_len);
        }
        srtp_sess_free(ours);
        srtp_dealloc(theirs);
    }
}

/* Both take the same packet, one of ours and the oracle: the verdicts are the same. */
static void both_take(struct srtp_sess *ours, srtp_t theirs, const struct packet *p, bool forged)
{
    static uint8_t a[PLAIN_MAX + 160], b[PLAIN_MAX + 160];
    size_t len_a = 0;
    uint64_t index = 0;
    int len_b = (int)p->wire_len;
    struct slice wire = slice_of(p->wire, p->wire_len);

    memcpy(b, p->wire, p->wire_len);
    srtp_err_status_t theirs_says =
        p->rtcp ? srtp_unprotect_rtcp(theirs, b, &len_b) : srtp_unprotect(theirs, b, &len_b);
    int says = p->rtcp ? srtp_sess_unprotect_rtcp(ours, wire, a, &len_a)
                       : srtp_sess_unprotect(ours, wire, p->header_len, p->ssrc, a, &len_a, &index);
    assert_int_equal(says == 0, theirs_says == srtp_err_status_ok);
    if (says != 0)
        return;
    assert_false(forged);
    assert_int_equal(len_a, p->plain_len);
    assert_memory_equal(a, p->plain, p->plain_len);
    if (!p->rtcp)
        assert_int_equal(index, p->index);
}

static void test_we_take_what_the_oracle_sends_and_nothing_else(void **state)
{
    static struct packet kept[KEPT];
    uint8_t master[64];

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(profiles); k++) {
        struct source src = {0};
        rand_src_init(&src.r, k + 100);
        for (size_t i = 0; i < sizeof(master); i++)
            master[i] = (uint8_t)rand_src_u64(&src.r);
        srtp_t sender = oracle_new(profiles[k], master, true);
        srtp_t theirs = oracle_new(profiles[k], master, false);
        struct srtp_sess *ours = sess(profiles[k], SRTP_SESS_EVP, false, master);
        unsigned taken_again = 0;
        for (unsigned i = 0; i < ORACLE_PACKETS; i++) {
            struct packet *p = &kept[i % KEPT];
            make(&src, p);
            int len = (int)p->plain_len;
            memcpy(p->wire, p->plain, p->plain_len);
            assert_int_equal(p->rtcp ? srtp_protect_rtcp(sender, p->wire, &len)
                                     : srtp_protect(sender, p->wire, &len),
                             srtp_err_status_ok);
            p->wire_len = (size_t)len;
            uint64_t dice = rand_src_below(&src.r, 20);
            if (dice >= 3)
                both_take(ours, theirs, p, false); /* else: later, or never */
            if (dice < 6) {                        /* one of before: late, or once more */
                both_take(ours, theirs, &kept[rand_src_below(&src.r, i < KEPT ? i + 1 : KEPT)],
                          false);
                taken_again++;
            }
            if (dice == 7) {
                struct packet f = *p;
                f.wire[rand_src_below(&src.r, f.wire_len)] ^=
                    (uint8_t)(1 + rand_src_below(&src.r, 255));
                f.header_len = p->header_len;
                both_take(ours, theirs, &f, true);
            }
        }
        assert_true(taken_again > ORACLE_PACKETS / 5);
        srtp_sess_free(ours);
        srtp_dealloc(sender);
        srtp_dealloc(theirs);
    }
}

/* --- Either back end alone. */

static void test_verdicts(void **state)
{
    uint8_t master[64] = {9}, plain[40] = {0x80, 111, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4}, wire[80],
            out[80];
    size_t len;
    uint64_t index;

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(profiles) * ARRAY_LEN(backends); k++) {
        enum srtp_sess_backend be = backends[k % 2];
        struct srtp_sess *o = sess(profiles[k / 2], be, true, master);
        struct srtp_sess *in = sess(profiles[k / 2], be, false, master);
        struct slice none = {0}, head = slice_of(plain, 12), text = slice_of(plain + 12, 28);
        size_t n = srtp_sess_protect(o, 1, head, text, none, wire);
        assert_int_equal(srtp_sess_protect(o, 1, slice_of(plain, 11), text, none, out), 0);
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *g = guard_copy(wire, cut);
            int err = srtp_sess_unprotect(in, slice_of(g, cut), 12, 0x01020304, out, &len, &index);
            assert_true(err == -EBADMSG || err == -EACCES);
            guard_free(g, cut);
        }
        struct slice w = slice_of(wire, n);
        assert_int_equal(srtp_sess_unprotect(in, w, 11, 0x01020304, out, &len, &index), -EBADMSG);
        assert_int_equal(srtp_sess_unprotect(in, w, n, 0x01020304, out, &len, &index), -EBADMSG);
        assert_int_equal(srtp_sess_ssrcs(in), 0); /* nobody was authentic */
        assert_int_equal(srtp_sess_unprotect(in, w, 12, 0x01020304, out, &len, &index), 0);
        assert_int_equal(srtp_sess_ssrcs(in), 1);
        assert_int_equal(srtp_sess_unprotect(in, w, 12, 0x01020304, out, &len, &index), -EALREADY);
        /* an empty payload, in place */
        wire[0] = 0;
        plain[3] = 2;
        n = srtp_sess_protect(o, 2, head, none, none, wire);
        assert_int_equal(
            srtp_sess_unprotect(in, slice_of(wire, n), 12, 0x01020304, wire, &len, &index), 0);
        assert_int_equal(len, 12);
        assert_memory_equal(wire, plain, 12);
        plain[3] = 1;
        srtp_sess_free(o);
        srtp_sess_free(in);
    }
}

static void test_rtcp_verdicts(void **state)
{
    uint8_t master[64] = {9}, plain[32] = {0x81, 201, 0, 7, 1, 2, 3, 4}, wire[80], out[80];
    size_t len;

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(profiles) * ARRAY_LEN(backends); k++) {
        enum srtp_sess_backend be = backends[k % 2];
        struct srtp_sess *o = sess(profiles[k / 2], be, true, master);
        struct srtp_sess *in = sess(profiles[k / 2], be, false, master);
        size_t n = srtp_sess_protect_rtcp(o, slice_of(plain, 32), wire);
        assert_int_equal(srtp_sess_protect_rtcp(o, slice_of(plain, 7), out), 0);
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *g = guard_copy(wire, cut);
            int err = srtp_sess_unprotect_rtcp(in, slice_of(g, cut), out, &len);
            assert_true(err == -EBADMSG || err == -EACCES);
            guard_free(g, cut);
        }
        assert_int_equal(srtp_sess_unprotect_rtcp(in, slice_of(wire, n), out, &len), 0);
        assert_memory_equal(out, plain, 32);
        assert_int_equal(srtp_sess_unprotect_rtcp(in, slice_of(wire, n), out, &len), -EALREADY);
        /* E bit cleared: we agreed on encryption */
        size_t word_at = profiles[k / 2] == SRTP_SESS_CM_SHA1_80 ? n - 14 : n - 4;
        n = srtp_sess_protect_rtcp(o, slice_of(plain, 32), wire);
        wire[word_at] &= 0x7f;
        assert_int_equal(srtp_sess_unprotect_rtcp(in, slice_of(wire, n), out, &len), -EACCES);
        wire[word_at] |= 0x80;
        assert_int_equal(srtp_sess_unprotect_rtcp(in, slice_of(wire, n), wire, &len), 0);
        assert_memory_equal(wire, plain, 32);
        srtp_sess_free(o);
        srtp_sess_free(in);
    }
}

static void test_ssrcs_are_bounded_and_only_authentic_ones_count(void **state)
{
    uint8_t master[64] = {9}, plain[20] = {0x80, 111, 0, 1}, wire[80], out[80];
    struct srtp_sess *o = sess(SRTP_SESS_GCM_128, SRTP_SESS_EVP, true, master);
    struct srtp_sess *in = sess(SRTP_SESS_GCM_128, SRTP_SESS_EVP, false, master);
    size_t len;
    uint64_t index;

    (void)state;
    for (unsigned i = 0; i <= SRTP_INDEX_SSRCS_MAX; i++) {
        plain[10] = (uint8_t)(i >> 8);
        plain[11] = (uint8_t)i;
        size_t n = srtp_sess_protect(o, 1, slice_of(plain, 12), slice_of(plain + 12, 8),
                                     (struct slice){0}, wire);
        wire[n - 1] ^= 1;
        int err = srtp_sess_unprotect(in, slice_of(wire, n), 12, i, out, &len, &index);
        assert_int_equal(err, i < SRTP_INDEX_SSRCS_MAX ? -EACCES : -ENOSPC);
        wire[n - 1] ^= 1;
        err = srtp_sess_unprotect(in, slice_of(wire, n), 12, i, out, &len, &index);
        assert_int_equal(err, i < SRTP_INDEX_SSRCS_MAX ? 0 : -ENOSPC);
    }
    srtp_sess_free(o);
    srtp_sess_free(in);
}

static void test_wrong_keys_and_no_memory(void **state)
{
    uint8_t master[64] = {1};
    uint64_t live = mem_live();

    (void)state;
    assert_null(srtp_sess_new(SRTP_SESS_NONE, (struct slice){0}, (struct slice){0}, 0, true));
    assert_null(srtp_sess_new(2, slice_of(master, 16), slice_of(master, 14), 0, true));
    assert_null(srtp_sess_new(SRTP_SESS_GCM_128, slice_of(master, 16), slice_of(master, 14), 0, 1));
    assert_null(srtp_sess_new(SRTP_SESS_GCM_256, slice_of(master, 16), slice_of(master, 12), 0, 1));
    assert_int_equal(srtp_sess_key_bytes(5), 0);
    assert_int_equal(srtp_sess_salt_bytes(SRTP_SESS_NONE), 0);
    for (size_t b = 0; b < 2; b++) {
        for (uint64_t n = 0;; n++) {
            mem_fail_after(n);
            struct srtp_sess *s = srtp_sess_new(SRTP_SESS_CM_SHA1_80, slice_of(master, 16),
                                                slice_of(master, 14), backends[b], true);
            bool failed = mem_failed();
            mem_fail_never();
            assert_int_equal(s == NULL, failed);
            srtp_sess_free(s);
            if (!failed)
                break;
        }
    }
    assert_int_equal(mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_packets),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_rtcp_verdicts),
        cmocka_unit_test(test_ssrcs_are_bounded_and_only_authentic_ones_count),
        cmocka_unit_test(test_wrong_keys_and_no_memory),
        cmocka_unit_test(test_oracle_takes_what_we_send),
        cmocka_unit_test(test_we_take_what_the_oracle_sends_and_nothing_else),
    };
    const uint8_t master[30] = {0};
    srtp_sess_free(sess(SRTP_SESS_CM_SHA1_80, SRTP_SESS_LIBSRTP2, true, master)); /* srtp_init() */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
