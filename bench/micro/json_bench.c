/* How long a message takes on the routing path: validation, envelope, fields. Prints ns per
 * message, the best of several rounds (the machine is shared).
 *
 *     make build/gcc/bench/micro/json_bench && build/gcc/bench/micro/json_bench
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>

#include "base/clock.h"
#include "proto/json.h"
#include "proto/sig_client.h"

enum { ROUNDS = 15, PER_ROUND = 20000, CANDIDATE_BYTES = 323, INVITE_BYTES = 2465 };

static const struct json_limits limits = {SIG_DEPTH, SIG_VALUES, SIG_LARGE_BYTES};

/* Fills up to n bytes with lines of an SDP as JSON writes them. */
static void write_sdp(struct wr *w, size_t n)
{
    static const char line[] =
        "a=rtpmap:111 opus/48000/2\\r\\na=fmtp:111 minptime=10;useinbandfec=1\\r\\n";
    struct slice s = slice_str(line);

    while (w->len < n && !w->bad)
        wr_bytes(w, slice_sub(s, 0, n - w->len));
    if (w->len > 0 && w->base[w->len - 1] == '\\') /* a cut escape */
        w->base[w->len - 1] = ' ';
}

static struct slice make_candidate(struct wr *w)
{
    wr_str(w, "{\"type\":\"call.candidates\",\"seq\":17,\"ack\":12,\"callId\":"
              "\"0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f\",\"data\":{\"candidates\":[{\"candidate\":"
              "\"candidate:842163049 1 udp 1677729535 203.0.113.77 46154 typ srflx raddr 10.0.0.17 "
              "rport 46154 generation 0 ufrag 8hhY network-cost 999\",\"sdpMid\":\"0\","
              "\"sdpMLineIndex\":0,\"usernameFragment\":\"8hhY");
    while (w->len < CANDIDATE_BYTES - 5)
        wr_u8(w, 'x');
    wr_str(w, "\"}]}}");
    return wr_done(w);
}

static struct slice make_invite(struct wr *w)
{
    wr_str(w, "{\"type\":\"call.invite\",\"id\":\"7f3a\",\"seq\":12,\"ack\":9,\"callId\":"
              "\"0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f\",\"to\":\"bob\",\"data\":{\"metadata\":"
              "{\"isVideo\":false,\"timestamp\":1767225600123},\"offer\":{\"type\":\"offer\","
              "\"sdp\":\"v=0\\r\\n");
    write_sdp(w, INVITE_BYTES - 4);
    wr_str(w, "\"}}}");
    return wr_done(w);
}

static void do_scan(struct slice text)
{
    if (json_scan(text, &limits) != 0)
        puts("bad text");
}

static void do_decode(struct slice text)
{
    static uint8_t buf[SIG_SCRATCH_BYTES];
    struct wr scratch = wr_init(buf, sizeof(buf));
    struct sig_fault fault;
    struct sig_invite in;
    struct sig_msg m;
    int rc = sig_decode(&m, text, &scratch, &fault);

    if (rc == 0)
        rc = m.type == SIG_CALL_INVITE ? sig_client_invite(&in, &m, &fault)
                                       : sig_client_candidates(&m, &fault);
    if (rc != 0)
        puts(fault.text);
}

static double best_ns(void (*run)(struct slice), struct slice text)
{
    uint64_t best = UINT64_MAX;

    for (int r = 0; r < ROUNDS; r++) {
        uint64_t start = clock_now_us();
        for (int i = 0; i < PER_ROUND; i++)
            run(text);
        uint64_t took = clock_now_us() - start;
        best = took < best ? took : best;
    }
    return (double)best * 1000 / PER_ROUND;
}

int main(void)
{
    static uint8_t a[4096], b[4096];
    struct wr wa = wr_init(a, sizeof(a)), wb = wr_init(b, sizeof(b));
    struct slice candidate = make_candidate(&wa), invite = make_invite(&wb);

    printf("%-34s %6zu bytes %8.0f ns\n", "candidate: validate", candidate.len,
           best_ns(do_scan, candidate));
    printf("%-34s %6zu bytes %8.0f ns\n", "candidate: validate, all fields", candidate.len,
           best_ns(do_decode, candidate));
    printf("%-34s %6zu bytes %8.0f ns\n", "invite: validate", invite.len, best_ns(do_scan, invite));
    printf("%-34s %6zu bytes %8.0f ns\n", "invite: validate, all fields", invite.len,
           best_ns(do_decode, invite));
    return 0;
}
