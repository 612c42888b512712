/* Readers of device, history and privacy messages (docs/SIGNALING.md §11).
 *
 * Called by router_record.c after sig_decode(). Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sig_record.h"

#include "proto/sig_read.h"

static bool optional(const struct json_field *f, size_t max, struct slice *out, struct wr *scratch)
{
    return absent(f) || text_of(f, max, out, scratch);
}

static int read_token(struct slice item, struct sig_token *out, struct wr *scratch,
                      struct sig_fault *fault)
{
    enum { TYPE, TOKEN, CALL, N };
    struct json_field f[N] = {{.key = "type"}, {.key = "token"}, {.key = "callId"}};
    struct slice id;

    *out = (struct sig_token){0};
    if (json_fields(item, f, N) != 0 || !text_of(&f[TYPE], SIG_WORD_MAX, &out->type, scratch))
        return refuse(fault, "data.tokens: each {type, token}");
    if (f[TOKEN].kind != JSON_KIND_NULL && !text_of(&f[TOKEN], SIG_TOKEN_MAX, &out->token, scratch))
        return refuse(fault, "data.tokens: token has 1 to 2,048 bytes; null takes it away");
    out->has_call = !absent(&f[CALL]);
    if (out->has_call &&
        (!json_text(f[CALL].value, &id, scratch) || sig_call_id_parse(&out->call_id, id) != 0))
        return refuse(fault, "data.tokens: callId is a call id");
    return 0;
}

static int read_tokens(struct sig_device *out, const struct json_field *list, struct wr *scratch,
                       struct sig_fault *fault)
{
    struct slice item;

    if (absent(list))
        return 0;
    if (list->kind != JSON_KIND_ARRAY)
        return refuse(fault, "data.tokens: a list");
    for (struct json_items it = json_items(list->value); json_items_next(&it, &item);) {
        if (out->tokens_n == SIG_TOKENS_MAX)
            return refuse(fault, "data.tokens: at most 8");
        if (read_token(item, &out->tokens[out->tokens_n++], scratch, fault) != 0)
            return -EBADMSG;
    }
    return 0;
}

int sig_record_device(struct sig_device *out, const struct sig_msg *m, struct wr *scratch,
                      struct sig_fault *fault)
{
    enum { PLATFORM, APP, VERSION, LOCALE, ENV, UI, TOKENS, N };
    struct json_field f[N] = {{.key = "platform"}, {.key = "app"},         {.key = "version"},
                              {.key = "locale"},   {.key = "environment"}, {.key = "callUi"},
                              {.key = "tokens"}};

    *out = (struct sig_device){0};
    if (read_fields(m->data, f, N, fault) != 0)
        return -EBADMSG;
    if (!text_of(&f[PLATFORM], SIG_WORD_MAX, &out->platform, scratch))
        return refuse(fault, "data.platform: ios, macos, android, web or other is required");
    if (!text_of(&f[APP], SIG_APP_MAX, &out->app, scratch))
        return refuse(fault, "data.app: the bundle or package name is required");
    if (!optional(&f[VERSION], SIG_VERSION_MAX, &out->version, scratch))
        return refuse(fault, "data.version: 1 to 32 bytes");
    if (!optional(&f[LOCALE], SIG_LOCALE_MAX, &out->locale, scratch))
        return refuse(fault, "data.locale: 1 to 35 bytes");
    if (!optional(&f[ENV], SIG_WORD_MAX, &out->environment, scratch))
        return refuse(fault, "data.environment: production or sandbox");
    if (!optional(&f[UI], SIG_WORD_MAX, &out->call_ui, scratch))
        return refuse(fault, "data.callUi: callkit, lck or none");
    return read_tokens(out, &f[TOKENS], scratch, fault);
}

int sig_record_device_id(struct slice *device, const struct sig_msg *m, struct wr *scratch,
                         struct sig_fault *fault)
{
    struct json_field f = {.key = "deviceId"};

    *device = (struct slice){0};
    if (read_fields(m->data, &f, 1, fault) != 0)
        return -EBADMSG;
    if (!absent(&f) && (!json_text(f.value, device, scratch) || !sig_id_ok(*device)))
        return refuse(fault, "data.deviceId: 1 to 64 of A-Z a-z 0-9 . _ -");
    return 0;
}

int sig_record_query(struct sig_history_query *out, const struct sig_msg *m, struct wr *scratch,
                     struct sig_fault *fault)
{
    enum { CURSOR, LIMIT, MISSED, N };
    struct json_field f[N] = {{.key = "cursor"}, {.key = "limit"}, {.key = "missed"}};
    uint64_t limit = SIG_PAGE_DEFAULT;

    *out = (struct sig_history_query){0};
    if (read_fields(m->data, f, N, fault) != 0)
        return -EBADMSG;
    if (!optional(&f[CURSOR], SIG_CURSOR_MAX, &out->cursor, scratch))
        return refuse(fault, "data.cursor: what the page before gave");
    if (!absent(&f[LIMIT]) && (!json_u64(f[LIMIT].value, SIG_PAGE_MAX, &limit) || limit == 0))
        return refuse(fault, "data.limit: 1 to 100");
    if (!absent(&f[MISSED]) && !json_truth(f[MISSED].value, &out->missed_only))
        return refuse(fault, "data.missed: true or false");
    out->limit = (size_t)limit;
    return 0;
}

int sig_record_pick(struct sig_history_pick *out, const struct sig_msg *m, struct sig_fault *fault)
{
    enum { IDS, UNTIL, N };
    struct json_field f[N] = {{.key = "callIds"}, {.key = "until"}};
    uint8_t buf[SIG_CALL_ID_TEXT];
    struct slice item, text;

    *out = (struct sig_history_pick){.until_ms = UINT64_MAX};
    if (read_fields(m->data, f, N, fault) != 0)
        return -EBADMSG;
    if (!absent(&f[UNTIL]) && !json_u64(f[UNTIL].value, INT64_MAX, &out->until_ms))
        return refuse(fault, "data.until: milliseconds since 1970");
    if (absent(&f[IDS]) != absent(&f[UNTIL])) {
        if (absent(&f[IDS]))
            return 0;
    } else {
        return refuse(fault, "data: either callIds or until");
    }
    for (struct json_items it = json_items(f[IDS].value); json_items_next(&it, &item);) {
        struct wr scratch = wr_init(buf, sizeof(buf));
        if (out->n == SIG_PICK_MAX || !json_text(item, &text, &scratch) ||
            sig_call_id_parse(&out->ids[out->n++], text) != 0)
            return refuse(fault, "data.callIds: 1 to 100 call ids");
    }
    return out->n > 0 ? 0 : refuse(fault, "data.callIds: 1 to 100 call ids");
}

int sig_record_kind(struct slice *kind, const struct sig_msg *m, struct wr *scratch,
                    struct sig_fault *fault)
{
    struct json_field f = {.key = "kind"};

    *kind = (struct slice){0};
    if (read_fields(m->data, &f, 1, fault) != 0)
        return -EBADMSG;
    return optional(&f, SIG_WORD_MAX, kind, scratch)
               ? 0
               : refuse(fault, "data.kind: deletion or export");
}
