/* Readers of the `data` of clients' messages (docs/SIGNALING.md §3 to §5).
 *
 * Called by client.c and router.c after sig_decode(). Pure. Each reader is a list of fields and
 * what each must be; the first one that is wrong is named to the client. Payloads are checked only
 * as far as the server itself relies on them: the peer's browser judges the rest.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sig_client.h"

#include <errno.h>

#include "proto/sig_read.h"

enum {
    RESUME_TEXT_MAX = 128,
    RING_TIMEOUT_MIN_MS = 5000,
};

/* ---- session ---- */

static bool read_caps(struct slice list, unsigned *caps)
{
    static const char *const names[] = {"call-waiting", "video", "rooms"};
    struct json_items it = json_items(list);
    struct slice item;

    while (json_items_next(&it, &item)) {
        if (json_kind_of(item) != JSON_KIND_STRING)
            return false;
        size_t i = name_index(item, names, ARRAY_LEN(names));
        if (i < ARRAY_LEN(names))
            *caps |= 1u << i;
    }
    return true;
}

static int read_resume(struct sig_hello *out, struct slice object, struct wr *scratch,
                       struct sig_fault *fault)
{
    struct json_field f[] = {
        {.key = "sessionId"}, {.key = "resumeToken"}, {.key = "lastSeq"}, {.key = "nextSeq"}};

    if (read_fields(object, f, ARRAY_LEN(f), fault) != 0)
        return -EBADMSG;
    if (!text_of(&f[0], RESUME_TEXT_MAX, &out->session_id, scratch))
        return refuse(fault, "data.resume.sessionId: 1 to 128 bytes of text");
    if (!text_of(&f[1], RESUME_TEXT_MAX, &out->resume_token, scratch))
        return refuse(fault, "data.resume.resumeToken: 1 to 128 bytes of text");
    if (!json_u64(f[2].value, UINT64_MAX, &out->last_seq))
        return refuse(fault, "data.resume.lastSeq: a whole number from 0");
    if (f[3].value.len > 0 &&
        (!json_u64(f[3].value, UINT64_MAX, &out->next_seq) || out->next_seq == 0))
        return refuse(fault, "data.resume.nextSeq: a whole number from 1");
    out->resume = true;
    return 0;
}

int sig_client_hello(struct sig_hello *out, const struct sig_msg *m, struct wr *scratch,
                     struct sig_fault *fault)
{
    static const char *const platforms[] = {"other", "ios", "android", "web"};
    static const char *const app_states[] = {"foreground", "background"};
    enum { TOKEN, DEVICE, PLATFORM, CAPS, APP_STATE, RESUME, N };
    struct json_field f[N] = {{.key = "token"},        {.key = "deviceId"}, {.key = "platform"},
                              {.key = "capabilities"}, {.key = "appState"}, {.key = "resume"}};

    *out = (struct sig_hello){0};
    if (read_fields(m->data, f, N, fault) != 0)
        return -EBADMSG;
    if (!text_of(&f[TOKEN], SIG_HELLO_BYTES, &out->token, scratch))
        return refuse(fault, "data.token: text is required");
    if (!text_of(&f[DEVICE], SIG_DEVICE_MAX, &out->device, scratch) || !sig_id_ok(out->device))
        return refuse(fault, "data.deviceId: 1 to 64 of A-Z a-z 0-9 . _ -");
    if (!absent(&f[PLATFORM])) {
        size_t i = name_index(f[PLATFORM].value, platforms, ARRAY_LEN(platforms));
        if (i == ARRAY_LEN(platforms))
            return refuse(fault, "data.platform: ios, android, web or other");
        out->platform = (enum sig_platform)i;
    }
    if (!absent(&f[CAPS]) &&
        (f[CAPS].kind != JSON_KIND_ARRAY || !read_caps(f[CAPS].value, &out->caps)))
        return refuse(fault, "data.capabilities: a list of strings");
    if (!absent(&f[APP_STATE])) {
        size_t i = name_index(f[APP_STATE].value, app_states, ARRAY_LEN(app_states));
        if (i == ARRAY_LEN(app_states))
            return refuse(fault, "data.appState: foreground or background");
        out->background = i == 1;
    }
    if (absent(&f[RESUME]) || f[RESUME].kind == JSON_KIND_NULL)
        return 0;
    if (f[RESUME].kind != JSON_KIND_OBJECT)
        return refuse(fault, "data.resume: an object");
    return read_resume(out, f[RESUME].value, scratch, fault);
}

int sig_client_auth_refresh(struct slice *token, const struct sig_msg *m, struct wr *scratch,
                            struct sig_fault *fault)
{
    struct json_field f = {.key = "token"};

    if (read_fields(m->data, &f, 1, fault) != 0)
        return -EBADMSG;
    if (!text_of(&f, SIG_SMALL_BYTES, token, scratch))
        return refuse(fault, "data.token: text is required");
    return 0;
}

int sig_client_ping(struct slice *t, const struct sig_msg *m, struct sig_fault *fault)
{
    struct json_field f = {.key = "t"};

    if (read_fields(m->data, &f, 1, fault) != 0)
        return -EBADMSG;
    if (!absent(&f) && f.kind != JSON_KIND_NUMBER)
        return refuse(fault, "data.t: a number");
    *t = f.value;
    return 0;
}

/* ---- presence ---- */

int sig_client_presence_users(struct slice *users, const struct sig_msg *m, struct sig_fault *fault)
{
    struct json_field f = {.key = "users"};
    struct slice item, user;
    size_t n = 0;

    if (read_fields(m->data, &f, 1, fault) != 0)
        return -EBADMSG;
    if (f.kind != JSON_KIND_ARRAY)
        return refuse(fault, "data.users: a list of user ids is required");
    for (struct json_items it = json_items(f.value); json_items_next(&it, &item); n++) {
        uint8_t buf[SIG_USER_MAX];
        struct wr scratch = wr_init(buf, sizeof(buf));
        if (!json_text(item, &user, &scratch) || !sig_user_ok(user))
            return refuse(fault, "data.users: each 1 to 128 of A-Z a-z 0-9 . _ @ + -");
    }
    if (n == 0 || n > SIG_USERS_MAX)
        return refuse(fault, "data.users: 1 to 500 user ids");
    *users = f.value;
    return 0;
}

int sig_client_presence_set(enum sig_presence *state, const struct sig_msg *m,
                            struct sig_fault *fault)
{
    static const char *const names[] = {"online", "away", "busy", "invisible"};
    struct json_field f = {.key = "state"};

    if (read_fields(m->data, &f, 1, fault) != 0)
        return -EBADMSG;
    size_t i = name_index(f.value, names, ARRAY_LEN(names));
    if (i == ARRAY_LEN(names))
        return refuse(fault, "data.state: online, away, busy or invisible");
    *state = (enum sig_presence)(SIG_PRESENCE_ONLINE + i);
    return 0;
}

/* ---- calls ---- */

static int read_metadata(struct sig_invite *out, const struct json_field *metadata,
                         struct sig_fault *fault)
{
    enum { IS_VIDEO, TIMESTAMP, CUSTOM, N };
    struct json_field f[N] = {{.key = "isVideo"}, {.key = "timestamp"}, {.key = "custom"}};

    if (metadata->kind != JSON_KIND_OBJECT)
        return refuse(fault, "data.metadata: an object is required");
    if (metadata->value.len > SIG_METADATA_MAX)
        return refuse(fault, "data.metadata: over 2,048 bytes");
    if (read_fields(metadata->value, f, N, fault) != 0)
        return -EBADMSG;
    if (!json_truth(f[IS_VIDEO].value, &out->is_video))
        return refuse(fault, "data.metadata.isVideo: true or false is required");
    if (!absent(&f[TIMESTAMP]) && f[TIMESTAMP].kind != JSON_KIND_NUMBER)
        return refuse(fault, "data.metadata.timestamp: a number");
    if (f[CUSTOM].value.len > SIG_CUSTOM_MAX)
        return refuse(fault, "data.metadata.custom: over 1,024 bytes");
    out->metadata = metadata->value;
    return 0;
}

int sig_client_invite(struct sig_invite *out, const struct sig_msg *m, struct sig_fault *fault)
{
    enum { OFFER, METADATA, RING, N };
    struct json_field f[N] = {{.key = "offer"}, {.key = "metadata"}, {.key = "ringTimeoutMs"}};
    uint64_t ms = 0;

    *out = (struct sig_invite){0};
    if (read_fields(m->data, f, N, fault) != 0)
        return -EBADMSG;
    if (sdp_type(&f[OFFER], NULL) != SIG_SDP_OFFER)
        return refuse(fault, "data.offer: {type:\"offer\",sdp} is required");
    if (!absent(&f[RING]) &&
        (!json_u64(f[RING].value, UINT32_MAX, &ms) || ms < RING_TIMEOUT_MIN_MS))
        return refuse(fault, "data.ringTimeoutMs: a whole number from 5,000");
    out->offer = f[OFFER].value;
    out->ring_timeout_ms = (uint32_t)ms;
    return read_metadata(out, &f[METADATA], fault);
}

int sig_client_answer(struct slice *answer, const struct sig_msg *m, struct sig_fault *fault)
{
    struct json_field f = {.key = "answer"};

    if (read_fields(m->data, &f, 1, fault) != 0)
        return -EBADMSG;
    if (!absent(&f) && sdp_type(&f, NULL) != SIG_SDP_ANSWER)
        return refuse(fault, "data.answer: {type:\"answer\",sdp} is required");
    *answer = f.value;
    return 0;
}

int sig_client_reject(struct sig_reject *out, const struct sig_msg *m, struct sig_fault *fault)
{
    static const char *const scopes[] = {"all", "device"};
    static const char *const reasons[] = {"declined", "busy", "need_permission", "media_failed"};
    static const enum sig_reason values[] = {SIG_REASON_DECLINED, SIG_REASON_BUSY,
                                             SIG_REASON_NEED_PERMISSION, SIG_REASON_MEDIA_FAILED};
    struct json_field f[] = {{.key = "scope"}, {.key = "reason"}};

    *out = (struct sig_reject){.reason = SIG_REASON_DECLINED};
    if (read_fields(m->data, f, ARRAY_LEN(f), fault) != 0)
        return -EBADMSG;
    if (!absent(&f[0])) {
        size_t i = name_index(f[0].value, scopes, ARRAY_LEN(scopes));
        if (i == ARRAY_LEN(scopes))
            return refuse(fault, "data.scope: all or device");
        out->device_only = i == 1;
    }
    if (!absent(&f[1])) {
        size_t i = name_index(f[1].value, reasons, ARRAY_LEN(reasons));
        if (i == ARRAY_LEN(reasons))
            return refuse(fault, "data.reason: declined, busy, need_permission or media_failed");
        out->reason = values[i];
    }
    return 0;
}

int sig_client_hangup(enum sig_reason *reason, const struct sig_msg *m, struct sig_fault *fault)
{
    static const char *const names[] = {"hangup", "media_failed"};
    struct json_field f = {.key = "reason"};

    if (read_fields(m->data, &f, 1, fault) != 0)
        return -EBADMSG;
    size_t i = absent(&f) ? 0 : name_index(f.value, names, ARRAY_LEN(names));
    if (i == ARRAY_LEN(names))
        return refuse(fault, "data.reason: hangup or media_failed");
    *reason = i == 0 ? SIG_REASON_HANGUP : SIG_REASON_MEDIA_FAILED;
    return 0;
}

int sig_client_candidates(const struct sig_msg *m, struct sig_fault *fault)
{
    struct json_field f = {.key = "candidates"};
    struct slice item;
    size_t n = 0;

    if (read_fields(m->data, &f, 1, fault) != 0)
        return -EBADMSG;
    if (f.kind != JSON_KIND_ARRAY)
        return refuse(fault, "data.candidates: a list is required");
    for (struct json_items it = json_items(f.value); json_items_next(&it, &item); n++) {
        struct json_field c = {.key = "candidate"};
        if (json_fields(item, &c, 1) != 0 || c.kind != JSON_KIND_STRING)
            return refuse(fault, "data.candidates: each an object with a string candidate");
    }
    if (n == 0 || n > SIG_CANDIDATES_MAX)
        return refuse(fault, "data.candidates: 1 to 32 candidates");
    return 0;
}

int sig_client_negotiate(struct sig_negotiate *out, const struct sig_msg *m, struct wr *scratch,
                         struct sig_fault *fault)
{
    enum { DESCRIPTION, ID, RESTART, FRESH, N };
    struct json_field f[N] = {
        {.key = "description"}, {.key = "negotiationId"}, {.key = "iceRestart"}, {.key = "fresh"}};

    *out = (struct sig_negotiate){0};
    if (read_fields(m->data, f, N, fault) != 0)
        return -EBADMSG;
    size_t i = sdp_type(&f[DESCRIPTION], NULL);
    if (i == SDP_NAMES_N)
        return refuse(fault, "data.description: {type,sdp} of offer, answer or rollback");
    if (!text_of(&f[ID], SIG_ID_MAX, &out->id, scratch) || !sig_id_ok(out->id))
        return refuse(fault, "data.negotiationId: 1 to 64 of A-Z a-z 0-9 . _ -");
    if (!absent(&f[RESTART]) && !json_truth(f[RESTART].value, &out->ice_restart))
        return refuse(fault, "data.iceRestart: true or false");
    if (!absent(&f[FRESH]) && !json_truth(f[FRESH].value, &out->fresh))
        return refuse(fault, "data.fresh: true or false");
    if (out->fresh && i != SIG_SDP_OFFER)
        return refuse(fault, "data.fresh: only with an offer");
    out->sdp = (enum sig_sdp)i;
    return 0;
}

int sig_client_info(const struct sig_msg *m, struct sig_fault *fault)
{
    enum { CUSTOM = 4, N };
    struct json_field f[N] = {{.key = "audioMuted"},
                              {.key = "videoMuted"},
                              {.key = "onHold"},
                              {.key = "screenSharing"},
                              [CUSTOM] = {.key = "custom"}};

    if (read_fields(m->data, f, N, fault) != 0)
        return -EBADMSG;
    for (size_t i = 0; i < CUSTOM; i++)
        if (!absent(&f[i]) && f[i].kind != JSON_KIND_BOOL)
            return refuse(fault, "data: audioMuted, videoMuted, onHold and screenSharing are "
                                 "true or false");
    if (f[CUSTOM].value.len > SIG_CUSTOM_MAX)
        return refuse(fault, "data.custom: over 1,024 bytes");
    return 0;
}

int sig_client_state(enum sig_conn *out, const struct sig_msg *m, struct sig_fault *fault)
{
    static const char *const names[SIG_CONN_COUNT] = {"new",          "connecting", "connected",
                                                      "disconnected", "failed",     "closed"};
    struct json_field f = {.key = "connectionState"};

    if (read_fields(m->data, &f, 1, fault) != 0)
        return -EBADMSG;
    size_t i = name_index(f.value, names, SIG_CONN_COUNT);
    if (i == SIG_CONN_COUNT)
        return refuse(fault, "data.connectionState: new, connecting, connected, disconnected, "
                             "failed or closed");
    *out = (enum sig_conn)i;
    return 0;
}
