/* dispatch.c, stun_auth.c: who gets an answer, which, how long it is, and who gets none.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "tests/lib/fake_relay.h"
#include "tests/lib/guard.h"
#include "tests/lib/hex.h"
#include "turn/stun_auth.h"

static int setup(void **state)
{
    static struct fake_relay f;

    *state = &f;
    return fake_relay_init(&f);
}

static int teardown(void **state)
{
    fake_relay_fini(*state);
    return 0;
}

static uint64_t dropped(const struct fake_relay *f, enum turn_drop why)
{
    return counter_get(&f->core.metrics.drops[why]);
}

static void test_binding_tells_the_source(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t buf[64];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_client_init(&c, "203.0.113.7:4711", "", "");
    fake_begin(&c, &w, STUN_BINDING);
    assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_ANSWER);
    struct addr seen = fake_find_addr(f, STUN_ATTR_XOR_MAPPED_ADDRESS);
    assert_true(addr_eq(&seen, &c.tuple.client));
    assert_true(f->answer.len * 10 <= w.len * 16); /* amplification at most 1.6 */
    assert_int_equal(f->answer.len, 32);
    stun_put_fingerprint(&w);
    assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_ANSWER);
    struct stun_msg m;
    assert_int_equal(stun_decode(&m, f->answer), 0);
    assert_true(m.has_fingerprint);
}

static void test_transmit_counter_is_echoed(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice v;

    fake_client_init(&c, "203.0.113.7:4711", "ann", "of green gables");
    fake_begin(&c, &w, STUN_BINDING);
    stun_put(&w, STUN_ATTR_TRANSMIT_COUNTER, SLICE_LIT("\0\0\3\0"));
    assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_ANSWER);
    assert_true(fake_find(f, STUN_ATTR_TRANSMIT_COUNTER, &v));
    assert_true(slice_eq(v, SLICE_LIT("\0\0\3\1")));
    assert_true(f->answer.len * 10 <= w.len * 16);
    /* Under the integrity of an authenticated answer; a malformed one is ignored. */
    fake_challenge(f, &c);
    w = wr_init(buf, sizeof(buf));
    fake_begin(&c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
    stun_put(&w, STUN_ATTR_TRANSMIT_COUNTER, SLICE_LIT("\0\0\7\0"));
    assert_int_equal(fake_request(f, &c, &w), 0);
    assert_true(fake_find(f, STUN_ATTR_TRANSMIT_COUNTER, &v));
    assert_true(slice_eq(v, SLICE_LIT("\0\0\7\1")));
    w = wr_init(buf, sizeof(buf));
    fake_begin(&c, &w, STUN_BINDING);
    stun_put(&w, STUN_ATTR_TRANSMIT_COUNTER, SLICE_LIT("\1"));
    assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_ANSWER);
    assert_false(fake_find(f, STUN_ATTR_TRANSMIT_COUNTER, &v));
}

static void test_stranger_is_challenged_briefly(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t buf[64];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice v;

    fake_client_init(&c, "203.0.113.7:4711", "ann", "");
    fake_begin(&c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
    assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_ANSWER);
    assert_int_equal(fake_code(f, &c), 401);
    assert_true(fake_find(f, STUN_ATTR_REALM, &v) && slice_is(v, FAKE_REALM));
    assert_true(fake_find(f, STUN_ATTR_NONCE, &v) && v.len == NONCE_BYTES);
    assert_false(fake_find(f, STUN_ATTR_SOFTWARE, &v));
    assert_true(f->answer.len * 10 <= w.len * 26); /* amplification at most 2.6 */
    assert_int_equal(f->opened, 0);
    /* The first nonce of an epoch makes its keys; a second stranger costs nothing at all. */
    uint64_t live = mem_live();
    c.tuple.client.port++;
    assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_ANSWER);
    assert_int_equal(mem_live(), live);
}

/* ERROR-CODE of the last answer behind its number. */
static struct slice phrase(struct fake_relay *f)
{
    struct slice v = {0};

    assert_true(fake_find(f, STUN_ATTR_ERROR_CODE, &v));
    return slice_sub(v, 4, SIZE_MAX);
}

/* Phrases and SOFTWARE are for people who look for faults (RFC 8489 §14.8, §14.14); a forged source
 * gets neither. */
static void test_words_are_for_proven_clients(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice v;

    f->shared.software = SLICE_LIT("a relay");
    fake_client_init(&c, "203.0.113.7:4711", "ann", "of green gables");
    fake_challenge(f, &c);
    assert_int_equal(phrase(f).len, 0);
    assert_false(fake_find(f, STUN_ATTR_SOFTWARE, &v));
    fake_begin(&c, &w, STUN_ALLOCATE);
    assert_int_equal(fake_request(f, &c, &w), 400);
    assert_true(slice_is(phrase(f), "Bad Request"));
    assert_true(fake_find(f, STUN_ATTR_SOFTWARE, &v) && slice_is(v, "a relay"));
    assert_int_equal(fake_allocate(f, &c), 0);
    assert_true(fake_find(f, STUN_ATTR_SOFTWARE, &v));
    assert_int_equal(fake_permit(f, &c, "127.0.0.1"), 403);
    assert_true(slice_is(phrase(f), "Forbidden"));
    assert_false(fake_find(f, STUN_ATTR_SOFTWARE, &v)); /* Allocate and Refresh only */
    assert_int_equal(fake_refresh(f, &c, 0), 0);
    assert_true(fake_find(f, STUN_ATTR_SOFTWARE, &v));
    f->shared.software = (struct slice){0};
    assert_int_equal(fake_refresh(f, &c, 0), 437);
    assert_true(slice_is(phrase(f), "Allocation Mismatch"));
    assert_false(fake_find(f, STUN_ATTR_SOFTWARE, &v));
    fake_client_init(&c, "203.0.113.7:4712", "ann", "of green gables");
    c.tuple.transport = FIVE_TUPLE_TCP;
    fake_challenge(f, &c);
    assert_true(slice_is(phrase(f), "Unauthenticated"));
}

/* True when the last answer's integrity was made with key. */
static bool answer_is_signed(const struct fake_relay *f, bool sha256, struct slice key)
{
    struct stun_msg m;

    assert_int_equal(stun_decode(&m, f->answer), 0);
    assert_true(sha256 ? !m.mi_at : !m.mi256_at);
    return sha256 ? stun_verify_sha256(&m, key) : stun_verify_sha1(&m, key);
}

static void test_credentials_of_every_kind_are_accepted(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    assert_int_equal(fake_allocate(f, &c), 0);
    assert_true(answer_is_signed(f, false, slice_of(c.key, sizeof(c.key))));
    /* "unless [...] processed as though PASSWORD-ALGORITHM was MD5": then MESSAGE-INTEGRITY. */
    fake_client_init(&c, "203.0.113.7:2", "ann", "of green gables");
    fake_challenge(f, &c);
    c.sha256 = true;
    assert_int_equal(fake_allocate(f, &c), 0);
    assert_true(answer_is_signed(f, false, slice_of(c.key, sizeof(c.key))));
    fake_client_rest(&c, "203.0.113.8:1", FAKE_SECRET, FAKE_WALL_S + 60, "call-1", "carl");
    assert_int_equal(fake_allocate(f, &c), 0);
    fake_client_rest(&c, "203.0.113.8:2", FAKE_PREVIOUS, FAKE_WALL_S + 60, "", "carl");
    assert_int_equal(fake_allocate(f, &c), 0);
    c.tuple.client.port = 3;
    c.has_nonce = false;
    c.sha256 = true;
    assert_int_equal(fake_allocate(f, &c), 0);
    assert_true(answer_is_signed(f, true, slice_of(c.key256, sizeof(c.key256))));
}

static void test_sha256_and_userhash_are_whole_sessions(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    c.sha256 = c.hashed = true;
    assert_int_equal(fake_allocate(f, &c), 0);
    assert_true(answer_is_signed(f, true, slice_of(c.key256, sizeof(c.key256))));
    assert_true(slice_is(alloc_user(fake_alloc(f, &c)), "ann"));
    c.hashed = false; /* the same user by name */
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 0);
    assert_int_equal(fake_refresh(f, &c, 0), 0);
    assert_true(answer_is_signed(f, true, slice_of(c.key256, sizeof(c.key256))));
    fake_client_init(&c, "203.0.113.7:2", "nobody", "of green gables");
    c.hashed = true;
    assert_int_equal(fake_allocate(f, &c), 401);
}

static void test_sha256_is_offered_where_it_does_not_amplify(void **state)
{
    static const struct {
        enum turn_sha256 rule;
        bool stream, software, want;
    } cases[] = {
        {TURN_SHA256_AUTO, false, false, false}, {TURN_SHA256_AUTO, false, true, true},
        {TURN_SHA256_AUTO, true, false, true},   {TURN_SHA256_ALWAYS, false, false, true},
        {TURN_SHA256_NEVER, true, true, false},
    };
    struct fake_relay *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_client c;
        struct slice v = {0}, nonce = {0};
        fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
        c.tuple.transport = cases[i].stream ? FIVE_TUPLE_TCP : FIVE_TUPLE_UDP;
        c.sha256 = cases[i].software;
        f->shared.limits.sha256 = cases[i].rule;
        fake_challenge(f, &c);
        assert_true(fake_find(f, STUN_ATTR_NONCE, &nonce));
        assert_int_equal(fake_find(f, STUN_ATTR_PASSWORD_ALGORITHMS, &v), cases[i].want);
        assert_int_equal(nonce_features(nonce), cases[i].want ? NONCE_PASSWORD_ALGORITHMS : 0);
        if (cases[i].want)
            assert_int_equal(f->answer.len, STUN_HEADER_BYTES + 8 + (cases[i].stream ? 16u : 0u) +
                                                stun_auth_challenge_bytes(f->core.creds));
        if (cases[i].want)
            assert_true(slice_eq(v, SLICE_LIT("\0\2\0\0\0\1\0\0")));
    }
    f->shared.limits.sha256 = TURN_SHA256_AUTO;
}

/* Signs an Allocate with these algorithm attributes (NULL: absent) under a nonce that offers. */
static int allocate_choosing(struct fake_relay *f, struct fake_client *c, const struct slice *list,
                             const struct slice *one, struct slice key)
{
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_begin(c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
    stun_put(&w, STUN_ATTR_USERNAME, slice_str(c->user));
    stun_put(&w, STUN_ATTR_REALM, SLICE_LIT(FAKE_REALM));
    stun_put(&w, STUN_ATTR_NONCE, slice_of(c->nonce, sizeof(c->nonce)));
    if (list)
        stun_put(&w, STUN_ATTR_PASSWORD_ALGORITHMS, *list);
    if (one)
        stun_put(&w, STUN_ATTR_PASSWORD_ALGORITHM, *one);
    stun_put_sha256(&w, key);
    fake_send(f, c, wr_done(&w));
    return fake_code(f, c);
}

static void test_offer_must_come_back_whole(void **state)
{
    static const struct slice ours = SLICE_LIT("\0\2\0\0\0\1\0\0"), cut = SLICE_LIT("\0\1\0\0"),
                              sha = SLICE_LIT("\0\2\0\0"), md5 = SLICE_LIT("\0\1\0\0"),
                              other = SLICE_LIT("\0\3\0\0"), longer = SLICE_LIT("\0\2\0\4abcd"),
                              none = SLICE_LIT("");
    static const struct {
        const struct slice *list, *one;
        bool sha256;
        int want;
    } cases[] = {
        {&ours, NULL, true, 400},   {NULL, &sha, true, 400},     {&cut, &md5, false, 400},
        {&ours, &other, true, 400}, {&ours, &longer, true, 400}, {&ours, &none, true, 400},
        {&ours, &sha, false, 401},  {&ours, &md5, true, 401},    {NULL, NULL, true, 401},
        {&ours, &sha, true, 0},
    };
    struct fake_relay *f = *state;
    struct fake_client c;

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    c.tuple.transport = FIVE_TUPLE_TCP; /* no source limit, and the offer */
    fake_challenge(f, &c);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice key =
            cases[i].sha256 ? slice_of(c.key256, sizeof(c.key256)) : slice_of(c.key, sizeof(c.key));
        assert_int_equal(allocate_choosing(f, &c, cases[i].list, cases[i].one, key), cases[i].want);
    }
    assert_int_equal(fake_refresh(f, &c, 0), 0);
    /* MD5 chosen openly: the answer is still MESSAGE-INTEGRITY-SHA256, with the MD5 key. */
    assert_int_equal(allocate_choosing(f, &c, &ours, &md5, slice_of(c.key, sizeof(c.key))), 0);
    assert_true(answer_is_signed(f, true, slice_of(c.key, sizeof(c.key))));
}

static void test_dtls_client_is_proven(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    c.tuple.transport = FIVE_TUPLE_DTLS;
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t buf[64];
        struct wr w = wr_init(buf, sizeof(buf));
        fake_begin(&c, &w, STUN_BINDING);
        assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_ANSWER);
    }
    fake_challenge(f, &c);
    assert_int_equal(c.nonce[12], 'B'); /* SHA-256 is offered */
}

static void test_good_requests_move_the_way_back(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    struct addr first = fake_addr("10.0.0.1:1000"), then = fake_addr("10.0.0.2:2000");

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    f->core.via = first;
    assert_int_equal(fake_allocate(f, &c), 0);
    const struct alloc *a = fake_alloc(f, &c);
    assert_true(addr_eq(&a->via, &first));
    f->core.via = then;
    uint8_t buf[64];
    struct wr w = wr_init(buf, sizeof(buf));
    fake_begin(&c, &w, STUN_REFRESH);
    fake_send(f, &c, wr_done(&w)); /* without credentials: 401 */
    assert_int_equal(fake_code(f, &c), 401);
    assert_true(addr_eq(&a->via, &first));
    assert_int_equal(fake_refresh(f, &c, 600), 0);
    assert_true(addr_eq(&a->via, &then));
}

static void test_bid_down_is_noticed(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    /* Somebody took the offer out of the 401, bit and list: the client knows no better, its
     * nonce does. */
    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    c.tuple.transport = FIVE_TUPLE_TCP;
    fake_challenge(f, &c);
    assert_int_equal(c.nonce[12], 'B');
    c.nonce[12] = 'A';
    assert_int_equal(allocate_choosing(f, &c, NULL, NULL, slice_of(c.key, sizeof(c.key))), 438);
    assert_int_equal(f->opened, 0);
}

static void test_truncated_integrity_is_refused(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    fake_challenge(f, &c);
    fake_begin(&c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
    stun_put(&w, STUN_ATTR_USERNAME, slice_str(c.user));
    stun_put(&w, STUN_ATTR_REALM, SLICE_LIT(FAKE_REALM));
    stun_put(&w, STUN_ATTR_NONCE, slice_of(c.nonce, sizeof(c.nonce)));
    size_t at = w.len;
    /* The digest covers a length field that ends with the truncated attribute. */
    wr_patch_be16(&w, 2, (uint16_t)(at - STUN_HEADER_BYTES + 4 + 16));
    uint8_t mac[32];
    const struct slice part = wr_done(&w);
    crypto_hmac(CRYPTO_SHA256, slice_of(c.key, sizeof(c.key)), &part, 1, mac);
    stun_put(&w, STUN_ATTR_MESSAGE_INTEGRITY_SHA256, slice_of(mac, 16));
    struct stun_msg m;
    assert_int_equal(stun_decode(&m, wr_done(&w)), 0);
    assert_true(stun_verify_sha256(&m, slice_of(c.key, sizeof(c.key))));
    fake_send(f, &c, wr_done(&w));
    assert_int_equal(fake_code(f, &c), 401);
}

static void test_order_of_checks_is_the_rfcs(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    /* Stale nonce and wrong password: the password is told first (RFC 8489 §9.2.4). */
    fake_client_init(&c, "203.0.113.7:1", "ann", "wrong");
    fake_challenge(f, &c);
    fake_pass(f, 700 * US_PER_S);
    assert_int_equal(fake_allocate(f, &c), 401);
    /* The request of appendix B.1, verified with its SHA-256 key; only its nonce is not ours. */
    static const char b1[] =
        "0001 0090 2112a442 78ad3433c6ad72c029da412e"
        "001e 0020 4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704"
        "0015 0029 6f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c39465354767936"
        "3473 41 000000"
        "0014 000b 6578616d706c652e6f7267 00"
        "001d 0004 0002 0000"
        "001c 0020 b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";
    char err[CREDENTIALS_ERR_MAX];
    uint8_t buf[512];
    struct stun_msg m;
    struct stun_identity id;
    static const struct {
        const char *users;
        int want;
    } cases[] = {
        {"\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9:TheMatrIX", 438},
        {"\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9:TheMatrix", 401},
        {"ann:TheMatrIX", 401},
    };
    assert_int_equal(stun_decode(&m, hex_bytes(b1, buf, sizeof(buf))), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct credentials *b =
            credentials_new(&(struct credentials_spec){.realm = SLICE_LIT("example.org"),
                                                       .users = slice_str(cases[i].users)},
                            err);
        assert_non_null(b);
        assert_int_equal(stun_auth_check(&id, &m,
                                         &(struct stun_auth_env){.creds = b,
                                                                 .nonces = &f->core.nonces,
                                                                 .from = &c.tuple,
                                                                 .now_us = f->now_us}),
                         cases[i].want);
        credentials_free(b);
    }
}

static void test_wrong_credentials_get_401(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    fake_client_init(&c, "203.0.113.7:1", "ann", "wrong");
    assert_int_equal(fake_allocate(f, &c), 401);
    fake_client_init(&c, "203.0.113.7:2", "nobody", "wrong");
    assert_int_equal(fake_allocate(f, &c), 401);
    fake_client_rest(&c, "203.0.113.7:3", "another secret", FAKE_WALL_S + 60, "", "carl");
    assert_int_equal(fake_allocate(f, &c), 401);
    fake_client_rest(&c, "203.0.113.7:4", FAKE_SECRET, FAKE_WALL_S, "", "carl"); /* just expired */
    assert_int_equal(fake_allocate(f, &c), 401);
    assert_int_equal(f->opened, 0);
}

static void test_expired_credential_fails_on_refresh_too(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    fake_client_rest(&c, "203.0.113.7:1", FAKE_SECRET, FAKE_WALL_S + 100, "call-1", "carl");
    assert_int_equal(fake_allocate(f, &c), 0);
    fake_pass(f, 99 * US_PER_S);
    assert_int_equal(fake_refresh(f, &c, 600), 0);
    fake_pass(f, US_PER_S);
    assert_int_equal(fake_refresh(f, &c, 600), 401);
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 401);
    assert_int_equal(f->opened, 1); /* what was granted runs out by itself */
    fake_pass(f, 600 * US_PER_S);
    assert_int_equal(f->opened, 0);
}

static void test_nonce_is_for_one_client_and_a_while(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c, thief;

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    assert_int_equal(fake_allocate(f, &c), 0);
    thief = c;
    thief.tuple.client.port = 2;
    assert_int_equal(fake_allocate(f, &thief), 438);
    assert_int_equal(fake_allocate(f, &thief), 0); /* with the nonce that the 438 brought */
    fake_pass(f, 599 * US_PER_S);
    assert_int_equal(fake_refresh(f, &c, 600), 0);
    fake_pass(f, 2 * US_PER_S);
    assert_int_equal(fake_refresh(f, &c, 600), 438);
    assert_int_equal(fake_refresh(f, &c, 600), 0);
}

/* Each secret costs three digests: only who receives at his address makes us try many. */
static void test_many_secrets_are_tried_for_fresh_nonces_only(void **state)
{
    const struct slice secrets[] = {SLICE_LIT("one"), SLICE_LIT("two"), SLICE_LIT("three")};
    struct fake_relay *f = *state;

    for (size_t n = 1; n <= ARRAY_LEN(secrets); n++) {
        const struct credentials_spec spec = {
            .realm = SLICE_LIT(FAKE_REALM), .secrets = secrets, .n_secrets = n};
        struct fake_client c;
        char err[CREDENTIALS_ERR_MAX];
        turn_core_reload(&f->core, credentials_new(&spec, err));
        fake_client_rest(&c, "203.0.113.7:1", "another",
                         (f->now_us + f->core.wall_offset_us) / US_PER_S + 60, "call", "ann");
        fake_challenge(f, &c);
        c.nonce[NONCE_BYTES - 1] ^= 1;
        assert_int_equal(fake_allocate(f, &c), n < 3 ? 401 : 438);
        assert_int_equal(fake_allocate(f, &c), 401); /* with the nonce that the answer brought */
    }
}

#define OAUTH_KEY    "HGkj32KJGiuy098sdfaqbNjOiaz71923"
#define OAUTH_KEYS   "west:A256GCM:SEdrajMyS0pHaXV5MDk4c2RmYXFiTmpPaWF6NzE5MjM=:0:1700003000\n"
#define OAUTH_SERVER "turn.example"
#define SESSION_KEY  "a session key of 20b"

/* Makes the relay take access tokens; west's key may be used for the next 3000 s. */
static void take_tokens(struct fake_relay *f)
{
    const struct credentials_spec spec = {.realm = SLICE_LIT(FAKE_REALM),
                                          .users = SLICE_LIT("ann:of green gables\nwest:wind\n"),
                                          .access_keys = SLICE_LIT(OAUTH_KEYS),
                                          .server = SLICE_LIT(OAUTH_SERVER)};
    char err[CREDENTIALS_ERR_MAX];
    struct credentials *c = credentials_new(&spec, err);

    assert_non_null(c);
    turn_core_reload(&f->core, c);
}

/* Seals a token for this session key. */
static struct slice token_of(uint8_t buf[128], const char *session_key, uint64_t made_s,
                             uint32_t lifetime_s)
{
    uint8_t block[64];
    struct wr b = wr_init(block, sizeof(block)), w = wr_init(buf, 128);

    wr_be16(&b, (uint16_t)strlen(session_key));
    wr_str(&b, session_key);
    wr_be64(&b, made_s << 16);
    wr_be32(&b, lifetime_s);
    wr_be16(&w, 12);
    wr_str(&w, "twelve bytes");
    uint8_t *out = wr_reserve(&w, b.len + CRYPTO_AEAD_TAG_BYTES);
    assert_int_equal(crypto_aead_seal(CRYPTO_A256GCM, SLICE_LIT(OAUTH_KEY), slice_of(buf + 2, 12),
                                      SLICE_LIT(OAUTH_SERVER), wr_done(&b), out),
                     0);
    return wr_done(&w);
}

/* Sends a request of kid "west" with this token (empty: none), signed with key. */
static int with_token(struct fake_relay *f, struct fake_client *c, enum stun_method method,
                      uint32_t lifetime_s, struct slice token, struct slice key)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));
    struct addr peer = fake_addr("8.8.8.8");

    fake_begin(c, &w, method);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
    stun_put_u32(&w, STUN_ATTR_LIFETIME, lifetime_s);
    stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &peer, fake_tid(&w));
    stun_put(&w, STUN_ATTR_USERNAME, SLICE_LIT("west"));
    stun_put(&w, STUN_ATTR_REALM, SLICE_LIT(FAKE_REALM));
    stun_put(&w, STUN_ATTR_NONCE, slice_of(c->nonce, sizeof(c->nonce)));
    if (token.len > 0)
        stun_put(&w, STUN_ATTR_ACCESS_TOKEN, token);
    if (c->sha256)
        stun_put_sha256(&w, key);
    else
        stun_put_sha1(&w, key);
    fake_send(f, c, wr_done(&w));
    return fake_code(f, c);
}

static void test_access_token_is_a_whole_session(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t b1[128], b2[128], b3[128];
    const struct slice none = {0}, key = SLICE_LIT(SESSION_KEY),
                       other = SLICE_LIT("another session key!");
    struct slice token = token_of(b1, SESSION_KEY, FAKE_WALL_S, 900), v;
    uint32_t granted;

    take_tokens(f);
    fake_client_init(&c, "203.0.113.7:1", "west", "");
    fake_challenge(f, &c);
    assert_true(fake_find(f, STUN_ATTR_THIRD_PARTY_AUTHORIZATION, &v) && slice_is(v, OAUTH_SERVER));
    assert_int_equal(with_token(f, &c, STUN_ALLOCATE, 3600, token, other), 401);
    assert_int_equal(with_token(f, &c, STUN_ALLOCATE, 3600, none, key), 401);
    assert_int_equal(with_token(f, &c, STUN_ALLOCATE, 3600, token, key), 0);
    assert_true(answer_is_signed(f, false, key));
    assert_true(fake_find(f, STUN_ATTR_LIFETIME, &v) && stun_u32_decode(&granted, v) == 0);
    assert_int_equal(granted, 900); /* not longer than the token */
    /* Within the session the token need not come again, nor may another's key take it over. */
    assert_int_equal(with_token(f, &c, STUN_CREATE_PERMISSION, 0, none, key), 0);
    assert_int_equal(with_token(f, &c, STUN_CREATE_PERMISSION, 0, none, other), 401);
    c.sha256 = true;
    assert_int_equal(with_token(f, &c, STUN_CREATE_PERMISSION, 0, none, key), 0);
    assert_true(answer_is_signed(f, true, key));
    c.sha256 = false;
    /* The session ends with its token, and goes on with a new one. */
    fake_pass(f, 590 * US_PER_S);
    token = token_of(b2, "another session key!", FAKE_WALL_S + 590, 300);
    assert_int_equal(with_token(f, &c, STUN_REFRESH, 900, token, other), 0);
    assert_true(fake_find(f, STUN_ATTR_LIFETIME, &v) && stun_u32_decode(&granted, v) == 0);
    assert_int_equal(granted, 300);
    assert_int_equal(with_token(f, &c, STUN_CREATE_PERMISSION, 0, none, key), 401);
    assert_int_equal(with_token(f, &c, STUN_CREATE_PERMISSION, 0, none, other), 0);
    fake_pass(f, 299 * US_PER_S);
    fake_challenge(f, &c);
    with_token(f, &c, STUN_REFRESH, 900, none, other); /* takes the new nonce of the 438 */
    assert_int_equal(with_token(f, &c, STUN_REFRESH, 900, none, other), 0);
    fake_pass(f, US_PER_S);
    assert_int_equal(f->opened, 0); /* one second was left */
    /* A token that is over, of the future, or of a key that is over. */
    c.has_nonce = false;
    fake_challenge(f, &c);
    assert_int_equal(
        with_token(f, &c, STUN_ALLOCATE, 600, token_of(b3, SESSION_KEY, FAKE_WALL_S, 884), key),
        401);
    assert_int_equal(with_token(f, &c, STUN_ALLOCATE, 600,
                                token_of(b3, SESSION_KEY, FAKE_WALL_S + 896, 60), key),
                     401);
    assert_int_equal(
        with_token(f, &c, STUN_ALLOCATE, 600, token_of(b3, SESSION_KEY, FAKE_WALL_S, 886), key), 0);
    assert_int_equal(f->opened, 1);
}

static void test_accounts_of_tokens_are_their_sessions(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t b[128];

    take_tokens(f);
    for (uint16_t i = 0; i < 10; i++) { /* 8 allocations an account */
        char key[] = "session key nr. 0...";
        key[16] = (char)('0' + i / 5);
        fake_client_init(&c, "203.0.113.7:1", "west", "");
        c.tuple.client.port = (uint16_t)(100 + i);
        c.tuple.transport = FIVE_TUPLE_TCP;
        fake_challenge(f, &c);
        assert_int_equal(with_token(f, &c, STUN_ALLOCATE, 600, token_of(b, key, FAKE_WALL_S, 900),
                                    slice_str(key)),
                         0);
    }
}

static void test_key_taken_out_ends_its_sessions(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t b[128];
    struct slice key = SLICE_LIT(SESSION_KEY);

    take_tokens(f);
    fake_client_init(&c, "203.0.113.7:1", "west", "");
    fake_challenge(f, &c);
    assert_int_equal(
        with_token(f, &c, STUN_ALLOCATE, 600, token_of(b, SESSION_KEY, FAKE_WALL_S, 9000), key), 0);
    fake_pass(f, 500 * US_PER_S);
    assert_int_equal(with_token(f, &c, STUN_REFRESH, 3600, (struct slice){0}, key), 0);
    fake_pass(f, 2500 * US_PER_S); /* west's key is over */
    c.has_nonce = false;
    fake_challenge(f, &c);
    assert_int_equal(with_token(f, &c, STUN_REFRESH, 600, (struct slice){0}, key), 401);
    assert_int_equal(f->opened, 1);
}

static void test_user_with_the_name_of_a_key_keeps_what_is_his(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t b[128];
    struct slice key = SLICE_LIT(SESSION_KEY);

    take_tokens(f);
    fake_client_init(&c, "203.0.113.7:1", "west", "wind");
    assert_int_equal(fake_allocate(f, &c), 0);
    assert_int_equal(
        with_token(f, &c, STUN_REFRESH, 600, token_of(b, SESSION_KEY, FAKE_WALL_S, 900), key), 441);
    assert_int_equal(fake_refresh(f, &c, 0), 0);
    assert_int_equal(
        with_token(f, &c, STUN_ALLOCATE, 600, token_of(b, SESSION_KEY, FAKE_WALL_S, 900), key), 0);
    assert_int_equal(fake_refresh(f, &c, 600), 401); /* the session's key, not the password's */
}

static void test_unexpected_token_gets_420(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t b[128];
    struct slice v;

    fake_client_init(&c, "203.0.113.7:1", "west", "");
    fake_challenge(f, &c);
    assert_int_equal(with_token(f, &c, STUN_ALLOCATE, 600, token_of(b, SESSION_KEY, FAKE_WALL_S, 9),
                                SLICE_LIT(SESSION_KEY)),
                     420);
    assert_true(fake_find(f, STUN_ATTR_UNKNOWN_ATTRIBUTES, &v) && slice_eq(v, SLICE_LIT("\0\x1b")));
    fake_client_init(&c, "203.0.113.7:2", "ann", "of green gables");
    fake_challenge(f, &c);
    assert_false(fake_find(f, STUN_ATTR_THIRD_PARTY_AUTHORIZATION, &v));
    assert_int_equal(fake_allocate(f, &c), 0);
}

/* Who was looked up, and whether that works. */
static unsigned looked_up;
static int look_up_error;
static bool look_up_any; /* others than eve, too */

static int fake_look_up(void *arg, unsigned realm, struct slice name)
{
    (void)arg;
    assert_int_equal(realm, 0);
    assert_true(look_up_any || slice_is(name, "eve"));
    looked_up++;
    return look_up_error;
}

/* Makes the relay ask elsewhere for users. */
static void ask_elsewhere(struct fake_relay *f)
{
    static struct relay_ops ops;
    const struct key_cache_conf conf = {.found_us = 60 * US_PER_S,
                                        .absent_us = 10 * US_PER_S,
                                        .stale_us = 6000 * US_PER_S,
                                        .asked_us = 2 * US_PER_S,
                                        .failed_us = US_PER_S,
                                        .entries = 64,
                                        .asked = 64};

    ops = *f->core.ops;
    ops.look_up = fake_look_up;
    f->core.ops = &ops;
    looked_up = 0;
    look_up_any = false;
    look_up_error = 0;
    assert_int_equal(turn_core_expect_users(&f->core, &conf, 1), 0);
}

/* Answers the question for eve. */
static void tell_eve(struct fake_relay *f, const struct fake_client *c)
{
    struct known_keys k = {0};

    memcpy(k.md5, c->key, sizeof(k.md5));
    turn_core_known(&f->core, 0, SLICE_LIT("eve"), false, &k, f->now_us);
}

static void test_unknown_user_is_looked_up_once_his_address_is_proven(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    ask_elsewhere(f);
    fake_client_init(&c, "203.0.113.7:1", "eve", "apple");
    memset(c.nonce, 'A', sizeof(c.nonce));
    c.has_nonce = true;
    assert_int_equal(fake_allocate(f, &c), 438); /* brings a nonce; nobody was asked */
    assert_int_equal(looked_up, 0);
    assert_int_equal(fake_allocate(f, &c), -1); /* UDP: sent again by itself */
    assert_int_equal(fake_allocate(f, &c), -1);
    assert_int_equal(looked_up, 1);
    assert_int_equal(dropped(f, TURN_DROP_LOOK_UP), 2);
    tell_eve(f, &c);
    assert_int_equal(fake_allocate(f, &c), 0);
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 0);
    fake_pass(f, 60 * US_PER_S); /* not fresh any more */
    look_up_error = -EAGAIN;
    assert_int_equal(fake_refresh(f, &c, 600), 0); /* nobody to ask: it goes on counting */
    assert_int_equal(looked_up, 2);
    fake_pass(f, 2 * US_PER_S);
    look_up_error = 0;
    assert_int_equal(fake_refresh(f, &c, 600), -1);
    turn_core_known(&f->core, 0, SLICE_LIT("eve"), false, NULL, f->now_us);
    assert_int_equal(fake_refresh(f, &c, 600), 401); /* taken out */
    assert_int_equal(looked_up, 3);
}

static void test_wrong_key_and_absent_user_get_401(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    ask_elsewhere(f);
    fake_client_init(&c, "203.0.113.7:1", "eve", "apple");
    assert_int_equal(fake_allocate(f, &c), -1);
    c.key[0] ^= 1;
    tell_eve(f, &c);
    c.key[0] ^= 1;
    assert_int_equal(fake_allocate(f, &c), 401);
    /* Whom the credentials here decide about is never asked for. */
    fake_client_init(&c, "203.0.113.8:1", "ann", "wrong");
    assert_int_equal(fake_allocate(f, &c), 401);
    fake_client_rest(&c, "203.0.113.8:2", "another secret", FAKE_WALL_S + 60, "", "carl");
    assert_int_equal(fake_allocate(f, &c), 401);
    fake_client_rest(&c, "203.0.113.8:3", FAKE_SECRET, FAKE_WALL_S - 1, "", "carl");
    assert_int_equal(fake_allocate(f, &c), 401); /* over, and nobody else's business */
    assert_int_equal(looked_up, 1);
}

static void test_one_source_looks_up_no_more_than_it_is_answered(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    ask_elsewhere(f);
    look_up_any = true;
    fake_client_init(&c, "203.0.113.7:1", "eve", "apple");
    c.tuple.transport = FIVE_TUPLE_TCP;
    for (unsigned i = 0; i < 40; i++) {
        c.user[0] = (char)('A' + i);
        fake_allocate(f, &c);
    }
    assert_int_equal(looked_up, 10); /* the burst */
}

static void test_streams_requests_are_held(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c, d;

    ask_elsewhere(f);
    fake_client_init(&c, "203.0.113.7:1", "eve", "apple");
    fake_client_init(&d, "203.0.113.7:2", "eve", "apple");
    c.tuple.transport = d.tuple.transport = FIVE_TUPLE_TCP;
    assert_int_equal(fake_allocate(f, &c), -1);
    assert_int_equal(fake_allocate(f, &d), 500); /* one is held at most */
    assert_int_equal(dropped(f, TURN_DROP_LOOK_UP), 0);
    tell_eve(f, &c);
    struct held *h = held_take(&f->core.held, 0, SLICE_LIT("eve"));
    assert_non_null(h);
    fake_send(f, &c, held_message(h));
    assert_int_equal(fake_code(f, &c), 0);
    held_free(h);
    /* Its connection goes first: nothing is left to be answered. */
    fake_pass(f, 61 * US_PER_S);
    assert_int_equal(fake_refresh(f, &c, 600), -1);
    turn_core_client_gone(&f->core, &c.tuple, f->now_us);
    assert_int_equal(f->core.held.n, 0);
    /* No answer at all: the request is let go in the end. */
    assert_int_equal(fake_allocate(f, &d), -1);
    fake_pass(f, 31 * US_PER_S);
    assert_int_equal(f->core.held.n, 0);
    assert_int_equal(dropped(f, TURN_DROP_LOOK_UP), 1);
}

static void test_nobody_to_ask_gets_500(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    ask_elsewhere(f);
    look_up_error = -EAGAIN;
    fake_client_init(&c, "203.0.113.7:1", "eve", "apple");
    c.tuple.transport = FIVE_TUPLE_TCP;
    assert_int_equal(fake_allocate(f, &c), 500);
    assert_int_equal(fake_allocate(f, &c), 500);
    assert_int_equal(looked_up, 1); /* not each time */
    look_up_error = 0;
    fake_pass(f, US_PER_S);
    assert_int_equal(fake_allocate(f, &c), -1);
    turn_core_known(&f->core, 0, SLICE_LIT("eve"), true, NULL, f->now_us);
    assert_int_equal(fake_allocate(f, &c), 500);
}

static void test_each_realm_has_its_own_users_and_accounts(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client here, there;
    struct slice v;

    /* The realm of the listener that they come to: named in the challenge, and the only one. */
    fake_client_init(&there, "203.0.113.7:1", "ann", "of green gables");
    there.tuple.listener = FAKE_LISTENER2;
    fake_challenge(f, &there);
    assert_true(fake_find(f, STUN_ATTR_REALM, &v) && slice_is(v, FAKE_REALM2));
    assert_int_equal(fake_allocate(f, &there), 401); /* signed for the default realm */
    assert_true(fake_find(f, STUN_ATTR_REALM, &v) && slice_is(v, FAKE_REALM2));
    fake_client_realm(&there, FAKE_REALM2);
    assert_int_equal(fake_allocate(f, &there), 0);
    assert_int_equal(fake_alloc(f, &there)->realm, 1);
    /* The realm at home elsewhere cannot be used here, whoever asks. */
    fake_client_init(&here, "203.0.113.7:2", "ann", "of green gables");
    fake_client_realm(&here, FAKE_REALM2);
    assert_int_equal(fake_allocate(f, &here), 401);
    assert_true(fake_find(f, STUN_ATTR_REALM, &v) && slice_is(v, FAKE_REALM));
    fake_client_realm(&here, FAKE_REALM);
    assert_int_equal(fake_allocate(f, &here), 0);
    /* The same name in both is two accounts, each with its realm's quota: 8, and 2. */
    assert_int_not_equal(fake_alloc(f, &here)->account, fake_alloc(f, &there)->account);
    assert_int_equal(quota_held(f->shared.quota, realm_account(1, SLICE_LIT("ann"))), 1);
    there.tuple.client.port = 11;
    there.has_nonce = false;
    assert_int_equal(fake_allocate(f, &there), 0);
    there.tuple.client.port = 12;
    there.has_nonce = false;
    assert_int_equal(fake_allocate(f, &there), 486);
    here.tuple.client.port = 13;
    here.has_nonce = false;
    assert_int_equal(fake_allocate(f, &here), 0);
}

static void test_user_of_another_realm_is_another_user(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;

    /* Two realms that may be used at one place: both without listeners or hosts. */
    f->shared.realms.of[1].has_listeners = false;
    f->shared.realms.of[1].n_origins = 1;
    f->shared.realms.of[1].origins[0] = SLICE_LIT("https://two.example");
    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    assert_int_equal(fake_allocate(f, &c), 0);
    fake_client_realm(&c, FAKE_REALM2);
    assert_int_equal(fake_refresh(f, &c, 600), 441);
    assert_int_equal(fake_permit(f, &c, "8.8.8.8"), 441);
    assert_int_equal(fake_bind(f, &c, 0x4000, "8.8.8.8:1"), 441);
    fake_client_realm(&c, FAKE_REALM);
    assert_int_equal(fake_refresh(f, &c, 600), 0);
}

static void test_origin_chooses_the_challenge(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t buf[256];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice v;

    f->shared.realms.of[1].has_listeners = false;
    f->shared.realms.of[1].n_origins = 1;
    f->shared.realms.of[1].origins[0] = SLICE_LIT("https://two.example");
    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    fake_begin(&c, &w, STUN_ALLOCATE);
    stun_put(&w, STUN_ATTR_ORIGIN, SLICE_LIT("https://two.example"));
    fake_send(f, &c, wr_done(&w));
    assert_int_equal(fake_code(f, &c), 401);
    assert_true(fake_find(f, STUN_ATTR_REALM, &v) && slice_is(v, FAKE_REALM2));
    fake_client_realm(&c, FAKE_REALM2); /* later requests name the realm, not the origin */
    assert_int_equal(fake_allocate(f, &c), 0);
    fake_pass(f, 601 * US_PER_S);
    assert_int_equal(fake_refresh(f, &c, 600), 438);
    assert_true(fake_find(f, STUN_ATTR_REALM, &v) && slice_is(v, FAKE_REALM2));
}

static void test_incomplete_credentials_get_400(void **state)
{
    static const enum stun_attr_type all[] = {STUN_ATTR_USERNAME, STUN_ATTR_REALM, STUN_ATTR_NONCE};
    struct fake_relay *f = *state;
    struct fake_client c;

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    fake_challenge(f, &c);
    for (size_t missing = 0; missing < ARRAY_LEN(all); missing++) {
        uint8_t buf[512];
        struct wr w = wr_init(buf, sizeof(buf));
        fake_begin(&c, &w, STUN_ALLOCATE);
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
            if (i != missing)
                stun_put(&w, all[i], SLICE_LIT("something"));
        }
        stun_put_sha1(&w, slice_of(c.key, sizeof(c.key)));
        fake_send(f, &c, wr_done(&w));
        assert_int_equal(fake_code(f, &c), 400);
    }
}

/* "MUST be able to parse a UTF-8-encoded sequence of 763 or fewer octets" (RFC 8489 §14.3). */
static void test_longest_user_name_is_read(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t name[764], buf[1024];

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    fake_challenge(f, &c);
    memset(name, 'a', sizeof(name));
    for (size_t len = 762; len <= sizeof(name); len++) {
        struct wr w = wr_init(buf, sizeof(buf));
        fake_begin(&c, &w, STUN_ALLOCATE);
        stun_put(&w, STUN_ATTR_USERNAME, slice_of(name, len));
        stun_put(&w, STUN_ATTR_REALM, SLICE_LIT(FAKE_REALM));
        stun_put(&w, STUN_ATTR_NONCE, slice_of(c.nonce, sizeof(c.nonce)));
        stun_put_sha1(&w, slice_of(c.key, sizeof(c.key)));
        fake_send(f, &c, wr_done(&w));
        assert_int_equal(fake_code(f, &c), len < sizeof(name) ? 401 : 400);
    }
}

static void test_unknown_required_attribute_gets_420_with_its_type(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice v;

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    fake_begin(&c, &w, STUN_BINDING);
    stun_put_u32(&w, (enum stun_attr_type)0x0003, 0); /* CHANGE-REQUEST */
    stun_put_u32(&w, (enum stun_attr_type)0xC057, 0); /* optional: of no interest */
    fake_send(f, &c, wr_done(&w));
    assert_int_equal(fake_code(f, &c), 420);
    assert_true(fake_find(f, STUN_ATTR_UNKNOWN_ATTRIBUTES, &v));
    assert_memory_equal(v.p, "\x00\x03", 2);
    assert_int_equal(v.len, 2);

    fake_challenge(f, &c);
    w = wr_init(buf, sizeof(buf));
    fake_begin(&c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, (enum stun_attr_type)0x002B, 0); /* unassigned */
    assert_int_equal(fake_request(f, &c, &w), 420);
    assert_true(fake_find(f, STUN_ATTR_UNKNOWN_ATTRIBUTES, &v) && v.len == 2);
}

/* RFC 8489 §6.3: "the method value is a supported method [...] the message class is allowed for the
 * particular method [...] If any errors are detected, the message is silently discarded". */
static void test_unsupported_methods_are_dropped(void **state)
{
    static const enum stun_method methods[] = {STUN_SEND, STUN_DATA, STUN_CONNECTION_ATTEMPT,
                                               (enum stun_method)0x0002, (enum stun_method)0x0ff};
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t buf[512];

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    fake_challenge(f, &c);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        struct wr w = wr_init(buf, sizeof(buf));
        uint64_t before = dropped(f, TURN_DROP_UNEXPECTED);
        fake_begin(&c, &w, methods[i]);
        assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_DROP);
        assert_int_equal(dropped(f, TURN_DROP_UNEXPECTED), before + 1);
    }
}

static void test_noise_is_dropped_and_counted(void **state)
{
    static const struct {
        const char *hex;
        enum turn_drop why;
    } cases[] = {
        {"", TURN_DROP_NOT_TURN},
        {"80", TURN_DROP_NOT_TURN},     /* RTP */
        {"16fefd", TURN_DROP_NOT_TURN}, /* DTLS */
        {"00", TURN_DROP_BAD_STUN},
        {"00010000 00000000 000000000000000000000000", TURN_DROP_BAD_STUN}, /* RFC 3489 */
        {"40", TURN_DROP_BAD_CHANDATA},
        {"40000002ff", TURN_DROP_BAD_CHANDATA},
        {"40000000", TURN_DROP_NO_ALLOCATION},
        {"01010000 2112a442 000000000000000000000000", TURN_DROP_UNEXPECTED},    /* response */
        {"00110000 2112a442 000000000000000000000000", TURN_DROP_UNEXPECTED},    /* indication */
        {"00160000 2112a442 000000000000000000000000", TURN_DROP_NO_ALLOCATION}, /* Send */
    };
    struct fake_relay *f = *state;
    struct fake_client c;

    fake_client_init(&c, "203.0.113.7:1", "ann", "");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[64];
        struct slice in = hex_bytes(cases[i].hex, buf, sizeof(buf));
        uint64_t before = dropped(f, cases[i].why);
        uint8_t *copy = guard_copy(in.p, in.len);
        assert_int_equal(fake_send(f, &c, slice_of(copy, in.len)), DISPATCH_DROP);
        guard_free(copy, in.len);
        assert_int_equal(dropped(f, cases[i].why), before + 1);
    }
}

static void test_sources_are_limited_until_they_prove_themselves(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t buf[64];
    struct wr w = wr_init(buf, sizeof(buf));
    unsigned answers = 0;

    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    fake_challenge(f, &c);
    fake_begin(&c, &w, STUN_BINDING);
    for (unsigned i = 0; i < 2000; i++) { /* one second of a flood, ports changing */
        c.tuple.client.port = (uint16_t)(1000 + i);
        f->now_us += 500;
        answers += fake_send(f, &c, wr_done(&w)) == DISPATCH_ANSWER;
    }
    assert_in_range(answers, 10, 20);
    assert_int_equal(dropped(f, TURN_DROP_SOURCE_LIMIT), 2000 - answers);
    /* Who has credentials is not hindered, from the same address. */
    c.tuple.client.port = 1;
    assert_int_equal(fake_allocate(f, &c), 0);
    /* A stream's source address is true: no limit there. */
    c.tuple.transport = FIVE_TUPLE_TCP;
    assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_ANSWER);
    /* Another address is not affected. */
    fake_client_init(&c, "203.0.113.8:1", "", "");
    assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_ANSWER);
}

static void test_denied_clients_are_dropped_before_anything(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    struct cidr block;
    uint8_t buf[64];
    struct wr w = wr_init(buf, sizeof(buf));

    assert_int_equal(cidr_parse(&block, SLICE_LIT("203.0.113.0/28")), 0);
    f->shared.clients = (struct client_policy){.deny = &block, .n_deny = 1};
    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    fake_begin(&c, &w, STUN_BINDING);
    assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_DROP);
    assert_int_equal(dropped(f, TURN_DROP_CLIENT_DENIED), 1);
    assert_int_equal(fake_send(f, &c, slice_sub(wr_done(&w), 0, 19)), DISPATCH_DROP);
    assert_int_equal(dropped(f, TURN_DROP_CLIENT_DENIED), 2);
    assert_int_equal(fake_allocate(f, &c), -1);
    fake_client_init(&c, "203.0.113.16:1", "ann", "of green gables");
    assert_int_equal(fake_allocate(f, &c), 0);
}

static void test_stun_only_answers_binding_and_nothing_else(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t buf[64];
    struct wr w = wr_init(buf, sizeof(buf));

    f->shared.limits.stun_only = true;
    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    fake_begin(&c, &w, STUN_BINDING);
    assert_int_equal(fake_send(f, &c, wr_done(&w)), DISPATCH_ANSWER);
    assert_int_equal(fake_allocate(f, &c), -1);
    assert_true(dropped(f, TURN_DROP_STUN_ONLY) > 0);
}

static void test_signed_request_survives_no_flipped_bit(void **state)
{
    struct fake_relay *f = *state;
    struct fake_client c;
    uint8_t buf[512];
    struct wr w = wr_init(buf, sizeof(buf));

    f->shared.limits.source = (struct bucket_rule){0};
    fake_relay_fini(f);
    fake_relay_init(f);
    fake_client_init(&c, "203.0.113.7:1", "ann", "of green gables");
    c.tuple.transport = FIVE_TUPLE_TCP; /* so that no limit hides an answer */
    fake_challenge(f, &c);
    fake_begin(&c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, 17u << 24);
    fake_sign(&c, &w);
    for (size_t bit = 0; bit < w.len * 8; bit++) {
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        fake_send(f, &c, wr_done(&w));
        struct fake_client scratch = c;
        int code = fake_code(f, &scratch);
        if (bit >= 16 && code == 0 && f->opened > 0)
            fail_msg("bit %zu is not covered", bit);
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(f->opened, 0);
    fake_send(f, &c, wr_done(&w));
    assert_int_equal(fake_code(f, &c), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_binding_tells_the_source),
        T(test_transmit_counter_is_echoed),
        T(test_stranger_is_challenged_briefly),
        T(test_words_are_for_proven_clients),
        T(test_credentials_of_every_kind_are_accepted),
        T(test_sha256_and_userhash_are_whole_sessions),
        T(test_sha256_is_offered_where_it_does_not_amplify),
        T(test_offer_must_come_back_whole),
        T(test_bid_down_is_noticed),
        T(test_dtls_client_is_proven),
        T(test_good_requests_move_the_way_back),
        T(test_truncated_integrity_is_refused),
        T(test_order_of_checks_is_the_rfcs),
        T(test_wrong_credentials_get_401),
        T(test_expired_credential_fails_on_refresh_too),
        T(test_nonce_is_for_one_client_and_a_while),
        T(test_many_secrets_are_tried_for_fresh_nonces_only),
        T(test_access_token_is_a_whole_session),
        T(test_accounts_of_tokens_are_their_sessions),
        T(test_key_taken_out_ends_its_sessions),
        T(test_user_with_the_name_of_a_key_keeps_what_is_his),
        T(test_unexpected_token_gets_420),
        T(test_unknown_user_is_looked_up_once_his_address_is_proven),
        T(test_wrong_key_and_absent_user_get_401),
        T(test_one_source_looks_up_no_more_than_it_is_answered),
        T(test_streams_requests_are_held),
        T(test_nobody_to_ask_gets_500),
        T(test_each_realm_has_its_own_users_and_accounts),
        T(test_user_of_another_realm_is_another_user),
        T(test_origin_chooses_the_challenge),
        T(test_incomplete_credentials_get_400),
        T(test_longest_user_name_is_read),
        T(test_unknown_required_attribute_gets_420_with_its_type),
        T(test_unsupported_methods_are_dropped),
        T(test_noise_is_dropped_and_counted),
        T(test_sources_are_limited_until_they_prove_themselves),
        T(test_denied_clients_are_dropped_before_anything),
        T(test_stun_only_answers_binding_and_nothing_else),
        T(test_signed_request_survives_no_flipped_bit),
    };

    return cmocka_run_group_tests_name("dispatch", tests, NULL, NULL);
}
