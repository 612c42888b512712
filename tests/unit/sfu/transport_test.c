/* Whole transports against OpenSSL's client and an ICE agent in memory: set-up in both roles, paths
 * and their selection, restarts, silence, limits, ends, out of memory.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/transport.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sfu/demux.h"
#include "tests/lib/transport_world.h"

static struct world w;
static struct client a, b;

static void begin(const struct demux_conf *conf)
{
    assert_true(world_open(&w, conf));
}

static void begin_connected(void)
{
    begin(NULL);
    assert_true(client_open(&a, &w, world_at(1, 1000), NULL, false));
    assert_true(client_connect(&a));
    w.n_out = 0;
}

static void end(void)
{
    client_close(&a);
    world_close(&w);
}

static void is_selected(const struct client *c, struct media_path at)
{
    assert_non_null(transport_path(c->t));
    assert_true(media_path_eq(transport_path(c->t), &at));
}

/* --- Set-up. */

static void test_connects_in_both_roles_with_every_profile(void **state)
{
    static const struct {
        bool server;
        const char *profiles;
        enum srtp_sess_profile want;
    } v[] = {
        {false, WORLD_SRTP, SRTP_SESS_GCM_128},
        {true, WORLD_SRTP, SRTP_SESS_CM_SHA1_80}, /* the peer chooses, and likes that best */
        {false, "SRTP_AES128_CM_SHA1_80", SRTP_SESS_CM_SHA1_80},
        {true, "SRTP_AEAD_AES_256_GCM", SRTP_SESS_GCM_256},
        {false, "SRTP_AEAD_AES_256_GCM", SRTP_SESS_GCM_256},
    };
    uint8_t plain[256];
    size_t len;
    uint64_t index;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        const struct dtls_peer_conf pc = {.server = v[i].server, .profiles = v[i].profiles};
        begin(NULL);
        assert_true(client_open(&a, &w, world_at(1, 1000), &pc, false));
        assert_int_equal(transport_state(a.t), TRANSPORT_NEW);
        assert_true(client_connect(&a));
        assert_int_equal(a.n_states, 2);
        assert_int_equal(a.states[0], TRANSPORT_CHECKING);
        assert_int_equal(a.states[1], TRANSPORT_CONNECTED);
        assert_int_equal(transport_profile(a.t), v[i].want);
        assert_true(transport_can_send(a.t));
        assert_ptr_equal(transport_user(a.t), &a);
        is_selected(&a, a.at);
        /* to us */
        assert_int_equal(client_send_rtp(&a, a.at, 7), 0);
        assert_int_equal(client_send_rtp(&a, a.at, 7), -EALREADY);
        assert_int_equal(world_drops(&w, TRANSPORT_DROP_RTP_REPLAYED), 1);
        /* to the client */
        w.n_out = 0;
        const uint8_t head[12] = {0x80, 111, 0, 9, 0, 0, 0, 0, 1, 2, 3, 4};
        transport_send_rtp(a.t, 9, slice_of(head, 12), SLICE_LIT("other "), SLICE_LIT("voice"));
        assert_int_equal(w.n_out, 1);
        assert_true(media_path_eq(&w.out[0].to, &a.at));
        assert_int_equal(srtp_sess_unprotect(a.in, slice_of(w.out[0].p, w.out[0].len), 12,
                                             0x01020304, plain, &len, &index),
                         0);
        assert_memory_equal(plain + 12, "other voice", 11);
        end();
    }
}

static void test_rtcp_both_ways(void **state)
{
    uint8_t rr[32] = {0x81, 201, 0, 7, 1, 2, 3, 4}, buf[64], plain[64];
    struct transport *t;
    struct transport_in in;
    size_t len;

    (void)state;
    begin_connected();
    size_t n = srtp_sess_protect_rtcp(a.out, slice_of(rr, 32), buf);
    assert_int_equal(world_recv(&w, a.at, buf, n, &t, &in), TRANSPORT_RTCP);
    assert_ptr_equal(t, a.t);
    assert_int_equal(in.plain.len, 32);
    assert_memory_equal(in.plain.p, rr, 32);
    assert_int_equal(world_recv(&w, a.at, buf, n, &t, &in), TRANSPORT_DROP);
    assert_int_equal(world_drops(&w, TRANSPORT_DROP_RTCP_REPLAYED), 1);
    buf[n - 5] ^= 1;
    assert_int_equal(world_recv(&w, a.at, buf, n, &t, &in), TRANSPORT_DROP);
    for (size_t cut = 2; cut < n; cut++)
        assert_int_equal(world_recv(&w, a.at, buf, cut, &t, &in), TRANSPORT_DROP);
    transport_send_rtcp(a.t, slice_of(rr, 32));
    assert_int_equal(w.n_out, 1);
    assert_int_equal(
        srtp_sess_unprotect_rtcp(a.in, slice_of(w.out[0].p, w.out[0].len), plain, &len), 0);
    assert_memory_equal(plain, rr, 32);
    end();
}

static void test_data_both_ways(void **state)
{
    const struct dtls_peer_conf only_data = {.profiles = NULL};
    struct transport *t;
    struct transport_in in;
    uint8_t got[64];

    (void)state;
    for (unsigned i = 0; i < 2; i++) { /* with media, and without */
        begin(NULL);
        assert_true(client_open(&a, &w, world_at(1, 1000), i ? &only_data : NULL, true));
        assert_true(client_connect(&a));
        w.n_out = a.peer.n_out = 0;
        SSL_write(a.peer.ssl, "sctp", 4);
        assert_int_equal(world_recv(&w, a.at, a.peer.out[0].p, a.peer.out[0].len, &t, &in),
                         TRANSPORT_DATA);
        assert_true(slice_is(transport_read_data(t), "sctp"));
        assert_int_equal(transport_read_data(t).len, 0);
        transport_send_data(a.t, SLICE_LIT("back"));
        assert_int_equal(w.n_out, 1);
        assert_int_equal(
            dtls_peer_read_data(&a.peer, slice_of(w.out[0].p, w.out[0].len), got, sizeof(got)), 4);
        assert_memory_equal(got, "back", 4);
        world_pass(&w, 14 * US_PER_S); /* longer than DTLS lingers without data */
        w.n_out = 0;
        transport_send_data(a.t, SLICE_LIT("later"));
        assert_int_equal(w.n_out, 1);
        if (i == 1) {
            const uint8_t head[12] = {0x80};
            transport_send_rtp(a.t, 0, slice_of(head, 12), SLICE_LIT("x"), (struct slice){0});
            transport_send_rtcp(a.t, slice_of(head, 12));
            assert_int_equal(w.n_out, 1);
            assert_int_equal(world_drops(&w, TRANSPORT_DROP_SEND_STATE), 2);
        }
        end();
    }
}

static void test_a_hello_before_the_description_is_answered_with_it(void **state)
{
    const struct dtls_peer_conf big = {.profiles = WORLD_SRTP, .pad = 1216};
    struct transport *t;
    struct transport_in in;

    (void)state;
    begin(NULL);
    assert_true(client_open(&a, &w, world_at(1, 1000), &big, false));
    client_check(&a, true);
    w.n_out = 0;
    dtls_peer_take(&a.peer, (struct slice){0});
    assert_true(a.peer.n_out >= 2);
    for (unsigned i = 0; i < a.peer.n_out; i++)
        assert_int_equal(world_recv(&w, a.at, a.peer.out[i].p, a.peer.out[i].len, &t, &in),
                         TRANSPORT_HANDLED);
    assert_int_equal(w.n_out, 0);
    for (unsigned i = 0; i < 8; i++) /* no more than fits is kept */
        world_recv(&w, a.at, a.peer.out[0].p, a.peer.out[0].len, &t, &in);
    assert_true(world_drops(&w, TRANSPORT_DROP_DTLS_EARLY) >= 6);
    a.peer.n_out = 0;
    assert_int_equal(client_describe(&a), 0);
    assert_int_equal(w.n_out, 1); /* at once */
    client_pump(&a);
    assert_int_equal(transport_state(a.t), TRANSPORT_CONNECTED);
    end();
}

static void test_as_client_we_begin_when_there_is_a_path_and_a_description(void **state)
{
    const struct dtls_peer_conf pc = {.server = true, .profiles = WORLD_SRTP};

    (void)state;
    begin(NULL);
    assert_true(client_open(&a, &w, world_at(1, 1000), &pc, false));
    assert_int_equal(client_describe(&a), 0);
    assert_int_equal(w.n_out, 0);
    client_check(&a, false);
    assert_int_equal(w.n_out, 2); /* the check's answer, our ClientHello */
    assert_int_equal(w.out[1].p[0], 22);
    client_pump(&a);
    assert_int_equal(transport_state(a.t), TRANSPORT_CONNECTED);
    end();
    begin(NULL);
    assert_true(client_open(&a, &w, world_at(1, 1000), &pc, false));
    client_check(&a, false);
    w.n_out = 0;
    assert_int_equal(client_describe(&a), 0);
    assert_int_equal(w.n_out, 1);
    client_pump(&a);
    assert_int_equal(transport_state(a.t), TRANSPORT_CONNECTED);
    end();
}

static void test_lost_flights_come_again_by_the_deadline(void **state)
{
    (void)state;
    begin(NULL);
    assert_true(client_open(&a, &w, world_at(1, 1000), NULL, false));
    client_describe(&a);
    client_check(&a, true);
    struct transport *t;
    struct transport_in in;
    dtls_peer_take(&a.peer, (struct slice){0});
    world_recv(&w, a.at, a.peer.out[0].p, a.peer.out[0].len, &t, &in);
    a.peer.n_out = w.n_out = 0; /* ours is lost */
    world_pass(&w, 150 * US_PER_MS);
    assert_true(w.n_out > 0);
    client_pump(&a);
    assert_int_equal(transport_state(a.t), TRANSPORT_CONNECTED);
    end();
}

static void test_a_wrong_certificate_is_fatal(void **state)
{
    struct dtls_fingerprint f = {.md = CRYPTO_SHA256, .len = 32};
    const struct transport_remote r = {.fingerprint = &f, .n_fingerprints = 1};

    (void)state;
    begin(NULL);
    assert_true(client_open(&a, &w, world_at(1, 1000), NULL, false));
    assert_int_equal(transport_set_remote(a.t, &r, world_now_us), 0);
    client_check(&a, true);
    dtls_peer_take(&a.peer, (struct slice){0});
    client_pump(&a);
    assert_int_equal(transport_state(a.t), TRANSPORT_FAILED);
    assert_int_equal(transport_why(a.t), TRANSPORT_WHY_FINGERPRINT);
    assert_true(a.peer.failed); /* the alert reached it */
    /* it is not to be found any more */
    assert_int_equal(client_check(&a, true), TRANSPORT_DROP);
    assert_int_equal(world_drops(&w, TRANSPORT_DROP_STUN_USERNAME), 1);
    assert_int_equal(transport_set_remote(a.t, &r, world_now_us), 0);
    transport_restart(a.t, world_now_us);
    transport_close(a.t, world_now_us);
    assert_int_equal(transport_state(a.t), TRANSPORT_FAILED);
    assert_int_equal(demux_deadline(w.d), CLOCK_NEVER);
    end();
}

static void test_descriptions_without_or_with_too_many_fingerprints(void **state)
{
    struct dtls_fingerprint f[DTLS_SRTP_FINGERPRINTS_MAX + 1] = {{0}};
    struct transport_remote r = {.fingerprint = f};

    (void)state;
    begin(NULL);
    assert_true(client_open(&a, &w, world_at(1, 1000), NULL, false));
    assert_int_equal(transport_set_remote(a.t, &r, world_now_us), -EINVAL);
    r.n_fingerprints = DTLS_SRTP_FINGERPRINTS_MAX + 1;
    assert_int_equal(transport_set_remote(a.t, &r, world_now_us), -EINVAL);
    end();
}

static void test_another_certificate_means_another_association(void **state)
{
    (void)state;
    begin_connected();
    dtls_peer_close(&a.peer);
    dtls_peer_open(&a.peer, &(struct dtls_peer_conf){.profiles = WORLD_SRTP});
    srtp_sess_free(a.in);
    srtp_sess_free(a.out);
    assert_int_equal(client_describe(&a), 0);
    assert_int_equal(transport_state(a.t), TRANSPORT_CHECKING);
    assert_int_equal(client_describe(&a), 0); /* the same again changes nothing */
    dtls_peer_take(&a.peer, (struct slice){0});
    client_pump(&a);
    assert_int_equal(transport_state(a.t), TRANSPORT_CONNECTED);
    client_keys(&a);
    assert_int_equal(client_send_rtp(&a, a.at, 1), 0);
    end();
}

/* --- Strangers. */

static void test_strangers_and_garbage_are_counted(void **state)
{
    static const struct {
        uint8_t first;
        enum transport_drop why;
    } v[] = {
        {22, TRANSPORT_DROP_STRANGER},    {23, TRANSPORT_DROP_STRANGER},
        {0x80, TRANSPORT_DROP_STRANGER},  {191, TRANSPORT_DROP_STRANGER},
        {4, TRANSPORT_DROP_FIRST_BYTE},   {19, TRANSPORT_DROP_FIRST_BYTE},
        {64, TRANSPORT_DROP_FIRST_BYTE},  {79, TRANSPORT_DROP_FIRST_BYTE},
        {192, TRANSPORT_DROP_FIRST_BYTE}, {255, TRANSPORT_DROP_FIRST_BYTE},
        {0, TRANSPORT_DROP_STUN_BAD},     {3, TRANSPORT_DROP_STUN_BAD},
    };
    struct transport *t;
    struct transport_in in;
    uint8_t p[64] = {0};

    (void)state;
    begin_connected();
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        uint64_t before = world_drops(&w, v[i].why);
        p[0] = v[i].first;
        assert_int_equal(world_recv(&w, world_at(9, 9), p, sizeof(p), &t, &in), TRANSPORT_DROP);
        assert_int_equal(world_drops(&w, v[i].why), before + 1);
        assert_string_not_equal(transport_drop_name(v[i].why), "");
    }
    assert_int_equal(world_recv(&w, a.at, p, 0, &t, &in), TRANSPORT_DROP);
    assert_int_equal(world_drops(&w, TRANSPORT_DROP_EMPTY), 1);
    assert_int_equal(w.n_out, 0);
    for (int d = 0; d < TRANSPORT_DROP_COUNT; d++)
        assert_non_null(transport_drop_name((enum transport_drop)d));
    end();
}

static void test_rtp_of_a_known_address(void **state)
{
    struct transport *t;
    struct transport_in in;
    uint8_t buf[256], plain[256];
    size_t len;
    uint64_t index;

    (void)state;
    begin(NULL);
    assert_true(client_open(&a, &w, world_at(1, 1000), NULL, false));
    client_describe(&a);
    client_check(&a, true);
    buf[0] = 0x80;
    assert_int_equal(world_recv(&w, a.at, buf, 40, &t, &in), TRANSPORT_DROP);
    assert_int_equal(world_drops(&w, TRANSPORT_DROP_RTP_EARLY), 1);
    dtls_peer_take(&a.peer, (struct slice){0});
    client_pump(&a);
    client_keys(&a);
    size_t n = client_rtp(&a, 1, buf);
    for (size_t cut = 1; cut < 12; cut++)
        assert_int_equal(world_recv(&w, a.at, buf, cut, &t, &in), TRANSPORT_DROP);
    assert_int_equal(world_drops(&w, TRANSPORT_DROP_RTP_BAD), 11);
    uint64_t heard_us = transport_heard_us(a.t);
    world_now_us += 1000;
    for (size_t i = 0; i < n; i++) { /* forged in any byte, it never gets through */
        buf[i] ^= 0x01;
        if (world_recv(&w, a.at, buf, n, &t, &in) == TRANSPORT_RTP)
            assert_int_not_equal(transport_open_rtp(t, &in, plain, &len, &index), 0);
        buf[i] ^= 0x01;
    }
    assert_int_equal(transport_heard_us(a.t), heard_us);
    buf[0] = 0x8f; /* CSRCs beyond the end */
    assert_int_equal(world_recv(&w, a.at, buf, n, &t, &in), TRANSPORT_DROP);
    buf[0] = 0x80;
    assert_int_equal(world_recv(&w, a.at, buf, n, &t, &in), TRANSPORT_RTP);
    assert_int_equal(in.seq, 1);
    assert_int_equal(in.ssrc, 0xabcd0001);
    assert_int_equal(in.pt, 111);
    assert_int_equal(in.ts, 960);
    assert_int_equal(in.header_len, 12);
    assert_int_equal(transport_open_rtp(t, &in, plain, &len, &index), 0);
    assert_int_equal(transport_heard_us(a.t), world_now_us);
    end();
}

static void test_answers_to_strangers_are_limited_by_source(void **state)
{
    const struct demux_conf conf = {.refusals = {.milli_per_s = 1000, .burst = 5}};
    struct ice_check wrong = {.ufrag = SLICE_LIT("whoareyo"), .pwd = SLICE_LIT("x")};

    (void)state;
    begin(&conf);
    assert_true(client_open(&a, &w, world_at(1, 1000), NULL, false));
    for (unsigned i = 0; i < 10000; i++)
        client_check_from(&a, world_at(7, (uint16_t)i), &wrong);
    assert_int_equal(w.n_out, 5);
    assert_int_equal(world_drops(&w, TRANSPORT_DROP_STUN_USERNAME), 5);
    assert_int_equal(world_drops(&w, TRANSPORT_DROP_STUN_LIMIT), 9995);
    wrong.ufrag = transport_ufrag(a.t); /* a name that is known, a wrong password */
    client_check_from(&a, world_at(8, 1), &wrong);
    assert_int_equal(w.n_out, 6);
    assert_int_equal(world_drops(&w, TRANSPORT_DROP_STUN_INTEGRITY), 1);
    assert_int_equal(transport_state(a.t), TRANSPORT_NEW);
    assert_null(transport_path(a.t));
    /* authentic ones go on to be answered, from the same source, too */
    assert_int_equal(client_check_from(&a, world_at(7, 1), NULL), TRANSPORT_HANDLED);
    assert_int_equal(w.n_out, 7);
    struct ice_check conflict = {.controlled = true};
    assert_int_equal(client_check_from(&a, world_at(6, 1), &conflict), TRANSPORT_DROP);
    assert_int_equal(world_drops(&w, TRANSPORT_DROP_STUN_REFUSED), 1);
    assert_int_equal(w.n_out, 8);
    is_selected(&a, world_at(7, 1));
    end();
}

static void test_a_flood_of_hellos_is_limited(void **state)
{
    const struct demux_conf conf = {.dtls = {.milli_per_s = 10 * 1000, .burst = 20}};
    struct transport *t;
    struct transport_in in;

    (void)state;
    begin(&conf);
    assert_true(client_open(&a, &w, world_at(1, 1000), NULL, false));
    client_describe(&a);
    client_check(&a, true);
    dtls_peer_take(&a.peer, (struct slice){0});
    for (unsigned i = 0; i < 10000; i++) {
        world_recv(&w, a.at, a.peer.out[0].p, a.peer.out[0].len, &t, &in);
        w.n_out = w.n_out > 100 ? 0 : w.n_out;
    }
    assert_int_equal(world_drops(&w, TRANSPORT_DROP_DTLS_LIMIT), 9980);
    end();
}

static void test_handshakes_beyond_the_worker_s_rate_wait(void **state)
{
    const struct demux_conf conf = {.handshakes = {.milli_per_s = 10 * 1000, .burst = 1}};

    (void)state;
    begin(&conf);
    assert_true(client_open(&a, &w, world_at(1, 1000), NULL, false));
    assert_true(client_open(&b, &w, world_at(2, 1000), NULL, false));
    assert_true(client_connect(&a));
    client_describe(&b);
    client_check(&b, true);
    w.n_out = 0;
    dtls_peer_take(&b.peer, (struct slice){0});
    client_pump(&b);
    assert_int_equal(transport_state(b.t), TRANSPORT_CHECKING);
    assert_int_equal(w.n_out, 0);
    world_pass(&w, 105 * US_PER_MS);
    client_pump(&b);
    assert_int_equal(transport_state(b.t), TRANSPORT_CONNECTED);
    client_close(&b);
    end();
}

/* --- Paths. */

static void test_the_last_nomination_counts(void **state)
{
    struct media_path p = a.at, q = world_at(1, 2000), r = world_at(2, 3000);

    (void)state;
    begin_connected();
    p = a.at;
    assert_int_equal(client_check_from(&a, q, NULL), TRANSPORT_HANDLED); /* not nominated */
    is_selected(&a, p);
    assert_int_equal(a.paths_told, 1);
    world_now_us += 10 * US_PER_S;
    client_check_from(&a, p, NULL);
    client_check_from(&a, q, &(struct ice_check){.nominate = true, .priority = 5}); /* late */
    is_selected(&a, q);
    assert_int_equal(a.paths_told, 2);
    /* a new address without a restart: an authentic check by the same name is enough */
    client_check_from(&a, r, &(struct ice_check){.nominate = true, .priority = 4});
    is_selected(&a, r);
    client_check_from(&a, q, &(struct ice_check){.nominate = true, .priority = 5}); /* and back */
    is_selected(&a, q);
    /* media goes there, and is taken from all of them */
    w.n_out = 0;
    const uint8_t head[12] = {0x80, 111};
    transport_send_rtp(a.t, 0, slice_of(head, 12), SLICE_LIT("x"), (struct slice){0});
    assert_true(media_path_eq(&world_last(&w)->to, &q));
    assert_int_equal(client_send_rtp(&a, p, 1), 0);
    assert_int_equal(client_send_rtp(&a, r, 2), 0);
    assert_int_equal(client_send_rtp(&a, world_at(3, 3), 3), 1);
    is_selected(&a, q);
    end();
}

static void test_aggressive_nomination_keeps_the_better_path(void **state)
{
    struct media_path p = world_at(1, 1000), q = world_at(1, 2000);

    (void)state;
    begin(NULL);
    assert_true(client_open(&a, &w, p, NULL, false));
    for (unsigned i = 0; i < 5; i++) { /* every check is flagged */
        client_check_from(&a, p, &(struct ice_check){.nominate = true, .priority = 50});
        is_selected(&a, p);
        world_now_us += 20 * US_PER_MS;
        client_check_from(&a, q, &(struct ice_check){.nominate = true, .priority = 40});
        is_selected(&a, p);
        world_now_us += 20 * US_PER_MS;
    }
    /* only the worse one is nominated from now on: that is meant */
    client_check_from(&a, q, &(struct ice_check){.nominate = true, .priority = 40});
    is_selected(&a, q);
    client_check_from(&a, p, &(struct ice_check){.nominate = true, .priority = 50});
    is_selected(&a, p);
    end();
}

static void test_renomination_counts_upwards(void **state)
{
    struct media_path q = world_at(1, 2000);

    (void)state;
    begin_connected();
    client_check_from(&a, q, &(struct ice_check){.nomination = 2, .priority = 1});
    is_selected(&a, q);
    client_check_from(&a, a.at, &(struct ice_check){.nomination = 1});
    is_selected(&a, q);
    client_check_from(&a, a.at, &(struct ice_check){.nomination = 3});
    is_selected(&a, a.at);
    end();
}

static void test_media_by_another_path_moves_a_silent_one(void **state)
{
    struct media_path q = world_at(1, 2000);

    (void)state;
    begin_connected();
    client_check_from(&a, q, NULL);
    assert_int_equal(client_send_rtp(&a, a.at, 1), 0);
    assert_int_equal(client_send_rtp(&a, q, 2), 0); /* both are alive */
    is_selected(&a, a.at);
    world_now_us += 250 * US_PER_MS;
    assert_int_equal(client_send_rtp(&a, q, 3), 0);
    is_selected(&a, q);
    world_now_us += 2500 * US_PER_MS; /* a check does it after longer silence */
    client_check_from(&a, a.at, NULL);
    is_selected(&a, a.at);
    end();
}

static void test_an_address_belongs_to_one_client(void **state)
{
    (void)state;
    begin_connected();
    assert_true(client_open(&b, &w, a.at, NULL, false));
    assert_int_equal(client_check(&b, true), TRANSPORT_DROP);
    assert_int_equal(world_drops(&w, TRANSPORT_DROP_PATH_TAKEN), 1);
    assert_int_equal(w.n_out, 0);
    assert_int_equal(client_send_rtp(&a, a.at, 1), 0);
    world_now_us += 6 * US_PER_S; /* nothing was heard from there for long */
    assert_int_equal(client_check(&b, true), TRANSPORT_HANDLED);
    is_selected(&b, a.at);
    assert_null(transport_path(a.t));
    assert_int_equal(transport_state(a.t), TRANSPORT_DISCONNECTED);
    assert_int_equal(client_check_from(&a, world_at(1, 1001), NULL), TRANSPORT_HANDLED);
    assert_int_equal(transport_state(a.t), TRANSPORT_CONNECTED);
    client_close(&b);
    end();
}

static void test_paths_are_bounded_and_the_selected_one_stays(void **state)
{
    (void)state;
    begin_connected();
    for (uint16_t i = 0; i < 50; i++) {
        world_now_us += US_PER_MS;
        client_check_from(&a, world_at(1, (uint16_t)(2000 + i)), NULL);
    }
    is_selected(&a, a.at);
    assert_int_equal(client_send_rtp(&a, a.at, 1), 0);
    assert_int_equal(client_send_rtp(&a, world_at(1, 2049), 2), 0);
    assert_int_equal(client_send_rtp(&a, world_at(1, 2000), 3), 1); /* given up */
    end();
}

static void test_a_connection_that_is_gone(void **state)
{
    int tcp[2];
    struct media_path p = world_at(1, 1000), q = world_at(1, 2000);

    (void)state;
    begin_connected();
    p.tcp = (struct ice_tcp *)&tcp[0];
    q.tcp = (struct ice_tcp *)&tcp[1];
    client_check_from(&a, p, &(struct ice_check){.nominate = true});
    client_check_from(&a, q, &(struct ice_check){.nominate = true});
    is_selected(&a, q);
    demux_gone(w.d, &p, world_now_us);
    is_selected(&a, q);
    demux_gone(w.d, &q, world_now_us);
    is_selected(&a, a.at); /* the next best */
    assert_int_equal(transport_state(a.t), TRANSPORT_CONNECTED);
    demux_gone(w.d, &a.at, world_now_us);
    assert_int_equal(transport_state(a.t), TRANSPORT_DISCONNECTED);
    assert_false(transport_can_send(a.t));
    demux_gone(w.d, &q, world_now_us);
    client_check(&a, true);
    assert_int_equal(transport_state(a.t), TRANSPORT_CONNECTED);
    end();
}

/* --- Restart. */

static void test_restart_keeps_media_and_both_credentials(void **state)
{
    char ufrag[8], pwd[24];
    struct media_path q = world_at(2, 2000);

    (void)state;
    begin_connected();
    memcpy(ufrag, transport_ufrag(a.t).p, 8);
    memcpy(pwd, transport_pwd(a.t).p, 24);
    const struct ice_check old = {
        .ufrag = slice_of(ufrag, 8), .pwd = slice_of(pwd, 24), .nominate = true};
    transport_restart(a.t, world_now_us);
    assert_memory_not_equal(ufrag, transport_ufrag(a.t).p, 8);
    assert_int_equal(client_send_rtp(&a, a.at, 1), 0);
    assert_int_equal(client_check_from(&a, a.at, &old), TRANSPORT_HANDLED);
    assert_int_equal(client_check_from(&a, q, NULL), TRANSPORT_HANDLED); /* new, not nominated */
    assert_int_equal(client_check_from(&a, a.at, &old), TRANSPORT_HANDLED);
    is_selected(&a, a.at);
    world_now_us += 50 * US_PER_MS;
    client_check_from(&a, q, &(struct ice_check){.nominate = true});
    client_check_from(&a, q, &(struct ice_check){.nominate = true});
    is_selected(&a, q);
    assert_int_equal(client_check_from(&a, a.at, &old), TRANSPORT_DROP); /* forgotten */
    assert_int_equal(client_send_rtp(&a, q, 2), 0);
    assert_int_equal(transport_state(a.t), TRANSPORT_CONNECTED);
    /* several in a row: the last but one is gone */
    transport_restart(a.t, world_now_us);
    transport_restart(a.t, world_now_us);
    assert_int_equal(client_check_from(&a, q, NULL), TRANSPORT_HANDLED);
    end();
}

/* --- Silence. */

static void test_silence_and_return(void **state)
{
    (void)state;
    begin_connected();
    world_pass(&w, TRANSPORT_QUIET_US - US_PER_S);
    assert_int_equal(transport_state(a.t), TRANSPORT_CONNECTED);
    assert_int_equal(client_send_rtp(&a, a.at, 1), 0); /* media counts, checks or not */
    world_pass(&w, TRANSPORT_QUIET_US - US_PER_S);
    assert_int_equal(transport_state(a.t), TRANSPORT_CONNECTED);
    world_pass(&w, 2 * US_PER_S);
    assert_int_equal(transport_state(a.t), TRANSPORT_DISCONNECTED);
    w.n_out = 0;
    const uint8_t head[12] = {0x80, 111};
    transport_send_rtp(a.t, 0, slice_of(head, 12), SLICE_LIT("x"), (struct slice){0});
    assert_int_equal(w.n_out, 0);
    assert_int_equal(client_send_rtp(&a, a.at, 2), 0);
    assert_int_equal(transport_state(a.t), TRANSPORT_CONNECTED);
    world_pass(&w, TRANSPORT_LOST_US - US_PER_S);
    assert_int_equal(transport_state(a.t), TRANSPORT_DISCONNECTED);
    transport_restart(a.t, world_now_us); /* gives time to come back */
    world_pass(&w, TRANSPORT_CONNECT_US - US_PER_S);
    assert_int_equal(transport_state(a.t), TRANSPORT_DISCONNECTED);
    world_pass(&w, 2 * US_PER_S);
    assert_int_equal(transport_state(a.t), TRANSPORT_FAILED);
    assert_int_equal(transport_why(a.t), TRANSPORT_WHY_SILENT);
    assert_int_equal(client_send_rtp(&a, a.at, 3), 1);
    end();
}

static void test_set_up_that_goes_nowhere(void **state)
{
    (void)state;
    begin(NULL);
    assert_true(client_open(&a, &w, world_at(1, 1000), NULL, false));
    client_describe(&a);
    world_pass(&w, TRANSPORT_CONNECT_US + 10 * US_PER_MS);
    assert_int_equal(transport_state(a.t), TRANSPORT_FAILED);
    assert_int_equal(transport_why(a.t), TRANSPORT_WHY_NO_CHECK);
    client_close(&a);
    assert_true(client_open(&a, &w, world_at(1, 1000), NULL, false));
    client_describe(&a);
    client_check(&a, true);
    world_pass(&w, TRANSPORT_CONNECT_US + 10 * US_PER_MS);
    assert_int_equal(transport_state(a.t), TRANSPORT_FAILED);
    assert_int_equal(transport_why(a.t), TRANSPORT_WHY_NO_DTLS);
    end();
}

/* --- Ends. */

static void test_either_side_says_goodbye(void **state)
{
    struct transport *t;
    struct transport_in in;
    uint8_t got[8];

    (void)state;
    begin_connected();
    transport_close(a.t, world_now_us);
    assert_int_equal(transport_state(a.t), TRANSPORT_CLOSED);
    assert_int_equal(w.n_out, 1);
    dtls_peer_read_data(&a.peer, slice_of(w.out[0].p, w.out[0].len), got, sizeof(got));
    assert_true(SSL_get_shutdown(a.peer.ssl) & SSL_RECEIVED_SHUTDOWN);
    transport_close(a.t, world_now_us);
    end();
    begin_connected();
    a.peer.n_out = 0;
    SSL_shutdown(a.peer.ssl);
    world_recv(&w, a.at, a.peer.out[0].p, a.peer.out[0].len, &t, &in);
    assert_int_equal(transport_state(a.t), TRANSPORT_CLOSED);
    end();
}

static void test_sizes(void **state)
{
    static uint8_t big[TRANSPORT_SEND_MAX + 1] = {0x80, 111};

    (void)state;
    begin_connected();
    struct slice head = slice_of(big, 12), none = {0};
    transport_send_rtp(a.t, 0, head, slice_of(big + 12, TRANSPORT_SEND_MAX - 12), none);
    assert_int_equal(w.n_out, 1);
    transport_send_rtp(a.t, 1, head, slice_of(big + 12, TRANSPORT_SEND_MAX - 11), none);
    transport_send_rtcp(a.t, slice_of(big, TRANSPORT_SEND_MAX + 1));
    assert_int_equal(w.n_out, 1);
    assert_int_equal(world_drops(&w, TRANSPORT_DROP_SEND_SIZE), 2);
    transport_send_rtcp(a.t, slice_of(big, TRANSPORT_SEND_MAX));
    assert_int_equal(w.n_out, 2);
    end();
}

static void test_every_allocation_may_fail(void **state)
{
    uint64_t live = mem_live();

    (void)state;
    for (uint64_t n = 0;; n++) {
        mem_fail_after(n);
        bool ok = world_open(&w, NULL);
        if (ok) {
            if (client_open(&a, &w, world_at(1, 1000), NULL, true)) {
                client_check(&a, true);
                dtls_peer_take(&a.peer, (struct slice){0});
                client_pump(&a);
                client_describe(&a); /* the hello was kept, or could not be */
                client_pump(&a);
                if (a.peer.done) {
                    client_keys(&a);
                    if (a.in && a.out && transport_state(a.t) == TRANSPORT_CONNECTED)
                        client_send_rtp(&a, a.at, 1);
                }
            }
            client_close(&a);
            world_close(&w);
        }
        bool failed = mem_failed();
        mem_fail_never();
        assert_int_equal(mem_live(), live);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connects_in_both_roles_with_every_profile),
        cmocka_unit_test(test_rtcp_both_ways),
        cmocka_unit_test(test_data_both_ways),
        cmocka_unit_test(test_a_hello_before_the_description_is_answered_with_it),
        cmocka_unit_test(test_as_client_we_begin_when_there_is_a_path_and_a_description),
        cmocka_unit_test(test_lost_flights_come_again_by_the_deadline),
        cmocka_unit_test(test_a_wrong_certificate_is_fatal),
        cmocka_unit_test(test_descriptions_without_or_with_too_many_fingerprints),
        cmocka_unit_test(test_another_certificate_means_another_association),
        cmocka_unit_test(test_strangers_and_garbage_are_counted),
        cmocka_unit_test(test_rtp_of_a_known_address),
        cmocka_unit_test(test_answers_to_strangers_are_limited_by_source),
        cmocka_unit_test(test_a_flood_of_hellos_is_limited),
        cmocka_unit_test(test_handshakes_beyond_the_worker_s_rate_wait),
        cmocka_unit_test(test_the_last_nomination_counts),
        cmocka_unit_test(test_aggressive_nomination_keeps_the_better_path),
        cmocka_unit_test(test_renomination_counts_upwards),
        cmocka_unit_test(test_media_by_another_path_moves_a_silent_one),
        cmocka_unit_test(test_an_address_belongs_to_one_client),
        cmocka_unit_test(test_paths_are_bounded_and_the_selected_one_stays),
        cmocka_unit_test(test_a_connection_that_is_gone),
        cmocka_unit_test(test_restart_keeps_media_and_both_credentials),
        cmocka_unit_test(test_silence_and_return),
        cmocka_unit_test(test_set_up_that_goes_nowhere),
        cmocka_unit_test(test_either_side_says_goodbye),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
