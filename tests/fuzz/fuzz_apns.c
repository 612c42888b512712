/* server/apns.c and apns_reason.c under whatever Apple may answer, and whenever: each push gets one
 * verdict, sends a bounded number of requests, and leaves nothing behind.
 *
 * Input: bytes that are commands; an answer's body is the rest up to the next 0xff.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/crypto.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/apns.h"
#include "tests/lib/apns_key.h"

#define OUT_MAX   64
#define JOBS      16
#define TRIES_MAX 16 /* requests of one push: one for each cause, and hedges */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    h2_done_fn *done;
    void *ctx;
} out[OUT_MAX];
static unsigned out_n;
static struct job {
    unsigned started, told;
} jobs[JOBS];
static struct apns *a;
static uint64_t now, wall;

static void must(bool ok)
{
    if (!ok)
        abort();
}

static int do_send(void *arg, unsigned lane, const struct h2_request *q, h2_done_fn *done,
                   void *ctx, unsigned avoid_conn, uint64_t now_us)
{
    (void)arg;
    (void)avoid_conn;
    must(lane < apns_lanes(a) && q->deadline_us > now_us && q->body.len > 0);
    if (out_n == OUT_MAX)
        return -12;
    out[out_n].done = done;
    out[out_n++].ctx = ctx;
    return 0;
}

static void do_retire(void *arg, unsigned lane, unsigned conn, uint64_t now_us)
{
    (void)arg;
    (void)conn;
    (void)now_us;
    must(lane < apns_lanes(a));
}
static const struct apns_ops OPS = {.send = do_send, .retire = do_retire};

static void on_done(void *ctx, const struct apns_verdict *v)
{
    struct job *j = ctx;

    must((unsigned)v->result < APNS_RESULT_COUNT && (unsigned)v->why < APNS_WHY_COUNT);
    must(v->tries <= TRIES_MAX && v->id.len == APNS_ID_TEXT);
    must(apns_reason_name(v->reason) != NULL);
    must(++j->told == j->started);
}

static void start(uint8_t what)
{
    struct job *j = &jobs[what % JOBS];
    uint8_t token[4] = {what, 1, 2, 3};
    struct apns_job job = {.content = {.kind = (enum push_kind)(what % PUSH_KIND_COUNT),
                                       .topic = SLICE_LIT("com.acme.talk"),
                                       .call_id = SLICE_LIT("c"),
                                       .from = SLICE_LIT("u"),
                                       .now_s = 1,
                                       .ring_until_s = 2,
                                       .live_type = SLICE_LIT("T"),
                                       .status = SLICE_LIT("active")},
                           .token = slice_of(token, sizeof(token)),
                           .env = (enum apns_env)(what / JOBS % 3),
                           .deadline_us = now + 30 * US_PER_S};

    if (j->started == j->told && apns_push(a, &job, on_done, j, NULL) == 0)
        j->started++;
}

/* The i-th request that is out ends. */
static void end(unsigned i, const struct h2_response *r)
{
    h2_done_fn *done = out[i].done;
    void *ctx = out[i].ctx;

    out[i] = out[--out_n];
    done(ctx, r);
}

static void pass(uint64_t us, int64_t jump_us)
{
    now += us;
    wall = wall + us + (uint64_t)jump_us;
    apns_clock(a, now, wall);
    apns_tick(a);
}

static void step(struct rd *in)
{
    static const unsigned statuses[] = {200, 400, 403, 404, 405, 410, 413, 429, 500, 503, 302, 100};
    uint8_t what = rd_u8(in), which = rd_u8(in);
    struct slice rest = rd_rest(in);

    switch (what % 8) {
    case 0:
    case 1:
        start(which);
        break;
    case 2:
        pass((uint64_t)which * which * 20000, 0);
        break;
    case 3:
        pass(0, ((int64_t)which - 128) * 60 * (int64_t)US_PER_S);
        break;
    case 4:
        if (out_n > 0)
            end(which % out_n, &(struct h2_response){.outcome = (enum h2_outcome)(1 + what / 8 % 4),
                                                     .maybe_done = what & 128,
                                                     .why = ""});
        break;
    default: {
        const uint8_t *stop = rest.len > 0 ? memchr(rest.p, 0xff, rest.len) : NULL;
        size_t n = stop ? (size_t)(stop - rest.p) : rest.len;
        struct slice body = rd_take(in, n);
        (void)rd_u8(in);
        if (out_n > 0)
            end(which % out_n, &(struct h2_response){.outcome = H2_ANSWERED,
                                                     .status = statuses[what / 8 % 12],
                                                     .body = body,
                                                     .conn = which / 16u,
                                                     .why = ""});
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct crypto_signer *signer;
    struct rd in = rd_init(slice_of(data, size));
    const char *why;

    log_setup(LOG_ERROR, LOG_TEXT, -1);
    if (!signer)
        signer = crypto_signer_pem(SLICE_LIT(APNS_KEY_PEM), &why);
    const struct apns_key keys[] = {
        {APNS_PRODUCTION, SLICE_LIT("TEAM123456"), SLICE_LIT("KEY1234567"), signer},
        {APNS_SANDBOX, SLICE_LIT("TEAM123456"), SLICE_LIT("KEYSANDBOX"), signer}};
    const struct apns_app app = {SLICE_LIT("com.acme.talk"), 0, 1};
    now = 1000 * US_PER_S;
    wall = UINT64_C(1795383765) * US_PER_S;
    memset(jobs, 0, sizeof(jobs));
    out_n = 0;
    uint64_t live = mem_live();
    a = apns_new(&(struct apns_conf){keys, 2, &app, 1}, &OPS, NULL, now, wall);
    must(a != NULL);
    while (!in.bad && in.left > 0)
        step(&in);
    while (out_n > 0) /* the pools end */
        end(0, &(struct h2_response){.outcome = H2_NO_CONNECTION, .why = ""});
    pass(31 * US_PER_S, 0);
    while (out_n > 0)
        end(0, &(struct h2_response){.outcome = H2_NO_CONNECTION, .why = ""});
    for (unsigned i = 0; i < JOBS; i++)
        must(jobs[i].told == jobs[i].started);
    must(counter_get(&apns_count(a)->jobs) == 0);
    apns_free(a);
    must(mem_live() == live);
    return 0;
}
