/* Requests about what outlives a session: device.*, history.*, privacy.* (docs/SIGNALING.md §11).
 *
 * Called by router.c. A request goes to the ledger and waits there (struct record_wait) until it is
 * committed; then its effect is in the directory (device_dir.h), where the next call finds it, and
 * the client is answered. Without a ledger devices are kept in memory, and nothing else is. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/mem.h"
#include "proto/sig_record.h"
#include "server/export_link.h"
#include "server/history.h"
#include "server/router_priv.h"

#include <errno.h>

#define LIVE_TOKEN_MS (12 * 3600 * (uint64_t)1000) /* a Live Activity is over by then */
#define DAY_MS        (24 * 3600 * (uint64_t)1000)
#define EXPIRE_US     (60 * US_PER_S) /* how often so many devices are looked at */
#define EXPIRE_MAX    1000

/* A request that waits for the ledger; and what it asked, when that is needed afterwards. */
struct record_wait {
    struct list link;
    struct router *r;
    enum sig_type type;
    uint8_t session[SESSION_ID_BYTES];
    uint64_t id_hash;
    struct slice id, user, text; /* in the memory behind this struct; text: a device id */
    struct ledger_device device; /* device.register: the same */
    struct ledger_token tokens[SIG_TOKENS_MAX];
};

void router_set_ledger(struct router *r, struct ledger *l, void (*enter)(void *arg),
                       void (*sweep)(void *arg), void *arg)
{
    r->ledger = l;
    r->enter = enter;
    r->sweep = sweep;
    r->enter_arg = arg;
    if (r->conf->ledger.token_key.len > 0) /* without memory there are no links, and that is all */
        r->export_link =
            export_link_new(slice_of(r->conf->ledger.token_key.p, r->conf->ledger.token_key.len));
}

void router_set_enter(struct router *r, void (*enter)(void *arg), void *arg)
{
    r->enter = enter;
    r->enter_arg = arg;
}

void router_enter(struct router *r)
{
    if (r->enter)
        r->enter(r->enter_arg);
}

void router_record_init(struct router *r)
{
    list_init(&r->record_waits);
}

static void drop_wait(struct record_wait *w)
{
    list_del(&w->link);
    for (size_t i = 0; i < w->device.tokens_n; i++)
        crypto_wipe((void *)(uintptr_t)w->tokens[i].token.p, w->tokens[i].token.len);
    mem_free(w);
}

void router_record_fini(struct router *r)
{
    export_link_free(r->export_link);
    while (!list_empty(&r->record_waits))
        drop_wait(CONTAINER_OF(list_first(&r->record_waits), struct record_wait, link));
}

bool router_record_waits(const struct router *r, const struct session *s, uint64_t id_hash)
{
    LIST_EACH(l, tmp, &r->record_waits)
    {
        const struct record_wait *w = CONTAINER_OF(l, struct record_wait, link);
        if (w->id_hash == id_hash && memcmp(w->session, s->id, sizeof(w->session)) == 0)
            return true;
    }
    return false;
}

/* The sentence for an error of the directory or the ledger. */
static enum sig_err error_of(int rc, const char **text)
{
    *text = NULL;
    switch (rc) {
    case -ENOSPC:
        return SIG_ERR_DEVICE_TOO_MANY;
    case -EINVAL:
        *text = "data: a text or token is too long or has characters that do not belong there, or "
                "tokens are too many";
        return SIG_ERR_BAD_REQUEST;
    case -EACCES:
        return SIG_ERR_PRIVACY_PENDING;
    case -EBUSY:
        return SIG_ERR_PRIVACY_TOO_SOON;
    case -ENOENT:
        return SIG_ERR_PRIVACY_NOT_FOUND;
    case -EAGAIN:
        return SIG_ERR_STORE_UNAVAILABLE;
    default:
        return SIG_ERR_INTERNAL;
    }
}

static void fail_by(const struct request *q, int rc)
{
    const char *text;
    enum sig_err err = error_of(rc, &text);

    request_fail(q, err, text);
}

/* ---- waiting ---- */

static size_t device_bytes(const struct ledger_device *d)
{
    size_t n = d->app.len + d->version.len + d->locale.len;

    for (size_t i = 0; i < d->tokens_n; i++)
        n += d->tokens[i].token.len;
    return n;
}

static struct slice keep(struct wr *w, struct slice s)
{
    size_t at = w->len;

    wr_bytes(w, s);
    return slice_of(&w->base[at], s.len);
}

/* Copies what is needed after the commit. NULL: memory is out. d: device.register's; text: a device
 * id; both may be missing. */
static struct record_wait *new_wait(const struct request *q, const struct ledger_device *d,
                                    struct slice text)
{
    struct slice user = user_id(q->s->user);
    size_t n = q->m->id.len + user.len + text.len + (d ? device_bytes(d) : 0);
    struct record_wait *wait = mem_zalloc(sizeof(*wait) + n);

    if (!wait)
        return NULL;
    struct wr w = wr_init(wait + 1, n);
    wait->r = q->r;
    wait->type = q->m->type;
    wait->id_hash = q->id_hash;
    memcpy(wait->session, q->s->id, sizeof(wait->session));
    wait->id = keep(&w, q->m->id);
    wait->user = keep(&w, user);
    wait->text = keep(&w, text);
    if (d) {
        wait->device = *d;
        wait->device.user = wait->user;
        wait->device.device = wait->text;
        wait->device.app = keep(&w, d->app);
        wait->device.version = keep(&w, d->version);
        wait->device.locale = keep(&w, d->locale);
        wait->device.tokens = wait->tokens;
        for (size_t i = 0; i < d->tokens_n; i++) {
            wait->tokens[i] = d->tokens[i];
            wait->tokens[i].token = keep(&w, d->tokens[i].token);
        }
    }
    list_append(&q->r->record_waits, &wait->link);
    return wait;
}

/* The ledger did (0) or did not take the request that wait is for. */
static void sent(const struct request *q, struct record_wait *wait, int rc)
{
    if (rc == 0)
        return;
    drop_wait(wait);
    if (rc == -EINVAL)
        fail_by(q, rc);
    else
        request_fail(q, SIG_ERR_STORE_UNAVAILABLE, "too much waits to be written");
}

/* ---- answers ---- */

static void write_page(struct wr *w, const struct record_wait *wait,
                       const struct ledger_result *res)
{
    uint8_t text[HISTORY_CURSOR_TEXT];
    struct wr cursor = wr_init(text, sizeof(text));

    sig_record_history_begin(w, wait->id);
    for (size_t i = 0; i < res->entries_n; i++) {
        const struct ledger_entry *e = &res->entries[i];
        sig_record_history_entry(
            w, i == 0,
            &(struct sig_history_entry){.call_id = &e->id,
                                        .video = e->video,
                                        .group = e->group,
                                        .missed = e->missed,
                                        .seen = e->seen,
                                        .role = ledger_role_name(e->role),
                                        .outcome = ledger_outcome_name(e->outcome),
                                        .ended_by = ledger_by_name(e->ended_by),
                                        .path = ledger_path_name(e->path),
                                        .reason = e->reason,
                                        .peer = e->peer,
                                        .device = e->device,
                                        .created_ms = e->created_ms,
                                        .ring_ms = e->ring_ms,
                                        .answer_ms = e->answer_ms,
                                        .end_ms = e->end_ms,
                                        .samples = e->samples,
                                        .mos_avg_milli = e->mos_avg_milli,
                                        .mos_p10_milli = e->mos_p10_milli,
                                        .mos_min_milli = e->mos_min_milli,
                                        .loss_permille = e->loss_permille,
                                        .rtt_ms = e->rtt_ms,
                                        .jitter_ms = e->jitter_ms,
                                        .silence_ms = e->silence_ms,
                                        .quality_path = ledger_path_name(e->quality_path),
                                        .leg = e->leg,
                                        .codec = e->codec,
                                        .worst = e->worst,
                                        .network = e->network});
    }
    if (res->more && res->entries_n > 0)
        history_cursor_write(&cursor, &res->entries[res->entries_n - 1]);
    sig_record_history_end(w, res->count, wr_done(&cursor));
}

static void write_privacy(struct router *r, struct wr *w, const struct record_wait *wait,
                          const struct ledger_privacy *p)
{
    bool file = p->kind == LEDGER_EXPORT && p->state == LEDGER_PRIVACY_DONE;
    bool any = p->state != LEDGER_PRIVACY_NONE;
    uint64_t until_s = r->wall_us / US_PER_S + r->conf->privacy.export_link_s;
    uint8_t text[EXPORT_LINK_MAX];
    struct wr url = wr_init(text, sizeof(text));

    if (file && r->export_link)
        export_link_write(r->export_link, &url, p,
                          until_s < p->expires_ms / 1000 ? until_s : p->expires_ms / 1000);

    sig_record_privacy(w, wait->type, wait->id,
                       &(struct sig_privacy){.kind = ledger_privacy_kind_name(p->kind),
                                             .state = ledger_privacy_state_name(p->state),
                                             .id = slice_of(p->id, any ? sizeof(p->id) : 0),
                                             .sha256 = slice_of(p->sha256, sizeof(p->sha256)),
                                             .requested_ms = p->requested_ms,
                                             .due_ms = p->due_ms,
                                             .expires_ms = p->expires_ms,
                                             .bytes = p->bytes,
                                             .url = slice_of(text, url.bad ? 0 : url.len),
                                             .has_file = file,
                                             .ndjson = p->ndjson});
}

static void write_reply(struct router *r, struct wr *w, const struct record_wait *wait,
                        const struct ledger_result *res)
{
    const struct dir_device *d;

    switch (wait->type) {
    case SIG_DEVICE_REGISTER:
        d = device_dir_find(r->devices, wait->user, wait->text);
        sig_record_registered(w, wait->id, wait->text, d ? d->tokens_n : 0);
        break;
    case SIG_DEVICE_UNREGISTER:
        sig_server_raw(w, &(struct sig_head){.type = wait->type, .re = wait->id}, SLICE_LIT("{}"));
        break;
    case SIG_HISTORY_LIST:
        write_page(w, wait, res);
        break;
    case SIG_HISTORY_SEEN:
    case SIG_HISTORY_DELETE:
        sig_record_missed(w, wait->type, wait->id, res->count);
        break;
    default:
        write_privacy(r, w, wait, &res->privacy);
        break;
    }
}

/* What was committed is true here, too, whether or not somebody still waits to hear of it. */
static int take_effect(struct router *r, const struct record_wait *wait, int rc)
{
    if (wait->type == SIG_DEVICE_UNREGISTER && rc == -ENOENT)
        rc = 0; /* it is not there: as wanted */
    if (rc != 0)
        return rc;
    switch (wait->type) {
    case SIG_DEVICE_REGISTER:
        return device_dir_put(r->devices, &wait->device);
    case SIG_DEVICE_UNREGISTER:
        device_dir_del(r->devices, wait->user, wait->text);
        return 0;
    case SIG_PRIVACY_DELETE:
        device_dir_del_user(r->devices, wait->user);
        return 0;
    case SIG_PRIVACY_EXPORT:
        if (r->sweep)
            r->sweep(r->enter_arg); /* it is written now, not within the hour */
        return 0;
    default:
        return 0;
    }
}

/* The ledger has answered. */
static void on_done(void *ctx, int rc, const struct ledger_result *res)
{
    struct record_wait *wait = ctx;
    struct router *r = wait->r;

    router_enter(r);
    rc = take_effect(r, wait, rc);
    struct session *s = session_by_id(r->sessions, wait->session);
    if (s) {
        struct wr w = router_body(r);
        struct sig_error e = {.re = wait->id};
        if (rc == 0)
            write_reply(r, &w, wait, res);
        if (rc != 0 || w.bad) {
            e.code = error_of(rc, &e.text);
            counter_inc(&r->count.errors[e.code]);
            w = router_body(r);
            sig_server_error(&w, &e);
        }
        router_send(r, s, wr_done(&w), wait->id_hash);
        if (s->client)
            router_arm(r, s);
    }
    drop_wait(wait);
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

static void register_in_ledger(const struct request *q, const struct ledger_device *d)
{
    struct record_wait *wait = new_wait(q, d, d->device);

    if (wait)
        sent(q, wait, ledger_put_device(q->r->ledger, &wait->device, on_done, wait));
    else
        request_fail(q, SIG_ERR_INTERNAL, NULL);
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
    int rc = q->r->ledger ? device_dir_check(q->r->devices, &d) : device_dir_put(q->r->devices, &d);
    if (rc != 0)
        fail_by(q, rc);
    else if (!q->r->ledger)
        reply_registered(q);
    else
        register_in_ledger(q, &d);
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
    if (!q->r->ledger) {
        device_dir_del(q->r->devices, user_id(q->s->user), device);
        reply_empty(q);
        return;
    }
    struct record_wait *wait = new_wait(q, NULL, device);
    if (wait)
        sent(q, wait, ledger_del_device(q->r->ledger, wait->user, wait->text, on_done, wait));
    else
        request_fail(q, SIG_ERR_INTERNAL, NULL);
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

void router_record_hello(struct router *r, const struct session *s)
{
    struct slice user = user_id(s->user), device = session_device(s);
    uint64_t now_ms = r->wall_us / US_PER_MS;

    if (r->devices && device_dir_touch(r->devices, user, device, now_ms) && r->ledger)
        (void)ledger_touch(r->ledger, user, device, now_ms, NULL, NULL);
}

uint64_t router_record_deadline(const struct router *r)
{
    return r->devices && device_dir_devices(r->devices) > 0 ? r->expire_us : CLOCK_NEVER;
}

void router_record_tick(struct router *r)
{
    uint64_t unseen_ms = r->conf->privacy.device_days * DAY_MS;

    if (router_record_deadline(r) > r->now_us)
        return;
    r->expire_us = r->now_us + EXPIRE_US;
    device_dir_expire(r->devices, r->wall_us / US_PER_MS, unseen_ms, EXPIRE_MAX);
}

/* ---- history.*, privacy.* ---- */

static void history_list(const struct request *q)
{
    struct sig_history_query in;
    struct ledger_cursor cursor;
    struct sig_fault fault;

    if (sig_record_query(&in, q->m, q->scratch, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    if (in.cursor.len > 0 && history_cursor_parse(&cursor, in.cursor) != 0) {
        request_fail(q, SIG_ERR_BAD_REQUEST, "data.cursor: what the page before gave");
        return;
    }
    struct record_wait *wait = new_wait(q, NULL, (struct slice){0});
    if (!wait) {
        request_fail(q, SIG_ERR_INTERNAL, NULL);
        return;
    }
    sent(q, wait,
         ledger_history(q->r->ledger,
                        &(struct ledger_query){.user = wait->user,
                                               .after = in.cursor.len > 0 ? &cursor : NULL,
                                               .limit = in.limit,
                                               .missed_only = in.missed_only},
                        on_done, wait));
}

static void history_pick(const struct request *q)
{
    struct sig_history_pick in;
    struct sig_fault fault;

    if (sig_record_pick(&in, q->m, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    struct record_wait *wait = new_wait(q, NULL, (struct slice){0});
    if (!wait)
        request_fail(q, SIG_ERR_INTERNAL, NULL);
    else if (q->m->type == SIG_HISTORY_SEEN)
        sent(q, wait,
             ledger_seen(q->r->ledger, wait->user, in.ids, in.n, in.until_ms, on_done, wait));
    else
        sent(q, wait,
             ledger_hide(q->r->ledger, wait->user, in.ids, in.n, in.until_ms, on_done, wait));
}

/* Which kind privacy.status asks for. False: the request was answered. */
static bool read_kind(const struct request *q, enum ledger_privacy_kind *kind)
{
    struct sig_fault fault;
    struct slice word;

    *kind = LEDGER_DELETION;
    if (sig_record_kind(&word, q->m, q->scratch, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return false;
    }
    for (unsigned k = 0; word.len > 0 && k < LEDGER_PRIVACY_KIND_COUNT; k++)
        if (slice_is(word, ledger_privacy_kind_name((enum ledger_privacy_kind)k))) {
            *kind = (enum ledger_privacy_kind)k;
            return true;
        }
    if (word.len > 0)
        request_fail(q, SIG_ERR_BAD_REQUEST, "data.kind: deletion or export");
    return word.len == 0;
}

static void privacy(const struct request *q)
{
    enum ledger_privacy_kind kind = LEDGER_DELETION;
    struct ledger *l = q->r->ledger;
    uint64_t now_ms = q->r->wall_us / US_PER_MS;
    const struct slice actor = SLICE_LIT("user");

    if (q->m->type == SIG_PRIVACY_STATUS && !read_kind(q, &kind))
        return;
    struct record_wait *w = new_wait(q, NULL, (struct slice){0});
    if (!w)
        request_fail(q, SIG_ERR_INTERNAL, NULL);
    else if (q->m->type == SIG_PRIVACY_EXPORT)
        sent(q, w, ledger_export(l, w->user, actor, now_ms, on_done, w));
    else if (q->m->type == SIG_PRIVACY_DELETE)
        sent(q, w, ledger_erase(l, w->user, actor, now_ms, on_done, w));
    else if (q->m->type == SIG_PRIVACY_CANCEL)
        sent(q, w, ledger_keep(l, w->user, actor, now_ms, on_done, w));
    else
        sent(q, w, ledger_privacy(l, w->user, kind, on_done, w));
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
    bool about_devices = q->m->type <= SIG_DEVICE_LIST;
    if (about_devices ? !r->devices : !r->ledger) {
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
    case SIG_HISTORY_LIST:
        history_list(q);
        break;
    case SIG_HISTORY_SEEN:
    case SIG_HISTORY_DELETE:
        history_pick(q);
        break;
    default:
        privacy(q);
        break;
    }
}
