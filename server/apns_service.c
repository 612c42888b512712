/* Jobs and verdicts between push.c and apns.c.
 *
 * Wired by main.c. A token registers as text and is pushed as bytes. What Apple did not take counts
 * as failed, unless it may have arrived all the same: then the device may still come. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns_service.h"

#include <errno.h>

static int digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Returns 0, or -EINVAL: no hex digits, or too many. */
static int from_hex(struct slice text, struct wr *w)
{
    for (size_t i = 0; i + 1 < text.len; i += 2) {
        int high = digit(text.p[i]), low = digit(text.p[i + 1]);
        if (high < 0 || low < 0)
            return -EINVAL;
        wr_u8(w, (uint8_t)(high << 4 | low));
    }
    return w->bad || w->len == 0 || text.len % 2 != 0 ? -EINVAL : 0;
}

enum ledger_env apns_service_env(enum apns_env e)
{
    return e == APNS_PRODUCTION ? LEDGER_PRODUCTION
           : e == APNS_SANDBOX  ? LEDGER_SANDBOX
                                : LEDGER_ENV_UNKNOWN;
}

static enum apns_env env_of(enum ledger_env e)
{
    return e == LEDGER_PRODUCTION ? APNS_PRODUCTION
           : e == LEDGER_SANDBOX  ? APNS_SANDBOX
                                  : APNS_ENV_UNKNOWN;
}

struct push_verdict apns_service_verdict(const struct apns_verdict *v)
{
    const char *reason =
        v->why != APNS_WHY_NONE ? apns_why_name(v->why) : apns_reason_name(v->reason);
    struct push_verdict out = {.result = PUSH_NO,
                               .status = v->status,
                               .reason = slice_str(reason),
                               .maybe = v->maybe_done,
                               .gone_since_ms = v->gone_since_ms};

    switch (v->result) {
    case APNS_ACCEPTED:
        out.result = PUSH_TAKEN;
        out.reason = (struct slice){0};
        out.env = apns_service_env(v->env);
        break;
    case APNS_TOKEN_GONE:
        out.result = PUSH_GONE;
        break;
    case APNS_TOKEN_BAD:
        out.result = PUSH_BAD;
        break;
    default: /* parked, rejected, given up: the token stays */
        break;
    }
    return out;
}

static void on_verdict(void *ctx, const struct apns_verdict *v)
{
    struct push_out *out = ctx;
    struct apns_service *s = push_out_service(out);
    const struct push_verdict verdict = apns_service_verdict(v);

    if (s->_enter)
        s->_enter(s->_arg);
    push_verdict(out, &verdict);
}

static int do_send(void *arg, const struct push_job *job, struct push_out *out, char *id)
{
    struct apns_service *s = arg;
    uint8_t token[APNS_TOKEN_MAX];
    struct wr w = wr_init(token, sizeof(token));

    if (from_hex(job->token, &w) != 0)
        return -EINVAL;
    if (s->_before)
        s->_before(s->_arg);
    push_out_set_service(out, s);
    return apns_push(s->_apns,
                     &(struct apns_job){.content = job->content,
                                        .token = wr_done(&w),
                                        .env = env_of(job->env),
                                        .deadline_us = job->deadline_us},
                     on_verdict, out, id);
}

static void do_cancel(void *arg, struct slice id)
{
    struct apns_service *s = arg;

    if (s->_before)
        s->_before(s->_arg);
    apns_cancel(s->_apns, id);
}

void apns_service_init(struct apns_service *s, struct apns *a, void (*before)(void *arg),
                       void (*enter)(void *arg), void *arg)
{
    *s = (struct apns_service){.service = {do_send, do_cancel, s},
                               ._apns = a,
                               ._before = before,
                               ._enter = enter,
                               ._arg = arg};
}
