/* Names of sori-server's metrics.
 *
 * Called once by main.c. A registration that fails for want of memory leaves one metric out.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/server_metrics.h"

#include <stdio.h>

/* Label texts live as long as the process. */
static const char *label(const char *key, const char *value)
{
    static char texts[SIG_TYPE_COUNT + SIG_ERR_COUNT + SIG_REASON_COUNT + PUSH_KIND_COUNT +
                      PUSH_RESULT_COUNT + SIG_ROUTE_COUNT * ROUTER_VOICES][64];
    static size_t n;

    if (n == ARRAY_LEN(texts))
        return "";
    snprintf(texts[n], sizeof(texts[n]), "%s=\"%s\"", key, value);
    return texts[n++];
}

static void add_tables(struct metrics *m, const struct router_counters *r)
{
    for (int t = 0; t < SIG_TYPE_COUNT; t++)
        if (t == SIG_UNKNOWN || sig_type_from_client((enum sig_type)t))
            metrics_add(
                m, "sori_messages_received_total",
                label("type", t == SIG_UNKNOWN ? "unknown" : sig_type_name((enum sig_type)t)),
                "Messages of clients by type.", METRIC_COUNTER, &r->messages_in[t]);
    for (int e = 1; e < SIG_ERR_COUNT; e++)
        metrics_add(m, "sori_errors_total", label("code", sig_err_name((enum sig_err)e)),
                    "Errors answered by code.", METRIC_COUNTER, &r->errors[e]);
    for (int e = 1; e < SIG_REASON_COUNT; e++)
        metrics_add(m, "sori_calls_ended_total",
                    label("reason", sig_reason_name((enum sig_reason)e)), "Calls ended by reason.",
                    METRIC_COUNTER, &r->ended[e]);
}

static const char *path_and_codec(enum sig_route route, size_t voice)
{
    static const char *const voices[ROUTER_VOICES] = {"opus", "g711", "other"};
    char pair[48];

    snprintf(pair, sizeof(pair), "%s\",codec=\"%s", sig_route_name(route), voices[voice]);
    return label("path", pair);
}

static void add_quality(struct metrics *m, const struct router_counters *r)
{
    const struct {
        const char *name, *labels, *help;
        const struct counter *cell;
    } list[] = {
        {"sori_quality_reports_total", "result=\"accepted\"", "Clients' reports of quality.",
         &r->quality_accepted},
        {"sori_quality_reports_total", "result=\"clamped\"", "Clients' reports of quality.",
         &r->quality_clamped},
        {"sori_quality_reports_total", "result=\"refused\"", "Clients' reports of quality.",
         &r->quality_refused},
        {"sori_quality_bad_total", "what=\"mos\"", "Judged reports beyond what is good.",
         &r->quality_bad[ROUTER_BAD_MOS]},
        {"sori_quality_bad_total", "what=\"loss\"", "Judged reports beyond what is good.",
         &r->quality_bad[ROUTER_BAD_LOSS]},
        {"sori_quality_bad_total", "what=\"rtt\"", "Judged reports beyond what is good.",
         &r->quality_bad[ROUTER_BAD_RTT]},
        {"sori_quality_bad_total", "what=\"jitter\"", "Judged reports beyond what is good.",
         &r->quality_bad[ROUTER_BAD_JITTER]},
        {"sori_quality_silence_milliseconds_total", "",
         "Time in which nobody was heard though nobody was muted.", &r->quality_silence_ms},
        {"sori_quality_relay_records_total", "result=\"taken\"",
         "What relays told of calls' media.", &r->relay_media},
        {"sori_quality_relay_records_total", "result=\"elsewhere\"",
         "What relays told of calls' media.", &r->relay_media_stray},
    };

    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        metrics_add(m, list[i].name, list[i].labels, list[i].help, METRIC_COUNTER, list[i].cell);
    for (int p = 0; p < SIG_ROUTE_COUNT; p++)
        for (size_t v = 0; v < ROUTER_VOICES; v++)
            metrics_add_tally(m, "sori_quality_mos", path_and_codec((enum sig_route)p, v),
                              "Estimated MOS of judged reports, and of what media servers say.",
                              &r->mos[p][v]);
    metrics_add_tally(m, "sori_quality_relay_mos", "",
                      "Estimated MOS of voice as far as a relay, by what relays tell.",
                      &r->relay_mos);
}

void server_metrics_register(struct metrics *m, const struct router_counters *r,
                             const struct ws_counters *w)
{
    const struct {
        const char *name, *labels, *help;
        enum metric_type type;
        const struct counter *cell;
    } list[] = {
        {"sori_connections", "", "WebSocket connections open.", METRIC_GAUGE, &r->connections},
        {"sori_sessions", "", "Sessions, with or without a socket.", METRIC_GAUGE, &r->sessions},
        {"sori_calls", "", "Calls that live.", METRIC_GAUGE, &r->calls},
        {"sori_rooms", "", "Rooms that live.", METRIC_GAUGE, &r->rooms},
        {"sori_participants", "", "Participants of rooms.", METRIC_GAUGE, &r->participants},
        {"sori_rooms_hosted", "", "Rooms of other nodes with people here.", METRIC_GAUGE,
         &r->rooms_hosted},
        {"sori_room_guests", "", "Sessions here in rooms of other nodes.", METRIC_GAUGE,
         &r->room_guests},
        {"sori_rooms_taken_total", "", "Rooms of dead nodes that went on here.", METRIC_COUNTER,
         &r->rooms_taken},
        {"sori_room_joins_total", "result=\"ok\"", "Answers of media servers to joins.",
         METRIC_COUNTER, &r->joins_ok},
        {"sori_room_joins_total", "result=\"failed\"", "Answers of media servers to joins.",
         METRIC_COUNTER, &r->joins_failed},
        {"sori_room_restarts_total", "", "Rooms whose media server was lost.", METRIC_COUNTER,
         &r->room_restarts},
        {"sori_messages_sent_total", "", "Messages sent to clients.", METRIC_COUNTER,
         &r->messages_out},
        {"sori_logins_total", "result=\"ok\"", "Answers to hello.", METRIC_COUNTER, &r->logins_ok},
        {"sori_logins_total", "result=\"refused\"", "Answers to hello.", METRIC_COUNTER,
         &r->logins_refused},
        {"sori_resumes_total", "result=\"ok\"", "Resumes asked for.", METRIC_COUNTER,
         &r->resumes_ok},
        {"sori_resumes_total", "result=\"lost\"", "Resumes asked for.", METRIC_COUNTER,
         &r->resumes_lost},
        {"sori_rate_limited_total", "", "Requests refused by a rate limit.", METRIC_COUNTER,
         &r->rate_limited},
        {"sori_duplicates_total", "", "Requests repeated by clients.", METRIC_COUNTER,
         &r->duplicates},
        {"sori_closes_total", "cause=\"protocol\"", "Sockets closed by cause.", METRIC_COUNTER,
         &r->closes_protocol},
        {"sori_closes_total", "cause=\"overload\"", "Sockets closed by cause.", METRIC_COUNTER,
         &r->closes_overload},
        {"sori_closes_total", "cause=\"auth\"", "Sockets closed by cause.", METRIC_COUNTER,
         &r->closes_auth},
        {"sori_closes_total", "cause=\"timeout\"", "Sockets closed by cause.", METRIC_COUNTER,
         &r->closes_timeout},
        {"sori_closes_total", "cause=\"replaced\"", "Sockets closed by cause.", METRIC_COUNTER,
         &r->closes_replaced},
        {"sori_closes_total", "cause=\"rate\"", "Sockets closed by cause.", METRIC_COUNTER,
         &r->closes_rate},
        {"sori_closes_total", "cause=\"other\"", "Sockets closed by cause.", METRIC_COUNTER,
         &r->closes_other},
        {"sori_http_requests_total", "", "HTTP requests that were read.", METRIC_COUNTER,
         &w->http_requests},
        {"sori_http_refused_total", "", "HTTP requests refused.", METRIC_COUNTER, &w->http_bad},
        {"sori_upgrades_total", "", "Connections turned into WebSockets.", METRIC_COUNTER,
         &w->upgrades},
        {"sori_origins_refused_total", "", "Upgrades refused for their Origin.", METRIC_COUNTER,
         &w->origins_refused},
        {"sori_handshakes_limited_total", "", "Connections refused by the limit of their address.",
         METRIC_COUNTER, &w->handshakes_limited},
    };

    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        metrics_add(m, list[i].name, list[i].labels, list[i].help, list[i].type, list[i].cell);
    add_tables(m, r);
    add_quality(m, r);
}

void server_metrics_push(struct metrics *m, struct push *p)
{
    if (!p)
        return;
    struct push_counters *c = push_count_of(p);
    metrics_add(m, "sori_push_rings", "", "Calls that ring and have devices to be pushed.",
                METRIC_GAUGE, &c->rings);
    for (int k = 0; k < PUSH_KIND_COUNT; k++)
        metrics_add(m, "sori_pushes_total", label("kind", push_kind_name((enum push_kind)k)),
                    "Pushes handed to a push service.", METRIC_COUNTER, &c->sent[k]);
    for (int v = 0; v < PUSH_RESULT_COUNT; v++)
        metrics_add(m, "sori_push_verdicts_total",
                    label("result", push_result_name((enum push_result)v)),
                    "What push services made of them.", METRIC_COUNTER, &c->verdicts[v]);
    metrics_add(m, "sori_push_unsent_total", "", "Pushes that the service did not even take.",
                METRIC_COUNTER, &c->unsent);
    metrics_add(m, "sori_push_awake_total", "",
                "Devices that acknowledged in time and needed no push.", METRIC_COUNTER, &c->awake);
    metrics_add(m, "sori_push_late_total", "",
                "Connected devices that were pushed because they did not acknowledge.",
                METRIC_COUNTER, &c->late);
    metrics_add(m, "sori_push_came_total", "", "Devices that came after a push.", METRIC_COUNTER,
                &c->came);
    metrics_add_histogram(m, "sori_push_wake_seconds", "", "From the push to the device's hello.",
                          &c->wake_us);
}

void server_metrics_exports(struct metrics *m, const struct export_sock_counters *c)
{
    metrics_add(m, "sori_export_downloads_total", "", "Exports (or parts) that were sent.",
                METRIC_COUNTER, &c->served);
    metrics_add(m, "sori_export_refused_total", "",
                "Requests for exports that were refused: no such link, over, too often.",
                METRIC_COUNTER, &c->refused);
    metrics_add(m, "sori_export_sent_bytes_total", "", "Bytes of exports that were sent.",
                METRIC_COUNTER, &c->bytes);
    metrics_add(m, "sori_export_downloads", "", "Exports on their way out now.", METRIC_GAUGE,
                &c->open);
}
