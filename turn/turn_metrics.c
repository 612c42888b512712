/* What a worker of the relay counts, and under which names it is exported.
 *
 * Called by dispatch.c and relay.c to count, by turn_node.c to register.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_metrics.h"

#include "proto/stun_attr.h"

static const char *const method_label[TURN_METHODS] = {
    [TURN_METHOD_BINDING] = "method=\"binding\"",
    [TURN_METHOD_ALLOCATE] = "method=\"allocate\"",
    [TURN_METHOD_REFRESH] = "method=\"refresh\"",
    [TURN_METHOD_CREATE_PERMISSION] = "method=\"create_permission\"",
    [TURN_METHOD_CHANNEL_BIND] = "method=\"channel_bind\"",
    [TURN_METHOD_SEND] = "method=\"send\"",
    [TURN_METHOD_CONNECT] = "method=\"connect\"",
    [TURN_METHOD_CONNECTION_BIND] = "method=\"connection_bind\"",
    [TURN_METHOD_OTHER] = "method=\"other\"",
};

static const char *const drop_label[TURN_DROPS] = {
    [TURN_DROP_NOT_TURN] = "reason=\"not_turn\"",
    [TURN_DROP_BAD_STUN] = "reason=\"bad_stun\"",
    [TURN_DROP_BAD_CHANDATA] = "reason=\"bad_chandata\"",
    [TURN_DROP_UNEXPECTED] = "reason=\"unexpected\"",
    [TURN_DROP_SOURCE_LIMIT] = "reason=\"source_limit\"",
    [TURN_DROP_STUN_ONLY] = "reason=\"stun_only\"",
    [TURN_DROP_CLIENT_DENIED] = "reason=\"client_denied\"",
    [TURN_DROP_NO_ALLOCATION] = "reason=\"no_allocation\"",
    [TURN_DROP_NO_CHANNEL] = "reason=\"no_channel\"",
    [TURN_DROP_NO_PERMISSION] = "reason=\"no_permission\"",
    [TURN_DROP_PEER_DENIED] = "reason=\"peer_denied\"",
    [TURN_DROP_BANDWIDTH] = "reason=\"bandwidth\"",
    [TURN_DROP_PACKET_RATE] = "reason=\"packet_rate\"",
    [TURN_DROP_USER_BANDWIDTH] = "reason=\"user_bandwidth\"",
    [TURN_DROP_TOO_LONG] = "reason=\"too_long\"",
    [TURN_DROP_CLIENT_QUEUE] = "reason=\"client_queue\"",
    [TURN_DROP_PROXY_HEADER] = "reason=\"proxy_header\"",
    [TURN_DROP_DTLS_HELLO] = "reason=\"dtls_hello\"",
    [TURN_DROP_DTLS_COOKIE] = "reason=\"dtls_cookie\"",
    [TURN_DROP_DTLS_HALF_OPEN] = "reason=\"dtls_half_open\"",
    [TURN_DROP_DTLS_FULL] = "reason=\"dtls_full\"",
    [TURN_DROP_DTLS_BUSY] = "reason=\"dtls_busy\"",
    [TURN_DROP_DTLS_STRAY] = "reason=\"dtls_stray\"",
    [TURN_DROP_DTLS_RECORD] = "reason=\"dtls_record\"",
    [TURN_DROP_TCP_LIMIT] = "reason=\"tcp_limit\"",
    [TURN_DROP_HANDOVER_FULL] = "reason=\"handover_full\"",
    [TURN_DROP_LOOK_UP] = "reason=\"look_up\"",
    [TURN_DROP_HOP_LIMIT] = "reason=\"hop_limit\"",
    [TURN_DROP_NO_MEMORY] = "reason=\"no_memory\"",
};

static const char *const refusal_label[TURN_REFUSALS] = {
    [TURN_REFUSED_DENIED] = "reason=\"client_denied\"",
    [TURN_REFUSED_RATE] = "reason=\"rate\"",
    [TURN_REFUSED_HEADER] = "reason=\"proxy_header\"",
};

static const struct {
    int code;
    const char *label;
} errors[TURN_ERROR_CODES] = {
    {STUN_ERR_TRY_ALTERNATE, "code=\"300\""},
    {STUN_ERR_BAD_REQUEST, "code=\"400\""},
    {STUN_ERR_UNAUTHENTICATED, "code=\"401\""},
    {STUN_ERR_FORBIDDEN, "code=\"403\""},
    {STUN_ERR_MOBILITY_FORBIDDEN, "code=\"405\""},
    {STUN_ERR_UNKNOWN_ATTRIBUTE, "code=\"420\""},
    {STUN_ERR_ALLOCATION_MISMATCH, "code=\"437\""},
    {STUN_ERR_STALE_NONCE, "code=\"438\""},
    {STUN_ERR_FAMILY_NOT_SUPPORTED, "code=\"440\""},
    {STUN_ERR_WRONG_CREDENTIALS, "code=\"441\""},
    {STUN_ERR_TRANSPORT_NOT_SUPPORTED, "code=\"442\""},
    {STUN_ERR_PEER_FAMILY_MISMATCH, "code=\"443\""},
    {STUN_ERR_CONNECTION_EXISTS, "code=\"446\""},
    {STUN_ERR_CONNECTION_FAILED, "code=\"447\""},
    {STUN_ERR_QUOTA_REACHED, "code=\"486\""},
    {STUN_ERR_SERVER_ERROR, "code=\"500\""},
    {STUN_ERR_INSUFFICIENT_CAPACITY, "code=\"508\""},
};

static enum turn_method method_of(unsigned method)
{
    switch (method) {
    case STUN_BINDING:
        return TURN_METHOD_BINDING;
    case STUN_ALLOCATE:
        return TURN_METHOD_ALLOCATE;
    case STUN_REFRESH:
        return TURN_METHOD_REFRESH;
    case STUN_CREATE_PERMISSION:
        return TURN_METHOD_CREATE_PERMISSION;
    case STUN_CHANNEL_BIND:
        return TURN_METHOD_CHANNEL_BIND;
    case STUN_SEND:
        return TURN_METHOD_SEND;
    case STUN_CONNECT:
        return TURN_METHOD_CONNECT;
    case STUN_CONNECTION_BIND:
        return TURN_METHOD_CONNECTION_BIND;
    default:
        return TURN_METHOD_OTHER;
    }
}

void turn_metrics_request(struct turn_metrics *t, unsigned method)
{
    counter_inc(&t->requests[method_of(method)]);
}

void turn_metrics_error(struct turn_metrics *t, int code)
{
    for (unsigned i = 0; i < TURN_ERROR_CODES; i++) {
        if (errors[i].code == code)
            counter_inc(&t->errors[i]);
    }
}

static int add(struct metrics *m, const char *name, const char *labels, const char *help,
               const struct counter *cell)
{
    return metrics_add(m, name, labels, help, METRIC_COUNTER, cell);
}

void turn_metrics_relayed(const struct turn_relayed of[FIVE_TUPLE_TRANSPORTS], uint64_t *pkts,
                          uint64_t *bytes)
{
    for (unsigned i = 0; i < FIVE_TUPLE_TRANSPORTS; i++) {
        *pkts += counter_get(&of[i].pkts);
        *bytes += counter_get(&of[i].bytes);
    }
}

/* By direction, and bytes by the client's transport, too. */
static int register_direction(struct metrics *m, const struct turn_relayed *of,
                              const char *direction, const char *const *transports)
{
    int err = 0;

    for (unsigned i = 0; !err && i < FIVE_TUPLE_TRANSPORTS; i++) {
        err =
            add(m, "sori_turn_relayed_packets_total", direction, "Datagrams relayed", &of[i].pkts);
        if (!err)
            err = add(m, "sori_turn_relayed_bytes_total", direction, "Payload bytes relayed",
                      &of[i].bytes);
        if (!err)
            err = add(m, "sori_turn_relay_bytes_total", transports[i],
                      "Payload bytes relayed, by the client's transport", &of[i].bytes);
    }
    return err;
}

#define BY_TRANSPORT(direction)                              \
    {                                                        \
        [FIVE_TUPLE_UDP] = direction ",transport=\"udp\"",   \
        [FIVE_TUPLE_TCP] = direction ",transport=\"tcp\"",   \
        [FIVE_TUPLE_TLS] = direction ",transport=\"tls\"",   \
        [FIVE_TUPLE_DTLS] = direction ",transport=\"dtls\"", \
    }

static int register_relayed(struct metrics *m, const struct turn_metrics *t)
{
    static const char up[] = "direction=\"to_peer\"", down[] = "direction=\"to_client\"";
    static const char *const up_by[FIVE_TUPLE_TRANSPORTS] = BY_TRANSPORT("direction=\"to_peer\"");
    static const char *const down_by[FIVE_TUPLE_TRANSPORTS] =
        BY_TRANSPORT("direction=\"to_client\"");

    int err = register_direction(m, t->up, up, up_by);
    if (!err)
        err = register_direction(m, t->down, down, down_by);
    if (!err)
        err = add(m, "sori_turn_allocations_total", "", "Allocations made", &t->allocations_made);
    if (!err)
        err = add(m, "sori_turn_moves_total", "", "Allocations that followed their client",
                  &t->moves);
    if (!err)
        err = add(m, "sori_turn_handed_over_total", "",
                  "Datagrams handed to another worker in memory", &t->handed_over);
    if (!err)
        err = add(m, "sori_turn_tcp_connections_total", "", "Peer connections of TCP allocations",
                  &t->tcp_connections_made);
    if (!err)
        err = metrics_add(m, "sori_turn_tcp_connections", "",
                          "Peer connections of TCP allocations alive", METRIC_GAUGE,
                          &t->tcp_connections);
    if (!err)
        err = metrics_add(m, "sori_turn_allocations", "", "Allocations alive", METRIC_GAUGE,
                          &t->allocations);
    return err;
}

static int register_dtls(struct metrics *m, const struct turn_metrics *t)
{
    int err = metrics_add(m, "sori_turn_dtls_associations", "",
                          "DTLS associations, half-open ones among them", METRIC_GAUGE,
                          &t->dtls_associations);
    if (!err)
        err = metrics_add(m, "sori_turn_dtls_half_open", "", "DTLS handshakes under way",
                          METRIC_GAUGE, &t->dtls_half_open);
    if (!err)
        err = add(m, "sori_turn_dtls_associations_total", "", "DTLS handshakes finished",
                  &t->dtls_made);
    if (!err)
        err = add(m, "sori_turn_dtls_failed_total", "",
                  "DTLS handshakes that failed or took too long", &t->dtls_failed);
    return err;
}

static int register_media(struct metrics *m, const struct turn_metrics *t)
{
    static const char *const from[] = {"from=\"client\"", "from=\"peer\""};
    int err = 0;

    for (unsigned i = 0; !err && i < ARRAY_LEN(from); i++) {
        err = add(m, "sori_turn_media_expected_total", from[i],
                  "Packets of voice that should have come here, by who sent them",
                  &t->media_expected[i]);
        if (!err)
            err = add(m, "sori_turn_media_lost_total", from[i],
                      "Those of them that did not come, by who sent them", &t->media_lost[i]);
    }
    return err;
}

int turn_metrics_register(struct metrics *m, const struct turn_metrics *t)
{
    int err = register_relayed(m, t);

    if (!err)
        err = register_media(m, t);

    if (!err)
        err = register_dtls(m, t);

    for (unsigned i = 0; !err && i < TURN_METHODS; i++)
        err = add(m, "sori_turn_requests_total", method_label[i],
                  "Requests and Send indications, by method", &t->requests[i]);
    for (unsigned i = 0; !err && i < TURN_ERROR_CODES; i++)
        err = add(m, "sori_turn_errors_total", errors[i].label, "Error answers, by code",
                  &t->errors[i]);
    for (unsigned i = 0; !err && i < TURN_DROPS; i++)
        err = add(m, "sori_turn_dropped_total", drop_label[i],
                  "Messages neither answered nor relayed, by reason", &t->drops[i]);
    if (!err)
        err = add(m, "sori_turn_new_peers_refused_total", "",
                  "Requests over the limit of new peer addresses", &t->peers_refused);
    for (unsigned i = 0; !err && i < TURN_REFUSALS; i++)
        err = add(m, "sori_turn_connections_refused_total", refusal_label[i],
                  "Connections closed at once, by reason", &t->refused[i]);
    return err;
}
