/* Requests about what outlives a session: device.*, history.*, privacy.* (docs/SIGNALING.md §11).
 *
 * Called by router.c. A device that registers is in the directory (device_dir.h), where the next
 * call finds it, when it is answered. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sig_record.h"
#include "server/router_priv.h"

#include <errno.h>

#define LIVE_TOKEN_MS (12 * 3600 * (uint64_t)1000) /* a Live Activity is over by then */

static void fail_by(const struct request *q, int rc)
{
    switch (rc) {
    case -ENOSPC:
        request_fail(q, SIG_ERR_DEVICE_TOO_MANY, NULL);
        break;
    case -EINVAL:
        request_fail(q, SIG_ERR_BAD_REQUEST,
                     "data: a text or token is too long or has characters "
                     "that do not belong there, or tokens are too many");
        break;
    case -EACCES:
        request_fail(q, SIG_ERR_PRIVACY_PENDING, NULL);
        break;
    case -EAGAIN:
        request_fail(q, SIG_ERR_STORE_UNAVAILABLE, NULL);
        break;
    default:
        request_fail(q, SIG_ERR_INTERNAL, NULL);
        break;
    }
}

/* ---- device.register ---- */

/* A token of Apple's as text: pairs of digits, so that one token has one spelling. */
static bool is_hex(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return s.len % 2 == 0;
}

/* Returns what is wrong, or NULL. */
static const char *take_token(const struct router *r, const struct sig_token *in,
                              struct ledger_token *out)
{
    if (ledger_token_type_parse(in->type, &out->type) != 0)
        return "data.tokens: type is voip, alert, liveactivity, la_start, fcm or webpush";
    if ((out->type == LEDGER_LIVEACTIVITY) != in->has_call)
        return "data.tokens: callId belongs to liveactivity, and it needs one";
    if (out->type <= LEDGER_LA_START && !is_hex(in->token))
        return "data.tokens: this type is written as lower-case hex digits";
    out->token = in->token;
    out->call_id = in->call_id;
    out->registered_ms = r->wall_us / US_PER_MS;
    out->expires_ms = in->has_call ? out->registered_ms + LIVE_TOKEN_MS : 0;
    return NULL;
}

/* Returns what is wrong, or NULL. tokens has room for SIG_TOKENS_MAX. */
static const char *take_device(const struct request *q, const struct sig_device *in,
                               struct ledger_device *out, struct ledger_token *tokens)
{
    *out = (struct ledger_device){.user = user_id(q->s->user),
                                  .device = session_device(q->s),
                                  .app = in->app,
                                  .version = in->version,
                                  .locale = in->locale,
                                  .seen_ms = q->r->wall_us / US_PER_MS,
                                  .tokens = tokens,
                                  .tokens_n = in->tokens_n};
    if (ledger_platform_parse(in->platform, &out->platform) != 0)
        return "data.platform: ios, macos, android, web or other";
    out->call_ui = out->platform <= LEDGER_MACOS ? LEDGER_CALLKIT : LEDGER_UI_NONE;
    if (in->environment.len > 0 && ledger_env_parse(in->environment, &out->env) != 0)
        return "data.environment: production or sandbox";
    if (in->call_ui.len > 0 && ledger_call_ui_parse(in->call_ui, &out->call_ui) != 0)
        return "data.callUi: callkit, lck or none";
    for (size_t i = 0; i < in->tokens_n; i++) {
        const char *wrong = take_token(q->r, &in->tokens[i], &tokens[i]);
        if (wrong)
            return wrong;
    }
    return NULL;
}

static void reply_registered(const struct request *q)
{
    const struct dir_device *d =
        device_dir_find(q->r->devices, user_id(q->s->user), session_device(q->s));
    struct wr w = router_body(q->r);

    sig_record_registered(&w, q->m->id, session_device(q->s), d ? d->tokens_n : 0);
    request_reply(q, &w);
}

static void device_register(const struct request *q)
{
    struct ledger_token tokens[SIG_TOKENS_MAX] = {0};
    struct ledger_device d;
    struct sig_device in;
    struct sig_fault fault;

    if (sig_record_device(&in, q->m, q->scratch, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    const char *wrong = take_device(q, &in, &d, tokens);
    if (wrong) {
        request_fail(q, SIG_ERR_BAD_REQUEST, wrong);
        return;
    }
    int rc = device_dir_put(q->r->devices, &d);
    if (rc != 0)
        fail_by(q, rc);
    else
        reply_registered(q);
}

/* ---- device.unregister, device.list ---- */

static void reply_empty(const struct request *q)
{
    struct wr w = router_body(q->r);

    sig_server_raw(&w, &(struct sig_head){.type = q->m->type, .re = q->m->id}, SLICE_LIT("{}"));
    request_reply(q, &w);
}

static void device_unregister(const struct request *q)
{
    struct slice device;
    struct sig_fault fault;

    if (sig_record_device_id(&device, q->m, q->scratch, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    if (device.len == 0)
        device = session_device(q->s);
    device_dir_del(q->r->devices, user_id(q->s->user), device);
    reply_empty(q);
}

static void write_device(struct wr *w, bool first, const struct dir_device *d, struct slice self)
{
    sig_record_device_open(w, first,
                           &(struct sig_device_view){.device = d->device,
                                                     .app = d->app,
                                                     .version = d->version,
                                                     .locale = d->locale,
                                                     .platform = ledger_platform_name(d->platform),
                                                     .environment = ledger_env_name(d->env),
                                                     .call_ui = ledger_call_ui_name(d->call_ui),
                                                     .seen_ms = d->seen_ms,
                                                     .self = slice_eq(d->device, self)});
    for (size_t i = 0; i < d->tokens_n; i++)
        sig_record_device_token(w, i == 0, ledger_token_type_name(d->tokens[i].type),
                                d->tokens[i].registered_ms);
    sig_record_device_close(w);
}

static void device_list(const struct request *q)
{
    struct wr w = router_body(q->r);
    bool first = true;

    sig_record_devices_begin(&w, q->m->id);
    for (const struct dir_device *d = device_dir_first(q->r->devices, user_id(q->s->user)); d;
         d = device_dir_next(d)) {
        write_device(&w, first, d, session_device(q->s));
        first = false;
    }
    sig_record_devices_end(&w);
    request_reply(q, &w);
}

/* ---- dispatch ---- */

void router_record_request(const struct request *q)
{
    struct router *r = q->r;

    if (!bucket_take(&q->s->records, &r->records, 1, r->now_us)) {
        counter_inc(&r->count.rate_limited);
        request_error(q, &(struct sig_error){.code = SIG_ERR_RATE_LIMITED,
                                             .retry_after_ms = bucket_wait_ms(
                                                 &q->s->records, &r->records, 1, r->now_us)});
        return;
    }
    if (!r->devices) {
        request_fail(q, SIG_ERR_STORE_UNAVAILABLE, "this server keeps no records");
        return;
    }
    switch (q->m->type) {
    case SIG_DEVICE_REGISTER:
        device_register(q);
        break;
    case SIG_DEVICE_UNREGISTER:
        device_unregister(q);
        break;
    case SIG_DEVICE_LIST:
        device_list(q);
        break;
    default:
        request_fail(q, SIG_ERR_STORE_UNAVAILABLE, "this server keeps no records");
        break;
    }
}
