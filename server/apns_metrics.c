/* Names of the push metrics.
 *
 * Called once at the start. A registration that fails for want of memory leaves one metric out.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns.h"

#include <stdio.h>

/* Label texts live as long as the process. */
static const char *label(const char *key, const char *value, const char *key2, const char *value2)
{
    static char texts[PUSH_KIND_COUNT * APNS_RESULT_COUNT + 2 * APNS_REASON_COUNT + APNS_WHY_COUNT]
                     [96];
    static size_t n;

    if (n == ARRAY_LEN(texts))
        return "";
    if (key2)
        snprintf(texts[n], sizeof(texts[n]), "%s=\"%s\",%s=\"%s\"", key, value, key2, value2);
    else
        snprintf(texts[n], sizeof(texts[n]), "%s=\"%s\"", key, value);
    return texts[n++];
}

static void add_tables(struct metrics *m, const struct apns_counters *c)
{
    for (unsigned k = 0; k < PUSH_KIND_COUNT; k++)
        for (unsigned r = 0; r < APNS_RESULT_COUNT; r++)
            metrics_add(m, "sori_push_results_total",
                        label("kind", push_kind_name((enum push_kind)k), "result",
                              apns_result_name((enum apns_result)r)),
                        "What became of pushes.", METRIC_COUNTER, &c->results[k][r]);
    for (unsigned e = 0; e < 2; e++)
        for (unsigned r = 0; r < APNS_REASON_COUNT; r++)
            metrics_add(m, "sori_push_answers_total",
                        label("env", e == 0 ? "production" : "sandbox", "reason",
                              r == APNS_REASON_NONE ? "ok" : apns_reason_name((enum apns_reason)r)),
                        "Answers of APNs by reason.", METRIC_COUNTER, &c->answers[e][r]);
    for (unsigned w = 1; w < APNS_WHY_COUNT; w++)
        metrics_add(m, "sori_push_gave_up_total",
                    label("why", apns_why_name((enum apns_why)w), NULL, NULL),
                    "Pushes given up, or rejected without blame of the token.", METRIC_COUNTER,
                    &c->gave_up[w]);
}

void apns_metrics_register(struct metrics *m, struct apns *a)
{
    static const char retries[] = "sori_push_retry_total", what[] = "Requests sent once more.";
    const struct apns_counters *c = apns_count(a);
    const struct {
        const char *name, *labels, *help;
        enum metric_type type;
        const struct counter *cell;
    } list[] = {
        {retries, "why=\"server\"", what, METRIC_COUNTER, &c->retries_server},
        {retries, "why=\"environment\"", what, METRIC_COUNTER, &c->retries_env},
        {retries, "why=\"provider_token\"", what, METRIC_COUNTER, &c->retries_token},
        {retries, "why=\"too_large\"", what, METRIC_COUNTER, &c->retries_short},
        {retries, "why=\"connection\"", what, METRIC_COUNTER, &c->retries_conn},
        {retries, "why=\"busy\"", what, METRIC_COUNTER, &c->retries_busy},
        {retries, "why=\"lost\"", what, METRIC_COUNTER, &c->retries_lost},
        {retries, "why=\"hedge\"", what, METRIC_COUNTER, &c->hedges},
        {"sori_push_uncertain_total", "", "Requests that went out and were never answered.",
         METRIC_COUNTER, &c->uncertain},
        {"sori_push_jwt_mint_total", "", "Provider tokens made.", METRIC_COUNTER,
         &c->tokens_minted},
        {"sori_push_stops_total", "", "Times that APNs did not accept a key.", METRIC_COUNTER,
         &c->stops},
        {"sori_push_guards_total", "", "Times that all tokens of an app were rejected.",
         METRIC_COUNTER, &c->guards},
        {"sori_push_jobs", "", "Pushes under way.", METRIC_GAUGE, &c->jobs},
    };

    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        metrics_add(m, list[i].name, list[i].labels, list[i].help, list[i].type, list[i].cell);
    metrics_add_histogram(m, "sori_push_latency_seconds", "class=\"call\"",
                          "Time to the verdict on a push.", &c->call_us);
    metrics_add_histogram(m, "sori_push_latency_seconds", "class=\"other\"",
                          "Time to the verdict on a push.", &c->other_us);
    add_tables(m, c);
}
