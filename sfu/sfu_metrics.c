/* Names of sori-sfu's metrics. Called by sfu_node.c. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/sfu_metrics.h"

#include <stdio.h>

#include "sfu/sfu_worker.h"

#define LABELS_MAX (CORE_DROP_COUNT + TRANSPORT_DROP_COUNT + CTL_ERR_COUNT)

/* Label texts live as long as the process; each is made once, for all workers. */
static const char *label(const char *key, const char *value)
{
    static char texts[LABELS_MAX][64];
    static size_t n;
    char want[64];

    snprintf(want, sizeof(want), "%s=\"%s\"", key, value);
    for (size_t i = 0; i < n; i++)
        if (strcmp(texts[i], want) == 0)
            return texts[i];
    if (n == LABELS_MAX)
        return "";
    memcpy(texts[n], want, sizeof(want));
    return texts[n++];
}

struct name {
    const char *name, *help;
    enum metric_type type;
    size_t at;
};

#define CORE(field) offsetof(struct core_counters, field)
static const struct name core_names[] = {
    {"sori_sfu_rooms", "Rooms now.", METRIC_GAUGE, CORE(rooms)},
    {"sori_sfu_participants", "Participants now.", METRIC_GAUGE, CORE(participants)},
    {"sori_sfu_tracks", "Published tracks now.", METRIC_GAUGE, CORE(tracks)},
    {"sori_sfu_slots", "Receive sections now.", METRIC_GAUGE, CORE(consumers)},
    {"sori_sfu_joins_total", "Participants that joined.", METRIC_COUNTER, CORE(joins)},
    {"sori_sfu_leaves_total", "Participants that left.", METRIC_COUNTER, CORE(leaves)},
    {"sori_sfu_ice_restarts_total", "ICE restarts.", METRIC_COUNTER, CORE(restarts)},
    {"sori_sfu_received_packets_total", "Authentic RTP packets of clients.", METRIC_COUNTER,
     CORE(in_pkts)},
    {"sori_sfu_received_bytes_total", "Their bytes.", METRIC_COUNTER, CORE(in_bytes)},
    {"sori_sfu_forwarded_packets_total", "RTP packets sent to receivers.", METRIC_COUNTER,
     CORE(forwarded_pkts)},
    {"sori_sfu_forwarded_bytes_total", "Their bytes, with IP and UDP.", METRIC_COUNTER,
     CORE(forwarded_bytes)},
    {"sori_sfu_repaired_rtx_total", "Lost packets of clients that came again.", METRIC_COUNTER,
     CORE(repaired_rtx)},
    {"sori_sfu_repaired_red_total", "Lost packets of clients taken from redundant copies.",
     METRIC_COUNTER, CORE(repaired_red)},
    {"sori_sfu_retransmitted_packets_total", "Packets sent again to receivers.", METRIC_COUNTER,
     CORE(rtx_pkts)},
    {"sori_sfu_red_packets_total", "Audio packets sent with redundant copies.", METRIC_COUNTER,
     CORE(red_pkts)},
    {"sori_sfu_padding_bytes_total", "Padding sent to probe a receiver's path.", METRIC_COUNTER,
     CORE(padding_bytes)},
    {"sori_sfu_silence_packets_total", "Comfort silence sent at the end of a talker.",
     METRIC_COUNTER, CORE(silence_pkts)},
    {"sori_sfu_nacks_received_total", "Packets that receivers asked for again.", METRIC_COUNTER,
     CORE(nacks_in)},
    {"sori_sfu_nacks_sent_total", "Packets that publishers were asked for again.", METRIC_COUNTER,
     CORE(nacks_out)},
    {"sori_sfu_key_requests_received_total", "Key frame requests of receivers.", METRIC_COUNTER,
     CORE(keys_in)},
    {"sori_sfu_key_requests_sent_total", "Key frame requests to publishers.", METRIC_COUNTER,
     CORE(keys_out)},
    {"sori_sfu_feedback_received_total", "Transport-wide feedback of receivers.", METRIC_COUNTER,
     CORE(feedback_in)},
    {"sori_sfu_feedback_sent_total", "Transport-wide feedback to publishers.", METRIC_COUNTER,
     CORE(feedback_out)},
    {"sori_sfu_layer_switches_total", "Slots that changed their video layer.", METRIC_COUNTER,
     CORE(layer_switches)},
    {"sori_sfu_replays_total", "Receivers that began with a key frame that was stored.",
     METRIC_COUNTER, CORE(replays)},
    {"sori_sfu_speaker_switches_total", "Changes of the dominant speaker.", METRIC_COUNTER,
     CORE(speaker_switches)},
    {"sori_sfu_slot_switches_total", "Slots that changed their source.", METRIC_COUNTER,
     CORE(slot_switches)},
    {"sori_sfu_data_messages_total", "Data channel messages of participants.", METRIC_COUNTER,
     CORE(data_msgs)},
    {"sori_sfu_data_bytes_total", "Their bytes.", METRIC_COUNTER, CORE(data_bytes)},
};

#define TRANSPORT(field) offsetof(struct transport_stats, field)
static const struct name transport_names[] = {
    {"sori_sfu_ice_checks_total", "Authentic connectivity checks.", METRIC_COUNTER,
     TRANSPORT(checks)},
    {"sori_sfu_ice_nominations_total", "Nominated paths.", METRIC_COUNTER, TRANSPORT(nominations)},
    {"sori_sfu_path_moves_total", "Clients that moved to another path.", METRIC_COUNTER,
     TRANSPORT(moves)},
    {"sori_sfu_dtls_handshakes_total", "DTLS handshakes that succeeded.", METRIC_COUNTER,
     TRANSPORT(handshakes)},
    {"sori_sfu_dtls_failures_total", "DTLS handshakes that failed.", METRIC_COUNTER,
     TRANSPORT(handshake_failures)},
    {"sori_sfu_rtcp_received_total", "Authentic RTCP packets of clients.", METRIC_COUNTER,
     TRANSPORT(rtcp_in_pkts)},
    {"sori_sfu_rtcp_sent_total", "RTCP packets sent.", METRIC_COUNTER, TRANSPORT(rtcp_out_pkts)},
};

static void add_all(struct metrics *m, const struct name *v, size_t n, const void *base)
{
    for (size_t i = 0; i < n; i++)
        metrics_add(m, v[i].name, "", v[i].help, v[i].type,
                    (const struct counter *)(const void *)((const char *)base + v[i].at));
}

void sfu_metrics_worker(struct metrics *m, const struct sfu_worker *w)
{
    const struct core_counters *c = &w->core->count;
    const struct transport_stats *t = demux_stats(w->core->demux);
    const struct udp_stats *u = udp_io_stats(w->io);

    add_all(m, core_names, ARRAY_LEN(core_names), c);
    add_all(m, transport_names, ARRAY_LEN(transport_names), t);
    for (int i = 0; i < CORE_DROP_COUNT; i++)
        metrics_add(m, "sori_sfu_dropped_total", label("reason", core_drop_name((enum core_drop)i)),
                    "What clients sent and was not used, by reason.", METRIC_COUNTER, &c->drop[i]);
    for (int i = 0; i < TRANSPORT_DROP_COUNT; i++)
        metrics_add(m, "sori_sfu_transport_dropped_total",
                    label("reason", transport_drop_name((enum transport_drop)i)),
                    "Packets dropped before they were anybody's, by reason.", METRIC_COUNTER,
                    &t->drop[i]);
    for (int i = 1; i < CTL_ERR_COUNT; i++)
        metrics_add(m, "sori_sfu_refused_total", label("code", ctl_err_name((enum ctl_err)i)),
                    "Requests of sori-servers refused, by code.", METRIC_COUNTER, &c->refused[i]);
    metrics_add(m, "sori_sfu_socket_overflow_total", "", "Datagrams lost in full receive buffers.",
                METRIC_COUNTER, &u->overflow);
    metrics_add(m, "sori_sfu_socket_full_total", "", "Datagrams lost in full send buffers.",
                METRIC_COUNTER, &u->full);
    metrics_add(m, "sori_sfu_socket_failed_total", "", "Datagrams that the kernel refused.",
                METRIC_COUNTER, &u->failed);
    metrics_add_histogram(m, "sori_sfu_turn_seconds", "", "How long a worker's turns take.",
                          &w->busy);
}
