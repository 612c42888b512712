/* The table of APNs' reasons, and reading its answers.
 *
 * Called by apns_judge.c for each answer. Apple's answers are foreign bytes like any other: a body
 * that is no JSON object, is too long or names nothing known only means that the status decides.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns_reason.h"

#include "proto/json.h"

#define DEPTH_MAX  4
#define VALUES_MAX 32

static const struct {
    const char *name;
    unsigned status;
    enum apns_do what;
} TABLE[APNS_REASON_COUNT] = {[APNS_REASON_NONE] = {"", 200, APNS_DO_ACCEPT},
                              [APNS_REASON_UNKNOWN] = {"unknown", 0, APNS_DO_DROP},
#define X(name, status, what) [APNS_##name] = {#name, status, what},
                              APNS_REASONS(X)
#undef X
};

const char *apns_reason_name(enum apns_reason r)
{
    return (unsigned)r < APNS_REASON_COUNT ? TABLE[r].name : TABLE[APNS_REASON_UNKNOWN].name;
}

enum apns_reason apns_reason_parse(struct slice name)
{
    for (unsigned i = APNS_REASON_UNKNOWN + 1; i < APNS_REASON_COUNT; i++)
        if (slice_is(name, TABLE[i].name))
            return (enum apns_reason)i;
    return APNS_REASON_UNKNOWN;
}

/* What follows from a status alone. */
static enum apns_do judge_status(unsigned status)
{
    switch (status) {
    case 401:
    case 403:
        return APNS_DO_STOP;
    case 410:
        return APNS_DO_GONE;
    case 413:
        return APNS_DO_SHORTEN;
    case 408:
        return APNS_DO_RETRY;
    case 429:
        return APNS_DO_WAIT;
    default:
        return status >= 500 ? APNS_DO_RETRY : APNS_DO_DROP;
    }
}

struct apns_answer apns_answer_read(unsigned status, struct slice body)
{
    static const struct json_limits limits = {DEPTH_MAX, VALUES_MAX, APNS_BODY_MAX};
    struct json_field f[] = {{.key = "reason"}, {.key = "timestamp"}};
    struct apns_answer a = {.status = status, .reason = APNS_REASON_UNKNOWN};
    uint8_t mem[128];
    struct wr scratch = wr_init(mem, sizeof(mem));
    struct slice name;

    if (status == 200) {
        a.reason = APNS_REASON_NONE;
        a.what = APNS_DO_ACCEPT;
        return a;
    }
    if (json_scan_object(body, &limits, f, ARRAY_LEN(f)) == 0) {
        if (f[0].kind == JSON_KIND_STRING && json_text(f[0].value, &name, &scratch))
            a.reason = apns_reason_parse(name);
        if (f[1].kind == JSON_KIND_NUMBER)
            (void)json_u64(f[1].value, UINT64_C(1) << 53, &a.timestamp_ms);
    }
    /* A reason counts with the class of status that it belongs to only. */
    if (a.reason != APNS_REASON_UNKNOWN && TABLE[a.reason].status / 100 == status / 100)
        a.what = TABLE[a.reason].what;
    else
        a.what = judge_status(status);
    if (a.what != APNS_DO_GONE)
        a.timestamp_ms = 0;
    return a;
}
